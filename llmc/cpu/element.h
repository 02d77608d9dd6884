// Typed memory: the only place of the CPU's kernels that knows how an element of a ZeroType is stored.
//
// A kernel is an always-inline function that takes `type` as its last argument and reads and writes through
// load_elements and store_elements, computing in fp32. FOR_TYPE calls it with the type as a constant, so that
// each type gets its own code with no branch inside. A new type is one more case in the three places below.
#ifndef LLMC_CPU_ELEMENT_H
#define LLMC_CPU_ELEMENT_H

#include "../../zero/error.h"
#include "../ops.h"
#include "vec.h"

#define FOR_TYPE(type, kernel, ...)          \
  do {                                       \
    switch (type) {                          \
      case ZERO_F32:                         \
        kernel(__VA_ARGS__, ZERO_F32);       \
        break;                               \
      default:                               \
        element_type_unknown(type, #kernel); \
    }                                        \
  } while (0)

__attribute__((noreturn)) static inline void element_type_unknown(ZeroType type, const char *kernel) {
  zero_fatal("%s: the CPU computes in fp32 only, found type %d", kernel, (int)type);
}

// n (at most VEC_WIDTH) elements from data[at] on; the other lanes are 0.
VEC_INLINE Vec load_elements(const void *data, size_t at, size_t n, ZeroType type) {
  switch (type) {
    case ZERO_F32:
      return vec_load_n((const float *)data + at, n);
    default:
      element_type_unknown(type, "load_elements");
  }
}

VEC_INLINE void store_elements(void *data, size_t at, size_t n, Vec v, ZeroType type) {
  switch (type) {
    case ZERO_F32:
      vec_store_n((float *)data + at, v, n);
      break;
    default:
      element_type_unknown(type, "store_elements");
  }
}

// Writes a sum into a gradient: the old value is added in fp32 and the result rounded once.
VEC_INLINE void store_gradient(OpsGrad grad, size_t at, size_t n, Vec sum, ZeroType type) {
  if (grad.accumulate) sum += load_elements(grad.data, at, n, type);
  store_elements(grad.data, at, n, sum, type);
}

#endif
