// Dropout by counter (llmc/dropout.h). A row's words are drawn for WORDS channels at a time, so that the compiler
// can draw many of them side by side.
#include "../dropout.h"

#include "element.h"
#include "parallel.h"

enum { BLOCKS = 16, WORDS = BLOCKS * DROPOUT_WORDS };

// The words of channels [WORDS * group, …).
static void draw_words(const DropoutPlan *plan, size_t group, uint32_t position, uint32_t sample,
                       uint32_t words[WORDS]) {
  for (uint32_t block = 0; block < BLOCKS; block++) {
    dropout_words(plan, 0, (uint32_t)(group * BLOCKS) + block, position, sample, words + DROPOUT_WORDS * block);
  }
}

VEC_INLINE void dropout_row(void *out, const void *inp, const DropoutPlan *plan, size_t row, uint32_t position,
                            uint32_t sample, size_t C, ZeroType type) {
  uint32_t words[WORDS];
  for (size_t first = 0; first < C; first += WORDS) {
    draw_words(plan, first / WORDS, position, sample, words);
    for (size_t at = first; at < min_size(first + WORDS, C); at += VEC_WIDTH) {
      size_t n = vec_count(C - at);
      VecBits drawn;
      memcpy(&drawn, words + (at - first), sizeof drawn);
      Vec x = load_elements(inp, row * C + at, n, type) * plan->scale;
      store_elements(out, row * C + at, n, vec_select(drawn < plan->threshold, vec_set(0), x), type);
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
