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
//   BUFFERS                  1, or 2: tiles stream into one while the other is used
//   Left, hold(left, tile)   the block's own tile as a left operand, in registers where there is room
//   multiply(scores, left, right)             scores = left * right^T
//   accumulate(sums, scores, right, stage)    sums += scores * right; stage: STAGE_FLOATS of shared memory
#ifndef LLMC_CUDA_ATTENTION_CUH
#define LLMC_CUDA_ATTENTION_CUH

#include <cuda_pipeline.h>

#include "../dropout.h"
#include "types.cuh"

enum { ATTENTION_THREADS = 128, ATTENTION_WARPS = ATTENTION_THREADS / WARP_LANES, ATTENTION_LARGEST_HEAD = 128 };
// Sequences are counted by a grid's z and, with the rows behind the last one, by its y: at most 65,535 blocks each.
enum { ATTENTION_MOST_SEQUENCES = 65535 - 1 };
// Shared memory beyond this is given only to kernels that ask for it.
enum { ATTENTION_SHARED_BYTES = 48 << 10 };

// Weights are powers of two: the processor's own exponential. Scores are scaled by log2(e) / sqrt(head) with the
// subtraction of the maximum in one fmaf.
#define LN_2 0.693147181f

typedef struct {
  size_t longest, C, NH, head;           // head: C / NH
  const int *starts, *lengths, *samples; // as in OpsSequences, in the GPU's memory
  int causal;
  int packets; // rows of a head may be read and written 16 bytes at a time
  float scale; // 1 / sqrt(head)
  DropoutPlan dropout;
} AttentionShape;

// Ends the program if C is not a multiple of NH, a head is larger than any tile, there are more sequences than a grid
// has blocks, or the rows are not what the sequences say. `addresses`: of all tensors.
AttentionShape attention_shape(const OpsSequences *sequences, size_t C, size_t NH, int causal,
                               const OpsDropout *dropout, ZeroType type, uintptr_t addresses);

// Zeros in the rows of data (rows, width) that are in no sequence; packets: as in the shape.
void attention_zero_padding(void *data, size_t width, const OpsSequences *sequences, ZeroType type, int packets,
                            ZeroStream stream);

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

// ---------------------------------------------------------------- sequences
__device__ __forceinline__ size_t sequence_start(const int *starts, size_t longest, size_t b) {
  return starts != NULL ? (size_t)starts[b] : b * longest;
}

__device__ __forceinline__ size_t sequence_length(const int *lengths, size_t longest, size_t b) {
  return lengths != NULL ? (size_t)lengths[b] : longest;
}

// One head of one sequence.
struct AttentionHead {
  size_t start, length;    // the sequence's first row, its positions
  size_t column;           // the head's first channel
  size_t lse;              // where its log-sum-exps begin
  uint32_t sample, number; // what its dropout draws from: number is the head's
};

__device__ __forceinline__ AttentionHead attention_head(const AttentionShape &shape, size_t b, size_t h) {
  AttentionHead head;
  head.start = sequence_start(shape.starts, shape.longest, b);
  head.length = sequence_length(shape.lengths, shape.longest, b);
  head.column = h * shape.head;
  head.lse = shape.NH * head.start + h * (shape.starts != NULL ? head.length : shape.longest);
  head.sample = shape.samples != NULL ? (uint32_t)shape.samples[b] : 0;
  head.number = (uint32_t)h;
  return head;
}

// ---------------------------------------------------------------- the mask
__device__ __forceinline__ bool attention_visible(const AttentionShape &shape, size_t length, size_t query,
                                                  size_t key) {
  return query < length && key < length && (!shape.causal || key <= query);
}

// Whether each of `queries` queries sees each of `keys` keys.
__device__ __forceinline__ bool attention_all_visible(const AttentionShape &shape, size_t length, size_t first_query,
                                                      size_t queries, size_t first_key, size_t keys) {
  return first_query + queries <= length && first_key + keys <= (shape.causal ? first_query + 1 : length);
}

// ---------------------------------------------------------------- dropout
// What is kept of a tile's weights, a bit each, drawn by all threads of the block into shared memory whichever of
// them will hold a weight: so that each word is drawn once, and by both passes of backward alike. Two tiles take
// turns: while one is drawn, slow threads may still look at the one before. The barrier that a tile needs before it
// is used is the one that the tiles streaming by have.
template <int QUERIES, int KEYS>
struct DropoutTile {
  enum { WORD_BITS = 32, BYTE_BITS = 8, PER_QUERY = KEYS / WORD_BITS };
  static constexpr size_t WORDS = (size_t)2 * QUERIES * PER_QUERY;
  uint32_t *memory; // (2, QUERIES, PER_QUERY)

  __device__ __forceinline__ uint32_t *tile(size_t number) const {
    return memory + number % 2 * (QUERIES * PER_QUERY);
  }
  __device__ __forceinline__ void draw(size_t number, const AttentionShape &shape, const AttentionHead &head,
                                       size_t first_query, size_t first_key) const {
    constexpr int BYTES = KEYS / BYTE_BITS, DRAWS = BYTE_BITS / DROPOUT_WORDS;
    unsigned char *bytes = reinterpret_cast<unsigned char *>(tile(number));
    for (unsigned i = threadIdx.x; i < QUERIES * BYTES; i += ATTENTION_THREADS) {
      const unsigned query = (unsigned)first_query + i / BYTES;
      const unsigned block = (unsigned)first_key / DROPOUT_WORDS + i % BYTES * DRAWS;
      unsigned kept = 0;
#pragma unroll
      for (int draw = 0; draw < DRAWS; draw++) {
        uint32_t words[DROPOUT_WORDS];
        dropout_words(&shape.dropout, head.number, block + draw, query, head.sample, words);
#pragma unroll
        for (int w = 0; w < DROPOUT_WORDS; w++) {
          kept |= (words[w] >= shape.dropout.threshold ? 1u : 0u) << (draw * DROPOUT_WORDS + w);
        }
      }
      bytes[i] = (unsigned char)kept;
    }
  }
  __device__ __forceinline__ bool kept(size_t number, unsigned query, unsigned key) const {
    return tile(number)[query * PER_QUERY + key / WORD_BITS] >> key % WORD_BITS & 1u;
  }
};

// ---------------------------------------------------------------- tiles and global memory
// tile (ROWS, Tiles::STRIDE) = `rows` rows of `head` elements that lie `stride` apart; what is beyond them becomes 0.
// Packets arrive after wait_for_tiles, which every call of load_tile waits for at once.
template <typename Tiles, int ROWS, typename T>
__device__ __forceinline__ void load_tile(T *tile, const T *from, size_t stride, size_t rows,
                                          const AttentionShape &shape) {
  constexpr int WIDTH = full_packet<T>(), PER_ROW = Tiles::CHANNELS / WIDTH;
  // 32 bits suffice within a tile.
  const unsigned step = (unsigned)stride, count = rows < ROWS ? (unsigned)rows : ROWS, head = (unsigned)shape.head;
  if (shape.packets) {
#pragma unroll 4
    for (unsigned i = threadIdx.x; i < ROWS * PER_ROW; i += ATTENTION_THREADS) {
      const unsigned row = i / PER_ROW, channel = i % PER_ROW * WIDTH;
      const bool inside = row < count && channel < head;
      __pipeline_memcpy_async(tile + row * Tiles::STRIDE + channel, inside ? from + row * step + channel : from,
                              PACKET_BYTES, inside ? 0 : PACKET_BYTES);
    }
  } else {
    for (unsigned i = threadIdx.x; i < ROWS * Tiles::CHANNELS; i += ATTENTION_THREADS) {
      const unsigned row = i / Tiles::CHANNELS, channel = i % Tiles::CHANNELS;
      tile[row * Tiles::STRIDE + channel] =
          row < count && channel < head ? from[row * step + channel] : from_float<T>(0.0f);
    }
  }
}

// After all calls of load_tile for a step, and before the block's barrier that comes before the tiles are used.
__device__ __forceinline__ void wait_for_tiles() {
  __pipeline_commit();
  __pipeline_wait_prior(0);
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

// What streams by: the tiles of two tensors, in one buffer or in two that take turns.
template <typename Tiles>
struct Stream {
  typedef typename Tiles::Element T;
  static constexpr int TILE = Tiles::COLUMNS * Tiles::STRIDE;
  static constexpr size_t ELEMENTS = (size_t)Tiles::BUFFERS * 2 * TILE;
  T *memory; // (BUFFERS, 2, COLUMNS, STRIDE)
  const T *first, *second;
  size_t first_stride, second_stride, end;

  __device__ __forceinline__ T *tile(size_t number, int which) const {
    return memory + (number % Tiles::BUFFERS * 2 + which) * TILE;
  }
  // Tile `number`, whose first row is `row`.
  __device__ __forceinline__ void load(size_t number, size_t row, const AttentionShape &shape) const {
    load_tile<Tiles, Tiles::COLUMNS>(tile(number, 0), first + row * first_stride, first_stride, end - row, shape);
    load_tile<Tiles, Tiles::COLUMNS>(tile(number, 1), second + row * second_stride, second_stride, end - row, shape);
  }
  // Returns when tile `number` is there for all threads. With two buffers the next one is under way then; the first
  // was begun before the loop.
  __device__ __forceinline__ void advance(size_t number, size_t row, size_t stop, const AttentionShape &shape) const {
    if (Tiles::BUFFERS == 1) {
      __syncthreads(); // the tiles before have been used
      load(number, row, shape);
    }
    wait_for_tiles();
    __syncthreads(); // with two buffers also: the other one has been used
    if (Tiles::BUFFERS == 2 && row + Tiles::COLUMNS < stop) load(number + 1, row + Tiles::COLUMNS, shape);
  }
};

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
