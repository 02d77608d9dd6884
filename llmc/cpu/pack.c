// Packing the right operand of a product, with attention's tiles of pairs.
#include "pack.h"

#include "tile.h"

_Static_assert((int)PACK_COLUMNS == (int)TILE && (int)PACK_DEPTH == (int)TILE, "a block is packed in square tiles");

enum { LINE = 64 }; // bytes that a cache takes at once

size_t pack_bytes(size_t k, size_t n) {
  return k * round_up(n, PACK_COLUMNS) * sizeof(uint16_t);
}

// Asks for the rows of a tile: in a transposed matrix they lie too far apart for the processor to foresee the next
// tile.
static void prefetch_rows(const uint16_t *first, size_t stride, size_t rows) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t at = 0; at < TILE; at += LINE / sizeof *first) __builtin_prefetch(first + row * stride + at);
  }
}

void pack_right(void *packed, Matrix b, size_t k, size_t n) {
#pragma omp parallel for collapse(2) schedule(static) if (worth_threads(k * n))
  for (size_t column = 0; column < n; column += PACK_COLUMNS) {
    for (size_t row = 0; row < k; row += PACK_DEPTH) {
      float *tile = (float *)packed + (column * k + row * PACK_COLUMNS) / 2; // a pair is as large as a float
      const size_t columns = min_size(PACK_COLUMNS, n - column);
      if (b.transposed) {
        const size_t at = column * k + row;
        if (row + PACK_DEPTH < k) prefetch_rows((const uint16_t *)b.data + at + PACK_DEPTH, k, columns);
        tile_pack_pairs_transposed(tile, TILE, b.data, at, k, columns, TILE);
      } else {
        tile_pack_row_pairs(tile, TILE, b.data, row * n + column, n, TILE, columns);
      }
    }
  }
}
