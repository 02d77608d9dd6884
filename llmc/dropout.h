// Dropout by counter: what is dropped depends on the run's seed, the step, the sample within the global batch, the
// position in it, the channel (or, in attention, the key's position) and the site in the model; never on ranks,
// threads, padding or packing. The CPU, a GPU's kernels and the backward pass draw the same.
//
//   key = mix(seed) + step (64 bits); counter = (element / 4, position, sample, site); element i takes word i % 4 of
//   Philox4x32-10 (zero/philox.h) and is dropped where that is less than rate * 2^32; what stays is multiplied by
//   1 / (1 - rate).
#ifndef LLMC_DROPOUT_H
#define LLMC_DROPOUT_H

#include "../zero/error.h"
#include "../zero/philox.h"
#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DROPOUT_WORDS 4 // elements that one counter draws for

// What kernels take.
typedef struct {
  uint32_t key[2];
  uint32_t threshold; // words below it drop; 0: no dropout
  float scale;        // 1 / (1 - rate)
  uint32_t site;
} Dropout;

// Bits that all depend on all of x's (the finalizer of splitmix64).
static inline uint64_t dropout_mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

// d NULL: no dropout. A rate outside [0, 1) ends the program.
static inline Dropout dropout_of(const OpsDropout *d) {
  Dropout dropout = {{0, 0}, 0, 1.0f, 0};
  if (d == NULL || d->rate == 0) return dropout;
  if (!(d->rate > 0 && d->rate < 1)) {
    zero_fatal("dropout: expected a rate of at least 0 and less than 1, found %g", (double)d->rate);
  }
  const uint64_t key = dropout_mix(d->seed) + d->step;
  dropout.key[0] = (uint32_t)key;
  dropout.key[1] = (uint32_t)(key >> 32);
  const double words = (double)d->rate * 4294967296.0;
  dropout.threshold = (uint32_t)words;
  if (dropout.threshold < words) dropout.threshold++; // rounded up: less than the product itself
  dropout.scale = 1.0f / (1.0f - d->rate);
  dropout.site = d->site;
  return dropout;
}

// The words of elements DROPOUT_WORDS * group … + 3.
ZERO_HOST_DEVICE static inline void dropout_words(const Dropout *dropout, uint32_t group, uint32_t position,
                                                  uint32_t sample, uint32_t site, uint32_t words[DROPOUT_WORDS]) {
  const uint32_t counter[4] = {group, position, sample, site};
  zero_philox4x32(counter, dropout->key, words);
}

#ifdef __cplusplus
}
#endif
#endif
