// Mathematics: the functions that CUDA adds to <math.h>, and min, max, abs for every type. The fast ones (__expf …)
// are exact here to the last bit or so: no kernel may rely on their errors.
#ifndef CUDAEMU_MATH_H
#define CUDAEMU_MATH_H

#include <algorithm>
#include <cstdlib>

#include "qualifiers.h"

// glibc declares some of these names for itself: macros take their place.
#define __expf(x) expf(x)
#define __exp10f(x) powf(10.0f, (x))
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
#define __powf(x, y) powf((x), (y))
#define __fdividef(x, y) ((float)(x) / (float)(y))
#define __frcp_rn(x) (1.0f / (float)(x))
#define __fsqrt_rn(x) sqrtf(x)
#define __frsqrt_rn(x) rsqrtf(x)
#define __fadd_rn(x, y) cudaemu_add((x), (y))
#define __fsub_rn(x, y) cudaemu_add((x), -(y))
#define __fmul_rn(x, y) cudaemu_multiply((x), (y))
#define __fdiv_rn(x, y) ((float)(x) / (float)(y))
#define __fmaf_rn(x, y, z) fmaf((x), (y), (z))

// Not to be fused with what stands around them: that is what the _rn functions are for.
__attribute__((noinline)) static inline float cudaemu_add(float x, float y) {
  return x + y;
}
__attribute__((noinline)) static inline float cudaemu_multiply(float x, float y) {
  return x * y;
}

static inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
}
static inline double rsqrt(double x) {
  return 1.0 / sqrt(x);
}
static inline float __saturatef(float x) {
  return x > 0 ? fminf(x, 1.0f) : 0.0f; // NaN becomes 0
}
static inline float normcdff(float x) {
  return 0.5f * erfcf(-x * 0.70710678f); // 1/sqrt(2)
}

// ---------------------------------------------------------------- min, max, abs
#define CUDAEMU_MIN_MAX(type)              \
  static inline type min(type a, type b) { \
    return b < a ? b : a;                  \
  }                                        \
  static inline type max(type a, type b) { \
    return a < b ? b : a;                  \
  }
CUDAEMU_MIN_MAX(int)
CUDAEMU_MIN_MAX(unsigned)
CUDAEMU_MIN_MAX(long)
CUDAEMU_MIN_MAX(unsigned long)
CUDAEMU_MIN_MAX(long long)
CUDAEMU_MIN_MAX(unsigned long long)
// A sum of signed and unsigned kinds is unsigned, as CUDA has it.
#define CUDAEMU_MIN_MAX_MIXED(type, first, second) \
  static inline type min(first a, second b) {      \
    return min((type)a, (type)b);                  \
  }                                                \
  static inline type max(first a, second b) {      \
    return max((type)a, (type)b);                  \
  }
CUDAEMU_MIN_MAX_MIXED(unsigned, int, unsigned)
CUDAEMU_MIN_MAX_MIXED(unsigned, unsigned, int)
CUDAEMU_MIN_MAX_MIXED(unsigned long, long, unsigned long)
CUDAEMU_MIN_MAX_MIXED(unsigned long, unsigned long, long)
CUDAEMU_MIN_MAX_MIXED(unsigned long long, long long, unsigned long long)
CUDAEMU_MIN_MAX_MIXED(unsigned long long, unsigned long long, long long)
// NaN loses against a number.
#define CUDAEMU_MIN_MAX_FLOAT(type, first, second, suffix) \
  static inline type min(first a, second b) {              \
    return fmin##suffix(a, b);                             \
  }                                                        \
  static inline type max(first a, second b) {              \
    return fmax##suffix(a, b);                             \
  }
CUDAEMU_MIN_MAX_FLOAT(float, float, float, f)
CUDAEMU_MIN_MAX_FLOAT(double, double, double, )
CUDAEMU_MIN_MAX_FLOAT(double, float, double, )
CUDAEMU_MIN_MAX_FLOAT(double, double, float, )
using std::abs; // int, long, long long, float, double: all in <cstdlib> and <cmath>

// ---------------------------------------------------------------- integers
static inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
static inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz((unsigned)x);
}
static inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll((unsigned long long)x);
}
static inline int __ffs(int x) {
  return __builtin_ffs(x);
}
static inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; bit++) reversed |= (x >> bit & 1) << (31 - bit);
  return reversed;
}
static inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)(((unsigned long long)a * b) >> 32);
}
static inline int __mulhi(int a, int b) {
  return (int)(((long long)a * b) >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ typedef unsigned __int128 Wide;
  return (unsigned long long)(((Wide)a * b) >> 64);
}
static inline int __mul24(int a, int b) {
  return (int)((unsigned)(a << 8 >> 8) * (unsigned)(b << 8 >> 8));
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  unsigned long long bytes = (unsigned long long)y << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) result |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)((((unsigned long long)high << 32 | low) << (shift & 31)) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)(((unsigned long long)high << 32 | low) >> (shift & 31));
}

// ---------------------------------------------------------------- bits
#define CUDAEMU_SAME_BITS(name, to, from)          \
  static inline to name(from value) {              \
    static_assert(sizeof(to) == sizeof(from), ""); \
    to bits;                                       \
    memcpy(&bits, &value, sizeof(bits));           \
    return bits;                                   \
  }
CUDAEMU_SAME_BITS(__float_as_int, int, float)
CUDAEMU_SAME_BITS(__int_as_float, float, int)
CUDAEMU_SAME_BITS(__float_as_uint, unsigned, float)
CUDAEMU_SAME_BITS(__uint_as_float, float, unsigned)
CUDAEMU_SAME_BITS(__double_as_longlong, long long, double)
CUDAEMU_SAME_BITS(__longlong_as_double, double, long long)

#endif
