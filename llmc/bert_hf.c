// BERT as Hugging Face's transformers stores it: the tensors' names, opening and reading.
#include "bert_hf.h"

#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"
#include "safetensors.h"

static const char PREFIX[] = "bert.", BLOCK[] = "encoder.layer.";
// Stored a second time by some: the weight of the word embeddings, the bias that predicts tokens.
static const char DECODER[] = "cls.predictions.decoder.weight", DECODER_BIAS[] = "cls.predictions.decoder.bias";
// LayerNorm's weight and bias, as they are called now and were once.
static const char NORM_WEIGHT[] = ".LayerNorm.weight", NORM_BIAS[] = ".LayerNorm.bias";
static const char NORM_GAMMA[] = ".LayerNorm.gamma", NORM_BETA[] = ".LayerNorm.beta";

// ---------------------------------------------------------------- names and shapes

static const char *const PARTS[] = {"query", "key", "value"};
enum { QKV_PARTS = sizeof PARTS / sizeof PARTS[0] };

// name: behind bert.encoder.layer.N. for those of a block; *: one of PARTS.
static const struct {
  const char *name;
  int ndim;
} NAMES[BERT_NUM_TENSORS] = {
    [BERT_WTE] = {"bert.embeddings.word_embeddings.weight", 2},
    [BERT_WPE] = {"bert.embeddings.position_embeddings.weight", 2},
    [BERT_WTYPE] = {"bert.embeddings.token_type_embeddings.weight", 2},
    [BERT_LNEW] = {"bert.embeddings.LayerNorm.weight", 1},
    [BERT_LNEB] = {"bert.embeddings.LayerNorm.bias", 1},
    [BERT_QKVW] = {"attention.self.*.weight", 2},
    [BERT_QKVB] = {"attention.self.*.bias", 1},
    [BERT_ATTPROJW] = {"attention.output.dense.weight", 2},
    [BERT_ATTPROJB] = {"attention.output.dense.bias", 1},
    [BERT_LN1W] = {"attention.output.LayerNorm.weight", 1},
    [BERT_LN1B] = {"attention.output.LayerNorm.bias", 1},
    [BERT_FCW] = {"intermediate.dense.weight", 2},
    [BERT_FCB] = {"intermediate.dense.bias", 1},
    [BERT_FCPROJW] = {"output.dense.weight", 2},
    [BERT_FCPROJB] = {"output.dense.bias", 1},
    [BERT_LN2W] = {"output.LayerNorm.weight", 1},
    [BERT_LN2B] = {"output.LayerNorm.bias", 1},
    [BERT_POOLW] = {"bert.pooler.dense.weight", 2},
    [BERT_POOLB] = {"bert.pooler.dense.bias", 1},
    [BERT_MLMW] = {"cls.predictions.transform.dense.weight", 2},
    [BERT_MLMB] = {"cls.predictions.transform.dense.bias", 1},
    [BERT_MLMLNW] = {"cls.predictions.transform.LayerNorm.weight", 1},
    [BERT_MLMLNB] = {"cls.predictions.transform.LayerNorm.bias", 1},
    [BERT_MLMBIAS] = {"cls.predictions.bias", 1},
    [BERT_NSPW] = {"cls.seq_relationship.weight", 2},
    [BERT_NSPB] = {"cls.seq_relationship.bias", 1},
    [BERT_CLSW] = {"classifier.weight", 2},
    [BERT_CLSB] = {"classifier.bias", 1},
};

// What is there whole or not at all.
static const struct {
  BertTensor first, last;
} HEADS[] = {{BERT_POOLW, BERT_POOLB}, {BERT_MLMW, BERT_MLMBIAS}, {BERT_NSPW, BERT_NSPB}, {BERT_CLSW, BERT_CLSB}};

int bert_hf_parts(BertTensor tensor) {
  return tensor == BERT_QKVW || tensor == BERT_QKVB ? QKV_PARTS : 1;
}

void bert_hf_name(BertTensor tensor, size_t layer, int part, char name[HF_NAME]) {
  const char *own = NAMES[tensor].name, *star = strchr(own, '*');
  if (!bert_tensor_in_block(tensor)) {
    snprintf(name, HF_NAME, "%s", own);
  } else if (star == NULL) {
    snprintf(name, HF_NAME, "%s%s%zu.%s", PREFIX, BLOCK, layer, own);
  } else {
    snprintf(name, HF_NAME, "%s%s%zu.%.*s%s%s", PREFIX, BLOCK, layer, (int)(star - own), own, PARTS[part], star + 1);
  }
}

int bert_hf_shape(const BertConfig *config, BertTensor tensor, size_t shape[2]) {
  bert_tensor_shape(config, tensor, &shape[0], &shape[1]);
  if (tensor == BERT_WTE || tensor == BERT_MLMBIAS) shape[0] = config->vocab_size;
  shape[0] /= (size_t)bert_hf_parts(tensor);
  return NAMES[tensor].ndim;
}

static int ends_with(const char *name, const char *ending) {
  const size_t length = strlen(name), tail = strlen(ending);
  return length >= tail && strcmp(name + length - tail, ending) == 0;
}

// The name that transformers used until 2019. Returns 0 if there is none.
static int old_name(const char *name, char old[HF_NAME]) {
  const int weight = ends_with(name, NORM_WEIGHT);
  if (!weight && !ends_with(name, NORM_BIAS)) return 0;
  const size_t stem = strlen(name) - strlen(weight ? NORM_WEIGHT : NORM_BIAS);
  snprintf(old, HF_NAME, "%.*s%s", (int)stem, name, weight ? NORM_GAMMA : NORM_BETA);
  return 1;
}

// Numbers from 0 on and zeros, which old versions stored.
static int is_ignored(const char *name) {
  return strcmp(name, "embeddings.position_ids") == 0 || strcmp(name, "embeddings.token_type_ids") == 0;
}

// ---------------------------------------------------------------- opening

typedef const SafeTensor *Place; // where a tensor of a layer, or a part of it, is stored

struct BertHF {
  SafeTensors safe;
  BertConfig config; // num_labels: of the classifier that is there
  BertAbout about;
  Place *places[BERT_NUM_TENSORS]; // (layers, parts) each
};

static size_t tensor_layers(const BertConfig *config, BertTensor tensor) {
  return bert_tensor_in_block(tensor) ? config->num_layers : 1;
}

// Under its name or the old one.
static Place find_tensor(HFCheck *check, const char *name) {
  char old[HF_NAME];
  const Place now = hf_check_find(check, name), then = old_name(name, old) ? hf_check_find(check, old) : NULL;
  if (now != NULL && then != NULL) {
    zero_errors_add(check->errors, "-e %s: %s is there twice, as %s too; keep one of them", now->path, now->name,
                    then->name);
  }
  return now != NULL ? now : then;
}

static void find_all(BertHF *hf, HFCheck *check) {
  char name[HF_NAME];
  for (int t = 0; t < BERT_NUM_TENSORS; t++) {
    const BertTensor tensor = (BertTensor)t;
    const size_t layers = tensor_layers(&hf->config, tensor);
    const int parts = bert_hf_parts(tensor);
    hf->places[t] = zero_malloc(layers * (size_t)parts * sizeof(Place), ZERO_MEM_OTHER);
    for (size_t l = 0; l < layers; l++) {
      for (int p = 0; p < parts; p++) {
        bert_hf_name(tensor, l, p, name);
        hf->places[t][l * (size_t)parts + (size_t)p] = find_tensor(check, name);
      }
    }
  }
  // safetensors keeps one of two tensors that share their memory, whichever it likes.
  const Place bias = hf_check_find(check, DECODER_BIAS);
  if (hf->places[BERT_MLMBIAS][0] == NULL) hf->places[BERT_MLMBIAS][0] = bias;
  hf_check_find(check, DECODER);
}

static int head_is_there(const BertHF *hf, BertTensor tensor) {
  for (size_t h = 0; h < sizeof HEADS / sizeof HEADS[0]; h++) {
    if (tensor < HEADS[h].first || tensor > HEADS[h].last) continue;
    for (int t = HEADS[h].first; t <= (int)HEADS[h].last; t++) {
      if (hf->places[t][0] != NULL) return 1;
    }
  }
  return 0;
}

static void check_all(const BertHF *hf, HFCheck *check) {
  char name[HF_NAME];
  for (int t = 0; t < BERT_NUM_TENSORS; t++) {
    const BertTensor tensor = (BertTensor)t;
    const size_t layers = tensor_layers(&hf->config, tensor);
    const int parts = bert_hf_parts(tensor);
    if (bert_tensor_unit(tensor) == BERT_UNIT_HEAD && !head_is_there(hf, tensor)) continue;
    size_t shape[2];
    const int ndim = bert_hf_shape(&hf->config, tensor, shape);
    for (size_t i = 0; i < layers * (size_t)parts; i++) {
      if (hf->places[t][i] != NULL) {
        hf_check_tensor(check, hf->places[t][i], shape, ndim);
      } else {
        bert_hf_name(tensor, i / (size_t)parts, (int)(i % (size_t)parts), name);
        hf_check_missing(check, name);
      }
    }
  }
}

// What is stored a second time and says something else is a model that this program does not have.
static void check_tied(const BertHF *hf, const char *name, BertTensor tensor, ZeroErrors *errors) {
  const Place again = safetensors_find(&hf->safe, name), own = hf->places[tensor][0];
  if (again == NULL || again == own || safetensors_equal(again, own)) return;
  zero_errors_add(errors, "-e %s: %s differs from %s of %s; this program has tied weights only", again->path, name,
                  own->name, own->path);
}

static void check_tensors(BertHF *hf, ZeroErrors *errors) {
  const int problems = errors->count;
  char model[HF_NAME];
  HFCheck check = hf_check_begin(&hf->safe, PREFIX, errors);
  find_all(hf, &check);
  // Where config.json has no labels the classifier says how many there are.
  const Place classifier = hf->places[BERT_CLSW][0];
  hf->config.num_labels = hf->about.labels.count;
  if (classifier != NULL && hf->config.num_labels == 0 && classifier->ndim > 0) {
    hf->config.num_labels = classifier->shape[0];
    if (hf->config.num_labels == 0) {
      zero_errors_add(errors,
                      "-e %s: %s has no rows, a classifier has one for each label; leave it out of the folder",
                      classifier->path, classifier->name);
    }
  }
  check_all(hf, &check);
  snprintf(model, sizeof model, "a BERT of %zu layers", hf->config.num_layers);
  hf_check_rest(&check, is_ignored, model);
  hf_check_end(&check);
  if (errors->count > problems) return;
  check_tied(hf, DECODER, BERT_WTE, errors);
  if (hf->places[BERT_MLMBIAS][0] != NULL) check_tied(hf, DECODER_BIAS, BERT_MLMBIAS, errors);
}

BertHF *bert_hf_open(const char *folder, BertConfig *config, ZeroErrors *errors) {
  const int problems = errors->count;
  BertHF *hf = zero_malloc(sizeof *hf, ZERO_MEM_OTHER);
  // Both, so that what is wrong with either is said at once; tensors against a shape that is known.
  const int described = bert_hf_config(folder, &hf->config, &hf->about, errors) == 0;
  *config = hf->config;
  if (safetensors_open(folder, "-e", &hf->safe, errors) == 0 && described) check_tensors(hf, errors);
  if (errors->count == problems) return hf;
  bert_hf_close(hf);
  return NULL;
}

const BertAbout *bert_hf_about(const BertHF *hf) {
  return &hf->about;
}

int bert_hf_has(const BertHF *hf, BertTensor tensor) {
  return hf->places[tensor][0] != NULL;
}

size_t bert_hf_labels(const BertHF *hf) {
  return bert_hf_has(hf, BERT_CLSW) ? hf->config.num_labels : 0;
}

void bert_hf_close(BertHF *hf) {
  if (hf == NULL) return;
  for (int t = 0; t < BERT_NUM_TENSORS; t++) zero_free(hf->places[t]);
  bert_about_free(&hf->about);
  safetensors_close(&hf->safe);
  zero_free(hf);
}

// ---------------------------------------------------------------- reading

void bert_hf_read(const BertHF *hf, BertTensor tensor, size_t layer, size_t first, size_t count, float *out) {
  size_t rows, cols, shape[2];
  bert_tensor_shape(&hf->config, tensor, &rows, &cols);
  if (!bert_hf_has(hf, tensor) || layer >= tensor_layers(&hf->config, tensor) || first > rows * cols ||
      count > rows * cols - first) {
    zero_fatal("%s: elements %zu + %zu of %s, layer %zu, are outside the tensor of %zu", hf->safe.path, first, count,
               bert_tensor_name(tensor), layer, bert_hf_has(hf, tensor) ? rows * cols : 0);
  }
  bert_hf_shape(&hf->config, tensor, shape);
  const size_t parts = (size_t)bert_hf_parts(tensor), part = shape[0] * shape[1];
  for (size_t p = first / part; p < parts && count > 0; p++) {
    const size_t from = first - p * part, some = count < part - from ? count : part - from;
    safetensors_read(hf->places[tensor][layer * parts + p], from, some, out);
    first += some;
    count -= some;
    out += some;
  }
  memset(out, 0, count * sizeof *out); // the file ends where the padding of the vocabulary begins
}
