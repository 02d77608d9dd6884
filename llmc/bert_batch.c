// Micro-batches for BERT, padded and packed.
#include "bert_batch.h"

#include <limits.h>

#include "../zero/memory.h"
#include "masking.h"

struct BertBatches {
  SampleLoader *loader;
  SamplesInfo info;
  BertBatch batch;
  int *block;         // what batch's arrays are parts of
  size_t *numbers;    // (B)
  SamplePick *picks;  // (B)
  int *text;          // (T) a sample's tokens
  int *chosen, *were; // (T) positions and tokens that masking chose in it
};

// ---------------------------------------------------------------------------------------------------
// Sizes

static size_t round_up(size_t n, size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// The multiple of BERT_ROW_MULTIPLE at which up to `rows` rows come in at most BERT_ROW_COUNTS different numbers.
static size_t multiple_for(size_t rows) {
  const size_t multiple = round_up((rows + BERT_ROW_COUNTS - 1) / BERT_ROW_COUNTS, BERT_ROW_MULTIPLE);
  return multiple > 0 ? multiple : BERT_ROW_MULTIPLE;
}

size_t bert_batch_row_multiple(const BertBatchShape *shape) {
  return shape->packed ? multiple_for(shape->B * shape->T) : 1;
}

// By the share of rows that masking chooses, so that a sixteenth of those is the most that is added on average.
size_t bert_batch_masked_multiple(const BertBatchShape *shape) {
  return multiple_for((size_t)(shape->mask_probability * (double)(shape->B * shape->T)));
}

size_t bert_batch_max_rows(const BertBatchShape *shape) {
  return round_up(shape->B * shape->T, bert_batch_row_multiple(shape));
}

size_t bert_batch_max_masked(const BertBatchShape *shape) {
  return shape->masked ? round_up(shape->B * shape->T, bert_batch_masked_multiple(shape)) : 0;
}

int bert_batch_fits(const BertBatchShape *shape) {
  return bert_batch_max_rows(shape) <= INT_MAX && bert_batch_max_masked(shape) <= INT_MAX;
}

// ---------------------------------------------------------------------------------------------------
// The block and its parts

typedef struct {
  int *tokens, *positions, *types, *row_samples;                // (max_rows)
  int *masked_rows, *masked_targets;                            // (max_masked)
  int *starts, *lengths, *samples, *first_rows, *label_classes; // (B)
  float *label_values;                                          // (B)
} Arrays;

enum { ROW_ARRAYS = 4, MASKED_ARRAYS = 2, SAMPLE_ARRAYS = 6 };

size_t bert_batch_bytes(const BertBatchShape *shape) {
  return sizeof(int) * (ROW_ARRAYS * bert_batch_max_rows(shape) + MASKED_ARRAYS * bert_batch_max_masked(shape) +
                        SAMPLE_ARRAYS * shape->B);
}

static Arrays arrays_in(const BertBatchShape *shape, int *block) {
  const size_t rows = bert_batch_max_rows(shape), masked = bert_batch_max_masked(shape);
  Arrays a;
  a.tokens = block;
  a.positions = a.tokens + rows;
  a.types = a.positions + rows;
  a.row_samples = a.types + rows;
  a.masked_rows = a.row_samples + rows;
  a.masked_targets = a.masked_rows + masked;
  a.starts = a.masked_targets + masked;
  a.lengths = a.starts + shape->B;
  a.samples = a.lengths + shape->B;
  a.first_rows = a.samples + shape->B;
  a.label_classes = a.first_rows + shape->B;
  void *after = a.label_classes + shape->B;
  a.label_values = after;
  return a;
}
_Static_assert(sizeof(float) == sizeof(int), "the block is counted in ints");

BertBatch bert_batch_on(const BertBatch *batch, void *block) {
  const Arrays a = arrays_in(&batch->shape, block);
  BertBatch on = *batch;
  on.tokens = a.tokens;
  on.positions = a.positions;
  on.types = a.types;
  on.row_samples = a.row_samples;
  on.masked_rows = a.masked_rows;
  on.masked_targets = a.masked_targets;
  on.first_rows = a.first_rows;
  on.label_classes = a.label_classes;
  on.label_values = a.label_values;
  on.parts.starts = batch->shape.packed ? a.starts : NULL;
  on.parts.lengths = a.lengths;
  on.parts.samples = a.samples;
  return on;
}

const void *bert_batch_block(const BertBatch *batch) {
  return batch->tokens; // the first of its arrays
}

BertBatches *bert_batches_create(SampleLoader *loader, BertBatchShape shape) {
  if (!bert_batch_fits(&shape)) {
    zero_fatal("a micro-batch of %zu samples of %zu tokens has more rows than an int counts; give a smaller -b",
               shape.B, shape.T);
  }
  BertBatches *b = zero_malloc(sizeof *b, ZERO_MEM_OTHER);
  b->loader = loader;
  b->info = sample_loader_info(loader);
  b->batch.shape = shape;
  b->block = zero_malloc(bert_batch_bytes(&shape), ZERO_MEM_OTHER);
  b->picks = zero_malloc(shape.B * sizeof *b->picks, ZERO_MEM_OTHER);
  b->numbers = zero_malloc(shape.B * sizeof *b->numbers, ZERO_MEM_OTHER);
  b->text = zero_malloc(shape.T * sizeof *b->text, ZERO_MEM_OTHER);
  b->chosen = zero_malloc(shape.T * sizeof *b->chosen, ZERO_MEM_OTHER);
  b->were = zero_malloc(shape.T * sizeof *b->were, ZERO_MEM_OTHER);
  return b;
}

void bert_batches_free(BertBatches *b) {
  if (b == NULL) return;
  zero_free(b->block);
  zero_free(b->numbers);
  zero_free(b->picks);
  zero_free(b->text);
  zero_free(b->chosen);
  zero_free(b->were);
  zero_free(b);
}

// ---------------------------------------------------------------------------------------------------
// Filling

static MaskingKey masking_key(const BertBatches *b, SamplePick pick) {
  const MaskingKey key = {b->batch.shape.mask_probability, sample_loader_seed(b->loader), pick.epoch,
                          (uint32_t)pick.number};
  return key;
}

// No sample yet: every row is padding.
static void clear(BertBatches *b, const Arrays *a) {
  const BertBatchShape shape = b->batch.shape;
  const size_t rows = bert_batch_max_rows(&shape), masked = bert_batch_max_masked(&shape);
  for (size_t n = 0; n < rows; n++) {
    a->tokens[n] = b->info.pad;
    a->positions[n] = shape.packed ? 0 : (int)(n % shape.T);
    a->types[n] = 0;
    a->row_samples[n] = 0;
  }
  for (size_t m = 0; m < masked; m++) {
    a->masked_rows[m] = -1;
    a->masked_targets[m] = OPS_IGNORE;
  }
  b->batch = (BertBatch){.shape = shape, .numbers = b->numbers};
}

static int class_of(const SamplesInfo *info, float label) {
  if (info->pairs) return label == 0.0f; // Hugging Face: 0 where B follows A
  return info->num_labels > 1 ? (int)label : OPS_IGNORE;
}

// Sample `slot` of the batch, whose rows begin at `row`; in_step: its number within the global batch.
static void add_sample(BertBatches *b, const Arrays *a, size_t slot, SamplePick pick, size_t row, size_t in_step) {
  BertBatch *batch = &b->batch;
  const Sample sample = sample_loader_read(b->loader, pick.number, b->text);
  if (batch->shape.masked) {
    const MaskingKey key = masking_key(b, pick);
    const size_t chosen = masking_apply(&b->info, &key, sample.length, b->text, b->chosen, b->were);
    for (size_t i = 0; i < chosen; i++) {
      a->masked_rows[batch->targets] = (int)row + b->chosen[i];
      a->masked_targets[batch->targets++] = b->were[i];
    }
  }
  for (size_t t = 0; t < sample.length; t++) {
    a->tokens[row + t] = b->text[t];
    a->positions[row + t] = (int)t;
    a->types[row + t] = t >= sample.second;
    a->row_samples[row + t] = (int)in_step;
  }
  a->lengths[slot] = (int)sample.length;
  a->first_rows[slot] = (int)row;
  a->label_classes[slot] = class_of(&b->info, sample.label);
  a->label_values[slot] = sample.label;
  b->numbers[slot] = pick.number;
  batch->tokens_used += sample.length;
  if (sample.length > batch->parts.longest) batch->parts.longest = sample.length;
}

static size_t at_least_one(size_t n) {
  return n > 0 ? n : 1;
}

// The batch of the first `real` picks and B - real missing samples.
static const BertBatch *fill(BertBatches *b, size_t real, size_t in_step) {
  BertBatch *batch = &b->batch;
  const BertBatchShape *shape = &batch->shape;
  const Arrays a = arrays_in(shape, b->block);
  clear(b, &a);
  for (size_t slot = 0; slot < shape->B; slot++) {
    const size_t row = shape->packed ? batch->tokens_used : slot * shape->T;
    a.starts[slot] = (int)row;
    a.samples[slot] = (int)(in_step + slot);
    if (slot < real) {
      add_sample(b, &a, slot, b->picks[slot], row, in_step + slot);
    } else {
      a.lengths[slot] = 0;
      a.first_rows[slot] = -1;
      a.label_classes[slot] = OPS_IGNORE;
      a.label_values[slot] = 0.0f;
    }
  }
  // Also where every sample is missing: no operation is asked for 0 rows.
  const size_t used = at_least_one(batch->tokens_used), masked = at_least_one(batch->targets);
  batch->real = real;
  batch->N = shape->packed ? round_up(used, bert_batch_row_multiple(shape)) : shape->B * shape->T;
  batch->M = shape->masked ? round_up(masked, bert_batch_masked_multiple(shape)) : 0;
  batch->parts.count = shape->B;
  batch->parts.rows = batch->N;
  batch->parts.longest = shape->packed ? at_least_one(batch->parts.longest) : shape->T;
  *batch = bert_batch_on(batch, b->block);
  return batch;
}

const BertBatch *bert_batches_train(BertBatches *b, size_t first, size_t in_step) {
  const size_t B = b->batch.shape.B;
  for (size_t slot = 0; slot < B; slot++) b->picks[slot] = sample_loader_pick(b->loader, first + slot);
  return fill(b, B, in_step);
}

const BertBatch *bert_batches_validate(BertBatches *b, size_t first, size_t end) {
  size_t real = 0;
  for (; real < b->batch.shape.B && first + real < end; real++) b->picks[real] = (SamplePick){first + real, 0};
  return fill(b, real, 0);
}

size_t bert_batches_train_targets(BertBatches *b, size_t first) {
  const BertBatchShape *shape = &b->batch.shape;
  size_t targets = 0;
  if (!shape->masked) return 0;
  for (size_t slot = 0; slot < shape->B; slot++) {
    const SamplePick pick = sample_loader_pick(b->loader, first + slot);
    const Sample sample = sample_loader_read(b->loader, pick.number, b->text);
    const MaskingKey key = masking_key(b, pick);
    targets += masking_count(&b->info, &key, sample.length, b->text);
  }
  return targets;
}
