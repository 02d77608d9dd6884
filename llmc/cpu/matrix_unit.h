// Products of pairs of bf16 on the processor's matrix unit (Intel AMX): five to ten times as fast as with vectors.
//
// The unit has eight registers of 16 rows by 64 bytes. One instruction multiplies 16 rows of 16 pairs with 16 pairs
// of rows of 16 columns, laid out as tile.h has them, and adds in fp32.
#ifndef LLMC_CPU_MATRIX_UNIT_H
#define LLMC_CPU_MATRIX_UNIT_H

#include "vec.h"

#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
enum { MATRIX_UNIT = 1 };
#else
enum { MATRIX_UNIT = 0 };
#endif

enum {
  UNIT_SIDE = 16,             // rows of a register, and 32-bit elements of each
  UNIT_BLOCK = 2 * UNIT_SIDE, // rows and columns of a result that are computed at once
  UNIT_DEPTH = 2 * UNIT_SIDE, // of a product: bf16 elements that one instruction takes
  UNIT_ROW_BYTES = 4 * UNIT_SIDE
};

// A thread brackets its products with these two.
static inline void unit_begin(void) {
#if defined(__AMX_TILE__)
  // The configuration as LDTILECFG reads it (Intel's manual, volume 1, chapter 18).
  static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } registers = {.palette = 1, .row_bytes = {[0 ... 7] = UNIT_ROW_BYTES}, .rows = {[0 ... 7] = UNIT_SIDE}};
  _tile_loadconfig(&registers);
#endif
}

static inline void unit_end(void) {
#if defined(__AMX_TILE__)
  _tile_release();
#endif
}

// c (UNIT_BLOCK, UNIT_BLOCK) = a * b, or += with accumulate, over pairs [first, end) of the depth: whole
// instructions. Strides count 32-bit elements.
VEC_INLINE void unit_block(float *c, size_t c_stride, const float *a, size_t a_stride, const float *b,
                           size_t b_stride, size_t first, size_t end, int accumulate) {
#if defined(__AMX_TILE__) && defined(__AMX_BF16__)
  const size_t c_bytes = c_stride * sizeof *c, a_bytes = a_stride * sizeof *a, b_bytes = b_stride * sizeof *b;
  float *below = c + UNIT_SIDE * c_stride;
  if (accumulate) {
    _tile_loadd(0, c, c_bytes);
    _tile_loadd(1, c + UNIT_SIDE, c_bytes);
    _tile_loadd(2, below, c_bytes);
    _tile_loadd(3, below + UNIT_SIDE, c_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (size_t k = first; k < end; k += UNIT_SIDE) {
    const float *left = a + k, *right = b + k * b_stride;
    _tile_loadd(4, left, a_bytes);
    _tile_loadd(6, right, b_bytes);
    _tile_loadd(7, right + UNIT_SIDE, b_bytes);
    _tile_loadd(5, left + UNIT_SIDE * a_stride, a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, c_bytes);
  _tile_stored(1, c + UNIT_SIDE, c_bytes);
  _tile_stored(2, below, c_bytes);
  _tile_stored(3, below + UNIT_SIDE, c_bytes);
#else
  (void)c, (void)c_stride, (void)a, (void)a_stride, (void)b, (void)b_stride, (void)first, (void)end, (void)accumulate;
  __builtin_unreachable(); // MATRIX_UNIT says so
#endif
}

#endif
