// Warp-wide matrix products and loads. Layouts: PTX ISA, "Warp Level Matrix Instructions", mma.m16n8k8 and .m16n8k16.
#include "include/cudaemu/mma.h"

#include "block.h"
#include "include/cudaemu/half_types.h"
#include "race.h"
#include "report.h"
#include "sanitizers.h"
#include "shared.h"

enum { M = 16, N = 8, MAX_K = 16, ROWS_OF_MATRIX = 8 };
#define ALL_LANES 0xffffffffu

typedef struct {
  CudaemuMmaType type;
  float *d;
  const uint32_t *a, *b;
  const float *c;
} Mma;

// Element `half` (0, 1) of a register of two, or a whole register as tf32, whose lower 13 bits do not count.
static double element(CudaemuMmaType type, uint32_t bits, int half) {
  unsigned short h = (unsigned short)(bits >> 16 * half);
  switch (type) {
    case CUDAEMU_MMA_BF16:
      return cudaemu_bfloat16_value(h);
    case CUDAEMU_MMA_F16:
      return cudaemu_half_value(h);
    case CUDAEMU_MMA_TF32:
      return __uint_as_float(bits & 0xffffe000u);
  }
  return 0;
}

// group: lane / 4, the row of a and d and the column of b; member: lane % 4.
static void product(void **lanes, unsigned mask) {
  (void)mask;
  double a[M][MAX_K], b[MAX_K][N];
  CudaemuMmaType type = ((const Mma *)lanes[0])->type;
  int per_register = type == CUDAEMU_MMA_TF32 ? 1 : 2, K = 8 * per_register;
  for (int lane = 0; lane < CUDAEMU_LANES; lane++) {
    const Mma *mma = (const Mma *)lanes[lane];
    int group = lane / 4, member = lane % 4;
    for (int r = 0; r < 4; r++) {
      for (int h = 0; h < per_register; h++) {
        int k = member * per_register + h + K / 2 * (r / 2);
        a[group + 8 * (r % 2)][k] = element(type, mma->a[r], h);
      }
    }
    for (int r = 0; r < 2; r++) {
      for (int h = 0; h < per_register; h++) {
        b[member * per_register + h + K / 2 * r][group] = element(type, mma->b[r], h);
      }
    }
  }
  for (int lane = 0; lane < CUDAEMU_LANES; lane++) {
    const Mma *mma = (const Mma *)lanes[lane];
    for (int r = 0; r < 4; r++) {
      int row = lane / 4 + 8 * (r / 2), column = 2 * (lane % 4) + r % 2;
      double sum = mma->c[r];
      for (int k = 0; k < K; k++) sum += a[row][k] * b[k][column];
      mma->d[r] = (float)sum;
    }
  }
}

void cudaemu_mma(CudaemuMmaType type, float *d, const uint32_t *a, const uint32_t *b, const float *c,
                 const char *file, int line) {
  Mma mma = {type, d, a, b, c};
  cudaemu_warp_meet(ALL_LANES, product, &mma, 0, "mma", file, line);
}

typedef struct {
  uint32_t *r;
  const void *row;
  int matrices, transposed;
} Load;

static void load(void **lanes, unsigned mask) {
  (void)mask;
  const Load *first = (const Load *)lanes[0];
  for (int lane = 0; lane < CUDAEMU_LANES; lane++) {
    for (int m = 0; m < first->matrices; m++) {
      unsigned short pair[2];
      for (int h = 0; h < 2; h++) {
        int row = lane / 4, column = 2 * (lane % 4) + h;
        if (first->transposed) std::swap(row, column);
        const Load *owner = (const Load *)lanes[ROWS_OF_MATRIX * m + row];
        memcpy(&pair[h], (const char *)owner->row + 2 * column, sizeof(pair[h]));
      }
      ((Load *)lanes[lane])->r[m] = (uint32_t)pair[0] | (uint32_t)pair[1] << 16;
    }
  }
}

void cudaemu_load_matrices(uint32_t *r, int matrices, int transposed, const void *row, const char *file, int line) {
  enum { ROW_BYTES = 16 };
  cudaemu_require_kernel("ldmatrix", file, line);
  if (cudaemu_lane() < ROWS_OF_MATRIX * matrices && (uintptr_t)row % ROW_BYTES != 0) {
    cudaemu_fail(file, line, "misaligned ldmatrix: address %p is not a multiple of 16", row);
  }
  if (cudaemu_lane() < ROWS_OF_MATRIX * matrices) {
    race_read_16(row); // for all lanes that get a part of it
    if (CUDAEMU_CHECKS_WRITES && cudaemu_shared_is_unwritten(row, ROW_BYTES)) {
      cudaemu_fail(file, line, "ldmatrix: uninitialised shared memory is read (%d bytes)", ROW_BYTES);
    }
  }
  Load request = {r, row, matrices, transposed};
  cudaemu_warp_meet(ALL_LANES, load, &request, 0, "ldmatrix", file, line);
}
