// Matrix products of bf16 on the processor's matrix unit (matrix_unit.h).
#ifndef LLMC_CPU_UNIT_PRODUCT_H
#define LLMC_CPU_UNIT_PRODUCT_H

#include "onednn.h"

#ifdef __cplusplus
extern "C" {
#endif

// matmul, of bf16 with bf16 or fp32 as its out_type, where onednn_has_matrix_unit. Any shape; the same bits for any
// number of threads. Not to be called inside a parallel region.
void unit_product(const Matmul *matmul);

// Gives back the memory that operands are laid out in, held from call to call.
void unit_product_release(void);

#ifdef __cplusplus
}
#endif
#endif
