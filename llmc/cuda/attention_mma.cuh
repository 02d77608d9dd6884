// Attention's tiles in the half types: tensor cores (mma.cuh), with fp32 sums. Weights are rounded to the type before
// they are multiplied, as other implementations do.
//
// A warp holds 16 rows, or twice as many. Its lane 4 g + t holds rows g and g + 8 of every 16 and of every 8 columns
// or channels 2t and 2t + 1: the layout of an mma's result, which serves as the next one's left operand as it is. The
// stride of 8 more than a multiple of 32 puts the 8 rows of a matrix of 8 x 8 into different banks. What the right
// side reads from shared memory, 512 bytes for 2 products of 16 rows, bounds it: with 32 rows for 4.
#ifndef LLMC_CUDA_ATTENTION_MMA_CUH
#define LLMC_CUDA_ATTENTION_MMA_CUH

#include "attention.cuh"
#include "mma.cuh"

// (16 SETS, 8 TILES) as results of mma side by side.
template <int SETS, int TILES>
struct MmaBlock {
  float value[SETS][TILES][4];
  __device__ __forceinline__ float &at(int i, int j) { return value[i / 2][j / 2][2 * (i % 2) + j % 2]; }
  __device__ __forceinline__ float at(int i, int j) const { return value[i / 2][j / 2][2 * (i % 2) + j % 2]; }
};

// SETS: of 16 rows, that a warp holds.
template <typename T, int D, int SETS, int COLUMNS_OF_TILE>
struct MmaTiles {
  typedef T Element;
  static constexpr int ROWS = ATTENTION_WARPS * SETS * MMA_M, COLUMNS = COLUMNS_OF_TILE, CHANNELS = D;
  static constexpr int STRIDE = D + MMA_N, ROW_LANES = 4;
  static constexpr int ROW_COUNT = 2 * SETS, COLUMN_COUNT = COLUMNS / ROW_LANES, CHANNEL_COUNT = D / ROW_LANES;
  static constexpr int STAGE_FLOATS = 0, BUFFERS = 2;
  typedef MmaBlock<SETS, COLUMNS / MMA_N> Scores;
  typedef MmaBlock<SETS, D / MMA_N> Sums;
  struct Left {
    uint32_t a[D / MMA_K][SETS][4];
  };

  static __device__ __forceinline__ int warp_row() { return threadIdx.x / WARP_LANES * (SETS * MMA_M); }
  static __device__ __forceinline__ int row(int i) {
    return warp_row() + threadIdx.x % WARP_LANES / ROW_LANES + i * MMA_N;
  }
  static __device__ __forceinline__ int column(int j) { return j / 2 * MMA_N + threadIdx.x % ROW_LANES * 2 + j % 2; }
  static __device__ __forceinline__ int channel(int k) { return column(k); }

  static __device__ __forceinline__ void hold(Left &left, const T *tile) {
    // Matrices (rows 0, channels 0), (8, 0), (0, 8), (8, 8).
    const int lane = threadIdx.x % WARP_LANES;
    const T *row = tile + (warp_row() + lane % MMA_M) * STRIDE + lane / MMA_M * MMA_N;
#pragma unroll
    for (int d = 0; d < D; d += MMA_K) {
#pragma unroll
      for (int set = 0; set < SETS; set++) load_matrices(left.a[d / MMA_K][set], row + set * MMA_M * STRIDE + d);
    }
  }

  static __device__ __forceinline__ void multiply(Scores &scores, const Left &left, const T *right) {
    // Matrices (columns 0, channels 0), (0, 8), (8, 0), (8, 8).
    const int lane = threadIdx.x % WARP_LANES, matrix = lane / MMA_N;
    const T *right_row = right + (matrix / 2 * MMA_N + lane % MMA_N) * STRIDE + matrix % 2 * MMA_N;
    memset(&scores, 0, sizeof scores);
#pragma unroll
    for (int d = 0; d < D; d += MMA_K) {
#pragma unroll
      for (int j = 0; j < COLUMNS; j += 2 * MMA_N) {
        uint32_t b[4];
        load_matrices(b, right_row + j * STRIDE + d);
        const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#pragma unroll
        for (int set = 0; set < SETS; set++) {
          mma<T>(scores.value[set][j / MMA_N], left.a[d / MMA_K][set], first);
          mma<T>(scores.value[set][j / MMA_N + 1], left.a[d / MMA_K][set], second);
        }
      }
    }
  }

  static __device__ __forceinline__ void accumulate(Sums &sums, const Scores &scores, const T *right, float *stage) {
    (void)stage;
    const int lane = threadIdx.x % WARP_LANES, matrix = lane / MMA_N;
    // Matrices (columns 0, channels 0), (8, 0), (0, 8), (8, 8), each transposed.
    const T *right_row = right + (matrix % 2 * MMA_N + lane % MMA_N) * STRIDE + matrix / 2 * MMA_N;
#pragma unroll
    for (int j = 0; j < COLUMNS; j += MMA_K) {
      uint32_t a[SETS][4];
#pragma unroll
      for (int set = 0; set < SETS; set++) { // two results side by side
        const float(&low)[4] = scores.value[set][j / MMA_N], (&high)[4] = scores.value[set][j / MMA_N + 1];
        a[set][0] = pack_pair<T>(low[0], low[1]);
        a[set][1] = pack_pair<T>(low[2], low[3]);
        a[set][2] = pack_pair<T>(high[0], high[1]);
        a[set][3] = pack_pair<T>(high[2], high[3]);
      }
#pragma unroll
      for (int k = 0; k < D; k += 2 * MMA_N) {
        uint32_t b[4];
        load_matrices_transposed(b, right_row + j * STRIDE + k);
        const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#pragma unroll
        for (int set = 0; set < SETS; set++) {
          mma<T>(sums.value[set][k / MMA_N], a[set], first);
          mma<T>(sums.value[set][k / MMA_N + 1], a[set], second);
        }
      }
    }
  }
};

#endif
