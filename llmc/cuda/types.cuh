// What all operations on the GPU share besides typed memory (zero/cuda_element.cuh): gradients, sums over a warp and
// a block in a fixed order, GELU.
#ifndef LLMC_CUDA_TYPES_CUH
#define LLMC_CUDA_TYPES_CUH

#include "../../zero/cuda_element.cuh"
#include "../ops.h"
#include "launch.h"

// Lets a kernel have more dynamic shared memory than every GPU grants unasked. A GPU that has less than `bytes` in
// all is an error.
static inline void allow_shared_memory(const void *kernel, size_t bytes) {
  const size_t unasked = 48 << 10;
  if (bytes > unasked) {
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
  }
}

// ---------------------------------------------------------------- gradients
// Writes a sum into a gradient, whose type is its own: the old value is added in fp32 and the result rounded once.
template <int WIDTH>
__device__ __forceinline__ void store_gradient(OpsGrad grad, size_t at, Packet<WIDTH> sum) {
  if (grad.accumulate) sum = add_packets(sum, load_packet_as<WIDTH>(grad.type, grad.data, at));
  store_packet_as(grad.type, grad.data, at, sum);
}

// ---------------------------------------------------------------- sums and maxima
#define LOG2_E 1.44269504f // e^x = 2^(x LOG2_E): powers of two are the processor's own exponential
// Halves folded onto each other: every lane gets the same bits. All 32 lanes take part.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int step = WARP_LANES / 2; step > 0; step /= 2) x += __shfl_xor_sync(FULL_WARP, x, step);
  return x;
}

// fmaxf takes the other operand where one is NaN.
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int step = WARP_LANES / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, step));
  return x;
}

// Over a block of THREADS threads in one dimension, a multiple of 32: warps first, then the warps' results in order.
// Every thread gets the same bits. All threads take part. COUNT sums at once need no more barriers than one.
template <int THREADS, int COUNT>
__device__ __forceinline__ void block_sums(float (&x)[COUNT]) {
  constexpr int WARPS = THREADS / WARP_LANES;
  SHARED(float, of_warp, [COUNT][WARPS]);
#pragma unroll
  for (int i = 0; i < COUNT; i++) x[i] = warp_sum(x[i]);
  __syncthreads(); // an earlier call's results have been read
  if (threadIdx.x % WARP_LANES == 0) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) of_warp[i][threadIdx.x / WARP_LANES] = x[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    x[i] = of_warp[i][0];
#pragma unroll
    for (int w = 1; w < WARPS; w++) x[i] += of_warp[i][w];
  }
}

template <int THREADS>
__device__ __forceinline__ float block_sum(float x) {
  float sum[1] = {x};
  block_sums<THREADS>(sum);
  return sum[0];
}

template <int THREADS>
__device__ __forceinline__ float block_max(float x) {
  constexpr int WARPS = THREADS / WARP_LANES;
  SHARED(float, of_warp, [WARPS]);
  x = warp_max(x);
  __syncthreads(); // an earlier call's results have been read
  if (threadIdx.x % WARP_LANES == 0) of_warp[threadIdx.x / WARP_LANES] = x;
  __syncthreads();
  float max = of_warp[0];
#pragma unroll
  for (int w = 1; w < WARPS; w++) max = fmaxf(max, of_warp[w]);
  return max;
}

// ---------------------------------------------------------------- GELU, tanh form (arXiv 1606.08415)
// x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
#define GELU_SQRT_2_OVER_PI 0.7978845608f
#define GELU_CUBIC 0.044715f
#define GELU_LARGEST_EXPONENT 88.0f // e^88 is finite, so that e^(-2u) sigmoid(2u) is never infinity times 0

// e^(-2u)
__device__ __forceinline__ float gelu_exp(float x) {
  return expf(fminf(x * (-2.0f * GELU_SQRT_2_OVER_PI) * (x * x * GELU_CUBIC + 1.0f), GELU_LARGEST_EXPONENT));
}

__device__ __forceinline__ float gelu(float x) {
  return x / (gelu_exp(x) + 1.0f);
}

// s + x s (1 - s) 2u' with s = sigmoid(2u); 1 - s is written e^(-2u) s, which loses nothing near s = 1.
__device__ __forceinline__ float gelu_derivative(float x) {
  float e = gelu_exp(x), s = 1.0f / (e + 1.0f);
  float slope = (x * x * (3.0f * GELU_CUBIC) + 1.0f) * (2.0f * GELU_SQRT_2_OVER_PI);
  return s + x * s * (e * s) * slope;
}

// ---------------------------------------------------------------- GELU, error-function form
#define SQRT_HALF 0.7071067812f
#define NORMAL_DENSITY_AT_0 0.3989422804f // 1 / sqrt(2 pi)
#define GELU_FAR 16.0f                    // from here on the density is far below the last bit of the rest

// The normal distribution's integral from -infinity to x, accurate where it is small too.
__device__ __forceinline__ float normal_integral(float x) {
  return 0.5f * erfcf(-x * SQRT_HALF);
}

__device__ __forceinline__ float gelu_erf(float x) {
  return x * normal_integral(x);
}

__device__ __forceinline__ float gelu_erf_derivative(float x) {
  float near = fminf(fmaxf(x, -GELU_FAR), GELU_FAR);
  return normal_integral(x) + near * expf(-0.5f * near * near) * NORMAL_DENSITY_AT_0;
}

#endif
