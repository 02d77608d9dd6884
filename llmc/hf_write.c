// Writing what Hugging Face's transformers reads, whatever model it is: config.json and model.safetensors.
#include "hf_write.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "safetensors.h"

enum { BLOCK_ELEMENTS = 1 << 16 }; // transposed at a time, but whole rows

// ---------------------------------------------------------------- JSON

static cJSON *new_item(const HFValue *value) {
  switch (value->kind) {
    case HF_FALSE:
    case HF_TRUE:
      return cJSON_CreateBool(value->kind == HF_TRUE);
    case HF_NUMBER:
      return cJSON_CreateNumber(value->number);
    case HF_TEXT:
      return cJSON_CreateString(value->text);
    case HF_ITEM:
      return value->item;
    case HF_NULL:
      break;
  }
  return cJSON_CreateNull();
}

void hf_json_add(cJSON *object, const HFValue *values, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!cJSON_AddItemToObject(object, values[i].key, new_item(&values[i]))) {
      zero_fatal("no memory for the key %s of a JSON file", values[i].key);
    }
  }
}

static char *print_object(cJSON *root) {
  char *text = cJSON_Print(root);
  if (text == NULL) zero_fatal("no memory for a JSON file");
  cJSON_Delete(root);
  return text;
}

char *hf_json_text(const HFValue *values, size_t count) {
  cJSON *root = cJSON_CreateObject();
  hf_json_add(root, values, count);
  return print_object(root);
}

char *hf_config_text(const char *architecture, const char *model_type, const HFValue *values, size_t count,
                     ZeroType type) {
  static const char *const types[] = {[ZERO_F32] = "float32", [ZERO_BF16] = "bfloat16", [ZERO_F16] = "float16"};
  const HFValue first[] = {
      {.key = "architectures", .kind = HF_ITEM, .item = cJSON_CreateStringArray(&architecture, 1)},
      {.key = "model_type", .kind = HF_TEXT, .text = model_type}};
  const HFValue last[] = {{.key = "dtype", .kind = HF_TEXT, .text = types[type]},
                          {.key = "torch_dtype", .kind = HF_TEXT, .text = types[type]}}; // until transformers 4
  cJSON *root = cJSON_CreateObject();
  hf_json_add(root, first, sizeof first / sizeof first[0]);
  hf_json_add(root, values, count);
  hf_json_add(root, last, sizeof last / sizeof last[0]);
  return print_object(root);
}

int hf_write_text(const char *path, const char *text, char *problem, size_t problem_bytes) {
  FILE *file = fopen(path, "w");
  int failed = file == NULL || fprintf(file, "%s\n", text) < 0 || fflush(file) != 0 || fsync(fileno(file)) != 0;
  int error = errno;
  if (file != NULL && fclose(file) != 0 && !failed) {
    failed = 1;
    error = errno;
  }
  if (!failed) return 0;
  snprintf(problem, problem_bytes, "%s: cannot be written: %s; make room or give another folder", path,
           strerror(error));
  if (file != NULL) unlink(path);
  return -1;
}

// ---------------------------------------------------------------- tensors

static SafeTensorsWriter *create_model(const char *path, ZeroType type, const HFEntry *entries, size_t count) {
  SafeTensorPlan *plans = zero_malloc(count * HF_MAX_PARTS * sizeof *plans, ZERO_MEM_OTHER);
  size_t stored = 0;
  for (size_t i = 0; i < count; i++) {
    for (int p = 0; p < entries[i].parts; p++) {
      plans[stored].name = entries[i].names[p];
      plans[stored].ndim = entries[i].ndim;
      memcpy(plans[stored].shape, entries[i].shape, sizeof entries[i].shape);
      stored++;
    }
  }
  SafeTensorsWriter *writer = safetensors_create(path, type, plans, stored);
  zero_free(plans);
  return writer;
}

// values: the model's tensor. block: (BLOCK_ELEMENTS or a row of the file, whichever is more)
static void append_tensor(SafeTensorsWriter *writer, const HFEntry *entry, const float *values, float *block) {
  const size_t in = entry->shape[0], out = entry->shape[1];
  if (!entry->transposed) {
    safetensors_append(writer, values, in * out * (size_t)entry->parts);
    return;
  }
  const size_t rows = BLOCK_ELEMENTS / out > 0 ? BLOCK_ELEMENTS / out : 1;
  for (size_t first = 0; first < in; first += rows) {
    const size_t some = in - first < rows ? in - first : rows;
    for (size_t o = 0; o < out; o++) {
      for (size_t i = 0; i < some; i++) block[i * out + o] = values[o * in + first + i];
    }
    safetensors_append(writer, block, some * out);
  }
}

static size_t block_elements(const HFEntry *entries, size_t count) {
  size_t most = BLOCK_ELEMENTS;
  for (size_t i = 0; i < count; i++) {
    if (entries[i].transposed && entries[i].shape[1] > most) most = entries[i].shape[1];
  }
  return most;
}

int hf_write_tensors(const char *path, ZeroType type, const HFEntry *entries, size_t count, size_t largest,
                     HFRead *read, void *ctx, char *problem, size_t problem_bytes) {
  SafeTensorsWriter *writer = NULL;
  float *values = NULL, *block = NULL;
  if (path != NULL) {
    values = zero_malloc(largest * sizeof *values, ZERO_MEM_OTHER);
    block = zero_malloc(block_elements(entries, count) * sizeof *block, ZERO_MEM_OTHER);
    writer = create_model(path, type, entries, count);
  }
  for (size_t i = 0; i < count; i++) {
    read(ctx, entries[i].tensor, entries[i].layer, values);
    if (writer != NULL) append_tensor(writer, &entries[i], values, block);
  }
  zero_free(values);
  zero_free(block);
  return writer != NULL ? safetensors_finish(writer, problem, problem_bytes) : 0;
}
