// Token and position embeddings.
//
// Backward sorts the rows by token, so that a token's rows are summed by one thread, in the order of rows,
// and its row of dwte is written once: no atomics, the same bits for any number of threads.
#include "element.h"
#include "parallel.h"
#include "row_sort.h"

VEC_INLINE void embed_row(void *out, size_t row, const void *wte, size_t token, const void *wpe, size_t position,
                          size_t C, ZeroType type) {
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at);
    Vec sum = load_elements(wte, token * C + at, n, type) + load_elements(wpe, position * C + at, n, type);
    store_elements(out, row * C + at, n, sum, type);
  }
}

void encoder_forward(void *out, const int *tokens, const void *wte, const void *wpe, size_t B, size_t T, size_t C,
                     ZeroType type, ZeroStream stream) {
  (void)stream;
#pragma omp parallel for schedule(static) if (worth_threads(B * T * C))
  for (size_t row = 0; row < B * T; row++) {
    FOR_TYPE(type, embed_row, out, row, wte, (size_t)tokens[row], wpe, row % T, C);
  }
}

size_t encoder_backward_scratch(size_t B, size_t T, size_t C) {
  (void)C;
  return B * T * (2 * sizeof(IndexedRow) + sizeof(size_t));
}

// dwte[token] += the rows of dout that list[0..count) names.
VEC_INLINE void add_token_rows(OpsGrad dwte, const void *dout, const IndexedRow *list, size_t count, size_t C,
                               ZeroType type) {
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at);
    Vec sum = {0};
    for (size_t i = 0; i < count; i++) sum += load_elements(dout, list[i].row * C + at, n, type);
    store_gradient(dwte, list[0].index * C + at, n, sum);
  }
}

static void token_gradient(OpsGrad dwte, const void *dout, const int *tokens, size_t N, size_t C, size_t Vp,
                           ZeroType type, void *scratch) {
  IndexedRow *list = scratch, *other = list + N;
  size_t *starts = (size_t *)(other + N); // where in the sorted list each distinct token begins
  for (size_t row = 0; row < N; row++) {
    if (tokens[row] < 0 || (size_t)tokens[row] >= Vp) {
      zero_fatal("encoder_backward: expected tokens below %zu, found %d in row %zu", Vp, tokens[row], row);
    }
    list[row] = (IndexedRow){(uint32_t)tokens[row], (uint32_t)row};
  }
  list = sort_rows(list, other, N, Vp - 1);
  size_t distinct = 0;
  for (size_t i = 0; i < N; i++) {
    if (i == 0 || list[i].index != list[i - 1].index) starts[distinct++] = i;
  }

  if (!dwte.accumulate) memset(dwte.data, 0, Vp * C * zero_type_size(dwte.type));
#pragma omp parallel for schedule(dynamic, 16) if (worth_threads(N * C))
  for (size_t i = 0; i < distinct; i++) {
    size_t end = i + 1 < distinct ? starts[i + 1] : N;
    FOR_TYPE(type, add_token_rows, dwte, dout, list + starts[i], end - starts[i], C);
  }
}

// dwpe[position] (+)= the sum of dout's rows at that position, in the order of sequences.
VEC_INLINE void add_position_rows(OpsGrad dwpe, const void *dout, size_t position, size_t B, size_t T, size_t C,
                                  ZeroType type) {
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at);
    Vec sum = {0};
    for (size_t b = 0; b < B; b++) sum += load_elements(dout, (b * T + position) * C + at, n, type);
    store_gradient(dwpe, position * C + at, n, sum);
  }
}

static void position_gradient(OpsGrad dwpe, const void *dout, size_t B, size_t T, size_t C, size_t maxT,
                              ZeroType type) {
#pragma omp parallel for schedule(static) if (worth_threads(B * T * C))
  for (size_t position = 0; position < T; position++) {
    FOR_TYPE(type, add_position_rows, dwpe, dout, position, B, T, C);
  }
  if (!dwpe.accumulate) {
    size_t row_bytes = C * zero_type_size(dwpe.type);
    memset((char *)dwpe.data + T * row_bytes, 0, (maxT - T) * row_bytes);
  }
}

void encoder_backward(OpsGrad dwte, OpsGrad dwpe, const void *dout, const int *tokens, size_t B, size_t T, size_t C,
                      size_t Vp, size_t maxT, ZeroType type, void *scratch, ZeroStream stream) {
  (void)stream;
  if (maxT < T) zero_fatal("encoder_backward: expected at least %zu positions, found %zu", T, maxT);
  if (dwte.data != NULL) token_gradient(dwte, dout, tokens, B * T, C, Vp, type, scratch);
  if (dwpe.data != NULL) position_gradient(dwpe, dout, B, T, C, maxT, type);
}
