// Attention's tiles in the half types: tensor cores (mma.cuh), with fp32 sums.
//
// A warp holds 16 rows. Its lane 4 g + t holds rows g and g + 8 and of every 8 columns or channels 2t and 2t + 1: the
// layout of an mma's result, which serves as the next one's left operand as it is. The stride of 8 more than a
// multiple of 32 puts the 8 rows of a matrix of 8 x 8 into different banks. Bound by shared memory: 8 products read 5
// times 512 bytes (4 for the right side, 1 for the left).
#ifndef LLMC_CUDA_ATTENTION_MMA_CUH
#define LLMC_CUDA_ATTENTION_MMA_CUH

#include "attention.cuh"
#include "mma.cuh"

// (16, 8 TILES) as TILES results of mma side by side.
template <int TILES>
struct MmaBlock {
  float value[TILES][4];
  __device__ __forceinline__ float &at(int i, int j) { return value[j / 2][2 * i + j % 2]; }
  __device__ __forceinline__ float at(int i, int j) const { return value[j / 2][2 * i + j % 2]; }
};

// How weights become an operand. ROUNDED: once, to the type, as other implementations do. SPLIT: as a sum of two
// numbers of the type, in two products, so that what comes out is as good as from fp32 weights and is rounded once.
enum MmaWeights { MMA_ROUNDED, MMA_SPLIT };

template <typename T, int D, int COLUMNS_OF_TILE, MmaWeights WEIGHTS>
struct MmaTiles {
  typedef T Element;
  static constexpr int ROWS = ATTENTION_WARPS * MMA_M, COLUMNS = COLUMNS_OF_TILE, CHANNELS = D, STRIDE = D + MMA_N;
  static constexpr int ROW_LANES = 4;
  static constexpr int ROW_COUNT = 2, COLUMN_COUNT = COLUMNS / ROW_LANES, CHANNEL_COUNT = D / ROW_LANES;
  static constexpr int STAGE_FLOATS = 0;
  typedef MmaBlock<COLUMNS / MMA_N> Scores;
  typedef MmaBlock<D / MMA_N> Sums;

  static __device__ __forceinline__ int warp_row() { return threadIdx.x / WARP_LANES * MMA_M; }
  static __device__ __forceinline__ int row(int i) {
    return warp_row() + threadIdx.x % WARP_LANES / ROW_LANES + i * MMA_N;
  }
  static __device__ __forceinline__ int column(int j) { return j / 2 * MMA_N + threadIdx.x % ROW_LANES * 2 + j % 2; }
  static __device__ __forceinline__ int channel(int k) { return column(k); }

  static __device__ __forceinline__ void multiply(Scores &scores, const T *left, const T *right) {
    const int lane = threadIdx.x % WARP_LANES, matrix = lane / MMA_N;
    // Left: matrices (rows 0, channels 0), (8, 0), (0, 8), (8, 8). Right: (columns 0, channels 0), (0, 8), (8, 0),
    // (8, 8).
    const T *left_row = left + (warp_row() + lane % MMA_M) * STRIDE + lane / MMA_M * MMA_N;
    const T *right_row = right + (matrix / 2 * MMA_N + lane % MMA_N) * STRIDE + matrix % 2 * MMA_N;
    memset(&scores, 0, sizeof scores);
#pragma unroll
    for (int d = 0; d < D; d += MMA_K) {
      uint32_t a[4];
      load_matrices(a, left_row + d);
#pragma unroll
      for (int j = 0; j < COLUMNS; j += 2 * MMA_N) {
        uint32_t b[4];
        load_matrices(b, right_row + j * STRIDE + d);
        const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
        mma<T>(scores.value[j / MMA_N], a, first);
        mma<T>(scores.value[j / MMA_N + 1], a, second);
      }
    }
  }

  // Two results side by side, rounded, as a left operand; they keep what rounding took away.
  static __device__ __forceinline__ void take_operand(uint32_t (&a)[4], float (&left)[4], float (&right)[4]) {
    a[0] = pack_pair<T>(left[0], left[1]);
    a[1] = pack_pair<T>(left[2], left[3]);
    a[2] = pack_pair<T>(right[0], right[1]);
    a[3] = pack_pair<T>(right[2], right[3]);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      left[i] -= to_float(from_float<T>(left[i]));
      right[i] -= to_float(from_float<T>(right[i]));
    }
  }

  static __device__ __forceinline__ void accumulate(Sums &sums, Scores scores, const T *right, float *stage) {
    (void)stage;
    const int lane = threadIdx.x % WARP_LANES, matrix = lane / MMA_N;
    // Matrices (columns 0, channels 0), (8, 0), (0, 8), (8, 8), each transposed.
    const T *right_row = right + (matrix % 2 * MMA_N + lane % MMA_N) * STRIDE + matrix / 2 * MMA_N;
#pragma unroll
    for (int j = 0; j < COLUMNS; j += MMA_K) {
      uint32_t a[4], rest[4];
      take_operand(a, scores.value[j / MMA_N], scores.value[j / MMA_N + 1]);
      if (WEIGHTS == MMA_SPLIT) take_operand(rest, scores.value[j / MMA_N], scores.value[j / MMA_N + 1]);
#pragma unroll
      for (int k = 0; k < D; k += 2 * MMA_N) {
        uint32_t b[4];
        load_matrices_transposed(b, right_row + j * STRIDE + k);
        const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
        mma<T>(sums.value[k / MMA_N], a, first);
        mma<T>(sums.value[k / MMA_N + 1], a, second);
        if (WEIGHTS == MMA_SPLIT) {
          mma<T>(sums.value[k / MMA_N], rest, first);
          mma<T>(sums.value[k / MMA_N + 1], rest, second);
        }
      }
    }
  }
};

#endif
