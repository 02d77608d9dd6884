// Stands in for CUDA's header of this name (cp.async): copies from global to shared memory that arrive when the
// thread waits for them, and not before. See ../README.md.
#ifndef CUDAEMU_CUDA_PIPELINE_H
#define CUDAEMU_CUDA_PIPELINE_H

#include <cstddef>
#include <cstdint>

#include "cuda_runtime.h"

// zfill: the last bytes of the destination that become 0 instead.
struct CudaemuCopy {
  char *to;
  const char *from;
  size_t bytes, zfill;
};

int cudaemu_left_out(const char *file, int line); // options.h
// Adds to the running thread's open group. Ends the program with a report unless it is a copy that cp.async can make.
void cudaemu_copy_later(const CudaemuCopy *copy, const char *file, int line);
void cudaemu_close_copies(void);
// Takes the oldest copy out of all groups but the last `prior`; 0: there is none.
int cudaemu_next_copy(size_t prior, CudaemuCopy *copy);

static inline void __pipeline_memcpy_async(void *to, const void *from, size_t bytes, size_t zfill = 0,
                                           CUDAEMU_PLACE) {
  const CudaemuCopy copy = {(char *)to, (const char *)from, bytes, zfill};
  cudaemu_copy_later(&copy, file, line);
}

static inline void __pipeline_commit(void) {
  cudaemu_close_copies();
}

// All groups but the last `prior` have arrived.
static inline void __pipeline_wait_prior(size_t prior, CUDAEMU_PLACE) {
  if (cudaemu_left_out(file, line)) return;
  for (CudaemuCopy copy; cudaemu_next_copy(prior, &copy);) {
    // Here, word by word, so that each access passes the checks that the compiler puts before it.
    for (size_t at = 0; at < copy.bytes; at += sizeof(uint32_t)) {
      *(uint32_t *)(copy.to + at) = at < copy.bytes - copy.zfill ? *(const uint32_t *)(copy.from + at) : 0;
    }
  }
}

#endif
