// Rows by number: gathered from a tensor, and their gradients put back. A thread takes one packet.
#include <assert.h>

#include "types.cuh"

enum { ROWS_THREADS = 256 };

template <typename T, int WIDTH>
__global__ void gather_rows_kernel(T *out, const T *inp, const int *index, size_t M, size_t N, size_t C) {
  const size_t packets_per_row = C / WIDTH, packet = (size_t)blockIdx.x * ROWS_THREADS + threadIdx.x;
  const size_t m = packet / packets_per_row, at = packet % packets_per_row * WIDTH;
  if (m >= M) return;
  const int n = index[m];
  assert(n == -1 || (n >= 0 && (size_t)n < N));
  Packet<WIDTH> x = zero_packet<WIDTH>();
  if (n >= 0) x = load_packet<WIDTH>(inp + (size_t)n * C + at);
  store_packet(out + m * C + at, x);
}

void gather_rows(void *out, const void *inp, const int *index, size_t M, size_t N, size_t C, ZeroType type,
                 ZeroStream stream) {
  if (M == 0) return;
  DISPATCH_ROWS(type, C, address_bits(out, inp), T, WIDTH, {
    LAUNCH((gather_rows_kernel<T, WIDTH>), grid_blocks(M * (C / WIDTH), ROWS_THREADS), ROWS_THREADS, 0, stream,
           (T *)out, (const T *)inp, index, M, N, C);
  });
}

template <typename T, int WIDTH>
__global__ void scatter_rows_kernel(T *out, const T *inp, const int *index, size_t M, size_t N, size_t C) {
  const size_t packets_per_row = C / WIDTH, packet = (size_t)blockIdx.x * ROWS_THREADS + threadIdx.x;
  const size_t m = packet / packets_per_row, at = packet % packets_per_row * WIDTH;
  if (m >= M) return;
  const int n = index[m];
  assert(n == -1 || (n >= 0 && (size_t)n < N));
  if (n >= 0) store_packet(out + (size_t)n * C + at, load_packet<WIDTH>(inp + m * C + at));
}

void scatter_rows(void *out, const void *inp, const int *index, size_t M, size_t N, size_t C, ZeroType type,
                  ZeroStream stream) {
  if (N * C > 0) CUDA_CHECK(cudaMemsetAsync(out, 0, N * C * zero_type_size(type), (cudaStream_t)stream));
  if (M == 0) return;
  DISPATCH_ROWS(type, C, address_bits(out, inp), T, WIDTH, {
    LAUNCH((scatter_rows_kernel<T, WIDTH>), grid_blocks(M * (C / WIDTH), ROWS_THREADS), ROWS_THREADS, 0, stream,
           (T *)out, (const T *)inp, index, M, N, C);
  });
}
