// What a CUDA thread knows of itself, and its block's barriers.
#ifndef CUDAEMU_THREAD_H
#define CUDAEMU_THREAD_H

#include "vector_types.h"

// The thread that runs now; the emulator writes it, kernels read it.
typedef struct {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
} CudaemuCurrent;
extern CudaemuCurrent cudaemu_current;

#define threadIdx (static_cast<const uint3 &>(cudaemu_current.thread))
#define blockIdx (static_cast<const uint3 &>(cudaemu_current.block))
#define blockDim (static_cast<const dim3 &>(cudaemu_current.block_dim))
#define gridDim (static_cast<const dim3 &>(cudaemu_current.grid_dim))
static constexpr int warpSize = 32;

// Where a call stands in the source: default arguments are evaluated at the caller.
#define CUDAEMU_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

// Waits for all threads of the block that have not ended. Returns for how many of them the predicate was not 0.
int cudaemu_barrier(int predicate, const char *file, int line);
void cudaemu_fence(const char *file, int line);

static inline void __syncthreads(CUDAEMU_PLACE) {
  cudaemu_barrier(0, file, line);
}
static inline int __syncthreads_count(int predicate, CUDAEMU_PLACE) {
  return cudaemu_barrier(predicate, file, line);
}
static inline int __syncthreads_or(int predicate, CUDAEMU_PLACE) {
  return cudaemu_barrier(predicate, file, line) > 0;
}
static inline int __syncthreads_and(int predicate, CUDAEMU_PLACE) {
  return cudaemu_barrier(predicate == 0, file, line) == 0;
}
static inline void __threadfence(CUDAEMU_PLACE) {
  cudaemu_fence(file, line);
}
static inline void __threadfence_block(CUDAEMU_PLACE) {
  cudaemu_fence(file, line);
}
static inline void __threadfence_system(CUDAEMU_PLACE) {
  cudaemu_fence(file, line);
}

#endif
