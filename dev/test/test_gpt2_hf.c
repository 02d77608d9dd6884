// Hugging Face's folders of a GPT-2: tensors read where they belong, in all types and under both names; whatever does
// not fit is refused by file and tensor; what is written reads again.
#include "../../llmc/gpt2_hf.h"

#include "../../llmc/gpt2_export.h"
#include "../../llmc/gpt2_weights.h"
#include "hf_folder.h"

// ---------------------------------------------------------------- the folder

enum { L = 2, C = 4, T = 5, V = 6, VP = 128 };
static const GPT2Config SHAPE = {T, V, VP, L, 2, C};
static const GPT2DropoutRates NO_DROPOUT = {0.0, 0.0, 0.0};

#define CONFIG                                                                                                       \
  "{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 2,"              \
  " \"n_embd\": 4, \"n_positions\": 5, \"vocab_size\": 6, \"n_inner\": null, \"activation_function\": \"gelu_new\"," \
  " \"layer_norm_epsilon\": 1e-05, \"tie_word_embeddings\": true, \"scale_attn_weights\": true,"                     \
  " \"scale_attn_by_inverse_layer_idx\": false, \"reorder_and_upcast_attn\": false, \"resid_pdrop\": 0.0,"           \
  " \"embd_pdrop\": 0.0, \"attn_pdrop\": 0.0}"

// The tensors as transformers names and shapes them, in the order of GPT2Tensor.
static const struct {
  const char *name; // behind h.N. for those of a block
  int ndim;
  size_t shape[2];
} TENSORS[GPT2_NUM_TENSORS] = {
    {"wte.weight", 2, {V, C}},
    {"wpe.weight", 2, {T, C}},
    {"ln_1.weight", 1, {C, 0}},
    {"ln_1.bias", 1, {C, 0}},
    {"attn.c_attn.weight", 2, {C, 3 * C}},
    {"attn.c_attn.bias", 1, {3 * C, 0}},
    {"attn.c_proj.weight", 2, {C, C}},
    {"attn.c_proj.bias", 1, {C, 0}},
    {"ln_2.weight", 1, {C, 0}},
    {"ln_2.bias", 1, {C, 0}},
    {"mlp.c_fc.weight", 2, {C, 4 * C}},
    {"mlp.c_fc.bias", 1, {4 * C, 0}},
    {"mlp.c_proj.weight", 2, {4 * C, C}},
    {"mlp.c_proj.bias", 1, {C, 0}},
    {"ln_f.weight", 1, {C, 0}},
    {"ln_f.bias", 1, {C, 0}},
};

static int salt_of(int tensor, int layer) {
  return tensor * 2 + layer;
}

// prefix: "transformer." or "".
static void make_folder(Folder *folder, const char *prefix) {
  folder->count = 0;
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    const int in_block = gpt2_tensor_in_block((GPT2Tensor)t);
    for (int l = 0; l < (in_block ? L : 1); l++) {
      char name[HF_NAME], block[16] = "";
      if (in_block) snprintf(block, sizeof block, "h.%d.", l);
      snprintf(name, sizeof name, "%s%s%s", prefix, block, TENSORS[t].name);
      add(folder, name, TENSORS[t].ndim, TENSORS[t].shape[0], TENSORS[t].shape[1], salt_of(t, l));
    }
  }
}

// ---------------------------------------------------------------- reading

// Our element i of a tensor, by where transformers has it: linear weights are (in, out) there.
static float expected_value(int tensor, int layer, size_t i) {
  const size_t in = TENSORS[tensor].shape[0], out = TENSORS[tensor].shape[1];
  const int linear = tensor == GPT2_QKVW || tensor == GPT2_ATTPROJW || tensor == GPT2_FCW || tensor == GPT2_FCPROJW;
  if (tensor == GPT2_WTE && i >= V * C) return 0.0f; // the padding
  return stored_value(salt_of(tensor, layer), linear ? i % in * out + i / in : i);
}

static size_t check_all(GPT2HF *hf, size_t piece) {
  float found[VP * C];
  size_t compared = 0;
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    size_t rows, cols;
    gpt2_tensor_shape(&SHAPE, (GPT2Tensor)t, &rows, &cols);
    for (int l = 0; l < (gpt2_tensor_in_block((GPT2Tensor)t) ? L : 1); l++) {
      for (size_t first = 0; first < rows * cols; first += piece) {
        const size_t count = rows * cols - first < piece ? rows * cols - first : piece;
        memset(found, 0xff, sizeof found);
        gpt2_hf_read(hf, (GPT2Tensor)t, (size_t)l, first, count, found);
        for (size_t i = 0; i < count; i++) assert_true(found[i] == expected_value(t, l, first + i));
        compared += count;
      }
    }
  }
  return compared;
}

static void test_reading(void **state) {
  (void)state;
  static const ZeroType types[] = {ZERO_F32, ZERO_BF16, ZERO_F16};
  static const char *const prefixes[] = {"transformer.", ""};
  for (size_t p = 0; p < COUNT(prefixes); p++) {
    for (size_t t = 0; t < COUNT(types); t++) {
      Folder folder;
      GPT2Config config;
      ZeroErrors errors = {0};
      make_folder(&folder, prefixes[p]);
      write_folder(&folder, types[t], CONFIG);
      GPT2HF *hf = gpt2_hf_open(dir, &config, &errors);
      check_no_error(&errors);
      assert_memory_equal(&config, &SHAPE, sizeof config);
      assert_int_equal(check_all(hf, VP * C), gpt2_num_parameters(&SHAPE));
      assert_int_equal(check_all(hf, 7), gpt2_num_parameters(&SHAPE));
      assert_int_equal(check_all(hf, 1), gpt2_num_parameters(&SHAPE));
      gpt2_hf_close(hf);
    }
  }
}

// ---------------------------------------------------------------- in several blocks of rows

enum { WIDE = 200 }; // 800 columns of fc: blocks of 81 rows
static const GPT2Config LARGE = {1, 1, 128, 1, 1, WIDE};

// Element i of every stored tensor is i. Ours is where that comes from.
static void read_large(void *ctx, GPT2Tensor tensor, size_t layer, float *out) {
  (void)ctx, (void)layer;
  size_t rows, cols;
  gpt2_tensor_shape(&LARGE, tensor, &rows, &cols);
  for (size_t i = 0; i < rows * cols; i++) {
    out[i] = (float)(gpt2_hf_transposed(tensor) ? i % cols * rows + i / cols : i);
  }
}

static void check_large(void) {
  GPT2Config found;
  ZeroErrors errors = {0};
  float *values = malloc(4 * WIDE * WIDE * sizeof *values), *expected = malloc(4 * WIDE * WIDE * sizeof *expected);
  assert_true(values != NULL && expected != NULL);
  GPT2HF *hf = gpt2_hf_open(dir, &found, &errors);
  check_no_error(&errors);
  for (int t = GPT2_QKVW; t <= GPT2_FCPROJW; t++) {
    size_t rows, cols;
    gpt2_tensor_shape(&LARGE, (GPT2Tensor)t, &rows, &cols);
    gpt2_hf_read(hf, (GPT2Tensor)t, 0, 0, rows * cols, values);
    read_large(NULL, (GPT2Tensor)t, 0, expected);
    assert_memory_equal(values, expected, rows * cols * sizeof *values);
  }
  gpt2_hf_close(hf);
  free(values);
  free(expected);
}

static void test_large_tensors(void **state) {
  (void)state;
  float *values = malloc(4 * WIDE * WIDE * sizeof *values);
  assert_non_null(values);
  for (size_t i = 0; i < 4 * WIDE * WIDE; i++) values[i] = (float)i;
  SafeTensorPlan plans[GPT2_NUM_TENSORS];
  char names[GPT2_NUM_TENSORS][HF_NAME];
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    gpt2_hf_name((GPT2Tensor)t, 0, names[t]);
    plans[t].name = names[t];
    plans[t].ndim = gpt2_hf_shape(&LARGE, (GPT2Tensor)t, plans[t].shape);
  }
  SafeTensorsWriter *writer = safetensors_create(model, ZERO_F32, plans, GPT2_NUM_TENSORS);
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    safetensors_append(writer, values, plans[t].shape[0] * (plans[t].ndim == 2 ? plans[t].shape[1] : 1));
  }
  if (safetensors_finish(writer, problem, sizeof problem) != 0) fail_msg("%s", problem);
  free(values);
  static const char text[] =
      "{\"model_type\": \"gpt2\", \"n_layer\": 1, \"n_head\": 1, \"n_embd\": 200, \"n_positions\": 1,"
      " \"vocab_size\": 1}";
  check_write(config_path, text, strlen(text));
  check_large();
  // and as we write it
  if (gpt2_export(dir, 1, &LARGE, &NO_DROPOUT, ZERO_F32, read_large, NULL, problem, sizeof problem) != 0)
    fail_msg("%s", problem);
  check_large();
}

static void read_wrong_layer(void *hf) {
  float out[C];
  gpt2_hf_read(hf, GPT2_LN1W, L, 0, C, out);
}

static void read_behind(void *hf) {
  float out[C];
  gpt2_hf_read(hf, GPT2_QKVW, 0, 3 * C * C - 1, 2, out);
}

static void test_outside(void **state) {
  (void)state;
  Folder folder;
  GPT2Config config;
  ZeroErrors errors = {0};
  make_folder(&folder, "");
  write_folder(&folder, ZERO_F32, CONFIG);
  GPT2HF *hf = gpt2_hf_open(dir, &config, &errors);
  check_no_error(&errors);
  check_fatal(read_wrong_layer, hf, model, "ln1w, layer 2, are outside", NULL);
  check_fatal(read_behind, hf, model, "elements 47 + 2 of qkvw, layer 0, are outside the tensor of 48", NULL);
  gpt2_hf_close(hf);
  gpt2_hf_close(NULL);
}

// ---------------------------------------------------------------- what does not fit

// Opening the folder gives exactly this line; @ stands for the folder. NULL: no error.
static void expect(const char *expected) {
  GPT2Config config;
  ZeroErrors errors = {0};
  GPT2HF *hf = gpt2_hf_open(dir, &config, &errors);
  assert_true((hf == NULL) == (expected != NULL));
  check_exactly(&errors, expected);
  gpt2_hf_close(hf);
}

static void test_tensors(void **state) {
  (void)state;
  Folder folder;
  make_folder(&folder, "transformer.");
  drop(&folder, "transformer.h.1.mlp.c_fc.bias");
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "transformer.h.1.mlp.c_fc.bias is missing; copy or download the whole folder again");

  make_folder(&folder, "transformer.");
  SafeTensorPlan *plan = find(&folder, "transformer.h.0.attn.c_attn.weight");
  plan->shape[0] = 3 * C; // as llm.c has it
  plan->shape[1] = C;
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT
         "transformer.h.0.attn.c_attn.weight has the shape [12, 4], by config.json it is [4, 12]; the two do not "
         "belong together");

  make_folder(&folder, "");
  find(&folder, "h.1.ln_2.bias")->ndim = 2;
  find(&folder, "h.1.ln_2.bias")->shape[1] = 1;
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "h.1.ln_2.bias has the shape [4, 1], by config.json it is [4]; the two do not belong together");

  make_folder(&folder, "");
  add(&folder, "h.2.ln_1.weight", 1, C, 0, 0);
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "h.2.ln_1.weight is no tensor of a GPT-2 of 2 layers; is it another model's file?");

  make_folder(&folder, "");
  add(&folder, "transformer.ln_f.bias", 1, C, 0, 0);
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "transformer.ln_f.bias is there twice, as ln_f.bias too; keep one of them");

  make_folder(&folder, "transformer.");
  add(&folder, "lm_head.weight", 2, V, C, salt_of(GPT2_WTE, 0));
  add(&folder, "transformer.h.0.attn.bias", 2, T, T, 0);
  add(&folder, "transformer.h.1.attn.masked_bias", 1, 1, 0, 0);
  write_folder(&folder, ZERO_BF16, CONFIG);
  expect(NULL);
  folder.salt[folder.count - 3]++; // the head's
  write_folder(&folder, ZERO_BF16, CONFIG);
  char line[CHECK_TEXT];
  snprintf(line, sizeof line,
           FILE_AT "lm_head.weight differs from transformer.wte.weight of %s; this program has tied weights only",
           model);
  expect(line);
}

// One type that is no float.
static void test_type(void **state) {
  (void)state;
  Folder folder;
  make_folder(&folder, "");
  write_folder(&folder, ZERO_F16, CONFIG);
  // in the header of the file, as long as before
  char command[3 * CHECK_PATH];
  snprintf(command, sizeof command,
           "sed -i 's/\"ln_f.bias\":{\"dtype\":\"F16\"/\"ln_f.bias\":{\"dtype\":\"I16\"/' '%s'", model);
  assert_int_equal(system(command), 0);
  expect(FILE_AT "ln_f.bias is of type I16; F32, BF16 and F16 can be read");
}

// All problems come at once, but not a line for each of thousands.
static void test_many_problems(void **state) {
  (void)state;
  Folder folder;
  GPT2Config config;
  ZeroErrors errors = {0};
  make_folder(&folder, "");
  drop(&folder, "wpe.weight");
  drop(&folder, "h.0.ln_1.bias");
  add(&folder, "score.weight", 2, 2, C, 0);
  write_folder(&folder, ZERO_F32, CONFIG);
  assert_null(gpt2_hf_open(dir, &config, &errors));
  assert_int_equal(errors.count, 3);
  check_contains(errors.lines[0], "transformer.wpe.weight is missing");
  check_contains(errors.lines[1], "transformer.h.0.ln_1.bias is missing");
  check_contains(errors.lines[2], "score.weight is no tensor of a GPT-2");
  check_clear(&errors);

  make_folder(&folder, "");
  static const char deep[] =
      "{\"model_type\": \"gpt2\", \"n_layer\": 20, \"n_head\": 2, \"n_embd\": 4, \"n_positions\": 5,"
      " \"vocab_size\": 6}";
  write_folder(&folder, ZERO_F32, deep);
  assert_null(gpt2_hf_open(dir, &config, &errors));
  assert_int_equal(errors.count, 101);
  check_contains(errors.lines[100], "116 more tensors are missing"); // 18 layers of 12, but the 100
  check_clear(&errors);
  // a broken config.json and a broken file
  check_write(config_path, "{", 1);
  check_write(model, "", 0);
  assert_null(gpt2_hf_open(dir, &config, &errors));
  assert_int_equal(errors.count, 2);
  check_clear(&errors);
}

// ---------------------------------------------------------------- behind one interface

static void test_weights(void **state) {
  (void)state;
  Folder folder;
  GPT2Config config;
  ZeroErrors errors = {0};
  char note[GPT2_NOTE_BYTES], text[CHECK_TEXT] = CONFIG;
  make_folder(&folder, "");
  memcpy(strstr(text, "\"embd_pdrop\": 0.0") + strlen("\"embd_pdrop\": "), "0.3", 3);
  write_folder(&folder, ZERO_F32, text);
  GPT2Weights *weights = gpt2_weights_open(dir, &config, &errors);
  check_no_error(&errors);
  assert_non_null(weights);
  float found[2];
  gpt2_weights_read(weights, GPT2_QKVW, 1, 11, 2, found);
  assert_true(found[0] == expected_value(GPT2_QKVW, 1, 11) && found[1] == expected_value(GPT2_QKVW, 1, 12));
  const GPT2DropoutRates same = {0.3, 0.0, 0.0}, other = {0.3, 0.2, 0.2};
  check_contains(
      gpt2_weights_note(weights, &NO_DROPOUT, note),
      "embd_pdrop 0.3, resid_pdrop 0, attn_pdrop 0 for training, none of which is taken over: --dropout is 0");
  assert_string_equal(gpt2_weights_note(weights, &same, note), "");
  assert_string_equal(gpt2_weights_note(weights, &other, note), ""); // what the folder has is used
  gpt2_weights_close(weights);
  assert_null(gpt2_weights_open("d12", &config, &errors));
  check_no_error(&errors);
  assert_int_equal(config.num_layers, 12);
  assert_null(gpt2_weights_open("nowhere.bin", &config, &errors));
  check_one_error(&errors, "-e nowhere.bin: cannot be opened", NULL);
  assert_null(gpt2_weights_open("nowhere", &config, &errors));
  check_one_error(&errors, "-e nowhere: not a known model", "a folder with config.json and model.safetensors", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_reading, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_large_tensors, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_outside, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_tensors, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_type, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_many_problems, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_weights, setup, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("gpt2_hf", tests, NULL, NULL);
}
