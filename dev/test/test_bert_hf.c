// Hugging Face's folders of a BERT: tensors read where they belong, in all types and under all their names; whatever
// does not fit is refused by file and tensor; heads may be missing, but not half of one.
#include "../../llmc/bert_hf.h"

#include "../../llmc/bert_weights.h"
#include "hf_folder.h"

// ---------------------------------------------------------------- the folder

enum { L = 2, C = 4, T = 5, V = 6, VP = 128, TYPES = 3, HIDDEN = 12, LABELS = 3 };

#define CONFIG_OF(architecture)                                                                                 \
  "{\"architectures\": [\"" architecture                                                                        \
  "\"], \"model_type\": \"bert\", \"num_hidden_layers\": 2,"                                                    \
  " \"num_attention_heads\": 2, \"hidden_size\": 4, \"intermediate_size\": 12, \"max_position_embeddings\": 5," \
  " \"vocab_size\": 6, \"type_vocab_size\": 3, \"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\"}}"
static const char CONFIG[] = CONFIG_OF("BertForPreTraining"), CLASSES[] = CONFIG_OF("BertForSequenceClassification");

// The tensors as transformers names and shapes them, in the order of BertTensor; query, key and value in one line.
static const struct {
  const char *name; // behind encoder.layer.N. for those of a block
  int ndim;
  size_t shape[2];
  int prefixed; // with "bert." in front, unless the folder lacks it
} TENSORS[BERT_NUM_TENSORS] = {
    {"embeddings.word_embeddings.weight", 2, {V, C}, 1},
    {"embeddings.position_embeddings.weight", 2, {T, C}, 1},
    {"embeddings.token_type_embeddings.weight", 2, {TYPES, C}, 1},
    {"embeddings.LayerNorm.weight", 1, {C, 1}, 1},
    {"embeddings.LayerNorm.bias", 1, {C, 1}, 1},
    {"attention.self.PART.weight", 2, {C, C}, 1},
    {"attention.self.PART.bias", 1, {C, 1}, 1},
    {"attention.output.dense.weight", 2, {C, C}, 1},
    {"attention.output.dense.bias", 1, {C, 1}, 1},
    {"attention.output.LayerNorm.weight", 1, {C, 1}, 1},
    {"attention.output.LayerNorm.bias", 1, {C, 1}, 1},
    {"intermediate.dense.weight", 2, {HIDDEN, C}, 1},
    {"intermediate.dense.bias", 1, {HIDDEN, 1}, 1},
    {"output.dense.weight", 2, {C, HIDDEN}, 1},
    {"output.dense.bias", 1, {C, 1}, 1},
    {"output.LayerNorm.weight", 1, {C, 1}, 1},
    {"output.LayerNorm.bias", 1, {C, 1}, 1},
    {"pooler.dense.weight", 2, {C, C}, 1},
    {"pooler.dense.bias", 1, {C, 1}, 1},
    {"cls.predictions.transform.dense.weight", 2, {C, C}, 0},
    {"cls.predictions.transform.dense.bias", 1, {C, 1}, 0},
    {"cls.predictions.transform.LayerNorm.weight", 1, {C, 1}, 0},
    {"cls.predictions.transform.LayerNorm.bias", 1, {C, 1}, 0},
    {"cls.predictions.bias", 1, {V, 1}, 0},
    {"cls.seq_relationship.weight", 2, {2, C}, 0},
    {"cls.seq_relationship.bias", 1, {2, 1}, 0},
    {"classifier.weight", 2, {LABELS, C}, 0},
    {"classifier.bias", 1, {LABELS, 1}, 0},
};
static const char *const PARTS[] = {"query", "key", "value"};
enum { NUM_PARTS = COUNT(PARTS) };

static int parts_of(int tensor) {
  return tensor == BERT_QKVW || tensor == BERT_QKVB ? NUM_PARTS : 1;
}

static int salt_of(int tensor, int layer, int part) {
  return (tensor * L + layer) * NUM_PARTS + part;
}

// "PART" becomes the part's name, and with `old` LayerNorm's endings those of 2018.
static void stored_name(char name[HF_NAME], const char *prefix, int tensor, int layer, int part, int old) {
  const char *own = TENSORS[tensor].name, *star = strstr(own, "PART");
  char block[32] = "", text[HF_NAME / 2];
  if (bert_tensor_in_block((BertTensor)tensor)) snprintf(block, sizeof block, "encoder.layer.%d.", layer);
  snprintf(text, sizeof text, "%.*s%s%s", (int)(star != NULL ? star - own : (int)strlen(own)), own,
           star != NULL ? PARTS[part] : "", star != NULL ? star + strlen("PART") : "");
  char *norm = strstr(text, "LayerNorm.");
  if (old && norm != NULL) strcpy(norm, strstr(norm, "weight") != NULL ? "LayerNorm.gamma" : "LayerNorm.beta");
  snprintf(name, HF_NAME, "%s%s%s", TENSORS[tensor].prefixed ? prefix : "", block, text);
}

// Tensors from first to last; prefix: "bert." or "".
static void make_range(Folder *folder, const char *prefix, int old, int first, int last) {
  for (int t = first; t <= last; t++) {
    for (int l = 0; l < (bert_tensor_in_block((BertTensor)t) ? L : 1); l++) {
      for (int p = 0; p < parts_of(t); p++) {
        char name[HF_NAME];
        stored_name(name, prefix, t, l, p, old);
        add(folder, name, TENSORS[t].ndim, TENSORS[t].shape[0], TENSORS[t].shape[1], salt_of(t, l, p));
      }
    }
  }
}

static void make_folder(Folder *folder, const char *prefix, int old, int last) {
  folder->count = 0;
  make_range(folder, prefix, old, 0, last);
}

// ---------------------------------------------------------------- reading

// Our element i of a tensor: three tensors one behind the other; the padding of the vocabulary is 0.
static float expected_value(int tensor, int layer, size_t i) {
  const size_t part = TENSORS[tensor].shape[0] * TENSORS[tensor].shape[1];
  if (i / part >= (size_t)parts_of(tensor)) return 0.0f;
  return stored_value(salt_of(tensor, layer, (int)(i / part)), i % part);
}

// All tensors that the folder has, in pieces. Returns the number of elements compared.
static size_t check_all(const BertHF *hf, BertConfig config, size_t piece) {
  float found[VP * C];
  size_t compared = 0;
  config.num_labels = LABELS;
  for (int t = 0; t < BERT_NUM_TENSORS; t++) {
    size_t rows, cols;
    bert_tensor_shape(&config, (BertTensor)t, &rows, &cols);
    for (int l = 0; l < (bert_tensor_in_block((BertTensor)t) ? L : 1) && bert_hf_has(hf, (BertTensor)t); l++) {
      for (size_t first = 0; first < rows * cols; first += piece) {
        const size_t count = rows * cols - first < piece ? rows * cols - first : piece;
        memset(found, 0xff, sizeof found);
        bert_hf_read(hf, (BertTensor)t, (size_t)l, first, count, found);
        for (size_t i = 0; i < count; i++) {
          if (found[i] != expected_value(t, l, first + i)) {
            fail_msg("%s, layer %d, element %zu: %g", bert_tensor_name((BertTensor)t), l, first + i, found[i]);
          }
        }
        compared += count;
      }
    }
  }
  return compared;
}

// Elements by the shapes written down here.
enum {
  EMBEDDINGS = VP * C + T * C + TYPES * C + 2 * C,
  BLOCK = 3 * C * C + 3 * C + C * C + C + 2 * C + 2 * HIDDEN * C + HIDDEN + C + 2 * C,
  POOLER = C * C + C,
  MLM = C * C + C + 2 * C + VP,
  NSP = 2 * C + 2,
  CLASSIFIER = LABELS * C + LABELS
};

static void test_reading(void **state) {
  (void)state;
  static const ZeroType types[] = {ZERO_F32, ZERO_BF16, ZERO_F16};
  static const struct {
    const char *prefix, *config;
    int old, last; // names of 2018; the last tensor of the folder
    size_t elements;
  } cases[] = {
      {"bert.", CONFIG, 0, BERT_NSPB, EMBEDDINGS + L * BLOCK + POOLER + MLM + NSP},
      {"bert.", CONFIG, 1, BERT_NSPB, EMBEDDINGS + L * BLOCK + POOLER + MLM + NSP},
      {"", CONFIG, 0, BERT_POOLB, EMBEDDINGS + L * BLOCK + POOLER},
      {"", CONFIG, 1, BERT_LN2B, EMBEDDINGS + L * BLOCK},
      {"bert.", CLASSES, 0, BERT_CLSB, EMBEDDINGS + L * BLOCK + POOLER + MLM + NSP + CLASSIFIER},
      // a classifier that config.json does not speak of
      {"bert.", CONFIG, 0, BERT_CLSB, EMBEDDINGS + L * BLOCK + POOLER + MLM + NSP + CLASSIFIER},
  };
  for (size_t c = 0; c < COUNT(cases); c++) {
    for (size_t t = 0; t < COUNT(types); t++) {
      Folder folder;
      BertConfig config;
      ZeroErrors errors = {0};
      make_folder(&folder, cases[c].prefix, cases[c].old, cases[c].last);
      write_folder(&folder, types[t], cases[c].config);
      BertHF *hf = bert_hf_open(dir, &config, &errors);
      check_no_error(&errors);
      assert_int_equal(config.padded_vocab_size, VP);
      assert_int_equal(config.hidden, HIDDEN);
      assert_int_equal(bert_hf_labels(hf), cases[c].last == BERT_CLSB ? LABELS : 0);
      assert_int_equal(check_all(hf, config, VP * C), cases[c].elements);
      assert_int_equal(check_all(hf, config, 7), cases[c].elements);
      assert_int_equal(check_all(hf, config, 1), cases[c].elements);
      bert_hf_close(hf);
    }
  }
}

static void read_wrong_layer(void *hf) {
  float out[C];
  bert_hf_read(hf, BERT_LN1W, L, 0, C, out);
}
static void read_behind(void *hf) {
  float out[C];
  bert_hf_read(hf, BERT_QKVW, 0, 3 * C * C - 1, 2, out);
}
static void read_missing(void *hf) {
  float out[C];
  bert_hf_read(hf, BERT_NSPB, 0, 0, 1, out);
}

static void test_outside(void **state) {
  (void)state;
  Folder folder;
  BertConfig config;
  ZeroErrors errors = {0};
  make_folder(&folder, "", 0, BERT_POOLB);
  write_folder(&folder, ZERO_F32, CONFIG);
  BertHF *hf = bert_hf_open(dir, &config, &errors);
  check_no_error(&errors);
  check_fatal(read_wrong_layer, hf, model, "ln1w, layer 2, are outside", NULL);
  check_fatal(read_behind, hf, model, "elements 47 + 2 of qkvw, layer 0, are outside the tensor of 48", NULL);
  check_fatal(read_missing, hf, model, "elements 0 + 1 of nspb, layer 0, are outside the tensor of 0", NULL);
  bert_hf_close(hf);
  bert_hf_close(NULL);
}

// ---------------------------------------------------------------- what does not fit

// Opening the folder gives exactly this line; @ stands for the folder. NULL: no error.
static void expect(const char *expected) {
  BertConfig config;
  ZeroErrors errors = {0};
  BertHF *hf = bert_hf_open(dir, &config, &errors);
  assert_true((hf == NULL) == (expected != NULL));
  check_exactly(&errors, expected);
  bert_hf_close(hf);
}

static void test_tensors(void **state) {
  (void)state;
  Folder folder;
  make_folder(&folder, "bert.", 0, BERT_NSPB);
  drop(&folder, "bert.encoder.layer.1.attention.self.key.bias");
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "bert.encoder.layer.1.attention.self.key.bias is missing; copy or download the whole folder again");

  make_folder(&folder, "bert.", 1, BERT_NSPB);
  drop(&folder, "bert.embeddings.LayerNorm.beta");
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "bert.embeddings.LayerNorm.bias is missing; copy or download the whole folder again");

  make_folder(&folder, "bert.", 0, BERT_NSPB);
  SafeTensorPlan *plan = find(&folder, "bert.encoder.layer.0.intermediate.dense.weight");
  plan->shape[0] = C; // transposed, as GPT-2's are
  plan->shape[1] = HIDDEN;
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT
         "bert.encoder.layer.0.intermediate.dense.weight has the shape [4, 12], by config.json it is [12, 4]; "
         "the two do not belong together");

  make_folder(&folder, "", 0, BERT_POOLB);
  find(&folder, "encoder.layer.1.attention.self.value.weight")->shape[0] = 3 * C; // packed
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT
         "encoder.layer.1.attention.self.value.weight has the shape [12, 4], by config.json it is [4, 4]; the "
         "two do not belong together");

  make_folder(&folder, "", 0, BERT_POOLB);
  add(&folder, "encoder.layer.2.output.dense.bias", 1, C, 1, 0);
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "encoder.layer.2.output.dense.bias is no tensor of a BERT of 2 layers; is it another model's file?");

  make_folder(&folder, "bert.", 0, BERT_CLSB); // where config.json has no labels the classifier's rows are counted
  find(&folder, "classifier.weight")->shape[0] = find(&folder, "classifier.bias")->shape[0] = 0;
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "classifier.weight has no rows, a classifier has one for each label; leave it out of the folder");

  make_folder(&folder, "bert.", 0, BERT_NSPB);
  add(&folder, "qa_outputs.weight", 2, 2, C, 0);
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "qa_outputs.weight is no tensor of a BERT of 2 layers; is it another model's file?");
}

static void test_twice(void **state) {
  (void)state;
  Folder folder;
  make_folder(&folder, "", 0, BERT_POOLB);
  add(&folder, "bert.pooler.dense.bias", 1, C, 1, 0);
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT "bert.pooler.dense.bias is there twice, as pooler.dense.bias too; keep one of them");

  make_folder(&folder, "bert.", 0, BERT_POOLB);
  add(&folder, "bert.encoder.layer.0.output.LayerNorm.gamma", 1, C, 1, 0);
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(FILE_AT
         "bert.encoder.layer.0.output.LayerNorm.weight is there twice, as "
         "bert.encoder.layer.0.output.LayerNorm.gamma too; keep one of them");
}

// Half a head is a file that lacks something, not a head to begin anew.
static void test_half_heads(void **state) {
  (void)state;
  static const char *const dropped[] = {"bert.pooler.dense.bias",    "cls.predictions.transform.LayerNorm.weight",
                                        "cls.predictions.bias",      "cls.seq_relationship.weight",
                                        "cls.seq_relationship.bias", "classifier.bias",
                                        "classifier.weight"};
  for (size_t i = 0; i < COUNT(dropped); i++) {
    Folder folder;
    char line[CHECK_TEXT];
    make_folder(&folder, "bert.", 0, BERT_CLSB);
    drop(&folder, dropped[i]);
    write_folder(&folder, ZERO_F32, CLASSES);
    snprintf(line, sizeof line, FILE_AT "%s is missing; copy or download the whole folder again", dropped[i]);
    expect(line);
  }
  // a classifier of another number of classes than config.json says
  Folder folder;
  make_folder(&folder, "bert.", 0, BERT_POOLB);
  add(&folder, "classifier.weight", 2, LABELS + 1, C, 0);
  add(&folder, "classifier.bias", 1, LABELS, 1, 0);
  write_folder(&folder, ZERO_F32, CLASSES);
  expect(FILE_AT
         "classifier.weight has the shape [4, 4], by config.json it is [3, 4]; the two do not belong together");
}

// What is stored a second time must say the same; numbers of positions are not read.
static void test_stored_again(void **state) {
  (void)state;
  Folder folder;
  char line[CHECK_TEXT];
  make_folder(&folder, "bert.", 0, BERT_NSPB);
  add(&folder, "bert.embeddings.position_ids", 2, 1, T, 0);
  add(&folder, "bert.embeddings.token_type_ids", 2, 1, T, 0);
  add(&folder, "cls.predictions.decoder.weight", 2, V, C, salt_of(BERT_WTE, 0, 0));
  add(&folder, "cls.predictions.decoder.bias", 1, V, 1, salt_of(BERT_MLMBIAS, 0, 0));
  write_folder(&folder, ZERO_BF16, CONFIG);
  expect(NULL);
  folder.salt[folder.count - 2]++; // the weight's
  write_folder(&folder, ZERO_BF16, CONFIG);
  snprintf(line, sizeof line,
           FILE_AT
           "cls.predictions.decoder.weight differs from bert.embeddings.word_embeddings.weight of %s; this "
           "program has tied weights only",
           model);
  expect(line);
  folder.salt[folder.count - 2]--;
  folder.salt[folder.count - 1]++; // the bias's
  write_folder(&folder, ZERO_BF16, CONFIG);
  snprintf(line, sizeof line,
           FILE_AT
           "cls.predictions.decoder.bias differs from cls.predictions.bias of %s; this program has tied weights "
           "only",
           model);
  expect(line);
  // the one that is there, whichever of the two
  BertConfig config;
  ZeroErrors errors = {0};
  folder.salt[folder.count - 1]--;
  drop(&folder, "cls.predictions.bias");
  write_folder(&folder, ZERO_BF16, CONFIG);
  BertHF *hf = bert_hf_open(dir, &config, &errors);
  check_no_error(&errors);
  assert_int_equal(check_all(hf, config, VP * C), EMBEDDINGS + L * BLOCK + POOLER + MLM + NSP);
  bert_hf_close(hf);

  make_folder(&folder, "", 0, BERT_POOLB);
  add(&folder, "embeddings.position_ids", 2, 1, T, 0);
  write_folder(&folder, ZERO_F32, CONFIG);
  expect(NULL);
}

static void test_many_problems(void **state) {
  (void)state;
  Folder folder;
  BertConfig config;
  ZeroErrors errors = {0};
  make_folder(&folder, "", 0, BERT_POOLB);
  drop(&folder, "embeddings.position_embeddings.weight");
  drop(&folder, "encoder.layer.0.output.dense.bias");
  add(&folder, "score.weight", 2, 2, C, 0);
  write_folder(&folder, ZERO_F32, CONFIG);
  assert_null(bert_hf_open(dir, &config, &errors));
  assert_int_equal(errors.count, 3);
  check_contains(errors.lines[0], "bert.embeddings.position_embeddings.weight is missing");
  check_contains(errors.lines[1], "bert.encoder.layer.0.output.dense.bias is missing");
  check_contains(errors.lines[2], "score.weight is no tensor of a BERT");
  check_clear(&errors);

  static const char deep[] =
      "{\"model_type\": \"bert\", \"num_hidden_layers\": 20, \"num_attention_heads\": 2, \"hidden_size\": 4,"
      " \"intermediate_size\": 12, \"max_position_embeddings\": 5, \"vocab_size\": 6, \"type_vocab_size\": 3}";
  make_folder(&folder, "", 0, BERT_POOLB);
  write_folder(&folder, ZERO_F32, deep);
  assert_null(bert_hf_open(dir, &config, &errors));
  assert_int_equal(errors.count, 101);
  check_contains(errors.lines[100], "188 more tensors are missing"); // 18 layers of 16, but the 100
  check_clear(&errors);
  // a broken config.json and a broken file
  check_write(config_path, "{", 1);
  check_write(model, "", 0);
  assert_null(bert_hf_open(dir, &config, &errors));
  assert_int_equal(errors.count, 2);
  check_clear(&errors);
}

// One type that is no float.
static void test_type(void **state) {
  (void)state;
  Folder folder;
  char command[3 * CHECK_PATH];
  make_folder(&folder, "", 0, BERT_POOLB);
  write_folder(&folder, ZERO_F16, CONFIG);
  snprintf(command, sizeof command, // in the header of the file, as long as before
           "sed -i 's/\"pooler.dense.bias\":{\"dtype\":\"F16\"/\"pooler.dense.bias\":{\"dtype\":\"I16\"/' '%s'",
           model);
  assert_int_equal(system(command), 0);
  expect(FILE_AT "pooler.dense.bias is of type I16; F32, BF16 and F16 can be read");
}

// ---------------------------------------------------------------- behind one interface

// The notes for a model that predicts this, of the folder that was written last.
static void check_notes(size_t labels, int nsp, const char *anew, const char *left_out) {
  BertConfig config;
  ZeroErrors errors = {0};
  char note[BERT_NOTE_BYTES];
  BertWeights *weights = bert_weights_open(dir, &config, &errors);
  check_no_error(&errors);
  assert_non_null(weights);
  config.num_labels = labels;
  config.nsp = nsp;
  bert_weights_choose(weights, &config, &errors);
  check_no_error(&errors);
  assert_string_equal(bert_weights_note(weights, BERT_NOTE_NEW, note), anew);
  assert_string_equal(bert_weights_note(weights, BERT_NOTE_LEFT_OUT, note), left_out);
  for (int t = 0; t < BERT_LN2B; t++) assert_true(bert_weights_has(weights, (BertTensor)t));
  bert_weights_close(weights);
}

#define ANEW "the folder lacks these tensors of the model, which begin with new values: "
#define LEFT_OUT "the model leaves out these tensors of the folder: "
#define THE_POOLER "bert.pooler.dense.weight, bert.pooler.dense.bias"
#define THE_MLM                                                                   \
  "cls.predictions.transform.dense.weight, cls.predictions.transform.dense.bias," \
  " cls.predictions.transform.LayerNorm.weight, cls.predictions.transform.LayerNorm.bias, cls.predictions.bias"
#define THE_NSP "cls.seq_relationship.weight, cls.seq_relationship.bias"
#define THE_CLASSIFIER "classifier.weight, classifier.bias"

static void test_notes(void **state) {
  (void)state;
  Folder folder;
  make_folder(&folder, "bert.", 0, BERT_NSPB);
  write_folder(&folder, ZERO_F32, CONFIG);
  check_notes(0, 1, "", "");
  check_notes(0, 0, "", LEFT_OUT THE_POOLER ", " THE_NSP);
  check_notes(2, 0, ANEW THE_CLASSIFIER, LEFT_OUT THE_MLM ", " THE_NSP);
  make_folder(&folder, "", 0, BERT_POOLB);
  write_folder(&folder, ZERO_F32, CONFIG);
  check_notes(0, 1, ANEW THE_MLM ", " THE_NSP, "");
  check_notes(0, 0, ANEW THE_MLM, LEFT_OUT THE_POOLER);
  check_notes(7, 0, ANEW THE_CLASSIFIER, "");
  make_folder(&folder, "bert.", 0, BERT_LN2B);
  write_folder(&folder, ZERO_F32, CLASSES);
  check_notes(0, 1, ANEW THE_POOLER ", " THE_MLM ", " THE_NSP, "");
  check_notes(3, 0, ANEW THE_POOLER ", " THE_CLASSIFIER, "");
  make_folder(&folder, "bert.", 0, BERT_CLSB);
  write_folder(&folder, ZERO_F32, CLASSES);
  check_notes(3, 0, "", LEFT_OUT THE_MLM ", " THE_NSP);
  check_notes(0, 1, "", LEFT_OUT THE_CLASSIFIER);
}

static void test_weights(void **state) {
  (void)state;
  Folder folder;
  BertConfig config;
  ZeroErrors errors = {0};
  float found[2];
  char vocab[CHECK_PATH];
  make_folder(&folder, "bert.", 0, BERT_CLSB);
  write_folder(&folder, ZERO_F32, CLASSES);
  BertWeights *weights = bert_weights_open(dir, &config, &errors);
  check_no_error(&errors);
  assert_int_equal(config.num_labels, 0);
  assert_null(bert_weights_vocab(weights));
  assert_int_equal(bert_weights_about(weights)->labels.count, LABELS);
  bert_weights_read(weights, BERT_QKVW, 1, C * C - 1, 2, found); // the query's last, the key's first
  assert_true(found[0] == stored_value(salt_of(BERT_QKVW, 1, 0), C * C - 1));
  assert_true(found[1] == stored_value(salt_of(BERT_QKVW, 1, 1), 0));
  config.num_labels = LABELS - 1;
  bert_weights_choose(weights, &config, &errors);
  check_exactly(&errors,
                "-e @: its classifier.weight is for 3 labels, the data has 2; give data of that number, or a "
                "model without classifier");
  bert_weights_close(weights);

  check_path(vocab, dir, "vocab.txt");
  check_write(vocab, "a\n", 2);
  weights = bert_weights_open(dir, &config, &errors);
  assert_string_equal(bert_weights_vocab(weights), vocab);
  assert_string_equal(bert_weights_folder(weights), dir);
  bert_weights_close(weights);
  bert_weights_close(NULL);

  assert_null(bert_weights_open("bert-tiny", &config, &errors));
  check_no_error(&errors);
  assert_int_equal(config.channels, 128);
  assert_null(bert_weights_open("nowhere", &config, &errors));
  check_one_error(&errors, "-e nowhere: not a known model", "a folder with config.json", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_reading, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_outside, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_tensors, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_twice, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_half_heads, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_stored_again, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_many_problems, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_type, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_notes, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_weights, setup, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("bert_hf", tests, NULL, NULL);
}
