// Matrix products of bf16 on the matrix unit, blocked for the caches (Goto and van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", 2008).
//
// A thread takes a panel of the result's columns. BLOCK_DEPTH rows of the right operand's part of it are laid out in
// pairs and stay in the second-level cache, while strips of the left operand pass by, STRIP_DEPTH elements of their
// depth at a time, which stay in the first-level cache. Sums stay in fp32 up to the end of the depth.
//
// Every element is summed in the order of k, from 0 to its end, into one fp32: neither the blocks nor the threads
// change bits. oneDNN's kernels for this unit cut k by the number of threads, and read the right operand from beyond
// the second-level cache once for every 64 rows.
#include "unit_product.h"

#include <omp.h>

#include "../../zero/memory.h"
#include "pack.h"
#include "tile.h"

enum {
  BLOCK_COLUMNS = 384, // of a panel: with BLOCK_DEPTH 768 KiB
  BLOCK_DEPTH = 1024,
  BLOCK_ROWS = 1024, // of a unit of work: where the depth has several blocks, the sums of all of them are kept
  STRIP_ROWS = 64,
  STRIP_DEPTH = 256, // with STRIP_ROWS 32 KiB
  STRIP_PAIRS = STRIP_DEPTH / 2,
  STRIP_SUMS = STRIP_ROWS * UNIT_BLOCK, // of UNIT_BLOCK columns
  CLASHING_BYTES = 1024,
  LANE_ALIGN_FLOATS = 1024, // two threads share no page
  UNITS_OF_A_THREAD = 4     // from so many on it does not matter that one thread may have one more than another
};

_Static_assert(BLOCK_DEPTH % STRIP_DEPTH == 0 && STRIP_DEPTH % TILE == 0 && BLOCK_COLUMNS % TILE == 0,
               "blocks are made of whole tiles");
_Static_assert(TILE % (int)UNIT_BLOCK == 0 && STRIP_ROWS % (int)UNIT_BLOCK == 0,
               "tiles are made of the unit's blocks");

// A strip of the left operand: `stride` pairs from one of its rows to the next.
typedef struct {
  const float *pairs;
  size_t stride;
} Left;

// Rows and columns of the result.
typedef struct {
  size_t row, rows, column, columns;
} Part;

// What one thread works in.
typedef struct {
  float *left;  // (STRIP_ROWS, STRIP_PAIRS) pairs, where the operand cannot be read where it is
  float *right; // tiles of columns, each (BLOCK_DEPTH / 2, TILE) pairs
  float *sums;  // of a strip blocks of columns, each (STRIP_ROWS, UNIT_BLOCK); one strip after the other
} Lane;

// Held from call to call: the lanes, and a transposed left operand.
static struct {
  float *lanes, *transposed;
  size_t lanes_count, transposed_count; // in floats
} held;

static float *hold(float **data, size_t *count, size_t needed) {
  if (*count < needed) {
    zero_free(*data);
    *data = zero_malloc(needed * sizeof **data, ZERO_MEM_ACTIVATIONS);
    *count = needed;
  }
  return *data;
}

void unit_product_release(void) {
  zero_free(held.lanes);
  zero_free(held.transposed);
  held.lanes = held.transposed = NULL;
  held.lanes_count = held.transposed_count = 0;
}

// ---- the operands

// Whether rows so many elements apart lie in few of the first-level cache's sets, each replacing the one before.
static int clashes(size_t elements) {
  return elements * sizeof(uint16_t) % CLASHING_BYTES == 0;
}

// The left operand whole, transposed first if need be, to rows that do not clash.
static const uint16_t *left_operand(const Matmul *matmul, size_t *stride) {
  *stride = matmul->k;
  if (!matmul->a.transposed) return matmul->a.data;
  *stride = round_up(matmul->k, UNIT_DEPTH);
  if (clashes(*stride)) *stride += UNIT_DEPTH;
  float *transposed = hold(&held.transposed, &held.transposed_count, matmul->m * *stride / 2);
  transpose_left(transposed, *stride, matmul->a.data, matmul->m, matmul->k);
  return (const uint16_t *)(const void *)transposed;
}

// A strip of it, of so many rows and so much of the depth, from `from` on. Where it cannot be read where it is, it is
// copied, and what is beyond it is 0.
static Left take_left(const Lane *lane, const uint16_t *from, size_t stride, size_t rows, size_t depth) {
  if (rows % UNIT_BLOCK == 0 && depth % UNIT_DEPTH == 0 && stride % 2 == 0 && !clashes(stride)) {
    return (Left){(const float *)(const void *)from, stride / 2};
  }
  const size_t whole = round_up(depth, UNIT_DEPTH);
  for (size_t i = 0; i < rows; i++) {
    uint16_t *to = (uint16_t *)(void *)(lane->left + i * STRIP_PAIRS);
    memcpy(to, from + i * stride, depth * sizeof *from);
    memset(to + depth, 0, (whole - depth) * sizeof *from);
  }
  memset(lane->left + rows * STRIP_PAIRS, 0, (round_up(rows, UNIT_BLOCK) - rows) * STRIP_PAIRS * sizeof *lane->left);
  return (Left){lane->left, STRIP_PAIRS};
}

// right = rows [k, k + depth) of a panel's columns of b; what is beyond them becomes 0.
static void lay_out_right(float *right, const Matmul *matmul, size_t k, size_t depth, Part panel) {
  const uint16_t *b = matmul->b.data;
  for (size_t across = 0; across < panel.columns; across += TILE) {
    for (size_t down = 0; down < depth; down += TILE) {
      float *tile = right + across * (BLOCK_DEPTH / 2) + down / 2 * TILE;
      const size_t row = k + down, column = panel.column + across;
      const size_t rows = min_size(TILE, depth - down), columns = min_size(TILE, panel.columns - across);
      if (matmul->b.transposed) {
        const size_t at = column * matmul->k + row;
        if (down + TILE < depth) tile_fetch(b + at + TILE, matmul->k * sizeof *b, columns, rows * sizeof *b);
        tile_pack_pairs_transposed(tile, TILE, b, at, matmul->k, columns, rows);
      } else {
        const size_t at = row * matmul->n + column;
        if (down + TILE < depth)
          tile_fetch(b + at + TILE * matmul->n, matmul->n * sizeof *b, rows, columns * sizeof *b);
        tile_pack_row_pairs(tile, TILE, b, at, matmul->n, rows, columns);
      }
    }
  }
}

// ---- the product

// A strip's sums += left * right over so much of the depth; right begins where it does. first: sums = left * right.
static void multiply_strip(float *sums, Left left, const float *right, Part strip, size_t depth, int first) {
  const size_t pairs = round_up(depth, UNIT_DEPTH) / 2;
  for (size_t column = 0; column < strip.columns; column += UNIT_BLOCK, sums += STRIP_SUMS) {
    const float *tile = right + column / TILE * TILE * (BLOCK_DEPTH / 2) + column % TILE;
    for (size_t row = 0; row < strip.rows; row += UNIT_BLOCK) {
      unit_block(sums + row * UNIT_BLOCK, UNIT_BLOCK, left.pairs + row * left.stride, left.stride, tile, TILE, 0,
                 pairs, !first);
    }
  }
}

// c = sums + bias, or c += with accumulate.
VEC_INLINE void store_strip(const Matmul *matmul, const float *sums, Part strip, ZeroType type) {
  for (size_t block = 0; block < strip.columns; block += UNIT_BLOCK, sums += STRIP_SUMS) {
    const size_t columns = min_size(UNIT_BLOCK, strip.columns - block);
    for (size_t i = 0; i < strip.rows; i++) {
      for (size_t j = 0; j < columns; j += VEC_WIDTH) {
        const size_t n = vec_count(columns - j), column = strip.column + block + j;
        const size_t at = (strip.row + i) * matmul->n + column;
        Vec sum = vec_load(sums + i * UNIT_BLOCK + j);
        if (matmul->bias != NULL) sum += load_elements(matmul->bias, column, n, ZERO_BF16);
        if (matmul->accumulate) sum += load_elements(matmul->c, at, n, type);
        store_elements(matmul->c, at, n, sum, type);
      }
    }
  }
}

// Asks for what store_strip will add to.
static void fetch_result(const Matmul *matmul, Part strip) {
  if (!matmul->accumulate) return;
  const size_t size = zero_type_size(matmul->out_type);
  tile_fetch((const char *)matmul->c + (strip.row * matmul->n + strip.column) * size, matmul->n * size, strip.rows,
             strip.columns * size);
}

// One unit of work. a: the left operand whole, `stride` elements from row to row.
static void multiply_unit(const Matmul *matmul, const uint16_t *a, size_t stride, const Lane *lane, Part unit) {
  const int keeps_sums = matmul->k > BLOCK_DEPTH; // of all strips, from one block of the depth to the next
  const size_t sums_of_strip = divide_up(unit.columns, UNIT_BLOCK) * STRIP_SUMS;
  for (size_t block = 0; block < matmul->k; block += BLOCK_DEPTH) {
    const size_t end = min_size(block + BLOCK_DEPTH, matmul->k);
    lay_out_right(lane->right, matmul, block, end - block, unit);
    for (size_t at = 0; at < unit.rows; at += STRIP_ROWS) {
      const Part strip = {unit.row + at, min_size(STRIP_ROWS, unit.rows - at), unit.column, unit.columns};
      float *sums = lane->sums + (keeps_sums ? at / STRIP_ROWS * sums_of_strip : 0);
      if (end == matmul->k) fetch_result(matmul, strip);
      for (size_t k = block; k < end; k += STRIP_DEPTH) {
        const size_t depth = min_size(STRIP_DEPTH, end - k);
        const Left left = take_left(lane, a + strip.row * stride + k, stride, strip.rows, depth);
        multiply_strip(sums, left, lane->right + (k - block) / 2 * TILE, strip, depth, k == 0);
      }
      if (end == matmul->k) FOR_TYPE(matmul->out_type, store_strip, matmul, sums, strip);
    }
  }
}

// ---- its cut

// Rows and columns of a unit of work: what fits the caches, or halves of it until each thread has as many as the
// others.
static Part cut_result(const Matmul *matmul, size_t threads) {
  Part cut = {.rows = min_size(BLOCK_ROWS, round_up(matmul->m, STRIP_ROWS)),
              .columns = min_size(BLOCK_COLUMNS, round_up(matmul->n, TILE))};
  for (;;) {
    const size_t units = divide_up(matmul->m, cut.rows) * divide_up(matmul->n, cut.columns);
    if (units % threads == 0 || units >= UNITS_OF_A_THREAD * threads) return cut;
    if (cut.columns > TILE && (cut.columns >= cut.rows || cut.rows == STRIP_ROWS)) {
      cut.columns = round_up(cut.columns / 2, TILE);
    } else if (cut.rows > STRIP_ROWS) {
      cut.rows = round_up(cut.rows / 2, STRIP_ROWS);
    } else {
      return cut;
    }
  }
}

void unit_product(const Matmul *matmul) {
  const size_t threads = (size_t)omp_get_max_threads();
  const Part cut = cut_result(matmul, threads);
  const size_t left_floats = STRIP_ROWS * STRIP_PAIRS, right_floats = BLOCK_DEPTH / 2 * cut.columns;
  const size_t sums_floats = (matmul->k > BLOCK_DEPTH ? cut.rows : (size_t)STRIP_ROWS) * cut.columns;
  const size_t lane_floats = round_up(left_floats + right_floats + sums_floats, LANE_ALIGN_FLOATS);
  float *lanes = hold(&held.lanes, &held.lanes_count, lane_floats * threads);
  size_t stride;
  const uint16_t *a = left_operand(matmul, &stride);
#pragma omp parallel
  {
    float *mine = lanes + (size_t)omp_get_thread_num() * lane_floats;
    const Lane lane = {mine, mine + left_floats, mine + left_floats + right_floats};
    unit_begin();
#pragma omp for collapse(2) schedule(static)
    for (size_t column = 0; column < matmul->n; column += cut.columns) {
      for (size_t row = 0; row < matmul->m; row += cut.rows) {
        multiply_unit(
            matmul, a, stride, &lane,
            (Part){row, min_size(cut.rows, matmul->m - row), column, min_size(cut.columns, matmul->n - column)});
      }
    }
    unit_end();
  }
}
