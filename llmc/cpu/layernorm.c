// LayerNorm (arXiv 1607.06450) over rows of C channels; a row stays in the first-level cache between its
// passes, so that memory is read once.
#include <math.h>

#include "column_sum.h"
#include "element.h"
#include "parallel.h"

// Normalises one row. mean and variance in two passes: the sum of squared deviations does not cancel as
// E[x^2] - E[x]^2 does.
VEC_INLINE void normalise_row(void *out, float *mean, float *rstd, const void *inp, const void *weight,
                              const void *bias, size_t row, size_t C, float eps, ZeroType type) {
  size_t start = row * C;
  Vec sum = {0};
  for (size_t at = 0; at < C; at += VEC_WIDTH) sum += load_elements(inp, start + at, vec_count(C - at), type);
  float m = vec_sum(sum) / (float)C;

  Vec squares = {0};
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at);
    Vec deviation = load_elements(inp, start + at, n, type) - m;
    if (n < VEC_WIDTH) deviation = vec_select(vec_lanes() < (int)n, deviation, vec_set(0));
    squares += deviation * deviation;
  }
  float r = 1.0f / sqrtf(vec_sum(squares) / (float)C + eps);

  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at);
    Vec normed = (load_elements(inp, start + at, n, type) - m) * r;
    Vec y = normed * load_elements(weight, at, n, type) + load_elements(bias, at, n, type);
    store_elements(out, start + at, n, y, type);
  }
  mean[row] = m;
  rstd[row] = r;
}

void layernorm_forward(void *out, float *mean, float *rstd, const void *inp, const void *weight, const void *bias,
                       size_t N, size_t C, float eps, ZeroType type, ZeroStream stream) {
  (void)stream;
#pragma omp parallel for schedule(static) if (worth_threads(N * C))
  for (size_t row = 0; row < N; row++) {
    FOR_TYPE(type, normalise_row, out, mean, rstd, inp, weight, bias, row, C, eps);
  }
}

VEC_INLINE void add_and_normalise_row(void *residual, void *out, float *mean, float *rstd, const void *a,
                                      const void *b, const void *weight, const void *bias, size_t row, size_t C,
                                      float eps, ZeroType type) {
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at), place = row * C + at;
    store_elements(residual, place, n, load_elements(a, place, n, type) + load_elements(b, place, n, type), type);
  }
  normalise_row(out, mean, rstd, residual, weight, bias, row, C, eps, type);
}

void fused_residual_layernorm_forward(void *residual, void *out, float *mean, float *rstd, const void *a,
                                      const void *b, const void *weight, const void *bias, size_t N, size_t C,
                                      float eps, ZeroType type, ZeroStream stream) {
  (void)stream;
#pragma omp parallel for schedule(static) if (worth_threads(N * C))
  for (size_t row = 0; row < N; row++) {
    FOR_TYPE(type, add_and_normalise_row, residual, out, mean, rstd, a, b, weight, bias, row, C, eps);
  }
}

// What the backward of every row needs.
typedef struct {
  void *dinp;
  const void *dout, *add, *inp, *weight;
  const float *mean, *rstd;
  size_t C;
} Backward;

// One row: h = (x - mean) rstd, g = dy w,
//   dx = rstd (g - mean(g) - h mean(g h)),  dweight += dy h,  dbias += dy.
VEC_INLINE void backward_row(const Backward *args, size_t row, float *dweight, float *dbias, ZeroType type) {
  size_t C = args->C, start = row * C;
  float mean = args->mean[row], rstd = args->rstd[row];
  Vec sum_g = {0}, sum_gh = {0};
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at);
    Vec dy = load_elements(args->dout, start + at, n, type); // 0 in the lanes beyond the row, hence g too
    Vec h = (load_elements(args->inp, start + at, n, type) - mean) * rstd;
    Vec g = dy * load_elements(args->weight, at, n, type);
    vec_store_n(dweight + at, vec_load_n(dweight + at, n) + dy * h, n);
    vec_store_n(dbias + at, vec_load_n(dbias + at, n) + dy, n);
    sum_g += g;
    sum_gh += g * h;
  }
  float mean_g = vec_sum(sum_g) / (float)C, mean_gh = vec_sum(sum_gh) / (float)C;
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at);
    Vec h = (load_elements(args->inp, start + at, n, type) - mean) * rstd;
    Vec g = load_elements(args->dout, start + at, n, type) * load_elements(args->weight, at, n, type);
    Vec dx = (g - mean_g - h * mean_gh) * rstd;
    if (args->add != NULL) dx += load_elements(args->add, start + at, n, type);
    store_elements(args->dinp, start + at, n, dx, type);
  }
}

// A tile of rows; its sums for weight and bias lie side by side in `partials` (2, C).
VEC_INLINE void backward_tile(const Backward *args, size_t first, size_t rows, float *partials, ZeroType type) {
  memset(partials, 0, 2 * args->C * sizeof(float));
  for (size_t row = first; row < first + rows; row++) {
    backward_row(args, row, partials, partials + args->C, type);
  }
}

size_t layernorm_backward_scratch(size_t N, size_t C) {
  return row_tiles(N) * 2 * C * sizeof(float);
}

void layernorm_backward(void *dinp, OpsGrad dweight, OpsGrad dbias, const void *dout, const void *add,
                        const void *inp, const float *mean, const float *rstd, const void *weight, size_t N, size_t C,
                        ZeroType type, void *scratch, ZeroStream stream) {
  (void)stream;
  Backward args = {dinp, dout, add, inp, weight, mean, rstd, C};
  float *partials = scratch; // (tiles, 2, C)
  size_t tiles = row_tiles(N);
#pragma omp parallel for schedule(static) if (worth_threads(N * C))
  for (size_t tile = 0; tile < tiles; tile++) {
    size_t first = tile * ROW_TILE;
    FOR_TYPE(type, backward_tile, &args, first, min_size(ROW_TILE, N - first), partials + tile * 2 * C);
  }
  if (dweight.data != NULL) add_partial_sums(dweight, partials, tiles, 2 * C, C);
  if (dbias.data != NULL) add_partial_sums(dbias, partials + C, tiles, 2 * C, C);
}
