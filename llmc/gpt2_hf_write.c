// GPT-2 as Hugging Face's transformers stores it: writing.
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "gpt2_hf.h"
#include "safetensors.h"

enum {
  BLOCK_ELEMENTS = 1 << 16, // transposed at a time, but whole rows
  GPT2_VOCAB = 50257,
  GPT2_END_OF_TEXT = 50256 // OpenAI's tokenizer
};

// ---------------------------------------------------------------- config.json

// All that AutoModelForCausalLM.from_pretrained needs. To be freed with cJSON_free.
static char *config_text(const GPT2Config *config, ZeroType type) {
  static const char *const types[] = {[ZERO_F32] = "float32", [ZERO_BF16] = "bfloat16", [ZERO_F16] = "float16"};
  const struct {
    const char *key;
    size_t value;
  } sizes[] = {{"vocab_size", config->vocab_size},
               {"n_positions", config->max_seq_len},
               {"n_embd", config->channels},
               {"n_layer", config->num_layers},
               {"n_head", config->num_heads}};
  const char *const architecture = "GPT2LMHeadModel";
  cJSON *root = cJSON_CreateObject();
  int done = cJSON_AddItemToObject(root, "architectures", cJSON_CreateStringArray(&architecture, 1)) &&
             cJSON_AddStringToObject(root, "model_type", "gpt2") != NULL;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    done = done && cJSON_AddNumberToObject(root, sizes[i].key, (double)sizes[i].value) != NULL;
  }
  done = done && cJSON_AddNullToObject(root, "n_inner") != NULL &&
         cJSON_AddStringToObject(root, "activation_function", "gelu_new") != NULL &&
         cJSON_AddNumberToObject(root, "layer_norm_epsilon", 1e-5) != NULL &&
         cJSON_AddTrueToObject(root, "scale_attn_weights") != NULL &&
         cJSON_AddFalseToObject(root, "scale_attn_by_inverse_layer_idx") != NULL &&
         cJSON_AddFalseToObject(root, "reorder_and_upcast_attn") != NULL &&
         cJSON_AddTrueToObject(root, "tie_word_embeddings") != NULL;
  // The program trains without dropout; left out, transformers would train on with 0.1.
  static const char *const dropouts[] = {"resid_pdrop", "embd_pdrop", "attn_pdrop"};
  for (size_t i = 0; i < sizeof dropouts / sizeof dropouts[0]; i++) {
    done = done && cJSON_AddNumberToObject(root, dropouts[i], 0.0) != NULL;
  }
  // Left out, transformers would take 50256, which other vocabularies may not have.
  static const char *const ids[] = {"bos_token_id", "eos_token_id"};
  for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
    done = done && (config->vocab_size == GPT2_VOCAB ? cJSON_AddNumberToObject(root, ids[i], GPT2_END_OF_TEXT)
                                                     : cJSON_AddNullToObject(root, ids[i])) != NULL;
  }
  done = done && cJSON_AddStringToObject(root, "dtype", types[type]) != NULL &&
         cJSON_AddStringToObject(root, "torch_dtype", types[type]) != NULL; // its name until transformers 4
  char *text = done ? cJSON_Print(root) : NULL;
  if (text == NULL) zero_fatal("no memory for %s", GPT2_HF_CONFIG);
  cJSON_Delete(root);
  return text;
}

// Returns 0, or -1 and the reason.
static int write_config(const char *path, const GPT2Config *config, ZeroType type, char *problem,
                        size_t problem_bytes) {
  char *text = config_text(config, type);
  FILE *file = fopen(path, "w");
  int failed = file == NULL || fprintf(file, "%s\n", text) < 0 || fflush(file) != 0 || fsync(fileno(file)) != 0;
  int error = errno;
  if (file != NULL && fclose(file) != 0 && !failed) {
    failed = 1;
    error = errno;
  }
  cJSON_free(text);
  if (!failed) return 0;
  snprintf(problem, problem_bytes, "%s: cannot be written: %s; make room or give another folder", path,
           strerror(error));
  if (file != NULL) unlink(path);
  return -1;
}

// ---------------------------------------------------------------- model.safetensors

// The model's tensors in the order of the file: embeddings, block after block, the final LayerNorm.
typedef struct {
  GPT2Tensor tensor;
  size_t layer;
} Place;

static size_t list_places(const GPT2Config *config, Place **places) {
  const size_t in_block = GPT2_FCPROJB - GPT2_LN1W + 1;
  *places = zero_malloc((GPT2_NUM_TENSORS + in_block * config->num_layers) * sizeof **places, ZERO_MEM_OTHER);
  size_t count = 0;
  (*places)[count++] = (Place){GPT2_WTE, 0};
  (*places)[count++] = (Place){GPT2_WPE, 0};
  for (size_t l = 0; l < config->num_layers; l++) {
    for (int t = GPT2_LN1W; t <= GPT2_FCPROJB; t++) (*places)[count++] = (Place){(GPT2Tensor)t, l};
  }
  (*places)[count++] = (Place){GPT2_LNFW, 0};
  (*places)[count++] = (Place){GPT2_LNFB, 0};
  return count;
}

static SafeTensorsWriter *create_model(const char *path, const GPT2Config *config, ZeroType type, const Place *places,
                                       size_t count) {
  SafeTensorPlan *plans = zero_malloc(count * sizeof *plans, ZERO_MEM_OTHER);
  char(*names)[GPT2_HF_NAME] = zero_malloc(count * sizeof *names, ZERO_MEM_OTHER);
  for (size_t i = 0; i < count; i++) {
    gpt2_hf_name(places[i].tensor, places[i].layer, names[i]);
    plans[i].name = names[i];
    plans[i].ndim = gpt2_hf_shape(config, places[i].tensor, plans[i].shape);
  }
  SafeTensorsWriter *writer = safetensors_create(path, type, plans, count);
  zero_free(plans);
  zero_free(names);
  return writer;
}

// values: (rows, cols) of gpt2_tensor_shape. block: (BLOCK_ELEMENTS or a row of the file, whichever is more)
static void append_tensor(SafeTensorsWriter *writer, const GPT2Config *config, GPT2Tensor tensor, const float *values,
                          float *block) {
  size_t shape[2];
  gpt2_hf_shape(config, tensor, shape);
  if (!gpt2_hf_transposed(tensor)) {
    safetensors_append(writer, values, shape[0] * shape[1]);
    return;
  }
  const size_t in = shape[0], out = shape[1], rows = BLOCK_ELEMENTS / out > 0 ? BLOCK_ELEMENTS / out : 1;
  for (size_t first = 0; first < in; first += rows) {
    const size_t some = in - first < rows ? in - first : rows;
    for (size_t o = 0; o < out; o++) {
      for (size_t i = 0; i < some; i++) block[i * out + o] = values[o * in + first + i];
    }
    safetensors_append(writer, block, some * out);
  }
}

static size_t max_size(size_t a, size_t b) {
  return a > b ? a : b;
}

int gpt2_hf_write(const char *folder, const char *suffix, const GPT2Config *config, ZeroType type, GPT2Read *read,
                  void *ctx, char *problem, size_t problem_bytes) {
  Place *places = NULL;
  const size_t count = list_places(config, &places);
  SafeTensorsWriter *writer = NULL;
  float *values = NULL, *block = NULL;
  char *path = NULL;
  size_t room = 0;
  if (folder != NULL) {
    room = strlen(folder) + strlen(suffix) + sizeof "/" SAFETENSORS_FILE;
    path = zero_malloc(room, ZERO_MEM_OTHER);
    snprintf(path, room, "%s/%s%s", folder, SAFETENSORS_FILE, suffix);
    values = zero_malloc(gpt2_largest_tensor(config) * sizeof *values, ZERO_MEM_OTHER);
    block = zero_malloc(max_size(BLOCK_ELEMENTS, 4 * config->channels) * sizeof *block, ZERO_MEM_OTHER);
    writer = create_model(path, config, type, places, count);
  }
  for (size_t i = 0; i < count; i++) {
    read(ctx, places[i].tensor, places[i].layer, values);
    if (writer != NULL) append_tensor(writer, config, places[i].tensor, values, block);
  }
  int failed = 0;
  if (writer != NULL) {
    failed = safetensors_finish(writer, problem, problem_bytes) != 0;
    if (!failed) {
      char *config_path = zero_malloc(room, ZERO_MEM_OTHER); // the shorter name
      snprintf(config_path, room, "%s/%s%s", folder, GPT2_HF_CONFIG, suffix);
      failed = write_config(config_path, config, type, problem, problem_bytes) != 0;
      if (failed) unlink(path);
      zero_free(config_path);
    }
  }
  zero_free(places);
  zero_free(values);
  zero_free(block);
  zero_free(path);
  return failed ? -1 : 0;
}
