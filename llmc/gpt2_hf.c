// GPT-2 as Hugging Face's transformers stores it: the tensors' names, opening and reading.
#include "gpt2_hf.h"

#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"
#include "safetensors.h"

enum { READ_ELEMENTS = 1 << 16 }; // read of a transposed tensor at a time, but whole rows
static const char PREFIX[] = "transformer.", BLOCK[] = "h.", HEAD[] = "lm_head.weight";

// ---------------------------------------------------------------- names and shapes

static const struct {
  const char *name; // within the block, if it is in one
  int transposed;
} NAMES[GPT2_NUM_TENSORS] = {
    [GPT2_WTE] = {"wte.weight", 0},
    [GPT2_WPE] = {"wpe.weight", 0},
    [GPT2_LN1W] = {"ln_1.weight", 0},
    [GPT2_LN1B] = {"ln_1.bias", 0},
    [GPT2_QKVW] = {"attn.c_attn.weight", 1},
    [GPT2_QKVB] = {"attn.c_attn.bias", 0},
    [GPT2_ATTPROJW] = {"attn.c_proj.weight", 1},
    [GPT2_ATTPROJB] = {"attn.c_proj.bias", 0},
    [GPT2_LN2W] = {"ln_2.weight", 0},
    [GPT2_LN2B] = {"ln_2.bias", 0},
    [GPT2_FCW] = {"mlp.c_fc.weight", 1},
    [GPT2_FCB] = {"mlp.c_fc.bias", 0},
    [GPT2_FCPROJW] = {"mlp.c_proj.weight", 1},
    [GPT2_FCPROJB] = {"mlp.c_proj.bias", 0},
    [GPT2_LNFW] = {"ln_f.weight", 0},
    [GPT2_LNFB] = {"ln_f.bias", 0},
};

void gpt2_hf_name(GPT2Tensor tensor, size_t layer, char name[HF_NAME]) {
  if (gpt2_tensor_in_block(tensor)) {
    snprintf(name, HF_NAME, "%s%s%zu.%s", PREFIX, BLOCK, layer, NAMES[tensor].name);
  } else {
    snprintf(name, HF_NAME, "%s%s", PREFIX, NAMES[tensor].name);
  }
}

int gpt2_hf_transposed(GPT2Tensor tensor) {
  return NAMES[tensor].transposed;
}

int gpt2_hf_shape(const GPT2Config *config, GPT2Tensor tensor, size_t shape[2]) {
  size_t rows, cols;
  gpt2_tensor_shape(config, tensor, &rows, &cols);
  if (tensor == GPT2_WTE) rows = config->vocab_size;
  shape[0] = gpt2_hf_transposed(tensor) ? cols : rows;
  shape[1] = gpt2_hf_transposed(tensor) ? rows : cols;
  return tensor == GPT2_WTE || tensor == GPT2_WPE || gpt2_hf_transposed(tensor) ? 2 : 1;
}

// Old versions stored the causal mask, and the number that stands for minus infinity in it. The head is looked at
// when all else is right.
static int is_ignored(const char *name) {
  const char *behind = hf_behind_layer(name, BLOCK);
  if (behind == NULL) return strcmp(name, HEAD) == 0;
  return strcmp(behind, "attn.bias") == 0 || strcmp(behind, "attn.masked_bias") == 0;
}

// ---------------------------------------------------------------- opening

typedef const SafeTensor *Place; // where a tensor of a layer is stored

struct GPT2HF {
  SafeTensors safe;
  GPT2Config config;
  GPT2DropoutRates dropout;
  Place *places[GPT2_NUM_TENSORS]; // (layers) each
  // The transposed tensor read last, as (out, in); NULL: none yet
  float *transposed;
  size_t room; // elements that it can hold
  GPT2Tensor transposed_tensor;
  size_t transposed_layer;
};

static size_t tensor_layers(const GPT2Config *config, GPT2Tensor tensor) {
  return gpt2_tensor_in_block(tensor) ? config->num_layers : 1;
}

// A head of its own is a model that this program does not have: it is accepted where it says the same.
static void check_head(const GPT2HF *hf, ZeroErrors *errors) {
  const SafeTensor *head = safetensors_find(&hf->safe, HEAD), *wte = hf->places[GPT2_WTE][0];
  if (head == NULL || safetensors_equal(head, wte)) return;
  zero_errors_add(errors, "-e %s: %s differs from %s of %s; this program has tied weights only", head->path, HEAD,
                  wte->name, wte->path);
}

static void check_tensors(GPT2HF *hf, ZeroErrors *errors) {
  const int problems = errors->count;
  char name[HF_NAME], model[HF_NAME];
  HFCheck check = hf_check_begin(&hf->safe, PREFIX, errors);
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    const GPT2Tensor tensor = (GPT2Tensor)t;
    const size_t layers = tensor_layers(&hf->config, tensor);
    size_t shape[2];
    const int ndim = gpt2_hf_shape(&hf->config, tensor, shape);
    hf->places[t] = zero_malloc(layers * sizeof(Place), ZERO_MEM_OTHER);
    for (size_t l = 0; l < layers; l++) {
      gpt2_hf_name(tensor, l, name);
      hf->places[t][l] = hf_check_find(&check, name);
      if (hf->places[t][l] != NULL) {
        hf_check_tensor(&check, hf->places[t][l], shape, ndim);
      } else {
        hf_check_missing(&check, name);
      }
    }
  }
  snprintf(model, sizeof model, "a GPT-2 of %zu layers", hf->config.num_layers);
  hf_check_rest(&check, is_ignored, model);
  hf_check_end(&check);
  if (errors->count == problems) check_head(hf, errors);
}

GPT2HF *gpt2_hf_open(const char *folder, GPT2Config *config, ZeroErrors *errors) {
  const int problems = errors->count;
  GPT2HF *hf = zero_malloc(sizeof *hf, ZERO_MEM_OTHER);
  // Both, so that what is wrong with either is said at once; tensors against a shape that is known.
  const int described = gpt2_hf_config(folder, &hf->config, &hf->dropout, errors) == 0;
  if (safetensors_open(folder, "-e", &hf->safe, errors) == 0 && described) check_tensors(hf, errors);
  if (errors->count > problems) {
    gpt2_hf_close(hf);
    return NULL;
  }
  *config = hf->config;
  return hf;
}

const GPT2DropoutRates *gpt2_hf_dropout(const GPT2HF *hf) {
  return &hf->dropout;
}

void gpt2_hf_close(GPT2HF *hf) {
  if (hf == NULL) return;
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) zero_free(hf->places[t]);
  zero_free(hf->transposed);
  safetensors_close(&hf->safe);
  zero_free(hf);
}

// ---------------------------------------------------------------- reading

// The stored (in, out) goes into hf->transposed as (out, in), a block of its rows at a time.
static void read_transposed(GPT2HF *hf, GPT2Tensor tensor, size_t layer) {
  size_t shape[2];
  gpt2_hf_shape(&hf->config, tensor, shape);
  const size_t in = shape[0], out = shape[1], rows = READ_ELEMENTS / out > 0 ? READ_ELEMENTS / out : 1;
  if (hf->transposed == NULL || hf->room < in * out) {
    zero_free(hf->transposed);
    hf->transposed = zero_malloc(in * out * sizeof *hf->transposed, ZERO_MEM_OTHER);
    hf->room = in * out;
  }
  float *block = zero_malloc(rows * out * sizeof *block, ZERO_MEM_OTHER); // (rows, out)
  for (size_t first = 0; first < in; first += rows) {
    const size_t some = in - first < rows ? in - first : rows;
    safetensors_read(hf->places[tensor][layer], first * out, some * out, block);
    for (size_t o = 0; o < out; o++) {
      for (size_t i = 0; i < some; i++) hf->transposed[o * in + first + i] = block[i * out + o];
    }
  }
  zero_free(block);
  hf->transposed_tensor = tensor;
  hf->transposed_layer = layer;
}

void gpt2_hf_read(GPT2HF *hf, GPT2Tensor tensor, size_t layer, size_t first, size_t count, float *out) {
  size_t rows, cols;
  gpt2_tensor_shape(&hf->config, tensor, &rows, &cols);
  if (layer >= tensor_layers(&hf->config, tensor) || first > rows * cols || count > rows * cols - first) {
    zero_fatal("%s: elements %zu + %zu of %s, layer %zu, are outside the tensor of %zu", hf->safe.path, first, count,
               gpt2_tensor_name(tensor), layer, rows * cols);
  }
  if (count == 0) return;
  if (gpt2_hf_transposed(tensor)) {
    if (hf->transposed == NULL || hf->transposed_tensor != tensor || hf->transposed_layer != layer) {
      read_transposed(hf, tensor, layer);
    }
    memcpy(out, hf->transposed + first, count * sizeof *out);
    return;
  }
  size_t stored = rows * cols;
  if (tensor == GPT2_WTE) stored = hf->config.vocab_size * cols; // the file ends where the padding begins
  const size_t some = first >= stored ? 0 : count < stored - first ? count : stored - first;
  if (some > 0) safetensors_read(hf->places[tensor][layer], first, some, out);
  memset(out + some, 0, (count - some) * sizeof *out);
}
