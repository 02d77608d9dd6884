// Attention, backward: two passes that compute the weights anew from the stored log-sum-exp, so that each gradient
// has one writer and no sum depends on which block comes first.
//   P = e^(scale Q K^T - lse),  dP = dO V^T,  dS = P (dP - D) with D = rowsum(O dO),
//   first pass, a tile of queries per block:  dQ = scale dS K,
//   second pass, a tile of keys per block:    dV = P^T dO,  dK = scale dS^T Q.
// O is rounded, and D with it. Exactly, a row of dS sums to 0: what the first pass finds instead is what D is off by,
// so the second pass has D as if O had not been rounded.
//
// FLOPs: 14 T^2 C per sequence, half of that causal; with atomic sums of dQ it would be 10. Bytes: as in forward,
// each pass reads what streams by from the second-level cache.
#include "attention.cuh"
#include "attention_cudnn.h"
#include "attention_fma.cuh"
#include "attention_mma.cuh"

// What streams by comes 32 rows at a time, what stays is 32 rows in fp32 and 64 in the half types: more, and heads of
// 128 channels would not fit the shared memory of GPUs with 99 KiB.
enum { BACKWARD_ROWS = 32, BACKWARD_COLUMNS = 32 };

size_t attention_backward_scratch(size_t B, size_t T, size_t C, size_t NH) {
  (void)C;
  return B * NH * T * sizeof(float); // D
}

// delta (B, NH, T) = D, one warp per row of a head.
template <typename T>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_delta_kernel(float *delta, const T *out, const T *dout, AttentionShape shape, size_t B) {
  const size_t i = (size_t)blockIdx.x * ATTENTION_WARPS + threadIdx.x / WARP_LANES; // of (B, T, NH)
  if (i >= B * shape.T * shape.NH) return;
  float sum = 0.0f;
  for (size_t c = threadIdx.x % WARP_LANES; c < shape.head; c += WARP_LANES) {
    sum = fmaf(to_float(out[i * shape.head + c]), to_float(dout[i * shape.head + c]), sum);
  }
  sum = warp_sum(sum);
  const size_t h = i % shape.NH, row = i / shape.NH, b = row / shape.T, t = row % shape.T;
  if (threadIdx.x % WARP_LANES == 0) delta[(b * shape.NH + h) * shape.T + t] = sum;
}

// The tensors of one call.
template <typename T>
struct BackwardTensors {
  T *dqkv;
  const T *dout, *qkv;
  const float *lse;
  float *delta;
};

template <typename Tiles>
static constexpr size_t backward_shared_bytes() {
  return 2 * (Tiles::ROWS + Tiles::COLUMNS) * Tiles::STRIDE * sizeof(typename Tiles::Element) +
         (Tiles::STAGE_FLOATS + 2 * Tiles::COLUMNS) * sizeof(float);
}

template <typename Tiles>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_backward_queries_kernel(BackwardTensors<typename Tiles::Element> x, AttentionShape shape) {
  typedef typename Tiles::Element T;
  DYN_SMEM(T, queries);
  T *douts = queries + Tiles::ROWS * Tiles::STRIDE, *keys = douts + Tiles::ROWS * Tiles::STRIDE;
  T *values = keys + Tiles::COLUMNS * Tiles::STRIDE;
  float *stage = reinterpret_cast<float *>(values + Tiles::COLUMNS * Tiles::STRIDE);
  const size_t first = (size_t)(gridDim.x - 1 - blockIdx.x) * Tiles::ROWS, h = blockIdx.y, b = blockIdx.z;
  const size_t length = attention_length(shape, b), stride = 3 * shape.C;
  const size_t q_at = b * shape.T * stride + h * shape.head;
  const T *k = x.qkv + q_at + shape.C, *v = k + shape.C;
  const T *dout = x.dout + b * shape.T * shape.C + h * shape.head;

  const size_t rows = attention_rows(length, first); // of padding nothing is read
  const size_t seen = rows == 0 ? 0 : shape.causal ? smaller(first + Tiles::ROWS, length) : length;
  const float scale = shape.scale * LOG2_E;
  float lse[Tiles::ROW_COUNT], delta[Tiles::ROW_COUNT], off[Tiles::ROW_COUNT], factor[Tiles::ROW_COUNT];
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) {
    const size_t t = first + Tiles::row(i), at = (b * shape.NH + h) * shape.T + t;
    lse[i] = t < length ? x.lse[at] * LOG2_E : 0.0f;
    delta[i] = t < length ? x.delta[at] : 0.0f;
    off[i] = 0.0f;
    factor[i] = shape.scale;
  }
  load_tile<Tiles, Tiles::ROWS>(queries, x.qkv + q_at + first * stride, stride, rows, shape);
  load_tile<Tiles, Tiles::ROWS>(douts, dout + first * shape.C, shape.C, rows, shape);

  typename Tiles::Sums dqueries;
  memset(&dqueries, 0, sizeof dqueries);
  for (size_t key = 0; key < seen; key += Tiles::COLUMNS) {
    __syncthreads(); // the tiles before have been used
    load_tile<Tiles, Tiles::COLUMNS>(keys, k + key * stride, stride, length - key, shape);
    load_tile<Tiles, Tiles::COLUMNS>(values, v + key * stride, stride, length - key, shape);
    __syncthreads();
    typename Tiles::Scores weights, dscores;
    Tiles::multiply(weights, queries, keys);
    Tiles::multiply(dscores, douts, values);
    const bool all = attention_all_visible(shape, length, first, Tiles::ROWS, key, Tiles::COLUMNS);
#pragma unroll
    for (int i = 0; i < Tiles::ROW_COUNT; i++) {
#pragma unroll
      for (int j = 0; j < Tiles::COLUMN_COUNT; j++) {
        const bool visible = all || attention_visible(shape, length, first + Tiles::row(i), key + Tiles::column(j));
        const float weight = exp2f(fmaf(weights.at(i, j), scale, -lse[i]));
        dscores.at(i, j) = visible ? weight * (dscores.at(i, j) - delta[i]) : 0.0f;
        off[i] += dscores.at(i, j);
      }
    }
    Tiles::accumulate(dqueries, dscores, keys, stage);
  }
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) {
#pragma unroll
    for (int step = Tiles::ROW_LANES / 2; step > 0; step /= 2) off[i] += __shfl_xor_sync(FULL_WARP, off[i], step);
    const size_t t = first + Tiles::row(i);
    if (t < length && threadIdx.x % Tiles::ROW_LANES == 0) {
      x.delta[(b * shape.NH + h) * shape.T + t] = delta[i] + off[i];
    }
  }
  store_sums<Tiles>(x.dqkv + q_at + first * stride, queries, dqueries, factor, stride, shape.T - first, shape);
}

template <typename Tiles>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_backward_keys_kernel(BackwardTensors<typename Tiles::Element> x, AttentionShape shape) {
  typedef typename Tiles::Element T;
  DYN_SMEM(T, keys);
  T *values = keys + Tiles::ROWS * Tiles::STRIDE, *queries = values + Tiles::ROWS * Tiles::STRIDE;
  T *douts = queries + Tiles::COLUMNS * Tiles::STRIDE;
  float *lse = reinterpret_cast<float *>(douts + Tiles::COLUMNS * Tiles::STRIDE), *delta = lse + Tiles::COLUMNS;
  float *stage = delta + Tiles::COLUMNS;
  // Under a causal mask the first keys have the most queries: they begin first.
  const size_t first = (size_t)blockIdx.x * Tiles::ROWS, h = blockIdx.y, b = blockIdx.z;
  const size_t length = attention_length(shape, b), stride = 3 * shape.C;
  const size_t q_at = b * shape.T * stride + h * shape.head, k_at = q_at + shape.C, v_at = k_at + shape.C;
  const T *q = x.qkv + q_at, *dout = x.dout + b * shape.T * shape.C + h * shape.head;
  const size_t row_at = (b * shape.NH + h) * shape.T;

  const size_t rows = attention_rows(length, first); // of padding nothing is read
  const float scale = shape.scale * LOG2_E;
  load_tile<Tiles, Tiles::ROWS>(keys, x.qkv + k_at + first * stride, stride, rows, shape);
  load_tile<Tiles, Tiles::ROWS>(values, x.qkv + v_at + first * stride, stride, rows, shape);

  typename Tiles::Sums dkeys, dvalues;
  memset(&dkeys, 0, sizeof dkeys);
  memset(&dvalues, 0, sizeof dvalues);
  const size_t end = rows == 0 ? 0 : length; // keys of padding are seen by nobody
  for (size_t query = shape.causal ? first : 0; query < end; query += Tiles::COLUMNS) {
    __syncthreads(); // the tiles before have been used
    load_tile<Tiles, Tiles::COLUMNS>(queries, q + query * stride, stride, length - query, shape);
    load_tile<Tiles, Tiles::COLUMNS>(douts, dout + query * shape.C, shape.C, length - query, shape);
    if (threadIdx.x < Tiles::COLUMNS) {
      const size_t t = query + threadIdx.x;
      lse[threadIdx.x] = t < length ? x.lse[row_at + t] * LOG2_E : 0.0f;
      delta[threadIdx.x] = t < length ? x.delta[row_at + t] : 0.0f;
    }
    __syncthreads();
    typename Tiles::Scores weights, dscores;
    Tiles::multiply(weights, keys, queries);
    Tiles::multiply(dscores, values, douts);
    const bool all = attention_all_visible(shape, length, query, Tiles::COLUMNS, first, Tiles::ROWS);
#pragma unroll
    for (int j = 0; j < Tiles::COLUMN_COUNT; j++) {
      const int column = Tiles::column(j);
#pragma unroll
      for (int i = 0; i < Tiles::ROW_COUNT; i++) {
        const bool visible = all || attention_visible(shape, length, query + column, first + Tiles::row(i));
        const float weight = visible ? exp2f(fmaf(weights.at(i, j), scale, -lse[column])) : 0.0f;
        weights.at(i, j) = weight;
        dscores.at(i, j) = visible ? weight * (dscores.at(i, j) - delta[column]) : 0.0f;
      }
    }
    Tiles::accumulate(dvalues, weights, douts, stage);
    Tiles::accumulate(dkeys, dscores, queries, stage);
  }
  float one[Tiles::ROW_COUNT], factor[Tiles::ROW_COUNT];
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) one[i] = 1.0f, factor[i] = shape.scale;
  store_sums<Tiles>(x.dqkv + k_at + first * stride, keys, dkeys, factor, stride, shape.T - first, shape);
  store_sums<Tiles>(x.dqkv + v_at + first * stride, values, dvalues, one, stride, shape.T - first, shape);
}

template <typename Tiles>
static void launch_backward(void *dqkv, const void *dout, const void *out, const float *lse, const void *qkv,
                            AttentionShape shape, size_t B, float *delta, ZeroStream stream) {
  typedef typename Tiles::Element T;
  BackwardTensors<T> x = {(T *)dqkv, (const T *)dout, (const T *)qkv, lse, delta};
  LAUNCH((attention_delta_kernel<T>), grid_blocks(B * shape.T * shape.NH, ATTENTION_WARPS), ATTENTION_THREADS, 0,
         stream, delta, (const T *)out, (const T *)dout, shape, B);
  dim3 grid(grid_blocks(shape.T, Tiles::ROWS), (unsigned)shape.NH, (unsigned)B);
  ATTENTION_LAUNCH((attention_backward_queries_kernel<Tiles>), grid, backward_shared_bytes<Tiles>(), stream, x,
                   shape);
  ATTENTION_LAUNCH((attention_backward_keys_kernel<Tiles>), grid, backward_shared_bytes<Tiles>(), stream, x, shape);
}

void attention_backward(void *dqkv, const void *dout, const void *out, const float *lse, const void *qkv,
                        const int *lengths, size_t B, size_t T, size_t C, size_t NH, int causal, ZeroType type,
                        void *scratch, ZeroStream stream) {
  if (B == 0 || T == 0) return;
#ifdef USE_CUDNN
  const AttentionCall call = {type, B, T, C, NH, causal, lengths != NULL, address_bits(dqkv, dout, out, lse, qkv)};
  if (attention_uses_cudnn(&call)) {
    attention_cudnn_backward(dqkv, dout, out, lse, qkv, &call, stream);
    return;
  }
#endif
  AttentionShape shape = attention_shape(T, C, NH, lengths, causal, type, address_bits(dqkv, dout, qkv));
  float *delta = (float *)scratch;
  DISPATCH_HEAD(shape.head, D, {
    switch (type) {
      case ZERO_F32:
        launch_backward<FmaTiles<D, BACKWARD_ROWS, BACKWARD_COLUMNS>>(dqkv, dout, out, lse, qkv, shape, B, delta,
                                                                      stream);
        break;
      case ZERO_BF16:
        launch_backward<MmaTiles<__nv_bfloat16, D, BACKWARD_COLUMNS, MMA_ROUNDED>>(dqkv, dout, out, lse, qkv, shape,
                                                                                   B, delta, stream);
        break;
      case ZERO_F16:
        launch_backward<MmaTiles<__half, D, BACKWARD_COLUMNS, MMA_ROUNDED>>(dqkv, dout, out, lse, qkv, shape, B,
                                                                            delta, stream);
        break;
      default:
        element_type_unknown(type, __func__);
    }
  });
}
