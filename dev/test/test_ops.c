// Embeddings, LayerNorm, linear layers, the head and the elementwise operations against a plain
// double-precision reference, in every type and with gradients of every type, at odd and even shapes. Attention:
// test_ops_attention.c; conversions: test_ops_types.c; the same bits for any number of threads: test_ops_threads.c.
//
// With an argument `tiny`: a few small shapes (reference.h). With `plain`, bf16 is checked as on a processor without
// instructions for it; main runs itself so.
#include <unistd.h>

#include "cases.h"

// Relative L2 distance allowed to a result of fp32 arithmetic. Every rounding adds at most 2^-24 = 6e-8;
// a sum of n terms in any order stays below about sqrt(n) * 6e-8 when errors are independent, and it is
// vectorised in 4 to 16 partial sums: for the up to 3,000 terms here some 1e-6. The polynomial e^x adds 1e-7.
// The half types' inputs are exact in fp32, so that their sums are as good.
static const double TOLERANCE = 2e-6;

// LayerNorm's, GPT-2's value.
static const float EPSILON = 1e-5f;

typedef struct {
  size_t B, T, C, maxT, V, Vp;
} EncoderShape;

static void check_encoder(EncoderShape s, Case c) {
  now_comparing("encoder B %zu T %zu C %zu V %zu, %s, gradients in %s, accumulate %d", s.B, s.T, s.C, s.V,
                zero_type_name(c.type), zero_type_name(c.grad_type), c.accumulate);
  size_t N = s.B * s.T;
  int *tokens = new_random_ints(N, (int)s.V, 1);
  Tensor wte = new_random_tensor(s.Vp * s.C, 1, 2, c.type), wpe = new_random_tensor(s.maxT * s.C, 1, 3, c.type);
  Tensor out = new_tensor(N * s.C, c.type), dout = new_random_tensor(N * s.C, 1, 4, c.type);
  double *want = new_doubles(N * s.C);
  reference_encoder(want, tokens, wte.f32, wpe.f32, s.B, s.T, s.C);
  encoder_forward(out.data, tokens, wte.data, wpe.data, s.B, s.T, s.C, c.type, stream());
  assert_tensor(out, want, TOLERANCE, 1);

  Tensor dwte = new_gradient(s.Vp * s.C, c.grad_type, 5), dwpe = new_gradient(s.maxT * s.C, c.grad_type, 6);
  double *want_dwte = gradient_reference(dwte, c.accumulate), *want_dwpe = gradient_reference(dwpe, c.accumulate);
  reference_encoder_backward(want_dwte, want_dwpe, dout.f32, tokens, s.B, s.T, s.C);
  void *scratch = new_bytes(encoder_backward_scratch(s.B, s.T, s.C));
  encoder_backward(ops_grad(dwte, c.accumulate), ops_grad(dwpe, c.accumulate), dout.data, tokens, s.B, s.T, s.C, s.Vp,
                   s.maxT, c.type, scratch, stream());
  assert_tensor(dwte, want_dwte, TOLERANCE, 1);
  assert_tensor(dwpe, want_dwpe, TOLERANCE, 1);
  if (!c.accumulate) {
    assert_zeros(dwte.f32 + s.V * s.C, (s.Vp - s.V) * s.C);
    assert_zeros(dwpe.f32 + s.T * s.C, (s.maxT - s.T) * s.C);
  }
  free_tensor(wte), free_tensor(wpe), free_tensor(out), free_tensor(dout), free_tensor(dwte), free_tensor(dwpe);
  free(tokens), free(want), free(want_dwte), free(want_dwpe), free(scratch);
}

static void test_encoder(void **state) {
  (void)state;
  // Vocabularies on both sides of the sort's digit of 256, few and many repeats, odd channels; tokens in several of
  // CUDA's slices of 128 rows.
  EncoderShape shapes[] = {{2, 13, 40, 16, 97, 128},
                           {3, 64, 128, 64, 65, 128},
                           {1, 7, 60, 9, 1000, 1024},
                           {2, 5, 1, 5, 2, 2},
                           {2, 300, 24, 300, 3, 8}};
  // More rows than a warp sorts at once, a token with more rows than a warp, more tokens than a digit.
  EncoderShape tiny_shapes[] = {{2, 40, 3, 40, 2, 2}, {1, 300, 4, 300, 60, 64}, {1, 40, 8, 41, 300, 320}};
  const EncoderShape *chosen = tiny ? tiny_shapes : shapes;
  size_t count = tiny ? sizeof tiny_shapes / sizeof tiny_shapes[0] : sizeof shapes / sizeof shapes[0];
  for (size_t i = 0; i < count; i++) {
    for (int c = 0; c < CASES; c += case_step()) check_encoder(chosen[i], cases[c]);
  }
  if (tiny) return;
  check_encoder((EncoderShape){4, 256, 64, 300, 70000, 70016}, (Case){ZERO_F32, ZERO_F32, 0});
}

// A gradient that is not wanted must not be touched.
static void test_encoder_unwanted(void **state) {
  (void)state;
  const float values[] = {1, 2}, zeros[] = {0, 0};
  int *tokens = (int *)new_bytes(2 * sizeof(int));
  tokens[0] = 1, tokens[1] = 0;
  float *dout = new_values(values, 2), *only = new_values(zeros, 2);
  OpsGrad none = {NULL, ZERO_F32, 0}, wanted = {only, ZERO_F32, 0};
  void *scratch = new_bytes(encoder_backward_scratch(1, 2, 1));
  encoder_backward(wanted, none, dout, tokens, 1, 2, 1, 2, 2, ZERO_F32, scratch, stream());
  synchronize();
  assert_true(only[0] == 2 && only[1] == 1);
  encoder_backward(none, wanted, dout, tokens, 1, 2, 1, 2, 2, ZERO_F32, scratch, stream());
  synchronize();
  assert_true(only[0] == 1 && only[1] == 2);
  free(scratch), free(tokens), free(dout), free(only);
}

static void check_layernorm(size_t N, size_t C, Case k) {
  now_comparing("layernorm N %zu C %zu, %s, gradients in %s, accumulate %d", N, C, zero_type_name(k.type),
                zero_type_name(k.grad_type), k.accumulate);
  size_t count = N * C;
  Tensor a = new_random_tensor(count, 1, 1, k.type), b = new_random_tensor(count, 1, 2, k.type);
  Tensor inp = new_tensor(count, k.type);
  float *sum = new_floats(count);
  for (size_t i = 0; i < count; i++) sum[i] = a.f32[i] + b.f32[i];
  set_tensor(inp, sum); // the residual stream is stored, and so rounded, before it is normalised
  Tensor weight = new_random_tensor(C, 1, 3, k.type), bias = new_random_tensor(C, 1, 4, k.type);
  Tensor dout = new_random_tensor(count, 1, 5, k.type), add = new_random_tensor(count, 1, 6, k.type);
  Tensor out = new_tensor(count, k.type), residual = new_tensor(count, k.type);
  float *mean = new_floats(N), *rstd = new_floats(N);
  double *want = new_doubles(count), *want_mean = new_doubles(N), *want_rstd = new_doubles(N);
  reference_layernorm(want, want_mean, want_rstd, inp.f32, weight.f32, bias.f32, EPSILON, N, C);
  size_t bytes = count * zero_type_size(k.type);

  layernorm_forward(out.data, mean, rstd, inp.data, weight.data, bias.data, N, C, EPSILON, k.type, stream());
  assert_tensor(out, want, TOLERANCE, 1);
  assert_close(mean, want_mean, N, TOLERANCE);
  assert_close(rstd, want_rstd, N, TOLERANCE);
  memset(out.data, 0, bytes);
  memset(rstd, 0, N * sizeof(float));
  fused_residual_layernorm_forward(residual.data, out.data, mean, rstd, a.data, b.data, weight.data, bias.data, N, C,
                                   EPSILON, k.type, stream());
  assert_same_bits(residual.data, inp.data, bytes);
  assert_tensor(out, want, TOLERANCE, 1);
  assert_close(rstd, want_rstd, N, TOLERANCE);
  memcpy(residual.data, b.data, bytes); // in place
  fused_residual_layernorm_forward(residual.data, out.data, mean, rstd, a.data, residual.data, weight.data, bias.data,
                                   N, C, EPSILON, k.type, stream());
  assert_same_bits(residual.data, inp.data, bytes);
  assert_tensor(out, want, TOLERANCE, 1);

  double *want_dinp = new_doubles(count);
  Tensor dinp = new_tensor(count, k.type);
  void *scratch = new_bytes(layernorm_backward_scratch(N, C));
  for (int with_add = 0; with_add < 3; with_add++) { // none, its own, in place
    Tensor dweight = new_gradient(C, k.grad_type, 7), dbias = new_gradient(C, k.grad_type, 8);
    double *want_dweight = gradient_reference(dweight, k.accumulate);
    double *want_dbias = gradient_reference(dbias, k.accumulate);
    reference_layernorm_backward(want_dinp, want_dweight, want_dbias, dout.f32, with_add ? add.f32 : NULL, inp.f32,
                                 want_mean, want_rstd, weight.f32, N, C);
    if (with_add == 2) memcpy(dinp.data, add.data, bytes);
    const void *added = with_add == 0 ? NULL : with_add == 1 ? add.data : dinp.data;
    layernorm_backward(dinp.data, ops_grad(dweight, k.accumulate), ops_grad(dbias, k.accumulate), dout.data, added,
                       inp.data, mean, rstd, weight.data, N, C, k.type, scratch, stream());
    assert_tensor(dinp, want_dinp, TOLERANCE, 1);
    assert_tensor(dweight, want_dweight, TOLERANCE, 1);
    assert_tensor(dbias, want_dbias, TOLERANCE, 1);
    free_tensor(dweight), free_tensor(dbias), free(want_dweight), free(want_dbias);
  }
  free_tensor(a), free_tensor(b), free_tensor(inp), free_tensor(weight), free_tensor(bias), free_tensor(dout);
  free_tensor(add), free_tensor(out), free_tensor(residual), free_tensor(dinp), free(sum);
  free(mean), free(rstd), free(want), free(want_mean), free(want_rstd), free(want_dinp), free(scratch);
}

static void test_layernorm(void **state) {
  (void)state;
  size_t shapes[][2] = {{1, 16}, {3, 40}, {26, 60}, {192, 128}, {130, 100}, {65, 768}, {2304, 64}};
  size_t tiny_shapes[][2] = {{3, 40}, {20, 15}, {3, 301}}; // two slices; columns for all warps of a block, twice
  size_t(*chosen)[2] = tiny ? tiny_shapes : shapes;
  size_t count = tiny ? sizeof tiny_shapes / sizeof tiny_shapes[0] : sizeof shapes / sizeof shapes[0];
  for (size_t i = 0; i < count; i++) {
    for (int c = 0; c < CASES; c += case_step_of_rows(chosen[i][0]))
      check_layernorm(chosen[i][0], chosen[i][1], cases[c]);
  }
}

// A large common offset must not spoil the variance, as E[x^2] - E[x]^2 would.
static void test_layernorm_offset(void **state) {
  (void)state;
  enum { N = 4, C = 96 };
  float *inp = new_random(N * C, 1, 1), *weight = new_floats(C), *bias = new_floats(C), *out = new_floats(N * C);
  float *mean = new_floats(N), *rstd = new_floats(N);
  for (int i = 0; i < N * C; i++) inp[i] += 1000;
  for (int c = 0; c < C; c++) weight[c] = 1, bias[c] = 0;
  double want[N * C], want_mean[N], want_rstd[N];
  reference_layernorm(want, want_mean, want_rstd, inp, weight, bias, EPSILON, N, C);
  layernorm_forward(out, mean, rstd, inp, weight, bias, N, C, EPSILON, ZERO_F32, stream());
  // Sums of up to 96,000 and a mean of 1,000 are rounded to 4e-3 / 96 and 3e-5: against deviations of
  // about 0.6 some 1e-4. E[x^2] - E[x]^2 would be off by 0.1.
  assert_close(out, want, N * C, 3e-4);
  assert_close(rstd, want_rstd, N, TOLERANCE);
  free(inp), free(weight), free(bias), free(out), free(mean), free(rstd);
}

static void check_matmul(size_t N, size_t C, size_t OC, Case k) {
  now_comparing("matmul N %zu C %zu OC %zu, %s, gradients in %s, accumulate %d", N, C, OC, zero_type_name(k.type),
                zero_type_name(k.grad_type), k.accumulate);
  Tensor inp = new_random_tensor(N * C, 1, 1, k.type), weight = new_random_tensor(OC * C, 1, 2, k.type);
  Tensor bias = new_random_tensor(OC, 1, 3, k.type), dout = new_random_tensor(N * OC, 1, 4, k.type);
  Tensor out = new_tensor(N * OC, k.type), pre = new_tensor(N * OC, k.type);
  double *want = new_doubles(N * OC);
  reference_matmul(want, inp.f32, weight.f32, NULL, N, C, OC);
  matmul_forward(out.data, NULL, inp.data, weight.data, NULL, N, C, OC, OPS_NO_GELU, k.type, stream());
  assert_tensor(out, want, TOLERANCE, 1);
  // On an H200 some of cuBLASLt's kernels round the product before the bias is added.
  const double roundings = on_gpu() ? 2 : 1;
  reference_matmul(want, inp.f32, weight.f32, bias.f32, N, C, OC);
  matmul_forward(out.data, NULL, inp.data, weight.data, bias.data, N, C, OC, OPS_NO_GELU, k.type, stream());
  assert_tensor(out, want, TOLERANCE, roundings);
  matmul_forward(out.data, pre.data, inp.data, weight.data, bias.data, N, C, OC, OPS_GELU, k.type, stream());
  assert_tensor(pre, want, TOLERANCE, roundings);
  // GELU of what is stored or, where it is fused into the product, of the sum before that is rounded.
  double *of_stored = new_doubles(N * OC);
  for (size_t i = 0; i < N * OC; i++) of_stored[i] = reference_gelu(pre.f32[i]), want[i] = reference_gelu(want[i]);
  read_tensor(out);
  int fused = relative_error(out.f32, want, N * OC) < relative_error(out.f32, of_stored, N * OC);
  assert_tensor(out, fused ? want : of_stored, TOLERANCE, roundings);
  free(of_stored);

  Tensor dinp = new_tensor(N * C, k.type), before = new_random_tensor(N * C, 3, 5, k.type); // what GELU gave inp from
  void *scratch = new_bytes(matmul_backward_scratch(N, C, OC, k.grad_type));
  for (int with_pre = 0; with_pre < 2; with_pre++) {
    Tensor dweight = new_gradient(OC * C, k.grad_type, 6), dbias = new_gradient(OC, k.grad_type, 7);
    double *want_dinp = new_doubles(N * C), *want_dweight = gradient_reference(dweight, k.accumulate);
    double *want_dbias = gradient_reference(dbias, k.accumulate);
    reference_matmul_backward(want_dinp, want_dweight, want_dbias, dout.f32, inp.f32, weight.f32, N, C, OC);
    for (size_t i = 0; with_pre && i < N * C; i++) want_dinp[i] *= reference_gelu_derivative(before.f32[i]);
    matmul_backward(dinp.data, ops_grad(dweight, k.accumulate), ops_grad(dbias, k.accumulate), dout.data, inp.data,
                    weight.data, with_pre ? before.data : NULL, with_pre ? OPS_GELU : OPS_NO_GELU, N, C, OC, k.type,
                    scratch, stream());
    assert_tensor(dinp, want_dinp, TOLERANCE, with_pre ? 2 : 1); // with GELU: before and after its slope
    assert_tensor(dweight, want_dweight, TOLERANCE, 1);
    assert_tensor(dbias, want_dbias, TOLERANCE, 1);

    // Each result alone is the same as all together.
    Tensor alone = new_gradient(OC * C, k.grad_type, 6);
    OpsGrad none = {NULL, ZERO_F32, 0};
    matmul_backward(NULL, ops_grad(alone, k.accumulate), none, dout.data, inp.data, weight.data, NULL, OPS_NO_GELU, N,
                    C, OC, k.type, scratch, stream());
    assert_same_bits(alone.data, dweight.data, OC * C * zero_type_size(k.grad_type));
    free_tensor(dweight), free_tensor(dbias), free_tensor(alone);
    free(want_dinp), free(want_dweight), free(want_dbias);
  }
  free_tensor(inp), free_tensor(weight), free_tensor(bias), free_tensor(out), free_tensor(pre), free_tensor(dout);
  free_tensor(dinp), free_tensor(before), free(want), free(scratch);
}

static void test_matmul(void **state) {
  (void)state;
  // On both sides of the slice of 1,024 rows, odd sizes, single rows and columns. One output: one slice of rows on
  // CUDA, two, and as many as there are at most.
  size_t shapes[][3] = {{1, 16, 16},    {13, 40, 120},  {26, 60, 240}, {7, 3, 5},    {192, 128, 384}, {100, 512, 97},
                        {1025, 33, 64}, {65, 768, 100}, {1, 768, 1},   {13, 40, 40}, {3100, 20, 30},  {48, 80, 20},
                        {1, 1, 1},      {13, 768, 1},   {65, 35, 1},   {4200, 8, 1}};
  size_t tiny_shapes[][3] = {{13, 40, 24}, {70, 3, 5}, {1, 1, 1}, {66, 8, 1}}; // 70 and 66 rows: two slices
  size_t(*chosen)[3] = tiny ? tiny_shapes : shapes;
  size_t count = tiny ? sizeof tiny_shapes / sizeof tiny_shapes[0] : sizeof shapes / sizeof shapes[0];
  for (size_t i = 0; i < count; i++) {
    for (int c = 0; c < CASES; c += case_step()) check_matmul(chosen[i][0], chosen[i][1], chosen[i][2], cases[c]);
  }
  if (tiny) return;
  // On the CPU the right operands of bf16 are packed from 512 rows on, or 1,024: whole blocks of columns, and a part.
  // Those of fp32 are where rows of 1,536 clash in the caches.
  size_t large[][3] = {{2304, 64, 64}, {1024, 64, 192}, {1024, 128, 640}, {1088, 192, 600}, {192, 1536, 128}};
  for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
    for (int c = 0; c < 4; c++) check_matmul(large[i][0], large[i][1], large[i][2], cases[c]);
  }
}

// More shapes than the cache of primitives holds: those thrown out must come back right.
static void test_matmul_many_shapes(void **state) {
  (void)state;
  for (int round = 0; round < 2; round++) {
    for (size_t N = 1; N <= (tiny ? 3 : 520); N++) {
      float *inp = new_random(N * 4, 1, N), *weight = new_random(3 * 4, 1, 2), *out = new_floats(N * 3);
      double *want = new_doubles(N * 3);
      reference_matmul(want, inp, weight, NULL, N, 4, 3);
      matmul_forward(out, NULL, inp, weight, NULL, N, 4, 3, OPS_NO_GELU, ZERO_F32, stream());
      assert_close(out, want, N * 3, TOLERANCE);
      free(inp), free(weight), free(out), free(want);
    }
  }
}

typedef struct {
  size_t N, C, V, Vp;
} HeadShape;

// The first of the largest of each row, of logits as they were computed.
static void assert_best(const int *best, const float *logits, size_t N, size_t V) {
  synchronize();
  hash_result(best, N * sizeof *best);
  for (size_t n = 0; n < N; n++) {
    size_t want = 0;
    for (size_t v = 1; v < V; v++) want = logits[n * V + v] > logits[n * V + want] ? v : want;
    assert_int_equal(best[n], want);
  }
}

// with_bias: also with a bias, its gradient and the best entry.
static void check_lm_head(HeadShape s, Case k, int with_bias) {
  now_comparing("head N %zu C %zu V %zu Vp %zu, bias %d, %s, gradients in %s, accumulate %d", s.N, s.C, s.V, s.Vp,
                with_bias, zero_type_name(k.type), zero_type_name(k.grad_type), k.accumulate);
  Tensor hidden = new_random_tensor(s.N * s.C, 2, 1, k.type), wte = new_random_tensor(s.Vp * s.C, 1, 2, k.type);
  Tensor bias = new_random_tensor(s.Vp, 2, 5, k.type), dbias = new_gradient(s.Vp, k.grad_type, 6);
  int *targets = new_random_ints(s.N, (int)s.V, 3), *best = new_random_ints(s.N, (int)s.V, 7);
  targets[s.N - 1] = (int)s.V - 1;
  if (s.N > 2) targets[s.N / 2] = OPS_IGNORE;
  float grad_scale = 37; // with a loss scale: most of the gradients are normal numbers in fp16
  double *want_loss = new_doubles(s.N), *want_logits = new_doubles(s.N * s.V), *want_dhidden = new_doubles(s.N * s.C);
  Tensor dwte = new_gradient(s.Vp * s.C, k.grad_type, 4), dhidden = new_tensor(s.N * s.C, k.type);
  OpsGrad none = {NULL, ZERO_F32, 0};
  double *want_dwte = gradient_reference(dwte, k.accumulate), *want_dbias = gradient_reference(dbias, k.accumulate);
  reference_lm_head(want_loss, want_logits, want_dhidden, want_dwte, want_dbias, hidden.f32, wte.f32,
                    with_bias ? bias.f32 : NULL, targets, grad_scale, s.N, s.C, s.V);

  float *loss = new_floats(s.N), *logits = new_floats(s.N * s.V);
  void *scratch = new_bytes(lm_head_loss_scratch(s.N, s.C, s.Vp, k.type, k.grad_type));
  const void *given = with_bias ? bias.data : NULL;
  lm_head_loss(loss, dhidden.data, ops_grad(dwte, k.accumulate), with_bias ? ops_grad(dbias, k.accumulate) : none,
               logits, with_bias ? best : NULL, hidden.data, wte.data, given, targets, grad_scale, s.N, s.C, s.V,
               s.Vp, k.type, scratch, stream());
  assert_close(loss, want_loss, s.N, TOLERANCE);
  assert_close(logits, want_logits, s.N * s.V, TOLERANCE);
  // The logits' gradient is rounded to the type, then the results are, to the type and to the gradient's. Over many
  // elements the two errors are independent and add in squares: 0.57 of the largest, where 0.75 are allowed.
  double two_roundings = s.N * s.C < MANY ? 2 : 1.5;
  assert_tensor(dhidden, want_dhidden, TOLERANCE, two_roundings);
  assert_tensor(dwte, want_dwte, TOLERANCE + rounding(k.type, dwte.count), 1);
  if (!k.accumulate) assert_zeros(dwte.f32 + s.V * s.C, (s.Vp - s.V) * s.C);
  if (with_bias) {
    assert_tensor(dbias, want_dbias, TOLERANCE + rounding(k.type, dbias.count), 1);
    if (!k.accumulate) assert_zeros(dbias.f32 + s.V, s.Vp - s.V);
    assert_best(best, logits, s.N, s.V);
  }
  if (s.N > 2) {
    assert_zeros(loss + s.N / 2, 1);
    assert_zeros(dhidden.f32 + s.N / 2 * s.C, s.C);
  }

  float *forward_only = new_floats(s.N), *sampled = new_floats(s.N * s.V);
  lm_head_loss(forward_only, NULL, none, none, NULL, NULL, hidden.data, wte.data, given, targets, 1, s.N, s.C, s.V,
               s.Vp, k.type, scratch, stream());
  assert_same_bits(forward_only, loss, s.N * sizeof(float));
  if (!with_bias) {
    void *sample_scratch = new_bytes(lm_head_logits_scratch(s.N, s.C, s.Vp, k.type));
    lm_head_logits(sampled, hidden.data, wte.data, s.N, s.C, s.V, s.Vp, k.type, sample_scratch, stream());
    assert_close(sampled, want_logits, s.N * s.V, TOLERANCE);
    free(sample_scratch);
  }
  free_tensor(hidden), free_tensor(wte), free_tensor(dwte), free_tensor(dhidden), free_tensor(bias);
  free_tensor(dbias), free(targets), free(best), free(want_loss), free(want_logits), free(want_dhidden);
  free(want_dwte), free(want_dbias), free(loss), free(logits), free(scratch), free(forward_only), free(sampled);
}

static void test_lm_head(void **state) {
  (void)state;
  // Below, at and above the blocks of 1,024 rows (CPU) and 4,096 (CUDA); more entries than one slice of the input
  // gradient holds, and enough that CUDA keeps a row in shared memory.
  HeadShape shapes[] = {
      {1, 16, 5, 5}, {13, 40, 97, 128}, {192, 128, 80, 128}, {1024, 20, 97, 128}, {1030, 32, 33, 64}};
  // Twice a block's columns, and a row that is kept.
  HeadShape tiny_shapes[] = {{3, 8, 1100, 1152}, {3, 8, 600, 601}, {5, 4, 5, 5}, {2, 4, 17000, 17024}};
  const HeadShape *chosen = tiny ? tiny_shapes : shapes;
  size_t count = tiny ? sizeof tiny_shapes / sizeof tiny_shapes[0] : sizeof shapes / sizeof shapes[0];
  for (size_t i = 0; i < count; i++) {
    // A bias in every other case, and the other way round in the next shape.
    for (int c = 0; c < CASES; c += case_step_of_rows(chosen[i].N))
      check_lm_head(chosen[i], cases[c], (int)(i + c) % 2);
  }
  // Classifiers of a few labels.
  HeadShape labels[] = {{9, 8, 2, 2}, {13, 40, 3, 3}, {16, 20, 2, 2}, {600, 7, 3, 3}, {5, 16, 6, 6}};
  for (size_t i = 0; i < (tiny ? 2 : sizeof labels / sizeof labels[0]); i++) {
    for (int c = 0; c < CASES; c += case_step_of_rows(labels[i].N)) check_lm_head(labels[i], cases[c], 1);
  }
  if (tiny) return;
  for (int c = 0; c < 6; c++) check_lm_head((HeadShape){30, 20, 40000, 40064}, cases[c], c % 2);
  for (int c = 1; c < 4; c++) check_lm_head((HeadShape){4100, 8, 33, 64}, cases[c], 1);
}

// Logits of some hundreds: e^x of them would overflow without the maximum taken out.
static void test_lm_head_large_logits(void **state) {
  (void)state;
  const float inputs[] = {300, -300}, weights[] = {1, 0.5f, -1}, zeros[] = {0, 0, 0};
  float *hidden = new_values(inputs, 2), *wte = new_values(weights, 3), *dwte = new_values(zeros, 3);
  float *loss = new_floats(2), *dhidden = new_floats(2);
  int *targets = (int *)new_bytes(2 * sizeof(int));
  targets[0] = 1, targets[1] = 2;
  OpsGrad grad = {dwte, ZERO_F32, 0}, none = {NULL, ZERO_F32, 0};
  void *scratch = new_bytes(lm_head_loss_scratch(2, 1, 3, ZERO_F32, ZERO_F32));
  lm_head_loss(loss, dhidden, grad, none, NULL, NULL, hidden, wte, NULL, targets, 1, 2, 1, 3, 3, ZERO_F32, scratch,
               stream());
  synchronize();
  hash_result(loss, sizeof loss), hash_result(dhidden, sizeof dhidden), hash_result(dwte, sizeof dwte);
  assert_true(loss[0] == 150 && loss[1] == 0);
  assert_true(fabsf(dhidden[0] - 0.5f) < 1e-6f && fabsf(dhidden[1]) < 1e-6f); // wte[0] - wte[1]
  free(scratch), free(hidden), free(wte), free(dwte), free(loss), free(dhidden), free(targets);
}

static void check_elementwise(size_t count, ZeroType type) {
  Tensor a = new_random_tensor(count, 6, 1, type), b = new_random_tensor(count, 1, 2, type);
  Tensor out = new_tensor(count, type);
  double *want = new_doubles(count);
  residual_add(out.data, a.data, b.data, count, type, stream());
  for (size_t k = 0; k < count; k++) want[k] = (double)a.f32[k] + b.f32[k];
  assert_tensor(out, want, 1e-7, 1);
  gelu_forward(out.data, a.data, count, OPS_GELU, type, stream());
  for (size_t k = 0; k < count; k++) want[k] = reference_gelu(a.f32[k]);
  assert_tensor(out, want, 1e-6, 1); // e^2u takes the rounding of 2u, up to 20, as its relative error
  gelu_backward(out.data, b.data, a.data, count, OPS_GELU, type, stream());
  for (size_t k = 0; k < count; k++) want[k] = b.f32[k] * reference_gelu_derivative(a.f32[k]);
  assert_tensor(out, want, 1e-6, 1);
  free_tensor(a), free_tensor(b), free_tensor(out), free(want);
}

static void test_elementwise(void **state) {
  (void)state;
  size_t counts[] = {1, 15, 100, 4096, 20011}, number = tiny ? 3 : sizeof counts / sizeof counts[0];
  for (size_t i = 0; i < number; i++) {
    for (int t = 0; t < TYPES; t++) check_elementwise(counts[i], every_type[t]);
  }
}

// Far out GELU is x or 0 and its slope 1 or 0; NaN stays NaN, so that an overflow is seen.
static void test_gelu_extremes(void **state) {
  (void)state;
  const float inputs[] = {-1e4f, -30, -12, 0, 12, 30, 1e4f, NAN}, ones[] = {1, 1, 1, 1, 1, 1, 1, 1};
  float *x = new_values(inputs, 8), *one = new_values(ones, 8), *y = new_floats(8), *d = new_floats(8);
  gelu_forward(y, x, 8, OPS_GELU, ZERO_F32, stream());
  gelu_backward(d, one, x, 8, OPS_GELU, ZERO_F32, stream());
  synchronize();
  hash_result(y, 8 * sizeof *y), hash_result(d, 8 * sizeof *d);
  for (int i = 0; i < 7; i++) {
    assert_true(fabs(y[i] - reference_gelu(x[i])) <= 1e-6 * fabs(reference_gelu(x[i])) + 1e-30);
    assert_true(fabs(d[i] - reference_gelu_derivative(x[i])) <= 1e-6);
  }
  assert_true(isnan(y[7]) && isnan(d[7]));
  free(x), free(one), free(y), free(d);
}

// fp16 sums that are too large become infinite, in every kind of gradient: the engine's overflow test sees them.
static void test_f16_overflow(void **state) {
  (void)state;
  enum { N = 4, C = 2 };
  Tensor big = new_tensor(N * C, ZERO_F16), dinp = new_tensor(N * C, ZERO_F16), dweight = new_tensor(C * C, ZERO_F16);
  Tensor dbias = new_tensor(C, ZERO_F16);
  float values[N * C] = {3e4f, 1, 3e4f, 1, 3e4f, 1, 3e4f, 1};
  set_tensor(big, values);
  void *scratch = new_bytes(matmul_backward_scratch(N, C, C, ZERO_F16));
  matmul_backward(dinp.data, ops_grad(dweight, 0), ops_grad(dbias, 0), big.data, big.data, big.data, NULL,
                  OPS_NO_GELU, N, C, C, ZERO_F16, scratch, stream());
  read_tensor(dinp), read_tensor(dweight), read_tensor(dbias);
  assert_true(isinf(dinp.f32[0]) && isinf(dweight.f32[0]) && isinf(dweight.f32[1]) && isinf(dbias.f32[0]));
  assert_true(dinp.f32[1] == 3e4f + 1 - 1 || dinp.f32[1] == 3e4f + 16); // 30,001 between two fp16
  assert_true(dweight.f32[3] == N && dbias.f32[1] == N);
  free_tensor(big), free_tensor(dinp), free_tensor(dweight), free_tensor(dbias), free(scratch);
}

static void test_matmul_peak(void **state) {
  (void)state;
  for (int t = 0; t < TYPES; t++) {
    double rate = matmul_peak(128, 128, 128, every_type[t], 0.01);
    assert_true(rate > 1e7 && rate < 1e15); // faster than by hand, slower than any computer
  }
}

static void test_notice(void **state) {
  (void)state;
  if (on_cuda()) skip(); // it computes in every type
  assert_null(ops_type_notice(ZERO_F32));
  assert_non_null(strstr(ops_type_notice(ZERO_F16), "fp16: "));
}

// Under `plain` alone: the products of bf16 go through fp32, and the user is told.
static void test_plain(void **state) {
  (void)state;
  assert_non_null(strstr(ops_type_notice(ZERO_BF16), "bf16: "));
}

int main(int argc, char **argv) {
  const struct CMUnitTest plain[] = {cmocka_unit_test(test_plain), cmocka_unit_test(test_matmul),
                                     cmocka_unit_test(test_lm_head)};
  if (argc > 1 && strcmp(argv[1], "plain") == 0) return cmocka_run_group_tests(plain, NULL, NULL);
  read_arguments(argc, argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_encoder),
      cmocka_unit_test(test_encoder_unwanted),
      cmocka_unit_test(test_layernorm),
      cmocka_unit_test(test_layernorm_offset),
      cmocka_unit_test(test_matmul),
      cmocka_unit_test(test_matmul_many_shapes),
      cmocka_unit_test(test_lm_head),

      cmocka_unit_test(test_lm_head_large_logits),
      cmocka_unit_test(test_elementwise),
      cmocka_unit_test(test_gelu_extremes),
      cmocka_unit_test(test_f16_overflow),
      cmocka_unit_test(test_matmul_peak),
      cmocka_unit_test(test_notice),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  print_result_hash();
  if (failed != 0 || tiny || on_cuda() || ops_type_notice(ZERO_BF16) != NULL)
    return failed; // bf16 went through fp32 already
  if (setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", 1) != 0) return 1;
  execl(argv[0], argv[0], "plain", (char *)NULL);
  return 1;
}
