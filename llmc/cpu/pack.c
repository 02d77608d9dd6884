// Packing the right operand of a product, with attention's tiles.
#include "pack.h"

#include "tile.h"

_Static_assert((int)PACK_COLUMNS == (int)TILE && (int)PACK_DEPTH == (int)TILE, "a block is packed in square tiles");

enum { LINE = 64 }; // bytes that a cache takes at once

size_t pack_bytes(size_t k, size_t n, ZeroType type) {
  return k * round_up(n, PACK_COLUMNS) * zero_type_size(type);
}

// Asks for the rows of a tile: in a transposed matrix they lie too far apart for the processor to foresee the next
// tile.
static void prefetch_rows(const uint16_t *first, size_t stride, size_t rows) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t at = 0; at < TILE; at += LINE / sizeof *first) __builtin_prefetch(first + row * stride + at);
  }
}

static void pack_floats(float *tile, Matrix b, size_t row, size_t column, size_t k, size_t n, size_t columns) {
  if (b.transposed) {
    tile_pack_transposed(tile, TILE, b.data, column * k + row, k, columns, TILE, ZERO_F32);
  } else {
    tile_pack(tile, TILE, b.data, row * n + column, n, TILE, columns, 1, ZERO_F32);
  }
}

static void pack_pairs(float *tile, Matrix b, size_t row, size_t column, size_t k, size_t n, size_t columns) {
  if (b.transposed) {
    const size_t at = column * k + row;
    if (row + PACK_DEPTH < k) prefetch_rows((const uint16_t *)b.data + at + PACK_DEPTH, k, columns);
    tile_pack_pairs_transposed(tile, TILE, b.data, at, k, columns, TILE);
  } else {
    tile_pack_row_pairs(tile, TILE, b.data, row * n + column, n, TILE, columns);
  }
}

void pack_right(void *packed, Matrix b, size_t k, size_t n, ZeroType type) {
  const size_t in_one = type == ZERO_BF16 ? 2 : 1; // elements in a float's place
#pragma omp parallel for collapse(2) schedule(static) if (worth_threads(k * n))
  for (size_t column = 0; column < n; column += PACK_COLUMNS) {
    for (size_t row = 0; row < k; row += PACK_DEPTH) {
      float *tile = (float *)packed + (column * k + row * PACK_COLUMNS) / in_one;
      const size_t columns = min_size(PACK_COLUMNS, n - column);
      if (type == ZERO_BF16) {
        pack_pairs(tile, b, row, column, k, n, columns);
      } else {
        pack_floats(tile, b, row, column, k, n, columns);
      }
    }
  }
}

void transpose_left(void *out, const void *a, size_t m, size_t k) {
  const uint16_t *from = a;
  uint16_t *to = out;
  const size_t whole = k % TILE == 0 ? m - m % TILE_COLUMNS : 0; // columns of a that tiles take
#pragma omp parallel for collapse(2) schedule(static) if (worth_threads(m * k))
  for (size_t column = 0; column < whole; column += TILE) {
    for (size_t row = 0; row < k; row += TILE) {
      const size_t columns = min_size(TILE, whole - column);
      if (columns == TILE && row + TILE < k) prefetch_rows(from + (row + TILE) * m + column, m, TILE);
      float *tile = (float *)out + (column * k + row) / 2; // a pair is as large as a float
      tile_pack_row_pairs_transposed(tile, k / 2, columns, a, row * m + column, m, TILE, columns);
    }
  }
#pragma omp parallel for schedule(static) if (worth_threads((m - whole) * k))
  for (size_t column = whole; column < m; column++) {
    for (size_t row = 0; row < k; row++) to[column * k + row] = from[row * m + column];
  }
}
