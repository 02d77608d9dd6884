// Writing what Hugging Face's transformers reads, whatever model it is: config.json and model.safetensors.
#ifndef LLMC_HF_WRITE_H
#define LLMC_HF_WRITE_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "../zero/device.h"
#include "hf_tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------- JSON
// A key and its value. HF_ITEM: the caller's, which goes over to the object.
typedef enum { HF_NULL, HF_FALSE, HF_TRUE, HF_NUMBER, HF_TEXT, HF_ITEM } HFKind;
typedef struct {
  const char *key;
  HFKind kind;
  double number;
  const char *text;
  cJSON *item;
} HFValue;

// Adds them in this order. Ends the program where there is no memory.
void hf_json_add(cJSON *object, const HFValue *values, size_t count);
// An object with these values as a text, to be freed with cJSON_free.
char *hf_json_text(const HFValue *values, size_t count);
// A config.json with these values behind architecture and model_type, and the type of the weights behind those. To
// be freed with cJSON_free.
char *hf_config_text(const char *architecture, const char *model_type, const HFValue *values, size_t count,
                     ZeroType type);

// Writes text and a line's end to the file and flushes it to the disk. Returns 0, or -1 and the reason, file
// included, in `problem`; an incomplete file is removed.
int hf_write_text(const char *path, const char *text, char *problem, size_t problem_bytes);

// ---------------------------------------------------------------- tensors
enum { HF_MAX_PARTS = 3 };

// One tensor of the model, and what it is in the file: `parts` tensors of `shape` (ndim 1: shape[1] is 1), whose rows
// follow each other in the model's; or one that is stored as (cols, rows).
typedef struct {
  int tensor; // the model's number for it
  size_t layer;
  int parts;
  char names[HF_MAX_PARTS][HF_NAME];
  int ndim;
  size_t shape[2];
  int transposed;
} HFEntry;

// Brings a whole tensor of the model, padding included, to the rank that writes, as fp32; out is NULL on the others.
typedef void HFRead(void *ctx, int tensor, size_t layer, float *out);

// Writes path, whose tensors are those of the entries in their order, in this type. Calls `read` once for each entry.
// path NULL: a rank that does not write and makes the same calls. largest: elements of the model's largest tensor.
// Results and `problem` as of hf_write_text.
int hf_write_tensors(const char *path, ZeroType type, const HFEntry *entries, size_t count, size_t largest,
                     HFRead *read, void *ctx, char *problem, size_t problem_bytes);

#ifdef __cplusplus
}
#endif
#endif
