// BERT shapes from descriptors, and which tensors a model has.
#include "../../llmc/bert_config.h"
#include "check.h"

static void expect_config(const char *text, size_t L, size_t NH, size_t C, size_t T, size_t V, size_t Vp) {
  BertConfig config;
  ZeroErrors errors = {0};
  bert_config_parse(text, &config, &errors);
  check_no_error(&errors);
  assert_int_equal(config.num_layers, L);
  assert_int_equal(config.num_heads, NH);
  assert_int_equal(config.channels, C);
  assert_int_equal(config.max_positions, T);
  assert_int_equal(config.vocab_size, V);
  assert_int_equal(config.padded_vocab_size, Vp);
  assert_int_equal(config.hidden, 4 * C);
  assert_int_equal(config.type_vocab, 2);
  assert_int_equal(config.num_labels, 0);
  assert_int_equal(config.nsp, 0);
}

static void test_descriptors(void **state) {
  (void)state;
  expect_config("bert-tiny", 2, 2, 128, 512, 30522, 30592);
  expect_config("bert-mini", 4, 4, 256, 512, 30522, 30592);
  expect_config("bert-small", 4, 8, 512, 512, 30522, 30592);
  expect_config("bert-medium", 8, 8, 512, 512, 30522, 30592);
  expect_config("bert:bert-base", 12, 12, 768, 512, 30522, 30592);
  expect_config("bert-large", 24, 16, 1024, 512, 30522, 30592);
  expect_config("L=4,H=4,C=128,T=128,V=30522", 4, 4, 128, 128, 30522, 30592);
  expect_config("V=65,T=64,C=60,H=3,L=2", 2, 3, 60, 64, 65, 128);
  expect_config("L=1,H=1,C=1,T=1", 1, 1, 1, 1, 30522, 30592);
}

static void expect_problem(const char *text, const char *found) {
  BertConfig config;
  ZeroErrors errors = {0};
  bert_config_parse(text, &config, &errors);
  check_one_error(&errors, "-e ", text, found, NULL);
}

static void test_bad_descriptors(void **state) {
  (void)state;
  expect_problem("bert-huge", "not a known model; give bert-tiny");
  expect_problem("d12", "not a known model");
  expect_problem("", "L=4,H=4,C=128,T=128,V=30522");
  expect_problem("H=4,C=128,T=64", "L= is missing; write L=4,H=4,C=128,T=128,V=30522");
  expect_problem("L=4,H=4,C=128,T=64,X=3", "'X=3' is not one of L=, H=, C=, T=, V=");
  expect_problem("L=4,H=4,C=128,T=64,L=5", "L= is there twice");
  expect_problem("L=4,H=3,C=128,T=64", "128 channels do not divide into 3 heads");
  expect_problem("L=1000000,H=4,C=128,T=64", "layers L is 1000000");
  BertConfig config;
  ZeroErrors errors = {0};
  bert_config_parse("bert-tiny", &config, &errors);
  check_no_error(&errors);
  config.type_vocab = 0;
  bert_config_check(&config, "folder", &errors);
  check_one_error(&errors, "-e folder: number of token types is 0", NULL);
}

// Counts that transformers gives for bert-base-uncased (BertForPreTraining, BertForSequenceClassification), and the
// 70 rows that pad its vocabulary.
static void test_number_of_parameters(void **state) {
  (void)state;
  enum { PADDED = 30592 - 30522, C = 768, POOLER_AND_NSP = C * C + C + 2 * C + 2 };
  BertConfig config;
  ZeroErrors errors = {0};
  bert_config_parse("bert-base", &config, &errors);
  check_no_error(&errors);
  config.nsp = 1;
  assert_int_equal(bert_num_parameters(&config), 110106428 + PADDED * (C + 1));
  config.nsp = 0;
  assert_int_equal(bert_num_parameters(&config), 110106428 + PADDED * (C + 1) - POOLER_AND_NSP);
  config.num_labels = 2;
  assert_int_equal(bert_num_parameters(&config), 109483778 + PADDED * C);
  config.nsp = 1; // says nothing about classification
  assert_int_equal(bert_num_parameters(&config), 109483778 + PADDED * C);
  assert_int_equal(bert_largest_tensor(&config), 30592 * C);
}

enum { IN_MLM = 1, IN_NSP = 2, IN_CLASSIFY = 4, IN_ALL = 7 };

static void test_tensors(void **state) {
  (void)state;
  enum { VP = 7, T = 5, C = 4, H = 9, TYPES = 3, LABELS = 6 };
  static const struct {
    const char *name;
    BertUnit unit;
    size_t rows, cols;
    int models;
  } expected[BERT_NUM_TENSORS] = {
      {"wte", BERT_UNIT_EMBEDDINGS, VP, C, IN_ALL},
      {"wpe", BERT_UNIT_EMBEDDINGS, T, C, IN_ALL},
      {"wtype", BERT_UNIT_EMBEDDINGS, TYPES, C, IN_ALL},
      {"lnew", BERT_UNIT_EMBEDDINGS, C, 1, IN_ALL},
      {"lneb", BERT_UNIT_EMBEDDINGS, C, 1, IN_ALL},
      {"qkvw", BERT_UNIT_BLOCK, 3 * C, C, IN_ALL},
      {"qkvb", BERT_UNIT_BLOCK, 3 * C, 1, IN_ALL},
      {"attprojw", BERT_UNIT_BLOCK, C, C, IN_ALL},
      {"attprojb", BERT_UNIT_BLOCK, C, 1, IN_ALL},
      {"ln1w", BERT_UNIT_BLOCK, C, 1, IN_ALL},
      {"ln1b", BERT_UNIT_BLOCK, C, 1, IN_ALL},
      {"fcw", BERT_UNIT_BLOCK, H, C, IN_ALL},
      {"fcb", BERT_UNIT_BLOCK, H, 1, IN_ALL},
      {"fcprojw", BERT_UNIT_BLOCK, C, H, IN_ALL},
      {"fcprojb", BERT_UNIT_BLOCK, C, 1, IN_ALL},
      {"ln2w", BERT_UNIT_BLOCK, C, 1, IN_ALL},
      {"ln2b", BERT_UNIT_BLOCK, C, 1, IN_ALL},
      {"poolw", BERT_UNIT_HEAD, C, C, IN_NSP | IN_CLASSIFY},
      {"poolb", BERT_UNIT_HEAD, C, 1, IN_NSP | IN_CLASSIFY},
      {"mlmw", BERT_UNIT_HEAD, C, C, IN_MLM | IN_NSP},
      {"mlmb", BERT_UNIT_HEAD, C, 1, IN_MLM | IN_NSP},
      {"mlmlnw", BERT_UNIT_HEAD, C, 1, IN_MLM | IN_NSP},
      {"mlmlnb", BERT_UNIT_HEAD, C, 1, IN_MLM | IN_NSP},
      {"mlmbias", BERT_UNIT_HEAD, VP, 1, IN_MLM | IN_NSP},
      {"nspw", BERT_UNIT_HEAD, 2, C, IN_NSP},
      {"nspb", BERT_UNIT_HEAD, 2, 1, IN_NSP},
      {"clsw", BERT_UNIT_HEAD, LABELS, C, IN_CLASSIFY},
      {"clsb", BERT_UNIT_HEAD, LABELS, 1, IN_CLASSIFY},
  };
  const BertConfig mlm = {T, TYPES, 6, VP, 2, 2, C, H, 0, 0}, nsp = {T, TYPES, 6, VP, 2, 2, C, H, 0, 1},
                   classify = {T, TYPES, 6, VP, 2, 2, C, H, LABELS, 0};
  for (int i = 0; i < BERT_NUM_TENSORS; i++) {
    const BertTensor t = (BertTensor)i;
    size_t rows = 0, cols = 0;
    bert_tensor_shape(&classify, t, &rows, &cols);
    assert_string_equal(bert_tensor_name(t), expected[i].name);
    assert_int_equal(bert_tensor_unit(t), expected[i].unit);
    assert_int_equal(bert_tensor_in_block(t), expected[i].unit == BERT_UNIT_BLOCK);
    assert_int_equal(rows, expected[i].rows);
    assert_int_equal(cols, expected[i].cols);
    assert_int_equal(bert_tensor_in_model(&mlm, t), (expected[i].models & IN_MLM) != 0);
    assert_int_equal(bert_tensor_in_model(&nsp, t), (expected[i].models & IN_NSP) != 0);
    assert_int_equal(bert_tensor_in_model(&classify, t), (expected[i].models & IN_CLASSIFY) != 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_descriptors),
      cmocka_unit_test(test_bad_descriptors),
      cmocka_unit_test(test_number_of_parameters),
      cmocka_unit_test(test_tensors),
  };
  return cmocka_run_group_tests_name("bert_config", tests, NULL, NULL);
}
