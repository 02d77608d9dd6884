// Rows sorted by a number that each of them has, a token or a position: what the backward of embeddings sums by.
#ifndef LLMC_CPU_ROW_SORT_H
#define LLMC_CPU_ROW_SORT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  uint32_t index, row;
} IndexedRow;

// Stable: rows stay in order within an index. `other` has room for as many; returns the sorted list, which is one of
// the two. No index is above `largest`.
IndexedRow *sort_rows(IndexedRow *list, IndexedRow *other, size_t count, size_t largest);

#ifdef __cplusplus
}
#endif
#endif
