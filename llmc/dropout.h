// Dropout by counter (Srivastava et al., JMLR 15, 2014): whether an element is dropped depends on the seed, the step,
// the site within the model, the sample and the element's place in it, and on nothing else. So neither the number of
// ranks, nor accumulation, nor padding changes a mask, and backward draws it anew instead of keeping it.
//
// Philox's counter is (element / 4, position, sample, site) and its key 64 bits mixed from the seed, plus the step;
// element i takes word i % 4. It is dropped where that word is below rate * 2^32, and becomes 0 whatever it was;
// those kept are multiplied by 1 / (1 - rate). The element is a channel, or in attention the key's position.
//
// Words are whole numbers, so the rate is rounded to a multiple of 2^-32, and both uses take the rounded one: the
// mean stays as it is without dropout. Rates from 2^-9 on are such multiples as floats; one that would be rounded to
// 0 is refused.
#ifndef LLMC_DROPOUT_H
#define LLMC_DROPOUT_H

#include "../zero/error.h"
#include "../zero/philox.h"
#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { DROPOUT_WORDS = 4 };              // that Philox draws at a time
#define DROPOUT_WORD_VALUES 4294967296.0 // 2^32: of each
#define DROPOUT_SMALLEST (1.0 / DROPOUT_WORD_VALUES)

// What kernels take instead of an OpsDropout.
typedef struct {
  uint32_t key[2];
  uint32_t site;
  uint32_t threshold; // words below it drop their element
  float scale;        // of those kept
} DropoutPlan;

static inline int dropout_is_on(const OpsDropout *dropout) {
  return dropout != NULL && dropout->rate != 0;
}

// 0: none. Others: can they be drawn?
static inline int dropout_rate_is_valid(double rate) {
  return rate == 0 || (rate >= DROPOUT_SMALLEST && (float)rate < 1.0f);
}

// The plan that drops nothing where there is no dropout: it scales by 1.
static inline DropoutPlan dropout_plan(const OpsDropout *dropout) {
  // The finalizer of splitmix64, whose every input bit changes half of the output's: other uses of a run's seed take
  // it as Philox's key as it is.
  const uint64_t increment = UINT64_C(0x9E3779B97F4A7C15);
  const uint64_t multipliers[2] = {UINT64_C(0xBF58476D1CE4E5B9), UINT64_C(0x94D049BB133111EB)};
  DropoutPlan plan = {{0, 0}, 0, 0, 1.0f};
  if (!dropout_is_on(dropout)) return plan;
  if (!dropout_rate_is_valid((double)dropout->rate)) {
    zero_fatal("dropout: expected a rate of 0, or of at least %g and below 1, found %g", DROPOUT_SMALLEST,
               (double)dropout->rate);
  }
  uint64_t key = dropout->seed + increment;
  key = (key ^ key >> 30) * multipliers[0];
  key = (key ^ key >> 27) * multipliers[1];
  key = (key ^ key >> 31) + dropout->step;
  plan.key[0] = (uint32_t)key;
  plan.key[1] = (uint32_t)(key >> 32);
  plan.site = dropout->site;
  const double half = 0.5;
  plan.threshold = (uint32_t)((double)dropout->rate * DROPOUT_WORD_VALUES + half);
  plan.scale = (float)(1.0 / (1.0 - (double)plan.threshold / DROPOUT_WORD_VALUES));
  return plan;
}

// The words of elements 4 * block … + 3. `head` is added to the site: 0 outside attention.
ZERO_HOST_DEVICE static inline void dropout_words(const DropoutPlan *plan, uint32_t head, uint32_t block,
                                                  uint32_t position, uint32_t sample, uint32_t words[DROPOUT_WORDS]) {
  const uint32_t counter[4] = {block, position, sample, plan->site + head};
  zero_philox4x32(counter, plan->key, words);
}

// x, dropped or scaled.
ZERO_HOST_DEVICE static inline float dropout_apply(const DropoutPlan *plan, uint32_t word, float x) {
  return word < plan->threshold ? 0.0f : x * plan->scale;
}

#ifdef __cplusplus
}
#endif
#endif
