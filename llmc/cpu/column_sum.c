// Bias gradients and the last part of LayerNorm's: sums over rows in a fixed order.
#include "column_sum.h"

#include "element.h"

void add_partial_sums(OpsGrad grad, const float *partials, size_t tiles, size_t stride, size_t count) {
#pragma omp parallel for schedule(static) if (worth_threads(tiles * count))
  for (size_t at = 0; at < count; at += VEC_WIDTH) {
    size_t n = vec_count(count - at);
    Vec sum = {0};
    for (size_t tile = 0; tile < tiles; tile++) sum += vec_load_n(partials + tile * stride + at, n);
    store_gradient(grad, at, n, sum);
  }
}

// One tile: the partial sums stay in the first-level cache while its rows stream by.
VEC_INLINE void sum_tile(float *partial, const void *data, size_t first, size_t rows, size_t columns, ZeroType type) {
  memset(partial, 0, columns * sizeof(float));
  for (size_t row = first; row < first + rows; row++) {
    for (size_t at = 0; at < columns; at += VEC_WIDTH) {
      size_t n = vec_count(columns - at);
      Vec x = load_elements(data, row * columns + at, n, type);
      vec_store_n(partial + at, vec_load_n(partial + at, n) + x, n);
    }
  }
}

void column_sums(OpsGrad grad, const void *data, size_t rows, size_t columns, ZeroType type, float *scratch) {
  size_t tiles = row_tiles(rows);
#pragma omp parallel for schedule(static) if (worth_threads(rows * columns))
  for (size_t tile = 0; tile < tiles; tile++) {
    size_t first = tile * ROW_TILE;
    FOR_TYPE(type, sum_tile, scratch + tile * columns, data, first, min_size(ROW_TILE, rows - first), columns);
  }
  add_partial_sums(grad, scratch, tiles, columns, columns);
}
