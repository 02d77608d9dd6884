// Hugging Face's config.json of a BERT: its shape, and whether it is the model that this program computes.
#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"
#include "bert_hf.h"
#include "descriptor.h"
#include "json_file.h"
#include "samples.h"

// transformers' BertConfig has these where the file has no key.
#define DEFAULT_DROPOUT 0.1
enum { DEFAULT_TYPES = 2, DEFAULT_LABELS = 2 };
#define EPSILON 1e-12 // of BERT's LayerNorm here

static const char CLASSIFICATION[] = "BertForSequenceClassification";
// The other heads bring weights that have no place here.
static const char *const ARCHITECTURES[] = {
    "BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction", CLASSIFICATION, NULL};
static const char EXPECTED[] =
    "this program has BertModel, BertForPreTraining, BertForMaskedLM, BertForNextSentencePrediction and "
    "BertForSequenceClassification, of model_type bert";

static void check_mathematics(const HFConfig *s) {
  static const HFSwitch switches[] = {
      {"tie_word_embeddings", 1, "the weight that predicts tokens is the embedding's here: only true can be used"},
      {"is_decoder", 0, "this program's BERT looks both ways: only false can be used"},
      {"add_cross_attention", 0, "this program has no cross attention: only false can be used"},
  };
  hf_config_switches(s, switches, sizeof switches / sizeof switches[0]);
  const cJSON *item = hf_config_get(s, "hidden_act");
  if (item != NULL && !hf_config_is_text(item, "gelu") && !hf_config_is_text(item, "gelu_python")) {
    hf_config_refuse(s, "hidden_act", item, "this program's BERT has gelu, by the error function");
  }
  item = hf_config_get(s, "position_embedding_type");
  if (item != NULL && !hf_config_is_text(item, "absolute")) {
    hf_config_refuse(s, "position_embedding_type", item, "this program has absolute only");
  }
  item = hf_config_get(s, "pruned_heads");
  if (item != NULL && cJSON_GetArraySize(item) > 0) {
    hf_config_refuse(s, "pruned_heads", item, "all blocks have the same heads here: give a model without it");
  }
  hf_config_number(s, "layer_norm_eps", EPSILON, "this program's BERT has 1e-12");
  hf_config_quantization(s);
}

// ---------------------------------------------------------------- labels

// id2label, {"0": "negative", "1": "positive"}: a name for each number from 0. NULL and an error for anything else.
static char **names_by_number(const HFConfig *s, const cJSON *object, size_t count) {
  char **names = zero_malloc(count * sizeof *names, ZERO_MEM_OTHER), expected[JSON_NAME_BYTES];
  const cJSON *item;
  size_t found = 0;
  cJSON_ArrayForEach(item, object) {
    size_t number = 0;
    const int right = cJSON_IsString(item) && descriptor_parse_size(item->string, strlen(item->string), &number) == 0;
    if (!right || number >= count || names[number] != NULL) break;
    names[number] = item->valuestring;
    found++;
  }
  if (found == count) return names;
  snprintf(expected, sizeof expected, "give a name to each number from 0 to %zu, once", count - 1);
  hf_config_refuse(s, "id2label", object, expected);
  zero_free(names);
  return NULL;
}

static BertLines read_labels(const HFConfig *s) {
  const cJSON *object = hf_config_get(s, "id2label");
  BertLines labels = {0};
  if (object == NULL) {
    const size_t count = hf_config_size_or(s, "num_labels", DEFAULT_LABELS);
    if (count <= SAMPLES_MAX_LABELS) return bert_lines_number(BERT_LABEL_PREFIX, count);
    hf_config_refuse(s, "num_labels", hf_config_get(s, "num_labels"), "this program has at most 65536");
    return labels;
  }
  if (!cJSON_IsObject(object) || cJSON_GetArraySize(object) == 0) {
    hf_config_refuse(s, "id2label", object, "give an object with a name for each number");
    return labels;
  }
  if ((size_t)cJSON_GetArraySize(object) > SAMPLES_MAX_LABELS) {
    hf_config_refuse(s, "id2label", object, "this program has at most 65536 labels");
    return labels;
  }
  const size_t count = (size_t)cJSON_GetArraySize(object), given = hf_config_size_or(s, "num_labels", count);
  if (given != count) {
    if (given > 0)
      hf_config_refuse(s, "num_labels", hf_config_get(s, "num_labels"), "id2label has another number of them");
    return labels;
  }
  char **names = names_by_number(s, object, count);
  if (names != NULL) labels = bert_lines_copy(&(BertLines){NULL, names, count});
  zero_free(names);
  return labels;
}

static void check_problem(const HFConfig *s, size_t labels) {
  const cJSON *item = hf_config_get(s, "problem_type");
  const int regression = hf_config_is_text(item, "regression"),
            classes = hf_config_is_text(item, "single_label_classification");
  if (item == NULL || (regression && labels == 1) || (classes && labels > 1)) return;
  hf_config_refuse(s, "problem_type", item,
                   regression ? "this program predicts one number, so one label"
                   : classes  ? "one label alone is regression: give two or more"
                              : "this program has regression and single_label_classification");
}

// ---------------------------------------------------------------- all of it

int bert_hf_config(const char *folder, BertConfig *config, BertAbout *about, ZeroErrors *errors) {
  const int problems = errors->count;
  memset(config, 0, sizeof *config);
  memset(about, 0, sizeof *about);
  HFConfig s = hf_config_open(folder, errors);
  // Another model's file has other keys: its architecture is what is wrong.
  if (s.root != NULL && hf_config_architecture(&s, "bert", ARCHITECTURES, EXPECTED) == 0) {
    config->num_layers = hf_config_size(&s, "num_hidden_layers");
    config->num_heads = hf_config_size(&s, "num_attention_heads");
    config->channels = hf_config_size(&s, "hidden_size");
    config->hidden = hf_config_size(&s, "intermediate_size");
    config->max_positions = hf_config_size(&s, "max_position_embeddings");
    config->type_vocab = hf_config_size_or(&s, "type_vocab_size", DEFAULT_TYPES);
    config->vocab_size = config->padded_vocab_size = hf_config_size(&s, "vocab_size");
    check_mathematics(&s);
    about->dropout.hidden = hf_config_rate(&s, "hidden_dropout_prob", DEFAULT_DROPOUT);
    about->dropout.attention = hf_config_rate(&s, "attention_probs_dropout_prob", DEFAULT_DROPOUT);
    about->dropout.classifier = hf_config_rate(&s, "classifier_dropout", BERT_DROPOUT_AS_HIDDEN);
    if (hf_config_has_architecture(&s, CLASSIFICATION)) {
      about->labels = read_labels(&s);
      if (about->labels.count > 0) check_problem(&s, about->labels.count);
    }
  }
  if (errors->count == problems) bert_config_check(config, s.path, errors);
  if (errors->count == problems) config->padded_vocab_size = model_pad_vocab(config->vocab_size);
  hf_config_close(&s);
  if (errors->count == problems) return 0;
  bert_about_free(about);
  return -1;
}

void bert_about_free(BertAbout *about) {
  bert_lines_free(&about->labels);
  memset(about, 0, sizeof *about);
}
