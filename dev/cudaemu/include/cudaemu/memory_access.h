// Loads and stores with hints for the caches. Here they only check the alignment, which a GPU insists on.
#ifndef CUDAEMU_MEMORY_ACCESS_H
#define CUDAEMU_MEMORY_ACCESS_H

#include "qualifiers.h"
#include "thread.h"

__attribute__((noreturn)) void cudaemu_misaligned(const void *memory, size_t alignment, const char *file, int line);

template <typename T>
static inline void cudaemu_check_alignment(const T *memory, const char *file, int line) {
  if ((uintptr_t)memory % alignof(T) != 0) cudaemu_misaligned(memory, alignof(T), file, line);
}

#define CUDAEMU_LOAD(name)                               \
  template <typename T>                                  \
  static inline T name(const T *memory, CUDAEMU_PLACE) { \
    cudaemu_check_alignment(memory, file, line);         \
    return *memory;                                      \
  }
#define CUDAEMU_STORE(name)                                                                \
  template <typename T>                                                                    \
  static inline void name(T *memory, typename CudaemuSame<T>::type value, CUDAEMU_PLACE) { \
    cudaemu_check_alignment(memory, file, line);                                           \
    *memory = value;                                                                       \
  }
CUDAEMU_LOAD(__ldg)
CUDAEMU_LOAD(__ldca)
CUDAEMU_LOAD(__ldcg)
CUDAEMU_LOAD(__ldcs)
CUDAEMU_LOAD(__ldlu)
CUDAEMU_LOAD(__ldcv)
CUDAEMU_STORE(__stwb)
CUDAEMU_STORE(__stcg)
CUDAEMU_STORE(__stcs)
CUDAEMU_STORE(__stwt)

#endif
