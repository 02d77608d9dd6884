// The texts that go along with a run's BERT: found beside the samples of every pattern, or in the folder; all that
// do not belong together is refused by file and line.
#include "../../llmc/bert_find_texts.h"

#include "../../zero/memory.h"
#include "sample_file.h"

enum { T = 32, C = 4, CLASSES = 3, TEXTS = 2 };
#define COUNT(list) (sizeof(list) / sizeof *(list))

static SampleFileText file; // large
static char texts[TEXTS][TEST_VOCAB * 16];

// ---------------------------------------------------------------- files

// Samples of this name in the test's folder. header: the place in it that has another value, 0: none.
static void write_samples(const char *name, int num_labels, int at, int value) {
  char path[CHECK_PATH];
  check_path(path, dir, name);
  sample_file_begin(&file, num_labels, 0);
  for (size_t n = 0; n < 5; n++) sample_file_add(&file, 4, 0, (float)(n % CLASSES));
  if (at != 0) file.header[at] = value;
  sample_file_write(&file, path);
}

static void write_text(const char *name, const char *text) {
  char path[CHECK_PATH];
  check_path(path, dir, name);
  check_write(path, text, strlen(text));
}

static void remove_file(const char *name) {
  char path[CHECK_PATH];
  check_path(path, dir, name);
  assert_int_equal(unlink(path), 0);
}

// The vocabulary that sample_file.h has, of so many words, where one word is another one.
static const char *words(char *text, size_t count, size_t changed, const char *word) {
  static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    char plain[32];
    snprintf(plain, sizeof plain, "word%zu", i);
    used += (size_t)sprintf(text + used, "%s\n", i == changed ? word : i < COUNT(special) ? special[i] : plain);
  }
  return text;
}

static const char *all_words(void) {
  return words(texts[0], TEST_VOCAB, TEST_VOCAB, "");
}

static void read_zeros(void *config, BertTensor tensor, size_t layer, float *out) {
  size_t rows, cols;
  (void)layer;
  bert_tensor_shape(config, tensor, &rows, &cols);
  memset(out, 0, rows * cols * sizeof *out);
}

static BertConfig shape_of(size_t num_labels) {
  const BertConfig config = {.max_positions = T,
                             .type_vocab = 2,
                             .vocab_size = TEST_VOCAB,
                             .padded_vocab_size = 128,
                             .num_layers = 1,
                             .num_heads = 2,
                             .channels = C,
                             .hidden = 8,
                             .num_labels = num_labels};
  return config;
}

// A folder of Hugging Face's with these names of classes (NULL: a model that predicts words); vocab: its vocab.txt.
static void write_model(char **classes, const char *vocab) {
  char path[CHECK_PATH], problem[CHECK_TEXT];
  BertConfig config = shape_of(classes != NULL ? CLASSES : 0);
  BertAbout about = {.dropout = {0.1, 0.1, 0.1}};
  if (classes != NULL) about.labels = (BertLines){NULL, classes, CLASSES};
  check_path(path, dir, "model");
  char command[2 * CHECK_PATH + 32];
  snprintf(command, sizeof command, "rm -rf '%s' && mkdir '%s'", path, path);
  assert_int_equal(system(command), 0);
  assert_int_equal(
      bert_hf_write(path, "", &config, &about, NULL, ZERO_F32, read_zeros, &config, problem, sizeof problem),
      BERT_HF_WRITTEN);
  if (vocab != NULL) write_text("model/vocab.txt", vocab);
}

// ---------------------------------------------------------------- a run

typedef struct {
  BertSources sources;
  SampleLoader *train, *val;
  BertWeights *weights;
  BertVocab vocab;
  BertLines labels;
  ZeroErrors errors;
} Run;

static SampleLoader *open_samples(const char *pattern, const char *flag, ZeroErrors *errors) {
  char path[CHECK_PATH];
  check_path(path, dir, pattern);
  return sample_loader_open(path, flag, T, TEST_VOCAB, 1, errors);
}

// train, val: patterns in the test's folder, NULL: none. model: take the folder; classes: of the task, or 0.
static void find_all(Run *r, const char *train, const char *val, int model, size_t classes) {
  char path[CHECK_PATH];
  memset(r, 0, sizeof *r);
  if (train != NULL) r->train = open_samples(train, "-i", &r->errors);
  if (val != NULL) r->val = open_samples(val, "-j", &r->errors);
  BertConfig config = shape_of(0);
  check_path(path, dir, "model");
  if (model) r->weights = bert_weights_open(path, &config, &r->errors);
  check_no_error(&r->errors);
  config.num_labels = classes;
  if (model) bert_weights_choose(r->weights, &config, &r->errors);
  check_no_error(&r->errors);
  r->sources = (BertSources){r->train, r->val, r->weights};
  bert_find_vocab(&r->sources, &config, &r->vocab, &r->errors);
  bert_find_labels(&r->sources, &config, &r->labels, &r->errors);
}

static void end(Run *r) {
  sample_loader_close(r->train);
  sample_loader_close(r->val);
  bert_weights_close(r->weights);
  bert_vocab_free(&r->vocab);
  bert_lines_free(&r->labels);
}

// So many words, and the names joined by spaces.
static void expect(const char *train, const char *val, int model, size_t classes, size_t vocab, const char *labels) {
  Run r;
  char found[CHECK_TEXT] = "";
  find_all(&r, train, val, model, classes);
  check_no_error(&r.errors);
  assert_int_equal(r.vocab.words.count, vocab);
  for (size_t i = 0; i < r.labels.count; i++) {
    strcat(found, i > 0 ? " " : "");
    strcat(found, r.labels.lines[i]);
  }
  assert_string_equal(found, labels);
  end(&r);
}

// Exactly one error, with these parts.
static void expect_problem(const char *train, const char *val, int model, size_t classes, const char *text1,
                           const char *text2, const char *text3) {
  Run r;
  find_all(&r, train, val, model, classes);
  check_one_error(&r.errors, text1, text2, text3, NULL);
  end(&r);
}

// ---------------------------------------------------------------- found

static void test_beside(void **state) {
  (void)state;
  write_samples("a_train.bin", 0, 0, 0);
  write_samples("a_val.bin", 0, 0, 0);
  write_samples("b_train.bin", 0, 0, 0);
  write_samples("a.bin", 0, 0, 0);
  expect("a_train.bin", "a_val.bin", 0, 0, 0, "");
  write_text("b.vocab.txt", all_words());
  expect("a_train.bin", "a_val.bin", 0, 0, 0, "");
  expect("[ab]_train.bin", NULL, 0, 0, TEST_VOCAB, ""); // not the first file's
  expect("{a,b}_train.bin", "a_val.bin", 0, 0, TEST_VOCAB, "");
  expect("a_train.bin", "b_train.bin", 0, 0, TEST_VOCAB, "");
  expect(NULL, "b_*.bin", 0, 0, TEST_VOCAB, "");
  write_text("a.vocab.txt", all_words());
  expect("*_train.bin", "a_val.bin", 0, 0, TEST_VOCAB, "");
  expect("a.bin", NULL, 0, 0, 0, ""); // not the name of a split
  expect(NULL, NULL, 0, 0, 0, "");
}

static void test_folder(void **state) {
  (void)state;
  write_samples("a_train.bin", 0, 0, 0);
  write_model(NULL, NULL);
  expect("a_train.bin", NULL, 1, 0, 0, "");
  write_model(NULL, all_words());
  expect("a_train.bin", NULL, 1, 0, TEST_VOCAB, "");
  expect(NULL, NULL, 1, 0, TEST_VOCAB, "");
  write_text("a.vocab.txt", all_words());
  expect("a_train.bin", NULL, 1, 0, TEST_VOCAB, "");
}

static char *NAMES[] = {"no", "yes", "maybe"}, *NUMBERS[] = {"LABEL_0", "LABEL_1", "LABEL_2"};

static void test_labels(void **state) {
  (void)state;
  write_samples("a_train.bin", CLASSES, 0, 0);
  write_samples("b_train.bin", CLASSES, 0, 0);
  expect("a_train.bin", NULL, 0, CLASSES, 0, "");
  write_model(NAMES, NULL);
  expect("a_train.bin", NULL, 1, CLASSES, 0, "no yes maybe");
  write_text("a.labels.txt", "no\nyes\nmaybe\n");
  expect("a_train.bin", NULL, 1, CLASSES, 0, "no yes maybe");
  write_text("a.labels.txt", "red\ngreen\nblue\n");
  expect("*_train.bin", NULL, 0, CLASSES, 0, "red green blue");
  expect("a_train.bin", NULL, 1, 0, 0, ""); // another task
  expect("a_train.bin", NULL, 0, 1, 0, ""); // a number
  write_model(NUMBERS, NULL);               // no names at all
  expect("a_train.bin", NULL, 1, CLASSES, 0, "red green blue");
  write_model(NULL, NULL); // no classifier
  expect("a_train.bin", NULL, 1, CLASSES, 0, "red green blue");
}

// ---------------------------------------------------------------- what does not belong together

static void test_other_vocabularies(void **state) {
  (void)state;
  write_samples("a_train.bin", 0, 0, 0);
  write_samples("a_val.bin", 0, 0, 0);
  write_samples("b_train.bin", 0, 0, 0);
  write_samples("b_val.bin", 0, 0, 0);
  write_text("a.vocab.txt", all_words());
  write_text("b.vocab.txt", words(texts[1], TEST_VOCAB, 41, "other"));
  expect_problem("*_train.bin", "*_val.bin", 0, 0, "-i /", "/b.vocab.txt: line 42 is 'other', in ",
                 "/a.vocab.txt it is 'word41'; give files that were prepared");
  expect_problem("a_train.bin", "b_val.bin", 0, 0, "-j /", "/b.vocab.txt: line 42 is 'other', in ",
                 "/a.vocab.txt it is 'word41'; give files that were prepared");
  write_text("b.vocab.txt", words(texts[1], TEST_VOCAB - 1, TEST_VOCAB, ""));
  expect_problem("*_train.bin", NULL, 0, 0, "/b.vocab.txt: line 100 is not there, in ", "/a.vocab.txt it is 'word99'",
                 "; give ");
  write_text("b.vocab.txt", "words\n");
  expect_problem("*_train.bin", NULL, 0, 0, "/b.vocab.txt: line 1 is 'words', in ", "/a.vocab.txt it is '[PAD]'",
                 "; give ");
  write_text("b.vocab.txt", "");
  expect_problem("*_train.bin", NULL, 0, 0, "-i /", "/b.vocab.txt: is empty", "give ");
  write_text("a.vocab.txt", words(texts[1], TEST_VOCAB, 4, "mask"));
  expect_problem("a_train.bin", NULL, 0, 0, "-i /", "/a.vocab.txt: has no word [MASK]", "give ");
  expect_problem(NULL, "a_val.bin", 0, 0, "-j /", "/a.vocab.txt: has no word [MASK]", "give ");
  write_text("a.vocab.txt", words(texts[1], TEST_VOCAB + 1, TEST_VOCAB + 1, ""));
  expect_problem("a_train.bin", NULL, 0, 0, "/a.vocab.txt: has 101 words, ", "the model's vocabulary has 100", "");
}

// A vocabulary beside samples that another one made.
static void test_headers(void **state) {
  (void)state;
  static const struct {
    int at;
    const char *word, *line;
  } cases[] = {{H_PAD, "[PAD] as token 50, which is line 51 ", "a.vocab.txt it is 1; "},
               {H_MASK, "[MASK] as token 50, which is line 51 ", "a.vocab.txt it is 5; "}};
  write_text("a.vocab.txt", all_words());
  for (size_t i = 0; i < COUNT(cases); i++) {
    write_samples("a_train.bin", 0, cases[i].at, 50);
    write_samples("a_val.bin", 0, 0, 0);
    expect_problem("a_train.bin", "a_val.bin", 0, 0, "a_train.bin: its header has ", cases[i].word, cases[i].line);
    expect_problem("a_val.bin", "a_train.bin", 0, 0, "-j /", cases[i].word, cases[i].line);
  }
  write_samples("a_train.bin", 0, H_VOCAB, 99);
  expect_problem("a_train.bin", NULL, 0, 0, "a_train.bin: was made with a vocabulary of 99 words, ",
                 "a.vocab.txt has 100; ", "prepare the data");
  remove_file("a.vocab.txt"); // the folder's is held against them too
  write_model(NULL, all_words());
  expect_problem("a_train.bin", NULL, 1, 0, "a_train.bin: was made with a vocabulary of 99 words, ",
                 "model/vocab.txt has 100; ", "prepare the data");
}

static void test_other_folder(void **state) {
  (void)state;
  write_samples("a_train.bin", 0, 0, 0);
  write_text("a.vocab.txt", all_words());
  write_model(NULL, words(texts[1], TEST_VOCAB, 6, "other"));
  expect_problem("a_train.bin", NULL, 1, 0, "-e /", "/model/vocab.txt: line 7 is 'other', in ",
                 "/a.vocab.txt it is 'word6'; prepare the data with the vocabulary of the model");
  write_model(NULL, words(texts[1], TEST_VOCAB - 2, TEST_VOCAB, ""));
  expect_problem("a_train.bin", NULL, 1, 0, "/model/vocab.txt: line 99 is not there, in ",
                 "/a.vocab.txt it is 'word98'; ", "prepare the data");
  write_model(NULL, "");
  expect_problem("a_train.bin", NULL, 1, 0, "-e /", "/model/vocab.txt: is empty", "");
}

static void test_other_labels(void **state) {
  (void)state;
  write_samples("a_train.bin", CLASSES, 0, 0);
  write_samples("b_train.bin", CLASSES, 0, 0);
  write_model(NAMES, NULL);
  write_text("a.labels.txt", "no\nmaybe\nyes\n");
  expect_problem("a_train.bin", NULL, 1, CLASSES, "/model: class 1 is 'yes', in ", "a.labels.txt it is 'maybe'; ",
                 "prepare the data with --labels in the model's order");
  write_text("a.labels.txt", "No\nyes\nmaybe\n");
  expect_problem(NULL, "a_train.bin", 1, CLASSES, "-e /", "/model: class 0 is 'no', in ",
                 "a.labels.txt it is 'No'; ");
  write_text("a.labels.txt", "no\nyes\n");
  expect_problem(NULL, "a_train.bin", 1, CLASSES, "-j /", "/a.labels.txt: names 2 classes, the samples have 3; ",
                 "prepare the data again");
  write_text("a.labels.txt", "no\nyes\nmaybe\n");
  write_text("b.labels.txt", "no\nyes\nnever\n");
  expect_problem("*_train.bin", NULL, 0, CLASSES, "-i /", "/b.labels.txt: line 3 is 'never', in ",
                 "/a.labels.txt it is 'maybe'; ");
  // names that would not fit into config.json
  char *long_name = zero_malloc(BERT_LABELS_BYTES + 16, ZERO_MEM_OTHER);
  memset(long_name, 'x', BERT_LABELS_BYTES);
  strcpy(long_name + BERT_LABELS_BYTES - 2, "\na\nb\n");
  write_text("a.labels.txt", long_name);
  Run r;
  find_all(&r, "a_train.bin", NULL, 0, CLASSES);
  check_no_error(&r.errors);
  assert_int_equal(r.labels.count, CLASSES);
  end(&r);
  strcpy(long_name + BERT_LABELS_BYTES - 2, "x\na\nb\n");
  write_text("a.labels.txt", long_name);
  expect_problem("a_train.bin", NULL, 0, CLASSES, "-i /", "/a.labels.txt: its names of classes have 4194305 bytes",
                 "at most 4194304 can be kept; shorten them");
  zero_free(long_name);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_beside, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_folder, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_labels, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_other_vocabularies, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_headers, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_other_folder, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_other_labels, check_setup_dir, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("bert_find_texts", tests, NULL, NULL);
}
