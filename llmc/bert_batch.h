// Micro-batches for BERT. A micro-batch is a fixed set of B samples, whatever their lengths are and however many
// ranks there are: never a budget of tokens. Its rows are laid out in one of two ways.
//
// Padded: (B, T) rows, each sample at the beginning of its T. T is the -t of the run, not the longest sample of this
// batch, so that the run has one shape and the operations plan their products once.
// Packed: the samples one after the other, then rows that belong to none, up to a multiple (bert_batch_row_multiple):
// the number of rows differs from batch to batch, and few different numbers keep the caches of plans small.
//
// Rows that belong to no sample have the token [PAD], type 0 and sample 0; their position is 0 where packed. Nothing
// reads them: attention gives 0 for them, and no target or first row lies there.
#ifndef LLMC_BERT_BATCH_H
#define LLMC_BERT_BATCH_H

#include <stddef.h>

#include "ops.h"
#include "sample_loader.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  BERT_ROW_MULTIPLE = 64, // packed rows and masked rows are multiples of it
  BERT_ROW_COUNTS = 16    // so many different numbers of rows occur at most
};

// How micro-batches are made: the same for all of a run.
typedef struct {
  size_t B, T;             // samples; tokens that a sample has at most (-t)
  int packed;              // --packed
  int masked;              // 1: masked-language modelling; 0: tokens as they are, M = 0
  double mask_probability; // --mask-probability
} BertBatchShape;

// One micro-batch. All arrays are parts of one block of memory (bert_batch_on), in this order, at places that depend
// on the shape alone; pointers are the host's unless bert_batch_on has changed them.
typedef struct {
  BertBatchShape shape;
  OpsSequences parts; // starts NULL where padded; lengths; samples
  size_t N;           // rows: parts.rows
  size_t M;           // masked rows, padded to a multiple; at least one multiple; 0 where shape.masked is 0
  size_t real;        // samples that are there, the first of the batch; the others have length 0 and no target
  size_t targets;     // masked tokens to be predicted: entries of masked_targets that are not OPS_IGNORE
  size_t tokens_used; // rows that belong to a sample

  const int *tokens, *positions, *types; // (N)
  const int *row_samples;                // (N) as parts.samples, by row
  const int *masked_rows;                // (M) ascending; -1 where padding
  const int *masked_targets;             // (M) the token that was there; OPS_IGNORE where padding
  const int *first_rows;                 // (B) row of [CLS]; -1 where the sample is missing
  // (B) the class, or OPS_IGNORE where the sample is missing or the data has no classes. Of sentence pairs as Hugging
  // Face's next_sentence_label counts: 0 where B follows A, 1 where it does not.
  const int *label_classes;
  const float *label_values; // (B) the label as the file has it; 0 where missing
  const size_t *numbers;     // (B) the samples' numbers in file order; host only; undefined where missing
} BertBatch;

typedef struct BertBatches BertBatches; // makes micro-batches of one shape from one loader

// The loader stays the caller's and outlives it. Masking is keyed by the loader's seed. A shape that does not fit
// (bert_batch_fits) ends all ranks.
BertBatches *bert_batches_create(SampleLoader *, BertBatchShape shape);
void bert_batches_free(BertBatches *);

// The micro-batch of the samples that training takes as number first, first + 1, …, first + B - 1.
// in_step: number of the first of them within its global batch, which keys the dropout.
// What comes back is valid until the next call with the same BertBatches.
const BertBatch *bert_batches_train(BertBatches *, size_t first, size_t in_step);
// The micro-batch of samples first … first + B - 1 in file order; those from `end` on are missing: the last
// micro-batch of a split, and work of ranks that have none left (first >= end). Masked as in epoch 0: every time
// alike.
const BertBatch *bert_batches_validate(BertBatches *, size_t first, size_t end);
// The look-ahead: `targets` of the batch that bert_batches_train(…, first, …) will give. The loss is the mean over
// the targets of the global batch, so a rank sums this over its micro-batches, and the ranks their sums, before the
// first backward.
size_t bert_batches_train_targets(BertBatches *, size_t first);

// The most that a batch of this shape can have, for the sizes of activations: N, and M where masked.
size_t bert_batch_max_rows(const BertBatchShape *);
size_t bert_batch_max_masked(const BertBatchShape *);
int bert_batch_fits(const BertBatchShape *); // rows are numbered by int: are there few enough?
// Numbers of rows are multiples of this; 1 where padded: N is B * T.
size_t bert_batch_row_multiple(const BertBatchShape *);
size_t bert_batch_masked_multiple(const BertBatchShape *);

// For a device with memory of its own: the block's size in bytes, its beginning, and the same batch with its arrays
// (parts' too) in a copy of the block at `block`.
size_t bert_batch_bytes(const BertBatchShape *);
const void *bert_batch_block(const BertBatch *);
BertBatch bert_batch_on(const BertBatch *, void *block);

#ifdef __cplusplus
}
#endif
#endif
