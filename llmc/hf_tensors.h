// The tensors of a Hugging Face folder against those of a model: found by name, checked, and what is left over
// listed.
#ifndef LLMC_HF_TENSORS_H
#define LLMC_HF_TENSORS_H

#include <stddef.h>

#include "safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HF_NAME = 96 }; // bytes of a name that this program makes

// One check of a folder. Names may have the prefix, "transformer." or "bert.", or lack it. All problems go into
// errors with file and tensor; of many missing or unknown ones the first are named and the rest counted.
typedef struct {
  const SafeTensors *safe;
  const char *prefix;
  ZeroErrors *errors;
  char *known;    // (safe->count) 1: the model has this tensor
  size_t missing; // tensors of the model that no file has
} HFCheck;

HFCheck hf_check_begin(const SafeTensors *, const char *prefix, ZeroErrors *errors);
void hf_check_end(HFCheck *);

// name behind the prefix, if it has it.
const char *hf_without_prefix(const char *name, const char *prefix);
// The tensor of this name (which may have the prefix), or NULL. An error if it is there twice, with and without.
const SafeTensor *hf_check_find(HFCheck *, const char *name);
void hf_check_missing(HFCheck *, const char *name);
// Has it this shape, and a type that can be read? Otherwise an error.
void hf_check_tensor(const HFCheck *, const SafeTensor *, const size_t *shape, int ndim);
// After the last tensor: those of the files that nothing asked for, unless `ignored` says so of the name without
// prefix. model: "a GPT-2 of 12 layers", for messages.
void hf_check_rest(const HFCheck *, int (*ignored)(const char *name), const char *model);

// Behind "h.", "encoder.layer.": a number and a point. Returns what follows them, or NULL.
const char *hf_behind_layer(const char *name, const char *blocks);

#ifdef __cplusplus
}
#endif
#endif
