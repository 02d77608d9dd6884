// Matrix multiply through oneDNN, with the primitives cached by shape.
//
// Creating a primitive takes up to a millisecond; a cached one costs a look-up and three pointers.
#ifndef LLMC_CPU_ONEDNN_H
#define LLMC_CPU_ONEDNN_H

#include <stddef.h>

#include "../../zero/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// A matrix in memory, dense: no gaps between its rows, since with gaps oneDNN 2.6 splits the sum over k by the
// number of threads in some shapes. transposed: what is multiplied is the transpose of what is stored.
typedef struct {
  const void *data;
  int transposed;
} Matrix;

// c = a * b + bias, or c += a * b. a is (m, k), b is (k, n), c is (m, n), bias is (n) or NULL.
// a, b and bias have `type`; c has `out_type`. Sums are in fp32, rounded once.
typedef struct {
  size_t m, n, k;
  Matrix a, b;
  const void *bias;
  void *c;
  int accumulate;
  ZeroType type, out_type;
} Matmul;

// Whether the processor multiplies bf16 itself (AVX512_BF16), faster than fp32; ONEDNN_MAX_CPU_ISA can forbid it.
int onednn_has_bf16(void);

// Whether the program is built for a matrix unit for bf16 (Intel AMX), the processor has one, and the kernel lets the
// process use it, which oneDNN asks it for; ONEDNN_MAX_CPU_ISA can forbid it.
int onednn_has_matrix_unit(void);

// fp32 with fp32, or with onednn_has_bf16 bf16 with bf16 or fp32 as its out_type. Not to be called inside a parallel
// region. A shape that oneDNN refuses ends the program.
void onednn_matmul(const Matmul *matmul);

// Gives back the memory that a packed operand (pack.h) holds from call to call.
void onednn_release(void);

#ifdef __cplusplus
}
#endif
#endif
