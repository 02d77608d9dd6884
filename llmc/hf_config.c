// Hugging Face's config.json, whatever model it describes: its keys, and errors that name file and key.
#include "hf_config.h"

#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"
#include "dropout.h"
#include "json_file.h"

// A BERT's names of classes are in it twice (BERT_LABELS_BYTES).
enum { MAX_CONFIG_BYTES = 1 << 26 };
static const char FLAG[] = "-e";

HFConfig hf_config_open(const char *folder, ZeroErrors *errors) {
  HFConfig config = {.errors = errors};
  const size_t room = strlen(folder) + sizeof "-e /" HF_CONFIG;
  config.place = zero_malloc(room, ZERO_MEM_OTHER);
  snprintf(config.place, room, "%s %s/%s", FLAG, folder, HF_CONFIG);
  config.path = config.place + sizeof FLAG;
  config.root = json_file_read(config.path, MAX_CONFIG_BYTES, FLAG, errors);
  return config;
}

void hf_config_close(HFConfig *config) {
  cJSON_Delete(config->root);
  zero_free(config->place);
  memset(config, 0, sizeof *config);
}

const cJSON *hf_config_get(const HFConfig *config, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(config->root, key);
  return item != NULL && !cJSON_IsNull(item) ? item : NULL;
}

int hf_config_is_text(const cJSON *item, const char *text) {
  return cJSON_IsString(item) && strcmp(item->valuestring, text) == 0;
}

void hf_config_refuse(const HFConfig *config, const char *key, const cJSON *item, const char *expected) {
  char found[JSON_NAME_BYTES];
  zero_errors_add(config->errors, "%s: %s is %s; %s", config->place, key,
                  item != NULL ? json_found(item, found) : "missing", expected);
}

int hf_config_has_architecture(const HFConfig *config, const char *name) {
  const cJSON *item;
  cJSON_ArrayForEach(item, hf_config_get(config, "architectures")) {
    if (hf_config_is_text(item, name)) return 1;
  }
  return 0;
}

int hf_config_architecture(const HFConfig *config, const char *model_type, const char *const *known,
                           const char *expected) {
  const cJSON *type = hf_config_get(config, "model_type"), *list = hf_config_get(config, "architectures");
  if (type != NULL && !hf_config_is_text(type, model_type)) {
    hf_config_refuse(config, "model_type", type, expected);
    return -1;
  }
  int found = list == NULL && type != NULL;
  for (; *known != NULL; known++) found |= hf_config_has_architecture(config, *known);
  if (!found) hf_config_refuse(config, "architectures", list, expected);
  return found ? 0 : -1;
}

size_t hf_config_size(const HFConfig *config, const char *key) {
  const cJSON *item = hf_config_get(config, key);
  size_t value = 0;
  if (!json_whole_number(item, &value) || value == 0) {
    hf_config_refuse(config, key, item, "give a whole number of 1 or more");
    return 0;
  }
  return value;
}

size_t hf_config_size_or(const HFConfig *config, const char *key, size_t missing) {
  return hf_config_get(config, key) != NULL ? hf_config_size(config, key) : missing;
}

double hf_config_rate(const HFConfig *config, const char *key, double missing) {
  const cJSON *item = hf_config_get(config, key);
  if (item == NULL) return missing;
  if (cJSON_IsNumber(item) && dropout_rate_is_valid(item->valuedouble)) return item->valuedouble;
  hf_config_refuse(config, key, item, "give 0, or a number from 2.4e-10, below 1");
  return 0.0;
}

void hf_config_number(const HFConfig *config, const char *key, double number, const char *expected) {
  const cJSON *item = hf_config_get(config, key);
  if (item != NULL && !(cJSON_IsNumber(item) && item->valuedouble == number)) {
    hf_config_refuse(config, key, item, expected);
  }
}

void hf_config_switches(const HFConfig *config, const HFSwitch *switches, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const cJSON *item = hf_config_get(config, switches[i].key);
    const int right = switches[i].value ? cJSON_IsTrue(item) : cJSON_IsFalse(item);
    if (item != NULL && !right) hf_config_refuse(config, switches[i].key, item, switches[i].fix);
  }
}

void hf_config_quantization(const HFConfig *config) {
  const cJSON *item = hf_config_get(config, "quantization_config");
  if (item != NULL) hf_config_refuse(config, "quantization_config", item, "give a model in fp32, bf16 or fp16");
}
