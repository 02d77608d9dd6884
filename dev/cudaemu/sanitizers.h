// Which sanitizer the program is built with, in one form for g++ and clang, and the calls of ASan that we need.
#ifndef CUDAEMU_SANITIZERS_H
#define CUDAEMU_SANITIZERS_H

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define CUDAEMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDAEMU_ASAN 1
#endif
#endif

// Only then is there a record of what shared memory was written: written.cc.
#ifdef CUDAEMU_ASAN
enum { CUDAEMU_CHECKS_WRITES = 1 };
#else
enum { CUDAEMU_CHECKS_WRITES = 0 };
#endif

#ifdef CUDAEMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
static inline void forbid_memory(const void *memory, size_t bytes) {
  __asan_poison_memory_region(memory, bytes);
}
static inline void allow_memory(const void *memory, size_t bytes) {
  __asan_unpoison_memory_region(memory, bytes);
}
#else
static inline void forbid_memory(const void *memory, size_t bytes) {
  (void)memory;
  (void)bytes;
}
static inline void allow_memory(const void *memory, size_t bytes) {
  (void)memory;
  (void)bytes;
}
#endif

#endif
