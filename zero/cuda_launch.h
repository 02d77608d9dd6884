// How a kernel is launched and how it gets shared memory: plain CUDA under nvcc; with ZERO_CUDA_EMULATOR defined the
// same sources are compiled by g++ and run on the CPU by dev/cudaemu/ (its README lists what kernels may use there).
//
//   LAUNCH(kernel, grid, block, smem, stream, arguments…);  smem: bytes of dynamic shared memory; stream: a
//     cudaStream_t or a ZeroStream. A kernel with a comma in its template arguments goes into parentheses:
//     LAUNCH((softmax<float, 32>), …). It is named here itself, not through a variable: tests count kernels by name.
//   SHARED(float, tile, [32][33]);   a static shared array
//   DYN_SMEM(float, row);            the block's dynamic shared memory, as float *row
//   CUDA_CHECK(cudaMalloc(&p, n));   ends the program with file and line if the call fails
//
// Shared arrays are aligned to 16 bytes, so that vectors of 128 bits may be read from them.
#ifndef ZERO_CUDA_LAUNCH_H
#define ZERO_CUDA_LAUNCH_H

#include <cuda_runtime.h>

#include "error.h"

#define CUDA_CHECK(call) cuda_check((call), #call, __FILE__, __LINE__)

static inline void cuda_check(cudaError_t error, const char *what, const char *file, int line) {
  if (error != cudaSuccess) {
    zero_fatal_at(file, line, "CUDA: %s in '%s': %s", cudaGetErrorName(error), what, cudaGetErrorString(error));
  }
}

#ifdef ZERO_CUDA_EMULATOR

#define LAUNCH(kernel, grid, block, smem, stream, ...) \
  CUDAEMU_LAUNCH(kernel, (grid), (block), (smem), (cudaStream_t)(stream), __VA_ARGS__)
#define SHARED(type, name, dims) CUDAEMU_SHARED(type, name, dims)
#define DYN_SMEM(type, name) CUDAEMU_DYNAMIC_SHARED(type, name)

#else

// A kernel that cannot start (too large a block, too much shared memory) is reported here; what goes wrong while it
// runs is reported by a later call, as always with CUDA.
#define LAUNCH(kernel, grid, block, smem, stream, ...)                        \
  do {                                                                        \
    kernel<<<(grid), (block), (smem), (cudaStream_t)(stream)>>>(__VA_ARGS__); \
    cuda_check(cudaGetLastError(), "launch of " #kernel, __FILE__, __LINE__); \
  } while (0)
#define SHARED(type, name, dims) __shared__ __align__(16) type name dims
// One symbol of one type: two instances of a template may not declare it differently.
#define DYN_SMEM(type, name)                                             \
  extern __shared__ __align__(16) unsigned char dynamic_shared_memory[]; \
  type *name = reinterpret_cast<type *>(dynamic_shared_memory)

#endif
#endif
