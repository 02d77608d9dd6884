// A BERT as -e names it, behind one interface: a descriptor, or a folder of Hugging Face's with weights.
#include "bert_weights.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "export_files.h"
#include "files.h"

struct BertWeights {
  BertHF *hf;
  char *folder, *vocab; // NULL: it has none
  BertConfig config;    // of bert_weights_choose
};

BertWeights *bert_weights_open(const char *model, BertConfig *config, ZeroErrors *errors) {
  if (!file_is_folder(model)) {
    bert_config_parse(model, config, errors);
    return NULL;
  }
  BertHF *hf = bert_hf_open(model, config, errors);
  if (hf == NULL) return NULL;
  BertWeights *weights = zero_malloc(sizeof *weights, ZERO_MEM_OTHER);
  weights->hf = hf;
  weights->config = *config;
  weights->folder = zero_malloc(strlen(model) + 1, ZERO_MEM_OTHER);
  strcpy(weights->folder, model);
  weights->vocab = export_path(model, BERT_VOCAB_FILE, "");
  if (access(weights->vocab, F_OK) != 0) {
    zero_free(weights->vocab);
    weights->vocab = NULL;
  }
  return weights;
}

void bert_weights_choose(BertWeights *weights, const BertConfig *config, ZeroErrors *errors) {
  const size_t there = bert_hf_labels(weights->hf), named = bert_hf_about(weights->hf)->labels.count;
  weights->config = *config;
  if (there == 0 || config->num_labels == 0 || there == config->num_labels) return;
  zero_errors_add(
      errors,
      "-e %s: its classifier.weight is for %zu label%s%s, the data has %zu; give data of that number, or a "
      "model without classifier",
      weights->folder, there, there == 1 ? "" : "s", named == 1 ? " (regression)" : "", config->num_labels);
}

int bert_weights_has(const BertWeights *weights, BertTensor tensor) {
  return bert_hf_has(weights->hf, tensor);
}

void bert_weights_read(const BertWeights *weights, BertTensor tensor, size_t layer, size_t first, size_t count,
                       float *out) {
  bert_hf_read(weights->hf, tensor, layer, first, count, out);
}

const char *bert_weights_note(const BertWeights *weights, BertNote kind, char note[BERT_NOTE_BYTES]) {
  static const char *const texts[BERT_NUM_NOTES] = {
      [BERT_NOTE_NEW] = "the folder lacks these tensors of the model, which begin with new values:",
      [BERT_NOTE_LEFT_OUT] = "the model leaves out these tensors of the folder:"};
  char name[HF_NAME];
  size_t used = 0;
  note[0] = '\0';
  for (int t = 0; t < BERT_NUM_TENSORS; t++) { // those of blocks are always there
    const int there = bert_weights_has(weights, (BertTensor)t);
    const int wanted = bert_tensor_in_model(&weights->config, (BertTensor)t);
    if (there == wanted || wanted != (kind == BERT_NOTE_NEW)) continue;
    bert_hf_name((BertTensor)t, 0, 0, name);
    used += (size_t)snprintf(note + used, BERT_NOTE_BYTES - used, "%s %s", used == 0 ? texts[kind] : ",", name);
    if (used >= BERT_NOTE_BYTES) zero_fatal("a note of more than %d bytes; raise BERT_NOTE_BYTES", BERT_NOTE_BYTES);
  }
  return note;
}

const BertAbout *bert_weights_about(const BertWeights *weights) {
  return bert_hf_about(weights->hf);
}

const char *bert_weights_folder(const BertWeights *weights) {
  return weights->folder;
}

const char *bert_weights_vocab(const BertWeights *weights) {
  return weights->vocab;
}

void bert_weights_close(BertWeights *weights) {
  if (weights == NULL) return;
  bert_hf_close(weights->hf);
  zero_free(weights->folder);
  zero_free(weights->vocab);
  zero_free(weights);
}
