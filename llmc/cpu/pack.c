// Packing the right operand of a product, with attention's tiles.
#include "pack.h"

#include "tile.h"

_Static_assert((int)PACK_COLUMNS == (int)TILE && (int)PACK_DEPTH == (int)TILE, "a block is packed in square tiles");

size_t pack_bytes(size_t k, size_t n, ZeroType type) {
  return k * round_up(n, PACK_COLUMNS) * zero_type_size(type);
}

// Asks for the tile to the right of the one at (row, column) of a matrix (rows, columns) of elements of `size` bytes.
static void fetch_next(const void *matrix, size_t size, size_t row, size_t column, size_t rows, size_t columns) {
  const size_t next = column + TILE;
  if (next >= columns) return;
  tile_fetch((const char *)matrix + (row * columns + next) * size, columns * size, min_size(TILE, rows - row),
             min_size(TILE, columns - next) * size);
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
    tile_pack_pairs_transposed(tile, TILE, b.data, column * k + row, k, columns, TILE);
  } else {
    tile_pack_row_pairs(tile, TILE, b.data, row * n + column, n, TILE, columns);
  }
}

// Tile by tile along the rows as they lie in memory.
void pack_right(void *packed, Matrix b, size_t k, size_t n, ZeroType type) {
  const size_t in_one = type == ZERO_BF16 ? 2 : 1; // elements in a float's place
  const size_t rows = b.transposed ? n : k, columns = b.transposed ? k : n, size = zero_type_size(type);
#pragma omp parallel for collapse(2) schedule(static) if (worth_threads(k * n))
  for (size_t down = 0; down < rows; down += TILE) {
    for (size_t across = 0; across < columns; across += TILE) {
      const size_t row = b.transposed ? across : down, column = b.transposed ? down : across;
      float *tile = (float *)packed + (column * k + row * PACK_COLUMNS) / in_one;
      fetch_next(b.data, size, down, across, rows, columns);
      if (type == ZERO_BF16) {
        pack_pairs(tile, b, row, column, k, n, min_size(PACK_COLUMNS, n - column));
      } else {
        pack_floats(tile, b, row, column, k, n, min_size(PACK_COLUMNS, n - column));
      }
    }
  }
}

// Rows of TILE / 2 floats, one after the other, to where they lie `stride` floats apart, past the caches: they would
// all want the same few places there.
static void store_rows(float *to, size_t stride, const float *tile, size_t rows) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t at = 0; at < TILE / 2; at += VEC_WIDTH) {
      vec_store_past_caches(to + row * stride + at, vec_load(tile + row * (TILE / 2) + at));
    }
  }
}

void transpose_left(void *out, size_t stride, const void *a, size_t m, size_t k) {
  const uint16_t *from = a;
  uint16_t *to = out;
  const size_t whole = k % TILE == 0 ? m - m % TILE_COLUMNS : 0; // columns of a that tiles take
#pragma omp parallel if (worth_threads(m * k))
  {
#pragma omp for collapse(2) schedule(static)
    for (size_t row = 0; row < k; row += TILE) {
      for (size_t column = 0; column < whole; column += TILE) {
        float tile[TILE * TILE / 2];
        const size_t columns = min_size(TILE, whole - column);
        fetch_next(a, sizeof *from, row, column, k, m);
        tile_pack_row_pairs_transposed(tile, TILE / 2, columns, a, row * m + column, m, TILE, columns);
        // A pair is as large as a float.
        store_rows((float *)out + (column * stride + row) / 2, stride / 2, tile, columns);
      }
    }
#pragma omp for schedule(static) nowait
    for (size_t column = whole; column < m; column++) {
      for (size_t row = 0; row < k; row++) to[column * stride + row] = from[row * m + column];
    }
    vec_finish_past_caches(); // each thread its own
  }
}
