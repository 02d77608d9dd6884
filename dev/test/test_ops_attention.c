// Attention, forward and backward, in every type, against a plain double-precision reference: causal and not, padded
// sequences, head sizes and lengths that fill no tile.
#include "reference.h"

typedef struct {
  size_t B, T, C, NH;
} Shape;

static void check_attention_in(ZeroType type, Shape s, int causal, const int *lengths, float scale) {
  now_comparing("attention B %zu T %zu C %zu NH %zu, %s, causal %d, lengths %d, scale %g", s.B, s.T, s.C, s.NH,
                zero_type_name(type), causal, lengths != NULL, (double)scale);
  // fp32 sums of up to 300 terms (test_ops.c says how errors grow); the gradients of q and k are differences
  // dP - D of nearly equal numbers and lose about one more digit. In the half types D comes from the stored, rounded
  // output (as in PyTorch), which is worth as much as one more rounding of the gradients.
  const double tolerance = 2e-6, gradient_tolerance = 4e-6;
  size_t count = s.B * s.T * s.C;
  Tensor qkv = new_random_tensor(3 * count, scale, 1, type), dout = new_random_tensor(count, 1, 2, type);
  Tensor out = new_tensor(count, type), dqkv = new_tensor(3 * count, type);
  float *lse = new_floats(s.B * s.NH * s.T);
  double *want_out = new_doubles(count), *want_lse = new_doubles(s.B * s.NH * s.T);
  double *want_dqkv = new_doubles(3 * count);
  reference_attention(want_out, want_lse, want_dqkv, qkv.f32, dout.f32, lengths, s.B, s.T, s.C, s.NH, causal);

  void *scratch = new_bytes(attention_forward_scratch(lengths != NULL, s.B, s.T, s.C, s.NH, causal, type));
  attention_forward(out.data, lse, qkv.data, lengths, s.B, s.T, s.C, s.NH, causal, type, scratch, stream());
  free_scratch(scratch);
  assert_tensor(out, want_out, tolerance, on_cuda() ? 2 : 1); // tensor cores take rounded weights
  if (s.T > 1) assert_close(lse, want_lse, s.B * s.NH * s.T, tolerance);

  scratch = new_bytes(attention_backward_scratch(lengths != NULL, s.B, s.T, s.C, s.NH, causal, type));
  attention_backward(dqkv.data, dout.data, out.data, lse, qkv.data, lengths, s.B, s.T, s.C, s.NH, causal, type,
                     scratch, stream());
  free_scratch(scratch);
  assert_tensor(dqkv, want_dqkv, gradient_tolerance, with_cudnn() ? 3 : 2); // cuDNN's weights and dS are rounded too
  for (size_t b = 0; lengths != NULL && b < s.B; b++) {
    size_t start = b * s.T + (size_t)lengths[b], rows = s.T - (size_t)lengths[b];
    assert_zeros(out.f32 + start * s.C, rows * s.C);
    assert_zeros(dqkv.f32 + start * 3 * s.C, rows * 3 * s.C);
  }
  free_tensor(qkv), free_tensor(dout), free_tensor(out), free_tensor(dqkv);
  free(lse), free(want_out), free(want_lse), free(want_dqkv);
}

static void check_attention(Shape s, int causal, const int *lengths, float scale) {
  const size_t largest_head_on_cuda = 128;
  if (on_cuda() && s.C / s.NH > largest_head_on_cuda) return;
  for (int t = 0; t < TYPES; t++) check_attention_in(every_type[t], s, causal, lengths, scale);
}

static const Shape shapes[] = {{1, 1, 16, 1},  {2, 13, 40, 2},   {2, 13, 60, 3},  {3, 64, 128, 4},
                               {1, 65, 64, 1}, {2, 130, 100, 1}, {1, 200, 96, 2}, {1, 300, 128, 2},
                               {2, 31, 21, 3}, {1, 127, 192, 1}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };
// Two tiles of queries and of keys in each type, with and without packets.
static const Shape tiny_shapes[] = {{1, 70, 16, 2}, {1, 67, 5, 1}};
enum { TINY_SHAPES = sizeof tiny_shapes / sizeof tiny_shapes[0] };

static void check_shapes(int causal) {
  const Shape *chosen = tiny ? tiny_shapes : shapes;
  for (int i = 0; i < (tiny ? TINY_SHAPES : SHAPES); i++) check_attention(chosen[i], causal, NULL, 1);
}

static void test_causal(void **state) {
  (void)state;
  check_shapes(1);
}

static void test_full(void **state) {
  (void)state;
  check_shapes(0);
}

// Scores of some tens: the running maximum has to move, and most weights are near 0.
static void test_sharp(void **state) {
  (void)state;
  if (tiny) skip();
  check_attention((Shape){1, 200, 64, 1}, 1, NULL, 4);
  check_attention((Shape){1, 200, 64, 1}, 0, NULL, 4);
}

static void test_lengths(void **state) {
  (void)state;
  const int some[] = {13, 1, 70, 0}, longer_ones[] = {64, 129, 200};
  int *lengths = memcpy(new_bytes(sizeof some), some, sizeof some);
  check_attention((Shape){4, 70, 40, 2}, 0, lengths, 1);
  check_attention((Shape){4, 70, 40, 2}, 1, lengths, 1);
  free(lengths);
  if (tiny) return;
  int *longer = memcpy(new_bytes(sizeof longer_ones), longer_ones, sizeof longer_ones);
  check_attention((Shape){3, 200, 64, 1}, 0, longer, 1);
  check_attention((Shape){3, 200, 64, 1}, 1, longer, 1);
  free(longer);
}

// Scores grow tile by tile up to 600: without the running maximum e^x would overflow, and a wrong rescaling
// would leave the first tiles in the sum. The last key takes all the weight.
static void test_growing_scores(void **state) {
  (void)state;
  enum { T = 200, C = 16 };
  float *qkv = new_floats(T * 3 * C), *out = new_floats(T * C), *lse = new_floats(T);
  memset(qkv, 0, T * 3 * C * sizeof(float));
  for (int t = 0; t < T; t++) {
    qkv[t * 3 * C] = 12; // q . k / sqrt(16) = 3 t
    qkv[t * 3 * C + C] = (float)t;
    qkv[t * 3 * C + 2 * C] = (float)(t + 1);
  }
  void *scratch = new_bytes(attention_forward_scratch(0, 1, T, C, 1, 1, ZERO_F32));
  attention_forward(out, lse, qkv, NULL, 1, T, C, 1, 1, ZERO_F32, scratch, stream());
  synchronize();
  hash_result(out, T * C * sizeof(float)), hash_result(lse, T * sizeof(float));
  for (int t = 0; t < T; t++) {
    double sum = 0, value = 0;
    for (int u = 0; u <= t; u++) sum += exp(3.0 * (u - t)), value += exp(3.0 * (u - t)) * (u + 1);
    assert_true(fabs(lse[t] - (3.0 * t + log(sum))) <= 1e-6 * (3.0 * t + 1));
    assert_true(fabs(out[t * C] - value / sum) <= 1e-6 * (t + 1));
  }
  free(qkv), free(out), free(lse), free_scratch(scratch);
}

int main(int argc, char **argv) {
  read_arguments(argc, argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_causal),  cmocka_unit_test(test_full),           cmocka_unit_test(test_sharp),
      cmocka_unit_test(test_lengths), cmocka_unit_test(test_growing_scores),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  print_result_hash();
  return failed;
}
