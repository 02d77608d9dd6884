// --export of a BERT: the trained model as a folder for Hugging Face's transformers.
#include "bert_export.h"

#include <stdio.h>
#include <string.h>

#include "export_files.h"
#include "gpt2_bin.h"
#include "output_dir.h"
#include "safetensors.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

void bert_export_check(const char *folder, ZeroErrors *errors) {
  // Whatever would be read instead of what is written, or be replaced by it. tokenizer.json comes before vocab.txt.
  static const char *const names[] = {HF_CONFIG,       SAFETENSORS_FILE,    SAFETENSORS_INDEX,
                                      BERT_VOCAB_FILE, BERT_TOKENIZER_FILE, "tokenizer.json"};
  if (gpt2_is_bin(folder)) {
    zero_errors_add(errors, "%s %s: a .bin of llm.c has no place for a BERT; give a folder", EXPORT_FLAG, folder);
    return;
  }
  export_check_folder(folder, names, COUNT(names), errors);
}

void bert_export_make(const char *folder, ZeroErrors *errors) {
  output_dir_make(folder, EXPORT_FLAG, errors);
}

int bert_export(const char *folder, int writes, const BertConfig *config, const BertAbout *about,
                const BertVocab *vocab, ZeroType type, BertRead *read, void *ctx, char *problem,
                size_t problem_bytes) {
  // In the order in which they get their names: a folder that has a model has all of it.
  static const char *const with_vocab[] = {BERT_VOCAB_FILE, BERT_TOKENIZER_FILE, HF_CONFIG, SAFETENSORS_FILE};
  static const char *const without[] = {HF_CONFIG, SAFETENSORS_FILE};
  const BertHFResult result = bert_hf_write(writes ? folder : NULL, EXPORT_TMP, config, about, vocab, type, read, ctx,
                                            problem, problem_bytes);
  if (result == BERT_HF_WEIGHTS_ONLY) {
    const size_t used = strlen(problem);
    snprintf(problem + used, problem_bytes - used, "; the weights are whole in %s/%s", folder,
             SAFETENSORS_FILE EXPORT_TMP);
  }
  if (result != BERT_HF_WRITTEN) return -1;
  if (!writes) return 0;
  return vocab != NULL ? export_give_names(folder, with_vocab, COUNT(with_vocab), problem, problem_bytes)
                       : export_give_names(folder, without, COUNT(without), problem, problem_bytes);
}
