// Writing llm.c's model .bin: what is written loads again with equal values, rounded to nearest even in bf16.
#include <math.h>

#include "../../llmc/gpt2_bin.h"
#include "check.h"

enum { HEADER_BYTES = 1024 };
static const GPT2Config SMALL = {5, 6, 7, 2, 2, 4}; // maxT, V, Vp, L, NH, C: 544 elements
static char dir[CHECK_PATH], path[CHECK_PATH], problem[CHECK_TEXT];

static int setup(void **state) {
  (void)state;
  check_make_dir(dir);
  check_path(path, dir, "model.bin");
  return 0;
}

static int teardown(void **state) {
  (void)state;
  check_remove_dir(dir);
  return 0;
}

// Multiples of 1/16 up to some thousand of either sign: bf16's 8 bits do not hold them, and ties are among them.
static float value_of(GPT2Tensor tensor, size_t layer, size_t i) {
  const size_t mixed = ((size_t)tensor * 131 + layer * 17 + i) * 2654435761u % 100003;
  return ((float)mixed - 50001.0f) / 16.0f;
}

// Nearest of the two neighbours with 8 significant bits; from the middle the one whose last bit is 0.
static float nearest_bf16(float x) {
  int exponent;
  const double mantissa = frexp(x, &exponent) * 256.0; // 128 <= |mantissa| < 256
  double low = floor(mantissa), rest = mantissa - low;
  const int up = rest > 0.5 || (rest == 0.5 && fmod(low, 2.0) != 0.0);
  return (float)ldexp(up ? low + 1.0 : low, exponent - 8);
}

typedef struct {
  const GPT2Config *config;
  size_t calls, null_calls;
} Source;

static void read_value(void *ctx, GPT2Tensor tensor, size_t layer, float *out) {
  Source *source = ctx;
  size_t rows, cols;
  source->calls++;
  source->null_calls += out == NULL;
  if (out == NULL) return;
  gpt2_tensor_shape(source->config, tensor, &rows, &cols);
  for (size_t i = 0; i < rows * cols; i++) out[i] = value_of(tensor, layer, i);
}

static void check_file(const GPT2Config *expected, ZeroType type) {
  GPT2Config config;
  ZeroErrors errors = {NULL, 0};
  GPT2Bin *bin = gpt2_bin_open(path, &config, &errors);
  check_no_error(&errors);
  assert_memory_equal(&config, expected, sizeof config);
  size_t compared = 0, rounded = 0, ties = 0;
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    size_t rows, cols;
    gpt2_tensor_shape(expected, (GPT2Tensor)t, &rows, &cols);
    float *found = malloc(rows * cols * sizeof *found);
    assert_non_null(found);
    for (size_t layer = 0; layer < (gpt2_tensor_in_block((GPT2Tensor)t) ? expected->num_layers : 1); layer++) {
      gpt2_bin_read(bin, (GPT2Tensor)t, layer, 0, rows * cols, found);
      for (size_t i = 0; i < rows * cols; i++) {
        const float exact = value_of((GPT2Tensor)t, layer, i);
        assert_true(found[i] == (type == ZERO_F32 ? exact : nearest_bf16(exact)));
        rounded += found[i] != exact;
        ties += found[i] != exact && nearest_bf16(2.0f * exact - found[i]) == 2.0f * exact - found[i];
        compared++;
      }
    }
    free(found);
  }
  assert_int_equal(compared, gpt2_num_parameters(expected));
  assert_true(type == ZERO_F32 ? rounded == 0 : rounded > compared / 2 && ties > 0);
  gpt2_bin_close(bin);
}

static void check_write_and_read(const GPT2Config *config, ZeroType type) {
  Source source = {config, 0, 0};
  if (gpt2_bin_write(path, config, type, read_value, &source, problem, sizeof problem) != 0) fail_msg("%s", problem);
  assert_int_equal(source.calls, 4 + 12 * config->num_layers);
  assert_int_equal(source.null_calls, 0);
  check_file(config, type);
}

static void test_round_trip(void **state) {
  (void)state;
  static const GPT2Config large = {3, 99000, 99001, 3, 1, 2}; // wte is written in several pieces
  check_write_and_read(&SMALL, ZERO_F32);
  check_write_and_read(&large, ZERO_F32);
  check_write_and_read(&large, ZERO_BF16);
  check_write_and_read(&SMALL, ZERO_BF16); // shorter than what was there
}

// Where llm.c looks for it: by hand, layer 1 of qkvw begins at element 112 and lnfb at 540 (wte 28, wpe 20, ln1 16,
// then 48 per layer).
static void test_layout(void **state) {
  (void)state;
  Source source = {&SMALL, 0, 0};
  assert_int_equal(gpt2_bin_write(path, &SMALL, ZERO_F32, read_value, &source, problem, sizeof problem), 0);
  char bytes[HEADER_BYTES + 544 * 4 + 1];
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  assert_int_equal(fread(bytes, 1, sizeof bytes, file), sizeof bytes - 1);
  assert_int_equal(fclose(file), 0);
  const int32_t header[] = {20240326, 3, 5, 6, 2, 2, 4, 7, 0, 0};
  assert_memory_equal(bytes, header, sizeof header);
  const float expected[] = {value_of(GPT2_QKVW, 1, 0), value_of(GPT2_QKVW, 1, 1)}, last = value_of(GPT2_LNFB, 0, 3);
  assert_memory_equal(bytes + HEADER_BYTES + 112 * 4, expected, sizeof expected);
  assert_memory_equal(bytes + HEADER_BYTES + 543 * 4, &last, sizeof last);
}

// A rank that does not write makes the same reads.
static void test_only_reads(void **state) {
  (void)state;
  Source source = {&SMALL, 0, 0};
  assert_int_equal(gpt2_bin_write(NULL, &SMALL, ZERO_BF16, read_value, &source, problem, sizeof problem), 0);
  assert_int_equal(source.calls, 28);
  assert_int_equal(source.null_calls, 28);
}

static void expect_unwritable(const char *file, const char *text) {
  Source source = {&SMALL, 0, 0};
  assert_int_equal(gpt2_bin_write(file, &SMALL, ZERO_F32, read_value, &source, problem, sizeof problem), -1);
  check_contains(problem, file);
  check_contains(problem, text);
  assert_int_equal(source.calls, 28); // to the end, as the other ranks do
}

static void test_unwritable(void **state) {
  (void)state;
  char file[CHECK_PATH];
  check_path(file, dir, "no/model.bin");
  expect_unwritable(file, "No such file or directory");
  expect_unwritable(dir, "Is a directory");
  expect_unwritable("/dev/full", "No space left on device");
}

static void write_f16(void *context) {
  gpt2_bin_write(path, &SMALL, ZERO_F16, read_value, context, problem, sizeof problem);
}

static void test_type(void **state) {
  (void)state;
  Source source = {&SMALL, 0, 0};
  check_fatal(write_f16, &source, "fp32 or bf16, not fp16", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
      cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
      cmocka_unit_test_setup_teardown(test_only_reads, setup, teardown),
      cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
      cmocka_unit_test_setup_teardown(test_type, setup, teardown),
  };
  return cmocka_run_group_tests_name("gpt2_write", tests, NULL, NULL);
}
