// The engine's kernels on a device against plain loops: memory, adding pieces, sums of squares, AdamW, in every type,
// at odd and even lengths and addresses. Built with ZERO_CUDA for a GPU or the emulator, else for the CPU.
#include <math.h>

#include "../../zero/device.h"
#include "../../zero/half.h"
#include "check.h"
#include "result_hash.h"

static ZeroDevice *device;

static const ZeroType types[] = {ZERO_F32, ZERO_BF16, ZERO_F16};
enum { TYPES = sizeof types / sizeof types[0] };

// ---------------------------------------------------------------- data
// Uniform in [-1, 1], the same on every run (splitmix64).
static float random_value(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return 2.0f * (float)((z ^ (z >> 31)) >> 40) / 16777216.0f - 1.0f;
}

static float read_element(const void *data, size_t i, ZeroType type) {
  return type == ZERO_F32    ? ((const float *)data)[i]
         : type == ZERO_BF16 ? zero_bf16_to_f32(((const uint16_t *)data)[i])
                             : zero_f16_to_f32(((const uint16_t *)data)[i]);
}

static void write_element(void *data, size_t i, float x, ZeroType type) {
  if (type == ZERO_F32) ((float *)data)[i] = x;
  if (type == ZERO_BF16) ((uint16_t *)data)[i] = zero_f32_to_bf16(x);
  if (type == ZERO_F16) ((uint16_t *)data)[i] = zero_f32_to_f16(x);
}

// Random elements on the host; the device gets them from upload, gives them back to download.
static void *random_elements(size_t count, ZeroType type, uint64_t seed) {
  char *data = malloc(count * zero_type_size(type) + 1);
  assert_non_null(data);
  for (size_t i = 0; i < count; i++) write_element(data, i, random_value(&seed), type);
  return data;
}

static void *upload(const void *host, size_t bytes) {
  void *data = device->alloc(device, bytes, ZERO_MEM_OTHER);
  device->from_host(device, data, host, bytes);
  return data;
}

static void *download(void *data, size_t bytes) {
  void *host = malloc(bytes);
  assert_non_null(host);
  device->to_host(device, host, data, bytes);
  hash_result(host, bytes);
  device->free(device, data);
  return host;
}

// ---------------------------------------------------------------- memory
static void test_memory(void **state) {
  (void)state;
  enum { BYTES = 5000 };
  size_t before = zero_ledger_now(ZERO_MEM_ACTIVATIONS);
  assert_null(device->alloc(device, 0, ZERO_MEM_ACTIVATIONS));
  device->free(device, NULL);
  unsigned char *a = device->alloc(device, BYTES, ZERO_MEM_ACTIVATIONS);
  unsigned char *b = device->alloc_host(device, BYTES, ZERO_MEM_ACTIVATIONS);
  assert_int_equal((uintptr_t)a % 64, 0);
  assert_int_equal(zero_ledger_now(ZERO_MEM_ACTIVATIONS), before + 2 * BYTES);
  unsigned char host[BYTES], zeros[BYTES] = {0};
  memset(host, 1, BYTES);
  device->to_host(device, host, a, BYTES);
  assert_memory_equal(host, zeros, BYTES);
  assert_memory_equal(b, zeros, BYTES);

  for (size_t i = 0; i < BYTES; i++) host[i] = (unsigned char)(i * 7);
  device->from_host(device, a, host, BYTES);
  unsigned char *c = device->alloc(device, BYTES, ZERO_MEM_ACTIVATIONS);
  device->copy(device, c + 3, a + 1, BYTES - 3);
  device->to_host(device, b, c, BYTES);
  assert_memory_equal(b, zeros, 3);
  assert_memory_equal(b + 3, host + 1, BYTES - 3);
  device->synchronize(device);
  device->free(device, a), device->free(device, c), device->free_host(device, b);
  assert_int_equal(zero_ledger_now(ZERO_MEM_ACTIVATIONS), before);
}

// ---------------------------------------------------------------- add
// One case: elements [skip, skip + count) of the two arrays; those around them stay as they are.
static void check_add(ZeroType acc_type, ZeroType type, size_t skip, size_t count, int overwrite) {
  size_t total = count + 2 * skip, acc_size = zero_type_size(acc_type), size = zero_type_size(type);
  void *acc = random_elements(total, acc_type, 1), *piece = random_elements(total, type, 2);
  void *want = random_elements(total, acc_type, 1);
  for (size_t i = skip; i < skip + count; i++) {
    float x = read_element(piece, i, type);
    write_element(want, i, overwrite ? x : read_element(acc, i, acc_type) + x, acc_type);
  }
  char *device_acc = upload(acc, total * acc_size), *device_piece = upload(piece, total * size);
  device->add(device, device_acc + skip * acc_size, acc_type, device_piece + skip * size, type, count, overwrite);
  void *got = download(device_acc, total * acc_size);
  assert_memory_equal(got, want, total * acc_size);
  device->free(device, device_piece);
  free(acc), free(piece), free(want), free(got);
}

static void test_add(void **state) {
  (void)state;
  static const size_t counts[] = {1, 7, 8, 1000, 4099};
  for (int a = 0; a < TYPES; a++) {
    for (int t = 0; t < TYPES; t++) {
      for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (int overwrite = 0; overwrite < 2; overwrite++) {
          check_add(types[a], types[t], 64, counts[c], overwrite);
          check_add(types[a], types[t], 3, counts[c], overwrite);
        }
      }
    }
  }
}

// ---------------------------------------------------------------- sums of squares
// Pieces with gaps between them; the second and the last hold the same elements.
static const ZeroPiece pieces[] = {{0, 1024, 1},  {1088, 100, 0},  {1216, 1, 1},
                                   {1280, 33, 1}, {1344, 1000, 0}, {2500, 100, 1}};
enum { PIECES = sizeof pieces / sizeof pieces[0], ELEMENTS = 2600 };

static void *twin_elements(ZeroType type) {
  char *data = random_elements(ELEMENTS, type, 3);
  size_t size = zero_type_size(type);
  memcpy(data + pieces[PIECES - 1].first * size, data + pieces[1].first * size, pieces[1].count * size);
  return data;
}

static void sum_squares(const void *host, ZeroType type, double *sums) {
  void *grad = upload(host, ELEMENTS * zero_type_size(type));
  ZeroPiece *device_pieces = upload(pieces, sizeof pieces);
  device->sum_squares(device, grad, type, device_pieces, PIECES, sums);
  hash_result(sums, PIECES * sizeof *sums);
  device->free(device, grad), device->free(device, device_pieces);
}

static void test_sum_squares(void **state) {
  (void)state;
  for (int t = 0; t < TYPES; t++) {
    void *grad = twin_elements(types[t]);
    double sums[PIECES];
    sum_squares(grad, types[t], sums);
    for (int p = 0; p < PIECES; p++) {
      double want = 0;
      for (size_t i = 0; i < pieces[p].count; i++) {
        double x = read_element(grad, pieces[p].first + i, types[t]);
        want += x * x;
      }
      assert_true(want > 0 && fabs(sums[p] - want) <= 1e-13 * want); // 1,024 roundings of 2^-53
    }
    assert_true(sums[1] == sums[PIECES - 1]);
    free(grad);
  }
}

static void test_overflow(void **state) {
  (void)state;
  for (int t = 0; t < TYPES; t++) {
    void *grad = twin_elements(types[t]);
    double sums[PIECES];
    write_element(grad, 1023, INFINITY, types[t]);
    write_element(grad, 1216, NAN, types[t]);
    if (types[t] != ZERO_F16) write_element(grad, 1290, 1e38f, types[t]); // its square is no fp32
    write_element(grad, 1024, INFINITY, types[t]);                        // in a gap
    sum_squares(grad, types[t], sums);
    assert_true(isinf(sums[0]) && isnan(sums[2]));
    for (int p = 0; p < PIECES; p++) assert_true(p == 0 || p == 2 || isfinite(sums[p]));
    free(grad);
  }
}

// ---------------------------------------------------------------- AdamW
typedef struct {
  float *master, *exp_avg, *exp_avg_sq; // (ELEMENTS)
  void *grad, *params;
} Step;

static Step new_step(ZeroType grad_type, ZeroType param_type) {
  Step step = {random_elements(ELEMENTS, ZERO_F32, 4), random_elements(ELEMENTS, ZERO_F32, 5),
               random_elements(ELEMENTS, ZERO_F32, 6), random_elements(ELEMENTS, grad_type, 7),
               random_elements(ELEMENTS, param_type, 8)};
  for (size_t i = 0; i < ELEMENTS; i++) step.exp_avg_sq[i] = fabsf(step.exp_avg_sq[i]);
  return step;
}

static void free_step(Step step) {
  free(step.master), free(step.exp_avg), free(step.exp_avg_sq), free(step.grad), free(step.params);
}

static void run_adamw(Step *step, const ZeroAdamW *adamw, ZeroType grad_type, ZeroType param_type, int with_params,
                      const ZeroPiece *list, size_t count) {
  size_t bytes = ELEMENTS * sizeof(float), grad_bytes = ELEMENTS * zero_type_size(grad_type);
  size_t param_bytes = ELEMENTS * zero_type_size(param_type);
  float *master = upload(step->master, bytes), *m = upload(step->exp_avg, bytes),
        *v = upload(step->exp_avg_sq, bytes);
  void *grad = upload(step->grad, grad_bytes), *params = upload(step->params, param_bytes);
  ZeroPiece *device_pieces = upload(list, count * sizeof *list);
  device->adamw(device, adamw, master, m, v, grad, grad_type, with_params ? params : NULL, param_type, device_pieces,
                count);
  device->free(device, grad), device->free(device, device_pieces);
  free(step->master), free(step->exp_avg), free(step->exp_avg_sq), free(step->params);
  step->master = download(master, bytes), step->exp_avg = download(m, bytes), step->exp_avg_sq = download(v, bytes);
  step->params = download(params, param_bytes);
}

// One element in double; optimizer.c has the formulas' source.
static void reference_adamw(const ZeroAdamW *s, double *w, double *m, double *v, double g, int decay) {
  double lambda = decay ? s->weight_decay : 0;
  g *= s->grad_scale;
  if (s->l2) g += lambda * *w;
  if (!s->l2) *w *= 1 - s->lr * lambda;
  *m = s->beta1 * *m + (1 - s->beta1) * g;
  *v = s->beta2 * *v + (1 - s->beta2) * g * g;
  double c1 = s->no_bias_correction ? 1 : 1 - pow(s->beta1, (double)s->step);
  double c2 = s->no_bias_correction ? 1 : 1 - pow(s->beta2, (double)s->step);
  *w -= s->lr * (*m / c1) / (sqrt(*v / c2) + s->eps);
}

// Each result is rounded a few times: 2^-24 of the largest value that takes part.
static void assert_near(float got, double want, double scale) {
  if (!(fabs(got - want) <= 8 * 0x1p-24 * scale)) fail_msg("%.9g where %.9g was expected", (double)got, want);
}

static void check_adamw(ZeroAdamW adamw, ZeroType grad_type, ZeroType param_type, int with_params) {
  Step old = new_step(grad_type, param_type), new = new_step(grad_type, param_type);
  run_adamw(&new, &adamw, grad_type, param_type, with_params, pieces, PIECES);
  size_t size = zero_type_size(param_type), at = 0;
  for (int p = 0; p <= PIECES; p++) { // the gap before each piece, and the piece
    size_t end = p < PIECES ? pieces[p].first : ELEMENTS;
    assert_memory_equal(new.master + at, old.master + at, (end - at) * sizeof(float));
    assert_memory_equal(new.exp_avg + at, old.exp_avg + at, (end - at) * sizeof(float));
    assert_memory_equal(new.exp_avg_sq + at, old.exp_avg_sq + at, (end - at) * sizeof(float));
    assert_memory_equal((char *)new.params + at *size, (char *)old.params + at * size, (end - at) * size);
    if (p == PIECES) break;
    for (at = end; at < end + pieces[p].count; at++) {
      double w = old.master[at], m = old.exp_avg[at], v = old.exp_avg_sq[at];
      reference_adamw(&adamw, &w, &m, &v, read_element(old.grad, at, grad_type), pieces[p].decay);
      assert_near(new.master[at], w, 1 + fabs(w));
      assert_near(new.exp_avg[at], m, 1);
      assert_near(new.exp_avg_sq[at], v, 1);
      assert_true(new.master[at] != old.master[at]);
      float param = read_element(new.params, at, param_type);
      float rounded = 0; // room for an element of any type
      write_element(&rounded, 0, new.master[at], param_type);
      assert_true(param ==
                  read_element(with_params ? (char *)&rounded : (char *)old.params + at * size, 0, param_type));
    }
  }
  free_step(old), free_step(new);
}

static const ZeroAdamW usual = {
    .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .grad_scale = 0.37, .step = 3};

static void test_adamw(void **state) {
  (void)state;
  for (int g = 0; g < TYPES; g++) {
    for (int p = 0; p < TYPES; p++) check_adamw(usual, types[g], types[p], 1);
    check_adamw(usual, types[g], ZERO_BF16, 0);
  }
  ZeroAdamW l2 = usual, uncorrected = usual;
  l2.l2 = 1;
  uncorrected.no_bias_correction = 1;
  check_adamw(l2, ZERO_F32, ZERO_F32, 0);
  check_adamw(uncorrected, ZERO_F32, ZERO_F32, 0);
}

// How the elements are cut into pieces, as the number of ranks does it, must not show in their bits.
static void test_adamw_borders(void **state) {
  (void)state;
  static const ZeroPiece whole[] = {{0, 1024, 1}, {1024, 1024, 1}, {2048, 500, 1}};
  static const ZeroPiece cut[] = {{0, 5, 1},       {5, 990, 1},  {995, 29, 1},
                                  {1024, 1023, 1}, {2047, 1, 1}, {2048, 500, 1}};
  Step a = new_step(ZERO_BF16, ZERO_BF16), b = new_step(ZERO_BF16, ZERO_BF16);
  run_adamw(&a, &usual, ZERO_BF16, ZERO_BF16, 1, whole, sizeof whole / sizeof whole[0]);
  run_adamw(&b, &usual, ZERO_BF16, ZERO_BF16, 1, cut, sizeof cut / sizeof cut[0]);
  assert_memory_equal(a.master, b.master, ELEMENTS * sizeof(float));
  assert_memory_equal(a.exp_avg, b.exp_avg, ELEMENTS * sizeof(float));
  assert_memory_equal(a.exp_avg_sq, b.exp_avg_sq, ELEMENTS * sizeof(float));
  assert_memory_equal(a.params, b.params, ELEMENTS * sizeof(uint16_t));
  free_step(a), free_step(b);
}

int main(void) {
#ifdef ZERO_CUDA
  device = zero_device_cuda(NULL);
#else
  device = zero_device_cpu();
#endif
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_memory),   cmocka_unit_test(test_add),   cmocka_unit_test(test_sum_squares),
      cmocka_unit_test(test_overflow), cmocka_unit_test(test_adamw), cmocka_unit_test(test_adamw_borders),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  print_result_hash();
  zero_device_destroy(device);
  return failed;
}
