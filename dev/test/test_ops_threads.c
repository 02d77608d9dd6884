// The same bits for 1, 2 and 3 threads: every operation in every type, at small, odd and large shapes, among them
// those where oneDNN would split a sum by the number of threads (2,048 rows and more, few columns).
#include <omp.h>

#include "reference.h"

enum { MAX_THREADS = 3, MAX_OUTPUTS = 8 };

static const float EPSILON = 1e-5f; // LayerNorm's

// The buffers that an operation writes, with what they hold before it runs; and its types.
typedef struct {
  Tensor tensors[MAX_OUTPUTS];
  int used;
  ZeroType type, grad_type;
} Outputs;

static Tensor add_tensor(Outputs *outputs, size_t count, ZeroType type) {
  assert_true(outputs->used < MAX_OUTPUTS);
  Tensor tensor = new_random_tensor(count, 1, 100 + (uint64_t)outputs->used, type);
  outputs->tensors[outputs->used++] = tensor;
  return tensor;
}

static void *add_output(Outputs *outputs, size_t count) {
  return add_tensor(outputs, count, outputs->type).data;
}

static float *add_floats(Outputs *outputs, size_t count) {
  return (float *)add_tensor(outputs, count, ZERO_F32).data;
}

static OpsGrad add_gradient(Outputs *outputs, size_t count, int accumulate) {
  return ops_grad(add_tensor(outputs, count, outputs->grad_type), accumulate);
}

// Random numbers in the type, without the copy in fp32.
static void *new_input(const Outputs *outputs, size_t count, float scale, uint64_t seed) {
  Tensor tensor = new_random_tensor(count, scale, seed, outputs->type);
  free(tensor.f32);
  return tensor.data;
}

static void free_outputs(Outputs *outputs) {
  for (int i = 0; i < outputs->used; i++) free_tensor(outputs->tensors[i]);
}

static void compare(const Outputs *now, const Outputs *first, int threads, const size_t *shape) {
  for (int i = 0; i < now->used; i++) {
    const Tensor *a = &now->tensors[i], *b = &first->tensors[i];
    if (memcmp(a->data, b->data, a->count * zero_type_size(a->type)) != 0) {
      print_error("output %d of %s, gradients %s, differs between 1 and %d threads at %zu, %zu, %zu, %zu, %zu\n", i,
                  zero_type_name(now->type), zero_type_name(now->grad_type), threads, shape[0], shape[1], shape[2],
                  shape[3], shape[4]);
      fail();
    }
  }
}

// Runs an operation, which fills its Outputs, with every number of threads and compares.
static void check_threads_in(ZeroType type, ZeroType grad_type, void (*run)(Outputs *, const size_t *shape),
                             const size_t *shape) {
  int threads_before = omp_get_max_threads();
  Outputs first = {.type = type, .grad_type = grad_type};
  for (int threads = 1; threads <= MAX_THREADS; threads++) {
    omp_set_num_threads(threads);
    Outputs now = {.type = type, .grad_type = grad_type};
    run(&now, shape);
    if (threads == 1) {
      assert_true(now.used > 0);
      first = now;
    } else {
      compare(&now, &first, threads, shape);
      free_outputs(&now);
    }
  }
  free_outputs(&first);
  omp_set_num_threads(threads_before);
}

// In every type, with gradients of that type; bf16 also with those of fp32, as the engine's accumulator has it.
static void check_threads(void (*run)(Outputs *, const size_t *shape), const size_t *shape) {
  for (int t = 0; t < TYPES; t++) check_threads_in(every_type[t], every_type[t], run, shape);
  check_threads_in(ZERO_BF16, ZERO_F32, run, shape);
}

static void run_encoder(Outputs *outputs, const size_t *shape) { // B, T, C, Vp, accumulate
  size_t B = shape[0], T = shape[1], C = shape[2], Vp = shape[3];
  int *tokens = new_random_ints(B * T, (int)Vp, 1);
  void *wte = new_input(outputs, Vp * C, 1, 2), *wpe = new_input(outputs, T * C, 1, 3);
  void *dout = new_input(outputs, B * T * C, 1, 4);
  encoder_forward(add_output(outputs, B * T * C), tokens, wte, wpe, B, T, C, outputs->type, NULL);
  void *scratch = new_bytes(encoder_backward_scratch(B, T, C));
  OpsGrad dwte = add_gradient(outputs, Vp * C, (int)shape[4]), dwpe = add_gradient(outputs, T * C, (int)shape[4]);
  encoder_backward(dwte, dwpe, dout, tokens, B, T, C, Vp, T, outputs->type, scratch, NULL);
  free(tokens), free(wte), free(wpe), free(dout), free(scratch);
}

static void run_layernorm(Outputs *outputs, const size_t *shape) { // N, C, accumulate
  size_t N = shape[0], C = shape[1];
  void *a = new_input(outputs, N * C, 1, 1), *b = new_input(outputs, N * C, 1, 2);
  void *dout = new_input(outputs, N * C, 1, 3), *weight = new_input(outputs, C, 1, 4);
  void *bias = new_input(outputs, C, 1, 5), *residual = add_output(outputs, N * C);
  float *mean = add_floats(outputs, N), *rstd = add_floats(outputs, N);
  fused_residual_layernorm_forward(residual, add_output(outputs, N * C), mean, rstd, a, b, weight, bias, N, C,
                                   EPSILON, outputs->type, NULL);
  layernorm_forward(add_output(outputs, N * C), mean, rstd, residual, weight, bias, N, C, EPSILON, outputs->type,
                    NULL);
  void *scratch = new_bytes(layernorm_backward_scratch(N, C));
  OpsGrad dweight = add_gradient(outputs, C, (int)shape[2]), dbias = add_gradient(outputs, C, (int)shape[2]);
  layernorm_backward(add_output(outputs, N * C), dweight, dbias, dout, a, residual, mean, rstd, weight, N, C,
                     outputs->type, scratch, NULL);
  free(a), free(b), free(dout), free(weight), free(bias), free(scratch);
}

static void run_matmul(Outputs *outputs, const size_t *shape) { // N, C, OC, accumulate
  size_t N = shape[0], C = shape[1], OC = shape[2];
  ZeroType type = outputs->type;
  void *inp = new_input(outputs, N * C, 1, 1), *weight = new_input(outputs, OC * C, 1, 2);
  void *bias = new_input(outputs, OC, 1, 3), *dout = new_input(outputs, N * OC, 1, 4);
  void *before = new_input(outputs, N * C, 1, 5), *pre = add_output(outputs, N * OC);
  matmul_forward(add_output(outputs, N * OC), pre, inp, weight, bias, N, C, OC, OPS_GELU, type, NULL);
  matmul_forward(add_output(outputs, N * OC), NULL, inp, weight, NULL, N, C, OC, OPS_NO_GELU, type, NULL);
  void *scratch = new_bytes(matmul_backward_scratch(N, C, OC, outputs->grad_type));
  OpsGrad dweight = add_gradient(outputs, OC * C, (int)shape[3]), dbias = add_gradient(outputs, OC, (int)shape[3]);
  matmul_backward(add_output(outputs, N * C), dweight, dbias, dout, inp, weight, before, OPS_GELU, N, C, OC, type,
                  scratch, NULL);
  free(inp), free(weight), free(bias), free(dout), free(before), free(scratch);
}

static void run_attention(Outputs *outputs, const size_t *shape) { // B, T, C, NH, causal
  size_t B = shape[0], T = shape[1], C = shape[2], NH = shape[3], count = B * T * C;
  int causal = (int)shape[4];
  void *qkv = new_input(outputs, 3 * count, 1, 1), *dout = new_input(outputs, count, 1, 2);
  void *out = add_output(outputs, count);
  float *lse = add_floats(outputs, B * NH * T);
  const OpsSequences sequences = ops_dense(B, T);
  void *scratch = new_bytes(attention_forward_scratch(&sequences, C, NH, causal, outputs->type));
  attention_forward(out, lse, qkv, &sequences, C, NH, causal, NULL, outputs->type, scratch, NULL);
  free(scratch);
  scratch = new_bytes(attention_backward_scratch(&sequences, C, NH, causal, outputs->type));
  attention_backward(add_output(outputs, 3 * count), dout, out, lse, qkv, &sequences, C, NH, causal, NULL,
                     outputs->type, scratch, NULL);
  free(qkv), free(dout), free(scratch);
}

// Packed sequences of all lengths with rows between them, and dropout.
static void run_packed_attention(Outputs *outputs, const size_t *shape) { // count, longest, C, NH, causal
  size_t count = shape[0], longest = shape[1], C = shape[2], NH = shape[3], rows = 0;
  int causal = (int)shape[4];
  int *starts = (int *)new_bytes(count * sizeof(int)), *lengths = (int *)new_bytes(count * sizeof(int));
  int *samples = new_random_ints(count, 1 << 20, 3);
  for (size_t b = 0; b < count; b++) {
    starts[b] = (int)(rows += b % 3);
    lengths[b] = (int)(37 * (b + 1) % (longest + 1));
    rows += (size_t)lengths[b];
  }
  const OpsSequences sequences = {count, longest, rows, starts, lengths, samples};
  const OpsDropout dropout = {0.2f, 5, 6, 7};
  void *qkv = new_input(outputs, 3 * rows * C, 1, 1), *dout = new_input(outputs, rows * C, 1, 2);
  void *out = add_output(outputs, rows * C);
  float *lse = add_floats(outputs, NH * rows);
  void *scratch = new_bytes(attention_forward_scratch(&sequences, C, NH, causal, outputs->type));
  attention_forward(out, lse, qkv, &sequences, C, NH, causal, &dropout, outputs->type, scratch, NULL);
  free(scratch);
  scratch = new_bytes(attention_backward_scratch(&sequences, C, NH, causal, outputs->type));
  attention_backward(add_output(outputs, 3 * rows * C), dout, out, lse, qkv, &sequences, C, NH, causal, &dropout,
                     outputs->type, scratch, NULL);
  free(qkv), free(dout), free(scratch), free(starts), free(lengths), free(samples);
}

static void run_lm_head(Outputs *outputs, const size_t *shape) { // N, C, V, Vp, accumulate
  size_t N = shape[0], C = shape[1], V = shape[2], Vp = shape[3];
  ZeroType type = outputs->type;
  void *hidden = new_input(outputs, N * C, 1, 1), *wte = new_input(outputs, Vp * C, 1, 2);
  int *targets = new_random_ints(N, (int)V, 3);
  void *scratch = new_bytes(lm_head_loss_scratch(N, C, Vp, type, outputs->grad_type));
  float *loss = add_floats(outputs, N);
  void *dhidden = add_output(outputs, N * C);
  OpsGrad dwte = add_gradient(outputs, Vp * C, (int)shape[4]), dbias = add_gradient(outputs, Vp, (int)shape[4]);
  void *bias = new_input(outputs, Vp, 1, 4);
  lm_head_loss(loss, dhidden, dwte, dbias, add_floats(outputs, N * V), (int *)add_floats(outputs, N), hidden, wte,
               bias, targets, 0.1f, N, C, V, Vp, type, scratch, NULL);
  free(scratch);
  scratch = new_bytes(lm_head_logits_scratch(N, C, Vp, type));
  lm_head_logits(add_floats(outputs, N * V), hidden, wte, N, C, V, Vp, type, scratch, NULL);
  free(hidden), free(wte), free(bias), free(targets), free(scratch);
}

static void run_elementwise(Outputs *outputs, const size_t *shape) { // count
  size_t count = shape[0];
  void *a = new_input(outputs, count, 3, 1), *b = new_input(outputs, count, 1, 2);
  gelu_forward(add_output(outputs, count), a, count, OPS_GELU, outputs->type, NULL);
  gelu_backward(add_output(outputs, count), b, a, count, OPS_GELU, outputs->type, NULL);
  residual_add(add_output(outputs, count), a, b, count, outputs->type, NULL);
  gelu_forward(add_output(outputs, count), a, count, OPS_GELU_ERF, outputs->type, NULL);
  gelu_backward(add_output(outputs, count), b, a, count, OPS_GELU_ERF, outputs->type, NULL);
  free(a), free(b);
}

static void run_heads(Outputs *outputs, const size_t *shape) { // count
  size_t count = shape[0];
  void *a = new_input(outputs, count, 3, 1), *b = new_input(outputs, count, 1, 2);
  float *targets = new_random(count, 1, 3);
  tanh_forward(add_output(outputs, count), a, count, outputs->type, NULL);
  tanh_backward(add_output(outputs, count), b, a, count, outputs->type, NULL);
  squared_error(add_floats(outputs, count), add_output(outputs, count), a, targets, 0.1f, count, outputs->type, NULL);
  free(a), free(b), free(targets);
}

static void run_rows(Outputs *outputs, const size_t *shape) { // N, C, rows of a table, accumulate
  size_t N = shape[0], C = shape[1], rows = shape[2];
  ZeroType type = outputs->type;
  const OpsDropout drop = {0.1f, 1, 2, 3};
  int *index = new_random_ints(N, (int)rows, 1), *positions = new_random_ints(N, (int)rows, 2);
  int *places = new_random_ints(N, 1, 3);
  for (size_t n = 0; n < N; n++) places[n] = n % 3 == 0 ? -1 : (int)(N - 1 - n); // once each
  void *dout = new_input(outputs, N * C, 1, 4), *table = new_input(outputs, rows * C, 1, 5);
  embeddings_forward(add_output(outputs, N * C), index, positions, index, table, table, table, N, C, type, NULL);
  void *scratch = new_bytes(embedding_backward_scratch(N, C, rows));
  OpsGrad dtable = add_gradient(outputs, rows * C, (int)shape[3]);
  embedding_backward(dtable, dout, index, N, C, rows, type, scratch, NULL);
  dropout(add_output(outputs, N * C), dout, index, positions, N, C, &drop, type, NULL);
  gather_rows(add_output(outputs, N * C), dout, places, N, N, C, type, NULL);
  scatter_rows(add_output(outputs, N * C), dout, places, N, N, C, type, NULL);
  free(index), free(positions), free(places), free(dout), free(table), free(scratch);
}

#define CHECK_ALL(run, shapes) \
  for (size_t i = 0; i < sizeof(shapes) / sizeof((shapes)[0]); i++) check_threads(run, (shapes)[i])

static void test_encoder(void **state) {
  (void)state;
  size_t shapes[][5] = {{2, 13, 40, 128, 0}, {3, 64, 128, 128, 1}, {9, 256, 64, 1024, 0}};
  CHECK_ALL(run_encoder, shapes);
}

static void test_layernorm(void **state) {
  (void)state;
  size_t shapes[][5] = {{1, 16, 0}, {26, 40, 1}, {192, 128, 0}, {2304, 64, 1}, {1000, 100, 0}, {300, 768, 1}};
  CHECK_ALL(run_layernorm, shapes);
}

static void test_matmul(void **state) {
  (void)state;
  size_t shapes[][5] = {
      {1, 1, 1, 0},        {1, 768, 768, 0},    {2, 64, 64, 1},      {7, 3, 5, 0},        {13, 40, 120, 1},
      {26, 60, 240, 0},    {64, 128, 128, 1},   {192, 128, 384, 0},  {192, 128, 512, 1},  {192, 512, 128, 0},
      {256, 96, 96, 1},    {256, 768, 768, 0},  {512, 256, 64, 1},   {1000, 64, 192, 0},  {1024, 64, 64, 1},
      {1025, 64, 64, 0},   {2048, 64, 64, 1},   {2304, 64, 64, 0},   {2304, 64, 192, 1},  {2304, 64, 256, 0},
      {2304, 256, 64, 1},  {3072, 96, 96, 0},   {3072, 192, 192, 1}, {4096, 16, 16, 0},   {4099, 20, 60, 1},
      {4, 4096, 16, 0},    {3, 8192, 8, 1},     {16, 4096, 1024, 0}, {8, 16, 8192, 1},    {33, 3072, 768, 0},
      {128, 3072, 768, 1}, {128, 768, 3072, 0}, {1088, 192, 600, 0}, {1024, 128, 640, 1}, {2048, 64, 576, 1}};
  CHECK_ALL(run_matmul, shapes);
}

static void test_attention(void **state) {
  (void)state;
  size_t shapes[][5] = {{2, 13, 40, 2, 1},   {3, 64, 128, 4, 1}, {3, 64, 128, 4, 0},  {2, 200, 60, 3, 1},
                        {1, 300, 192, 3, 0}, {36, 64, 64, 1, 1}, {1, 512, 128, 2, 1}, {2, 64, 100, 1, 0}};
  CHECK_ALL(run_attention, shapes);
  size_t packed[][5] = {{3, 40, 64, 2, 0}, {20, 130, 128, 2, 0}, {9, 200, 60, 3, 1}};
  CHECK_ALL(run_packed_attention, packed);
}

static void test_lm_head(void **state) {
  (void)state;
  size_t shapes[][5] = {{1, 64, 97, 128, 0},        {13, 40, 97, 128, 1},     {192, 128, 80, 128, 0},
                        {2304, 64, 97, 128, 1},     {600, 64, 4000, 4096, 0}, {2, 256, 50257, 50304, 1},
                        {512, 16, 20000, 20096, 0}, {1, 16, 50257, 50304, 0}, {64, 64, 6200, 6288, 1}};
  CHECK_ALL(run_lm_head, shapes);
}

static void test_elementwise(void **state) {
  (void)state;
  size_t shapes[][5] = {{1}, {1000}, {20011}, {147456}};
  CHECK_ALL(run_elementwise, shapes);
  CHECK_ALL(run_heads, shapes);
}

static void test_rows(void **state) {
  (void)state;
  size_t shapes[][5] = {{1, 16, 1, 0}, {26, 40, 9, 1}, {3000, 64, 2, 0}, {3001, 33, 700, 1}};
  CHECK_ALL(run_rows, shapes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_encoder),   cmocka_unit_test(test_layernorm), cmocka_unit_test(test_matmul),
      cmocka_unit_test(test_attention), cmocka_unit_test(test_lm_head),   cmocka_unit_test(test_elementwise),
      cmocka_unit_test(test_rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
