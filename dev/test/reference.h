// Every operation of ops.h once more, in double precision and written to be read: what the tests compare
// the backends with. Inputs are fp32 (values that the half type under test can hold), results double. Plus random
// data, tensors in every type and the comparison itself.
#ifndef TEST_REFERENCE_H
#define TEST_REFERENCE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../llmc/ops.h"
#include "../../zero/device.h"
#include "../../zero/half.h"
#include "result_hash.h"

// ---------------------------------------------------------------- where the operations run
static inline int is_set(const char *variable) {
  const char *value = getenv(variable);
  return value != NULL && strcmp(value, "1") == 0;
}
// The operations under test are CUDA's, not the CPU's; on a card, where libraries may round once more than we ask
// for; and there with attention through cuDNN.
static inline int on_cuda(void) {
  return is_set("ZERO_TEST_CUDA");
}
static inline int on_gpu(void) {
  return is_set("ZERO_TEST_GPU");
}
static inline int with_cudnn(void) {
  return is_set("ZERO_TEST_CUDNN");
}

// The CPU, or CUDA's device in a program that is built for it.
static inline ZeroDevice *test_device(void) {
  static ZeroDevice *device;
  if (device != NULL) return device;
#ifdef ZERO_CUDA
  device = zero_device_cuda(NULL);
#else
  device = zero_device_cpu();
#endif
  return device;
}

// Set by the argument `tiny`: a few small shapes, each with what a kernel has to do twice, for builds that are slow.
static int tiny;

// What main does around the tests. Arguments: `tiny`, and a pattern (with *) of the tests to run.
static inline void read_arguments(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "tiny") == 0) {
      tiny = 1;
    } else {
      cmocka_set_test_filter(argv[i]);
    }
  }
}

// Where the operations are queued. Whoever looks at a result or frees what they use calls synchronize before.
static inline ZeroStream stream(void) {
  return test_device()->stream;
}

static inline void synchronize(void) {
  test_device()->synchronize(test_device());
}

static inline void free_scratch(void *scratch) {
  synchronize();
  free(scratch);
}

// ---------------------------------------------------------------- random data
// Uniform in [-scale, scale], the same on every run (splitmix64).
static inline void random_fill(float *x, size_t count, float scale, uint64_t seed) {
  uint64_t state = seed * 0x9e3779b97f4a7c15ull;
  for (size_t i = 0; i < count; i++) {
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    x[i] = scale * (2.0f * (float)(z >> 40) / 16777216.0f - 1.0f);
  }
}

static inline void *new_bytes(size_t bytes) {
  size_t size = (bytes + 64) / 64 * 64;
  void *p = aligned_alloc(64, size);
  assert_non_null(p);
  memset(p, 0xff, size); // NaN as a float: whatever is read before it is written shows
  return p;
}

static inline float *new_floats(size_t count) {
  return (float *)new_bytes(count * sizeof(float));
}

static inline float *new_random(size_t count, float scale, uint64_t seed) {
  float *x = new_floats(count);
  random_fill(x, count, scale, seed);
  return x;
}

// Not the caller's stack, which a GPU does not reach.
static inline float *new_values(const float *values, size_t count) {
  return (float *)memcpy(new_floats(count), values, count * sizeof(float));
}

static inline double *new_doubles(size_t count) {
  double *x = (double *)calloc(count + 1, sizeof(double));
  assert_non_null(x);
  return x;
}

static inline int *new_random_ints(size_t count, int below, uint64_t seed) {
  float *x = new_random(count, 1, seed);
  int *out = (int *)new_bytes(count * sizeof(int));
  for (size_t i = 0; i < count; i++) out[i] = (int)(0.4999f * (x[i] + 1) * (float)below);
  free(x);
  return out;
}

// ---------------------------------------------------------------- comparison
// ||got - want|| / ||want|| in the 2-norm.
static inline double relative_error(const float *got, const double *want, size_t count) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < count; i++) {
    double d = (double)got[i] - want[i];
    difference += d * d;
    norm += want[i] * want[i];
  }
  return sqrt(difference) / (norm > 0 ? sqrt(norm) : 1);
}

// What is compared just now, for the message of a failure.
static char comparing[160];
__attribute__((format(printf, 1, 2))) static inline void now_comparing(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(comparing, sizeof comparing, format, arguments);
  va_end(arguments);
}

// Two results of the same bits.
#define assert_same_bits(a, b, bytes) (synchronize(), hash_result(a, bytes), assert_memory_equal(a, b, bytes))

#define assert_close(got, want, count, tolerance) \
  assert_close_at(#got, got, want, count, tolerance, __FILE__, __LINE__)

// The reference must hold something: an all-zero one would accept an operation that writes nothing.
static inline void assert_close_at(const char *name, const float *got, const double *want, size_t count,
                                   double tolerance, const char *file, int line) {
  synchronize();
  hash_result(got, count * sizeof *got);
  double norm = 0;
  for (size_t i = 0; i < count; i++) norm += want[i] * want[i];
  double error = relative_error(got, want, count);
  if (!(norm > 0) || !(error <= tolerance)) {
    print_error("%s: relative L2 error %.3g of %zu elements (norm %.3g), allowed %.3g; %s\n", name, error, count,
                sqrt(norm), tolerance, comparing);
    _fail(file, line);
  }
}

static inline void assert_zeros(const float *x, size_t count) {
  synchronize();
  for (size_t i = 0; i < count; i++) assert_true(x[i] == 0);
}

// ---------------------------------------------------------------- tensors in every type
static const ZeroType every_type[] = {ZERO_F32, ZERO_BF16, ZERO_F16};
enum { TYPES = sizeof every_type / sizeof every_type[0] };

// The relative error that rounding once to the type may add to `count` elements, in the 2-norm; 0 for fp32, whose
// tolerances hold it already. One element errs by half a unit in the last place at most. Over many the error is
// uniform within that and the mantissa somewhere between 1 and 2, which gives 0.4 of it, and rounding twice 0.55: a
// tolerance of one half tells the two apart.
enum { MANY = 500 };

static inline double rounding(ZeroType type, size_t count) {
  const double largest = type == ZERO_BF16 ? 0x1p-8 : type == ZERO_F16 ? 0x1p-11 : 0;
  return count < MANY ? largest : largest / 2;
}

static inline float element(const void *data, size_t i, ZeroType type) {
  return type == ZERO_F32    ? ((const float *)data)[i]
         : type == ZERO_BF16 ? zero_bf16_to_f32(((const uint16_t *)data)[i])
                             : zero_f16_to_f32(((const uint16_t *)data)[i]);
}

static inline void set_element(void *data, size_t i, float x, ZeroType type) {
  if (type == ZERO_F32) ((float *)data)[i] = x;
  if (type == ZERO_BF16) ((uint16_t *)data)[i] = zero_f32_to_bf16(x);
  if (type == ZERO_F16) ((uint16_t *)data)[i] = zero_f32_to_f16(x);
}

// What an operation reads or writes, and the same values in fp32 for the reference.
typedef struct {
  void *data;
  float *f32;
  size_t count;
  ZeroType type;
} Tensor;

static inline Tensor new_tensor(size_t count, ZeroType type) {
  Tensor tensor = {new_bytes(count * zero_type_size(type)), new_floats(count), count, type};
  return tensor;
}

// data = x, f32 = data: rounded to the type.
static inline void set_tensor(Tensor tensor, const float *x) {
  for (size_t i = 0; i < tensor.count; i++) {
    set_element(tensor.data, i, x[i], tensor.type);
    tensor.f32[i] = element(tensor.data, i, tensor.type);
  }
}

static inline Tensor new_random_tensor(size_t count, float scale, uint64_t seed, ZeroType type) {
  Tensor tensor = new_tensor(count, type);
  float *x = new_random(count, scale, seed);
  set_tensor(tensor, x);
  free(x);
  return tensor;
}

static inline void free_tensor(Tensor tensor) {
  synchronize();
  free(tensor.data), free(tensor.f32);
}

// f32 = what the operation has written; nothing may stand behind it (new_bytes left all bits set there).
static inline void read_tensor(Tensor tensor) {
  synchronize();
  hash_result(tensor.data, tensor.count * zero_type_size(tensor.type));
  for (size_t i = 0; i < tensor.count; i++) tensor.f32[i] = element(tensor.data, i, tensor.type);
  size_t used = tensor.count * zero_type_size(tensor.type), end = (used + 64) / 64 * 64;
  for (size_t i = used; i < end; i++) assert_int_equal(((const unsigned char *)tensor.data)[i], 0xff);
}

// tolerance: of the fp32 arithmetic; `times` roundings to the type come on top.
#define assert_tensor(got, want, tolerance, times) \
  assert_tensor_at(#got, got, want, tolerance, times, __FILE__, __LINE__)

static inline void assert_tensor_at(const char *name, Tensor got, const double *want, double tolerance, double times,
                                    const char *file, int line) {
  read_tensor(got);
  assert_close_at(name, got.f32, want, got.count, tolerance + times * rounding(got.type, got.count), file, line);
}

// ---------------------------------------------------------------- gradients
// A gradient as the operation sees it: old content where it accumulates, rubbish where it overwrites.
static inline Tensor new_gradient(size_t count, ZeroType type, uint64_t seed) {
  return new_random_tensor(count, 1, seed, type);
}

static inline OpsGrad ops_grad(Tensor tensor, int accumulate) {
  OpsGrad grad = {tensor.data, tensor.type, accumulate};
  return grad;
}

// Its reference: the same old content, or zeros. To be called before the operation.
static inline double *gradient_reference(Tensor grad, int accumulate) {
  double *want = new_doubles(grad.count);
  for (size_t i = 0; accumulate && i < grad.count; i++) want[i] = grad.f32[i];
  return want;
}

// ---------------------------------------------------------------- the operations
static inline void reference_encoder(double *out, const int *tokens, const float *wte, const float *wpe, size_t B,
                                     size_t T, size_t C) {
  for (size_t row = 0; row < B * T; row++) {
    for (size_t c = 0; c < C; c++) {
      out[row * C + c] = (double)wte[(size_t)tokens[row] * C + c] + wpe[row % T * C + c];
    }
  }
}

// Adds to dwte (Vp, C) and dwpe (maxT, C).
static inline void reference_encoder_backward(double *dwte, double *dwpe, const float *dout, const int *tokens,
                                              size_t B, size_t T, size_t C) {
  for (size_t row = 0; row < B * T; row++) {
    for (size_t c = 0; c < C; c++) {
      dwte[(size_t)tokens[row] * C + c] += dout[row * C + c];
      dwpe[row % T * C + c] += dout[row * C + c];
    }
  }
}

static inline void reference_layernorm(double *out, double *mean, double *rstd, const float *inp, const float *weight,
                                       const float *bias, double eps, size_t N, size_t C) {
  for (size_t n = 0; n < N; n++) {
    const float *x = inp + n * C;
    double m = 0, v = 0;
    for (size_t c = 0; c < C; c++) m += x[c] / (double)C;
    for (size_t c = 0; c < C; c++) v += (x[c] - m) * (x[c] - m) / (double)C;
    mean[n] = m;
    rstd[n] = 1 / sqrt(v + eps);
    for (size_t c = 0; c < C; c++) out[n * C + c] = (x[c] - m) * rstd[n] * weight[c] + bias[c];
  }
}

// Adds to dweight and dbias (C); dinp (N, C) is set; add may be NULL.
static inline void reference_layernorm_backward(double *dinp, double *dweight, double *dbias, const float *dout,
                                                const float *add, const float *inp, const double *mean,
                                                const double *rstd, const float *weight, size_t N, size_t C) {
  for (size_t n = 0; n < N; n++) {
    const float *x = inp + n * C, *dy = dout + n * C;
    double mean_g = 0, mean_gh = 0;
    for (size_t c = 0; c < C; c++) {
      double h = (x[c] - mean[n]) * rstd[n], g = (double)dy[c] * weight[c];
      dweight[c] += dy[c] * h;
      dbias[c] += dy[c];
      mean_g += g / (double)C;
      mean_gh += g * h / (double)C;
    }
    for (size_t c = 0; c < C; c++) {
      double h = (x[c] - mean[n]) * rstd[n], g = (double)dy[c] * weight[c];
      dinp[n * C + c] = (g - mean_g - h * mean_gh) * rstd[n] + (add != NULL ? add[n * C + c] : 0);
    }
  }
}

static inline double reference_gelu(double x) {
  return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

static inline double reference_gelu_derivative(double x) {
  double s = sqrt(2 / 3.14159265358979323846), t = tanh(s * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * s * (1 + 3 * 0.044715 * x * x);
}

static inline double reference_gelu_erf(double x) {
  return 0.5 * x * erfc(-x / sqrt(2));
}

static inline double reference_gelu_erf_derivative(double x) {
  return 0.5 * erfc(-x / sqrt(2)) + x * exp(-x * x / 2) / sqrt(2 * 3.14159265358979323846);
}

// bias may be NULL.
static inline void reference_matmul(double *out, const float *inp, const float *weight, const float *bias, size_t N,
                                    size_t C, size_t OC) {
  for (size_t n = 0; n < N; n++) {
    for (size_t o = 0; o < OC; o++) {
      double sum = bias != NULL ? bias[o] : 0;
      for (size_t c = 0; c < C; c++) sum += (double)inp[n * C + c] * weight[o * C + c];
      out[n * OC + o] = sum;
    }
  }
}

// Adds to dinp (N, C), dweight (OC, C), dbias (OC).
static inline void reference_matmul_backward(double *dinp, double *dweight, double *dbias, const float *dout,
                                             const float *inp, const float *weight, size_t N, size_t C, size_t OC) {
  for (size_t n = 0; n < N; n++) {
    for (size_t o = 0; o < OC; o++) {
      double d = dout[n * OC + o];
      dbias[o] += d;
      for (size_t c = 0; c < C; c++) {
        dinp[n * C + c] += d * weight[o * C + c];
        dweight[o * C + c] += d * inp[n * C + c];
      }
    }
  }
}

// loss (N), logits (N, V) and dhidden (N, C) are set; adds to dwte (Vp, C) and dbias (Vp). bias and dbias may be
// NULL.
static inline void reference_lm_head(double *loss, double *logits, double *dhidden, double *dwte, double *dbias,
                                     const float *hidden, const float *wte, const float *bias, const int *targets,
                                     double grad_scale, size_t N, size_t C, size_t V) {
  reference_matmul(logits, hidden, wte, bias, N, C, V);
  memset(dhidden, 0, N * C * sizeof(double));
  for (size_t n = 0; n < N; n++) {
    double sum = 0;
    for (size_t v = 0; v < V; v++) sum += exp(logits[n * V + v]);
    loss[n] = 0;
    if (targets[n] == OPS_IGNORE) continue;
    loss[n] = log(sum) - logits[n * V + (size_t)targets[n]];
    for (size_t v = 0; v < V; v++) {
      double d = grad_scale * (exp(logits[n * V + v]) / sum - ((size_t)targets[n] == v ? 1 : 0));
      if (dbias != NULL) dbias[v] += d;
      for (size_t c = 0; c < C; c++) {
        dhidden[n * C + c] += d * wte[v * C + c];
        dwte[v * C + c] += d * hidden[n * C + c];
      }
    }
  }
}

#endif
