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

// *p in every lane, whatever its 32 bits mean.
VEC_INLINE Vec vec_repeat(const float *p) {
  uint32_t bits;
  memcpy(&bits, p, sizeof bits);
  return (Vec)(bits - (VecBits){0});
}

VEC_INLINE Vec vec_load(const float *p) {
  Vec v;
  memcpy(&v, p, sizeof v);
  return v;
}

VEC_INLINE void vec_store(float *p, Vec v) {
  memcpy(p, &v, sizeof v);
}

// Past the caches, where the processor can; p is aligned as a vector is. Before another thread reads what was stored,
// this one calls vec_finish_past_caches.
VEC_INLINE void vec_store_past_caches(float *p, Vec v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#elif defined(__AVX__)
  _mm256_stream_ps(p, (__m256)v);
#elif defined(__SSE__)
  _mm_stream_ps(p, (__m128)v);
#else
  vec_store(p, v);
#endif
}

VEC_INLINE void vec_finish_past_caches(void) {
#if defined(__SSE__)
  _mm_sfence();
#endif
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

// 2^x for x below 128, with a relative error of about 2e-7; what is too small for a normal number may become 0. NaN
// stays NaN. x = n + f with f in [0, 1): a polynomial for 2^f, of least relative error among those with p(0) = 1,
// times 2^n. With the factor log2 e folded into its argument half the work of vec_exp.
#define VEC_LOG2_E 1.44269504f
VEC_INLINE Vec vec_exp2(Vec x) {
#if defined(__AVX512DQ__)
  const int towards_minus_infinity = 1; // of the rounding whose remainder is taken
  Vec f = (Vec)_mm512_reduce_ps((__m512)x, towards_minus_infinity);
#else
  const float to_integer = 12582912.0f; // as in vec_exp
  x = vec_max(vec_set(-126.0f), x);
  Vec shifted = (x - 0.5f) + to_integer;
  Vec f = x - (shifted - to_integer);
#endif
  Vec p = vec_set(1.8671300868e-3f);
  p = p * f + 9.0170302754e-3f;
  p = p * f + 5.5799913150e-2f;
  p = p * f + 2.4016445014e-1f;
  p = p * f + 6.9315131181e-1f;
  p = p * f + 1.0f;
#if defined(__AVX512DQ__)
  return (Vec)_mm512_scalef_ps((__m512)p, (__m512)x); // p * 2^floor(x)
#else
  return (Vec)((VecBits)p + ((VecBits)shifted << 23));
#endif
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

// a polynomial, its highest power first; count is a constant where this is inlined.
VEC_INLINE Vec vec_polynomial(const float *coefficients, int count, Vec x) {
  Vec p = vec_set(coefficients[0]);
#pragma GCC unroll 16
  for (int i = 1; i < count; i++) p = p * x + coefficients[i];
  return p;
}

// The normal distribution's integral from -infinity to x; *exponential becomes e^(-x^2 / 2). Cephes' erff and erfcf
// of z = |x| / sqrt(2): a polynomial in z^2 up to 1, beyond that e^(-z^2) / z times one in 1 / z^2, another from 2
// on.
VEC_INLINE Vec vec_normal(Vec x, Vec *exponential) {
  static const float inner[] = {7.853861353153693e-5f,  -8.010193625184903e-4f, 5.188327685732524e-3f,
                                -2.685381193529856e-2f, 1.128358514861418e-1f,  -3.761262582423300e-1f,
                                1.128379165726710e+0f};
  static const float middle[] = {2.326819970068386e-2f,  -1.387039388740657e-1f, 3.687424674597105e-1f,
                                 -5.824733027278666e-1f, 6.210004621745983e-1f,  -4.944515323274145e-1f,
                                 3.404879937665872e-1f,  -2.741127028184656e-1f, 5.638259427386472e-1f};
  static const float outer[] = {-1.047766399936249e+1f, 1.297719955372516e+1f,  -7.495518717768503e+0f,
                                2.921019019210786e+0f,  -1.015265279202700e+0f, 4.218463358204948e-1f,
                                -2.820767439740514e-1f, 5.641895067754075e-1f};
  const float sqrt_half = 0.70710678f;
  Vec z = vec_select(x < 0.0f, -x, x) * sqrt_half, square = z * z;
  Vec e = vec_exp(-square), inverse = 1.0f / z, inverse_square = inverse * inverse;
  Vec erf = z * vec_polynomial(inner, sizeof inner / sizeof inner[0], square);
  Vec tail = vec_select(z < 2.0f, vec_polynomial(middle, sizeof middle / sizeof middle[0], inverse_square),
                        vec_polynomial(outer, sizeof outer / sizeof outer[0], inverse_square));
  Vec erfc = vec_select(z < 1.0f, 1.0f - erf, e * inverse * tail); // from 1 to 0 as z grows
  *exponential = e;
  return vec_select(x < 0.0f, 0.5f * erfc, 1.0f - 0.5f * erfc);
}

// GELU, error-function form: x times the normal distribution at x.
VEC_INLINE Vec vec_gelu_erf(Vec x) {
  Vec e;
  return x * vec_normal(x, &e);
}

VEC_INLINE Vec vec_gelu_erf_derivative(Vec x) {
  const float density_at_0 = 0.39894228f; // 1 / sqrt(2 pi)
  const float far = 16.0f;                // from here on the second term is far below the first one's last bit
  Vec e, normal = vec_normal(x, &e), bounded = vec_min(vec_set(far), vec_max(vec_set(-far), x));
  return normal + bounded * e * density_at_0;
}

// Cephes' tanhf, with a relative error of about 1e-7: a polynomial near 0, beyond that 1 - 2 / (e^(2 |x|) + 1).
VEC_INLINE Vec vec_tanh(Vec x) {
  static const float near[] = {-5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f,
                               -3.33332819422e-1f};
  const float border = 0.625f;
  Vec size = vec_select(x < 0.0f, -x, x), square = x * x;
  Vec far = 1.0f - 2.0f / (vec_exp(size * 2.0f) + 1.0f);
  Vec inner = x + x * square * vec_polynomial(near, sizeof near / sizeof near[0], square);
  return vec_select(size < border, inner, vec_select(x < 0.0f, -far, far));
}

#endif
