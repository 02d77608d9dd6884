// Atomic operations. One OS thread runs all CUDA threads, so that plain arithmetic is enough; the race check is told.
#ifndef CUDAEMU_ATOMIC_H
#define CUDAEMU_ATOMIC_H

#include "qualifiers.h"
#include "thread.h"

// Before an atomic access: alignment, the race check, and for float and double whether their order must be fixed.
void cudaemu_atomic_begin(const void *memory, size_t bytes, int floating, const char *file, int line);
void cudaemu_atomic_end(const void *memory);

template <typename T, typename Change>
__attribute__((noinline)) T cudaemu_atomic(T *memory, Change change, const char *file, int line) {
  T old, changed;
  cudaemu_atomic_begin(memory, sizeof(T), std::is_floating_point<T>::value, file, line);
  __atomic_load(memory, &old, __ATOMIC_RELAXED);
  changed = change(old);
  __atomic_store(memory, &changed, __ATOMIC_RELAXED);
  cudaemu_atomic_end(memory);
  return old;
}

#define CUDAEMU_ATOMIC(name, type, expression)                                         \
  static inline type name(type *memory, type value, CUDAEMU_PLACE) {                   \
    return cudaemu_atomic(                                                             \
        memory, [value](type old) -> type { return (type)(expression); }, file, line); \
  }
#define CUDAEMU_ATOMIC_32(name, expression) \
  CUDAEMU_ATOMIC(name, int, expression)     \
  CUDAEMU_ATOMIC(name, unsigned, expression)
#define CUDAEMU_ATOMIC_64(name, expression) \
  CUDAEMU_ATOMIC_32(name, expression)       \
  CUDAEMU_ATOMIC(name, unsigned long long, expression)

// Wraps around, as on a GPU, where C++ leaves the sum of two ints undefined.
CUDAEMU_ATOMIC(atomicAdd, int, (int)((unsigned)old + (unsigned)value))
CUDAEMU_ATOMIC(atomicAdd, unsigned, old + value)
CUDAEMU_ATOMIC(atomicAdd, unsigned long long, old + value)
CUDAEMU_ATOMIC(atomicAdd, float, old + value)
CUDAEMU_ATOMIC(atomicAdd, double, old + value)
CUDAEMU_ATOMIC(atomicSub, int, (int)((unsigned)old - (unsigned)value))
CUDAEMU_ATOMIC(atomicSub, unsigned, old - value)
CUDAEMU_ATOMIC_64(atomicMin, old < value ? old : value)
CUDAEMU_ATOMIC_64(atomicMax, old > value ? old : value)
CUDAEMU_ATOMIC_64(atomicAnd, old &value)
CUDAEMU_ATOMIC_64(atomicOr, old | value)
CUDAEMU_ATOMIC_64(atomicXor, old ^ value)
CUDAEMU_ATOMIC_64(atomicExch, ((void)old, value))
CUDAEMU_ATOMIC(atomicExch, float, ((void)old, value))
CUDAEMU_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
CUDAEMU_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)

#define CUDAEMU_ATOMIC_CAS(type)                                                                          \
  static inline type atomicCAS(type *memory, type compare, type value, CUDAEMU_PLACE) {                   \
    return cudaemu_atomic(                                                                                \
        memory, [compare, value](type old) -> type { return old == compare ? value : old; }, file, line); \
  }
CUDAEMU_ATOMIC_CAS(int)
CUDAEMU_ATOMIC_CAS(unsigned)
CUDAEMU_ATOMIC_CAS(unsigned short)
CUDAEMU_ATOMIC_CAS(unsigned long long)

#endif
