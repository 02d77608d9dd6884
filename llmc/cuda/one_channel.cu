// Linear layers of one output channel. Forward is a dot product for each row, a warp each; the input's gradient an
// outer product, a thread for each packet; the weight's a sum over rows, in slices that are then added in order.
#include "one_channel.cuh"

#include "column_sum.cuh"

enum {
  CHANNEL_THREADS = 128,
  CHANNEL_WARPS = CHANNEL_THREADS / WARP_LANES,
  // Slices follow from the rows alone, so that sums do not depend on the GPU; so few that column_sums adds them in
  // one pass.
  CHANNEL_SLICE_ROWS = 64,
  CHANNEL_MOST_SLICES = 64
};

template <typename T, int WIDTH>
__global__ void one_channel_forward_kernel(T *out, const T *inp, const T *weight, const T *bias, size_t N, size_t C) {
  const int lane = threadIdx.x % WARP_LANES;
  const size_t row = (size_t)blockIdx.x * CHANNEL_WARPS + threadIdx.x / WARP_LANES;
  if (row >= N) return;
  float sum = 0.0f;
#pragma unroll 4
  for (size_t at = (size_t)lane * WIDTH; at < C; at += WARP_LANES * WIDTH) {
    const Packet<WIDTH> x = load_packet<WIDTH>(inp + row * C + at), w = load_packet<WIDTH>(weight + at);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) sum += x.value[i] * w.value[i];
  }
  sum = warp_sum(sum);
  if (lane == 0) out[row] = from_float<T>(bias != NULL ? sum + to_float(*bias) : sum);
}

void one_channel_forward(void *out, const void *inp, const void *weight, const void *bias, size_t N, size_t C,
                         ZeroType type, ZeroStream stream) {
  DISPATCH_ROWS(type, C, address_bits(inp, weight), T, WIDTH, {
    LAUNCH((one_channel_forward_kernel<T, WIDTH>), grid_blocks(N, CHANNEL_WARPS), CHANNEL_THREADS, 0, stream,
           (T *)out, (const T *)inp, (const T *)weight, (const T *)bias, N, C);
  });
}

template <typename T, int WIDTH>
__global__ void one_channel_input_gradient_kernel(T *dinp, const T *dout, const T *weight, size_t N, size_t C) {
  const size_t packets_per_row = C / WIDTH, packet = (size_t)blockIdx.x * CHANNEL_THREADS + threadIdx.x;
  const size_t row = packet / packets_per_row, at = packet % packets_per_row * WIDTH;
  if (row >= N) return;
  const float factor = to_float(dout[row]);
  Packet<WIDTH> x = load_packet<WIDTH>(weight + at);
#pragma unroll
  for (int i = 0; i < WIDTH; i++) x.value[i] *= factor;
  store_packet(dinp + row * C + at, x);
}

void one_channel_input_gradient(void *dinp, const void *dout, const void *weight, size_t N, size_t C, ZeroType type,
                                ZeroStream stream) {
  DISPATCH_ROWS(type, C, address_bits(dinp, weight), T, WIDTH, {
    LAUNCH((one_channel_input_gradient_kernel<T, WIDTH>), grid_blocks(N * (C / WIDTH), CHANNEL_THREADS),
           CHANNEL_THREADS, 0, stream, (T *)dinp, (const T *)dout, (const T *)weight, N, C);
  });
}

static size_t slice_rows(size_t N) {
  const size_t slice = ceil_div(N, (size_t)CHANNEL_MOST_SLICES);
  return slice > CHANNEL_SLICE_ROWS ? slice : (size_t)CHANNEL_SLICE_ROWS;
}

// A thread for each packet of columns and each slice of rows, blockIdx.y. grad has a row of C for every slice.
template <typename T, int WIDTH>
__global__ void one_channel_weight_gradient_kernel(OpsGrad grad, const T *dout, const T *inp, size_t N, size_t C,
                                                   size_t rows_per_slice) {
  const size_t at = ((size_t)blockIdx.x * CHANNEL_THREADS + threadIdx.x) * WIDTH;
  const size_t first = blockIdx.y * rows_per_slice, end = first + rows_per_slice < N ? first + rows_per_slice : N;
  if (at >= C) return;
  Packet<WIDTH> sum = zero_packet<WIDTH>();
#pragma unroll 8
  for (size_t row = first; row < end; row++) {
    const Packet<WIDTH> x = load_packet<WIDTH>(inp + row * C + at);
    const float factor = to_float(dout[row]);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) sum.value[i] += x.value[i] * factor;
  }
  store_gradient(grad, blockIdx.y * C + at, sum);
}

// The slices' sums, then what column_sums needs.
size_t one_channel_scratch(size_t N, size_t C) {
  const size_t slices = ceil_div(N, slice_rows(N));
  return slices * C * sizeof(float) + column_sums_scratch(slices, C);
}

void one_channel_weight_gradient(OpsGrad dweight, const void *dout, const void *inp, size_t N, size_t C,
                                 ZeroType type, void *scratch, ZeroStream stream) {
  const size_t rows_per_slice = slice_rows(N), slices = ceil_div(N, rows_per_slice);
  const OpsGrad partials = {scratch, ZERO_F32, 0}, grad = slices > 1 ? partials : dweight;
  DISPATCH_ROWS(type, C, address_bits(grad.data, inp), T, WIDTH, {
    dim3 grid(grid_blocks(C, (size_t)CHANNEL_THREADS * WIDTH), (unsigned)slices);
    LAUNCH((one_channel_weight_gradient_kernel<T, WIDTH>), grid, CHANNEL_THREADS, 0, stream, grad, (const T *)dout,
           (const T *)inp, N, C, rows_per_slice);
  });
  if (slices > 1) column_sums(dweight, scratch, slices, C, ZERO_F32, (float *)scratch + slices * C, stream);
}
