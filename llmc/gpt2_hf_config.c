// Hugging Face's config.json of a GPT-2: its shape, and whether it is the model that this program computes.
#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"
#include "descriptor.h"
#include "gpt2_hf.h"
#include "json_file.h"

enum { MAX_CONFIG_BYTES = 1 << 20 };
#define EPSILON 1e-5        // of the LayerNorm in ops.h
#define DEFAULT_DROPOUT 0.1 // transformers' GPT2Config has this where the file has no key

// place: "-e gpt2/config.json"; root: the file's object.
typedef struct {
  const char *place;
  const cJSON *root;
  ZeroErrors *errors;
} Source;

static const cJSON *get(const Source *s, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(s->root, key);
  return item != NULL && !cJSON_IsNull(item) ? item : NULL; // Python's None is the default
}

static void refuse(const Source *s, const char *key, const cJSON *item, const char *expected) {
  char found[JSON_NAME_BYTES];
  zero_errors_add(s->errors, "%s: %s is %s; %s", s->place, key, item != NULL ? json_found(item, found) : "missing",
                  expected);
}

static int is_text(const cJSON *item, const char *text) {
  return cJSON_IsString(item) && strcmp(item->valuestring, text) == 0;
}

// GPT2Model's tensors are GPT2LMHeadModel's, without the prefix; the other heads bring weights that have no place
// here.
static void check_architecture(const Source *s) {
  static const char expected[] = "this program has GPT2LMHeadModel and GPT2Model, of model_type gpt2";
  const cJSON *type = get(s, "model_type"), *list = get(s, "architectures"), *item;
  if (type != NULL && !is_text(type, "gpt2")) {
    refuse(s, "model_type", type, expected);
    return;
  }
  int known = list == NULL && type != NULL;
  cJSON_ArrayForEach(item, list) known |= is_text(item, "GPT2LMHeadModel") || is_text(item, "GPT2Model");
  if (!known) refuse(s, "architectures", list, expected);
}

static size_t read_size(const Source *s, const char *key) {
  const cJSON *item = get(s, key);
  size_t value = 0;
  if (!json_whole_number(item, &value) || value == 0) refuse(s, key, item, "give a whole number of 1 or more");
  return value;
}

static void check_mathematics(const Source *s, size_t channels) {
  static const struct {
    const char *key;
    int value;
    const char *fix;
  } switches[] = {
      {"scale_attn_weights", 1, "this program divides attention by the root of a head's size: only true can be used"},
      {"tie_word_embeddings", 1, "the head's weight is the embedding's here: only true can be used"},
      {"scale_attn_by_inverse_layer_idx", 0, "this program does not do that: only false can be used"},
      {"reorder_and_upcast_attn", 0, "this program does not do that: only false can be used"},
      {"add_cross_attention", 0, "this program has no cross attention: only false can be used"},
  };
  for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
    const cJSON *item = get(s, switches[i].key);
    const int right = switches[i].value ? cJSON_IsTrue(item) : cJSON_IsFalse(item);
    if (item != NULL && !right) refuse(s, switches[i].key, item, switches[i].fix);
  }
  const cJSON *item = get(s, "activation_function");
  if (item != NULL && !is_text(item, "gelu_new") && !is_text(item, "gelu_pytorch_tanh")) {
    refuse(s, "activation_function", item, "this program has gelu_new, which is also called gelu_pytorch_tanh");
  }
  item = get(s, "layer_norm_epsilon");
  if (item != NULL && !(cJSON_IsNumber(item) && item->valuedouble == EPSILON)) {
    refuse(s, "layer_norm_epsilon", item, "this program's LayerNorm has 1e-05");
  }
  item = get(s, "n_inner");
  size_t inner = 0;
  if (item != NULL && !(json_whole_number(item, &inner) && inner == 4 * channels)) {
    refuse(s, "n_inner", item, "this program has an MLP of 4 * n_embd: only that and null can be used");
  }
  item = get(s, "quantization_config");
  if (item != NULL) refuse(s, "quantization_config", item, "give a model in fp32, bf16 or fp16");
}

static double read_dropout(const Source *s) {
  static const char *const keys[] = {"resid_pdrop", "embd_pdrop", "attn_pdrop"};
  double largest = 0.0;
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    const cJSON *item = get(s, keys[i]);
    const double rate = item == NULL ? DEFAULT_DROPOUT : item->valuedouble;
    if (item != NULL && !(cJSON_IsNumber(item) && rate >= 0.0 && rate <= 1.0)) {
      refuse(s, keys[i], item, "give a number from 0 to 1");
    } else if (rate > largest) {
      largest = rate;
    }
  }
  return largest;
}

int gpt2_hf_config(const char *folder, GPT2Config *config, double *dropout, ZeroErrors *errors) {
  const int problems = errors->count;
  const size_t room = strlen(folder) + sizeof "-e /" GPT2_HF_CONFIG;
  char *place = zero_malloc(room, ZERO_MEM_OTHER);
  snprintf(place, room, "-e %s/%s", folder, GPT2_HF_CONFIG);
  const char *path = place + strlen("-e ");
  memset(config, 0, sizeof *config);
  *dropout = 0.0;
  cJSON *root = json_file_read(path, MAX_CONFIG_BYTES, "-e", errors);
  if (root != NULL) {
    const Source source = {place, root, errors};
    check_architecture(&source);
    if (errors->count == problems) { // another model's file has other keys: its architecture is what is wrong
      config->num_layers = read_size(&source, "n_layer");
      config->num_heads = read_size(&source, "n_head");
      config->channels = read_size(&source, "n_embd");
      config->max_seq_len = read_size(&source, "n_positions");
      config->vocab_size = config->padded_vocab_size = read_size(&source, "vocab_size");
      check_mathematics(&source, config->channels);
      *dropout = read_dropout(&source);
    }
    if (errors->count == problems) gpt2_config_check(config, path, errors);
    if (errors->count == problems) config->padded_vocab_size = model_pad_vocab(config->vocab_size);
    cJSON_Delete(root);
  }
  zero_free(place);
  return errors->count > problems ? -1 : 0;
}
