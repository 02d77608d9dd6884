// A plain matrix product with sums in double, for cuBLASLt's place, and its epilogues.
#ifndef CUDAEMU_GEMM_H
#define CUDAEMU_GEMM_H

#include "include/cublasLt.h"

// Column-major; `type` of its elements; `transposed`: op(X) is its transpose.
typedef struct {
  const void *data;
  cudaDataType type;
  size_t ld;
  int transposed;
} GemmMatrix;

typedef struct {
  size_t m, n, k; // op(A): m x k, op(B): k x n
  float alpha, beta;
  GemmMatrix a, b, c;
  void *d;
  cudaDataType d_type;
  size_t d_ld;
  cublasLtEpilogue_t epilogue;
  void *bias; // m values (n for BGRADB); read by BIAS, written by BGRAD
  cudaDataType bias_type;
  void *aux; // m x n; written by GELU_AUX, read by DGELU
  cudaDataType aux_type;
  size_t aux_ld;
} Gemm;

size_t gemm_type_size(cudaDataType type);
void gemm_run(const Gemm *gemm);

#endif
