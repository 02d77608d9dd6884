// Stands in for CUDA's header of this name (cp.async): copies from global to shared memory that arrive when the
// thread waits for them, and not before. See ../README.md.
#ifndef CUDAEMU_CUDA_PIPELINE_H
#define CUDAEMU_CUDA_PIPELINE_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda_runtime.h"

// zfill: the last bytes of the destination that become 0 instead.
struct CudaemuCopy {
  char *to;
  const char *from;
  size_t bytes, zfill;
};

// What one thread of a block has under way: groups, oldest first, and the copies that no commit has closed yet.
struct CudaemuPipeline {
  unsigned long long block; // whose; another block's copies are gone
  std::vector<std::vector<CudaemuCopy>> groups;
  std::vector<CudaemuCopy> open;
};

unsigned long long cudaemu_block_number(void);
int cudaemu_thread_number(void);
int cudaemu_left_out(const char *file, int line); // options.h
// Ends the program with a report unless the copy is one that cp.async can make.
void cudaemu_check_async_copy(const void *to, const void *from, size_t bytes, size_t zfill, const char *file,
                              int line);

static inline CudaemuPipeline &cudaemu_pipeline(void) {
  enum { MAX_THREADS = 1024 };
  static CudaemuPipeline of_thread[MAX_THREADS];
  CudaemuPipeline &pipeline = of_thread[cudaemu_thread_number()];
  if (pipeline.block != cudaemu_block_number()) {
    pipeline.block = cudaemu_block_number();
    pipeline.groups.clear();
    pipeline.open.clear();
  }
  return pipeline;
}

static inline void __pipeline_memcpy_async(void *to, const void *from, size_t bytes, size_t zfill = 0,
                                           CUDAEMU_PLACE) {
  cudaemu_check_async_copy(to, from, bytes, zfill, file, line);
  cudaemu_pipeline().open.push_back({(char *)to, (const char *)from, bytes, zfill});
}

static inline void __pipeline_commit(void) {
  CudaemuPipeline &pipeline = cudaemu_pipeline();
  pipeline.groups.push_back(pipeline.open);
  pipeline.open.clear();
}

// All groups but the last `prior` have arrived.
static inline void __pipeline_wait_prior(size_t prior, CUDAEMU_PLACE) {
  if (cudaemu_left_out(file, line)) return;
  CudaemuPipeline &pipeline = cudaemu_pipeline();
  while (pipeline.groups.size() > prior) {
    for (const CudaemuCopy &copy : pipeline.groups.front()) {
      // Word by word, so that each store passes the checks that the compiler puts before it.
      for (size_t at = 0; at < copy.bytes; at += sizeof(uint32_t)) {
        *(uint32_t *)(copy.to + at) = at < copy.bytes - copy.zfill ? *(const uint32_t *)(copy.from + at) : 0;
      }
    }
    pipeline.groups.erase(pipeline.groups.begin());
  }
}

#endif
