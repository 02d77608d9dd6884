// The shape of a GPT-2 and of its tensors.
#include "gpt2_config.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "gpt2_limits.h"

// ---------------------------------------------------------------------------------------------------
// Tensors

typedef enum { ROWS_VOCAB, ROWS_POSITIONS, ROWS_CHANNELS } RowUnit;

static const struct {
  const char *name;
  int in_block;
  RowUnit unit;
  size_t rows; // in row units
  size_t cols; // in channels; 0: 1-D
} TENSORS[GPT2_NUM_TENSORS] = {
    [GPT2_WTE] = {"wte", 0, ROWS_VOCAB, 1, 1},              // (Vp, C)
    [GPT2_WPE] = {"wpe", 0, ROWS_POSITIONS, 1, 1},          // (maxT, C)
    [GPT2_LN1W] = {"ln1w", 1, ROWS_CHANNELS, 1, 0},         // (C)
    [GPT2_LN1B] = {"ln1b", 1, ROWS_CHANNELS, 1, 0},         // (C)
    [GPT2_QKVW] = {"qkvw", 1, ROWS_CHANNELS, 3, 1},         // (3C, C)
    [GPT2_QKVB] = {"qkvb", 1, ROWS_CHANNELS, 3, 0},         // (3C)
    [GPT2_ATTPROJW] = {"attprojw", 1, ROWS_CHANNELS, 1, 1}, // (C, C)
    [GPT2_ATTPROJB] = {"attprojb", 1, ROWS_CHANNELS, 1, 0}, // (C)
    [GPT2_LN2W] = {"ln2w", 1, ROWS_CHANNELS, 1, 0},         // (C)
    [GPT2_LN2B] = {"ln2b", 1, ROWS_CHANNELS, 1, 0},         // (C)
    [GPT2_FCW] = {"fcw", 1, ROWS_CHANNELS, 4, 1},           // (4C, C)
    [GPT2_FCB] = {"fcb", 1, ROWS_CHANNELS, 4, 0},           // (4C)
    [GPT2_FCPROJW] = {"fcprojw", 1, ROWS_CHANNELS, 1, 4},   // (C, 4C)
    [GPT2_FCPROJB] = {"fcprojb", 1, ROWS_CHANNELS, 1, 0},   // (C)
    [GPT2_LNFW] = {"lnfw", 0, ROWS_CHANNELS, 1, 0},         // (C)
    [GPT2_LNFB] = {"lnfb", 0, ROWS_CHANNELS, 1, 0},         // (C)
};

void gpt2_tensor_shape(const GPT2Config *config, GPT2Tensor tensor, size_t *rows, size_t *cols) {
  size_t unit = config->channels;
  if (TENSORS[tensor].unit == ROWS_VOCAB) unit = config->padded_vocab_size;
  if (TENSORS[tensor].unit == ROWS_POSITIONS) unit = config->max_seq_len;
  *rows = TENSORS[tensor].rows * unit;
  *cols = TENSORS[tensor].cols > 0 ? TENSORS[tensor].cols * config->channels : 1;
}

int gpt2_tensor_in_block(GPT2Tensor tensor) {
  return TENSORS[tensor].in_block;
}
const char *gpt2_tensor_name(GPT2Tensor tensor) {
  return TENSORS[tensor].name;
}

size_t gpt2_num_parameters(const GPT2Config *config) {
  size_t sum = 0;
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    size_t rows, cols;
    gpt2_tensor_shape(config, (GPT2Tensor)t, &rows, &cols);
    sum += rows * cols * (TENSORS[t].in_block ? config->num_layers : 1);
  }
  return sum;
}

size_t gpt2_largest_tensor(const GPT2Config *config) {
  size_t largest = 0;
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    size_t rows, cols;
    gpt2_tensor_shape(config, (GPT2Tensor)t, &rows, &cols);
    if (rows * cols > largest) largest = rows * cols;
  }
  return largest;
}

// ---------------------------------------------------------------------------------------------------
// Limits

void gpt2_config_check(const GPT2Config *config, const char *place, ZeroErrors *errors) {
  const struct {
    const char *name;
    size_t value, limit;
  } sizes[] = {
      {"layers L", config->num_layers, GPT2_MAX_LAYERS},    {"heads H", config->num_heads, GPT2_MAX_CHANNELS},
      {"channels C", config->channels, GPT2_MAX_CHANNELS},  {"positions T", config->max_seq_len, GPT2_MAX_POSITIONS},
      {"vocabulary V", config->vocab_size, GPT2_MAX_VOCAB},
  };
  const int problems = errors->count;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    if (sizes[i].value >= 1 && sizes[i].value <= sizes[i].limit) continue;
    zero_errors_add(errors, "-e %s: %s is %zu; it must be from 1 to %zu", place, sizes[i].name, sizes[i].value,
                    sizes[i].limit);
  }
  if (errors->count > problems) return;
  if (config->channels % config->num_heads != 0) {
    zero_errors_add(errors, "-e %s: %zu channels do not divide into %zu heads; make C a multiple of H", place,
                    config->channels, config->num_heads);
  }
  if (config->padded_vocab_size < config->vocab_size || config->padded_vocab_size > GPT2_MAX_VOCAB) {
    zero_errors_add(errors, "-e %s: padded vocabulary Vp is %zu; it must be from V, %zu, to %d", place,
                    config->padded_vocab_size, config->vocab_size, GPT2_MAX_VOCAB);
  }
}

// ---------------------------------------------------------------------------------------------------
// Descriptors

enum { GPT2_VOCAB = 50257, GPT2_POSITIONS = 1024, VOCAB_MULTIPLE = 128 };

size_t gpt2_pad_vocab(size_t vocab) {
  return (vocab + VOCAB_MULTIPLE - 1) / VOCAB_MULTIPLE * VOCAB_MULTIPLE;
}

// Decimal digits alone, no more than fit. Returns 0, or -1 for anything else.
static int parse_size(const char *text, size_t length, size_t *value) {
  *value = 0;
  if (length == 0) return -1;
  for (size_t i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9' || *value > (SIZE_MAX - 9) / 10) return -1;
    *value = *value * 10 + (size_t)(text[i] - '0');
  }
  return 0;
}

// d12: llm.c's table of GPT-2 shapes by depth. Returns 0, or -1 if it is none of them.
static int parse_depth(const char *name, GPT2Config *config) {
  static const struct {
    size_t depth, channels, heads;
  } known[] = {{6, 384, 6},    {12, 768, 12},  {24, 1024, 16}, {36, 1280, 20},
               {48, 1600, 25}, {60, 1920, 30}, {72, 2880, 30}, {84, 3456, 36}};
  size_t depth = 0;
  if (name[0] != 'd' || parse_size(name + 1, strlen(name + 1), &depth) != 0) return -1;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (known[i].depth != depth) continue;
    config->num_layers = depth;
    config->channels = known[i].channels;
    config->num_heads = known[i].heads;
    config->max_seq_len = GPT2_POSITIONS;
    config->vocab_size = GPT2_VOCAB;
    return 0;
  }
  return -1;
}

// L=4,H=4,C=128,T=64,V=256 in any order.
static void parse_shape(const char *text, const char *shape, GPT2Config *config, ZeroErrors *errors) {
  struct {
    char name;
    size_t *value;
    int given;
  } keys[] = {{'L', &config->num_layers, 0},
              {'H', &config->num_heads, 0},
              {'C', &config->channels, 0},
              {'T', &config->max_seq_len, 0},
              {'V', &config->vocab_size, 0}};
  const size_t num_keys = sizeof keys / sizeof keys[0];
  config->vocab_size = GPT2_VOCAB;
  for (const char *at = shape;;) {
    const size_t length = strcspn(at, ",");
    size_t k = 0;
    while (k < num_keys && !(length >= 2 && at[0] == keys[k].name && at[1] == '=')) k++;
    if (k == num_keys) {
      zero_errors_add(errors, "-e %s: '%.*s' is not one of L=, H=, C=, T=, V=; write L=4,H=4,C=128,T=64,V=256", text,
                      (int)length, at);
    } else if (keys[k].given++) {
      zero_errors_add(errors, "-e %s: %c= is there twice; give it once", text, keys[k].name);
    } else if (parse_size(at + 2, length - 2, keys[k].value) != 0 || *keys[k].value == 0) {
      zero_errors_add(errors, "-e %s: %c= is '%.*s'; give a whole number of 1 or more", text, keys[k].name,
                      (int)(length - 2), at + 2);
    }
    if (at[length] == '\0') break;
    at += length + 1;
  }
  for (size_t k = 0; k < num_keys; k++) {
    if (keys[k].given || keys[k].name == 'V') continue;
    zero_errors_add(errors, "-e %s: %c= is missing; write L=4,H=4,C=128,T=64,V=256 (V may be left out)", text,
                    keys[k].name);
  }
}

void gpt2_config_parse(const char *text, GPT2Config *config, ZeroErrors *errors) {
  static const char prefix[] = "gpt2:";
  memset(config, 0, sizeof *config);
  const char *shape = strncmp(text, prefix, strlen(prefix)) == 0 ? text + strlen(prefix) : text;
  const int problems = errors->count;
  if (strchr(shape, '=') != NULL) {
    parse_shape(text, shape, config, errors);
  } else if (parse_depth(shape, config) != 0) {
    zero_errors_add(errors,
                    "-e %s: not a known model; give d6, d12, d24, d36, d48, d60, d72 or d84, a shape such as "
                    "L=4,H=4,C=128,T=64,V=256, a model file that ends in .bin, or a folder with config.json and "
                    "model.safetensors",
                    text);
  }
  if (errors->count > problems) return;
  // Checked before it is padded, so that the sum cannot overflow.
  config->padded_vocab_size = config->vocab_size;
  gpt2_config_check(config, text, errors);
  config->padded_vocab_size = gpt2_pad_vocab(config->vocab_size);
}
