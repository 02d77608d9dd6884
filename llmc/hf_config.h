// Hugging Face's config.json, whatever model it describes: its keys, and errors that name file and key.
#ifndef LLMC_HF_CONFIG_H
#define LLMC_HF_CONFIG_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HF_CONFIG "config.json"

typedef struct {
  char *place;      // "-e gpt2/config.json"
  const char *path; // the same without the flag
  cJSON *root;      // the file's object; NULL where it cannot be read
  ZeroErrors *errors;
} HFConfig;

// Reads folder/config.json. What is wrong with it goes into errors (json_file_read), as do all errors from below.
HFConfig hf_config_open(const char *folder, ZeroErrors *errors);
void hf_config_close(HFConfig *);

// The key's value; NULL where it is not there or is null, which is Python's None: the default.
const cJSON *hf_config_get(const HFConfig *, const char *key);
int hf_config_is_text(const cJSON *, const char *text);
// One error: what was found there (item NULL: the key is missing), and what this program expects.
void hf_config_refuse(const HFConfig *, const char *key, const cJSON *item, const char *expected);

// model_type must be this one where it is given, and one of the architectures one of `known` (ended by NULL) where
// any is given; one of the two must be. expected: in words, for messages. Returns 0, or -1 and an error.
int hf_config_architecture(const HFConfig *, const char *model_type, const char *const *known, const char *expected);
// Is this one of the architectures?
int hf_config_has_architecture(const HFConfig *, const char *name);

// A whole number of 1 or more; 0 and an error for anything else. hf_config_size_or: `missing` where there is no key.
size_t hf_config_size(const HFConfig *, const char *key);
size_t hf_config_size_or(const HFConfig *, const char *key, size_t missing);
// A probability of dropout, `missing` where there is no key; 0 and an error for what is not one, or is 1.
double hf_config_rate(const HFConfig *, const char *key, double missing);
// The key, where it is there, must be this number.
void hf_config_number(const HFConfig *, const char *key, double number, const char *expected);

// A key that has to have one value, true or false, where it is there; fix: why, for messages.
typedef struct {
  const char *key;
  int value;
  const char *fix;
} HFSwitch;
void hf_config_switches(const HFConfig *, const HFSwitch *switches, size_t count);
// Weights that are not stored as numbers of one type are refused.
void hf_config_quantization(const HFConfig *);

#ifdef __cplusplus
}
#endif
#endif
