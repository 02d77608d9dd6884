// BERT as Hugging Face's transformers stores it: writing.
#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"
#include "bert_hf.h"
#include "export_files.h"
#include "hf_write.h"
#include "safetensors.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

// ---------------------------------------------------------------- config.json, tokenizer_config.json

static const char *architecture(const BertConfig *config) {
  if (config->num_labels > 0) return "BertForSequenceClassification";
  return config->nsp ? "BertForPreTraining" : "BertForMaskedLM";
}

// Names by number, and the reverse.
static void add_labels(cJSON *id2label, cJSON *label2id, const BertLines *labels) {
  enum { DIGITS = 24 };
  for (size_t i = 0; i < labels->count; i++) {
    char number[DIGITS];
    snprintf(number, sizeof number, "%zu", i);
    const HFValue name = {.key = number, .kind = HF_TEXT, .text = labels->lines[i]},
                  value = {.key = labels->lines[i], .kind = HF_NUMBER, .number = (double)i};
    hf_json_add(id2label, &name, 1);
    hf_json_add(label2id, &value, 1);
  }
}

// To be freed with cJSON_free. vocab: NULL where there is none.
static char *config_text(const BertConfig *config, const BertAbout *about, const BertVocab *vocab, ZeroType type) {
  const int classes = config->num_labels > 0;
  const HFValue values[] = {
      {.key = "vocab_size", .kind = HF_NUMBER, .number = (double)config->vocab_size},
      {.key = "max_position_embeddings", .kind = HF_NUMBER, .number = (double)config->max_positions},
      {.key = "type_vocab_size", .kind = HF_NUMBER, .number = (double)config->type_vocab},
      {.key = "hidden_size", .kind = HF_NUMBER, .number = (double)config->channels},
      {.key = "num_hidden_layers", .kind = HF_NUMBER, .number = (double)config->num_layers},
      {.key = "num_attention_heads", .kind = HF_NUMBER, .number = (double)config->num_heads},
      {.key = "intermediate_size", .kind = HF_NUMBER, .number = (double)config->hidden},
      {.key = "hidden_act", .kind = HF_TEXT, .text = "gelu"},
      {.key = "layer_norm_eps", .kind = HF_NUMBER, .number = 1e-12},
      {.key = "position_embedding_type", .kind = HF_TEXT, .text = "absolute"},
      {.key = "is_decoder", .kind = HF_FALSE},
      {.key = "add_cross_attention", .kind = HF_FALSE},
      {.key = "tie_word_embeddings", .kind = HF_TRUE},
      {.key = "hidden_dropout_prob", .kind = HF_NUMBER, .number = about->dropout.hidden},
      {.key = "attention_probs_dropout_prob", .kind = HF_NUMBER, .number = about->dropout.attention},
      {.key = "classifier_dropout", .kind = classes ? HF_NUMBER : HF_NULL, .number = about->dropout.classifier},
      {.key = "pad_token_id",
       .kind = vocab != NULL ? HF_NUMBER : HF_NULL,
       .number = vocab != NULL ? (double)vocab->pad : 0.0},
  };
  HFValue all[COUNT(values) + 3];
  memcpy(all, values, sizeof values);
  size_t count = COUNT(values);
  if (classes) {
    BertLines labels = about->labels.count > 0 ? bert_lines_copy(&about->labels)
                                               : bert_lines_number(BERT_LABEL_PREFIX, config->num_labels);
    cJSON *id2label = cJSON_CreateObject(), *label2id = cJSON_CreateObject();
    add_labels(id2label, label2id, &labels);
    bert_lines_free(&labels);
    all[count++] = (HFValue){.key = "problem_type",
                             .kind = HF_TEXT,
                             .text = config->num_labels == 1 ? "regression" : "single_label_classification"};
    all[count++] = (HFValue){.key = "id2label", .kind = HF_ITEM, .item = id2label};
    all[count++] = (HFValue){.key = "label2id", .kind = HF_ITEM, .item = label2id};
  }
  return hf_config_text(architecture(config), "bert", all, count, type);
}

// What AutoTokenizer needs beside vocab.txt. To be freed with cJSON_free.
static char *tokenizer_text(const BertConfig *config, const BertVocab *vocab) {
  const HFValue values[] = {
      {.key = "tokenizer_class", .kind = HF_TEXT, .text = "BertTokenizer"},
      {.key = "do_lower_case", .kind = vocab->cased ? HF_FALSE : HF_TRUE},
      {.key = "strip_accents", .kind = HF_NULL}, // as do_lower_case says
      {.key = "tokenize_chinese_chars", .kind = HF_TRUE},
      {.key = "model_max_length", .kind = HF_NUMBER, .number = (double)config->max_positions},
      {.key = "pad_token", .kind = HF_TEXT, .text = "[PAD]"},
      {.key = "unk_token", .kind = HF_TEXT, .text = "[UNK]"},
      {.key = "cls_token", .kind = HF_TEXT, .text = "[CLS]"},
      {.key = "sep_token", .kind = HF_TEXT, .text = "[SEP]"},
      {.key = "mask_token", .kind = HF_TEXT, .text = "[MASK]"},
  };
  return hf_json_text(values, COUNT(values));
}

// ---------------------------------------------------------------- vocab.txt

static char *vocab_text(const BertLines *words) {
  size_t bytes = 1;
  for (size_t i = 0; i < words->count; i++) bytes += strlen(words->lines[i]) + 1;
  char *text = zero_malloc(bytes, ZERO_MEM_OTHER), *next = text;
  for (size_t i = 0; i < words->count; i++) {
    if (i > 0) *next++ = '\n'; // the last one's comes with the file
    next = stpcpy(next, words->lines[i]);
  }
  return text;
}

// ---------------------------------------------------------------- model.safetensors

static HFEntry entry_of(const BertConfig *config, BertTensor tensor, size_t layer) {
  HFEntry entry = {.tensor = (int)tensor, .layer = layer, .parts = bert_hf_parts(tensor)};
  for (int p = 0; p < entry.parts; p++) bert_hf_name(tensor, layer, p, entry.names[p]);
  entry.ndim = bert_hf_shape(config, tensor, entry.shape);
  return entry;
}

// In the order of the file: embeddings, block after block, heads. To be freed with zero_free.
static HFEntry *list_entries(const BertConfig *config, size_t *count) {
  const size_t in_block = BERT_LN2B - BERT_QKVW + 1;
  HFEntry *entries =
      zero_malloc((BERT_NUM_TENSORS + in_block * config->num_layers) * sizeof *entries, ZERO_MEM_OTHER);
  size_t n = 0;
  for (int t = BERT_WTE; t < BERT_QKVW; t++) entries[n++] = entry_of(config, (BertTensor)t, 0);
  for (size_t l = 0; l < config->num_layers; l++) {
    for (int t = BERT_QKVW; t <= BERT_LN2B; t++) entries[n++] = entry_of(config, (BertTensor)t, l);
  }
  for (int t = BERT_LN2B + 1; t < BERT_NUM_TENSORS; t++) {
    if (bert_tensor_in_model(config, (BertTensor)t)) entries[n++] = entry_of(config, (BertTensor)t, 0);
  }
  *count = n;
  return entries;
}

typedef struct {
  BertRead *read;
  void *ctx;
} Source;

static void read_tensor(void *source, int tensor, size_t layer, float *out) {
  const Source *from = source;
  from->read(from->ctx, (BertTensor)tensor, layer, out);
}

static int write_tensors(const char *path, const BertConfig *config, ZeroType type, BertRead *read, void *ctx,
                         char *problem, size_t problem_bytes) {
  Source source = {read, ctx};
  size_t count = 0;
  HFEntry *entries = list_entries(config, &count);
  const int result = hf_write_tensors(path, type, entries, count, bert_largest_tensor(config), read_tensor, &source,
                                      problem, problem_bytes);
  zero_free(entries);
  return result;
}

// ---------------------------------------------------------------- all of it

// config.json first: with it alone the weights can be read.
static int write_texts(const char *folder, const char *suffix, const BertConfig *config, const BertAbout *about,
                       const BertVocab *vocab, ZeroType type, char *problem, size_t problem_bytes) {
  char *words = vocab != NULL ? vocab_text(&vocab->words) : NULL;
  char *tokenizer = vocab != NULL ? tokenizer_text(config, vocab) : NULL;
  char *description = config_text(config, about, vocab, type);
  const struct {
    const char *name, *text; // NULL: no such file
  } texts[] = {{HF_CONFIG, description}, {BERT_TOKENIZER_FILE, tokenizer}, {BERT_VOCAB_FILE, words}};
  int result = 0;
  for (size_t i = 0; i < COUNT(texts) && result == 0; i++) {
    if (texts[i].text == NULL) continue;
    char *path = export_path(folder, texts[i].name, suffix);
    result = hf_write_text(path, texts[i].text, problem, problem_bytes);
    zero_free(path);
  }
  zero_free(words);
  cJSON_free(tokenizer);
  cJSON_free(description);
  return result;
}

BertHFResult bert_hf_write(const char *folder, const char *suffix, const BertConfig *config, const BertAbout *about,
                           const BertVocab *vocab, ZeroType type, BertRead *read, void *ctx, char *problem,
                           size_t problem_bytes) {
  if (about->labels.count > 0 && config->num_labels > 0 && about->labels.count != config->num_labels) {
    zero_fatal("%zu names for %zu labels; give one for each, or none", about->labels.count, config->num_labels);
  }
  char *path = folder != NULL ? export_path(folder, SAFETENSORS_FILE, suffix) : NULL;
  BertHFResult result = BERT_HF_WRITTEN;
  if (write_tensors(path, config, type, read, ctx, problem, problem_bytes) != 0) {
    result = BERT_HF_NOTHING;
  } else if (folder != NULL && write_texts(folder, suffix, config, about, vocab, type, problem, problem_bytes) != 0) {
    result = BERT_HF_WEIGHTS_ONLY;
  }
  zero_free(path);
  return result;
}
