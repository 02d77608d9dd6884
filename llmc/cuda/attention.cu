// Attention, forward (FlashAttention, arXiv 2205.14135): a block takes a tile of queries of one head and goes over
// the tiles of keys with a running softmax.
//
// FLOPs: 4 T^2 C per sequence, half of that causal. Bytes: qkv read and out written once from and to memory; every
// tile of queries reads its head's keys and values again, from the second-level cache.
#include <math_constants.h>

#include "attention.cuh"
#include "attention_cudnn.h"
#include "attention_fma.cuh"
#include "attention_mma.cuh"

// Queries and keys of a tile in fp32; the keys of one in the half types, which have 128 queries where a head's sums
// of twice 16 rows a warp fit the registers, else 64.
enum { FORWARD_QUERIES = 64, FORWARD_KEYS = 32, FORWARD_KEYS_HALF = 64 };

AttentionShape attention_shape(const OpsSequences *sequences, size_t C, size_t NH, int causal,
                               const OpsDropout *dropout, ZeroType type, uintptr_t addresses) {
  const OpsSequences *s = sequences;
  if (NH == 0 || C % NH != 0) zero_fatal("attention: expected channels in equal heads, found %zu in %zu", C, NH);
  size_t head = C / NH, packet = PACKET_BYTES / zero_type_size(type);
  if (head > ATTENTION_LARGEST_HEAD) {
    zero_fatal("attention: expected heads of at most %d channels on a GPU, found %zu: use more heads",
               ATTENTION_LARGEST_HEAD, head);
  }
  if (s->count > ATTENTION_MOST_SEQUENCES) {
    zero_fatal("attention: expected at most %d sequences in a micro-batch on a GPU, found %zu: use a smaller -b",
               ATTENTION_MOST_SEQUENCES, s->count);
  }
  if (s->starts == NULL && s->rows != s->count * s->longest) {
    zero_fatal("attention: expected %zu rows for %zu sequences of %zu, found %zu", s->count * s->longest, s->count,
               s->longest, s->rows);
  }
  AttentionShape shape = {s->longest,
                          C,
                          NH,
                          head,
                          s->starts,
                          s->lengths,
                          s->samples,
                          causal,
                          head % packet == 0 && addresses % PACKET_BYTES == 0,
                          1.0f / sqrtf((float)head),
                          dropout_plan(dropout)};
  if (shape.dropout.threshold > 0 && s->samples == NULL) {
    zero_fatal("attention: dropout needs the sequences' samples, found none: set them in OpsSequences");
  }
  return shape;
}

// ---------------------------------------------------------------- padding
// data: (rows, width) in units. Row y of blocks: the rows before sequence y, behind the last one for the last y.
template <typename Unit>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_zero_padding_kernel(Unit *data, size_t width, OpsSequences s) {
  const size_t gap = blockIdx.y;
  size_t from = 0, to = s.rows;
  if (gap > 0) {
    from = sequence_start(s.starts, s.longest, gap - 1) + sequence_length(s.lengths, s.longest, gap - 1);
  }
  if (gap < s.count) to = sequence_start(s.starts, s.longest, gap);
  Unit zero;
  memset(&zero, 0, sizeof zero);
  const size_t step = (size_t)gridDim.x * ATTENTION_THREADS;
  for (size_t i = from * width + (size_t)blockIdx.x * ATTENTION_THREADS + threadIdx.x; i < to * width; i += step) {
    data[i] = zero;
  }
}

template <typename Unit>
static void launch_zero_padding(void *data, size_t row_bytes, const OpsSequences *s, ZeroStream stream) {
  enum { UNITS = 8 }; // that a thread writes where about all is padding
  const size_t width = row_bytes / sizeof(Unit), gaps = s->count + 1;
  dim3 grid(grid_blocks(ceil_div(s->rows * width, gaps), ATTENTION_THREADS * UNITS), (unsigned)gaps);
  LAUNCH((attention_zero_padding_kernel<Unit>), grid, ATTENTION_THREADS, 0, stream, (Unit *)data, width, *s);
}

void attention_zero_padding(void *data, size_t width, const OpsSequences *sequences, ZeroType type, int packets,
                            ZeroStream stream) {
  if (sequences->starts == NULL && sequences->lengths == NULL) return;
  const size_t row_bytes = width * zero_type_size(type);
  if (packets) {
    launch_zero_padding<uint4>(data, row_bytes, sequences, stream);
  } else if (type == ZERO_F32) {
    launch_zero_padding<unsigned>(data, row_bytes, sequences, stream);
  } else {
    launch_zero_padding<unsigned short>(data, row_bytes, sequences, stream);
  }
}

// ---------------------------------------------------------------- forward
// The own kernels keep everything in registers and shared memory.
size_t attention_forward_scratch(const OpsSequences *sequences, size_t C, size_t NH, int causal, ZeroType type) {
#ifdef USE_CUDNN
  const AttentionCall call = attention_call(sequences, C, NH, causal, NULL, type, 0);
  if (attention_uses_cudnn(&call)) return attention_cudnn_scratch(&call, 0);
#else
  (void)sequences, (void)C, (void)NH, (void)causal, (void)type;
#endif
  return 0;
}

// Rows of the running softmax, in powers of two: weights so far are 2^(score - max), of which sum is this thread's
// part.
template <typename Tiles>
struct RunningSoftmax {
  float max[Tiles::ROW_COUNT], sum[Tiles::ROW_COUNT];
};

// Scores become weights. When the maximum of a row grows, what the row has gathered so far shrinks accordingly.
template <typename Tiles>
__device__ __forceinline__ void softmax_tile(typename Tiles::Scores &scores, typename Tiles::Sums &out,
                                             RunningSoftmax<Tiles> &softmax, float scale) {
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) {
    float largest = scores.at(i, 0);
#pragma unroll
    for (int j = 1; j < Tiles::COLUMN_COUNT; j++) largest = fmaxf(largest, scores.at(i, j));
#pragma unroll
    for (int step = Tiles::ROW_LANES / 2; step > 0; step /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(FULL_WARP, largest, step));
    }
    const float max = fmaxf(softmax.max[i], largest * scale), shrink = exp2f(softmax.max[i] - max);
    float sum = softmax.sum[i] * shrink;
#pragma unroll
    for (int k = 0; k < Tiles::CHANNEL_COUNT; k++) out.at(i, k) *= shrink;
#pragma unroll
    for (int j = 0; j < Tiles::COLUMN_COUNT; j++) {
      const float weight = exp2f(fmaf(scores.at(i, j), scale, -max));
      scores.at(i, j) = weight;
      sum += weight;
    }
    softmax.max[i] = max;
    softmax.sum[i] = sum;
  }
}

template <typename Tiles, bool DROPS>
static constexpr size_t forward_shared_bytes() {
  return (Tiles::ROWS * Tiles::STRIDE + Stream<Tiles>::ELEMENTS) * sizeof(typename Tiles::Element) +
         Tiles::STAGE_FLOATS * sizeof(float) +
         (DROPS ? DropoutTile<Tiles::ROWS, Tiles::COLUMNS>::WORDS * sizeof(uint32_t) : 0);
}

// DROPS: there is dropout; code of its own for calls without.
template <typename Tiles, bool DROPS>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_forward_kernel(typename Tiles::Element *out, float *lse, const typename Tiles::Element *qkv,
                             AttentionShape shape) {
  typedef typename Tiles::Element T;
  DYN_SMEM(T, queries);
  T *streamed = queries + Tiles::ROWS * Tiles::STRIDE;
  float *stage = reinterpret_cast<float *>(streamed + Stream<Tiles>::ELEMENTS);
  const DropoutTile<Tiles::ROWS, Tiles::COLUMNS> dropout = {
      reinterpret_cast<uint32_t *>(stage + Tiles::STAGE_FLOATS)};
  // Under a causal mask the last queries have the most to do: they begin first.
  const size_t first = (size_t)(gridDim.x - 1 - blockIdx.x) * Tiles::ROWS;
  const AttentionHead head = attention_head(shape, blockIdx.z, blockIdx.y);
  const size_t length = head.length, stride = 3 * shape.C;
  if (first >= length) return;
  const T *q = qkv + head.start * stride + head.column;
  const Stream<Tiles> keys_values = {streamed, q + shape.C, q + 2 * shape.C, stride, stride, length};

  // No query of this tile sees a key from here on.
  const size_t seen = shape.causal ? smaller(first + Tiles::ROWS, length) : length;
  const float scale = shape.scale * LOG2_E;
  typename Tiles::Sums sums;
  RunningSoftmax<Tiles> softmax;
  memset(&sums, 0, sizeof sums);
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) softmax.max[i] = -CUDART_INF_F, softmax.sum[i] = 0.0f;
  load_tile<Tiles, Tiles::ROWS>(queries, q + first * stride, stride, length - first, shape);
  wait_for_tiles();
  if (Tiles::BUFFERS == 2) keys_values.load(0, 0, shape);
  __syncthreads();
  typename Tiles::Left left;
  Tiles::hold(left, queries);

  size_t number = 0;
  for (size_t key = 0; key < seen; key += Tiles::COLUMNS, number++) {
    if (DROPS) dropout.draw(number, shape, head, first, key);
    keys_values.advance(number, key, seen, shape);
    typename Tiles::Scores scores;
    Tiles::multiply(scores, left, keys_values.tile(number, 0));
    if (!attention_all_visible(shape, length, first, Tiles::ROWS, key, Tiles::COLUMNS)) {
#pragma unroll
      for (int i = 0; i < Tiles::ROW_COUNT; i++) {
#pragma unroll
        for (int j = 0; j < Tiles::COLUMN_COUNT; j++) {
          // Rows behind the last one see what is not masked for all: they are not written in the end.
          const size_t at = key + Tiles::column(j);
          if (at >= length || (shape.causal && at > first + Tiles::row(i))) scores.at(i, j) = -CUDART_INF_F;
        }
      }
    }
    softmax_tile<Tiles>(scores, sums, softmax, scale);
    if (DROPS) {
#pragma unroll
      for (int i = 0; i < Tiles::ROW_COUNT; i++) {
#pragma unroll
        for (int j = 0; j < Tiles::COLUMN_COUNT; j++) {
          if (!dropout.kept(number, Tiles::row(i), Tiles::column(j))) scores.at(i, j) = 0.0f;
        }
      }
    }
    Tiles::accumulate(sums, scores, keys_values.tile(number, 1), stage);
  }

  float inverse[Tiles::ROW_COUNT];
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) {
    float sum = softmax.sum[i];
#pragma unroll
    for (int step = Tiles::ROW_LANES / 2; step > 0; step /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, step);
    const size_t t = first + Tiles::row(i);
    inverse[i] = shape.dropout.scale / sum;
    if (t < length && threadIdx.x % Tiles::ROW_LANES == 0) lse[head.lse + t] = (softmax.max[i] + log2f(sum)) * LN_2;
  }
  store_sums<Tiles>(out + (head.start + first) * shape.C + head.column, queries, sums, inverse, shape.C,
                    length - first, shape);
}

template <typename Tiles>
static void launch_forward(void *out, float *lse, const void *qkv, AttentionShape shape, size_t count,
                           ZeroStream stream) {
  typedef typename Tiles::Element T;
  dim3 grid(grid_blocks(shape.longest, Tiles::ROWS), (unsigned)shape.NH, (unsigned)count);
  if (shape.dropout.threshold > 0) {
    ATTENTION_LAUNCH((attention_forward_kernel<Tiles, true>), grid, (forward_shared_bytes<Tiles, true>()), stream,
                     (T *)out, lse, (const T *)qkv, shape);
  } else {
    ATTENTION_LAUNCH((attention_forward_kernel<Tiles, false>), grid, (forward_shared_bytes<Tiles, false>()), stream,
                     (T *)out, lse, (const T *)qkv, shape);
  }
}

void attention_forward(void *out, float *lse, const void *qkv, const OpsSequences *sequences, size_t C, size_t NH,
                       int causal, const OpsDropout *dropout, ZeroType type, void *scratch, ZeroStream stream) {
  (void)scratch;
  if (sequences->rows == 0) return;
#ifdef USE_CUDNN
  const AttentionCall call = attention_call(sequences, C, NH, causal, dropout, type, address_bits(out, qkv, lse));
  if (attention_uses_cudnn(&call)) {
    attention_cudnn_forward(out, lse, qkv, &call, scratch, stream);
    return;
  }
#endif
  AttentionShape shape = attention_shape(sequences, C, NH, causal, dropout, type, address_bits(out, qkv));
  const size_t count = sequences->count;
  attention_zero_padding(out, C, sequences, type, shape.packets, stream);
  if (count == 0 || sequences->longest == 0) return;
  DISPATCH_HEAD(shape.head, D, {
    switch (type) {
      case ZERO_F32:
        launch_forward<FmaTiles<D, FORWARD_QUERIES, FORWARD_KEYS>>(out, lse, qkv, shape, count, stream);
        break;
      case ZERO_BF16:
        launch_forward<MmaTiles<__nv_bfloat16, D, D <= 64 ? 2 : 1, FORWARD_KEYS_HALF>>(out, lse, qkv, shape, count,
                                                                                       stream);
        break;
      case ZERO_F16:
        launch_forward<MmaTiles<__half, D, D <= 64 ? 2 : 1, FORWARD_KEYS_HALF>>(out, lse, qkv, shape, count, stream);
        break;
      default:
        element_type_unknown(type, __func__);
    }
  });
}
