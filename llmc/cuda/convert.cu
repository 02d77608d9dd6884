// Rounds fp32 sums into a gradient: a thread takes one packet.
#include "convert.cuh"

enum { CONVERT_THREADS = 256 };

template <int WIDTH>
__global__ void round_sums_kernel(OpsGrad grad, const float *sums, size_t count) {
  size_t at = ((size_t)blockIdx.x * CONVERT_THREADS + threadIdx.x) * WIDTH;
  if (at < count) store_gradient<WIDTH>(grad, at, load_packet<WIDTH, CACHE_STREAM>(sums + at));
}

void round_sums(OpsGrad grad, const float *sums, size_t count, ZeroStream stream) {
  DISPATCH_WIDTH(whole_packets<float>(count, address_bits(grad.data, sums)), float, WIDTH, {
    LAUNCH((round_sums_kernel<WIDTH>), grid_blocks(count, (size_t)CONVERT_THREADS * WIDTH), CONVERT_THREADS, 0,
           stream, grad, sums, count);
  });
}
