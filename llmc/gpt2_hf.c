// GPT-2 as Hugging Face's transformers stores it: the tensors' names, opening and reading.
#include "gpt2_hf.h"

#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"
#include "../zero/words.h"
#include "json_file.h"
#include "safetensors.h"

enum {
  MAX_LISTED = 100,       // missing or unknown tensors that are named one by one
  READ_ELEMENTS = 1 << 16 // read of a transposed tensor at a time, but whole rows
};
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

void gpt2_hf_name(GPT2Tensor tensor, size_t layer, char name[GPT2_HF_NAME]) {
  if (gpt2_tensor_in_block(tensor)) {
    snprintf(name, GPT2_HF_NAME, "%s%s%zu.%s", PREFIX, BLOCK, layer, NAMES[tensor].name);
  } else {
    snprintf(name, GPT2_HF_NAME, "%s%s", PREFIX, NAMES[tensor].name);
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

// Behind the prefix, if it has it.
static const char *without_prefix(const char *name) {
  return strncmp(name, PREFIX, strlen(PREFIX)) == 0 ? name + strlen(PREFIX) : name;
}

// Old versions stored the causal mask, and the number that stands for minus infinity in it.
static int is_mask(const char *name) {
  const char *at = without_prefix(name);
  if (strncmp(at, BLOCK, strlen(BLOCK)) != 0) return 0;
  at += strlen(BLOCK);
  const size_t digits = strspn(at, "0123456789");
  return digits > 0 && (strcmp(at + digits, ".attn.bias") == 0 || strcmp(at + digits, ".attn.masked_bias") == 0);
}

// ---------------------------------------------------------------- opening

typedef const SafeTensor *Place; // where a tensor of a layer is stored

struct GPT2HF {
  SafeTensors safe;
  GPT2Config config;
  double dropout;
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

// What is found while the folder is opened.
typedef struct {
  GPT2HF *hf;
  ZeroErrors *errors;
  char *known;    // (safe.count) 1: the model has this tensor
  size_t missing; // tensors of the model that no file has
} Check;

// "[768, 2304]"
static void shape_text(const size_t *shape, int ndim, char text[JSON_NAME_BYTES]) {
  size_t at = 0;
  text[0] = '\0';
  for (int d = 0; d < ndim && at < JSON_NAME_BYTES; d++) {
    at += (size_t)snprintf(text + at, JSON_NAME_BYTES - at, "%s%zu", d == 0 ? "[" : ", ", shape[d]);
  }
  if (at < JSON_NAME_BYTES) snprintf(text + at, JSON_NAME_BYTES - at, "%s", ndim == 0 ? "[]" : "]");
}

static void check_tensor(const Check *check, const SafeTensor *found, GPT2Tensor tensor) {
  size_t shape[2];
  const int ndim = gpt2_hf_shape(&check->hf->config, tensor, shape);
  int differs = found->ndim != ndim;
  for (int d = 0; d < ndim && !differs; d++) differs = found->shape[d] != shape[d];
  ZeroType type;
  if (differs) {
    char here[JSON_NAME_BYTES], expected[JSON_NAME_BYTES];
    shape_text(found->shape, found->ndim, here);
    shape_text(shape, ndim, expected);
    zero_errors_add(check->errors, "-e %s: %s has the shape %s, by %s it is %s; the two do not belong together",
                    found->path, found->name, here, GPT2_HF_CONFIG, expected);
  } else if (!safetensors_float_type(found, &type)) {
    zero_errors_add(check->errors, "-e %s: %s is of type %s; F32, BF16 and F16 can be read", found->path, found->name,
                    found->dtype);
  }
}

// The tensor under either of its names.
static const SafeTensor *find_tensor(Check *check, GPT2Tensor tensor, size_t layer) {
  const SafeTensors *safe = &check->hf->safe;
  char name[GPT2_HF_NAME];
  gpt2_hf_name(tensor, layer, name);
  const SafeTensor *with = safetensors_find(safe, name), *without = safetensors_find(safe, without_prefix(name));
  if (with != NULL) check->known[with - safe->tensors] = 1;
  if (without != NULL) check->known[without - safe->tensors] = 1;
  if (with != NULL && without != NULL) {
    zero_errors_add(check->errors, "-e %s: %s is there twice, as %s too; keep one of them", with->path, with->name,
                    without->name);
  } else if (with == NULL && without == NULL && check->missing++ < MAX_LISTED) {
    zero_errors_add(check->errors, "-e %s: %s is missing; copy or download the whole folder again", safe->path, name);
  }
  return with != NULL ? with : without;
}

// All tensors of the files must be the model's: what another one means is not known.
static void check_unknown(const Check *check) {
  const SafeTensors *safe = &check->hf->safe;
  char name[JSON_NAME_BYTES];
  size_t unknown = 0;
  for (size_t i = 0; i < safe->count; i++) {
    const SafeTensor *tensor = &safe->tensors[i];
    if (check->known[i] || is_mask(tensor->name) || strcmp(tensor->name, HEAD) == 0 || unknown++ >= MAX_LISTED) {
      continue;
    }
    zero_errors_add(check->errors, "-e %s: %s is no tensor of a GPT-2 of %zu layers; is it another model's file?",
                    tensor->path, zero_printable(name, sizeof name, tensor->name), check->hf->config.num_layers);
  }
  if (unknown > MAX_LISTED) {
    zero_errors_add(check->errors, "-e %s: %zu more tensors are not the model's", safe->path, unknown - MAX_LISTED);
  }
}

// A head of its own is a model that this program does not have: it is accepted where it says the same.
static void check_head(const Check *check) {
  const SafeTensor *head = safetensors_find(&check->hf->safe, HEAD), *wte = check->hf->places[GPT2_WTE][0];
  if (head == NULL || safetensors_equal(head, wte)) return;
  zero_errors_add(check->errors, "-e %s: %s differs from %s of %s; this program has tied weights only", head->path,
                  HEAD, wte->name, wte->path);
}

static void check_tensors(GPT2HF *hf, ZeroErrors *errors) {
  const int problems = errors->count;
  Check check = {.hf = hf, .errors = errors};
  check.known = zero_malloc(hf->safe.count + 1, ZERO_MEM_OTHER);
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    const GPT2Tensor tensor = (GPT2Tensor)t;
    const size_t layers = tensor_layers(&hf->config, tensor);
    hf->places[t] = zero_malloc(layers * sizeof(Place), ZERO_MEM_OTHER);
    for (size_t l = 0; l < layers; l++) {
      hf->places[t][l] = find_tensor(&check, tensor, l);
      if (hf->places[t][l] != NULL) check_tensor(&check, hf->places[t][l], tensor);
    }
  }
  if (check.missing > MAX_LISTED) {
    zero_errors_add(errors, "-e %s: %zu more tensors are missing", hf->safe.path, check.missing - MAX_LISTED);
  }
  check_unknown(&check);
  zero_free(check.known);
  if (errors->count == problems) check_head(&check);
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

double gpt2_hf_dropout(const GPT2HF *hf) {
  return hf->dropout;
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
