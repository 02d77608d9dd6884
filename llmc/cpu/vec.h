// A register of floats, in GCC's vector extensions, and the few functions on it that the operations need.
//
// The width follows the processor the program is built for, so code written with Vec runs anywhere. The
// loops over memory go in steps of VEC_WIDTH; the rest of a row is read into a vector whose other lanes are
// 0, so that body and tail are one piece of code.
// Sums over lanes are always folded in the same order: the same bits on every call.
#ifndef LLMC_CPU_VEC_H
#define LLMC_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VEC_WIDTH 16
#elif defined(__AVX__)
#define VEC_WIDTH 8
#else
#define VEC_WIDTH 4
#endif

#define VEC_INLINE static inline __attribute__((always_inline))

typedef float Vec __attribute__((vector_size(4 * VEC_WIDTH)));
typedef int32_t VecInt __attribute__((vector_size(4 * VEC_WIDTH)));
typedef uint32_t VecBits __attribute__((vector_size(4 * VEC_WIDTH)));

// Elements that a step of VEC_WIDTH from here still has.
VEC_INLINE size_t vec_count(size_t left) {
  return left < VEC_WIDTH ? left : VEC_WIDTH;
}

VEC_INLINE Vec vec_set(float x) {
  return x - (Vec){0};
}

VEC_INLINE Vec vec_load(const float *p) {
  Vec v;
  memcpy(&v, p, sizeof v);
  return v;
}

VEC_INLINE void vec_store(float *p, Vec v) {
  memcpy(p, &v, sizeof v);
}

// The first n (at most VEC_WIDTH) elements; the other lanes are 0.
VEC_INLINE Vec vec_load_n(const float *p, size_t n) {
  if (__builtin_expect(n == VEC_WIDTH, 1)) return vec_load(p);
  Vec v = {0};
  memcpy(&v, p, n * sizeof(float));
  return v;
}

VEC_INLINE void vec_store_n(float *p, Vec v, size_t n) {
  if (__builtin_expect(n == VEC_WIDTH, 1)) {
    vec_store(p, v);
  } else {
    memcpy(p, &v, n * sizeof(float));
  }
}

// 0, 1, 2, …
VEC_INLINE VecInt vec_lanes(void) {
#if VEC_WIDTH == 16
  return (VecInt){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif VEC_WIDTH == 8
  return (VecInt){0, 1, 2, 3, 4, 5, 6, 7};
#else
  return (VecInt){0, 1, 2, 3};
#endif
}

// mask lanes (all ones or all zeros, as comparisons give them) choose a, the others b.
VEC_INLINE Vec vec_select(VecInt mask, Vec a, Vec b) {
  return (Vec)((mask & (VecInt)a) | (~mask & (VecInt)b));
}

// Lane by lane; b where one of the two is NaN.
VEC_INLINE Vec vec_max(Vec a, Vec b) {
#if defined(__AVX512F__)
  return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
  return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE__)
  return (Vec)_mm_max_ps((__m128)a, (__m128)b);
#else
  return vec_select(a > b, a, b);
#endif
}

VEC_INLINE Vec vec_min(Vec a, Vec b) {
#if defined(__AVX512F__)
  return (Vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
  return (Vec)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE__)
  return (Vec)_mm_min_ps((__m128)a, (__m128)b);
#else
  return vec_select(a < b, a, b);
#endif
}

// Sum and maximum over the lanes: halves folded onto each other.
VEC_INLINE float vec_sum(Vec v) {
#pragma GCC unroll 4
  for (int step = VEC_WIDTH / 2; step > 0; step /= 2) v += __builtin_shuffle(v, vec_lanes() ^ step);
  return v[0];
}

VEC_INLINE float vec_max_lane(Vec v) {
#pragma GCC unroll 4
  for (int step = VEC_WIDTH / 2; step > 0; step /= 2) v = vec_max(v, __builtin_shuffle(v, vec_lanes() ^ step));
  return v[0];
}

// Transposes VEC_WIDTH x VEC_WIDTH elements: a perfect shuffle of the rows, once per bit of the index.
VEC_INLINE void vec_transpose(Vec rows[VEC_WIDTH]) {
  const VecInt low = (vec_lanes() >> 1) + (vec_lanes() & 1) * VEC_WIDTH;
  const VecInt high = low + VEC_WIDTH / 2;
#pragma GCC unroll 4
  for (int done = 1; done < VEC_WIDTH; done *= 2) {
    Vec next[VEC_WIDTH];
#pragma GCC unroll 8
    for (int i = 0; i < VEC_WIDTH / 2; i++) {
      next[2 * i] = __builtin_shuffle(rows[i], rows[i + VEC_WIDTH / 2], low);
      next[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + VEC_WIDTH / 2], high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < VEC_WIDTH; i++) rows[i] = next[i];
  }
}

// e^x with a relative error of about 1e-7. x is held within [-87, 88], where the result is a normal number;
// NaN stays NaN. Cephes' expf: x = n ln 2 + r, a polynomial for e^r, n added to the exponent.
VEC_INLINE Vec vec_exp(Vec x) {
  const float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  const float to_integer = 12582912.0f; // 1.5 * 2^23: after adding it, the low bits hold the rounded value
  x = vec_min(vec_set(88.0f), vec_max(vec_set(-87.0f), x));
  Vec shifted = x * log2_e + to_integer;
  Vec n = shifted - to_integer;
  Vec r = x - n * ln2_high;
  r = r - n * ln2_low;
  Vec p = vec_set(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.0f);
  return (Vec)((VecBits)p + ((VecBits)shifted << 23));
}

// GELU, tanh form (arXiv 1606.08415): x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
#define GELU_SQRT_2_OVER_PI 0.7978845608f
#define GELU_CUBIC 0.044715f

// e^(-2u)
VEC_INLINE Vec vec_gelu_exp(Vec x) {
  return vec_exp(x * (-2.0f * GELU_SQRT_2_OVER_PI) * (x * x * GELU_CUBIC + 1.0f));
}

VEC_INLINE Vec vec_gelu(Vec x) {
  return x / (vec_gelu_exp(x) + 1.0f);
}

// s + x s (1 - s) 2u' with s = sigmoid(2u); 1 - s is written e^(-2u) s, which loses nothing near s = 1.
VEC_INLINE Vec vec_gelu_derivative(Vec x) {
  Vec e = vec_gelu_exp(x);
  Vec s = 1.0f / (e + 1.0f);
  Vec slope = (x * x * (3.0f * GELU_CUBIC) + 1.0f) * (2.0f * GELU_SQRT_2_OVER_PI);
  return s + x * s * (e * s) * slope;
}

#endif
