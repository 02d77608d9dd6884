// The two half types and their functions, as cuda_bf16.h and cuda_fp16.h name them. Each operation is done in fp32
// and rounded once, which for these types gives the same bits as rounding the exact result.
#ifndef CUDAEMU_HALF_TYPES_H
#define CUDAEMU_HALF_TYPES_H

#include "math.h"
#include "qualifiers.h"
#include "vector_types.h"

// To nearest, ties to even; too large becomes infinite; every NaN becomes 0x7fff, as on NVIDIA's GPUs.
static inline unsigned short cudaemu_bfloat16_bits(float x) {
  unsigned bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
static inline float cudaemu_bfloat16_value(unsigned short bits) {
  return __uint_as_float((unsigned)bits << 16);
}

static inline unsigned short cudaemu_half_bits(float x) {
  const float smallest_normal = 6.103515625e-05f, too_large = 65520.0f; // 2^-14; halfway beyond the largest, 65504
  unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u;
  float magnitude = fabsf(x);
  if (!(magnitude == magnitude)) return 0x7fff;
  if (magnitude >= too_large) return (unsigned short)(sign | 0x7c00u);
  if (magnitude < smallest_normal) { // a multiple of 2^-24, which is the last bit of fp32 at 0.5
    return (unsigned short)(sign | (__float_as_uint(magnitude + 0.5f) - __float_as_uint(0.5f)));
  }
  unsigned m = bits & 0x7fffffffu;
  return (unsigned short)(sign | ((m - (112u << 23) + 0xfffu + (m >> 13 & 1u)) >> 13));
}
static inline float cudaemu_half_value(unsigned short bits) {
  unsigned exponent = bits >> 10 & 31u, mantissa = bits & 0x3ffu, sign = (unsigned)(bits & 0x8000u) << 16;
  if (exponent == 0)
    return __uint_as_float(sign | __float_as_uint((float)mantissa * 5.9604644775390625e-08f)); // 2^-24
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
  return __uint_as_float(sign | (exponent + 112u) << 23 | mantissa << 13);
}

// Type, pair: __nv_bfloat16, __nv_bfloat162; name, name2: as they stand in the functions' names.
#define CUDAEMU_HALF_TYPE(Type, Pair, name, name2)                             \
  struct Type {                                                                \
    unsigned short bits;                                                       \
    Type() = default;                                                          \
    Type(float x) : bits(cudaemu_##name##_bits(x)) {}                          \
    Type(double x) : bits(cudaemu_##name##_bits((float)x)) {}                  \
    Type(int x) : bits(cudaemu_##name##_bits((float)x)) {}                     \
    Type(unsigned x) : bits(cudaemu_##name##_bits((float)x)) {}                \
    operator float() const { return cudaemu_##name##_value(bits); }            \
    Type &operator+=(Type b) { return *this = Type((float)*this + (float)b); } \
    Type &operator-=(Type b) { return *this = Type((float)*this - (float)b); } \
    Type &operator*=(Type b) { return *this = Type((float)*this * (float)b); } \
    Type &operator/=(Type b) { return *this = Type((float)*this / (float)b); } \
  };                                                                           \
  struct alignas(4) Pair {                                                     \
    Type x, y;                                                                 \
    Pair() = default;                                                          \
    Pair(Type x, Type y) : x(x), y(y) {}                                       \
  };                                                                           \
  static inline Type operator+(Type a, Type b) {                               \
    return Type((float)a + (float)b);                                          \
  }                                                                            \
  static inline Type operator-(Type a, Type b) {                               \
    return Type((float)a - (float)b);                                          \
  }                                                                            \
  static inline Type operator*(Type a, Type b) {                               \
    return Type((float)a * (float)b);                                          \
  }                                                                            \
  static inline Type operator/(Type a, Type b) {                               \
    return Type((float)a / (float)b);                                          \
  }                                                                            \
  static inline Type operator-(Type a) {                                       \
    return Type(-(float)a);                                                    \
  }                                                                            \
  static inline bool operator==(Type a, Type b) {                              \
    return (float)a == (float)b;                                               \
  }                                                                            \
  static inline bool operator!=(Type a, Type b) {                              \
    return (float)a != (float)b;                                               \
  }                                                                            \
  static inline bool operator<(Type a, Type b) {                               \
    return (float)a < (float)b;                                                \
  }                                                                            \
  static inline bool operator>(Type a, Type b) {                               \
    return (float)a > (float)b;                                                \
  }                                                                            \
  static inline bool operator<=(Type a, Type b) {                              \
    return (float)a <= (float)b;                                               \
  }                                                                            \
  static inline bool operator>=(Type a, Type b) {                              \
    return (float)a >= (float)b;                                               \
  }                                                                            \
  static inline Type __float2##name(float x) {                                 \
    return Type(x);                                                            \
  }                                                                            \
  static inline Type __float2##name##_rn(float x) {                            \
    return Type(x);                                                            \
  }                                                                            \
  static inline float __##name##2float(Type x) {                               \
    return (float)x;                                                           \
  }                                                                            \
  static inline unsigned short __##name##_as_ushort(Type x) {                  \
    return x.bits;                                                             \
  }                                                                            \
  static inline Type __ushort_as_##name(unsigned short bits) {                 \
    Type x;                                                                    \
    x.bits = bits;                                                             \
    return x;                                                                  \
  }                                                                            \
  static inline Pair __floats2##name2##_rn(float x, float y) {                 \
    return Pair(Type(x), Type(y));                                             \
  }                                                                            \
  static inline Pair __float22##name2##_rn(float2 v) {                         \
    return Pair(Type(v.x), Type(v.y));                                         \
  }                                                                            \
  static inline float2 __##name2##2float2(Pair v) {                            \
    return make_float2((float)v.x, (float)v.y);                                \
  }                                                                            \
  static inline float __low2float(Pair v) {                                    \
    return (float)v.x;                                                         \
  }                                                                            \
  static inline float __high2float(Pair v) {                                   \
    return (float)v.y;                                                         \
  }                                                                            \
  static inline Type __low2##name(Pair v) {                                    \
    return v.x;                                                                \
  }                                                                            \
  static inline Type __high2##name(Pair v) {                                   \
    return v.y;                                                                \
  }                                                                            \
  static inline Pair __halves2##name2(Type x, Type y) {                        \
    return Pair(x, y);                                                         \
  }                                                                            \
  static inline Pair __##name##2##name2(Type x) {                              \
    return Pair(x, x);                                                         \
  }                                                                            \
  static inline Type __hadd(Type a, Type b) {                                  \
    return a + b;                                                              \
  }                                                                            \
  static inline Type __hsub(Type a, Type b) {                                  \
    return a - b;                                                              \
  }                                                                            \
  static inline Type __hmul(Type a, Type b) {                                  \
    return a * b;                                                              \
  }                                                                            \
  static inline Type __hdiv(Type a, Type b) {                                  \
    return a / b;                                                              \
  }                                                                            \
  static inline Type __hfma(Type a, Type b, Type c) {                          \
    return Type(fmaf((float)a, (float)b, (float)c));                           \
  }                                                                            \
  static inline Type __hneg(Type a) {                                          \
    return __ushort_as_##name(a.bits ^ 0x8000u);                               \
  }                                                                            \
  static inline Type __habs(Type a) {                                          \
    return __ushort_as_##name(a.bits & 0x7fffu);                               \
  }                                                                            \
  static inline Type __hmax(Type a, Type b) {                                  \
    return Type(fmaxf((float)a, (float)b));                                    \
  }                                                                            \
  static inline Type __hmin(Type a, Type b) {                                  \
    return Type(fminf((float)a, (float)b));                                    \
  }                                                                            \
  static inline bool __hisnan(Type a) {                                        \
    return (float)a != (float)a;                                               \
  }                                                                            \
  static inline int __hisinf(Type a) {                                         \
    return fabsf((float)a) == INFINITY ? ((float)a > 0 ? 1 : -1) : 0;          \
  }                                                                            \
  static inline bool __heq(Type a, Type b) {                                   \
    return a == b;                                                             \
  }                                                                            \
  static inline bool __hne(Type a, Type b) {                                   \
    return a != b;                                                             \
  }                                                                            \
  static inline bool __hlt(Type a, Type b) {                                   \
    return a < b;                                                              \
  }                                                                            \
  static inline bool __hle(Type a, Type b) {                                   \
    return a <= b;                                                             \
  }                                                                            \
  static inline bool __hgt(Type a, Type b) {                                   \
    return a > b;                                                              \
  }                                                                            \
  static inline bool __hge(Type a, Type b) {                                   \
    return a >= b;                                                             \
  }                                                                            \
  static inline Pair __hadd2(Pair a, Pair b) {                                 \
    return Pair(a.x + b.x, a.y + b.y);                                         \
  }                                                                            \
  static inline Pair __hsub2(Pair a, Pair b) {                                 \
    return Pair(a.x - b.x, a.y - b.y);                                         \
  }                                                                            \
  static inline Pair __hmul2(Pair a, Pair b) {                                 \
    return Pair(a.x * b.x, a.y * b.y);                                         \
  }                                                                            \
  static inline Pair __hfma2(Pair a, Pair b, Pair c) {                         \
    return Pair(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));                 \
  }

#endif
