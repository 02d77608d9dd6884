// Linear layers: product.h makes the products; bias sums and GELU are our own vector loops.
#include <omp.h>

#include "../../zero/error.h"
#include "../../zero/memory.h"
#include "column_sum.h"
#include "convert.h"
#include "parallel.h"
#include "product.h"

void matmul_forward(void *out, void *pre, const void *inp, const void *weight, const void *bias, size_t N, size_t C,
                    size_t OC, OpsGelu gelu, ZeroType type, ZeroStream stream) {
  if ((gelu != OPS_NO_GELU) != (pre != NULL) || pre == out) {
    zero_fatal("matmul_forward: pre is given with GELU and only then, and is not out");
  }
  if (N == 0) return;
  matrix_product(&(Matmul){.m = N,
                           .n = OC,
                           .k = C,
                           .a = {inp, 0},
                           .b = {weight, 1},
                           .bias = bias,
                           .c = pre != NULL ? pre : out,
                           .type = type,
                           .out_type = type});
  if (pre != NULL) gelu_forward(out, pre, N * OC, gelu, type, stream);
}

// Whether a weight gradient is summed beside its place: more than one slice, and its type too coarse to add to.
static int sums_apart(size_t N, ZeroType grad_type) {
  return N > PRODUCT_SLICE_ROWS && grad_type != ZERO_F32;
}

size_t matmul_backward_scratch(size_t N, size_t C, size_t OC, ZeroType grad_type) {
  size_t bias_floats = row_tiles(N) * OC, weight_floats = sums_apart(N, grad_type) ? OC * C : 0;
  return (bias_floats > weight_floats ? bias_floats : weight_floats) * sizeof(float);
}

static void weight_gradient(OpsGrad dweight, const void *dout, const void *inp, size_t N, size_t C, size_t OC,
                            ZeroType type, float *scratch) {
  size_t element = zero_type_size(type);
  int apart = sums_apart(N, dweight.type);
  OpsGrad sums = apart ? (OpsGrad){scratch, ZERO_F32, 0} : dweight;
  for (size_t row = 0; row < N; row += PRODUCT_SLICE_ROWS) {
    matrix_product(&(Matmul){.m = OC,
                             .n = C,
                             .k = min_size(PRODUCT_SLICE_ROWS, N - row),
                             .a = {(const char *)dout + row * OC * element, 1},
                             .b = {(const char *)inp + row * C * element, 0},
                             .c = sums.data,
                             .accumulate = sums.accumulate || row > 0,
                             .type = type,
                             .out_type = sums.type});
  }
  if (apart) round_sums(dweight, scratch, OC * C);
}

void matmul_backward(void *dinp, OpsGrad dweight, OpsGrad dbias, const void *dout, const void *inp,
                     const void *weight, const void *pre, OpsGelu gelu, size_t N, size_t C, size_t OC, ZeroType type,
                     void *scratch, ZeroStream stream) {
  if ((gelu != OPS_NO_GELU) != (pre != NULL)) zero_fatal("matmul_backward: pre is given with GELU and only then");
  if (N == 0) zero_fatal("matmul_backward: there are no rows");
  if (dinp != NULL) {
    matrix_product(&(Matmul){
        .m = N, .n = C, .k = OC, .a = {dout, 0}, .b = {weight, 0}, .c = dinp, .type = type, .out_type = type});
    if (pre != NULL) gelu_backward(dinp, dinp, pre, N * C, gelu, type, stream);
  }
  if (dweight.data != NULL) weight_gradient(dweight, dout, inp, N, C, OC, type, scratch);
  if (dbias.data != NULL) column_sums(dbias, dout, N, OC, type, scratch);
}

double matmul_peak(size_t n, size_t k, size_t m, ZeroType type, double seconds) {
  size_t element = zero_type_size(type);
  size_t a_bytes = n * k * element, b_bytes = k * m * element;
  void *a = zero_malloc(a_bytes, ZERO_MEM_OTHER), *b = zero_malloc(b_bytes, ZERO_MEM_OTHER);
  void *c = zero_malloc(n * m * element, ZERO_MEM_OTHER);
  Matmul product = {.m = n, .n = m, .k = k, .a = {a, 0}, .b = {b, 1}, .c = c, .type = type, .out_type = type};
  matrix_product(&product); // creates the primitive and touches the memory

  double start = omp_get_wtime(), best = 0, end;
  do {
    double begin = omp_get_wtime();
    matrix_product(&product);
    end = omp_get_wtime();
    if (best == 0 || end - begin < best) best = end - begin;
  } while (end - start < seconds);

  matrix_product_release(); // a yardstick may be larger than the model
  zero_free(a);
  zero_free(b);
  zero_free(c);
  return 2.0 * (double)n * (double)k * (double)m / best;
}
