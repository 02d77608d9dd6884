// Matrix multiply through cuBLASLt, with descriptors and algorithms cached by shape.
#ifndef LLMC_CUDA_CUBLASLT_CUH
#define LLMC_CUDA_CUBLASLT_CUH

#include <stddef.h>

#include "../ops.h"

// A matrix in memory, row by row. transposed: what is multiplied is the transpose of what is stored.
typedef struct {
  const void *data;
  size_t stride; // elements from one stored row to the next
  int transposed;
} GemmMatrix;

// What happens to a sum on its way to memory.
typedef enum {
  GEMM_PLAIN,
  GEMM_GELU,         // pre = sum, c = gelu(sum before it is rounded)
  GEMM_GELU_GRADIENT // c = sum * gelu'(pre)
} GemmEpilogue;

// c = epilogue(a * b + bias), or c += a * b. a is (m, k), b is (k, n), c is (m, n) and dense, bias is (n) or NULL,
// pre is (m, n) and dense. a and b have `type`, the others out_type: the same, or fp32. Sums are in fp32, rounded
// once.
typedef struct {
  size_t m, n, k;
  GemmMatrix a, b;
  const void *bias;
  void *c;
  int accumulate;
  GemmEpilogue epilogue;
  void *pre;
  ZeroType type, out_type;
} Gemm;

// Whether cuBLASLt can fuse GELU or its gradient into a product with these n, type and pre.
int cublaslt_fuses_gelu(size_t n, ZeroType type, const void *pre);

// Queues the product; m, n and k are not 0, with a bias n and k are not 1 either: cuBLASLt refuses that. A shape that
// it refuses ends the program.
void cublaslt_gemm(const Gemm *gemm, ZeroStream stream);

#endif
