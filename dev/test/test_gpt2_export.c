// --export: what is written reads again, replaces nothing, and leaves nothing where it fails.
#include "../../llmc/gpt2_export.h"

#include <sys/stat.h>

#include "../../llmc/gpt2_hf.h"
#include "../../llmc/gpt2_weights.h"
#include "hf_folder.h"

enum { L = 2, C = 4, T = 5, V = 6, VP = 128 };
static const GPT2Config SHAPE = {T, V, VP, L, 2, C};
static const GPT2DropoutRates RATES = {0.125, 0.25, 0.375};

typedef struct {
  const GPT2Config *config;
  size_t calls, null_calls;
} Source;

// Whole numbers up to 250, exact in all three types; the padding of the vocabulary is 0.
static float value_of(const GPT2Config *config, GPT2Tensor tensor, size_t layer, size_t i) {
  if (tensor == GPT2_WTE && i >= config->vocab_size * config->channels) return 0.0f;
  return (float)(((size_t)tensor * 74 + layer * 37 + i) % 251);
}

static void read_value(void *ctx, GPT2Tensor tensor, size_t layer, float *out) {
  Source *source = ctx;
  size_t rows, cols;
  source->calls++;
  source->null_calls += out == NULL;
  if (out == NULL) return;
  gpt2_tensor_shape(source->config, tensor, &rows, &cols);
  for (size_t i = 0; i < rows * cols; i++) out[i] = value_of(source->config, tensor, layer, i);
}

// The file or folder has SHAPE and read_value's values.
static void check_model(const char *path) {
  GPT2Config config;
  ZeroErrors errors = {0};
  float found[VP * C];
  char note[GPT2_NOTE_BYTES];
  size_t compared = 0;
  GPT2Weights *weights = gpt2_weights_open(path, &config, &errors);
  check_no_error(&errors);
  assert_memory_equal(&config, &SHAPE, sizeof config);
  assert_string_equal(gpt2_weights_note(weights, &RATES, note), "");
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    size_t rows, cols;
    gpt2_tensor_shape(&SHAPE, (GPT2Tensor)t, &rows, &cols);
    for (size_t l = 0; l < (gpt2_tensor_in_block((GPT2Tensor)t) ? L : 1); l++) {
      gpt2_weights_read(weights, (GPT2Tensor)t, l, 0, rows * cols, found);
      for (size_t i = 0; i < rows * cols; i++) assert_true(found[i] == value_of(&SHAPE, (GPT2Tensor)t, l, i));
      compared += rows * cols;
    }
  }
  assert_int_equal(compared, gpt2_num_parameters(&SHAPE));
  gpt2_weights_close(weights);
}

static void test_folder(void **state) {
  (void)state;
  static const ZeroType types[] = {ZERO_F32, ZERO_BF16, ZERO_F16};
  static const char *const dtypes[] = {"float32", "bfloat16", "float16"};
  for (size_t t = 0; t < COUNT(types); t++) {
    Source source = {&SHAPE, 0, 0};
    ZeroErrors errors = {0};
    char text[CHECK_TEXT], dtype[64];
    gpt2_export_check(dir, &errors);
    check_no_error(&errors);
    if (gpt2_export(dir, 1, &SHAPE, &RATES, types[t], read_value, &source, problem, sizeof problem) != 0)
      fail_msg("%s", problem);
    assert_int_equal(source.calls, 4 + 12 * L);
    assert_int_equal(source.null_calls, 0);
    check_model(dir);
    check_read(config_path, text);
    snprintf(dtype, sizeof dtype, "\"dtype\":\t\"%s\"", dtypes[t]);
    check_contains(text, dtype);
    check_contains(text, "\"eos_token_id\":\tnull");
    check_contains(text, "\"embd_pdrop\":\t0.125");
    check_contains(text, "\"attn_pdrop\":\t0.25");
    check_contains(text, "\"resid_pdrop\":\t0.375");
    // it stays as it is
    gpt2_export_check(dir, &errors);
    check_one_error(&errors, "--export ", config_path, "is there already", NULL);
    assert_int_equal(unlink(config_path), 0);
    gpt2_export_check(dir, &errors);
    check_one_error(&errors, "--export ", model, "is there already", NULL);
    assert_int_equal(unlink(model), 0);
  }
}

static void test_token_ids(void **state) {
  (void)state;
  const GPT2Config config = {1, 50257, 50304, 1, 1, 1};
  Source source = {&config, 0, 0};
  char text[CHECK_TEXT];
  assert_int_equal(gpt2_export(dir, 1, &config, &RATES, ZERO_F32, read_value, &source, problem, sizeof problem), 0);
  check_read(config_path, text);
  check_contains(text, "\"eos_token_id\":\t50256");
  check_contains(text, "\"bos_token_id\":\t50256");
}

static void test_bin(void **state) {
  (void)state;
  char path[CHECK_PATH];
  Source source = {&SHAPE, 0, 0};
  ZeroErrors errors = {0};
  check_path(path, dir, "model.bin");
  assert_int_equal(gpt2_export(path, 1, &SHAPE, &RATES, ZERO_F16, read_value, &source, problem, sizeof problem), 0);
  check_model(path);
  struct stat info; // fp32: the format has no fp16
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_size, 1024 + 4 * gpt2_num_parameters(&SHAPE));
  gpt2_export_check(path, &errors);
  check_one_error(&errors, "--export ", path, "is there already", NULL);
}

// Ranks that do not write make the same calls; a file that cannot be written leaves nothing.
static void test_problems(void **state) {
  (void)state;
  char folder[CHECK_PATH], bin[CHECK_PATH];
  Source source = {&SHAPE, 0, 0};
  check_path(folder, dir, "no");
  check_path(bin, dir, "no/model.bin");
  for (int writes = 0; writes <= 1; writes++) {
    problem[0] = '\0';
    assert_int_equal(
        gpt2_export(folder, writes, &SHAPE, &RATES, ZERO_F32, read_value, &source, problem, sizeof problem), -writes);
    if (writes) check_contains(problem, "no/model.safetensors.tmp: cannot be written");
    assert_int_equal(gpt2_export(bin, writes, &SHAPE, &RATES, ZERO_F32, read_value, &source, problem, sizeof problem),
                     -writes);
    if (writes) check_contains(problem, "no/model.bin.tmp: the model cannot be written");
  }
  assert_int_equal(source.calls, 4 * (4 + 12 * L));
  assert_int_equal(source.null_calls, 2 * (4 + 12 * L));
  // config.json last: its failure takes the model with it
  char command[2 * CHECK_PATH];
  snprintf(command, sizeof command, "mkdir '%s/config.json.tmp'", dir);
  assert_int_equal(system(command), 0);
  assert_int_equal(gpt2_export(dir, 1, &SHAPE, &RATES, ZERO_F32, read_value, &source, problem, sizeof problem), -1);
  check_contains(problem, "config.json.tmp: cannot be written: Is a directory");
  snprintf(command, sizeof command, "test $(find '%s' -type f | wc -l) = 0", dir);
  assert_int_equal(system(command), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_folder, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_token_ids, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bin, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_problems, setup, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("gpt2_export", tests, NULL, NULL);
}
