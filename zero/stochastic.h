// Stochastic rounding to the half types: a value between two neighbours becomes the upper one with the probability
// (value - lower) / (upper - lower), so that its mean is the value (Gupta et al., arXiv 1502.02551). Updates that are
// too small for a half type's step are then not lost every time, but taken up some of the time.
//
// Values that the type can represent stay as they are; infinities and NaN too. From the largest finite number on
// there is no upper neighbour and so no mean to keep: there values round to nearest, as in half.h. Integer arithmetic
// throughout: the same bits on the CPU and on a GPU.
#ifndef ZERO_STOCHASTIC_H
#define ZERO_STOCHASTIC_H

#include "half.h"
#include "philox.h"

#ifdef __cplusplus
extern "C" {
#endif

// Numbers that Philox draws at a time: parameter p takes number p % ZERO_DRAWS of block p / ZERO_DRAWS.
#define ZERO_DRAWS 4
// The last word of the counter; other uses of a run's seed have other ones.
#define ZERO_ROUNDING_STREAM 0x726f756eu

// The numbers of parameters ZERO_DRAWS * block … + 3 after applied step `step`, of which a run has less than 2^32.
ZERO_HOST_DEVICE static inline void zero_rounding_draws(uint64_t seed, size_t step, uint64_t block,
                                                        uint32_t out[ZERO_DRAWS]) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)step, ZERO_ROUNDING_STREAM};
  zero_philox4x32(counter, key, out);
}

// random: uniform over all 32-bit numbers.
ZERO_HOST_DEVICE static inline uint16_t zero_f32_to_bf16_stochastic(float x, uint32_t random) {
  const uint32_t largest = 0x7f7fu << 16;
  uint32_t bits = zero_float_bits(x);
  uint16_t stochastic = (uint16_t)((bits + (random >> 16)) >> 16); // a carry out of the lost bits: up
  return (bits & ZERO_F32_MAGNITUDE) < largest ? stochastic : zero_f32_to_bf16(x);
}

ZERO_HOST_DEVICE static inline uint16_t zero_f32_to_f16_stochastic(float x, uint32_t random) {
  const uint32_t largest = 0x477fe000u, smallest_normal = 113u << 23; // 65504 and 2^-14 in fp32
  uint32_t bits = zero_float_bits(x), magnitude = bits & ZERO_F32_MAGNITUDE;
  uint32_t normal = (magnitude - ZERO_F16_REBIAS + (random >> (32 - ZERO_F16_SHIFT))) >> ZERO_F16_SHIFT;
  // Subnormal numbers are multiples of 2^-24: the value as a fixed-point number of them, 32 bits behind the point.
  // What is left of fp32's own subnormal numbers there is 0.
  uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u, shift = 126u - (magnitude >> 23);
  uint64_t units = ((uint64_t)mantissa << 32) >> (shift < 63u ? shift : 63u);
  uint32_t subnormal = (uint32_t)((units + random) >> 32);
  uint32_t half = (magnitude < smallest_normal ? subnormal : normal) | (bits >> 16 & 0x8000u);
  return magnitude < largest ? (uint16_t)half : zero_f32_to_f16(x);
}

#ifdef __cplusplus
}
#endif
#endif
