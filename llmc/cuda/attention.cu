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

AttentionShape attention_shape(size_t T, size_t C, size_t NH, const int *lengths, int causal, ZeroType type,
                               uintptr_t addresses) {
  if (NH == 0 || C % NH != 0) zero_fatal("attention: expected channels in equal heads, found %zu in %zu", C, NH);
  size_t head = C / NH, packet = PACKET_BYTES / zero_type_size(type);
  if (head > ATTENTION_LARGEST_HEAD) {
    zero_fatal("attention: expected heads of at most %d channels on a GPU, found %zu: use more heads",
               ATTENTION_LARGEST_HEAD, head);
  }
  AttentionShape shape = {T,
                          C,
                          NH,
                          head,
                          lengths,
                          causal,
                          head % packet == 0 && addresses % PACKET_BYTES == 0,
                          1.0f / sqrtf((float)head)};
  return shape;
}

// The own kernels keep everything in registers and shared memory.
size_t attention_forward_scratch(int has_lengths, size_t B, size_t T, size_t C, size_t NH, int causal,
                                 ZeroType type) {
#ifdef USE_CUDNN
  const AttentionCall call = {type, B, T, C, NH, causal, has_lengths, 0};
  if (attention_uses_cudnn(&call)) return attention_cudnn_scratch(&call, 0);
#else
  (void)has_lengths, (void)B, (void)T, (void)C, (void)NH, (void)causal, (void)type;
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

template <typename Tiles>
static constexpr size_t forward_shared_bytes() {
  return (Tiles::ROWS * Tiles::STRIDE + Stream<Tiles>::ELEMENTS) * sizeof(typename Tiles::Element) +
         Tiles::STAGE_FLOATS * sizeof(float);
}

template <typename Tiles>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_forward_kernel(typename Tiles::Element *out, float *lse, const typename Tiles::Element *qkv,
                             AttentionShape shape) {
  typedef typename Tiles::Element T;
  DYN_SMEM(T, queries);
  T *streamed = queries + Tiles::ROWS * Tiles::STRIDE;
  float *stage = reinterpret_cast<float *>(streamed + Stream<Tiles>::ELEMENTS);
  // Under a causal mask the last queries have the most to do: they begin first.
  const size_t first = (size_t)(gridDim.x - 1 - blockIdx.x) * Tiles::ROWS, h = blockIdx.y, b = blockIdx.z;
  const size_t length = attention_length(shape, b), stride = 3 * shape.C;
  const T *q = qkv + b * shape.T * stride + h * shape.head;
  const Stream<Tiles> keys_values = {streamed, q + shape.C, q + 2 * shape.C, stride, stride, length};

  const size_t rows = attention_rows(length, first); // of padding nothing is read
  // No query of this tile sees a key from here on.
  const size_t seen = rows == 0 ? 0 : shape.causal ? smaller(first + Tiles::ROWS, length) : length;
  const float scale = shape.scale * LOG2_E;
  typename Tiles::Sums sums;
  RunningSoftmax<Tiles> softmax;
  memset(&sums, 0, sizeof sums);
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) softmax.max[i] = -CUDART_INF_F, softmax.sum[i] = 0.0f;
  load_tile<Tiles, Tiles::ROWS>(queries, q + first * stride, stride, rows, shape);
  wait_for_tiles();
  if (Tiles::BUFFERS == 2 && seen > 0) keys_values.load(0, 0, shape);
  __syncthreads();
  typename Tiles::Left left;
  Tiles::hold(left, queries);

  size_t number = 0;
  for (size_t key = 0; key < seen; key += Tiles::COLUMNS, number++) {
    keys_values.advance(number, key, seen, shape);
    typename Tiles::Scores scores;
    Tiles::multiply(scores, left, keys_values.tile(number, 0));
    if (!attention_all_visible(shape, length, first, Tiles::ROWS, key, Tiles::COLUMNS)) {
#pragma unroll
      for (int i = 0; i < Tiles::ROW_COUNT; i++) {
#pragma unroll
        for (int j = 0; j < Tiles::COLUMN_COUNT; j++) {
          // Rows of padding see what is not masked for all: they are written as 0 in the end.
          const size_t at = key + Tiles::column(j);
          if (at >= length || (shape.causal && at > first + Tiles::row(i))) scores.at(i, j) = -CUDART_INF_F;
        }
      }
    }
    softmax_tile<Tiles>(scores, sums, softmax, scale);
    Tiles::accumulate(sums, scores, keys_values.tile(number, 1), stage);
  }

  float inverse[Tiles::ROW_COUNT];
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) {
    float sum = softmax.sum[i];
#pragma unroll
    for (int step = Tiles::ROW_LANES / 2; step > 0; step /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, step);
    const size_t t = first + Tiles::row(i);
    inverse[i] = t < length ? 1.0f / sum : 0.0f;
    if (t < shape.T && threadIdx.x % Tiles::ROW_LANES == 0) {
      lse[(b * shape.NH + h) * shape.T + t] = t < length ? (softmax.max[i] + log2f(sum)) * LN_2 : 0.0f;
    }
  }
  store_sums<Tiles>(out + (b * shape.T + first) * shape.C + h * shape.head, queries, sums, inverse, shape.C,
                    shape.T - first, shape);
}

template <typename Tiles>
static void launch_forward(void *out, float *lse, const void *qkv, AttentionShape shape, size_t B,
                           ZeroStream stream) {
  typedef typename Tiles::Element T;
  dim3 grid(grid_blocks(shape.T, Tiles::ROWS), (unsigned)shape.NH, (unsigned)B);
  ATTENTION_LAUNCH((attention_forward_kernel<Tiles>), grid, forward_shared_bytes<Tiles>(), stream, (T *)out, lse,
                   (const T *)qkv, shape);
}

void attention_forward(void *out, float *lse, const void *qkv, const int *lengths, size_t B, size_t T, size_t C,
                       size_t NH, int causal, ZeroType type, void *scratch, ZeroStream stream) {
  (void)scratch;
  if (B == 0 || T == 0) return;
#ifdef USE_CUDNN
  const AttentionCall call = {type, B, T, C, NH, causal, lengths != NULL, address_bits(out, qkv, lse)};
  if (attention_uses_cudnn(&call)) {
    attention_cudnn_forward(out, lse, qkv, &call, scratch, stream);
    return;
  }
#endif
  AttentionShape shape = attention_shape(T, C, NH, lengths, causal, type, address_bits(out, qkv));
  DISPATCH_HEAD(shape.head, D, {
    switch (type) {
      case ZERO_F32:
        launch_forward<FmaTiles<D, FORWARD_QUERIES, FORWARD_KEYS>>(out, lse, qkv, shape, B, stream);
        break;
      case ZERO_BF16:
        launch_forward<MmaTiles<__nv_bfloat16, D, D <= 64 ? 2 : 1, FORWARD_KEYS_HALF>>(out, lse, qkv, shape, B,
                                                                                       stream);
        break;
      case ZERO_F16:
        launch_forward<MmaTiles<__half, D, D <= 64 ? 2 : 1, FORWARD_KEYS_HALF>>(out, lse, qkv, shape, B, stream);
        break;
      default:
        element_type_unknown(type, __func__);
    }
  });
}
