// Rows sorted by a number that each of them has, a token or a position: what the backward of embeddings sums by.
#ifndef LLMC_CUDA_ROW_SORT_CUH
#define LLMC_CUDA_ROW_SORT_CUH

#include <stddef.h>
#include <stdint.h>

#include "../../zero/device.h"

// Bytes that sort_rows needs.
size_t row_sort_scratch(size_t N);

// The rows 0 … N - 1, N at least 1, sorted by index[row], which is below `rows` or -1: those come last. Among equal
// ones they stay in order. The list (N) lies in scratch.
const uint32_t *sort_rows(void *scratch, const int *index, size_t N, size_t rows, ZeroStream stream);

#endif
