// Dropout by counter (llmc/dropout.h), row by row.
#include "dropout.h"

#include "element.h"
#include "parallel.h"

VEC_INLINE void dropout_row(void *out, const void *inp, const DropoutPlan *plan, size_t row, uint32_t position,
                            uint32_t sample, size_t C, ZeroType type) {
  for (size_t first = 0; first < C; first += DROPOUT_STEP) {
    VecBits words[2];
    vec_dropout_words(plan, 0, (uint32_t)(first / DROPOUT_WORDS), position, sample, words);
    for (size_t i = 0; i < 2 && first + i * VEC_WIDTH < C; i++) {
      size_t at = first + i * VEC_WIDTH, n = vec_count(C - at);
      Vec x = load_elements(inp, row * C + at, n, type) * plan->scale;
      store_elements(out, row * C + at, n, vec_select((VecInt)(words[i] < plan->threshold), vec_set(0), x), type);
    }
  }
}

void dropout(void *out, const void *inp, const int *samples, const int *positions, size_t N, size_t C,
             const OpsDropout *dropout, ZeroType type, ZeroStream stream) {
  (void)stream;
  if (!dropout_is_on(dropout)) {
    if (out != inp) memcpy(out, inp, N * C * zero_type_size(type));
    return;
  }
  const DropoutPlan plan = dropout_plan(dropout);
#pragma omp parallel for schedule(static) if (worth_threads(N * C))
  for (size_t row = 0; row < N; row++) {
    FOR_TYPE(type, dropout_row, out, inp, &plan, row, (uint32_t)positions[row], (uint32_t)samples[row], C);
  }
}
