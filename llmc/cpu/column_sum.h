// Sums over rows that do not depend on the number of threads: each tile of ROW_TILE rows gives one partial
// sum per column, kept in scratch; then the partial sums are added in the order of tiles.
#ifndef LLMC_CPU_COLUMN_SUM_H
#define LLMC_CPU_COLUMN_SUM_H

#include "../ops.h"
#include "parallel.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ROW_TILE = 64 };

static inline size_t row_tiles(size_t rows) {
  return divide_up(rows, ROW_TILE);
}

// grad[c] (+)= sum over tiles of partials[tile * stride + c], for `count` columns.
void add_partial_sums(OpsGrad grad, const float *partials, size_t tiles, size_t stride, size_t count);

// grad[c] (+)= sum over rows of data (rows, columns). scratch: row_tiles(rows) * columns floats.
void column_sums(OpsGrad grad, const void *data, size_t rows, size_t columns, ZeroType type, float *scratch);

#ifdef __cplusplus
}
#endif
#endif
