// The combinations of types that operations with parameter gradients are tested in.
#ifndef TEST_CASES_H
#define TEST_CASES_H

#include "reference.h"

// Types of activations and of parameter gradients, and whether these accumulate.
typedef struct {
  ZeroType type, grad_type;
  int accumulate;
} Case;

static const Case cases[] = {{ZERO_F32, ZERO_F32, 0},   {ZERO_F32, ZERO_F32, 1},  {ZERO_BF16, ZERO_BF16, 0},
                             {ZERO_BF16, ZERO_BF16, 1}, {ZERO_F16, ZERO_F16, 0},  {ZERO_F16, ZERO_F16, 1},
                             {ZERO_BF16, ZERO_F32, 1},  {ZERO_F16, ZERO_F32, 0},  {ZERO_F32, ZERO_BF16, 0},
                             {ZERO_F32, ZERO_F16, 1},   {ZERO_BF16, ZERO_F16, 0}, {ZERO_F16, ZERO_BF16, 1}};
enum { CASES = sizeof cases / sizeof cases[0] };

// The step from one case to the next: of the tiny ones there is one for each type of activations.
static inline int case_step(void) {
  return tiny ? 5 : 1;
}

// Of a shape with so many rows: where they are many because the CPU takes them in blocks, CUDA has nothing to show in
// every case.
static inline int case_step_of_rows(size_t rows) {
  const size_t rows_of_a_block = 512;
  return on_cuda() && rows > rows_of_a_block ? 5 : case_step();
}

#endif
