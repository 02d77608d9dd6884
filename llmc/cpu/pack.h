// The right operand of a product, laid out as oneDNN's kernels read it.
//
// Blocks of PACK_COLUMNS columns, one after the other, each over the whole depth k: oneDNN's layout BA16a64b. In bf16
// two rows are interleaved in them, the even one first: BA16a64b2a. oneDNN makes such a copy of bf16 itself, a piece
// at a time and again for every few rows of the result: one copy of the whole, made by all threads, is cheaper once
// there are many rows. Rows of fp32 it reads where they are.
#ifndef LLMC_CPU_PACK_H
#define LLMC_CPU_PACK_H

#include "onednn.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  PACK_COLUMNS = 64, // of a block; the last one is padded with zeros
  PACK_DEPTH = 64    // k is a multiple of this
};

size_t pack_bytes(size_t k, size_t n, ZeroType type);

// packed = b, a (k, n) matrix of fp32 or bf16, stored as (n, k) where b.transposed. Moves elements: nothing is
// rounded. Not to be called inside a parallel region.
void pack_right(void *packed, Matrix b, size_t k, size_t n, ZeroType type);

// out (m, k), rows `stride` elements apart, = the transpose of a (k, m), both of bf16; out and its rows are aligned
// to 64 bytes. Not to be called inside a parallel region.
void transpose_left(void *out, size_t stride, const void *a, size_t m, size_t k);

#ifdef __cplusplus
}
#endif
#endif
