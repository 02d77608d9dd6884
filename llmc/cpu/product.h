// Matrix products in every type: the same description as oneDNN's (onednn.h), any `type` with any `out_type`.
#ifndef LLMC_CPU_PRODUCT_H
#define LLMC_CPU_PRODUCT_H

#include "onednn.h"

#ifdef __cplusplus
extern "C" {
#endif

// Products with a transposed, whose sums are over rows, must be cut into slices of at most so many rows. With more
// rows and few columns oneDNN 2.6 splits the sum by the number of threads (seen from 2,048 rows at 64 x 64), which
// changes bits. Where the result is of a half type the slices are to be summed in fp32 and rounded once.
enum { PRODUCT_SLICE_ROWS = 1024 };

// Not to be called inside a parallel region.
void matrix_product(const Matmul *product);

// Gives back the memory that products through fp32 and packed operands hold from call to call.
void matrix_product_release(void);

#ifdef __cplusplus
}
#endif
#endif
