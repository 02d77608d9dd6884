// --export of a BERT: what is written reads again bit for bit, replaces nothing, leaves nothing where it fails, and
// has the texts beside it that transformers looks for.
#include "../../llmc/bert_export.h"

#include <sys/stat.h>

#include "../../llmc/bert_weights.h"
#include "../../llmc/json_file.h"
#include "../../zero/memory.h"
#include "hf_folder.h"

enum { V = 6, VP = 128, C = 4, L = 2, MAX_JSON = 1 << 16 };
static const BertConfig SHAPE = {.max_positions = 5,
                                 .type_vocab = 2,
                                 .vocab_size = V,
                                 .padded_vocab_size = VP,
                                 .num_layers = L,
                                 .num_heads = 2,
                                 .channels = C,
                                 .hidden = 16};
static const BertAbout ABOUT = {.dropout = {0.25, 0.5, 0.125}};

static BertConfig predicts(size_t labels, int nsp) {
  BertConfig config = SHAPE;
  config.num_labels = labels;
  config.nsp = nsp;
  return config;
}

typedef struct {
  const BertConfig *config;
  size_t calls, null_calls;
} Source;

// Whole numbers up to 250, exact in all three types; the padding of the vocabulary is 0.
static float value_of(BertTensor tensor, size_t layer, size_t i) {
  if ((tensor == BERT_WTE && i >= V * C) || (tensor == BERT_MLMBIAS && i >= V)) return 0.0f;
  return (float)(((size_t)tensor * 74 + layer * 37 + i) % 251);
}

static void read_value(void *ctx, BertTensor tensor, size_t layer, float *out) {
  Source *source = ctx;
  size_t rows, cols;
  source->calls++;
  source->null_calls += out == NULL;
  if (out == NULL) return;
  bert_tensor_shape(source->config, tensor, &rows, &cols);
  for (size_t i = 0; i < rows * cols; i++) out[i] = value_of(tensor, layer, i);
}

static size_t tensors_of(const BertConfig *config) {
  size_t count = 0;
  for (int t = 0; t < BERT_NUM_TENSORS; t++) {
    if (bert_tensor_in_model(config, (BertTensor)t)) count += bert_tensor_in_block((BertTensor)t) ? L : 1;
  }
  return count;
}

// The folder has this model, read_value's values and nothing else.
static void check_model(const BertConfig *expected) {
  BertConfig config;
  ZeroErrors errors = {0};
  float found[VP * C];
  char note[BERT_NOTE_BYTES];
  size_t compared = 0;
  BertWeights *weights = bert_weights_open(dir, &config, &errors);
  check_no_error(&errors);
  config.num_labels = expected->num_labels;
  config.nsp = expected->nsp;
  const size_t members = offsetof(BertConfig, nsp) + sizeof config.nsp; // behind the last one there is padding
  assert_memory_equal(&config, expected, members);
  bert_weights_choose(weights, &config, &errors);
  check_no_error(&errors);
  for (int n = 0; n < BERT_NUM_NOTES; n++) assert_string_equal(bert_weights_note(weights, (BertNote)n, note), "");
  for (int t = 0; t < BERT_NUM_TENSORS; t++) {
    const BertTensor tensor = (BertTensor)t;
    size_t rows, cols;
    assert_int_equal(bert_weights_has(weights, tensor), bert_tensor_in_model(expected, tensor));
    if (!bert_weights_has(weights, tensor)) continue;
    bert_tensor_shape(expected, tensor, &rows, &cols);
    for (size_t l = 0; l < (bert_tensor_in_block(tensor) ? L : 1); l++) {
      bert_weights_read(weights, tensor, l, 0, rows * cols, found);
      for (size_t i = 0; i < rows * cols; i++) assert_true(found[i] == value_of(tensor, l, i));
      compared += rows * cols;
    }
  }
  assert_int_equal(compared, bert_num_parameters(expected));
  const BertAbout *about = bert_weights_about(weights);
  assert_true(about->dropout.hidden == 0.25 && about->dropout.attention == 0.5);
  assert_true(about->dropout.classifier == (expected->num_labels > 0 ? 0.125 : BERT_DROPOUT_AS_HIDDEN));
  bert_weights_close(weights);
}

// A JSON file of the folder, to be freed.
static cJSON *read_json(const char *name) {
  char path[CHECK_PATH];
  ZeroErrors errors = {0};
  check_path(path, dir, name);
  cJSON *root = json_file_read(path, MAX_JSON, "-e", &errors);
  check_no_error(&errors);
  return root;
}

static void check_json(const cJSON *root, const char *key, const char *expected) {
  char found[JSON_NAME_BYTES];
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
  if (item == NULL) fail_msg("no key %s", key);
  assert_string_equal(json_found(item, found), expected);
}

static void check_files(const char *expected) {
  char command[2 * CHECK_PATH + CHECK_TEXT];
  snprintf(command, sizeof command, "test \"$(ls '%s' | xargs)\" = '%s' || { ls '%s'; false; }", dir, expected, dir);
  assert_int_equal(system(command), 0);
}

static void export(const BertConfig *config, const BertAbout *about, const BertVocab *vocab, ZeroType type) {
  Source source = {config, 0, 0};
  ZeroErrors errors = {0};
  bert_export_check(dir, &errors);
  check_no_error(&errors);
  if (bert_export(dir, 1, config, about, vocab, type, read_value, &source, problem, sizeof problem) != 0) {
    fail_msg("%s", problem);
  }
  assert_int_equal(source.calls, tensors_of(config));
  assert_int_equal(source.null_calls, 0);
}

static void empty_folder(void) {
  char command[2 * CHECK_PATH];
  snprintf(command, sizeof command, "find '%s' -mindepth 1 -delete", dir);
  assert_int_equal(system(command), 0);
}

static void test_folder(void **state) {
  (void)state;
  static const ZeroType types[] = {ZERO_F32, ZERO_BF16, ZERO_F16};
  static const char *const dtypes[] = {"\"float32\"", "\"bfloat16\"", "\"float16\""};
  static const struct {
    size_t labels;
    int nsp;
    const char *architecture;
  } cases[] = {{0, 0, "[\"BertForMaskedLM\"]"},
               {0, 1, "[\"BertForPreTraining\"]"},
               {1, 0, "[\"BertForSequenceClassification\"]"},
               {3, 0, "[\"BertForSequenceClassification\"]"}};
  for (size_t c = 0; c < COUNT(cases); c++) {
    for (size_t t = 0; t < COUNT(types); t++) {
      const BertConfig config = predicts(cases[c].labels, cases[c].nsp);
      export(&config, &ABOUT, NULL, types[t]);
      check_files("config.json model.safetensors");
      check_model(&config);
      cJSON *root = read_json(HF_CONFIG);
      check_json(root, "architectures", cases[c].architecture);
      check_json(root, "dtype", dtypes[t]);
      check_json(root, "pad_token_id", "null");
      cJSON_Delete(root);
      empty_folder();
    }
  }
}

static void test_labels(void **state) {
  (void)state;
  char *names[] = {"no", "yes, of course", "\"maybe\""};
  const BertConfig three = predicts(3, 0), one = predicts(1, 0), none = predicts(0, 1);
  BertAbout about = ABOUT;
  about.labels = (BertLines){NULL, names, COUNT(names)};
  export(&three, &about, NULL, ZERO_F32);
  cJSON *root = read_json(HF_CONFIG);
  check_json(root, "problem_type", "\"single_label_classification\"");
  check_json(root, "label2id", "{\"no\":0,\"yes, of course\":1,\"\\\"maybe\\\"\":2}");
  check_json(root, "classifier_dropout", "0.125");
  cJSON_Delete(root);
  BertConfig config;
  BertAbout found;
  ZeroErrors errors = {0};
  assert_int_equal(bert_hf_config(dir, &config, &found, &errors), 0);
  assert_int_equal(found.labels.count, COUNT(names));
  for (size_t i = 0; i < COUNT(names); i++) assert_string_equal(found.labels.lines[i], names[i]);
  bert_about_free(&found);
  empty_folder();

  export(&three, &ABOUT, NULL, ZERO_F32);
  root = read_json(HF_CONFIG);
  check_json(root, "id2label", "{\"0\":\"LABEL_0\",\"1\":\"LABEL_1\",\"2\":\"LABEL_2\"}");
  cJSON_Delete(root);
  empty_folder();

  export(&one, &ABOUT, NULL, ZERO_F32);
  root = read_json(HF_CONFIG);
  check_json(root, "problem_type", "\"regression\"");
  check_json(root, "id2label", "{\"0\":\"LABEL_0\"}");
  cJSON_Delete(root);
  empty_folder();

  export(&none, &about, NULL, ZERO_F32); // names of the classes of another task
  root = read_json(HF_CONFIG);
  assert_null(cJSON_GetObjectItemCaseSensitive(root, "id2label"));
  check_json(root, "classifier_dropout", "null");
  cJSON_Delete(root);
}

// Each name is in config.json twice: what is written can be read.
static void test_many_labels(void **state) {
  (void)state;
  enum { CLASSES = 30000 };
  const BertConfig config = predicts(CLASSES, 0);
  BertConfig read;
  BertAbout about = ABOUT, found;
  ZeroErrors errors = {0};
  struct stat file;
  about.labels = bert_lines_number("the class of number ", CLASSES);
  export(&config, &about, NULL, ZERO_F32);
  assert_int_equal(stat(config_path, &file), 0);
  assert_true(file.st_size > 1 << 20);
  assert_int_equal(bert_hf_config(dir, &read, &found, &errors), 0);
  assert_int_equal(found.labels.count, CLASSES);
  assert_int_equal(bert_lines_differ(&found.labels, &about.labels), BERT_LINES_SAME);
  bert_about_free(&found);
  bert_lines_free(&about.labels);
}

static void wrong_labels(void *ctx) {
  char *names[] = {"no", "yes"};
  const BertConfig three = predicts(3, 0);
  Source source = {&three, 0, 0};
  (void)ctx;
  BertAbout about = ABOUT;
  about.labels = (BertLines){NULL, names, COUNT(names)};
  bert_export(dir, 1, &three, &about, NULL, ZERO_F32, read_value, &source, problem, sizeof problem);
}

// ---------------------------------------------------------------- the vocabulary

#define UNCASED "[UNK]\n[PAD]\n[CLS]\n[SEP]\n[MASK]\nword"
#define CASED "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nWord\n"

// A vocabulary as it is in memory: its file is gone.
static BertVocab vocab_of(const char *text) {
  char folder[CHECK_PATH], path[CHECK_PATH];
  ZeroErrors errors = {0};
  BertVocab vocab;
  check_make_dir(folder);
  check_path(path, folder, "words");
  check_write(path, text, strlen(text));
  assert_int_equal(bert_vocab_read(path, "-i", V, &vocab, &errors), 0);
  check_no_error(&errors);
  check_remove_dir(folder);
  return vocab;
}

static void check_vocab(const char *text, const char *lower, const char *pad, const char *written) {
  char path[CHECK_PATH], found[CHECK_TEXT];
  const BertConfig config = predicts(0, 0);
  BertVocab vocab = vocab_of(text);
  assert_string_equal(vocab.words.lines[vocab.cls], "[CLS]");
  assert_string_equal(vocab.words.lines[vocab.sep], "[SEP]");
  assert_string_equal(vocab.words.lines[vocab.mask], "[MASK]");
  export(&config, &ABOUT, &vocab, ZERO_F32);
  check_files("config.json model.safetensors tokenizer_config.json vocab.txt");
  check_path(path, dir, BERT_VOCAB_FILE);
  check_read(path, found);
  assert_string_equal(found, written);
  cJSON *root = read_json(HF_CONFIG);
  check_json(root, "pad_token_id", pad);
  cJSON_Delete(root);
  root = read_json(BERT_TOKENIZER_FILE);
  check_json(root, "tokenizer_class", "\"BertTokenizer\"");
  check_json(root, "do_lower_case", lower);
  check_json(root, "model_max_length", "5");
  check_json(root, "mask_token", "\"[MASK]\"");
  cJSON_Delete(root);
  check_model(&config);
  bert_vocab_free(&vocab);
  empty_folder();
}

static void test_vocab(void **state) {
  (void)state;
  check_vocab(UNCASED, "true", "1", UNCASED "\n");
  check_vocab(CASED, "false", "0", CASED);
  check_vocab("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\n", "true", "0", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
}

static void test_bad_vocab(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t bytes; // 0: all of the text
    const char *expected;
  } cases[] = {
      {"[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n", 0, "-i @/words: has no word [MASK]; give the vocabulary of a BERT"},
      {UNCASED "\nmore\n", 0, "-i @/words: has 7 words, the model's vocabulary has 6; they do not belong together"},
      {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\n", 0,
       "-i @/words: '[UNK]' is there more than once; each line is another one's name"},
      {"", 0, "-i @/words: is empty; give a text with a name a line"},
      {"a\0b", 3, "-i @/words: has a byte of 0; give a text with a name a line"},
  };
  char path[CHECK_PATH];
  BertVocab vocab;
  ZeroErrors errors = {0};
  check_path(path, dir, "words");
  for (size_t i = 0; i < COUNT(cases); i++) {
    check_write(path, cases[i].text, cases[i].bytes > 0 ? cases[i].bytes : strlen(cases[i].text));
    assert_int_equal(bert_vocab_read(path, "-i", V, &vocab, &errors), -1);
    check_exactly(&errors, cases[i].expected);
  }
  assert_int_equal(unlink(path), 0);
  assert_int_equal(bert_vocab_read(path, "-i", V, &vocab, &errors), -1);
  check_exactly(&errors,
                "-i @/words: cannot be opened: No such file or directory; prepare the data again (data/README.md)");
}

static void test_beside(void **state) {
  (void)state;
  static const char *const with[] = {"my_task_train.bin", "my_task_val.bin", "my_task_val_mismatched.bin"};
  static const char *const without[] = {"my_task.bin",        "my_task_corpus.bin", "my_task_train",
                                        "my_task_train.bin2", "other_train.bin",    "my_task_mismatched.bin",
                                        "my_task_trains.bin", "my_task_val_val.bin"};
  char path[CHECK_PATH], samples[CHECK_PATH];
  check_path(path, dir, "my_task.vocab.txt");
  check_path(samples, dir, with[0]);
  assert_null(bert_text_beside(samples, BERT_BESIDE_VOCAB));
  check_write(path, UNCASED, strlen(UNCASED));
  for (size_t i = 0; i < COUNT(with); i++) {
    check_path(samples, dir, with[i]);
    char *found = bert_text_beside(samples, BERT_BESIDE_VOCAB);
    assert_non_null(found);
    assert_string_equal(found, path);
    zero_free(found);
    assert_null(bert_text_beside(samples, BERT_BESIDE_LABELS));
  }
  for (size_t i = 0; i < COUNT(without); i++) {
    check_path(samples, dir, without[i]);
    assert_null(bert_text_beside(samples, BERT_BESIDE_VOCAB));
  }
}

static void test_differ(void **state) {
  (void)state;
  char *abc[] = {"a", "b", "c"}, *axc[] = {"a", "x", "c"};
  const BertLines three = {NULL, abc, 3}, two = {NULL, abc, 2}, other = {NULL, axc, 3}, none = {0};
  assert_int_equal(bert_lines_differ(&three, &three), BERT_LINES_SAME);
  assert_int_equal(bert_lines_differ(&none, &none), BERT_LINES_SAME);
  assert_int_equal(bert_lines_differ(&three, &two), 2);
  assert_int_equal(bert_lines_differ(&two, &three), 2);
  assert_int_equal(bert_lines_differ(&three, &other), 1);
  assert_int_equal(bert_lines_differ(&none, &two), 0);
}

// ---------------------------------------------------------------- problems

static void test_nothing_lost(void **state) {
  (void)state;
  static const char *const there[] = {"config.json", "model.safetensors",     "model.safetensors.index.json",
                                      "vocab.txt",   "tokenizer_config.json", "tokenizer.json"};
  ZeroErrors errors = {0};
  for (size_t i = 0; i < COUNT(there); i++) {
    char path[CHECK_PATH];
    check_path(path, dir, there[i]);
    check_write(path, "mine", 4);
    bert_export_check(dir, &errors);
    check_one_error(&errors, "--export ", path, "is there already", NULL);
    assert_int_equal(unlink(path), 0);
  }
  bert_export_check("model.bin", &errors);
  check_one_error(&errors, "--export model.bin: a .bin of llm.c has no place for a BERT; give a folder", NULL);
  bert_export_make("/proc/no", &errors);
  check_one_error(&errors, "--export /proc/no: cannot be written to", NULL);
  char folder[CHECK_PATH];
  check_path(folder, dir, "a/b");
  bert_export_check(folder, &errors);
  check_no_error(&errors);
  bert_export_make(folder, &errors);
  check_no_error(&errors);
  assert_int_equal(access(folder, W_OK), 0);
}

// Ranks that do not write make the same calls; weights that cannot be written leave nothing, those that were stay.
static void test_problems(void **state) {
  (void)state;
  const BertConfig config = predicts(3, 0);
  char folder[CHECK_PATH], weights[CHECK_PATH], command[2 * CHECK_PATH];
  Source source = {&config, 0, 0};
  check_path(folder, dir, "no");
  for (int writes = 0; writes <= 1; writes++) {
    problem[0] = '\0';
    assert_int_equal(
        bert_export(folder, writes, &config, &ABOUT, NULL, ZERO_F32, read_value, &source, problem, sizeof problem),
        -writes);
    if (writes) check_contains(problem, "no/model.safetensors.tmp: cannot be written");
  }
  assert_int_equal(source.calls, 2 * tensors_of(&config));
  assert_int_equal(source.null_calls, tensors_of(&config));
  check_fatal(wrong_labels, NULL, "2 names for 3 labels", NULL);
  // each of the texts: its failure leaves the weights and the texts before it
  static const struct {
    const char *text, *stay;
  } texts[] = {{"config.json.tmp", "config.json.tmp model.safetensors.tmp"},
               {"tokenizer_config.json.tmp", "config.json.tmp model.safetensors.tmp tokenizer_config.json.tmp"},
               {"vocab.txt.tmp", "config.json.tmp model.safetensors.tmp tokenizer_config.json.tmp vocab.txt.tmp"}};
  BertVocab vocab = vocab_of(UNCASED);
  check_path(weights, dir, "model.safetensors.tmp");
  for (size_t i = 0; i < COUNT(texts); i++) {
    snprintf(command, sizeof command, "mkdir '%s/%s'", dir, texts[i].text);
    assert_int_equal(system(command), 0);
    assert_int_equal(
        bert_export(dir, 1, &config, &ABOUT, &vocab, ZERO_F32, read_value, &source, problem, sizeof problem), -1);
    check_contains(problem, texts[i].text);
    check_contains(problem, "cannot be written: Is a directory");
    check_contains(problem, "; the weights are whole in ");
    check_contains(problem, weights);
    check_files(texts[i].stay);
    if (i > 0) { // with the description that was written they are a model
      snprintf(command, sizeof command, "cd '%s' && for f in model.safetensors config.json; do mv $f.tmp $f; done",
               dir);
      assert_int_equal(system(command), 0);
      check_model(&config);
    }
    empty_folder();
  }
  bert_vocab_free(&vocab);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_folder, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_labels, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_many_labels, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_vocab, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bad_vocab, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_beside, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_differ, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_nothing_lost, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_problems, setup, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("bert_export", tests, NULL, NULL);
}
