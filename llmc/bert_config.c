// The shape of a BERT and of its tensors.
#include "bert_config.h"

#include <string.h>

#include "descriptor.h"
#include "ops.h"

// ---------------------------------------------------------------------------------------------------
// Tensors

// What a dimension is counted in. SIZE_NONE: the tensor is 1-D.
typedef enum {
  SIZE_NONE,
  SIZE_VOCAB,
  SIZE_POSITIONS,
  SIZE_TYPES,
  SIZE_CHANNELS,
  SIZE_3_CHANNELS,
  SIZE_HIDDEN,
  SIZE_NSP,
  SIZE_LABELS
} Size;

// The head's tensors by what the model predicts.
typedef enum { FOR_ALL, FOR_POOLER, FOR_MLM, FOR_NSP, FOR_LABELS } Purpose;

static const struct {
  const char *name;
  BertUnit unit;
  Size rows, cols;
  Purpose purpose;
} TENSORS[BERT_NUM_TENSORS] = {
    [BERT_WTE] = {"wte", BERT_UNIT_EMBEDDINGS, SIZE_VOCAB, SIZE_CHANNELS, FOR_ALL},
    [BERT_WPE] = {"wpe", BERT_UNIT_EMBEDDINGS, SIZE_POSITIONS, SIZE_CHANNELS, FOR_ALL},
    [BERT_WTYPE] = {"wtype", BERT_UNIT_EMBEDDINGS, SIZE_TYPES, SIZE_CHANNELS, FOR_ALL},
    [BERT_LNEW] = {"lnew", BERT_UNIT_EMBEDDINGS, SIZE_CHANNELS, SIZE_NONE, FOR_ALL},
    [BERT_LNEB] = {"lneb", BERT_UNIT_EMBEDDINGS, SIZE_CHANNELS, SIZE_NONE, FOR_ALL},
    [BERT_QKVW] = {"qkvw", BERT_UNIT_BLOCK, SIZE_3_CHANNELS, SIZE_CHANNELS, FOR_ALL},
    [BERT_QKVB] = {"qkvb", BERT_UNIT_BLOCK, SIZE_3_CHANNELS, SIZE_NONE, FOR_ALL},
    [BERT_ATTPROJW] = {"attprojw", BERT_UNIT_BLOCK, SIZE_CHANNELS, SIZE_CHANNELS, FOR_ALL},
    [BERT_ATTPROJB] = {"attprojb", BERT_UNIT_BLOCK, SIZE_CHANNELS, SIZE_NONE, FOR_ALL},
    [BERT_LN1W] = {"ln1w", BERT_UNIT_BLOCK, SIZE_CHANNELS, SIZE_NONE, FOR_ALL},
    [BERT_LN1B] = {"ln1b", BERT_UNIT_BLOCK, SIZE_CHANNELS, SIZE_NONE, FOR_ALL},
    [BERT_FCW] = {"fcw", BERT_UNIT_BLOCK, SIZE_HIDDEN, SIZE_CHANNELS, FOR_ALL},
    [BERT_FCB] = {"fcb", BERT_UNIT_BLOCK, SIZE_HIDDEN, SIZE_NONE, FOR_ALL},
    [BERT_FCPROJW] = {"fcprojw", BERT_UNIT_BLOCK, SIZE_CHANNELS, SIZE_HIDDEN, FOR_ALL},
    [BERT_FCPROJB] = {"fcprojb", BERT_UNIT_BLOCK, SIZE_CHANNELS, SIZE_NONE, FOR_ALL},
    [BERT_LN2W] = {"ln2w", BERT_UNIT_BLOCK, SIZE_CHANNELS, SIZE_NONE, FOR_ALL},
    [BERT_LN2B] = {"ln2b", BERT_UNIT_BLOCK, SIZE_CHANNELS, SIZE_NONE, FOR_ALL},
    [BERT_POOLW] = {"poolw", BERT_UNIT_HEAD, SIZE_CHANNELS, SIZE_CHANNELS, FOR_POOLER},
    [BERT_POOLB] = {"poolb", BERT_UNIT_HEAD, SIZE_CHANNELS, SIZE_NONE, FOR_POOLER},
    [BERT_MLMW] = {"mlmw", BERT_UNIT_HEAD, SIZE_CHANNELS, SIZE_CHANNELS, FOR_MLM},
    [BERT_MLMB] = {"mlmb", BERT_UNIT_HEAD, SIZE_CHANNELS, SIZE_NONE, FOR_MLM},
    [BERT_MLMLNW] = {"mlmlnw", BERT_UNIT_HEAD, SIZE_CHANNELS, SIZE_NONE, FOR_MLM},
    [BERT_MLMLNB] = {"mlmlnb", BERT_UNIT_HEAD, SIZE_CHANNELS, SIZE_NONE, FOR_MLM},
    [BERT_MLMBIAS] = {"mlmbias", BERT_UNIT_HEAD, SIZE_VOCAB, SIZE_NONE, FOR_MLM},
    [BERT_NSPW] = {"nspw", BERT_UNIT_HEAD, SIZE_NSP, SIZE_CHANNELS, FOR_NSP},
    [BERT_NSPB] = {"nspb", BERT_UNIT_HEAD, SIZE_NSP, SIZE_NONE, FOR_NSP},
    [BERT_CLSW] = {"clsw", BERT_UNIT_HEAD, SIZE_LABELS, SIZE_CHANNELS, FOR_LABELS},
    [BERT_CLSB] = {"clsb", BERT_UNIT_HEAD, SIZE_LABELS, SIZE_NONE, FOR_LABELS},
};

static size_t size_of(const BertConfig *config, Size size) {
  switch (size) {
    case SIZE_VOCAB:
      return config->padded_vocab_size;
    case SIZE_POSITIONS:
      return config->max_positions;
    case SIZE_TYPES:
      return config->type_vocab;
    case SIZE_CHANNELS:
      return config->channels;
    case SIZE_3_CHANNELS:
      return 3 * config->channels;
    case SIZE_HIDDEN:
      return config->hidden;
    case SIZE_NSP:
      return BERT_NSP_LABELS;
    case SIZE_LABELS:
      return config->num_labels;
    case SIZE_NONE:
      break;
  }
  return 1;
}

void bert_tensor_shape(const BertConfig *config, BertTensor tensor, size_t *rows, size_t *cols) {
  *rows = size_of(config, TENSORS[tensor].rows);
  *cols = size_of(config, TENSORS[tensor].cols);
}

BertUnit bert_tensor_unit(BertTensor tensor) {
  return TENSORS[tensor].unit;
}
int bert_tensor_in_block(BertTensor tensor) {
  return TENSORS[tensor].unit == BERT_UNIT_BLOCK;
}
const char *bert_tensor_name(BertTensor tensor) {
  return TENSORS[tensor].name;
}

int bert_tensor_in_model(const BertConfig *config, BertTensor tensor) {
  const int labels = config->num_labels > 0, nsp = !labels && config->nsp;
  switch (TENSORS[tensor].purpose) {
    case FOR_POOLER:
      return labels || nsp;
    case FOR_MLM:
      return !labels;
    case FOR_NSP:
      return nsp;
    case FOR_LABELS:
      return labels;
    case FOR_ALL:
      break;
  }
  return 1;
}

static size_t elements(const BertConfig *config, BertTensor tensor) {
  size_t rows, cols;
  bert_tensor_shape(config, tensor, &rows, &cols);
  return bert_tensor_in_model(config, tensor) ? rows * cols : 0;
}

size_t bert_num_parameters(const BertConfig *config) {
  size_t sum = 0;
  for (int t = 0; t < BERT_NUM_TENSORS; t++) {
    sum += elements(config, (BertTensor)t) * (bert_tensor_in_block((BertTensor)t) ? config->num_layers : 1);
  }
  return sum;
}

size_t bert_largest_tensor(const BertConfig *config) {
  size_t largest = 0;
  for (int t = 0; t < BERT_NUM_TENSORS; t++) {
    if (elements(config, (BertTensor)t) > largest) largest = elements(config, (BertTensor)t);
  }
  return largest;
}

// ---------------------------------------------------------------------------------------------------
// Limits

enum { MLP_FACTOR = 4, MAX_TYPES = 1 << 16 };

void bert_config_check(const BertConfig *config, const char *place, ZeroErrors *errors) {
  const DescriptorSize sizes[] = {
      {"layers L", config->num_layers, MODEL_MAX_LAYERS},
      {"heads H", config->num_heads, OPS_MAX_HEADS},
      {"channels C", config->channels, MODEL_MAX_CHANNELS},
      {"positions T", config->max_positions, MODEL_MAX_POSITIONS},
      {"vocabulary V", config->vocab_size, MODEL_MAX_VOCAB},
      {"number of token types", config->type_vocab, MAX_TYPES},
      {"width of the MLP", config->hidden, MLP_FACTOR * (size_t)MODEL_MAX_CHANNELS},
  };
  if (descriptor_check_sizes(place, sizes, sizeof sizes / sizeof sizes[0], errors) > 0) return;
  descriptor_check_fit(place, config->channels, config->num_heads, config->vocab_size, config->padded_vocab_size,
                       errors);
}

// ---------------------------------------------------------------------------------------------------
// Descriptors

enum { BERT_VOCAB = 30522, BERT_POSITIONS = 512, BERT_TYPES = 2 };

// Google's names of the published sizes. Returns 0, or -1 if it is none of them.
static int parse_name(const char *name, BertConfig *config) {
  static const struct {
    const char *name;
    size_t layers, heads, channels;
  } known[] = {{"bert-tiny", 2, 2, 128},   {"bert-mini", 4, 4, 256},   {"bert-small", 4, 8, 512},
               {"bert-medium", 8, 8, 512}, {"bert-base", 12, 12, 768}, {"bert-large", 24, 16, 1024}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(known[i].name, name) != 0) continue;
    config->num_layers = known[i].layers;
    config->num_heads = known[i].heads;
    config->channels = known[i].channels;
    config->max_positions = BERT_POSITIONS;
    return 0;
  }
  return -1;
}

void bert_config_parse(const char *text, BertConfig *config, ZeroErrors *errors) {
  static const char prefix[] = "bert:";
  memset(config, 0, sizeof *config);
  config->vocab_size = BERT_VOCAB;
  config->type_vocab = BERT_TYPES;
  const DescriptorKey keys[] = {{'L', &config->num_layers, 1},
                                {'H', &config->num_heads, 1},
                                {'C', &config->channels, 1},
                                {'T', &config->max_positions, 1},
                                {'V', &config->vocab_size, 0}};
  const char *shape = strncmp(text, prefix, strlen(prefix)) == 0 ? text + strlen(prefix) : text;
  const int problems = errors->count;
  if (strchr(shape, '=') != NULL) {
    descriptor_parse_shape(text, shape, keys, sizeof keys / sizeof keys[0], "L=4,H=4,C=128,T=128,V=30522", errors);
  } else if (parse_name(shape, config) != 0) {
    zero_errors_add(errors,
                    "-e %s: not a known model; give bert-tiny, bert-mini, bert-small, bert-medium, bert-base or "
                    "bert-large, a shape such as L=4,H=4,C=128,T=128,V=30522, or a folder with config.json and "
                    "model.safetensors",
                    text);
  }
  if (errors->count > problems) return;
  // Checked before they are multiplied or padded, so that nothing can overflow.
  config->padded_vocab_size = config->vocab_size;
  config->hidden = 1;
  bert_config_check(config, text, errors);
  config->hidden = MLP_FACTOR * config->channels;
  config->padded_vocab_size = model_pad_vocab(config->vocab_size);
}
