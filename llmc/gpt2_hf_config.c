// Hugging Face's config.json of a GPT-2: its shape, and whether it is the model that this program computes.
#include <string.h>

#include "descriptor.h"
#include "gpt2_hf.h"
#include "hf_config.h"
#include "json_file.h"

#define EPSILON 1e-5        // of GPT-2's LayerNorm here
#define DEFAULT_DROPOUT 0.1 // transformers' GPT2Config has this where the file has no key

// GPT2Model's tensors are GPT2LMHeadModel's, without the prefix; the other heads bring weights that have no place
// here.
static const char *const ARCHITECTURES[] = {"GPT2LMHeadModel", "GPT2Model", NULL};
static const char EXPECTED[] = "this program has GPT2LMHeadModel and GPT2Model, of model_type gpt2";

static void check_mathematics(const HFConfig *s, size_t channels) {
  static const HFSwitch switches[] = {
      {"scale_attn_weights", 1, "this program divides attention by the root of a head's size: only true can be used"},
      {"tie_word_embeddings", 1, "the head's weight is the embedding's here: only true can be used"},
      {"scale_attn_by_inverse_layer_idx", 0, "this program does not do that: only false can be used"},
      {"reorder_and_upcast_attn", 0, "this program does not do that: only false can be used"},
      {"add_cross_attention", 0, "this program has no cross attention: only false can be used"},
  };
  hf_config_switches(s, switches, sizeof switches / sizeof switches[0]);
  const cJSON *item = hf_config_get(s, "activation_function");
  if (item != NULL && !hf_config_is_text(item, "gelu_new") && !hf_config_is_text(item, "gelu_pytorch_tanh")) {
    hf_config_refuse(s, "activation_function", item,
                     "this program has gelu_new, which is also called gelu_pytorch_tanh");
  }
  hf_config_number(s, "layer_norm_epsilon", EPSILON, "this program's LayerNorm has 1e-05");
  item = hf_config_get(s, "n_inner");
  size_t inner = 0;
  if (item != NULL && !(json_whole_number(item, &inner) && inner == 4 * channels)) {
    hf_config_refuse(s, "n_inner", item, "this program has an MLP of 4 * n_embd: only that and null can be used");
  }
  hf_config_quantization(s);
}

int gpt2_hf_config(const char *folder, GPT2Config *config, GPT2DropoutRates *dropout, ZeroErrors *errors) {
  const int problems = errors->count;
  memset(config, 0, sizeof *config);
  memset(dropout, 0, sizeof *dropout);
  HFConfig source = hf_config_open(folder, errors);
  // Another model's file has other keys: its architecture is what is wrong.
  if (source.root != NULL && hf_config_architecture(&source, "gpt2", ARCHITECTURES, EXPECTED) == 0) {
    config->num_layers = hf_config_size(&source, "n_layer");
    config->num_heads = hf_config_size(&source, "n_head");
    config->channels = hf_config_size(&source, "n_embd");
    config->max_seq_len = hf_config_size(&source, "n_positions");
    config->vocab_size = config->padded_vocab_size = hf_config_size(&source, "vocab_size");
    check_mathematics(&source, config->channels);
    dropout->embeddings = hf_config_rate(&source, "embd_pdrop", DEFAULT_DROPOUT);
    dropout->attention = hf_config_rate(&source, "attn_pdrop", DEFAULT_DROPOUT);
    dropout->residual = hf_config_rate(&source, "resid_pdrop", DEFAULT_DROPOUT);
  }
  if (errors->count == problems) gpt2_config_check(config, source.path, errors);
  if (errors->count == problems) config->padded_vocab_size = model_pad_vocab(config->vocab_size);
  hf_config_close(&source);
  return errors->count > problems ? -1 : 0;
}
