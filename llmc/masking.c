// Which tokens of a sample are to be predicted, and what stands in their place.
#include "masking.h"

#include "../zero/philox.h"

#define MASKING_STREAM 0x4d41534bu // "MASK": apart from the counters of other draws
#define WORDS 0x1p32               // different values of a Philox word

// What is drawn for one token: words of 32 bits each.
typedef struct {
  uint32_t choose, action, token;
} Draw;

static Draw draw_token(const MaskingKey *key, size_t position) {
  const uint32_t philox_key[2] = {(uint32_t)key->seed, (uint32_t)(key->seed >> 32)};
  // Positions have 16 bits (samples.h); the epoch's high half is never 65536 or more.
  const uint32_t counter[4] = {(uint32_t)position | (uint32_t)(key->epoch >> 32) << 16, key->sample,
                               (uint32_t)key->epoch, MASKING_STREAM};
  uint32_t words[4];
  zero_philox4x32(counter, philox_key, words);
  const Draw draw = {words[0], words[1], words[2]};
  return draw;
}

static int is_special(const SamplesInfo *info, int token) {
  return token == info->pad || token == info->cls || token == info->sep || token == info->mask;
}

// A word as a number in [0, 1).
static double share(uint32_t word) {
  return word / WORDS;
}

// A token is chosen where its word is below the probability; if that is nowhere, the token with the smallest word is:
// the one that a higher probability would choose first. Returns how many; positions: where, or NULL.
static size_t choose(const SamplesInfo *info, const MaskingKey *key, size_t length, const int *tokens,
                     int *positions) {
  size_t chosen = 0, smallest_at = length;
  uint32_t smallest = 0;
  for (size_t t = 0; t < length; t++) {
    if (is_special(info, tokens[t])) continue;
    const uint32_t word = draw_token(key, t).choose;
    if (smallest_at == length || word < smallest) {
      smallest_at = t;
      smallest = word;
    }
    if (share(word) >= key->probability) continue;
    if (positions) positions[chosen] = (int)t;
    chosen++;
  }
  if (chosen > 0 || smallest_at == length) return chosen;
  if (positions) positions[0] = (int)smallest_at;
  return 1;
}

size_t masking_count(const SamplesInfo *info, const MaskingKey *key, size_t length, const int *tokens) {
  return choose(info, key, length, tokens, NULL);
}

size_t masking_apply(const SamplesInfo *info, const MaskingKey *key, size_t length, int *tokens, int *positions,
                     int *targets) {
  const size_t chosen = choose(info, key, length, tokens, positions);
  for (size_t i = 0; i < chosen; i++) {
    const size_t at = (size_t)positions[i];
    const Draw draw = draw_token(key, at);
    const double action = share(draw.action);
    targets[i] = tokens[at];
    if (action < MASKING_SHARE_MASK) {
      tokens[at] = info->mask;
    } else if (action < MASKING_SHARE_MASK + MASKING_SHARE_RANDOM) {
      tokens[at] = (int)((uint64_t)draw.token * info->vocab_size >> 32);
    }
  }
  return chosen;
}
