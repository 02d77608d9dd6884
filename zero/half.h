// The two half types, element by element: bf16 (8 bits of exponent, 7 of mantissa) and fp16 (5 and 10), each kept
// in a uint16_t.
//
// To fp32 is exact. From fp32 rounds to nearest, ties to even: what is too large becomes infinite, subnormal
// numbers stay, NaN stays NaN (made quiet, its upper bits kept). This is what the processors' own fp16 instructions
// do; those for bf16 take subnormal numbers for 0, so they are not used, and the bits are the same everywhere.
// All of it is integer arithmetic and choices without branches: loops over these functions vectorise.
#ifndef ZERO_HALF_H
#define ZERO_HALF_H

#include <stdint.h>
#include <string.h>

#include "host_device.h"

#ifdef __cplusplus
extern "C" {
#endif

ZERO_HOST_DEVICE static inline uint32_t zero_float_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

ZERO_HOST_DEVICE static inline float zero_float_from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

#define ZERO_F32_INFINITY 0x7f800000u // also the bits of the exponent
#define ZERO_F32_MAGNITUDE 0x7fffffffu

#define ZERO_BF16_QUIET 0x0040u // the top bit of the mantissa: set in a quiet NaN

ZERO_HOST_DEVICE static inline float zero_bf16_to_f32(uint16_t half) {
  return zero_float_from_bits((uint32_t)half << 16);
}

ZERO_HOST_DEVICE static inline uint16_t zero_f32_to_bf16(float x) {
  uint32_t bits = zero_float_bits(x);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16; // up, or to the even one from the middle
  uint32_t nan = (bits >> 16) | ZERO_BF16_QUIET;
  return (uint16_t)((bits & ZERO_F32_MAGNITUDE) > ZERO_F32_INFINITY ? nan : rounded);
}

// fp32 has 13 more bits of mantissa than fp16, and its exponent is biased by 127 instead of 15.
#define ZERO_F16_SHIFT 13
#define ZERO_F16_REBIAS ((127u - 15u) << 23)
#define ZERO_F16_INFINITY (0x7c00u << ZERO_F16_SHIFT) // also the bits of the exponent, shifted as in fp32

ZERO_HOST_DEVICE static inline float zero_f16_to_f32(uint16_t half) {
  const uint32_t smallest_normal = 113u << 23, quiet = 1u << 22; // 2^-14 in fp32
  uint32_t magnitude = (half & 0x7fffu) << ZERO_F16_SHIFT;
  uint32_t normal = magnitude + ZERO_F16_REBIAS;
  // A subnormal m * 2^-24: put m below the exponent of 2^-14, which is then taken away again.
  uint32_t subnormal =
      zero_float_bits(zero_float_from_bits(magnitude + smallest_normal) - zero_float_from_bits(smallest_normal));
  uint32_t special = (magnitude + 2u * ZERO_F16_REBIAS) | (magnitude > ZERO_F16_INFINITY ? quiet : 0u);
  uint32_t bits = magnitude < (1u << 23) ? subnormal : magnitude < ZERO_F16_INFINITY ? normal : special;
  return zero_float_from_bits(bits | (half & 0x8000u) << 16);
}

ZERO_HOST_DEVICE static inline uint16_t zero_f32_to_f16(float x) {
  const uint32_t smallest_normal = 113u << 23, infinity = 0x7c00u, quiet = 0x0200u;
  const uint32_t too_large = 143u << 23; // 2^16: from here on infinite even without rounding
  uint32_t bits = zero_float_bits(x), magnitude = bits & ZERO_F32_MAGNITUDE;
  uint32_t normal = (magnitude - ZERO_F16_REBIAS + 0x0fffu + ((magnitude >> ZERO_F16_SHIFT) & 1u)) >> ZERO_F16_SHIFT;
  // Adding 1/2, whose last bit is 2^-24 as fp16's is here, makes the processor round at the right place.
  uint32_t subnormal = zero_float_bits(zero_float_from_bits(magnitude) + 0.5f) - zero_float_bits(0.5f);
  uint32_t nan = infinity | quiet | ((magnitude >> ZERO_F16_SHIFT) & 0x03ffu);
  uint32_t half = magnitude < smallest_normal ? subnormal : magnitude < too_large ? normal : infinity;
  half = magnitude > ZERO_F32_INFINITY ? nan : half;
  return (uint16_t)(half | (bits >> 16 & 0x8000u));
}

#ifdef __cplusplus
}
#endif
#endif
