// Typed memory: the only place of the CPU's kernels that knows how an element of a ZeroType is stored.
//
// A kernel is an always-inline function that takes `type` as its last argument and reads and writes through
// load_elements and store_elements, computing in fp32. FOR_TYPE calls it with the type as a constant, so that
// each type gets its own code with no branch inside. The bits do not depend on the processor that the program is
// built for: what its instructions do is what zero/half.h does.
#ifndef LLMC_CPU_ELEMENT_H
#define LLMC_CPU_ELEMENT_H

#include "../../zero/error.h"
#include "../../zero/half.h"
#include "../ops.h"
#include "vec.h"

#define FOR_TYPE(type, kernel, ...)          \
  do {                                       \
    switch (type) {                          \
      case ZERO_F32:                         \
        kernel(__VA_ARGS__, ZERO_F32);       \
        break;                               \
      case ZERO_BF16:                        \
        kernel(__VA_ARGS__, ZERO_BF16);      \
        break;                               \
      case ZERO_F16:                         \
        kernel(__VA_ARGS__, ZERO_F16);       \
        break;                               \
      default:                               \
        element_type_unknown(type, #kernel); \
    }                                        \
  } while (0)

__attribute__((noreturn)) static inline void element_type_unknown(ZeroType type, const char *kernel) {
  zero_fatal("%s: expected fp32, bf16 or fp16, found type %d", kernel, (int)type);
}

// A register of bf16 or fp16.
typedef uint16_t VecHalf __attribute__((vector_size(2 * VEC_WIDTH)));

VEC_INLINE VecHalf vec_half_load_n(const uint16_t *p, size_t n) {
  VecHalf v = {0};
  if (__builtin_expect(n == VEC_WIDTH, 1)) {
    memcpy(&v, p, sizeof v);
  } else {
    memcpy(&v, p, n * sizeof(uint16_t));
  }
  return v;
}

VEC_INLINE void vec_half_store_n(uint16_t *p, VecHalf v, size_t n) {
  if (__builtin_expect(n == VEC_WIDTH, 1)) {
    memcpy(p, &v, sizeof v);
  } else {
    memcpy(p, &v, n * sizeof(uint16_t));
  }
}

// GCC makes several instructions of __builtin_convertvector where AVX-512 has one.
VEC_INLINE VecBits vec_widen(VecHalf half) {
#if defined(__AVX512F__)
  return (VecBits)_mm512_cvtepu16_epi32((__m256i)half);
#else
  return __builtin_convertvector(half, VecBits);
#endif
}

VEC_INLINE VecHalf vec_narrow(VecBits bits) {
#if defined(__AVX512F__)
  return (VecHalf)_mm512_cvtepi32_epi16((__m512i)bits);
#else
  return __builtin_convertvector(bits, VecHalf);
#endif
}

VEC_INLINE Vec vec_from_bf16(VecHalf half) {
  return (Vec)(vec_widen(half) << 16);
}

VEC_INLINE VecHalf vec_to_bf16(Vec x) { // zero_f32_to_bf16, lane by lane
  VecBits rounded = (VecBits)x + (((VecBits)x >> 16) & 1u) + 0x7fffu, nan = (VecBits)x | ZERO_BF16_QUIET << 16;
  return vec_narrow((VecBits)vec_select(x != x, (Vec)nan, (Vec)rounded) >> 16);
}

VEC_INLINE Vec vec_from_f16(VecHalf half) {
#if defined(__AVX512F__)
  return (Vec)_mm512_cvtph_ps((__m256i)half);
#elif defined(__AVX__) && defined(__F16C__)
  return (Vec)_mm256_cvtph_ps((__m128i)half);
#else
  Vec x = {0};
  for (int i = 0; i < VEC_WIDTH; i++) x[i] = zero_f16_to_f32(half[i]);
  return x;
#endif
}

VEC_INLINE VecHalf vec_to_f16(Vec x) {
#if defined(__AVX512F__)
  return (VecHalf)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX__) && defined(__F16C__)
  return (VecHalf)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT);
#else
  VecHalf half = {0};
  for (int i = 0; i < VEC_WIDTH; i++) half[i] = zero_f32_to_f16(x[i]);
  return half;
#endif
}

// n (at most VEC_WIDTH) elements from data[at] on; the other lanes are 0.
VEC_INLINE Vec load_elements(const void *data, size_t at, size_t n, ZeroType type) {
  switch (type) {
    case ZERO_F32:
      return vec_load_n((const float *)data + at, n);
    case ZERO_BF16:
      return vec_from_bf16(vec_half_load_n((const uint16_t *)data + at, n));
    case ZERO_F16:
      return vec_from_f16(vec_half_load_n((const uint16_t *)data + at, n));
    default:
      element_type_unknown(type, "load_elements");
  }
}

VEC_INLINE void store_elements(void *data, size_t at, size_t n, Vec v, ZeroType type) {
  switch (type) {
    case ZERO_F32:
      vec_store_n((float *)data + at, v, n);
      break;
    case ZERO_BF16:
      vec_half_store_n((uint16_t *)data + at, vec_to_bf16(v), n);
      break;
    case ZERO_F16:
      vec_half_store_n((uint16_t *)data + at, vec_to_f16(v), n);
      break;
    default:
      element_type_unknown(type, "store_elements");
  }
}

// Writes a sum into a gradient, whose type is its own: the old value is added in fp32 and the result rounded once.
// The choice of the type is left to run time, since the sum before it costs more.
VEC_INLINE void store_gradient(OpsGrad grad, size_t at, size_t n, Vec sum) {
  if (grad.accumulate) sum += load_elements(grad.data, at, n, grad.type);
  store_elements(grad.data, at, n, sum, grad.type);
}

#endif
