// The operations that BERT has and GPT-2 has not, against a plain double-precision reference, in every type and with
// gradients of every type, at odd and even shapes: dropout, embeddings, rows by number, GELU by the error function,
// LayerNorm with its own epsilon, tanh, squared errors and the head's best entry. The head with a bias: test_ops.c;
// the same bits for any number of threads: test_ops_threads.c.
//
// With an argument `tiny`: a few small shapes (reference.h).
#include "../../llmc/dropout.h"
#include "../../zero/philox.h"
#include "cases.h"
#include "check.h"

// As in test_ops.c: fp32's rounding of sums of up to 3,000 terms.
static const double TOLERANCE = 2e-6;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// ---------------------------------------------------------------- dropout
// Whether llmc/dropout.h's rule drops element c of a row, written anew from its text.
static int dropped(const OpsDropout *d, size_t c, int position, int sample) {
  uint64_t z = d->seed + 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z = (z ^ (z >> 31)) + d->step;
  const uint32_t key[2] = {(uint32_t)(z & 0xffffffffu), (uint32_t)(z >> 32)};
  const uint32_t counter[4] = {(uint32_t)(c / 4), (uint32_t)position, (uint32_t)sample, d->site};
  uint32_t words[4];
  zero_philox4x32(counter, key, words);
  return words[c % 4] < (double)d->rate * 4294967296.0;
}

static void check_dropout(size_t N, size_t C, float rate, ZeroType type) {
  now_comparing("dropout N %zu C %zu rate %g, %s", N, C, (double)rate, zero_type_name(type));
  OpsDropout d = {rate, 0x123456789abcdefull, 7 + (uint64_t)C, ops_dropout_site(3, 2)};
  Tensor inp = new_random_tensor(N * C, 2, 1, type), out = new_tensor(N * C, type);
  int *samples = new_random_ints(N, 1000, 2), *positions = new_random_ints(N, 512, 3);
  dropout(out.data, inp.data, samples, positions, N, C, &d, type, stream());
  read_tensor(out);
  size_t dropped_here = 0;
  for (size_t i = 0; i < N * C; i++) {
    int drop = dropped(&d, i % C, positions[i / C], samples[i / C]);
    uint32_t want[1] = {0};
    set_element(want, 0, drop ? 0 : inp.f32[i] * (float)(1 / (1 - (double)rate)), type);
    assert_true(out.f32[i] == element(want, 0, type));
    dropped_here += (size_t)drop;
  }
  double expected = (double)rate * (double)(N * C), sigma = sqrt(expected * (1 - (double)rate));
  if (fabs((double)dropped_here - expected) > 4 * sigma) fail_msg("%zu dropped; %s", dropped_here, comparing);
  Tensor same = new_tensor(N * C, type); // in place
  set_tensor(same, inp.f32);
  dropout(same.data, same.data, samples, positions, N, C, &d, type, stream());
  assert_same_bits(same.data, out.data, N * C * zero_type_size(type));
  free_tensor(inp), free_tensor(out), free_tensor(same), free(samples), free(positions);
}

// Rates are multiples of 2^-32: exact from 2^-9 on, as floats are, and the nearest one below.
static void test_dropout_rates(void **state) {
  (void)state;
  const struct {
    float rate;
    uint32_t threshold;
  } rates[] = {{0.0f, 0},
               {0x1p-32f, 1},
               {0x1.6p-32f, 1},
               {0x1.9p-32f, 2},
               {0x1.000002p-9f, 0x800001},
               {0.5f, 0x80000000},
               {0x1.fffffep-1f, 0xffffff00}};
  for (size_t i = 0; i < COUNT(rates); i++) {
    const OpsDropout d = {rates[i].rate, 1, 2, 3};
    const DropoutPlan plan = dropout_plan(&d);
    assert_true(plan.threshold == rates[i].threshold);
    assert_true(plan.scale == (float)(0x1p32 / (0x1p32 - (double)rates[i].threshold)));
  }
}

static void plan_of(void *rate) {
  const OpsDropout d = {*(const float *)rate, 1, 2, 3};
  dropout_plan(&d);
}

static void test_no_such_rates(void **state) {
  (void)state;
  float rates[] = {0x1.fffffep-33f, 1.0f, -0.1f, NAN};
  for (size_t i = 0; i < COUNT(rates); i++) check_fatal(plan_of, &rates[i], "2.32831e-10 and below 1", NULL);
  assert_true(dropout_rate_is_valid(0.0) && dropout_rate_is_valid(0x1p-32) && !dropout_rate_is_valid(0x1p-33));
  assert_true(!dropout_rate_is_valid(0.99999999)); // 1 as a float
}

static void test_dropout(void **state) {
  (void)state;
  size_t shapes[][2] = {{1, 1}, {3, 5}, {70, 40}, {33, 131}, {200, 64}}, tiny_shapes[][2] = {{3, 5}, {5, 72}};
  const float rates[] = {0.1f, 0.5f, 0.9f};
  for (size_t i = 0; i < (tiny ? COUNT(tiny_shapes) : COUNT(shapes)); i++) {
    const size_t *shape = tiny ? tiny_shapes[i] : shapes[i];
    for (size_t r = 0; r < COUNT(rates); r++) {
      for (int t = 0; t < TYPES; t++) check_dropout(shape[0], shape[1], rates[r], every_type[t]);
    }
  }
}

// Masks by another step, seed, site, sample or position have as much in common as chance gives them.
static void test_dropout_keys(void **state) {
  (void)state;
  if (tiny) skip(); // test_dropout runs the same kernel
  enum { N = 16, C = 500, OTHERS = 6 };
  float *ones = new_floats(N * C), *first = new_floats(N * C), *other = new_floats(N * C);
  int *samples = (int *)new_bytes(N * sizeof(int)), *positions = (int *)new_bytes(N * sizeof(int));
  for (size_t i = 0; i < N * C; i++) ones[i] = 1;
  for (int n = 0; n < N; n++) samples[n] = 100 + 2 * n, positions[n] = 2 * n;
  const OpsDropout base = {0.3f, 5, 9, ops_dropout_site(1, 0)};
  dropout(first, ones, samples, positions, N, C, &base, ZERO_F32, stream());
  const double rate = 0.3f, chance = rate * rate + (1 - rate) * (1 - rate);
  const double sigma = sqrt(N * C * chance * (1 - chance));
  for (int k = 0; k < OTHERS; k++) {
    OpsDropout d = base;
    d.step += k == 0, d.seed += k == 1, d.site += k == 2 ? 1 : k == 3 ? 1 << OPS_HEAD_BITS : 0;
    synchronize();
    for (int n = 0; n < N; n++) samples[n] += k == 4, positions[n] += k == 5;
    dropout(other, ones, samples, positions, N, C, &d, ZERO_F32, stream());
    synchronize();
    for (int n = 0; n < N; n++) samples[n] -= k == 4, positions[n] -= k == 5;
    size_t alike = 0;
    for (size_t i = 0; i < N * C; i++) alike += (first[i] == 0) == (other[i] == 0);
    if (fabs((double)alike - N * C * chance) > 4 * sigma) fail_msg("%zu of %d alike, key %d", alike, N * C, k);
  }
  free(ones), free(first), free(other), free(samples), free(positions);
}

// Without dropout a copy; what is dropped becomes 0 whatever it was, what is kept shows an overflow.
static void test_dropout_edges(void **state) {
  (void)state;
  enum { C = 64 };
  const OpsDropout none = {0, 1, 2, 3}, half = {0.5f, 1, 2, 3};
  float *inp = new_random(C, 1, 1), *out = new_floats(C);
  int *row = (int *)new_bytes(2 * sizeof(int));
  row[0] = 4, row[1] = 5;
  dropout(out, inp, row, row + 1, 1, C, &none, ZERO_F32, stream());
  assert_same_bits(out, inp, C * sizeof(float));
  memset(out, 0, C * sizeof(float));
  dropout(out, inp, row, row + 1, 1, C, NULL, ZERO_F32, stream());
  assert_same_bits(out, inp, C * sizeof(float));
  for (int c = 0; c < C; c++) inp[c] = c % 2 ? INFINITY : NAN;
  dropout(out, inp, row, row + 1, 1, C, &half, ZERO_F32, stream());
  synchronize();
  int zeros = 0;
  for (size_t c = 0; c < C; c++) {
    int drop = dropped(&half, c, 5, 4);
    zeros += drop;
    assert_true(drop ? out[c] == 0 : c % 2 ? isinf(out[c]) : isnan(out[c]));
  }
  assert_in_range(zeros, 1, C - 1);
  free(inp), free(out), free(row);
}

// ---------------------------------------------------------------- embeddings
// Indices of a table with `rows`, some of them -1 where `holes`.
static int *new_indices(size_t N, size_t rows, int holes, uint64_t seed) {
  int *index = new_random_ints(N, (int)rows, seed);
  for (size_t n = 0; holes && n < N; n += 3) index[n] = -1;
  return index;
}

static void check_table(size_t N, size_t C, size_t rows, int holes, Case k) {
  now_comparing("table N %zu C %zu rows %zu holes %d, %s, gradients in %s, accumulate %d", N, C, rows, holes,
                zero_type_name(k.type), zero_type_name(k.grad_type), k.accumulate);
  int *index = new_indices(N, rows, holes, 1);
  Tensor dout = new_random_tensor(N * C, 1, 2, k.type), dtable = new_gradient(rows * C, k.grad_type, 3);
  double *want = gradient_reference(dtable, k.accumulate);
  int *named = (int *)calloc(rows, sizeof(int));
  assert_non_null(named);
  for (size_t n = 0; n < N; n++) {
    if (index[n] < 0) continue;
    named[index[n]] = 1;
    for (size_t c = 0; c < C; c++) want[(size_t)index[n] * C + c] += dout.f32[n * C + c];
  }
  void *scratch = new_bytes(embedding_backward_scratch(N, C, rows));
  Tensor before = new_tensor(rows * C, k.grad_type);
  memcpy(before.data, dtable.data, rows * C * zero_type_size(k.grad_type));
  embedding_backward(ops_grad(dtable, k.accumulate), dout.data, index, N, C, rows, k.type, scratch, stream());
  assert_tensor(dtable, want, TOLERANCE, 1);
  for (size_t i = 0; i < rows * C; i++) { // rows that are not named
    if (!named[i / C]) assert_true(dtable.f32[i] == (k.accumulate ? element(before.data, i, k.grad_type) : 0));
  }
  free(index), free(named), free(want), free_scratch(scratch), free_tensor(dout), free_tensor(dtable);
  free_tensor(before);
}

static void check_embeddings(size_t N, size_t C, ZeroType type) {
  now_comparing("embeddings N %zu C %zu, %s", N, C, zero_type_name(type));
  enum { TOKENS = 90, POSITIONS = 20, KINDS = 2 };
  Tensor wte = new_random_tensor(TOKENS * C, 1, 1, type), wpe = new_random_tensor(POSITIONS * C, 1, 2, type);
  Tensor wtype = new_random_tensor(KINDS * C, 1, 3, type), out = new_tensor(N * C, type);
  int *tokens = new_random_ints(N, TOKENS, 4), *positions = new_random_ints(N, POSITIONS, 5);
  int *kinds = new_random_ints(N, KINDS, 6);
  double *want = new_doubles(N * C);
  for (size_t i = 0; i < N * C; i++) {
    size_t n = i / C, c = i % C;
    want[i] = (double)wte.f32[(size_t)tokens[n] * C + c] + wpe.f32[(size_t)positions[n] * C + c] +
              wtype.f32[(size_t)kinds[n] * C + c];
  }
  embeddings_forward(out.data, tokens, positions, kinds, wte.data, wpe.data, wtype.data, N, C, type, stream());
  assert_tensor(out, want, TOLERANCE, 1);
  free_tensor(wte), free_tensor(wpe), free_tensor(wtype), free_tensor(out);
  free(tokens), free(positions), free(kinds), free(want);
}

static void test_embeddings(void **state) {
  (void)state;
  size_t shapes[][2] = {{1, 1}, {13, 40}, {64, 131}};
  for (size_t i = 0; i < (tiny ? 2 : COUNT(shapes)); i++) {
    for (int t = 0; t < TYPES; t++) check_embeddings(shapes[i][0], shapes[i][1], every_type[t]);
  }
  // N, C, rows of the table: around the slice of 128 rows; one row, two, one digit of the sort and more.
  size_t tables[][3] = {{1, 1, 1},       {127, 3, 2},     {128, 40, 1},    {129, 40, 1},
                        {1000, 40, 2},   {700, 13, 6},    {300, 8, 300},   {40, 64, 90},
                        {257, 131, 256}, {2000, 13, 256}, {2000, 24, 257}, {500, 4, 70000}};
  size_t tiny_tables[][3] = {{300, 4, 2}, {129, 3, 1}, {40, 8, 300}};
  for (size_t i = 0; i < (tiny ? COUNT(tiny_tables) : COUNT(tables)); i++) {
    const size_t *s = tiny ? tiny_tables[i] : tables[i];
    for (int c = 0; c < CASES; c += case_step()) {
      for (int holes = 0; holes < (s[0] > 1 ? 2 : 1); holes++) check_table(s[0], s[1], s[2], holes, cases[c]);
    }
  }
}

// No row counts, and a gradient that is not wanted.
static void test_embeddings_nothing(void **state) {
  (void)state;
  enum { N = 5, C = 3, ROWS = 4 };
  int *index = (int *)new_bytes(N * sizeof(int)); // all bits set: -1
  float *dout = new_random(N * C, 1, 1), *dtable = new_random(ROWS * C, 1, 2), *before = new_random(ROWS * C, 1, 2);
  void *scratch = new_bytes(embedding_backward_scratch(N, C, ROWS));
  OpsGrad grad = {dtable, ZERO_F32, 1}, none = {NULL, ZERO_F32, 0};
  embedding_backward(none, dout, index, N, C, ROWS, ZERO_F32, scratch, stream());
  embedding_backward(grad, dout, index, N, C, ROWS, ZERO_F32, scratch, stream());
  assert_same_bits(dtable, before, ROWS * C * sizeof(float));
  grad.accumulate = 0;
  embedding_backward(grad, dout, index, N, C, ROWS, ZERO_F32, scratch, stream());
  assert_zeros(dtable, ROWS * C);
  free(index), free(dout), free(dtable), free(before), free_scratch(scratch);
}

// ---------------------------------------------------------------- rows by number
static void check_rows(size_t M, size_t N, size_t C, ZeroType type) {
  now_comparing("rows M %zu N %zu C %zu, %s", M, N, C, zero_type_name(type));
  Tensor inp = new_random_tensor(N * C, 1, 1, type), gathered = new_tensor(M * C, type);
  Tensor scattered = new_tensor(N * C, type);
  int *index = new_indices(M, N, M > 1, 2), *once = (int *)new_bytes(M * sizeof(int));
  gather_rows(gathered.data, inp.data, index, M, N, C, type, stream());
  read_tensor(gathered);
  for (size_t i = 0; i < M * C; i++) {
    int n = index[i / C];
    assert_true(gathered.f32[i] == (n < 0 ? 0 : inp.f32[(size_t)n * C + i % C]));
  }
  float *want = (float *)calloc(N * C, sizeof(float));
  assert_non_null(want);
  for (size_t m = 0; m < M; m++) { // rows in an order of their own, every fifth nowhere
    once[m] = m % 5 == 4 ? -1 : (int)((m * 7 + 1) % N);
    for (size_t c = 0; c < C && once[m] >= 0; c++) want[(size_t)once[m] * C + c] = gathered.f32[m * C + c];
  }
  scatter_rows(scattered.data, gathered.data, once, M, N, C, type, stream());
  read_tensor(scattered);
  for (size_t i = 0; i < N * C; i++) assert_true(scattered.f32[i] == want[i]);
  free_tensor(inp), free_tensor(gathered), free_tensor(scattered), free(index), free(once), free(want);
}

static void test_rows(void **state) {
  (void)state;
  size_t shapes[][3] = {{1, 1, 1}, {13, 26, 40}, {20, 20, 131}, {100, 300, 64}}; // N no multiple of 7
  for (size_t i = 0; i < (tiny ? 2 : COUNT(shapes)); i++) {
    for (int t = 0; t < TYPES; t++) check_rows(shapes[i][0], shapes[i][1], shapes[i][2], every_type[t]);
  }
}

// ---------------------------------------------------------------- elementwise
static void check_elementwise(size_t count, ZeroType type) {
  now_comparing("elementwise, %zu, %s", count, zero_type_name(type));
  Tensor x = new_random_tensor(count, 6, 1, type), dy = new_random_tensor(count, 1, 2, type);
  Tensor out = new_tensor(count, type), dinp = new_tensor(count, type);
  double *want = new_doubles(count);
  gelu_forward(out.data, x.data, count, OPS_GELU_ERF, type, stream());
  for (size_t i = 0; i < count; i++) want[i] = reference_gelu_erf(x.f32[i]);
  assert_tensor(out, want, 1e-6, 1);
  gelu_backward(out.data, dy.data, x.data, count, OPS_GELU_ERF, type, stream());
  for (size_t i = 0; i < count; i++) want[i] = dy.f32[i] * reference_gelu_erf_derivative(x.f32[i]);
  assert_tensor(out, want, 1e-6, 1);
  tanh_forward(out.data, x.data, count, type, stream());
  for (size_t i = 0; i < count; i++) want[i] = tanh(x.f32[i]);
  assert_tensor(out, want, 1e-6, 1);
  tanh_backward(dinp.data, dy.data, out.data, count, type, stream());
  for (size_t i = 0; i < count; i++) want[i] = dy.f32[i] * (1 - (double)out.f32[i] * out.f32[i]);
  assert_tensor(dinp, want, 1e-6, 1);

  float *loss = new_floats(count), *targets = new_random(count, 6, 3);
  double *want_loss = new_doubles(count);
  for (size_t i = 0; i < count; i++) {
    double error = (double)x.f32[i] - targets[i];
    want_loss[i] = error * error, want[i] = 2 * 0.3f * error;
  }
  squared_error(loss, dinp.data, x.data, targets, 0.3f, count, type, stream());
  assert_close(loss, want_loss, count, 1e-6);
  assert_tensor(dinp, want, 1e-6, 1);
  memset(loss, 0, count * sizeof(float));
  squared_error(loss, NULL, x.data, targets, 0.3f, count, type, stream());
  assert_close(loss, want_loss, count, 1e-6);
  free_tensor(x), free_tensor(dy), free_tensor(out), free_tensor(dinp), free(want), free(loss), free(targets);
  free(want_loss);
}

static void test_elementwise(void **state) {
  (void)state;
  size_t counts[] = {1, 15, 100, 4096, 20011};
  for (size_t i = 0; i < (tiny ? 3 : COUNT(counts)); i++) {
    for (int t = 0; t < TYPES; t++) check_elementwise(counts[i], every_type[t]);
  }
}

// Value by value, across the borders of the approximations: relative where the value is not far below its argument.
static void test_each_value(void **state) {
  (void)state;
  if (tiny) skip(); // test_elementwise runs the same kernels
  enum { POINTS = 4001 };
  float *x = new_floats(POINTS), *one = new_floats(POINTS), *y = new_floats(POINTS);
  for (int i = 0; i < POINTS; i++) x[i] = (float)(i - POINTS / 2) * 0.003f, one[i] = 1;
  gelu_forward(y, x, POINTS, OPS_GELU_ERF, ZERO_F32, stream());
  synchronize();
  for (int i = 0; i < POINTS; i++) {
    double want = reference_gelu_erf(x[i]);
    if (!(fabs(y[i] - want) <= 1e-6 * fabs(want) + 2e-8)) fail_msg("GELU at %g: %.9g, not %.9g", x[i], y[i], want);
  }
  gelu_backward(y, one, x, POINTS, OPS_GELU_ERF, ZERO_F32, stream());
  synchronize();
  for (int i = 0; i < POINTS; i++) {
    double want = reference_gelu_erf_derivative(x[i]);
    if (!(fabs(y[i] - want) <= 5e-7)) fail_msg("its slope at %g: %.9g, not %.9g", x[i], y[i], want);
  }
  tanh_forward(y, x, POINTS, ZERO_F32, stream());
  synchronize();
  for (int i = 0; i < POINTS; i++) {
    double want = tanh(x[i]);
    if (!(fabs(y[i] - want) <= 3e-7 * fabs(want))) fail_msg("tanh at %g: %.9g, not %.9g", x[i], y[i], want);
  }
  free(x), free(one), free(y);
}

// Far out GELU is x or 0 and its slope 1 or 0, tanh 1 or -1; NaN stays NaN, so that an overflow is seen.
static void test_extremes(void **state) {
  (void)state;
  enum { VALUES = 9 };
  const float inputs[VALUES] = {-3e38f, -1e4f, -30, -12, 0, 12, 30, 3e38f, NAN};
  float *x = new_values(inputs, VALUES), *one = new_floats(VALUES), *y = new_floats(VALUES), *d = new_floats(VALUES);
  float *t = new_floats(VALUES);
  for (int i = 0; i < VALUES; i++) one[i] = 1;
  gelu_forward(y, x, VALUES, OPS_GELU_ERF, ZERO_F32, stream());
  gelu_backward(d, one, x, VALUES, OPS_GELU_ERF, ZERO_F32, stream());
  tanh_forward(t, x, VALUES, ZERO_F32, stream());
  synchronize();
  for (int i = 0; i < VALUES - 1; i++) {
    assert_true(fabs(y[i] - reference_gelu_erf(x[i])) <= 1e-6 * fabs(reference_gelu_erf(x[i])) + 1e-30);
    assert_true(fabs(d[i] - reference_gelu_erf_derivative(x[i])) <= 1e-6);
    assert_true(t[i] == (float)tanh(x[i]));
  }
  assert_true(isnan(y[VALUES - 1]) && isnan(d[VALUES - 1]) && isnan(t[VALUES - 1]));
  free(x), free(one), free(y), free(d), free(t);
}

// ---------------------------------------------------------------- LayerNorm and linear layers
// Rows whose variance is far below GPT-2's epsilon, which would shrink them, and rows without any.
static void test_layernorm_epsilon(void **state) {
  (void)state;
  enum { N = 5, C = 40 };
  const float eps = 1e-12f;
  Tensor inp = new_random_tensor(N * C, 1e-4f, 1, ZERO_F32), weight = new_random_tensor(C, 1, 2, ZERO_F32);
  Tensor bias = new_random_tensor(C, 1, 3, ZERO_F32), out = new_tensor(N * C, ZERO_F32);
  Tensor residual = new_tensor(N * C, ZERO_F32), zeros = new_tensor(N * C, ZERO_F32);
  for (int i = 0; i < N * C; i++) ((float *)zeros.data)[i] = 0;
  for (int c = 0; c < C; c++) ((float *)inp.data)[c] = inp.f32[c] = 3;
  double *want = new_doubles(N * C), mean[N], rstd[N];
  float *got_mean = new_floats(N), *got_rstd = new_floats(N);
  reference_layernorm(want, mean, rstd, inp.f32, weight.f32, bias.f32, eps, N, C);
  layernorm_forward(out.data, got_mean, got_rstd, inp.data, weight.data, bias.data, N, C, eps, ZERO_F32, stream());
  assert_tensor(out, want, 1e-5, 0);
  assert_close(got_rstd, rstd, N, TOLERANCE);
  fused_residual_layernorm_forward(residual.data, out.data, got_mean, got_rstd, inp.data, zeros.data, weight.data,
                                   bias.data, N, C, eps, ZERO_F32, stream());
  assert_tensor(out, want, 1e-5, 0);
  assert_close(got_rstd, rstd, N, TOLERANCE);
  free_tensor(inp), free_tensor(weight), free_tensor(bias), free_tensor(out), free_tensor(residual);
  free_tensor(zeros), free(want), free(got_mean), free(got_rstd);
}

static void check_matmul(size_t N, size_t C, size_t OC, ZeroType type) {
  now_comparing("matmul N %zu C %zu OC %zu, %s", N, C, OC, zero_type_name(type));
  Tensor inp = new_random_tensor(N * C, 1, 1, type), weight = new_random_tensor(OC * C, 1, 2, type);
  Tensor bias = new_random_tensor(OC, 1, 3, type), dout = new_random_tensor(N * OC, 1, 4, type);
  Tensor out = new_tensor(N * OC, type), pre = new_tensor(N * OC, type), dinp = new_tensor(N * C, type);
  Tensor before = new_random_tensor(N * C, 3, 5, type); // what GELU gave inp from
  double *want = new_doubles(N * OC), *want_dinp = new_doubles(N * C), *unused = new_doubles(OC * C + OC);
  const double roundings = on_gpu() ? 2 : 1; // as in test_ops.c
  reference_matmul(want, inp.f32, weight.f32, bias.f32, N, C, OC);
  matmul_forward(out.data, pre.data, inp.data, weight.data, bias.data, N, C, OC, OPS_GELU_ERF, type, stream());
  assert_tensor(pre, want, TOLERANCE, roundings);
  for (size_t i = 0; i < N * OC; i++) want[i] = reference_gelu_erf(pre.f32[i]);
  assert_tensor(out, want, TOLERANCE, 1);
  reference_matmul_backward(want_dinp, unused, unused + OC * C, dout.f32, inp.f32, weight.f32, N, C, OC);
  for (size_t i = 0; i < N * C; i++) want_dinp[i] *= reference_gelu_erf_derivative(before.f32[i]);
  const OpsGrad none = {NULL, ZERO_F32, 0};
  void *scratch = new_bytes(matmul_backward_scratch(N, C, OC, type));
  matmul_backward(dinp.data, none, none, dout.data, inp.data, weight.data, before.data, OPS_GELU_ERF, N, C, OC, type,
                  scratch, stream());
  assert_tensor(dinp, want_dinp, TOLERANCE, 2); // before and after the slope
  free_tensor(inp), free_tensor(weight), free_tensor(bias), free_tensor(dout), free_tensor(out), free_tensor(pre);
  free_tensor(dinp), free_tensor(before), free(want), free(want_dinp), free(unused), free_scratch(scratch);
}

static void test_matmul(void **state) {
  (void)state;
  size_t shapes[][3] = {{26, 40, 24}, {7, 3, 5}, {64, 48, 96}, {9, 20, 1}, {1, 1, 1}};
  for (size_t i = 0; i < (tiny ? 2 : COUNT(shapes)); i++) {
    for (int t = 0; t < TYPES; t++) check_matmul(shapes[i][0], shapes[i][1], shapes[i][2], every_type[t]);
  }
}

// ---------------------------------------------------------------- the head
// Equal logits: the lowest entry, across slices of the vocabulary and threads; a row that counts for nothing has one.
static void test_lm_head_best(void **state) {
  (void)state;
  enum { N = 3, C = 2, VOCABULARIES = 3 };
  const size_t vocabularies[VOCABULARIES] = {3, 700, 20000};
  for (int i = 0; i < (tiny ? 2 : VOCABULARIES); i++) {
    const size_t V = vocabularies[i];
    float *hidden = new_floats(N * C), *wte = new_floats(V * C), *bias = new_floats(V), *loss = new_floats(N);
    int *targets = new_random_ints(N, (int)V, 1), *best = new_random_ints(N, 1, 2);
    memset(hidden, 0, N * C * sizeof(float));
    memset(wte, 0, V * C * sizeof(float));
    for (size_t v = 0; v < V; v++) bias[v] = v % (V / 3) == V / 3 - 1 ? 2 : -1;
    targets[1] = OPS_IGNORE;
    OpsGrad none = {NULL, ZERO_F32, 0};
    void *scratch = new_bytes(lm_head_loss_scratch(N, C, V, ZERO_F32, ZERO_F32));
    lm_head_loss(loss, NULL, none, none, NULL, best, hidden, wte, bias, targets, 1, N, C, V, V, ZERO_F32, scratch,
                 stream());
    synchronize();
    hash_result(best, N * sizeof *best);
    for (int n = 0; n < N; n++) assert_int_equal(best[n], V / 3 - 1);
    free(hidden), free(wte), free(bias), free(loss), free(targets), free(best), free(scratch);
  }
}

int main(int argc, char **argv) {
  read_arguments(argc, argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_dropout),
      cmocka_unit_test(test_dropout_rates),
      cmocka_unit_test(test_no_such_rates),
      cmocka_unit_test(test_dropout_keys),
      cmocka_unit_test(test_dropout_edges),
      cmocka_unit_test(test_embeddings),
      cmocka_unit_test(test_embeddings_nothing),
      cmocka_unit_test(test_rows),
      cmocka_unit_test(test_elementwise),
      cmocka_unit_test(test_each_value),
      cmocka_unit_test(test_extremes),
      cmocka_unit_test(test_layernorm_epsilon),
      cmocka_unit_test(test_matmul),
      cmocka_unit_test(test_lm_head_best),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  print_result_hash();
  return failed;
}
