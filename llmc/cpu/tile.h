// Small dense products on tiles that lie in the first- and second-level cache: what attention is made of.
//
// A tile has TILE rows; its columns are padded with zeros to a multiple of TILE_COLUMNS. Everything is fp32:
// the pack functions convert, transpose and pad on the way in.
#ifndef LLMC_CPU_TILE_H
#define LLMC_CPU_TILE_H

#include "element.h"
#include "parallel.h"

enum {
  TILE = 64,
  TILE_COLUMNS = 16, // columns come in multiples of this (and of every VEC_WIDTH)
  TILE_BLOCK_ROWS = 4,
  // Vectors per row of a register block: with 4 rows, what fits the processor's registers.
  TILE_BLOCK_VECTORS = VEC_WIDTH == 16 ? 4 : 2
};

// Where the triangle of a causal mask lets work be left out.
typedef enum {
  TILE_WHOLE,
  TILE_RESULT_LOWER, // only c(i, j) with j <= i is needed; the rest is undefined
  TILE_LEFT_LOWER,   // a(i, k) is 0 for k > i
  TILE_LEFT_UPPER    // a(i, k) is 0 for k < i
} TilePart;

// c (rows, columns) = a * b, or += with accumulate. a(i, k) is a[i * a_row + k * a_depth]; b is (depth, columns).
// rows is a multiple of TILE_BLOCK_ROWS, columns of TILE_COLUMNS.
typedef struct {
  float *c;
  size_t c_stride;
  const float *a;
  size_t a_row, a_depth;
  const float *b;
  size_t b_stride;
  size_t rows, columns, depth;
  int accumulate;
  TilePart part;
} TileProduct;

// One register block: TILE_BLOCK_ROWS rows by `vectors` (a constant where this is inlined) vectors, summed over
// k in [first, end).
VEC_INLINE void tile_block(const TileProduct *p, size_t row, size_t column, size_t first, size_t end,
                           const int vectors) {
  Vec sum[TILE_BLOCK_ROWS][TILE_BLOCK_VECTORS];
  float *c = p->c + row * p->c_stride + column;
#pragma GCC unroll 4
  for (int i = 0; i < TILE_BLOCK_ROWS; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) {
      sum[i][j] = p->accumulate ? vec_load(c + (size_t)i * p->c_stride + j * VEC_WIDTH) : vec_set(0);
    }
  }
  const float *a = p->a + row * p->a_row + first * p->a_depth, *b = p->b + first * p->b_stride + column;
  for (size_t k = first; k < end; k++, a += p->a_depth, b += p->b_stride) {
    Vec right[TILE_BLOCK_VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) right[j] = vec_load(b + j * VEC_WIDTH);
#pragma GCC unroll 4
    for (int i = 0; i < TILE_BLOCK_ROWS; i++) {
      Vec left = vec_set(a[(size_t)i * p->a_row]);
#pragma GCC unroll 4
      for (int j = 0; j < vectors; j++) sum[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < TILE_BLOCK_ROWS; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) vec_store(c + (size_t)i * p->c_stride + j * VEC_WIDTH, sum[i][j]);
  }
}

static inline void tile_multiply(const TileProduct *p) {
  for (size_t row = 0; row < p->rows; row += TILE_BLOCK_ROWS) {
    size_t next = row + TILE_BLOCK_ROWS, column = 0;
    size_t columns = p->part == TILE_RESULT_LOWER ? min_size(p->columns, round_up(next, TILE_COLUMNS)) : p->columns;
    size_t end = p->part == TILE_LEFT_LOWER ? min_size(p->depth, next) : p->depth;
    size_t first = p->part == TILE_LEFT_UPPER ? min_size(row, end) : 0;
    for (; column + TILE_BLOCK_VECTORS * VEC_WIDTH <= columns; column += TILE_BLOCK_VECTORS * VEC_WIDTH) {
      tile_block(p, row, column, first, end, TILE_BLOCK_VECTORS);
    }
    switch ((columns - column) / VEC_WIDTH) { // other counts of vectors than these cannot be left over
      case 3:
        tile_block(p, row, column, first, end, TILE_BLOCK_VECTORS - 1);
        break;
      case 2:
        tile_block(p, row, column, first, end, 2);
        break;
      case 1:
        tile_block(p, row, column, first, end, 1);
        break;
    }
  }
}

// dst (TILE, padded) = factor * src, whose `rows` rows of `columns` elements begin at src[at] and lie `stride`
// apart. What is beyond them in dst becomes 0.
VEC_INLINE void tile_pack(float *dst, size_t padded, const void *src, size_t at, size_t stride, size_t rows,
                          size_t columns, float factor, ZeroType type) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t column = 0; column < padded; column += VEC_WIDTH) {
      size_t n = column < columns ? vec_count(columns - column) : 0;
      vec_store(dst + row * padded + column, load_elements(src, at + row * stride + column, n, type) * factor);
    }
  }
  memset(dst + rows * padded, 0, (TILE - rows) * padded * sizeof(float));
}

// dst (padded, TILE): the same, transposed.
VEC_INLINE void tile_pack_transposed(float *dst, size_t padded, const void *src, size_t at, size_t stride,
                                     size_t rows, size_t columns, ZeroType type) {
  for (size_t column = 0; column < padded; column += VEC_WIDTH) {
    size_t n = column < columns ? vec_count(columns - column) : 0;
    for (size_t row = 0; row < TILE; row += VEC_WIDTH) {
      Vec block[VEC_WIDTH];
      for (size_t i = 0; i < VEC_WIDTH; i++) {
        block[i] = row + i < rows ? load_elements(src, at + (row + i) * stride + column, n, type) : vec_set(0);
      }
      vec_transpose(block);
      for (size_t i = 0; i < VEC_WIDTH; i++) vec_store(dst + (column + i) * TILE + row, block[i]);
    }
  }
}

#endif
