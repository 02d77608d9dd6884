// --export: the trained model as a folder for Hugging Face's transformers, or as llm.c's .bin.
#include "gpt2_export.h"

#include <string.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "export_files.h"
#include "gpt2_bin.h"
#include "gpt2_hf.h"
#include "output_dir.h"
#include "safetensors.h"

// In the order in which they get their names: a folder that has a model has all of it.
static const char *const FILES[] = {HF_CONFIG, SAFETENSORS_FILE};

// ---------------------------------------------------------------- before training

void gpt2_export_check(const char *path, ZeroErrors *errors) {
  const int problems = errors->count;
  if (gpt2_is_bin(path)) {
    char *parent = export_parent(path);
    output_dir_check(parent, EXPORT_FLAG, 0, NULL, errors);
    zero_free(parent);
    if (errors->count == problems) export_check_absent(path, errors);
    return;
  }
  static const char *const names[] = {HF_CONFIG, SAFETENSORS_FILE, SAFETENSORS_INDEX};
  export_check_folder(path, names, sizeof names / sizeof names[0], errors);
}

void gpt2_export_make(const char *path, ZeroErrors *errors) {
  char *parent = export_parent(path);
  output_dir_make(gpt2_is_bin(path) ? parent : path, EXPORT_FLAG, errors);
  zero_free(parent);
}

// ---------------------------------------------------------------- after it

static int export_bin(const char *path, int writes, const GPT2Config *config, ZeroType type, GPT2Read *read,
                      void *ctx, char *problem, size_t problem_bytes) {
  char *tmp = zero_malloc(strlen(path) + sizeof EXPORT_TMP, ZERO_MEM_OTHER);
  strcpy(tmp, path);
  strcat(tmp, EXPORT_TMP);
  int failed = gpt2_bin_write(writes ? tmp : NULL, config, type == ZERO_BF16 ? ZERO_BF16 : ZERO_F32, read, ctx,
                              problem, problem_bytes) != 0;
  if (failed) {
    unlink(tmp);
  } else if (writes) {
    failed = export_give_name(path, problem, problem_bytes) != 0;
  }
  zero_free(tmp);
  return failed ? -1 : 0;
}

static int export_folder(const char *folder, int writes, const GPT2Config *config, const GPT2DropoutRates *dropout,
                         ZeroType type, GPT2Read *read, void *ctx, char *problem, size_t problem_bytes) {
  if (gpt2_hf_write(writes ? folder : NULL, EXPORT_TMP, config, dropout, type, read, ctx, problem, problem_bytes) !=
      0)
    return -1;
  return writes ? export_give_names(folder, FILES, sizeof FILES / sizeof FILES[0], problem, problem_bytes) : 0;
}

int gpt2_export(const char *path, int writes, const GPT2Config *config, const GPT2DropoutRates *dropout,
                ZeroType type, GPT2Read *read, void *ctx, char *problem, size_t problem_bytes) {
  return gpt2_is_bin(path) ? export_bin(path, writes, config, type, read, ctx, problem, problem_bytes)
                           : export_folder(path, writes, config, dropout, type, read, ctx, problem, problem_bytes);
}
