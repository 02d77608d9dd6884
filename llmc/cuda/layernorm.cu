// LayerNorm (arXiv 1607.06450) over rows of C channels.
//
// Forward gives a row to a warp: no barrier, and the second and third pass find the row in the first-level cache.
// Backward gives a slice of rows to a block, row after row, so that every column of the weight's and the bias's
// gradient stays with one thread; the slices' sums are then added in order.
#include "types.cuh"

enum { ROW_THREADS = 128, ROW_WARPS = ROW_THREADS / WARP_LANES };

// ---------------------------------------------------------------- forward
// Normalises one row, whose sum the warp knows. mean and variance in two passes: the sum of squared deviations does
// not cancel as E[x^2] - E[x]^2 does.
template <typename T, int WIDTH>
__device__ __forceinline__ void normalise_row(T *out, float *mean, float *rstd, const T *inp, const T *weight,
                                              const T *bias, size_t row, size_t C, float eps, float sum) {
  const size_t first = threadIdx.x % WARP_LANES * WIDTH, step = WARP_LANES * WIDTH;
  float m = sum / (float)C, squares = 0.0f;
  for (size_t at = first; at < C; at += step) {
    Packet<WIDTH> x = load_packet<WIDTH>(inp + row * C + at);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) squares += (x.value[i] - m) * (x.value[i] - m);
  }
  float r = 1.0f / sqrtf(warp_sum(squares) / (float)C + eps);

  for (size_t at = first; at < C; at += step) {
    Packet<WIDTH> x = load_packet<WIDTH>(inp + row * C + at);
    Packet<WIDTH> w = load_packet<WIDTH>(weight + at), b = load_packet<WIDTH>(bias + at);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) x.value[i] = (x.value[i] - m) * r * w.value[i] + b.value[i];
    store_packet<CACHE_STREAM>(out + row * C + at, x);
  }
  if (threadIdx.x % WARP_LANES == 0) {
    mean[row] = m;
    rstd[row] = r;
  }
}

template <typename T, int WIDTH>
__global__ void layernorm_forward_kernel(T *out, float *mean, float *rstd, const T *inp, const T *weight,
                                         const T *bias, size_t N, size_t C, float eps) {
  size_t row = (size_t)blockIdx.x * ROW_WARPS + threadIdx.x / WARP_LANES;
  if (row >= N) return;
  float sum = 0.0f;
  for (size_t at = threadIdx.x % WARP_LANES * WIDTH; at < C; at += WARP_LANES * WIDTH) {
    Packet<WIDTH> x = load_packet<WIDTH>(inp + row * C + at);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) sum += x.value[i];
  }
  normalise_row<T, WIDTH>(out, mean, rstd, inp, weight, bias, row, C, eps, warp_sum(sum));
}

void layernorm_forward(void *out, float *mean, float *rstd, const void *inp, const void *weight, const void *bias,
                       size_t N, size_t C, float eps, ZeroType type, ZeroStream stream) {
  if (N == 0) return;
  DISPATCH_ROWS(type, C, address_bits(out, inp, weight, bias), T, WIDTH, {
    LAUNCH((layernorm_forward_kernel<T, WIDTH>), grid_blocks(N, ROW_WARPS), ROW_THREADS, 0, stream, (T *)out, mean,
           rstd, (const T *)inp, (const T *)weight, (const T *)bias, N, C, eps);
  });
}

// The sum is normalised as it is kept: rounded to its type. Each lane reads back what it has written itself.
template <typename T, int WIDTH>
__global__ void fused_residual_layernorm_forward_kernel(T *residual, T *out, float *mean, float *rstd, const T *a,
                                                        const T *b, const T *weight, const T *bias, size_t N,
                                                        size_t C, float eps) {
  size_t row = (size_t)blockIdx.x * ROW_WARPS + threadIdx.x / WARP_LANES;
  if (row >= N) return;
  float sum = 0.0f;
  for (size_t at = threadIdx.x % WARP_LANES * WIDTH; at < C; at += WARP_LANES * WIDTH) {
    size_t place = row * C + at;
    Packet<WIDTH> x = add_packets(load_packet<WIDTH>(a + place), load_packet<WIDTH>(b + place));
    store_packet(residual + place, x);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) sum += to_float(from_float<T>(x.value[i]));
  }
  normalise_row<T, WIDTH>(out, mean, rstd, residual, weight, bias, row, C, eps, warp_sum(sum));
}

void fused_residual_layernorm_forward(void *residual, void *out, float *mean, float *rstd, const void *a,
                                      const void *b, const void *weight, const void *bias, size_t N, size_t C,
                                      float eps, ZeroType type, ZeroStream stream) {
  if (N == 0) return;
  DISPATCH_ROWS(type, C, address_bits(residual, out, a, b, weight, bias), T, WIDTH, {
    LAUNCH((fused_residual_layernorm_forward_kernel<T, WIDTH>), grid_blocks(N, ROW_WARPS), ROW_THREADS, 0, stream,
           (T *)residual, (T *)out, mean, rstd, (const T *)a, (const T *)b, (const T *)weight, (const T *)bias, N, C,
           eps);
  });
}

// ---------------------------------------------------------------- backward
// Slices follow from N alone, so that sums do not depend on the GPU: enough blocks to fill one, few enough that their
// sums weigh little beside the rows.
enum { SLICE_MIN_ROWS = 16, MOST_SLICES = 1024 };

static size_t slice_rows(size_t N) {
  size_t rows = ceil_div(N, (size_t)MOST_SLICES), least = SLICE_MIN_ROWS;
  return rows > least ? rows : least;
}

static size_t slice_count(size_t N) {
  return ceil_div(N, slice_rows(N));
}

size_t layernorm_backward_scratch(size_t N, size_t C) {
  return slice_count(N) * 2 * C * sizeof(float);
}

// h = (x - mean) rstd, g = dy w:  dx = rstd (g - mean(g) - h mean(g h)),  dweight += dy h,  dbias += dy.
// partials[slice] gets the slice's sums for the weight and, beside them, for the bias.
template <typename T, int WIDTH>
__global__ void layernorm_backward_kernel(T *dinp, float *partials, const T *dout, const T *add, const T *inp,
                                          const float *mean, const float *rstd, const T *weight, size_t N, size_t C,
                                          size_t rows_per_block) {
  DYN_SMEM(float, dweight); // (2, C), each column read and written by one thread alone
  float *dbias = dweight + C;
  const size_t column = threadIdx.x * WIDTH, step = ROW_THREADS * WIDTH;
  const size_t first_row = blockIdx.x * rows_per_block;
  const size_t end_row = first_row + rows_per_block < N ? first_row + rows_per_block : N;
  for (size_t at = column; at < C; at += step) {
    store_packet(dweight + at, zero_packet<WIDTH>());
    store_packet(dbias + at, zero_packet<WIDTH>());
  }

  for (size_t row = first_row; row < end_row; row++) {
    const size_t start = row * C;
    const float m = mean[row], r = rstd[row];
    float sums[2] = {0.0f, 0.0f}; // g, g h
    for (size_t at = column; at < C; at += step) {
      Packet<WIDTH> dy = load_packet<WIDTH>(dout + start + at), h = load_packet<WIDTH>(inp + start + at);
      Packet<WIDTH> w = load_packet<WIDTH>(weight + at);
      Packet<WIDTH> dw = load_packet<WIDTH>(dweight + at);
#pragma unroll
      for (int i = 0; i < WIDTH; i++) {
        h.value[i] = (h.value[i] - m) * r;
        float g = dy.value[i] * w.value[i];
        sums[0] += g;
        sums[1] += g * h.value[i];
        dw.value[i] += dy.value[i] * h.value[i];
      }
      store_packet(dweight + at, dw);
      store_packet(dbias + at, add_packets(load_packet<WIDTH>(dbias + at), dy));
    }
    block_sums<ROW_THREADS>(sums);
    const float mean_g = sums[0] / (float)C, mean_gh = sums[1] / (float)C;
    for (size_t at = column; at < C; at += step) {
      Packet<WIDTH> dy = load_packet<WIDTH>(dout + start + at), x = load_packet<WIDTH>(inp + start + at);
      Packet<WIDTH> w = load_packet<WIDTH>(weight + at), dx;
#pragma unroll
      for (int i = 0; i < WIDTH; i++) {
        float h = (x.value[i] - m) * r;
        dx.value[i] = (dy.value[i] * w.value[i] - mean_g - h * mean_gh) * r;
      }
      if (add != NULL) dx = add_packets(dx, load_packet<WIDTH>(add + start + at));
      store_packet(dinp + start + at, dx);
    }
  }

  float *partial = partials + blockIdx.x * 2 * C;
  for (size_t at = column; at < C; at += step) {
    store_packet(partial + at, load_packet<WIDTH>(dweight + at));
    store_packet(partial + C + at, load_packet<WIDTH>(dbias + at));
  }
}

enum { SUM_COLUMNS = WARP_LANES, SUM_GROUPS = 4 };

// grad[c] (+)= sum over slices of partials[slice * stride + c]: a block takes 32 columns, each of its warps every
// SUM_GROUPS-th slice.
__global__ void add_slices_kernel(OpsGrad grad, const float *partials, size_t slices, size_t stride, size_t C) {
  SHARED(float, sums, [SUM_GROUPS][SUM_COLUMNS]);
  size_t column = (size_t)blockIdx.x * SUM_COLUMNS + threadIdx.x;
  float sum = 0.0f;
  if (column < C) {
    for (size_t slice = threadIdx.y; slice < slices; slice += SUM_GROUPS) sum += partials[slice * stride + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= C) return;
#pragma unroll
  for (int group = 1; group < SUM_GROUPS; group++) sum += sums[group][threadIdx.x];
  store_gradient(grad, column, Packet<1>{{sum}});
}

static void add_slices(OpsGrad grad, const float *partials, size_t slices, size_t C, ZeroStream stream) {
  if (grad.data == NULL) return;
  LAUNCH(add_slices_kernel, grid_blocks(C, SUM_COLUMNS), dim3(SUM_COLUMNS, SUM_GROUPS), 0, stream, grad, partials,
         slices, 2 * C, C);
}

void layernorm_backward(void *dinp, OpsGrad dweight, OpsGrad dbias, const void *dout, const void *add,
                        const void *inp, const float *mean, const float *rstd, const void *weight, size_t N, size_t C,
                        ZeroType type, void *scratch, ZeroStream stream) {
  float *partials = (float *)scratch; // (slices, 2, C)
  const size_t slices = slice_count(N), smem = 2 * C * sizeof(float);
  if (slices > 0) {
    DISPATCH_ROWS(type, C, address_bits(dinp, dout, add, inp, weight, partials), T, WIDTH, {
      allow_shared_memory((const void *)layernorm_backward_kernel<T, WIDTH>, smem);
      LAUNCH((layernorm_backward_kernel<T, WIDTH>), (unsigned)slices, ROW_THREADS, smem, stream, (T *)dinp, partials,
             (const T *)dout, (const T *)add, (const T *)inp, mean, rstd, (const T *)weight, N, C, slice_rows(N));
    });
  }
  add_slices(dweight, partials, slices, C, stream);
  add_slices(dbias, partials + C, slices, C, stream);
}
