// BERT's units, memory and initial weights.
#include "bert_model.h"

#include <string.h>

#include "arena.h"
#include "bert_pass.h"
#include "random.h"

#define INIT_STD 0.02f
enum { KINDS_OF_LOSS = 2 }; // of masked tokens, of labels

// ---------------------------------------------------------------------------------------------------
// Tensors and units

int bert_unit(const Bert *m, BertTensor t, size_t layer) {
  switch (bert_tensor_unit(t)) {
    case BERT_UNIT_EMBEDDINGS:
      return 0;
    case BERT_UNIT_BLOCK:
      return 1 + (int)layer;
    case BERT_UNIT_HEAD:
      break;
  }
  return m->head_unit;
}

int bert_tensor_index(const BertConfig *config, BertTensor t) {
  int index = 0;
  for (int before = 0; before < (int)t; before++) {
    const BertTensor other = (BertTensor)before;
    index += bert_tensor_unit(other) == bert_tensor_unit(t) && bert_tensor_in_model(config, other);
  }
  return index;
}

static BertUnit kind_of_unit(const Bert *m, int unit) {
  return unit == 0 ? BERT_UNIT_EMBEDDINGS : unit == m->head_unit ? BERT_UNIT_HEAD : BERT_UNIT_BLOCK;
}

static BertTensor tensor_of(const Bert *m, int unit, int index) {
  for (int t = 0; t < BERT_NUM_TENSORS; t++) {
    const BertTensor tensor = (BertTensor)t;
    if (bert_tensor_unit(tensor) == kind_of_unit(m, unit) && bert_has(m, tensor) &&
        bert_tensor_index(&m->config, tensor) == index) {
      return tensor;
    }
  }
  zero_fatal("BERT's unit %d has no tensor %d", unit, index);
}

void bert_read(Bert *m, ZeroKind kind, BertTensor t, size_t layer, float *out) {
  zero_read(m->engine, kind, bert_unit(m, t, layer), bert_tensor_index(&m->config, t), out);
}

// The tensors of one kind of unit, from `tensors` on; returns their number.
static int describe_tensors(const BertConfig *config, BertUnit unit, ZeroTensor *tensors) {
  int count = 0;
  for (int i = 0; i < BERT_NUM_TENSORS; i++) {
    const BertTensor t = (BertTensor)i;
    if (bert_tensor_unit(t) != unit || !bert_tensor_in_model(config, t)) continue;
    ZeroTensor *tensor = &tensors[count++];
    memset(tensor, 0, sizeof *tensor);
    tensor->name = bert_tensor_name(t);
    bert_tensor_shape(config, t, &tensor->shape[0], &tensor->shape[1]);
    tensor->ndim = tensor->shape[1] > 1 ? 2 : 1;
    tensor->flags = tensor->ndim == 2 ? 0u : (unsigned)ZERO_NO_DECAY; // decay on 2-D tensors only
  }
  return count;
}

static ZeroEngine *make_engine(const Bert *m, const ZeroConfig *zero, ZeroComm *comm) {
  static const char *const names[] = {"embeddings", "block", "head"};
  ZeroTensor tensors[BERT_UNIT_HEAD + 1][BERT_NUM_TENSORS];
  int counts[BERT_UNIT_HEAD + 1];
  for (int kind = 0; kind <= BERT_UNIT_HEAD; kind++) {
    counts[kind] = describe_tensors(&m->config, (BertUnit)kind, tensors[kind]);
  }
  ZeroUnit *units = zero_malloc((size_t)m->num_units * sizeof *units, ZERO_MEM_OTHER);
  for (int u = 0; u < m->num_units; u++) {
    const BertUnit kind = kind_of_unit(m, u);
    units[u].name = names[kind];
    units[u].num_tensors = counts[kind];
    units[u].tensors = tensors[kind];
    units[u].flags = kind == BERT_UNIT_BLOCK ? 0u : (unsigned)ZERO_OWN_BUFFER;
  }
  ZeroEngine *engine = zero_initialize(zero, units, m->num_units, comm, m->device);
  zero_free(units);
  return engine;
}

// ---------------------------------------------------------------------------------------------------
// Memory

static size_t scratch_bytes(const Bert *m, size_t N, size_t M) {
  const BertConfig *c = &m->config;
  const size_t C = c->channels, H = c->hidden, B = m->shape.B, labels = bert_labels(m);
  // A batch has as many rows and sequences as this one, or fewer.
  const OpsSequences most = {B, m->shape.T, N, NULL, NULL, NULL};
  size_t bytes = attention_forward_scratch(&most, C, c->num_heads, 0, m->type);
  bytes = larger_size(bytes, attention_backward_scratch(&most, C, c->num_heads, 0, m->type));
  bytes = larger_size(bytes, embedding_backward_scratch(N, C, c->padded_vocab_size));
  bytes = larger_size(bytes, embedding_backward_scratch(N, C, c->max_positions));
  bytes = larger_size(bytes, embedding_backward_scratch(N, C, c->type_vocab));
  bytes = larger_size(bytes, layernorm_backward_scratch(N, C));
  bytes = larger_size(bytes, matmul_backward_scratch(N, C, 3 * C, m->grad_type));
  bytes = larger_size(bytes, matmul_backward_scratch(N, C, C, m->grad_type));
  bytes = larger_size(bytes, matmul_backward_scratch(N, C, H, m->grad_type));
  bytes = larger_size(bytes, matmul_backward_scratch(N, H, C, m->grad_type));
  bytes = larger_size(bytes, matmul_backward_scratch(B, C, C, m->grad_type));
  bytes = larger_size(bytes, matmul_backward_scratch(B, C, labels, m->grad_type));
  bytes = larger_size(bytes, lm_head_loss_scratch(B, C, labels, m->type, m->grad_type));
  if (M > 0) {
    bytes = larger_size(bytes, layernorm_backward_scratch(M, C));
    bytes = larger_size(bytes, matmul_backward_scratch(M, C, C, m->grad_type));
    bytes = larger_size(bytes, lm_head_loss_scratch(M, C, c->padded_vocab_size, m->type, m->grad_type));
  }
  return bytes;
}

static void take_blocks(Bert *m, Arena *arena, size_t N) {
  const BertConfig *c = &m->config;
  const size_t row = c->channels * zero_type_size(m->type), wide = c->hidden * zero_type_size(m->type);
  const size_t stat = N * sizeof(float);
  const int keep_gelu = m->recompute < RECOMPUTE_GELU;
  void *fc = keep_gelu ? NULL : arena_take(arena, N * wide);
  for (size_t l = 0; l < c->num_layers; l++) {
    BertBlock *a = &m->blocks[l];
    if (l > 0 && m->recompute >= RECOMPUTE_BLOCK) {
      *a = m->blocks[0];
      a->x2 = arena_take(arena, N * row);
      continue;
    }
    a->qkv = arena_take(arena, N * 3 * row);
    a->att = arena_take(arena, N * row);
    a->res1 = arena_take(arena, N * row);
    a->x1 = arena_take(arena, N * row);
    a->fc_pre = arena_take(arena, N * wide);
    a->fc = keep_gelu ? arena_take(arena, N * wide) : fc;
    a->res2 = arena_take(arena, N * row);
    a->x2 = arena_take(arena, N * row);
    a->lse = arena_take(arena, c->num_heads * stat);
    a->mean1 = arena_take(arena, stat);
    a->rstd1 = arena_take(arena, stat);
    a->mean2 = arena_take(arena, stat);
    a->rstd2 = arena_take(arena, stat);
  }
}

static void take_head(Bert *m, Arena *arena, size_t M) {
  const size_t row = m->config.channels * zero_type_size(m->type), B = m->shape.B;
  BertHead *h = &m->head;
  void **masked[] = {&h->gathered, &h->pre, &h->act, &h->norm, &h->dnorm, &h->dact};
  for (size_t i = 0; i < sizeof masked / sizeof masked[0]; i++) *masked[i] = arena_take(arena, M * row);
  h->mean = arena_take(arena, M * sizeof(float));
  h->rstd = arena_take(arena, M * sizeof(float));
  h->masked_losses = arena_take(arena, M * sizeof(float));
  h->masked_best = arena_take(arena, M * sizeof(int));
  void **pooled[] = {&h->first, &h->pooled, &h->dropped, &h->dpooled, &h->dfirst};
  for (size_t i = 0; i < sizeof pooled / sizeof pooled[0]; i++) *pooled[i] = arena_take(arena, B * row);
  h->value = arena_take(arena, B * zero_type_size(m->type));
  h->dvalue = arena_take(arena, B * zero_type_size(m->type));
  h->label_losses = arena_take(arena, B * sizeof(float));
  h->label_best = arena_take(arena, B * sizeof(int));
  h->zeros = arena_take(arena, B * sizeof(int)); // as they come from the device
}

// Cuts `memory` into the activations; NULL: only counts. Returns the bytes.
static size_t take_activations(Bert *m, void *memory) {
  Arena whole = {memory, 0}, *arena = &whole;
  const BertConfig *c = &m->config;
  const size_t N = bert_batch_max_rows(&m->shape), M = bert_batch_max_masked(&m->shape);
  const size_t row = c->channels * zero_type_size(m->type);
  m->embedded = arena_take(arena, N * row);
  m->x0 = arena_take(arena, N * row);
  m->mean0 = arena_take(arena, N * sizeof(float));
  m->rstd0 = arena_take(arena, N * sizeof(float));
  take_blocks(m, arena, N);
  take_head(m, arena, M);
  m->dres = arena_take(arena, N * row);
  m->dtmp = arena_take(arena, N * row);
  m->ddrop = m->dropout.hidden > 0 ? arena_take(arena, N * row) : NULL;
  m->dwide = arena_take(arena, N * larger_size(3 * c->channels, c->hidden) * zero_type_size(m->type));
  m->scratch = arena_take(arena, scratch_bytes(m, N, M));
  return arena->used;
}

void bert_create(Bert *m, const BertConfig *config, const BertBatchShape *shape, size_t micro_steps,
                 const BertDropout *dropout, int recompute, const ZeroConfig *zero, ZeroComm *comm,
                 ZeroDevice *device) {
  memset(m, 0, sizeof *m);
  m->config = *config;
  m->shape = *shape;
  m->dropout = *dropout;
  m->type = zero->type;
  m->grad_type = zero->wire != ZERO_F32 ? zero->wire : zero->accumulate;
  m->device = device;
  m->num_units = (int)config->num_layers + 2;
  m->head_unit = m->num_units - 1;
  if (shape->T > config->max_positions) {
    zero_fatal("samples of up to %zu tokens, but the model has %zu positions; give a smaller -t", shape->T,
               config->max_positions);
  }
  if (bert_has(m, BERT_MLMW) != shape->masked) {
    zero_fatal("a model that %s masked tokens needs batches that are %s",
               shape->masked ? "does not predict" : "predicts", shape->masked ? "not masked" : "masked");
  }
  m->engine = make_engine(m, zero, comm);
  m->blocks = zero_malloc(config->num_layers * sizeof *m->blocks, ZERO_MEM_OTHER);
  m->recompute = RECOMPUTE_NONE;
  m->without_recompute = take_activations(m, NULL);
  m->recompute = recompute;
  m->activation_bytes = take_activations(m, NULL);
  m->activations = device->alloc(device, m->activation_bytes, ZERO_MEM_ACTIVATIONS);
  take_activations(m, m->activations);
  m->batches = micro_batches_create(device, bert_batch_bytes(shape) / sizeof(int),
                                    larger_size(shape->B, bert_batch_max_masked(shape)), KINDS_OF_LOSS * micro_steps);
}

void bert_destroy(Bert *m) {
  ZeroDevice *device = m->device;
  zero_destroy(m->engine);
  micro_batches_destroy(m->batches);
  device->free(device, m->activations);
  zero_free(m->blocks);
}

// ---------------------------------------------------------------------------------------------------
// Initial weights, made or read piece by piece: no rank ever holds what it does not keep.

void bert_initial(const BertConfig *config, uint64_t seed, BertTensor t, size_t layer, size_t first, size_t count,
                  float *out) {
  size_t rows, cols;
  bert_tensor_shape(config, t, &rows, &cols);
  if (cols == 1) {
    const int norm = t == BERT_LNEW || t == BERT_LN1W || t == BERT_LN2W || t == BERT_MLMLNW;
    for (size_t i = 0; i < count; i++) out[i] = norm ? 1.0f : 0.0f;
    return;
  }
  random_normal(seed, (uint32_t)(layer * BERT_NUM_TENSORS + (size_t)t), first, count, INIT_STD, out);
  if (t == BERT_WTE) {
    const size_t real = config->vocab_size * cols;
    for (size_t i = first < real ? real - first : 0; i < count; i++) out[i] = 0.0f;
  }
}

typedef struct {
  const Bert *model;
  uint64_t seed;
  BertSource *source; // NULL: bert_initial
  void *ctx;
} Filling;

static void fill(void *ctx, int unit, int tensor, size_t first, size_t count, float *out) {
  const Filling *filling = ctx;
  const BertTensor t = tensor_of(filling->model, unit, tensor);
  const size_t layer = bert_tensor_in_block(t) ? (size_t)unit - 1 : 0;
  if (filling->source != NULL) {
    filling->source(filling->ctx, t, layer, first, count, out);
  } else {
    bert_initial(&filling->model->config, filling->seed, t, layer, first, count, out);
  }
}

void bert_init(Bert *m, uint64_t seed) {
  Filling filling = {m, seed, NULL, NULL};
  zero_fill(m->engine, ZERO_MASTER, fill, &filling);
}

void bert_load(Bert *m, BertSource *source, void *ctx) {
  Filling filling = {m, 0, source, ctx};
  zero_fill(m->engine, ZERO_MASTER, fill, &filling);
}
