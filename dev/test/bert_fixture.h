// BERT's fixtures (dev/reference/README.md): a model's shape and weights, and its micro-batches, padded or packed.
#ifndef TEST_BERT_FIXTURE_H
#define TEST_BERT_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include "../../llmc/bert_model.h"
#include "parity.h"

#define MASK_PROBABILITY 0.3 // of the fixtures; sizes batches
enum { PACKINGS = 2 };
static const char *const PACKING_NAMES[PACKINGS] = {"padded", "packed"};

// ---------------------------------------------------------------- the model

// A model of the fixtures, and how it is to be run.
typedef struct {
  const char *name;
  const Fixture *fixture;
  BertConfig config;
  size_t B, T;
  int packed;
  char label[NAME_LENGTH]; // for messages: "bert_a packed"
} Model;

static inline void read_model(Model *model, const char *name, const Fixture *f) {
  enum { MAX_T, TYPES, VOCAB, PADDED_VOCAB, LAYERS, HEADS, CHANNELS, HIDDEN, LABELS, SIZES };
  size_t count, tokens;
  const int32_t *shape = fixture_i32(f, "shape", &count);
  if (count != SIZES) zero_fatal("%s: a shape of %zu numbers, expected %d", name, count, SIZES);
  memset(model, 0, sizeof *model);
  model->name = name;
  model->fixture = f;
  model->config.max_positions = (size_t)shape[MAX_T];
  model->config.type_vocab = (size_t)shape[TYPES];
  model->config.vocab_size = (size_t)shape[VOCAB];
  model->config.padded_vocab_size = (size_t)shape[PADDED_VOCAB];
  model->config.num_layers = (size_t)shape[LAYERS];
  model->config.num_heads = (size_t)shape[HEADS];
  model->config.channels = (size_t)shape[CHANNELS];
  model->config.hidden = (size_t)shape[HIDDEN];
  model->config.num_labels = (size_t)shape[LABELS];
  model->config.nsp = shape[LABELS] == 0;
  fixture_i32(f, "lengths", &model->B);
  fixture_i32(f, "tokens", &tokens);
  model->T = tokens / model->B;
}

static inline void pack(Model *model, int packed) {
  model->packed = packed;
  snprintf(model->label, sizeof model->label, "%s %s", model->name, PACKING_NAMES[packed]);
}

static inline BertBatchShape shape_of(const Model *model) {
  BertBatchShape shape = {model->B, model->T, model->packed, model->config.num_labels == 0, MASK_PROBABILITY};
  return shape;
}

static inline const char *record(char name[NAME_LENGTH], const char *run, const char *what, BertTensor t) {
  snprintf(name, NAME_LENGTH, "%s%s/%s", run, what, bert_tensor_name(t));
  return name;
}

static inline size_t layers_of(const BertConfig *c, BertTensor t) {
  return bert_tensor_in_block(t) ? c->num_layers : 1;
}

static inline size_t count_of(const BertConfig *c, BertTensor t) {
  size_t rows, cols;
  bert_tensor_shape(c, t, &rows, &cols);
  return rows * cols;
}

// The record of a tensor; fails unless it has the tensor's size.
static inline const float *tensor_record(const Model *model, const char *run, const char *what, BertTensor t) {
  char name[NAME_LENGTH];
  size_t count, expected = layers_of(&model->config, t) * count_of(&model->config, t);
  const float *data = fixture_f32(model->fixture, record(name, run, what, t), &count);
  if (count != expected) zero_fatal("%s: %s has %zu numbers, expected %zu", model->name, name, count, expected);
  return data;
}

static inline void read_weights(void *ctx, BertTensor t, size_t layer, size_t first, size_t count, float *out) {
  const Model *model = (const Model *)ctx;
  const float *data = tensor_record(model, "", "weight", t) + layer * count_of(&model->config, t);
  memcpy(out, data + first, count * sizeof(float));
}

// ---------------------------------------------------------------- batches

// One micro-batch of a fixture: (B, T) tokens, types, targets; (B) lengths, classes, values.
typedef struct {
  const int32_t *tokens, *types, *targets, *lengths, *classes;
  const float *values;
} Micro;

// Micro-batch number `index` of a run, or of "".
static inline Micro samples_of(const Model *model, const char *run, size_t index) {
  const char *const names[] = {"tokens", "types", "targets", "lengths", "classes"};
  const int32_t *ints[5];
  char name[NAME_LENGTH];
  size_t rows = model->B * model->T, count;
  for (int i = 0; i < 5; i++) {
    size_t size = i < 3 ? rows : model->B;
    snprintf(name, sizeof name, "%s%s", run, names[i]);
    ints[i] = fixture_i32(model->fixture, name, &count) + index * size;
    if ((index + 1) * size > count) zero_fatal("%s: %s has no micro-batch %zu", model->name, name, index);
  }
  snprintf(name, sizeof name, "%svalues", run);
  Micro s = {ints[0], ints[1], ints[2], ints[3], ints[4], fixture_f32(model->fixture, name, NULL) + index * model->B};
  return s;
}

static inline size_t targets_in(const Model *model, const Micro *s) {
  size_t targets = 0;
  for (size_t i = 0; i < model->B * model->T; i++) targets += s->targets[i] != OPS_IGNORE;
  return targets;
}

// Samples first … end - 1 as a batch that the model takes, in one block of memory at *block, to be freed; the others
// are missing. in_step: number of the first sample within its global batch.
static inline BertBatch make_batch(const Model *model, const Micro *s, size_t first, size_t end, size_t in_step,
                                   void **block) {
  BertBatch batch;
  memset(&batch, 0, sizeof batch);
  batch.shape = shape_of(model);
  *block = allocate(bert_batch_bytes(&batch.shape), 1);
  batch = bert_batch_on(&batch, *block);
  int *tokens = (int *)batch.tokens, *positions = (int *)batch.positions, *types = (int *)batch.types;
  int *row_samples = (int *)batch.row_samples, *masked_rows = (int *)batch.masked_rows;
  int *masked_targets = (int *)batch.masked_targets, *first_rows = (int *)batch.first_rows;
  int *lengths = (int *)batch.parts.lengths, *samples = (int *)batch.parts.samples,
      *starts = (int *)batch.parts.starts;
  int *classes = (int *)batch.label_classes;
  float *values = (float *)batch.label_values;
  for (size_t i = 0; i < bert_batch_max_masked(&batch.shape); i++) {
    masked_rows[i] = -1;
    masked_targets[i] = OPS_IGNORE;
  }
  batch.real = end - first;
  for (size_t b = 0; b < model->B; b++) {
    int there = b < batch.real;
    size_t from = first + b, row = model->packed ? batch.tokens_used : b * model->T;
    lengths[b] = there ? s->lengths[from] : 0;
    samples[b] = (int)(in_step + from);
    if (starts) starts[b] = (int)row;
    first_rows[b] = there ? (int)row : -1;
    classes[b] = there ? s->classes[from] : OPS_IGNORE;
    values[b] = there ? s->values[from] : 0.0f;
    for (size_t t = 0; t < (size_t)lengths[b]; t++) {
      size_t at = from * model->T + t;
      tokens[row + t] = s->tokens[at];
      types[row + t] = s->types[at];
      positions[row + t] = (int)t;
      row_samples[row + t] = samples[b];
      if (batch.shape.masked && s->targets[at] != OPS_IGNORE) {
        masked_rows[batch.targets] = (int)(row + t);
        masked_targets[batch.targets++] = s->targets[at];
      }
    }
    batch.tokens_used += (size_t)lengths[b];
  }
  size_t multiple = bert_batch_row_multiple(&batch.shape), masked = bert_batch_masked_multiple(&batch.shape);
  batch.N = model->packed ? (batch.tokens_used + multiple - 1) / multiple * multiple : model->B * model->T;
  batch.M = batch.shape.masked ? (batch.targets + masked - 1) / masked * masked : 0;
  batch.parts.count = model->B;
  batch.parts.longest = model->T;
  batch.parts.rows = batch.N;
  return batch;
}

#endif
