// Attention's tiles in fp32: plain multiply-adds, which bound it. From shared memory 16 bytes serve 5 to 13 of them.
//
// A warp holds ROWS / 4 rows. Its lane 8 r + c holds rows r, r + 4 and so on, columns c, c + 8 and so on, and of
// every 32 channels 4 c to 4 c + 3. The stride of 4 more than a multiple of 32 puts the 8 rows that lanes c read, and
// the 4 that lanes r read, into different banks.
#ifndef LLMC_CUDA_ATTENTION_FMA_CUH
#define LLMC_CUDA_ATTENTION_FMA_CUH

#include "attention.cuh"

// A (COUNT_I, COUNT_J) block of registers.
template <int COUNT_I, int COUNT_J>
struct FmaBlock {
  float value[COUNT_I][COUNT_J];
  __device__ __forceinline__ float &at(int i, int j) { return value[i][j]; }
  __device__ __forceinline__ float at(int i, int j) const { return value[i][j]; }
};

template <int D, int ROWS_OF_TILE, int COLUMNS_OF_TILE>
struct FmaTiles {
  typedef float Element;
  enum { LANES_R = 4, LANES_C = 8, VECTOR = 4, VECTOR_SPAN = VECTOR * LANES_C };
  static constexpr int ROWS = ROWS_OF_TILE, COLUMNS = COLUMNS_OF_TILE, CHANNELS = D, STRIDE = D + VECTOR;
  static constexpr int ROW_LANES = LANES_C;
  static constexpr int ROW_COUNT = ROWS / (ATTENTION_WARPS * LANES_R), COLUMN_COUNT = COLUMNS / LANES_C;
  static constexpr int CHANNEL_COUNT = D / LANES_C;
  static constexpr int STAGE_STRIDE = COLUMNS + 8, STAGE_FLOATS = ROWS * STAGE_STRIDE;
  static constexpr int BUFFERS = 1; // two would not fit beside heads of 128 channels in 99 KiB
  typedef const float *Left;
  typedef FmaBlock<ROW_COUNT, COLUMN_COUNT> Scores;
  typedef FmaBlock<ROW_COUNT, CHANNEL_COUNT> Sums;

  static __device__ __forceinline__ int lane_r() { return threadIdx.x % WARP_LANES / LANES_C; }
  static __device__ __forceinline__ int lane_c() { return threadIdx.x % LANES_C; }
  static __device__ __forceinline__ int row(int i) {
    return threadIdx.x / WARP_LANES * (ROWS / ATTENTION_WARPS) + i * LANES_R + lane_r();
  }
  static __device__ __forceinline__ int column(int j) { return j * LANES_C + lane_c(); }
  static __device__ __forceinline__ int channel(int k) {
    return k / VECTOR * VECTOR_SPAN + lane_c() * VECTOR + k % VECTOR;
  }
  static __device__ __forceinline__ float4 vector(const float *at) { return *reinterpret_cast<const float4 *>(at); }

  static __device__ __forceinline__ void hold(Left &left, const float *tile) { left = tile; }

  static __device__ __forceinline__ void multiply(Scores &scores, const Left &left, const float *right) {
    memset(&scores, 0, sizeof scores);
#pragma unroll 2
    for (int d = 0; d < D; d += VECTOR) {
      float4 l[ROW_COUNT], r[COLUMN_COUNT];
#pragma unroll
      for (int i = 0; i < ROW_COUNT; i++) l[i] = vector(left + row(i) * STRIDE + d);
#pragma unroll
      for (int j = 0; j < COLUMN_COUNT; j++) r[j] = vector(right + column(j) * STRIDE + d);
#pragma unroll
      for (int i = 0; i < ROW_COUNT; i++) {
#pragma unroll
        for (int j = 0; j < COLUMN_COUNT; j++) {
          float sum = scores.at(i, j);
          sum = fmaf(l[i].x, r[j].x, sum);
          sum = fmaf(l[i].y, r[j].y, sum);
          sum = fmaf(l[i].z, r[j].z, sum);
          scores.at(i, j) = fmaf(l[i].w, r[j].w, sum);
        }
      }
    }
  }

  // Scores go through `stage` (ROWS, STAGE_STRIDE), so that a lane gets all columns of its rows. A warp uses its own
  // rows alone.
  static __device__ __forceinline__ void accumulate(Sums &sums, const Scores &scores, const float *right,
                                                    float *stage) {
    __syncwarp(); // what was staged before has been used
#pragma unroll
    for (int i = 0; i < ROW_COUNT; i++) {
#pragma unroll
      for (int j = 0; j < COLUMN_COUNT; j++) stage[row(i) * STAGE_STRIDE + column(j)] = scores.at(i, j);
    }
    __syncwarp();
#pragma unroll 1
    for (int j = 0; j < COLUMNS; j += VECTOR) {
      float l[ROW_COUNT][VECTOR];
#pragma unroll
      for (int i = 0; i < ROW_COUNT; i++) {
        const float4 v = vector(stage + row(i) * STAGE_STRIDE + j);
        l[i][0] = v.x, l[i][1] = v.y, l[i][2] = v.z, l[i][3] = v.w;
      }
#pragma unroll
      for (int depth = 0; depth < VECTOR; depth++) {
#pragma unroll
        for (int k = 0; k < CHANNEL_COUNT; k += VECTOR) {
          const float4 r = vector(right + (j + depth) * STRIDE + channel(k));
#pragma unroll
          for (int i = 0; i < ROW_COUNT; i++) {
            sums.at(i, k) = fmaf(l[i][depth], r.x, sums.at(i, k));
            sums.at(i, k + 1) = fmaf(l[i][depth], r.y, sums.at(i, k + 1));
            sums.at(i, k + 2) = fmaf(l[i][depth], r.z, sums.at(i, k + 2));
            sums.at(i, k + 3) = fmaf(l[i][depth], r.w, sums.at(i, k + 3));
          }
        }
      }
    }
  }
};

#endif
