// CUDA's keywords, for a compiler that does not know them.
#ifndef CUDAEMU_QUALIFIERS_H
#define CUDAEMU_QUALIFIERS_H

// Each of these also names an attribute or a function of libstdc++ or libc: their headers come first.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __managed__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __grid_constant__
#define __shared__ shared_memory_is_declared_with_SHARED_of_zero_cuda_launch_h

// Keeps a parameter's type from being deduced, so that an argument converts as in any call.
template <typename T>
struct CudaemuSame {
  typedef T type;
};

#endif
