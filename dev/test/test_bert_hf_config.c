// Hugging Face's config.json of a BERT: shapes that are taken, and every key that says another model.
#include "../../llmc/bert_hf.h"
#include "hf_folder.h"

static const BertConfig SHAPE = {.max_positions = 5,
                                 .type_vocab = 3,
                                 .vocab_size = 6,
                                 .padded_vocab_size = 128,
                                 .num_layers = 2,
                                 .num_heads = 2,
                                 .channels = 4,
                                 .hidden = 16};

static void check_shape(const BertConfig *found, const BertConfig *expected) {
  assert_int_equal(found->max_positions, expected->max_positions);
  assert_int_equal(found->type_vocab, expected->type_vocab);
  assert_int_equal(found->vocab_size, expected->vocab_size);
  assert_int_equal(found->padded_vocab_size, expected->padded_vocab_size);
  assert_int_equal(found->num_layers, expected->num_layers);
  assert_int_equal(found->num_heads, expected->num_heads);
  assert_int_equal(found->channels, expected->channels);
  assert_int_equal(found->hidden, expected->hidden);
  assert_int_equal(found->num_labels, 0);
  assert_int_equal(found->nsp, 0);
}

// This file gives exactly this line, where @ stands for the folder; NULL: no error.
static void expect(const char *text, const char *expected) {
  BertConfig config;
  BertAbout about;
  ZeroErrors errors = {0};
  if (text != NULL) check_write(config_path, text, strlen(text));
  assert_int_equal(bert_hf_config(dir, &config, &about, &errors), expected != NULL ? -1 : 0);
  check_exactly(&errors, expected);
  if (expected == NULL) check_shape(&config, &SHAPE);
  bert_about_free(&about);
}

#define SIZES                                                                                            \
  "\"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"hidden_size\": 4, \"intermediate_size\": 16," \
  " \"max_position_embeddings\": 5, \"vocab_size\": 6"
#define CONFIG                                                                                                   \
  "{\"architectures\": [\"BertForPreTraining\"], \"model_type\": \"bert\", " SIZES                               \
  ", \"type_vocab_size\": 3,"                                                                                    \
  " \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12, \"position_embedding_type\": \"absolute\","             \
  " \"is_decoder\": false, \"add_cross_attention\": false, \"tie_word_embeddings\": true, \"pruned_heads\": {}," \
  " \"hidden_dropout_prob\": 0.1, \"attention_probs_dropout_prob\": 0.1, \"classifier_dropout\": null,"          \
  " \"problem_type\": null, \"num_labels\": 2, \"id2label\": {\"0\": \"no\", \"1\": \"yes\"}}"

#define ONLY_BERT                                                                                       \
  "this program has BertModel, BertForPreTraining, BertForMaskedLM, BertForNextSentencePrediction and " \
  "BertForSequenceClassification, of model_type bert"

static const KeyCase KEYS[] = {
    {"model_type", "\"bert\"", "\"roberta\"", CONFIG_AT "model_type is \"roberta\"; " ONLY_BERT},
    {"model_type", "\"bert\"", NULL, NULL},
    {"architectures", "[\"BertForPreTraining\"]", "[\"BertForTokenClassification\"]",
     CONFIG_AT "architectures is [\"BertForTokenClassification\"]; " ONLY_BERT},
    {"architectures", "[\"BertForPreTraining\"]", "[\"BertLMHeadModel\"]",
     CONFIG_AT "architectures is [\"BertLMHeadModel\"]; " ONLY_BERT},
    {"architectures", "[\"BertForPreTraining\"]", "[]", CONFIG_AT "architectures is []; " ONLY_BERT},
    {"architectures", "[\"BertForPreTraining\"]", "[\"BertModel\"]", NULL},
    {"architectures", "[\"BertForPreTraining\"]", "[\"BertForMaskedLM\"]", NULL},
    {"architectures", "[\"BertForPreTraining\"]", "[\"BertForNextSentencePrediction\"]", NULL},
    {"architectures", "[\"BertForPreTraining\"]", "[\"BertForSequenceClassification\"]", NULL},
    {"architectures", "[\"BertForPreTraining\"]", "null", NULL},
    {"num_hidden_layers", "2", "0", CONFIG_AT "num_hidden_layers is 0; give a whole number of 1 or more"},
    {"num_hidden_layers", "2", "1000000", "-e @/config.json: layers L is 1000000; it must be from 1 to 16384"},
    {"num_attention_heads", "2", "2.5", CONFIG_AT "num_attention_heads is 2.5; give a whole number of 1 or more"},
    {"num_attention_heads", "2", "3",
     "-e @/config.json: 4 channels do not divide into 3 heads; make C a multiple of H"},
    {"hidden_size", "4", NULL, CONFIG_AT "hidden_size is missing; give a whole number of 1 or more"},
    {"intermediate_size", "16", NULL, CONFIG_AT "intermediate_size is missing; give a whole number of 1 or more"},
    {"max_position_embeddings", "5", "\"5\"",
     CONFIG_AT "max_position_embeddings is \"5\"; give a whole number of 1 or more"},
    {"vocab_size", "6", "1e300", CONFIG_AT "vocab_size is 1e+300; give a whole number of 1 or more"},
    {"type_vocab_size", "3", "0", CONFIG_AT "type_vocab_size is 0; give a whole number of 1 or more"},
    {"hidden_act", "\"gelu\"", "\"gelu_new\"",
     CONFIG_AT "hidden_act is \"gelu_new\"; this program's BERT has gelu, by the error function"},
    {"hidden_act", "\"gelu\"", "\"relu\"",
     CONFIG_AT "hidden_act is \"relu\"; this program's BERT has gelu, by the error function"},
    {"hidden_act", "\"gelu\"", "\"gelu_python\"", NULL},
    {"hidden_act", "\"gelu\"", NULL, NULL},
    {"layer_norm_eps", "1e-12", "1e-05", CONFIG_AT "layer_norm_eps is 1e-05; this program's BERT has 1e-12"},
    {"layer_norm_eps", "1e-12", "\"1e-12\"", CONFIG_AT "layer_norm_eps is \"1e-12\"; this program's BERT has 1e-12"},
    {"layer_norm_eps", "1e-12", NULL, NULL},
    {"position_embedding_type", "\"absolute\"", "\"relative_key\"",
     CONFIG_AT "position_embedding_type is \"relative_key\"; this program has absolute only"},
    {"position_embedding_type", "\"absolute\"", NULL, NULL},
    {"is_decoder", "false", "true",
     CONFIG_AT "is_decoder is true; this program's BERT looks both ways: only false can be used"},
    {"is_decoder", "false", "0",
     CONFIG_AT "is_decoder is 0; this program's BERT looks both ways: only false can be used"},
    {"add_cross_attention", "false", "true",
     CONFIG_AT "add_cross_attention is true; this program has no cross attention: only false can be used"},
    {"tie_word_embeddings", "true", "false",
     CONFIG_AT "tie_word_embeddings is false; the weight that predicts tokens is the embedding's here: only true can "
               "be used"},
    {"pruned_heads", "{}", "{\"0\": [1]}",
     CONFIG_AT "pruned_heads is {\"0\":[1]}; all blocks have the same heads here: give a model without it"},
    {"pruned_heads", "{}", "{}, \"quantization_config\": {}",
     CONFIG_AT "quantization_config is {}; give a model in fp32, bf16 or fp16"},
    {"hidden_dropout_prob", "0.1", "1",
     CONFIG_AT "hidden_dropout_prob is 1; give 0, or a number from 2.4e-10, below 1"},
    {"hidden_dropout_prob", "0.1", "-0.1",
     CONFIG_AT "hidden_dropout_prob is -0.1; give 0, or a number from 2.4e-10, below 1"},
    {"attention_probs_dropout_prob", "0.1", "\"0\"",
     CONFIG_AT "attention_probs_dropout_prob is \"0\"; give 0, or a number from 2.4e-10, below 1"},
    {"classifier_dropout", "null", "2",
     CONFIG_AT "classifier_dropout is 2; give 0, or a number from 2.4e-10, below 1"},
    // of no account without a classifier
    {"problem_type", "null", "\"multi_label_classification\"", NULL},
    {"id2label", "{\"0\": \"no\", \"1\": \"yes\"}", "7", NULL},
    {"model_type", "\"bert\"", "\"bert\", \"vocab_size\": 6",
     CONFIG_AT "'vocab_size' is there more than once; keep one of them"},
};

static void test_keys(void **state) {
  (void)state;
  char text[CHECK_TEXT];
  expect(CONFIG, NULL);
  for (size_t i = 0; i < COUNT(KEYS); i++) {
    change_key(CONFIG, &KEYS[i], text);
    expect(text, KEYS[i].expected);
  }
}

#define TWO "{\"0\": \"no\", \"1\": \"yes\"}"

static const KeyCase LABEL_KEYS[] = {
    {"problem_type", "null", "\"single_label_classification\"", NULL},
    {"problem_type", "null", "\"multi_label_classification\"",
     CONFIG_AT "problem_type is \"multi_label_classification\"; this program has regression and "
               "single_label_classification"},
    {"problem_type", "null", "\"regression\"",
     CONFIG_AT "problem_type is \"regression\"; this program predicts one number, so one label"},
    {"num_labels", "2", "3", CONFIG_AT "num_labels is 3; id2label has another number of them"},
    {"num_labels", "2", NULL, NULL},
    {"num_labels", "2", "0", CONFIG_AT "num_labels is 0; give a whole number of 1 or more"},
    {"id2label", TWO, "{\"0\": \"no\", \"2\": \"yes\"}",
     CONFIG_AT "id2label is {\"0\":\"no\",\"2\":\"yes\"}; give a name to each number from 0 to 1, once"},
    {"id2label", TWO, "{\"0\": \"no\", \"0\": \"yes\"}",
     CONFIG_AT "id2label is {\"0\":\"no\",\"0\":\"yes\"}; give a name to each number from 0 to 1, once"},
    {"id2label", TWO, "{\"0\": \"no\", \"one\": \"yes\"}",
     CONFIG_AT "id2label is {\"0\":\"no\",\"one\":\"yes\"}; give a name to each number from 0 to 1, once"},
    {"id2label", TWO, "{\"0\": \"no\", \"1\": 1}",
     CONFIG_AT "id2label is {\"0\":\"no\",\"1\":1}; give a name to each number from 0 to 1, once"},
    {"id2label", TWO, "{}", CONFIG_AT "id2label is {}; give an object with a name for each number"},
    {"id2label", TWO, "[\"no\", \"yes\"]",
     CONFIG_AT "id2label is [\"no\",\"yes\"]; give an object with a name for each number"},
};

static void classification(char text[CHECK_TEXT]) {
  static const KeyCase change = {"architectures", "[\"BertForPreTraining\"]", "[\"BertForSequenceClassification\"]",
                                 NULL};
  change_key(CONFIG, &change, text);
}

static void test_label_keys(void **state) {
  (void)state;
  char base[CHECK_TEXT], text[CHECK_TEXT];
  classification(base);
  expect(base, NULL);
  for (size_t i = 0; i < COUNT(LABEL_KEYS); i++) {
    change_key(base, &LABEL_KEYS[i], text);
    expect(text, LABEL_KEYS[i].expected);
  }
  expect("{\"model_type\": \"bert\", \"architectures\": [\"BertForSequenceClassification\"], " SIZES
         ", \"num_labels\": 65537}",
         CONFIG_AT "num_labels is 65537; this program has at most 65536");
  expect("{\"model_type\": \"bert\", \"architectures\": [\"BertForSequenceClassification\"], " SIZES
         ", \"id2label\": {\"0\": \"x\"}, \"problem_type\": \"single_label_classification\"}",
         CONFIG_AT
         "problem_type is \"single_label_classification\"; one label alone is regression: give two or more");
}

// Names of the labels of this file, joined by spaces.
static void check_labels(const char *text, const char *expected) {
  BertConfig config;
  BertAbout about;
  ZeroErrors errors = {0};
  char found[CHECK_TEXT] = "";
  check_write(config_path, text, strlen(text));
  bert_hf_config(dir, &config, &about, &errors);
  check_no_error(&errors);
  for (size_t i = 0; i < about.labels.count; i++) {
    strcat(found, i > 0 ? " " : "");
    strcat(found, about.labels.lines[i]);
  }
  assert_string_equal(found, expected);
  bert_about_free(&about);
}

#define CLASSIFIER "{\"model_type\": \"bert\", \"architectures\": [\"BertForSequenceClassification\"], " SIZES

static void test_labels(void **state) {
  (void)state;
  char text[CHECK_TEXT];
  check_labels(CONFIG, "");
  classification(text);
  check_labels(text, "no yes");
  check_labels(CLASSIFIER ", \"id2label\": {\"2\": \"c\", \"0\": \"a\", \"1\": \"b\"}}", "a b c");
  check_labels(CLASSIFIER "}", "LABEL_0 LABEL_1"); // transformers' default
  check_labels(CLASSIFIER ", \"num_labels\": 3}", "LABEL_0 LABEL_1 LABEL_2");
  check_labels(CLASSIFIER ", \"num_labels\": 1, \"problem_type\": \"regression\"}", "LABEL_0");
}

// As many names as samples can have classes, and one more.
static void test_most_labels(void **state) {
  (void)state;
  enum { MOST = 65536 };
  for (int more = 0; more <= 1; more++) {
    FILE *file = fopen(config_path, "wb");
    assert_non_null(file);
    fprintf(file, CLASSIFIER ", \"id2label\": {\"0\": \"first\"");
    for (int i = 1; i < MOST + more; i++) fprintf(file, ", \"%d\": \"name %d\"", i, i);
    fprintf(file, "}}");
    assert_int_equal(fclose(file), 0);
    BertConfig config;
    BertAbout about;
    ZeroErrors errors = {0};
    bert_hf_config(dir, &config, &about, &errors);
    if (more) {
      check_one_error(&errors, "config.json: id2label is {", "this program has at most 65536 labels", NULL);
    } else {
      check_no_error(&errors);
      assert_int_equal(about.labels.count, MOST);
      assert_string_equal(about.labels.lines[MOST - 1], "name 65535");
    }
    bert_about_free(&about);
  }
}

static void test_dropout(void **state) {
  (void)state;
  static const struct {
    const char *text;
    BertDropoutRates expected;
  } cases[] = {
      // transformers' defaults; the classifier's is settled with the flags
      {"{\"model_type\": \"bert\", " SIZES "}", {0.1, 0.1, BERT_DROPOUT_AS_HIDDEN}},
      {"{\"model_type\": \"bert\", " SIZES ", \"hidden_dropout_prob\": 0.25, \"classifier_dropout\": null}",
       {0.25, 0.1, BERT_DROPOUT_AS_HIDDEN}},
      {"{\"model_type\": \"bert\", " SIZES ", \"classifier_dropout\": 0}", {0.1, 0.1, 0.0}},
      {"{\"model_type\": \"bert\", " SIZES ", \"hidden_dropout_prob\": 0, \"attention_probs_dropout_prob\": 0.5,"
       " \"classifier_dropout\": 0.75}",
       {0.0, 0.5, 0.75}},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    BertConfig config;
    BertAbout about;
    ZeroErrors errors = {0};
    check_write(config_path, cases[i].text, strlen(cases[i].text));
    assert_int_equal(bert_hf_config(dir, &config, &about, &errors), 0);
    assert_true(about.dropout.hidden == cases[i].expected.hidden);
    assert_true(about.dropout.attention == cases[i].expected.attention);
    assert_true(about.dropout.classifier == cases[i].expected.classifier);
    bert_about_free(&about);
  }
}

static void test_files(void **state) {
  (void)state;
  BertConfig config;
  BertAbout about;
  ZeroErrors errors = {0};
  static const char several[] =
      "{\"model_type\": \"bert\", \"num_hidden_layers\": 0, \"hidden_size\": 4, \"intermediate_size\": 12,"
      " \"max_position_embeddings\": 5, \"vocab_size\": 6, \"is_decoder\": true}";
  expect("{" SIZES "}", CONFIG_AT "architectures is missing; " ONLY_BERT);
  expect("[]", "-e @/config.json:1:1: found '['; write the settings between { and }");
  assert_int_equal(unlink(config_path), 0);
  expect(NULL, CONFIG_AT "cannot be opened: No such file or directory; give a folder that has this file");
  check_write(config_path, several, strlen(several));
  assert_int_equal(bert_hf_config(dir, &config, &about, &errors), -1);
  assert_int_equal(errors.count, 3);
  check_contains(errors.lines[0], "num_hidden_layers is 0");
  check_contains(errors.lines[1], "num_attention_heads is missing");
  check_contains(errors.lines[2], "is_decoder is true");
  check_clear(&errors);
  // an MLP of any width; two types where no key says otherwise
  static const char other[] =
      "{\"model_type\": \"bert\", \"num_hidden_layers\": 2, \"num_attention_heads\": 2,"
      " \"hidden_size\": 4, \"intermediate_size\": 11, \"max_position_embeddings\": 5,"
      " \"vocab_size\": 129}";
  BertConfig expected = SHAPE;
  expected.hidden = 11;
  expected.type_vocab = 2;
  expected.vocab_size = 129;
  expected.padded_vocab_size = 256;
  check_write(config_path, other, strlen(other));
  assert_int_equal(bert_hf_config(dir, &config, &about, &errors), 0);
  check_shape(&config, &expected);
  bert_about_free(&about);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_keys, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_label_keys, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_labels, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_most_labels, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_dropout, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_files, setup, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("bert_hf_config", tests, NULL, NULL);
}
