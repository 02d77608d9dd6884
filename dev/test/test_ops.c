// Embeddings, LayerNorm, linear layers, the head and the elementwise operations against a plain
// double-precision reference, at odd and even shapes. Attention: test_ops_attention.c; the same bits for any
// number of threads: test_ops_threads.c.
#include "reference.h"

// Relative L2 distance allowed to a result of fp32 arithmetic. Every rounding adds at most 2^-24 = 6e-8;
// a sum of n terms in any order stays below about sqrt(n) * 6e-8 when errors are independent, and it is
// vectorised in 4 to 16 partial sums: for the up to 3,000 terms here some 1e-6. The polynomial e^x adds 1e-7.
static const double TOLERANCE = 2e-6;

typedef struct {
  size_t B, T, C, maxT, V, Vp;
} EncoderShape;

static void check_encoder(EncoderShape s, int accumulate) {
  size_t N = s.B * s.T;
  int *tokens = new_random_ints(N, (int)s.V, 1);
  float *wte = new_random(s.Vp * s.C, 1, 2), *wpe = new_random(s.maxT * s.C, 1, 3);
  float *out = new_floats(N * s.C), *dout = new_random(N * s.C, 1, 4);
  double *want = new_doubles(N * s.C);
  reference_encoder(want, tokens, wte, wpe, s.B, s.T, s.C);
  encoder_forward(out, tokens, wte, wpe, s.B, s.T, s.C, ZERO_F32, NULL);
  assert_close(out, want, N * s.C, TOLERANCE);

  OpsGrad dwte = new_gradient(s.Vp * s.C, accumulate, 5), dwpe = new_gradient(s.maxT * s.C, accumulate, 6);
  double *want_dwte = gradient_reference(dwte, s.Vp * s.C), *want_dwpe = gradient_reference(dwpe, s.maxT * s.C);
  reference_encoder_backward(want_dwte, want_dwpe, dout, tokens, s.B, s.T, s.C);
  void *scratch = new_bytes(encoder_backward_scratch(s.B, s.T, s.C));
  encoder_backward(dwte, dwpe, dout, tokens, s.B, s.T, s.C, s.Vp, s.maxT, ZERO_F32, scratch, NULL);
  assert_close(dwte.data, want_dwte, s.Vp * s.C, TOLERANCE);
  assert_close(dwpe.data, want_dwpe, s.maxT * s.C, TOLERANCE);
  if (!accumulate) {
    assert_zeros((float *)dwte.data + s.V * s.C, (s.Vp - s.V) * s.C);
    assert_zeros((float *)dwpe.data + s.T * s.C, (s.maxT - s.T) * s.C);
  }
  free(tokens), free(wte), free(wpe), free(out), free(dout), free(want), free(dwte.data), free(dwpe.data);
  free(want_dwte), free(want_dwpe), free(scratch);
}

static void test_encoder(void **state) {
  (void)state;
  // Vocabularies on both sides of the sort's digit of 256, few and many repeats, odd channels.
  EncoderShape shapes[] = {{2, 13, 40, 16, 97, 128},
                           {3, 64, 128, 64, 65, 128},
                           {1, 7, 60, 9, 1000, 1024},
                           {4, 256, 64, 300, 70000, 70016},
                           {2, 5, 1, 5, 2, 2}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    check_encoder(shapes[i], 0);
    check_encoder(shapes[i], 1);
  }
}

// A gradient that is not wanted must not be touched.
static void test_encoder_unwanted(void **state) {
  (void)state;
  int tokens[2] = {1, 0};
  float dout[2] = {1, 2}, only[2] = {0};
  OpsGrad none = {NULL, ZERO_F32, 0}, wanted = {only, ZERO_F32, 0};
  void *scratch = new_bytes(encoder_backward_scratch(1, 2, 1));
  encoder_backward(wanted, none, dout, tokens, 1, 2, 1, 2, 2, ZERO_F32, scratch, NULL);
  assert_true(only[0] == 2 && only[1] == 1);
  encoder_backward(none, wanted, dout, tokens, 1, 2, 1, 2, 2, ZERO_F32, scratch, NULL);
  assert_true(only[0] == 1 && only[1] == 2);
  free(scratch);
}

static void check_layernorm(size_t N, size_t C, int accumulate) {
  size_t count = N * C;
  float *a = new_random(count, 1, 1), *b = new_random(count, 1, 2), *inp = new_floats(count);
  for (size_t i = 0; i < count; i++) inp[i] = a[i] + b[i];
  float *weight = new_random(C, 1, 3), *bias = new_random(C, 1, 4), *dout = new_random(count, 1, 5);
  float *add = new_random(count, 1, 6);
  float *out = new_floats(count), *residual = new_floats(count), *mean = new_floats(N), *rstd = new_floats(N);
  double *want = new_doubles(count), *want_mean = new_doubles(N), *want_rstd = new_doubles(N);
  reference_layernorm(want, want_mean, want_rstd, inp, weight, bias, N, C);

  layernorm_forward(out, mean, rstd, inp, weight, bias, N, C, ZERO_F32, NULL);
  assert_close(out, want, count, TOLERANCE);
  assert_close(mean, want_mean, N, TOLERANCE);
  assert_close(rstd, want_rstd, N, TOLERANCE);
  memset(out, 0, count * sizeof(float));
  memset(rstd, 0, N * sizeof(float));
  fused_residual_layernorm_forward(residual, out, mean, rstd, a, b, weight, bias, N, C, ZERO_F32, NULL);
  assert_memory_equal(residual, inp, count * sizeof(float));
  assert_close(out, want, count, TOLERANCE);
  assert_close(rstd, want_rstd, N, TOLERANCE);
  memcpy(residual, b, count * sizeof(float)); // in place
  fused_residual_layernorm_forward(residual, out, mean, rstd, a, residual, weight, bias, N, C, ZERO_F32, NULL);
  assert_memory_equal(residual, inp, count * sizeof(float));
  assert_close(out, want, count, TOLERANCE);

  double *want_dinp = new_doubles(count);
  float *dinp = new_floats(count);
  void *scratch = new_bytes(layernorm_backward_scratch(N, C));
  for (int with_add = 0; with_add < 3; with_add++) { // none, its own, in place
    OpsGrad dweight = new_gradient(C, accumulate, 7), dbias = new_gradient(C, accumulate, 8);
    double *want_dweight = gradient_reference(dweight, C), *want_dbias = gradient_reference(dbias, C);
    reference_layernorm_backward(want_dinp, want_dweight, want_dbias, dout, with_add ? add : NULL, inp, want_mean,
                                 want_rstd, weight, N, C);
    if (with_add == 2) memcpy(dinp, add, count * sizeof(float));
    const float *added = with_add == 0 ? NULL : with_add == 1 ? add : dinp;
    layernorm_backward(dinp, dweight, dbias, dout, added, inp, mean, rstd, weight, N, C, ZERO_F32, scratch, NULL);
    assert_close(dinp, want_dinp, count, TOLERANCE);
    assert_close(dweight.data, want_dweight, C, TOLERANCE);
    assert_close(dbias.data, want_dbias, C, TOLERANCE);
    free(dweight.data), free(dbias.data), free(want_dweight), free(want_dbias);
  }
  free(a), free(b), free(inp), free(weight), free(bias), free(dout), free(add), free(out), free(residual);
  free(mean), free(rstd), free(want), free(want_mean), free(want_rstd), free(want_dinp), free(dinp), free(scratch);
}

static void test_layernorm(void **state) {
  (void)state;
  size_t shapes[][2] = {{1, 16}, {3, 40}, {26, 60}, {192, 128}, {130, 100}, {65, 768}, {2304, 64}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    check_layernorm(shapes[i][0], shapes[i][1], 0);
    check_layernorm(shapes[i][0], shapes[i][1], 1);
  }
}

// A large common offset must not spoil the variance, as E[x^2] - E[x]^2 would.
static void test_layernorm_offset(void **state) {
  (void)state;
  enum { N = 4, C = 96 };
  float *inp = new_random(N * C, 1, 1), weight[C], bias[C] = {0}, out[N * C], mean[N], rstd[N];
  for (int i = 0; i < N * C; i++) inp[i] += 1000;
  for (int c = 0; c < C; c++) weight[c] = 1;
  double want[N * C], want_mean[N], want_rstd[N];
  reference_layernorm(want, want_mean, want_rstd, inp, weight, bias, N, C);
  layernorm_forward(out, mean, rstd, inp, weight, bias, N, C, ZERO_F32, NULL);
  // Sums of up to 96,000 and a mean of 1,000 are rounded to 4e-3 / 96 and 3e-5: against deviations of
  // about 0.6 some 1e-4. E[x^2] - E[x]^2 would be off by 0.1.
  assert_close(out, want, N * C, 3e-4);
  assert_close(rstd, want_rstd, N, TOLERANCE);
  free(inp);
}

static void check_matmul(size_t N, size_t C, size_t OC, int accumulate) {
  float *inp = new_random(N * C, 1, 1), *weight = new_random(OC * C, 1, 2), *bias = new_random(OC, 1, 3);
  float *out = new_floats(N * OC), *pre = new_floats(N * OC), *dout = new_random(N * OC, 1, 4);
  double *want = new_doubles(N * OC);
  reference_matmul(want, inp, weight, NULL, N, C, OC);
  matmul_forward(out, NULL, inp, weight, NULL, N, C, OC, OPS_NO_GELU, ZERO_F32, NULL);
  assert_close(out, want, N * OC, TOLERANCE);
  reference_matmul(want, inp, weight, bias, N, C, OC);
  matmul_forward(out, NULL, inp, weight, bias, N, C, OC, OPS_NO_GELU, ZERO_F32, NULL);
  assert_close(out, want, N * OC, TOLERANCE);
  matmul_forward(out, pre, inp, weight, bias, N, C, OC, OPS_GELU, ZERO_F32, NULL);
  assert_close(pre, want, N * OC, TOLERANCE);
  for (size_t i = 0; i < N * OC; i++) want[i] = reference_gelu(want[i]);
  assert_close(out, want, N * OC, TOLERANCE);

  float *dinp = new_floats(N * C), *before = new_random(N * C, 3, 5); // before: what gelu gave inp from
  void *scratch = new_bytes(matmul_backward_scratch(N, C, OC));
  for (int with_pre = 0; with_pre < 2; with_pre++) {
    OpsGrad dweight = new_gradient(OC * C, accumulate, 6), dbias = new_gradient(OC, accumulate, 7);
    double *want_dinp = new_doubles(N * C), *want_dweight = gradient_reference(dweight, OC * C);
    double *want_dbias = gradient_reference(dbias, OC);
    reference_matmul_backward(want_dinp, want_dweight, want_dbias, dout, inp, weight, N, C, OC);
    for (size_t i = 0; with_pre && i < N * C; i++) want_dinp[i] *= reference_gelu_derivative(before[i]);
    matmul_backward(dinp, dweight, dbias, dout, inp, weight, with_pre ? before : NULL, N, C, OC, ZERO_F32, scratch,
                    NULL);
    assert_close(dinp, want_dinp, N * C, TOLERANCE);
    assert_close(dweight.data, want_dweight, OC * C, TOLERANCE);
    assert_close(dbias.data, want_dbias, OC, TOLERANCE);

    // Each result alone is the same as all together.
    OpsGrad alone = new_gradient(OC * C, accumulate, 6), none = {NULL, ZERO_F32, 0};
    matmul_backward(NULL, alone, none, dout, inp, weight, NULL, N, C, OC, ZERO_F32, scratch, NULL);
    assert_memory_equal(alone.data, dweight.data, OC * C * sizeof(float));
    free(dweight.data), free(dbias.data), free(alone.data), free(want_dinp), free(want_dweight), free(want_dbias);
  }
  free(inp), free(weight), free(bias), free(out), free(pre), free(dout), free(want), free(dinp), free(before);
  free(scratch);
}

static void test_matmul(void **state) {
  (void)state;
  size_t shapes[][3] = {{1, 16, 16},    {13, 40, 120},   {26, 60, 240},   {7, 3, 5},      {192, 128, 384},
                        {100, 512, 97}, {1025, 33, 64},  {2304, 64, 64},  {65, 768, 100}, {1, 768, 1},
                        {13, 40, 40},   {1024, 64, 192}, {3100, 20, 100}, {48, 80, 20},   {1, 1, 1}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    check_matmul(shapes[i][0], shapes[i][1], shapes[i][2], 0);
    check_matmul(shapes[i][0], shapes[i][1], shapes[i][2], 1);
  }
}

// More shapes than the cache of primitives holds: those thrown out must come back right.
static void test_matmul_many_shapes(void **state) {
  (void)state;
  for (int round = 0; round < 2; round++) {
    for (size_t N = 1; N <= 150; N++) {
      float *inp = new_random(N * 4, 1, N), *weight = new_random(3 * 4, 1, 2), *out = new_floats(N * 3);
      double *want = new_doubles(N * 3);
      reference_matmul(want, inp, weight, NULL, N, 4, 3);
      matmul_forward(out, NULL, inp, weight, NULL, N, 4, 3, OPS_NO_GELU, ZERO_F32, NULL);
      assert_close(out, want, N * 3, TOLERANCE);
      free(inp), free(weight), free(out), free(want);
    }
  }
}

typedef struct {
  size_t N, C, V, Vp;
} HeadShape;

static void check_lm_head(HeadShape s, int accumulate) {
  float *hidden = new_random(s.N * s.C, 2, 1), *wte = new_random(s.Vp * s.C, 1, 2);
  int *targets = new_random_ints(s.N, (int)s.V, 3);
  targets[s.N - 1] = (int)s.V - 1;
  if (s.N > 2) targets[s.N / 2] = OPS_IGNORE;
  float grad_scale = 0.37f;
  double *want_loss = new_doubles(s.N), *want_logits = new_doubles(s.N * s.V), *want_dhidden = new_doubles(s.N * s.C);
  OpsGrad dwte = new_gradient(s.Vp * s.C, accumulate, 4), none = {NULL, ZERO_F32, 0};
  double *want_dwte = gradient_reference(dwte, s.Vp * s.C);
  reference_lm_head(want_loss, want_logits, want_dhidden, want_dwte, hidden, wte, targets, grad_scale, s.N, s.C, s.V);

  float *loss = new_floats(s.N), *dhidden = new_floats(s.N * s.C), *logits = new_floats(s.N * s.V);
  void *scratch = new_bytes(lm_head_loss_scratch(s.N, s.C, s.Vp, ZERO_F32));
  lm_head_loss(loss, dhidden, dwte, logits, hidden, wte, targets, grad_scale, s.N, s.C, s.V, s.Vp, ZERO_F32, scratch,
               NULL);
  assert_close(loss, want_loss, s.N, TOLERANCE);
  assert_close(logits, want_logits, s.N * s.V, TOLERANCE);
  assert_close(dhidden, want_dhidden, s.N * s.C, TOLERANCE);
  assert_close(dwte.data, want_dwte, s.Vp * s.C, TOLERANCE);
  if (!accumulate) assert_zeros((float *)dwte.data + s.V * s.C, (s.Vp - s.V) * s.C);
  if (s.N > 2) {
    assert_zeros(loss + s.N / 2, 1);
    assert_zeros(dhidden + s.N / 2 * s.C, s.C);
  }

  float *forward_only = new_floats(s.N), *sampled = new_floats(s.N * s.V);
  lm_head_loss(forward_only, NULL, none, NULL, hidden, wte, targets, 1, s.N, s.C, s.V, s.Vp, ZERO_F32, scratch, NULL);
  assert_memory_equal(forward_only, loss, s.N * sizeof(float));
  void *sample_scratch = new_bytes(lm_head_logits_scratch(s.N, s.C, s.Vp, ZERO_F32));
  lm_head_logits(sampled, hidden, wte, s.N, s.C, s.V, s.Vp, ZERO_F32, sample_scratch, NULL);
  assert_close(sampled, want_logits, s.N * s.V, TOLERANCE);
  free(hidden), free(wte), free(targets), free(want_loss), free(want_logits), free(want_dhidden), free(want_dwte);
  free(dwte.data), free(loss), free(dhidden), free(logits), free(scratch), free(forward_only), free(sampled);
  free(sample_scratch);
}

static void test_lm_head(void **state) {
  (void)state;
  // Below, at and above the block of 512 rows; more entries than one slice of the input gradient holds.
  HeadShape shapes[] = {{1, 16, 5, 5},      {13, 40, 97, 128},  {192, 128, 80, 128},
                        {600, 20, 97, 128}, {1030, 32, 33, 64}, {40, 24, 7000, 7040}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    check_lm_head(shapes[i], 0);
    check_lm_head(shapes[i], 1);
  }
}

// Logits of some hundreds: e^x of them would overflow without the maximum taken out.
static void test_lm_head_large_logits(void **state) {
  (void)state;
  float hidden[2] = {300, -300}, wte[3] = {1, 0.5f, -1}, loss[2], dhidden[2], dwte[3] = {0};
  int targets[2] = {1, 2};
  OpsGrad grad = {dwte, ZERO_F32, 0};
  void *scratch = new_bytes(lm_head_loss_scratch(2, 1, 3, ZERO_F32));
  lm_head_loss(loss, dhidden, grad, NULL, hidden, wte, targets, 1, 2, 1, 3, 3, ZERO_F32, scratch, NULL);
  assert_true(loss[0] == 150 && loss[1] == 0);
  assert_true(fabsf(dhidden[0] - 0.5f) < 1e-6f && fabsf(dhidden[1]) < 1e-6f); // wte[0] - wte[1]
  free(scratch);
}

static void test_elementwise(void **state) {
  (void)state;
  size_t counts[] = {1, 15, 100, 4096, 20011};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    size_t count = counts[i];
    float *a = new_random(count, 6, 1), *b = new_random(count, 1, 2), *out = new_floats(count);
    double *want = new_doubles(count);
    residual_add(out, a, b, count, ZERO_F32, NULL);
    for (size_t k = 0; k < count; k++) want[k] = (double)a[k] + b[k];
    assert_close(out, want, count, 1e-7);
    gelu_forward(out, a, count, ZERO_F32, NULL);
    for (size_t k = 0; k < count; k++) want[k] = reference_gelu(a[k]);
    assert_close(out, want, count, 1e-6); // e^2u takes the rounding of 2u, up to 20, as its relative error
    gelu_backward(out, b, a, count, ZERO_F32, NULL);
    for (size_t k = 0; k < count; k++) want[k] = b[k] * reference_gelu_derivative(a[k]);
    assert_close(out, want, count, 1e-6);
    free(a), free(b), free(out), free(want);
  }
}

// Far out GELU is x or 0 and its slope 1 or 0; NaN stays NaN, so that an overflow is seen.
static void test_gelu_extremes(void **state) {
  (void)state;
  float x[] = {-1e4f, -30, -12, 0, 12, 30, 1e4f, NAN}, one[] = {1, 1, 1, 1, 1, 1, 1, 1}, y[8], d[8];
  gelu_forward(y, x, 8, ZERO_F32, NULL);
  gelu_backward(d, one, x, 8, ZERO_F32, NULL);
  for (int i = 0; i < 7; i++) {
    assert_true(fabs(y[i] - reference_gelu(x[i])) <= 1e-6 * fabs(reference_gelu(x[i])) + 1e-30);
    assert_true(fabs(d[i] - reference_gelu_derivative(x[i])) <= 1e-6);
  }
  assert_true(isnan(y[7]) && isnan(d[7]));
}

static void test_matmul_peak(void **state) {
  (void)state;
  double rate = matmul_peak(128, 128, 128, ZERO_F32, 0.01);
  assert_true(rate > 1e7 && rate < 1e15); // faster than by hand, slower than any computer
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_encoder),     cmocka_unit_test(test_encoder_unwanted),
      cmocka_unit_test(test_layernorm),   cmocka_unit_test(test_layernorm_offset),
      cmocka_unit_test(test_matmul),      cmocka_unit_test(test_matmul_many_shapes),
      cmocka_unit_test(test_lm_head),     cmocka_unit_test(test_lm_head_large_logits),
      cmocka_unit_test(test_elementwise), cmocka_unit_test(test_gelu_extremes),
      cmocka_unit_test(test_matmul_peak),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
