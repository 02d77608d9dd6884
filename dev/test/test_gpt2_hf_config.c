// Hugging Face's config.json of a GPT-2: shapes that are taken, and every key that says another model.
#include "../../llmc/gpt2_hf.h"
#include "hf_folder.h"

// This file gives exactly this line, where @ stands for the folder; NULL: no error.
static void expect(const char *text, const char *expected) {
  GPT2Config config;
  ZeroErrors errors = {0};
  GPT2DropoutRates dropout;
  if (text != NULL) check_write(config_path, text, strlen(text));
  assert_int_equal(gpt2_hf_config(dir, &config, &dropout, &errors), expected != NULL ? -1 : 0);
  check_exactly(&errors, expected);
  if (expected != NULL) return;
  const GPT2Config shape = {5, 6, 128, 2, 2, 4};
  assert_memory_equal(&config, &shape, sizeof config);
}

#define CONFIG                                                                                                       \
  "{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 2,"              \
  " \"n_embd\": 4, \"n_positions\": 5, \"vocab_size\": 6, \"n_inner\": null, \"activation_function\": \"gelu_new\"," \
  " \"layer_norm_epsilon\": 1e-05, \"tie_word_embeddings\": true, \"scale_attn_weights\": true,"                     \
  " \"scale_attn_by_inverse_layer_idx\": false, \"reorder_and_upcast_attn\": false, \"resid_pdrop\": 0.0,"           \
  " \"embd_pdrop\": 0.0, \"attn_pdrop\": 0.0}"

#define ONLY_GPT2 "this program has GPT2LMHeadModel and GPT2Model, of model_type gpt2"

// CONFIG with one key's value replaced (to NULL: the key is renamed) gives this error, or none.
static const KeyCase KEYS[] = {
    {"model_type", "\"gpt2\"", "\"llama\"", CONFIG_AT "model_type is \"llama\"; " ONLY_GPT2},
    {"model_type", "\"gpt2\"", NULL, NULL},
    {"architectures", "[\"GPT2LMHeadModel\"]", "[\"GPT2ForSequenceClassification\"]",
     CONFIG_AT "architectures is [\"GPT2ForSequenceClassification\"]; " ONLY_GPT2},
    {"architectures", "[\"GPT2LMHeadModel\"]", "[]", CONFIG_AT "architectures is []; " ONLY_GPT2},
    {"architectures", "[\"GPT2LMHeadModel\"]", "[\"GPT2Model\"]", NULL},
    {"architectures", "[\"GPT2LMHeadModel\"]", "null", NULL},
    {"n_layer", "2", "0", CONFIG_AT "n_layer is 0; give a whole number of 1 or more"},
    {"n_layer", "2", "2.5", CONFIG_AT "n_layer is 2.5; give a whole number of 1 or more"},
    {"n_layer", "2", "\"2\"", CONFIG_AT "n_layer is \"2\"; give a whole number of 1 or more"},
    {"n_layer", "2", "1000000", "-e @/config.json: layers L is 1000000; it must be from 1 to 16384"},
    {"n_head", "2", NULL, CONFIG_AT "n_head is missing; give a whole number of 1 or more"},
    {"n_head", "2", "3", "-e @/config.json: 4 channels do not divide into 3 heads; make C a multiple of H"},
    {"vocab_size", "6", "1e300", CONFIG_AT "vocab_size is 1e+300; give a whole number of 1 or more"},
    {"n_inner", "null", "16", NULL},
    {"n_inner", "null", "15",
     CONFIG_AT "n_inner is 15; this program has an MLP of 4 * n_embd: only that and null can be used"},
    {"activation_function", "\"gelu_new\"", "\"gelu_pytorch_tanh\"", NULL},
    {"activation_function", "\"gelu_new\"", NULL, NULL},
    {"activation_function", "\"gelu_new\"", "\"gelu\"",
     CONFIG_AT "activation_function is \"gelu\"; this program has gelu_new, which is also called gelu_pytorch_tanh"},
    {"layer_norm_epsilon", "1e-05", "1e-06",
     CONFIG_AT "layer_norm_epsilon is 1e-06; this program's LayerNorm has 1e-05"},
    {"layer_norm_epsilon", "1e-05", "0.00001", NULL},
    {"tie_word_embeddings", "true", "false",
     CONFIG_AT "tie_word_embeddings is false; the head's weight is the embedding's here: only true can be used"},
    {"scale_attn_weights", "true", "false",
     CONFIG_AT "scale_attn_weights is false; this program divides attention by the root of a head's size: only true "
               "can be used"},
    {"scale_attn_by_inverse_layer_idx", "false", "true",
     CONFIG_AT "scale_attn_by_inverse_layer_idx is true; this program does not do that: only false can be used"},
    {"reorder_and_upcast_attn", "false", "true",
     CONFIG_AT "reorder_and_upcast_attn is true; this program does not do that: only false can be used"},
    {"reorder_and_upcast_attn", "false", "null", NULL},
    {"resid_pdrop", "0.0", "1.5", CONFIG_AT "resid_pdrop is 1.5; give 0, or a number from 2.4e-10, below 1"},
    {"attn_pdrop", "0.0", "0.0, \"add_cross_attention\": true",
     CONFIG_AT "add_cross_attention is true; this program has no cross attention: only false can be used"},
    {"attn_pdrop", "0.0", "0.0, \"quantization_config\": {}",
     CONFIG_AT "quantization_config is {}; give a model in fp32, bf16 or fp16"},
    {"model_type", "\"gpt2\"", "\"gpt2\", \"n_layer\": 0",
     CONFIG_AT "'n_layer' is there more than once; keep one of them"},
};

static void test_keys(void **state) {
  (void)state;
  expect(CONFIG, NULL);
  for (size_t i = 0; i < COUNT(KEYS); i++) {
    char text[CHECK_TEXT];
    change_key(CONFIG, &KEYS[i], text);
    expect(text, KEYS[i].expected);
  }
}

#define SIZES "\"n_layer\": 2, \"n_head\": 2, \"n_embd\": 4, \"n_positions\": 5, \"vocab_size\": 6"

static void test_files(void **state) {
  (void)state;
  expect("{\"model_type\": \"gpt2\", " SIZES "}", NULL); // the rest is as transformers' defaults are
  expect("{" SIZES "}", CONFIG_AT "architectures is missing; " ONLY_GPT2);
  expect("[]", "-e @/config.json:1:1: found '['; write the settings between { and }");
  expect("{\n\"n_layer\": 01}", "-e @/config.json:2:12: found '01'; write a number as 12, -0.5 or 1e-3");
  check_write(config_path, "", 0);
  assert_int_equal(truncate(config_path, (1 << 26) + 1), 0);
  expect(NULL,
         CONFIG_AT "has 67108865 bytes, more than the 67108864 that such a file may have; is it the right one?");
  assert_int_equal(unlink(config_path), 0);
  expect(NULL, CONFIG_AT "cannot be opened: No such file or directory; give a folder that has this file");
}

static void test_several_problems(void **state) {
  (void)state;
  GPT2Config config;
  ZeroErrors errors = {0};
  GPT2DropoutRates dropout;
  static const char text[] =
      "{\"model_type\": \"gpt2\", \"n_layer\": 0, \"n_embd\": 4, \"n_positions\": 5, \"vocab_size\": 6, "
      "\"tie_word_embeddings\": false}";
  check_write(config_path, text, strlen(text));
  assert_int_equal(gpt2_hf_config(dir, &config, &dropout, &errors), -1);
  assert_int_equal(errors.count, 3);
  check_contains(errors.lines[0], "n_layer is 0");
  check_contains(errors.lines[1], "n_head is missing");
  check_contains(errors.lines[2], "tie_word_embeddings is false");
  check_clear(&errors);
}

// Each of the three; transformers' default where there is no key.
static void test_dropout(void **state) {
  (void)state;
  static const struct {
    const char *text;
    GPT2DropoutRates expected;
  } cases[] = {
      {"{\"model_type\": \"gpt2\", " SIZES "}", {0.1, 0.1, 0.1}},
      {"{\"model_type\": \"gpt2\", " SIZES ", \"attn_pdrop\": 0.0, \"resid_pdrop\": 0, \"embd_pdrop\": 0.0}",
       {0.0, 0.0, 0.0}},
      {"{\"model_type\": \"gpt2\", " SIZES ", \"attn_pdrop\": 0.2, \"resid_pdrop\": 0.3}", {0.1, 0.2, 0.3}},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    GPT2Config config;
    ZeroErrors errors = {0};
    GPT2DropoutRates dropout = {-1.0, -1.0, -1.0};
    check_write(config_path, cases[i].text, strlen(cases[i].text));
    assert_int_equal(gpt2_hf_config(dir, &config, &dropout, &errors), 0);
    assert_true(dropout.embeddings == cases[i].expected.embeddings);
    assert_true(dropout.attention == cases[i].expected.attention);
    assert_true(dropout.residual == cases[i].expected.residual);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_keys, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_files, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_several_problems, setup, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_dropout, setup, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("gpt2_hf_config", tests, NULL, NULL);
}
