// The shape of a GPT-2 and of its tensors.
#include "gpt2_config.h"

#include <string.h>

#include "descriptor.h"
#include "ops.h"

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
  const DescriptorSize sizes[] = {
      {"layers L", config->num_layers, MODEL_MAX_LAYERS},
      {"heads H", config->num_heads, OPS_MAX_HEADS},
      {"channels C", config->channels, MODEL_MAX_CHANNELS},
      {"positions T", config->max_seq_len, MODEL_MAX_POSITIONS},
      {"vocabulary V", config->vocab_size, MODEL_MAX_VOCAB},
  };
  if (descriptor_check_sizes(place, sizes, sizeof sizes / sizeof sizes[0], errors) > 0) return;
  descriptor_check_fit(place, config->channels, config->num_heads, config->vocab_size, config->padded_vocab_size,
                       errors);
}

// ---------------------------------------------------------------------------------------------------
// Descriptors

enum { GPT2_VOCAB = 50257, GPT2_POSITIONS = 1024 };

// d12: llm.c's table of GPT-2 shapes by depth. Returns 0, or -1 if it is none of them.
static int parse_depth(const char *name, GPT2Config *config) {
  static const struct {
    size_t depth, channels, heads;
  } known[] = {{6, 384, 6},    {12, 768, 12},  {24, 1024, 16}, {36, 1280, 20},
               {48, 1600, 25}, {60, 1920, 30}, {72, 2880, 30}, {84, 3456, 36}};
  size_t depth = 0;
  if (name[0] != 'd' || descriptor_parse_size(name + 1, strlen(name + 1), &depth) != 0) return -1;
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
  const DescriptorKey keys[] = {{'L', &config->num_layers, 1},
                                {'H', &config->num_heads, 1},
                                {'C', &config->channels, 1},
                                {'T', &config->max_seq_len, 1},
                                {'V', &config->vocab_size, 0}};
  config->vocab_size = GPT2_VOCAB;
  descriptor_parse_shape(text, shape, keys, sizeof keys / sizeof keys[0], "L=4,H=4,C=128,T=64,V=256", errors);
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
  config->padded_vocab_size = model_pad_vocab(config->vocab_size);
}
