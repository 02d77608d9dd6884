// What attention's forward and backward share: the shape, the mask, and tiles between global and shared memory.
//
// Every kernel works on tiles of one head: a block keeps some rows (queries, or keys) and lets the other side stream
// by in tiles of columns. Which thread holds what of a product of two tiles is left to a class of tiles:
// attention_fma.cuh for fp32, attention_mma.cuh with tensor cores for the half types. Both offer
//   Element                  what shared memory holds: the tensors' own type
//   ROWS, COLUMNS, STRIDE    a tile is (ROWS or COLUMNS, STRIDE), its channels padded with zeros to CHANNELS
//   Scores, Sums             this thread's part of a (ROWS, COLUMNS) and of a (ROWS, CHANNELS) matrix, in fp32:
//   at(i, j), at(i, k)       ROW_COUNT by COLUMN_COUNT or CHANNEL_COUNT numbers, those of
//   row(i), column(j), channel(k)
//   ROW_LANES                neighbouring lanes that hold the same rows, a power of two
//   multiply(scores, left, right)             scores = left * right^T
//   accumulate(sums, scores, right, stage)    sums += scores * right; stage: STAGE_FLOATS of shared memory
#ifndef LLMC_CUDA_ATTENTION_CUH
#define LLMC_CUDA_ATTENTION_CUH

#include "types.cuh"

enum { ATTENTION_THREADS = 128, ATTENTION_WARPS = ATTENTION_THREADS / WARP_LANES, ATTENTION_LARGEST_HEAD = 128 };
// Shared memory beyond this is given only to kernels that ask for it.
enum { ATTENTION_SHARED_BYTES = 48 << 10 };

// Weights are powers of two: the processor's own exponential. Scores are scaled by log2(e) / sqrt(head) with the
// subtraction of the maximum in one fmaf.
#define LOG2_E 1.44269504f
#define LN_2 0.693147181f

typedef struct {
  size_t T, C, NH, head; // head: C / NH
  const int *lengths;    // in the GPU's memory, so trusted to be in [0, T]
  int causal;
  int packets; // rows of a head may be read and written 16 bytes at a time
  float scale; // 1 / sqrt(head)
} AttentionShape;

// Ends the program if C is not a multiple of NH or a head is larger than any tile. `addresses`: of all tensors.
AttentionShape attention_shape(size_t T, size_t C, size_t NH, const int *lengths, int causal, ZeroType type,
                               uintptr_t addresses);

// Runs the statements with D as the padded size of a head.
#define DISPATCH_HEAD(head, D, ...) \
  do {                              \
    if ((head) <= 32) {             \
      constexpr int D = 32;         \
      __VA_ARGS__                   \
    } else if ((head) <= 64) {      \
      constexpr int D = 64;         \
      __VA_ARGS__                   \
    } else if ((head) <= 96) {      \
      constexpr int D = 96;         \
      __VA_ARGS__                   \
    } else {                        \
      constexpr int D = 128;        \
      __VA_ARGS__                   \
    }                               \
  } while (0)

// Launches with shared memory that may be more than a kernel has without asking.
#define ATTENTION_LAUNCH(kernel, grid, bytes, stream, ...)                                                 \
  do {                                                                                                     \
    if ((bytes) > ATTENTION_SHARED_BYTES) {                                                                \
      CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes))); \
    }                                                                                                      \
    LAUNCH(kernel, grid, ATTENTION_THREADS, bytes, stream, __VA_ARGS__);                                   \
  } while (0)

// ---------------------------------------------------------------- the mask
// Positions of sequence b that count.
__device__ __forceinline__ size_t attention_length(const AttentionShape &shape, size_t b) {
  return shape.lengths != NULL ? (size_t)shape.lengths[b] : shape.T;
}

// How many of the rows from `first` on count.
__device__ __forceinline__ size_t attention_rows(size_t length, size_t first) {
  return first < length ? length - first : 0;
}

__device__ __forceinline__ bool attention_visible(const AttentionShape &shape, size_t length, size_t query,
                                                  size_t key) {
  return query < length && key < length && (!shape.causal || key <= query);
}

// Whether each of `queries` queries sees each of `keys` keys.
__device__ __forceinline__ bool attention_all_visible(const AttentionShape &shape, size_t length, size_t first_query,
                                                      size_t queries, size_t first_key, size_t keys) {
  return first_query + queries <= length && first_key + keys <= (shape.causal ? first_query + 1 : length);
}

// ---------------------------------------------------------------- tiles and global memory
// tile (ROWS, Tiles::STRIDE) = `rows` rows of `head` elements that lie `stride` apart; what is beyond them becomes 0.
template <typename Tiles, int ROWS, int WIDTH, typename T>
__device__ __forceinline__ void load_tile_packets(T *tile, const T *from, size_t stride, size_t rows, size_t head) {
  typedef typename Word<WIDTH * sizeof(T)>::type Packed;
  constexpr int PER_ROW = Tiles::CHANNELS / WIDTH;
#pragma unroll 4
  for (int i = threadIdx.x; i < ROWS * PER_ROW; i += ATTENTION_THREADS) {
    const size_t row = i / PER_ROW, channel = i % PER_ROW * WIDTH;
    Packed word;
    memset(&word, 0, sizeof word);
    if (row < rows && channel < head) word = *reinterpret_cast<const Packed *>(from + row * stride + channel);
    *reinterpret_cast<Packed *>(tile + row * Tiles::STRIDE + channel) = word;
  }
}

template <typename Tiles, int ROWS, typename T>
__device__ __forceinline__ void load_tile(T *tile, const T *from, size_t stride, size_t rows,
                                          const AttentionShape &shape) {
  if (shape.packets) {
    load_tile_packets<Tiles, ROWS, full_packet<T>()>(tile, from, stride, rows, shape.head);
  } else {
    load_tile_packets<Tiles, ROWS, 1>(tile, from, stride, rows, shape.head);
  }
}

template <typename Tiles, int WIDTH, typename T>
__device__ __forceinline__ void store_tile_packets(T *to, const T *tile, size_t stride, size_t rows, size_t head) {
  typedef typename Word<WIDTH * sizeof(T)>::type Packed;
  constexpr int PER_ROW = Tiles::CHANNELS / WIDTH;
  for (int i = threadIdx.x; i < Tiles::ROWS * PER_ROW; i += ATTENTION_THREADS) {
    const size_t row = i / PER_ROW, channel = i % PER_ROW * WIDTH;
    if (row < rows && channel < head) {
      *reinterpret_cast<Packed *>(to + row * stride + channel) =
          *reinterpret_cast<const Packed *>(tile + row * Tiles::STRIDE + channel);
    }
  }
}

// `rows` rows of global memory = the block's sums times factor(i) in each thread's row i, by way of `tile`, which
// nobody needs any more once all threads have come here: so that rows are written in packets.
template <typename Tiles, typename T>
__device__ __forceinline__ void store_sums(T *to, T *tile, const typename Tiles::Sums &sums,
                                           const float (&factor)[Tiles::ROW_COUNT], size_t stride, size_t rows,
                                           const AttentionShape &shape) {
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Tiles::ROW_COUNT; i++) {
#pragma unroll
    for (int k = 0; k < Tiles::CHANNEL_COUNT; k++) {
      tile[Tiles::row(i) * Tiles::STRIDE + Tiles::channel(k)] = from_float<T>(sums.at(i, k) * factor[i]);
    }
  }
  __syncthreads();
  if (shape.packets) {
    store_tile_packets<Tiles, full_packet<T>()>(to, tile, stride, rows, shape.head);
  } else {
    store_tile_packets<Tiles, 1>(to, tile, stride, rows, shape.head);
  }
}

__device__ __forceinline__ size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

#endif
