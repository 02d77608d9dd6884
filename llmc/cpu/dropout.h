// Dropout's draws (llmc/dropout.h), a vector of counters at a time.
//
// A counter's words lie in 64-bit lanes, whose lower halves count: the processor's product of such lanes gives both
// halves that a round of Philox wants, and what is left in the upper halves harms nobody.
#ifndef LLMC_CPU_DROPOUT_H
#define LLMC_CPU_DROPOUT_H

#include "../dropout.h"
#include "vec.h"

typedef uint64_t VecWide __attribute__((vector_size(4 * VEC_WIDTH)));
enum {
  WIDE_LANES = VEC_WIDTH / 2,
  DROPOUT_STEP = 2 * VEC_WIDTH // elements that one round over a vector of counters draws for
};
_Static_assert(DROPOUT_STEP == WIDE_LANES * DROPOUT_WORDS, "a counter gives DROPOUT_WORDS words");

// 64-bit products of the lanes' lower halves.
VEC_INLINE VecWide vec_multiply_low(VecWide a, VecWide b) {
#if defined(__AVX512F__)
  return (VecWide)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (VecWide)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__) && !defined(__AVX__)
  return (VecWide)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & UINT32_MAX) * (b & UINT32_MAX);
#endif
}

// 0, 1, 2, …
VEC_INLINE VecWide vec_wide_lanes(void) {
#if VEC_WIDTH == 16
  return (VecWide){0, 1, 2, 3, 4, 5, 6, 7};
#elif VEC_WIDTH == 8
  return (VecWide){0, 1, 2, 3};
#else
  return (VecWide){0, 1};
#endif
}

// dropout_words for neighbouring blocks at once. words: of the DROPOUT_STEP elements from DROPOUT_WORDS * block on,
// in their order.
VEC_INLINE void vec_dropout_words(const DropoutPlan *plan, uint32_t head, uint32_t block, uint32_t position,
                                  uint32_t sample, VecBits words[2]) {
  const VecWide none = {0}, multiplier0 = none + ZERO_PHILOX_M0, multiplier1 = none + ZERO_PHILOX_M1;
  VecWide x0 = vec_wide_lanes() + block, x1 = none + position, x2 = none + sample, x3 = none + (plan->site + head);
  uint32_t k0 = plan->key[0], k1 = plan->key[1];
#pragma GCC unroll 10
  for (int round = 0; round < ZERO_PHILOX_ROUNDS; round++) {
    const VecWide product0 = vec_multiply_low(x0, multiplier0), product1 = vec_multiply_low(x2, multiplier1);
    x0 = product1 >> 32 ^ x1 ^ (uint64_t)k0;
    x1 = product1;
    x2 = product0 >> 32 ^ x3 ^ (uint64_t)k1;
    x3 = product0;
    k0 += ZERO_PHILOX_W0;
    k1 += ZERO_PHILOX_W1;
  }
  const VecWide first = (x0 & UINT32_MAX) | x1 << 32, second = (x2 & UINT32_MAX) | x3 << 32;
  const VecWide low = (vec_wide_lanes() >> 1) + (vec_wide_lanes() & 1) * WIDE_LANES;
  words[0] = (VecBits)__builtin_shuffle(first, second, low);
  words[1] = (VecBits)__builtin_shuffle(first, second, low + WIDE_LANES / 2);
}

// factors: what the DROPOUT_STEP elements from DROPOUT_WORDS * block on are multiplied by.
VEC_INLINE void vec_dropout_factors(const DropoutPlan *plan, uint32_t head, uint32_t block, uint32_t position,
                                    uint32_t sample, Vec factors[2]) {
  VecBits words[2];
  vec_dropout_words(plan, head, block, position, sample, words);
  for (int i = 0; i < 2; i++) {
    factors[i] = vec_select((VecInt)(words[i] < plan->threshold), vec_set(0), vec_set(plan->scale));
  }
}

#endif
