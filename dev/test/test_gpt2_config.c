// GPT-2 shapes from descriptors and from model files, and reading of model files by range.
#include "../../llmc/gpt2_bin.h"
#include "check.h"

enum { HEADER_BYTES = 1024, MAGIC = 20240326 };

static char dir[CHECK_PATH];

static int setup(void **state) {
  (void)state;
  check_make_dir(dir);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  check_remove_dir(dir);
  return 0;
}

static void expect_config(const char *text, size_t L, size_t NH, size_t C, size_t T, size_t V, size_t Vp) {
  GPT2Config config;
  ZeroErrors errors = {0};
  gpt2_config_parse(text, &config, &errors);
  check_no_error(&errors);
  assert_int_equal(config.num_layers, L);
  assert_int_equal(config.num_heads, NH);
  assert_int_equal(config.channels, C);
  assert_int_equal(config.max_seq_len, T);
  assert_int_equal(config.vocab_size, V);
  assert_int_equal(config.padded_vocab_size, Vp);
}

static void test_depths(void **state) {
  (void)state;
  expect_config("d6", 6, 6, 384, 1024, 50257, 50304);
  expect_config("d12", 12, 12, 768, 1024, 50257, 50304);
  expect_config("gpt2:d24", 24, 16, 1024, 1024, 50257, 50304);
  expect_config("d36", 36, 20, 1280, 1024, 50257, 50304);
  expect_config("d48", 48, 25, 1600, 1024, 50257, 50304);
  expect_config("d60", 60, 30, 1920, 1024, 50257, 50304);
  expect_config("d72", 72, 30, 2880, 1024, 50257, 50304);
  expect_config("d84", 84, 36, 3456, 1024, 50257, 50304);
}

static void test_shapes(void **state) {
  (void)state;
  expect_config("L=4,H=4,C=128,T=64,V=256", 4, 4, 128, 64, 256, 256);
  expect_config("V=65,T=64,C=60,H=3,L=2", 2, 3, 60, 64, 65, 128);
  expect_config("gpt2:L=16,H=6,C=384,T=128,V=2000", 16, 6, 384, 128, 2000, 2048);
  expect_config("L=1,H=1,C=1,T=1", 1, 1, 1, 1, 50257, 50304);
  expect_config("L=1,H=1,C=1,T=1,V=1", 1, 1, 1, 1, 1, 128);
}

static void expect_problem(const char *text, const char *found) {
  GPT2Config config;
  ZeroErrors errors = {0};
  gpt2_config_parse(text, &config, &errors);
  check_one_error(&errors, "-e ", text, found, NULL);
}

static void test_bad_descriptors(void **state) {
  (void)state;
  expect_problem("d13", "not a known model; give d6, d12");
  expect_problem("d", "not a known model");
  expect_problem("d12x", "not a known model");
  expect_problem("gpt3:d12", "not a known model");
  expect_problem("", "L=4,H=4,C=128,T=64,V=256");
  expect_problem("H=4,C=128,T=64", "L= is missing");
  expect_problem("L=4,C=128,T=64", "H= is missing");
  expect_problem("L=4,H=4,T=64", "C= is missing");
  expect_problem("L=4,H=4,C=128", "T= is missing");
  expect_problem("L=4,H=4,C=128,T=64,X=3", "'X=3' is not one of L=, H=, C=, T=, V=");
  expect_problem("L=4,H=4,C=128,T=64,", "'' is not one of");
  expect_problem("L=4,H=4,C=128,T=64,L=5", "L= is there twice");
  expect_problem("L=0,H=4,C=128,T=64", "L= is '0'");
  expect_problem("L=4,H=4,C=-128,T=64", "C= is '-128'");
  expect_problem("L=4,H=4,C=128,T=64x", "T= is '64x'");
  expect_problem("L=4,H=4,C=128,T=", "T= is ''");
  expect_problem("L=4,H=4,C=128,T=99999999999999999999999", "T= is '99999999999999999999999'");
  expect_problem("L=4,H=3,C=128,T=64", "128 channels do not divide into 3 heads");
  expect_problem("L=4,H=4,C=128,T=64,V=18446744073709551615", "V= is '18446744073709551615'");
  expect_problem("L=4,H=4,C=128,T=64,V=1000000000000000000",
                 "vocabulary V is 1000000000000000000; it must be from 1 to");
  expect_problem("L=1000000,H=4,C=128,T=64", "layers L is 1000000");
  // several problems, several lines
  GPT2Config config;
  ZeroErrors errors = {0};
  gpt2_config_parse("L=0,Q=1", &config, &errors);
  assert_int_equal(errors.count, 5);
  check_clear(&errors);
}

// The published count of GPT-2 124M with a padded vocabulary, and a sum by hand.
static void test_number_of_parameters(void **state) {
  (void)state;
  GPT2Config config;
  ZeroErrors errors = {0};
  gpt2_config_parse("d12", &config, &errors);
  assert_int_equal(gpt2_num_parameters(&config), 124475904);
  gpt2_config_parse("L=16,H=6,C=384,T=128,V=2000", &config, &errors);
  assert_int_equal(gpt2_num_parameters(&config), 29227776);
  gpt2_config_parse("L=2,H=1,C=2,T=3,V=5", &config, &errors);
  // (128 + 3) * 2, two layers of 12 C C + 13 C, 2 C
  assert_int_equal(gpt2_num_parameters(&config), 262 + 2 * (48 + 26) + 4);
  check_no_error(&errors);
}

static void test_tensor_shapes(void **state) {
  (void)state;
  enum { VP = 7, T = 5, C = 4 };
  const GPT2Config config = {T, 6, VP, 2, 2, C};
  static const struct {
    const char *name;
    int in_block;
    size_t rows, cols;
  } expected[GPT2_NUM_TENSORS] = {
      {"wte", 0, VP, C},        {"wpe", 0, T, C},      {"ln1w", 1, C, 1},     {"ln1b", 1, C, 1},
      {"qkvw", 1, 3 * C, C},    {"qkvb", 1, 3 * C, 1}, {"attprojw", 1, C, C}, {"attprojb", 1, C, 1},
      {"ln2w", 1, C, 1},        {"ln2b", 1, C, 1},     {"fcw", 1, 4 * C, C},  {"fcb", 1, 4 * C, 1},
      {"fcprojw", 1, C, 4 * C}, {"fcprojb", 1, C, 1},  {"lnfw", 0, C, 1},     {"lnfb", 0, C, 1},
  };
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    size_t rows = 0, cols = 0;
    gpt2_tensor_shape(&config, (GPT2Tensor)t, &rows, &cols);
    assert_string_equal(gpt2_tensor_name((GPT2Tensor)t), expected[t].name);
    assert_int_equal(gpt2_tensor_in_block((GPT2Tensor)t), expected[t].in_block);
    assert_int_equal(rows, expected[t].rows);
    assert_int_equal(cols, expected[t].cols);
  }
}

// ---------------------------------------------------------------------------------------------------
// Model files. Element i of a file is i in fp32, or i % 256 in bf16, which holds it exactly.

// T 5, V 6, L 2, NH 2, C 4, Vp 7: 28 + 20 + 2 (12 * 16 + 13 * 4) + 8 elements
enum { ELEMENTS = 28 + 20 + 2 * (192 + 52) + 8 };
static const int32_t SMALL[8] = {MAGIC, 3, 5, 6, 2, 2, 4, 7};

static void write_model(const char *path, const int32_t header[8], size_t elements, size_t extra_bytes) {
  const size_t element = header[1] == 5 ? 2 : 4;
  const size_t bytes = HEADER_BYTES + elements * element + extra_bytes;
  unsigned char *data = calloc(1, bytes);
  assert_non_null(data);
  memcpy(data, header, 8 * sizeof header[0]);
  for (size_t i = 0; i < elements; i++) {
    const float value = element == 4 ? (float)i : (float)(i % 256);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t half = (uint16_t)(bits >> 16);
    memcpy(data + HEADER_BYTES + i * element, element == 4 ? (const void *)&bits : (const void *)&half, element);
  }
  check_write(path, data, bytes);
  free(data);
}

static void check_elements(const GPT2Bin *bin, GPT2Tensor tensor, size_t layer, size_t first, size_t count,
                           size_t in_file, size_t modulus) {
  float *out = malloc((count + 1) * sizeof *out);
  assert_non_null(out);
  out[count] = -1;
  gpt2_bin_read(bin, tensor, layer, first, count, out);
  for (size_t i = 0; i < count; i++) assert_true(out[i] == (float)((in_file + i) % modulus));
  assert_true(out[count] == -1);
  free(out);
}

// Where tensors of C 4, Vp 7, T 5, L 2 begin, by hand: wte 0, wpe 28, ln1w 48, ln1b 56, qkvw 64 (48 each), qkvb
// 160 (12), attprojw 184 (16), attprojb 216, ln2w 224, ln2b 232, fcw 240 (64), fcb 368 (16), fcprojw 400 (64),
// fcprojb 528, lnfw 536, lnfb 540.
static void check_small_model(const GPT2Bin *bin, size_t modulus) {
  check_elements(bin, GPT2_WTE, 0, 0, 28, 0, modulus);
  check_elements(bin, GPT2_WPE, 0, 3, 10, 31, modulus);
  check_elements(bin, GPT2_LN1B, 1, 0, 4, 60, modulus);
  check_elements(bin, GPT2_QKVW, 0, 0, 48, 64, modulus);
  check_elements(bin, GPT2_QKVW, 1, 47, 1, 159, modulus);
  check_elements(bin, GPT2_FCB, 1, 2, 14, 386, modulus);
  check_elements(bin, GPT2_FCPROJW, 1, 5, 3, 469, modulus);
  check_elements(bin, GPT2_FCPROJB, 1, 0, 4, 532, modulus);
  check_elements(bin, GPT2_LNFB, 0, 0, 4, 540, modulus);
  check_elements(bin, GPT2_LNFB, 0, 4, 0, 544, modulus);
}

static void test_model_files(void **state) {
  (void)state;
  assert_int_equal(ELEMENTS, 544);
  char path[CHECK_PATH];
  check_path(path, dir, "small.bin");
  for (int version = 3; version <= 5; version += 2) {
    int32_t header[8];
    memcpy(header, SMALL, sizeof header);
    header[1] = version;
    write_model(path, header, ELEMENTS, 0);
    GPT2Config config;
    ZeroErrors errors = {0};
    const GPT2Config expected = {5, 6, 7, 2, 2, 4};
    GPT2Bin *bin = gpt2_bin_open(path, &config, &errors);
    check_no_error(&errors);
    assert_memory_equal(&config, &expected, sizeof config);
    check_small_model(bin, version == 3 ? (size_t)-1 : 256);
    gpt2_bin_close(bin);
  }
}

// A bf16 tensor that is read in several pieces.
static void test_large_bf16_tensor(void **state) {
  (void)state;
  const int32_t header[8] = {MAGIC, 5, 1, 99000, 1, 1, 2, 99001};
  char path[CHECK_PATH];
  check_path(path, dir, "large.bin");
  const size_t elements = 99001 * 2 + 2 + 48 + 26 + 4;
  write_model(path, header, elements, 0);
  GPT2Config config;
  ZeroErrors errors = {0};
  GPT2Bin *bin = gpt2_bin_open(path, &config, &errors);
  check_no_error(&errors);
  check_elements(bin, GPT2_WTE, 0, 1, 198000, 1, 256);
  check_elements(bin, GPT2_LNFB, 0, 0, 2, elements - 2, 256);
  gpt2_bin_close(bin);
}

static void expect_bad_model(int field, int32_t value, const char *text) {
  char path[CHECK_PATH];
  check_path(path, dir, "bad.bin");
  int32_t header[8];
  memcpy(header, SMALL, sizeof header);
  header[field] = value;
  write_model(path, header, ELEMENTS, 0);
  GPT2Config config;
  ZeroErrors errors = {0};
  assert_null(gpt2_bin_open(path, &config, &errors));
  check_one_error(&errors, "-e ", path, text, NULL);
}

static void test_bad_model_files(void **state) {
  (void)state;
  expect_bad_model(0, 20240520, "begins with 20240520 where a model file begins with 20240326");
  expect_bad_model(1, 1, "version 1, expected 3 (fp32) or 5 (bf16)");
  expect_bad_model(2, 0, "positions T is 0");
  expect_bad_model(2, INT32_MAX, "positions T is 2147483647");
  expect_bad_model(3, -1, "vocabulary V is 0");
  expect_bad_model(3, 8, "padded vocabulary Vp is 7; it must be from V, 8, to");
  expect_bad_model(4, INT32_MAX, "layers L is 2147483647");
  expect_bad_model(4, 3, "its header's shape needs 4176");
  expect_bad_model(5, 3, "4 channels do not divide into 3 heads");
  expect_bad_model(5, 0, "heads H is 0");
  expect_bad_model(6, INT32_MAX, "channels C is 2147483647");
  expect_bad_model(7, INT32_MIN, "padded vocabulary Vp is 0; it must be from V, 6, to");
  expect_bad_model(7, INT32_MAX, "padded vocabulary Vp is 2147483647");

  // the largest header that is in range must not wrap round to a small size
  char path[CHECK_PATH];
  check_path(path, dir, "huge.bin");
  const int32_t huge[8] = {MAGIC, 3, 1 << 24, 1 << 24, 1 << 14, 1 << 10, 1 << 20, 1 << 24};
  write_model(path, huge, 10, 0);
  GPT2Config config;
  ZeroErrors errors = {0};
  assert_null(gpt2_bin_open(path, &config, &errors));
  check_one_error(&errors, "file has 1064 bytes, its header's shape needs 864832759305077760", NULL);

  write_model(path, SMALL, ELEMENTS, 1);
  assert_null(gpt2_bin_open(path, &config, &errors));
  check_one_error(&errors, "file has 3201 bytes, its header's shape needs 3200", NULL);
  write_model(path, SMALL, ELEMENTS - 1, 0);
  assert_null(gpt2_bin_open(path, &config, &errors));
  check_one_error(&errors, "file has 3196 bytes, its header's shape needs 3200", NULL);
  // fp32 elements under a header that says bf16
  FILE *file = fopen(path, "r+b");
  assert_non_null(file);
  const int32_t bf16_header[2] = {MAGIC, 5};
  assert_int_equal(fwrite(bf16_header, sizeof bf16_header, 1, file), 1);
  assert_int_equal(fclose(file), 0);
  assert_null(gpt2_bin_open(path, &config, &errors));
  check_one_error(&errors, "file has 3196 bytes, its header's shape needs 2112", NULL);
  check_write(path, "", 0);
  assert_null(gpt2_bin_open(path, &config, &errors));
  check_one_error(&errors, "has 0 bytes, fewer than the header of a model file (1024 bytes)", NULL);
  check_path(path, dir, "none.bin");
  assert_null(gpt2_bin_open(path, &config, &errors));
  check_one_error(&errors, "-e ", path, "cannot be opened: No such file", "descriptor such as d12", NULL);
  gpt2_bin_close(NULL);
}

static void read_wrong_layer(void *bin) {
  float out[4];
  gpt2_bin_read(bin, GPT2_LN1W, 2, 0, 4, out);
}

static void read_past_tensor(void *bin) {
  float out[4];
  gpt2_bin_read(bin, GPT2_LN1W, 0, 2, 3, out);
}

static void read_last_tensor(void *bin) {
  float out[4];
  gpt2_bin_read(bin, GPT2_LNFB, 0, 0, 4, out);
}

static void test_failures_while_running(void **state) {
  (void)state;
  char path[CHECK_PATH];
  check_path(path, dir, "small.bin");
  write_model(path, SMALL, ELEMENTS, 0);
  GPT2Config config;
  ZeroErrors errors = {0};
  GPT2Bin *bin = gpt2_bin_open(path, &config, &errors);
  check_no_error(&errors);
  check_fatal(read_wrong_layer, bin, path, "ln1w, layer 2", "outside", NULL);
  check_fatal(read_past_tensor, bin, path, "2 + 3 of ln1w", "outside the tensor of 4", NULL);
  assert_int_equal(truncate(path, HEADER_BYTES + 2), 0);
  check_fatal(read_last_tensor, bin, path, "16 bytes of lnfb at byte 3184", "the file ends there", NULL);
  gpt2_bin_close(bin);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_depths),
      cmocka_unit_test(test_shapes),
      cmocka_unit_test(test_bad_descriptors),
      cmocka_unit_test(test_number_of_parameters),
      cmocka_unit_test(test_tensor_shapes),
      cmocka_unit_test_setup_teardown(test_model_files, setup, teardown),
      cmocka_unit_test_setup_teardown(test_large_bf16_tensor, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bad_model_files, setup, teardown),
      cmocka_unit_test_setup_teardown(test_failures_while_running, setup, teardown),
  };
  return cmocka_run_group_tests_name("gpt2_config", tests, NULL, NULL);
}
