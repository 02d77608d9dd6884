// Products on the matrix unit against double precision: shapes that do and do not divide into the blocks, in every
// form; and the same bits for any number of threads, each of which cuts the result in another way.
#include <omp.h>

#include "../../llmc/cpu/unit_product.h"
#include "../../zero/memory.h"
#include "reference.h"

enum { MOST_THREADS = 5 };

// Of a bf16 result, and of a sum in fp32 relative to the sum of its terms' sizes: the rounding of each of its steps
// goes either way, so that far fewer of them add up than there are.
static const double BF16_ROUNDING = 1.0 / 256, SUM_ROUNDING = 1e-6;

typedef struct {
  size_t m, n, k;
  int a_transposed, b_transposed, bias, accumulate;
  ZeroType out_type;
} Case;

static void check_case(const Case *c) {
  const size_t results = c->m * c->n;
  const Tensor a = new_random_tensor(c->m * c->k, 1, 1, ZERO_BF16),
               b = new_random_tensor(c->k * c->n, 1, 2, ZERO_BF16);
  const Tensor bias = new_random_tensor(c->n, 1, 3, ZERO_BF16),
               before = new_random_tensor(results, 1, 4, c->out_type);
  const size_t bytes = results * zero_type_size(c->out_type);
  void *first = malloc(bytes), *out = malloc(bytes + 1);
  assert_true(first != NULL && out != NULL);
  const unsigned char beyond = 0xa5;
  for (int threads = 1; threads <= MOST_THREADS; threads++) {
    omp_set_num_threads(threads);
    memcpy(out, before.data, bytes);
    ((unsigned char *)out)[bytes] = beyond;
    unit_product(&(Matmul){.m = c->m,
                           .n = c->n,
                           .k = c->k,
                           .a = {a.data, c->a_transposed},
                           .b = {b.data, c->b_transposed},
                           .bias = c->bias ? bias.data : NULL,
                           .c = out,
                           .accumulate = c->accumulate,
                           .type = ZERO_BF16,
                           .out_type = c->out_type});
    assert_int_equal(((unsigned char *)out)[bytes], beyond);
    if (threads == 1) memcpy(first, out, bytes);
    assert_memory_equal(out, first, bytes);
  }
  for (size_t i = 0; i < results; i++) {
    const size_t row = i / c->n, column = i % c->n;
    double sum = c->bias ? (double)bias.f32[column] : 0, size = fabs(sum);
    if (c->accumulate) sum += (double)before.f32[i], size += fabs((double)before.f32[i]);
    for (size_t k = 0; k < c->k; k++) {
      const double term = (double)a.f32[c->a_transposed ? k * c->m + row : row * c->k + k] *
                          (double)b.f32[c->b_transposed ? column * c->k + k : k * c->n + column];
      sum += term;
      size += fabs(term);
    }
    const double found = c->out_type == ZERO_F32 ? (double)((const float *)first)[i]
                                                 : (double)zero_bf16_to_f32(((const uint16_t *)first)[i]);
    const double tolerance = SUM_ROUNDING * size + (c->out_type == ZERO_F32 ? 0 : BF16_ROUNDING * fabs(sum));
    if (!(fabs(found - sum) <= tolerance)) {
      print_error(
          "(%zu, %zu, %zu), transposed %d and %d, bias %d, accumulate %d: %g at row %zu, column %zu, expected %g\n",
          c->m, c->n, c->k, c->a_transposed, c->b_transposed, c->bias, c->accumulate, found, row, column, sum);
      fail();
    }
  }
  free(first);
  free(out);
  free_tensor(a);
  free_tensor(b);
  free_tensor(bias);
  free_tensor(before);
}

static void test_products(void **state) {
  (void)state;
  if (!onednn_has_matrix_unit()) skip();
  const size_t shapes[][3] = {{1, 1, 1},      {1, 130, 33},   {64, 64, 32},   {65, 50, 31},     {32, 400, 96},
                              {130, 70, 256}, {64, 48, 512},  {100, 17, 770}, {192, 96, 1024},  {33, 65, 1025},
                              {96, 32, 2112}, {1100, 24, 64}, {7, 800, 40},   {1030, 20, 1056}, {64, 64, 1536}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    for (int form = 0; form < 32; form++) {
      const Case c = {.m = shapes[i][0],
                      .n = shapes[i][1],
                      .k = shapes[i][2],
                      .a_transposed = form & 1,
                      .b_transposed = form >> 1 & 1,
                      .bias = form >> 2 & 1,
                      .accumulate = form >> 3 & 1,
                      .out_type = form >> 4 ? ZERO_F32 : ZERO_BF16};
      check_case(&c);
    }
  }
  unit_product_release();
  assert_int_equal(zero_ledger_now(ZERO_MEM_ACTIVATIONS), 0);
}

// What a product leaves in the threads' memory, be it NaN, is not in the next one's sums, whose depth and rows end
// within a block of the unit.
static void test_nan_left_behind(void **state) {
  (void)state;
  if (!onednn_has_matrix_unit()) skip();
  enum { SIDE = 512 };
  uint16_t *nan = zero_malloc(SIDE * SIDE * sizeof *nan, ZERO_MEM_OTHER);
  memset(nan, 0xff, SIDE * SIDE * sizeof *nan);
  for (int transposed = 0; transposed < 2; transposed++) {
    unit_product(&(Matmul){.m = SIDE,
                           .n = SIDE,
                           .k = SIDE,
                           .a = {nan, transposed},
                           .b = {nan, transposed},
                           .c = nan,
                           .type = ZERO_BF16,
                           .out_type = ZERO_BF16});
    const Case c = {.m = 37, .n = 45, .k = 33, .a_transposed = transposed, .out_type = ZERO_F32};
    check_case(&c);
  }
  zero_free(nan);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_nan_left_behind)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
