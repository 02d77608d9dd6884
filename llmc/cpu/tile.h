// Small dense products on tiles that lie in the first- and second-level cache: what attention is made of.
//
// A tile has TILE rows; its columns are padded with zeros to a multiple of TILE_COLUMNS. Elements are fp32: the pack
// functions convert, transpose and pad on the way in. Or they are pairs, where the processor multiplies bf16: two
// neighbours along the depth of a product in one 32-bit element, the first one in the low half, which VDPBF16PS
// multiplies and adds in fp32 at twice the rate, and a matrix unit (matrix_unit.h) faster still. Tiles of pairs lie
// in memory for floats, and are half as large.
#ifndef LLMC_CPU_TILE_H
#define LLMC_CPU_TILE_H

#include "element.h"
#include "matrix_unit.h"
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
  TILE_LEFT_UPPER,   // a(i, k) is 0 for k < i; with vectors alone
  TILE_RIGHT_LOWER   // b(k, j) is 0 for k < j; on the unit alone
} TilePart;

// What the elements of packed tiles are and what multiplies them. A constant where a kernel is inlined.
typedef enum {
  TILE_FLOATS,
  TILE_PAIRED, // pairs, multiplied with vectors
  TILE_ON_UNIT // pairs, multiplied on the matrix unit; rows, columns and depth in multiples of UNIT_BLOCK
} TileKind;

// Elements in 32 bits.
VEC_INLINE size_t tile_in_one(TileKind kind) {
  return kind == TILE_FLOATS ? 1 : 2;
}

// What a product's rows are to be a multiple of.
VEC_INLINE size_t tile_block_rows(TileKind kind) {
  return kind == TILE_ON_UNIT ? (size_t)UNIT_BLOCK : (size_t)TILE_BLOCK_ROWS;
}

// The depth of a product over so many elements, as TileProduct counts it.
VEC_INLINE size_t tile_depth(size_t elements, TileKind kind) {
  return kind == TILE_ON_UNIT ? round_up(elements, UNIT_DEPTH) / 2 : divide_up(elements, tile_in_one(kind));
}

// Pairs are worth their packing with an instruction for them, and on its machines alone.
#if defined(__AVX512BF16__)
enum { TILE_PAIRS = 1 };
#else
enum { TILE_PAIRS = 0 };
#endif

// sum + left * right, or of pairs sum + left.low * right.low + left.high * right.high.
VEC_INLINE Vec tile_step(Vec sum, Vec left, Vec right, const int pairs) {
  if (!pairs) return sum + left * right;
#if defined(__AVX512BF16__)
  return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)left, (__m512bh)right);
#else
  const VecBits high = 0xffff0000u - (VecBits){0}, x = (VecBits)left, y = (VecBits)right;
  return sum + (Vec)(x << 16) * (Vec)(y << 16) + (Vec)(x & high) * (Vec)(y & high);
#endif
}

// Pairs of even's and odd's lanes, rounded.
VEC_INLINE Vec tile_pair(Vec even, Vec odd) {
#if defined(__AVX512BF16__)
  enum { HALF = 16 };
  const __m512i order = (__m512i)(VecBits)(vec_lanes() | (vec_lanes() + HALF) << 16);
  return (Vec)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even));
#else
  return (Vec)(vec_widen(vec_to_bf16(even)) | vec_widen(vec_to_bf16(odd)) << 16);
#endif
}

// c (rows, columns) = a * b, or += with accumulate. a(i, k) is a[i * a_row + k * a_depth]; b is (depth, columns).
// rows is a multiple of TILE_BLOCK_ROWS, columns of TILE_COLUMNS. Of pairs k counts pairs. On the unit a_depth is 1.
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
                           const int vectors, const int pairs) {
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
      Vec left = vec_repeat(a + (size_t)i * p->a_row);
#pragma GCC unroll 4
      for (int j = 0; j < vectors; j++) sum[i][j] = tile_step(sum[i][j], left, right[j], pairs);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < TILE_BLOCK_ROWS; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) vec_store(c + (size_t)i * p->c_stride + j * VEC_WIDTH, sum[i][j]);
  }
}

// On the unit: blocks of the result, the triangle's border going with their sides.
static inline void tile_multiply_on_unit(const TileProduct *p) {
  const size_t pairs = UNIT_BLOCK / 2; // that as many rows of a triangle stand for
  for (size_t row = 0; row < p->rows; row += UNIT_BLOCK) {
    const size_t end = p->part == TILE_LEFT_LOWER ? min_size(p->depth, (row / UNIT_BLOCK + 1) * pairs) : p->depth;
    const size_t columns = p->part == TILE_RESULT_LOWER ? min_size(p->columns, row + UNIT_BLOCK) : p->columns;
    for (size_t column = 0; column < columns; column += UNIT_BLOCK) {
      const size_t first = p->part == TILE_RIGHT_LOWER ? min_size(column / UNIT_BLOCK * pairs, end) : 0;
      unit_block(p->c + row * p->c_stride + column, p->c_stride, p->a + row * p->a_row, p->a_row, p->b + column,
                 p->b_stride, first, end, p->accumulate);
    }
  }
}

VEC_INLINE void tile_multiply(const TileProduct *p, const TileKind kind) {
  if (kind == TILE_ON_UNIT) {
    tile_multiply_on_unit(p);
    return;
  }
  const int pairs = kind == TILE_PAIRED;
  const size_t step = pairs ? 2 : 1; // rows of a triangle that one k stands for; a block's are a multiple of both
  for (size_t row = 0; row < p->rows; row += TILE_BLOCK_ROWS) {
    size_t next = row + TILE_BLOCK_ROWS, column = 0;
    size_t columns = p->part == TILE_RESULT_LOWER ? min_size(p->columns, round_up(next, TILE_COLUMNS)) : p->columns;
    size_t end = p->part == TILE_LEFT_LOWER ? min_size(p->depth, next / step) : p->depth;
    size_t first = p->part == TILE_LEFT_UPPER ? min_size(row / step, end) : 0;
    for (; column + TILE_BLOCK_VECTORS * VEC_WIDTH <= columns; column += TILE_BLOCK_VECTORS * VEC_WIDTH) {
      tile_block(p, row, column, first, end, TILE_BLOCK_VECTORS, pairs);
    }
    switch ((columns - column) / VEC_WIDTH) { // other counts of vectors than these cannot be left over
      case 3:
        tile_block(p, row, column, first, end, TILE_BLOCK_VECTORS - 1, pairs);
        break;
      case 2:
        tile_block(p, row, column, first, end, 2, pairs);
        break;
      case 1:
        tile_block(p, row, column, first, end, 1, pairs);
        break;
    }
  }
}

enum { TILE_LINE = 64 }; // bytes that a cache takes at once

// Asks for `bytes` of each of the rows, `stride` bytes apart, which is too far for the processor to foresee them.
// Into the second-level cache: many lines are under way.
VEC_INLINE void tile_fetch(const void *from, size_t stride, size_t rows, size_t bytes) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t at = 0; at < bytes; at += TILE_LINE) __builtin_prefetch((const char *)from + row * stride + at, 0, 2);
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

// 2 * VEC_WIDTH elements of bf16 as they are, of which n are there and the others 0.
VEC_INLINE Vec tile_load_pairs(const void *src, size_t at, size_t n) {
  Vec pairs = {0};
  memcpy(&pairs, (const uint16_t *)src + at, min_size(n, 2 * VEC_WIDTH) * sizeof(uint16_t));
  return pairs;
}

// The packing functions of pairs: src is bf16, and what is beyond it becomes 0 likewise.
//
// dst (TILE, padded / 2): rows as they are, pairs of columns.
VEC_INLINE void tile_pack_pairs(float *dst, size_t padded, const void *src, size_t at, size_t stride, size_t rows,
                                size_t columns) {
  memset(dst, 0, TILE * padded / 2 * sizeof(float));
  for (size_t row = 0; row < rows; row++) {
    memcpy(dst + row * padded / 2, (const uint16_t *)src + at + row * stride, columns * sizeof(uint16_t));
  }
}

// dst (padded / 2, TILE): the same, transposed.
VEC_INLINE void tile_pack_pairs_transposed(float *dst, size_t padded, const void *src, size_t at, size_t stride,
                                           size_t rows, size_t columns) {
  for (size_t pair = 0; pair < padded / 2; pair += VEC_WIDTH) {
    size_t n = 2 * pair < columns ? columns - 2 * pair : 0, kept = min_size(VEC_WIDTH, padded / 2 - pair);
    for (size_t row = 0; row < TILE; row += VEC_WIDTH) {
      Vec block[VEC_WIDTH];
      for (size_t i = 0; i < VEC_WIDTH; i++) {
        block[i] = row + i < rows ? tile_load_pairs(src, at + (row + i) * stride + 2 * pair, n) : vec_set(0);
      }
      vec_transpose(block);
      for (size_t i = 0; i < kept; i++) vec_store(dst + (pair + i) * TILE + row, block[i]);
    }
  }
}

// Of `row` and the one below it n elements from `column` on, side by side.
VEC_INLINE Vec tile_load_row_pairs(const void *src, size_t at, size_t stride, size_t row, size_t rows, size_t column,
                                   size_t n) {
  const uint16_t *from = (const uint16_t *)src;
  const size_t here = at + row * stride + column;
  VecBits pairs = {0};
  if (row < rows) pairs = vec_widen(vec_half_load_n(from + here, n));
  if (row + 1 < rows) pairs |= vec_widen(vec_half_load_n(from + here + stride, n)) << 16;
  return (Vec)pairs;
}

// dst (TILE / 2, padded): pairs of rows.
VEC_INLINE void tile_pack_row_pairs(float *dst, size_t padded, const void *src, size_t at, size_t stride, size_t rows,
                                    size_t columns) {
  for (size_t row = 0; row < TILE; row += 2) {
    for (size_t column = 0; column < padded; column += VEC_WIDTH) {
      size_t n = column < columns ? vec_count(columns - column) : 0;
      vec_store(dst + row / 2 * padded + column, tile_load_row_pairs(src, at, stride, row, rows, column, n));
    }
  }
}

// TILE / 2 of each of dst's `padded` rows, dst_stride apart: the same, transposed.
VEC_INLINE void tile_pack_row_pairs_transposed(float *dst, size_t dst_stride, size_t padded, const void *src,
                                               size_t at, size_t stride, size_t rows, size_t columns) {
  for (size_t column = 0; column < padded; column += VEC_WIDTH) {
    size_t n = column < columns ? vec_count(columns - column) : 0;
    for (size_t pair = 0; pair < TILE / 2; pair += VEC_WIDTH) {
      Vec block[VEC_WIDTH];
      for (size_t i = 0; i < VEC_WIDTH; i++) {
        block[i] = tile_load_row_pairs(src, at, stride, 2 * (pair + i), rows, column, n);
      }
      vec_transpose(block);
      for (size_t i = 0; i < VEC_WIDTH; i++) vec_store(dst + (column + i) * dst_stride + pair, block[i]);
    }
  }
}

// dst (TILE, padded) = the transpose of src (padded, TILE).
VEC_INLINE void tile_transpose(float *dst, const float *src, size_t padded) {
  for (size_t row = 0; row < TILE; row += VEC_WIDTH) {
    for (size_t column = 0; column < padded; column += VEC_WIDTH) {
      Vec block[VEC_WIDTH];
      for (size_t i = 0; i < VEC_WIDTH; i++) block[i] = vec_load(src + (column + i) * TILE + row);
      vec_transpose(block);
      for (size_t i = 0; i < VEC_WIDTH; i++) vec_store(dst + (row + i) * padded + column, block[i]);
    }
  }
}

// Rows of `row` (TILE floats) as pairs of columns in dst (TILE / 2); dst may be where row begins.
VEC_INLINE void tile_round_row(float *dst, const float *row) {
#pragma GCC unroll 4
  for (int i = 0; i < TILE; i += 2 * VEC_WIDTH) {
    Vec low = vec_load(row + i), high = vec_load(row + i + VEC_WIDTH);
#if defined(__AVX512BF16__)
    vec_store(dst + i / 2, (Vec)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
#else
    void *pairs = dst + i / 2;
    uint16_t *halves = pairs;
    vec_half_store_n(halves, vec_to_bf16(low), VEC_WIDTH);
    vec_half_store_n(halves + VEC_WIDTH, vec_to_bf16(high), VEC_WIDTH);
#endif
  }
}

// Two rows (TILE floats each; odd NULL: zeros) as pairs of rows in dst (TILE), which may be even.
VEC_INLINE void tile_round_rows(float *dst, const float *even, const float *odd) {
#pragma GCC unroll 8
  for (int i = 0; i < TILE; i += VEC_WIDTH) {
    vec_store(dst + i, tile_pair(vec_load(even + i), odd != NULL ? vec_load(odd + i) : vec_set(0)));
  }
}

#endif
