// Attention, backward: two passes that compute the weights anew from the stored log-sum-exp, so that each gradient
// has one writer and no sum depends on which block comes first.
//   P = e^(scale Q K^T - lse),  dP = dO V^T,  dS = P (dP - D) with D = rowsum(O dO),
//   first pass, a tile of queries per block:  dQ = scale dS K,
//   second pass, a tile of keys per block:    dV = P^T dO,  dK = scale dS^T Q.
// O is rounded, and D with it. Exactly, a row of dS sums to 0: what the first pass finds instead is what D is off by,
// so the second pass has D as if O had not been rounded.
// With dropout's factors F, drawn anew by each pass, dV = (F P)^T dO and dP = F (dO V^T); O, and D with it, hold F.
//
// FLOPs: 14 T^2 C per sequence, half of that causal; with atomic sums of dQ it would be 10. Bytes: as in forward,
// each pass reads what streams by from the second-level cache.
#include "attention.cuh"
#include "attention_cudnn.h"
#include "attention_fma.cuh"
#include "attention_mma.cuh"

// What streams by comes 32 rows at a time (in the half types 64 where the registers have room), what stays is 32 rows
// in fp32 and 64 in the half types: more, and heads of 128 channels would not fit the shared memory of GPUs with 99
// KiB.
enum { BACKWARD_ROWS = 32, BACKWARD_COLUMNS = 32 };

size_t attention_backward_scratch(const OpsSequences *sequences, size_t C, size_t NH) {
  (void)C;
  return NH * sequences->rows * sizeof(float); // D
}

// The tensors of one call.
template <typename T>
struct BackwardTensors {
  T *dqkv;
  const T *dout, *out, *qkv;
  const float *lse;
  float *delta; // D as lse lies, from the first pass for the second
};

// Both passes' dropout is ROWS * COLUMNS bits.
template <typename Tiles, bool DROPS>
static constexpr size_t backward_shared_bytes() {
  return (2 * Tiles::ROWS * Tiles::STRIDE + Stream<Tiles>::ELEMENTS) * sizeof(typename Tiles::Element) +
         (Tiles::STAGE_FLOATS + 2 * 2 * Tiles::COLUMNS) * sizeof(float) +
         (DROPS ? DropoutTile<Tiles::ROWS, Tiles::COLUMNS>::WORDS * sizeof(uint32_t) : 0);
}

// delta[row] = D of the tile's `rows` rows, each by some neighbouring lanes; out: of its first row, douts: the tile.
template <typename Tiles, typename T>
__device__ __forceinline__ void row_products(float *delta, const T *out, const T *douts, size_t rows,
                                             const AttentionShape &shape) {
  constexpr int LANES = ATTENTION_THREADS / Tiles::ROWS, WIDTH = full_packet<T>();
  const int row = threadIdx.x / LANES, lane = threadIdx.x % LANES, head = (int)shape.head;
  const T *a = out + row * shape.C, *b = douts + row * Tiles::STRIDE;
  float sum = 0.0f;
  if ((size_t)row < rows && shape.packets) {
    for (int c = lane * WIDTH; c < head; c += LANES * WIDTH) {
      const Packet<WIDTH> x = load_packet<WIDTH>(a + c), y = load_packet<WIDTH>(b + c);
#pragma unroll
      for (int i = 0; i < WIDTH; i++) sum = fmaf(x.value[i], y.value[i], sum);
    }
  } else if ((size_t)row < rows) {
    for (int c = lane; c < head; c += LANES) sum = fmaf(to_float(a[c]), to_float(b[c]), sum);
  }
#pragma unroll
  for (int step = LANES / 2; step > 0; step /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, step);
  if (lane == 0) delta[row] = sum;
}

template <typename Tiles, bool DROPS>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_backward_queries_kernel(BackwardTensors<typename Tiles::Element> x, AttentionShape shape) {
  typedef typename Tiles::Element T;
  DYN_SMEM(T, queries);
  T *douts = queries + Tiles::ROWS * Tiles::STRIDE, *streamed = douts + Tiles::ROWS * Tiles::STRIDE;
  float *stage = reinterpret_cast<float *>(streamed + Stream<Tiles>::ELEMENTS);
  const DropoutTile<Tiles::ROWS, Tiles::COLUMNS> dropout = {
      reinterpret_cast<uint32_t *>(stage + Tiles::STAGE_FLOATS)};
  SHARED(float, deltas, [Tiles::ROWS]);
  const size_t first = (size_t)(gridDim.x - 1 - blockIdx.x) * Tiles::ROWS;
  const AttentionHead head = attention_head(shape, blockIdx.z, blockIdx.y);
  const size_t length = head.length, stride = 3 * shape.C;
  if (first >= length) return;
  const size_t q_at = head.start * stride + head.column;
  const size_t out_at = (head.start + first) * shape.C + head.column;
  const Stream<Tiles> keys_values = {streamed, x.qkv + q_at + shape.C, x.qkv + q_at + 2 * shape.C, stride, stride,
                                     length};

  const size_t rows = length - first, seen = shape.causal ? smaller(first + Tiles::ROWS, length) : length;
  const float scale = shape.scale * LOG2_E;
  load_tile<Tiles, Tiles::ROWS>(queries, x.qkv + q_at + first * stride, stride, rows, shape);
  load_tile<Tiles, Tiles::ROWS>(douts, x.dout + out_at, shape.C, rows, shape);
  wait_for_tiles();
  if (Tiles::BUFFERS == 2) keys_values.load(0, 0, shape);
  __syncthreads();
  row_products<Tiles>(deltas, x.out + out_at, douts, rows, shape);
  typename Tiles::Left left_queries, left_douts;
  Tiles::hold(left_queries, queries);
  Tiles::hold(left_douts, douts);
  __syncthreads();
  float lse[Tiles::ROW_COUNT], delta[Tiles::ROW_COUNT], off[Tiles::ROW_COUNT], factor[Tiles::ROW_COUNT];
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) {
    const size_t t = first + Tiles::row(i);
    lse[i] = t < length ? x.lse[head.lse + t] * LOG2_E : 0.0f;
    delta[i] = deltas[Tiles::row(i)];
    off[i] = 0.0f;
    factor[i] = shape.scale;
  }

  typename Tiles::Sums dqueries;
  memset(&dqueries, 0, sizeof dqueries);
  size_t number = 0;
  for (size_t key = 0; key < seen; key += Tiles::COLUMNS, number++) {
    if (DROPS) dropout.draw(number, shape, head, first, key);
    keys_values.advance(number, key, seen, shape);
    typename Tiles::Scores weights, dscores;
    Tiles::multiply(weights, left_queries, keys_values.tile(number, 0));
    Tiles::multiply(dscores, left_douts, keys_values.tile(number, 1));
    const bool all = attention_all_visible(shape, length, first, Tiles::ROWS, key, Tiles::COLUMNS);
#pragma unroll
    for (int i = 0; i < Tiles::ROW_COUNT; i++) {
#pragma unroll
      for (int j = 0; j < Tiles::COLUMN_COUNT; j++) {
        const bool visible = all || attention_visible(shape, length, first + Tiles::row(i), key + Tiles::column(j));
        const float weight = exp2f(fmaf(weights.at(i, j), scale, -lse[i]));
        if (DROPS) {
          const bool kept = dropout.kept(number, Tiles::row(i), Tiles::column(j));
          dscores.at(i, j) = kept ? dscores.at(i, j) * shape.dropout.scale : 0.0f;
        }
        dscores.at(i, j) = visible ? weight * (dscores.at(i, j) - delta[i]) : 0.0f;
        off[i] += dscores.at(i, j);
      }
    }
    Tiles::accumulate(dqueries, dscores, keys_values.tile(number, 0), stage);
  }
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) {
#pragma unroll
    for (int step = Tiles::ROW_LANES / 2; step > 0; step /= 2) off[i] += __shfl_xor_sync(FULL_WARP, off[i], step);
    const size_t t = first + Tiles::row(i);
    if (t < length && threadIdx.x % Tiles::ROW_LANES == 0) {
      x.delta[head.lse + t] = delta[i] + off[i];
    }
  }
  store_sums<Tiles>(x.dqkv + q_at + first * stride, queries, dqueries, factor, stride, rows, shape);
}

template <typename Tiles, bool DROPS>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_backward_keys_kernel(BackwardTensors<typename Tiles::Element> x, AttentionShape shape) {
  typedef typename Tiles::Element T;
  DYN_SMEM(T, keys);
  T *values = keys + Tiles::ROWS * Tiles::STRIDE, *streamed = values + Tiles::ROWS * Tiles::STRIDE;
  float *statistics = reinterpret_cast<float *>(streamed + Stream<Tiles>::ELEMENTS); // (2, 2, COLUMNS)
  float *stage = statistics + 2 * 2 * Tiles::COLUMNS;
  const DropoutTile<Tiles::COLUMNS, Tiles::ROWS> dropout = {
      reinterpret_cast<uint32_t *>(stage + Tiles::STAGE_FLOATS)};
  // Under a causal mask the first keys have the most queries: they begin first.
  const size_t first = (size_t)blockIdx.x * Tiles::ROWS;
  const AttentionHead head = attention_head(shape, blockIdx.z, blockIdx.y);
  const size_t length = head.length, rows = length - first, stride = 3 * shape.C;
  if (first >= length) return;
  const size_t q_at = head.start * stride + head.column, k_at = q_at + shape.C, v_at = k_at + shape.C;
  const Stream<Tiles> queries_douts = {streamed, x.qkv + q_at, x.dout + head.start * shape.C + head.column,
                                       stride,   shape.C,      length};

  const float scale = shape.scale * LOG2_E;
  load_tile<Tiles, Tiles::ROWS>(keys, x.qkv + k_at + first * stride, stride, rows, shape);
  load_tile<Tiles, Tiles::ROWS>(values, x.qkv + v_at + first * stride, stride, rows, shape);
  wait_for_tiles();
  const size_t begin = shape.causal ? first : 0;
  if (Tiles::BUFFERS == 2) queries_douts.load(0, begin, shape);
  __syncthreads();
  typename Tiles::Left left_keys, left_values;
  Tiles::hold(left_keys, keys);
  Tiles::hold(left_values, values);

  typename Tiles::Sums dkeys, dvalues;
  memset(&dkeys, 0, sizeof dkeys);
  memset(&dvalues, 0, sizeof dvalues);
  size_t number = 0;
  for (size_t query = begin; query < length; query += Tiles::COLUMNS, number++) {
    // Those of the tile before may still be in use.
    float *lse = statistics + number % 2 * 2 * Tiles::COLUMNS, *delta = lse + Tiles::COLUMNS;
    if (threadIdx.x < Tiles::COLUMNS) {
      const size_t t = query + threadIdx.x;
      lse[threadIdx.x] = t < length ? x.lse[head.lse + t] * LOG2_E : 0.0f;
      delta[threadIdx.x] = t < length ? x.delta[head.lse + t] : 0.0f;
    }
    if (DROPS) dropout.draw(number, shape, head, query, first);
    queries_douts.advance(number, query, length, shape);
    typename Tiles::Scores weights, dscores;
    Tiles::multiply(weights, left_keys, queries_douts.tile(number, 0));
    Tiles::multiply(dscores, left_values, queries_douts.tile(number, 1));
    const bool all = attention_all_visible(shape, length, query, Tiles::COLUMNS, first, Tiles::ROWS);
#pragma unroll
    for (int j = 0; j < Tiles::COLUMN_COUNT; j++) {
      const int column = Tiles::column(j);
#pragma unroll
      for (int i = 0; i < Tiles::ROW_COUNT; i++) {
        const bool visible = all || attention_visible(shape, length, query + column, first + Tiles::row(i));
        const float weight = visible ? exp2f(fmaf(weights.at(i, j), scale, -lse[column])) : 0.0f;
        weights.at(i, j) = weight;
        if (DROPS) {
          const bool kept = dropout.kept(number, column, Tiles::row(i));
          if (!kept) weights.at(i, j) = 0.0f; // what is kept gets its factor in the end
          dscores.at(i, j) = kept ? dscores.at(i, j) * shape.dropout.scale : 0.0f;
        }
        dscores.at(i, j) = visible ? weight * (dscores.at(i, j) - delta[column]) : 0.0f;
      }
    }
    Tiles::accumulate(dvalues, weights, queries_douts.tile(number, 1), stage);
    Tiles::accumulate(dkeys, dscores, queries_douts.tile(number, 0), stage);
  }
  float of_values[Tiles::ROW_COUNT], of_keys[Tiles::ROW_COUNT];
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) of_values[i] = shape.dropout.scale, of_keys[i] = shape.scale;
  store_sums<Tiles>(x.dqkv + k_at + first * stride, keys, dkeys, of_keys, stride, rows, shape);
  store_sums<Tiles>(x.dqkv + v_at + first * stride, values, dvalues, of_values, stride, rows, shape);
}

// Queries, Keys: the tiles of the two passes.
template <typename Queries, typename Keys>
static void launch_backward(void *dqkv, const void *dout, const void *out, const float *lse, const void *qkv,
                            AttentionShape shape, size_t count, float *delta, ZeroStream stream) {
  typedef typename Queries::Element T;
  BackwardTensors<T> x = {(T *)dqkv, (const T *)dout, (const T *)out, (const T *)qkv, lse, delta};
  dim3 queries(grid_blocks(shape.longest, Queries::ROWS), (unsigned)shape.NH, (unsigned)count);
  dim3 keys(grid_blocks(shape.longest, Keys::ROWS), (unsigned)shape.NH, (unsigned)count);
  if (shape.dropout.threshold > 0) {
    ATTENTION_LAUNCH((attention_backward_queries_kernel<Queries, true>), queries,
                     (backward_shared_bytes<Queries, true>()), stream, x, shape);
    ATTENTION_LAUNCH((attention_backward_keys_kernel<Keys, true>), keys, (backward_shared_bytes<Keys, true>()),
                     stream, x, shape);
  } else {
    ATTENTION_LAUNCH((attention_backward_queries_kernel<Queries, false>), queries,
                     (backward_shared_bytes<Queries, false>()), stream, x, shape);
    ATTENTION_LAUNCH((attention_backward_keys_kernel<Keys, false>), keys, (backward_shared_bytes<Keys, false>()),
                     stream, x, shape);
  }
}

// In the half types the first pass, with one sum in the registers, takes more columns at a time.
template <typename T, int D>
static void launch_backward_half(void *dqkv, const void *dout, const void *out, const float *lse, const void *qkv,
                                 AttentionShape shape, size_t count, float *delta, ZeroStream stream) {
  constexpr int COLUMNS = D <= 64 ? 2 * BACKWARD_COLUMNS : BACKWARD_COLUMNS;
  launch_backward<MmaTiles<T, D, 1, COLUMNS>, MmaTiles<T, D, 1, BACKWARD_COLUMNS>>(dqkv, dout, out, lse, qkv, shape,
                                                                                   count, delta, stream);
}

void attention_backward(void *dqkv, const void *dout, const void *out, const float *lse, const void *qkv,
                        const OpsSequences *sequences, size_t C, size_t NH, int causal, const OpsDropout *dropout,
                        ZeroType type, void *scratch, ZeroStream stream) {
  if (sequences->rows == 0) return;
#ifdef USE_CUDNN
  const AttentionCall call =
      attention_call(sequences, C, NH, causal, dropout, type, address_bits(dqkv, dout, out, lse, qkv));
  if (attention_uses_cudnn(&call)) {
    attention_cudnn_backward(dqkv, dout, out, lse, qkv, &call, stream);
    return;
  }
#endif
  AttentionShape shape = attention_shape(sequences, C, NH, causal, dropout, type, address_bits(dqkv, dout, out, qkv));
  const size_t count = sequences->count;
  attention_zero_padding(dqkv, 3 * C, sequences, type, shape.packets, stream);
  if (count == 0 || sequences->longest == 0) return;
  float *delta = (float *)scratch;
  DISPATCH_HEAD(shape.head, D, {
    switch (type) {
      case ZERO_F32:
        launch_backward<FmaTiles<D, BACKWARD_ROWS, BACKWARD_COLUMNS>, FmaTiles<D, BACKWARD_ROWS, BACKWARD_COLUMNS>>(
            dqkv, dout, out, lse, qkv, shape, count, delta, stream);
        break;
      case ZERO_BF16:
        launch_backward_half<__nv_bfloat16, D>(dqkv, dout, out, lse, qkv, shape, count, delta, stream);
        break;
      case ZERO_F16:
        launch_backward_half<__half, D>(dqkv, dout, out, lse, qkv, shape, count, delta, stream);
        break;
      default:
        element_type_unknown(type, __func__);
    }
  });
}
