// Tensor cores: the warp-wide products that one wrapped function of the kernels calls instead of PTX. The fragments
// are laid out as PTX defines them for mma.sync.aligned.m16n8kK.row.col; sums are taken in double and rounded once, a
// GPU adds in another order and with fewer bits.
#ifndef CUDAEMU_MMA_H
#define CUDAEMU_MMA_H

#include "qualifiers.h"
#include "thread.h"

typedef enum { CUDAEMU_MMA_BF16, CUDAEMU_MMA_F16, CUDAEMU_MMA_TF32 } CudaemuMmaType;
// d = a * b + c; d may be c. a: 4 registers, b: 2, c and d: 4.
void cudaemu_mma(CudaemuMmaType type, float *d, const uint32_t *a, const uint32_t *b, const float *c,
                 const char *file, int line);
// Loads `matrices` (1, 2 or 4) of 8 x 8 half elements; lane i gives the address of row i % 8 of matrix i / 8.
void cudaemu_load_matrices(uint32_t *r, int matrices, int transposed, const void *row, const char *file, int line);

static inline void cudaemu_mma_m16n8k16_bf16(float *d, const uint32_t *a, const uint32_t *b, const float *c,
                                             CUDAEMU_PLACE) {
  cudaemu_mma(CUDAEMU_MMA_BF16, d, a, b, c, file, line);
}
static inline void cudaemu_mma_m16n8k16_f16(float *d, const uint32_t *a, const uint32_t *b, const float *c,
                                            CUDAEMU_PLACE) {
  cudaemu_mma(CUDAEMU_MMA_F16, d, a, b, c, file, line);
}
static inline void cudaemu_mma_m16n8k8_tf32(float *d, const uint32_t *a, const uint32_t *b, const float *c,
                                            CUDAEMU_PLACE) {
  cudaemu_mma(CUDAEMU_MMA_TF32, d, a, b, c, file, line);
}
static inline void cudaemu_ldmatrix(uint32_t *r, int matrices, int transposed, const void *row, CUDAEMU_PLACE) {
  cudaemu_load_matrices(r, matrices, transposed, row, file, line);
}

#endif
