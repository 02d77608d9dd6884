// Sums over rows in an order that depends on their number alone: bias gradients.
#ifndef LLMC_CUDA_COLUMN_SUM_CUH
#define LLMC_CUDA_COLUMN_SUM_CUH

#include "types.cuh"

// Bytes of scratch that column_sums needs.
size_t column_sums_scratch(size_t rows, size_t columns);

// grad[c] (+)= sum over rows of data (rows, columns), in fp32, rounded once.
void column_sums(OpsGrad grad, const void *data, size_t rows, size_t columns, ZeroType type, void *scratch,
                 ZeroStream stream);

// Rows of data that lie `stride` elements apart, summed in slices of so many.
typedef struct {
  const void *data;
  size_t rows, columns, stride, rows_per_slice;
  ZeroType type;
} ColumnSlices;

// The same for those. scratch: a float for each slice and column.
void column_sums_of(OpsGrad grad, const ColumnSlices *slices, void *scratch, ZeroStream stream);

#endif
