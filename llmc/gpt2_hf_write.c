// GPT-2 as Hugging Face's transformers stores it: writing.
#include <unistd.h>

#include "../zero/memory.h"
#include "export_files.h"
#include "gpt2_hf.h"
#include "hf_write.h"
#include "safetensors.h"

enum {
  GPT2_VOCAB = 50257,
  GPT2_END_OF_TEXT = 50256 // OpenAI's tokenizer
};

// ---------------------------------------------------------------- config.json

// All that AutoModelForCausalLM.from_pretrained needs. To be freed with cJSON_free.
static char *config_text(const GPT2Config *config, const GPT2DropoutRates *dropout, ZeroType type) {
  // Left out, transformers would take 50256, which other vocabularies may not have.
  const HFKind end_of_text = config->vocab_size == GPT2_VOCAB ? HF_NUMBER : HF_NULL;
  const HFValue values[] = {
      {.key = "vocab_size", .kind = HF_NUMBER, .number = (double)config->vocab_size},
      {.key = "n_positions", .kind = HF_NUMBER, .number = (double)config->max_seq_len},
      {.key = "n_embd", .kind = HF_NUMBER, .number = (double)config->channels},
      {.key = "n_layer", .kind = HF_NUMBER, .number = (double)config->num_layers},
      {.key = "n_head", .kind = HF_NUMBER, .number = (double)config->num_heads},
      {.key = "n_inner", .kind = HF_NULL},
      {.key = "activation_function", .kind = HF_TEXT, .text = "gelu_new"},
      {.key = "layer_norm_epsilon", .kind = HF_NUMBER, .number = 1e-5},
      {.key = "scale_attn_weights", .kind = HF_TRUE},
      {.key = "scale_attn_by_inverse_layer_idx", .kind = HF_FALSE},
      {.key = "reorder_and_upcast_attn", .kind = HF_FALSE},
      {.key = "tie_word_embeddings", .kind = HF_TRUE},
      // Also where they are 0: left out, transformers would train on with 0.1.
      {.key = "resid_pdrop", .kind = HF_NUMBER, .number = dropout->residual},
      {.key = "embd_pdrop", .kind = HF_NUMBER, .number = dropout->embeddings},
      {.key = "attn_pdrop", .kind = HF_NUMBER, .number = dropout->attention},
      {.key = "bos_token_id", .kind = end_of_text, .number = GPT2_END_OF_TEXT},
      {.key = "eos_token_id", .kind = end_of_text, .number = GPT2_END_OF_TEXT},
  };
  return hf_config_text("GPT2LMHeadModel", "gpt2", values, sizeof values / sizeof values[0], type);
}

// ---------------------------------------------------------------- model.safetensors

static HFEntry entry_of(const GPT2Config *config, GPT2Tensor tensor, size_t layer) {
  HFEntry entry = {.tensor = (int)tensor, .layer = layer, .parts = 1, .transposed = gpt2_hf_transposed(tensor)};
  gpt2_hf_name(tensor, layer, entry.names[0]);
  entry.ndim = gpt2_hf_shape(config, tensor, entry.shape);
  return entry;
}

// In the order of the file: embeddings, block after block, the final LayerNorm. To be freed with zero_free.
static HFEntry *list_entries(const GPT2Config *config, size_t *count) {
  const size_t in_block = GPT2_FCPROJB - GPT2_LN1W + 1;
  HFEntry *entries =
      zero_malloc((GPT2_NUM_TENSORS + in_block * config->num_layers) * sizeof *entries, ZERO_MEM_OTHER);
  size_t n = 0;
  entries[n++] = entry_of(config, GPT2_WTE, 0);
  entries[n++] = entry_of(config, GPT2_WPE, 0);
  for (size_t l = 0; l < config->num_layers; l++) {
    for (int t = GPT2_LN1W; t <= GPT2_FCPROJB; t++) entries[n++] = entry_of(config, (GPT2Tensor)t, l);
  }
  entries[n++] = entry_of(config, GPT2_LNFW, 0);
  entries[n++] = entry_of(config, GPT2_LNFB, 0);
  *count = n;
  return entries;
}

typedef struct {
  GPT2Read *read;
  void *ctx;
} Source;

static void read_tensor(void *source, int tensor, size_t layer, float *out) {
  const Source *from = source;
  from->read(from->ctx, (GPT2Tensor)tensor, layer, out);
}

int gpt2_hf_write(const char *folder, const char *suffix, const GPT2Config *config, const GPT2DropoutRates *dropout,
                  ZeroType type, GPT2Read *read, void *ctx, char *problem, size_t problem_bytes) {
  Source source = {read, ctx};
  size_t count = 0;
  HFEntry *entries = list_entries(config, &count);
  char *path = folder != NULL ? export_path(folder, SAFETENSORS_FILE, suffix) : NULL;
  int failed = hf_write_tensors(path, type, entries, count, gpt2_largest_tensor(config), read_tensor, &source,
                                problem, problem_bytes) != 0;
  if (folder != NULL && !failed) {
    char *config_path = export_path(folder, HF_CONFIG, suffix), *text = config_text(config, dropout, type);
    failed = hf_write_text(config_path, text, problem, problem_bytes) != 0;
    if (failed) unlink(path);
    cJSON_free(text);
    zero_free(config_path);
  }
  zero_free(entries);
  zero_free(path);
  return failed ? -1 : 0;
}
