// What BERT's forward and backward share: tensors within the engine's buffers, the sites of dropout, the trunk.
#ifndef LLMC_BERT_PASS_H
#define LLMC_BERT_PASS_H

#include "bert_model.h"

#define BERT_LAYERNORM_EPS 1e-12f

// Where a layer drops; the embeddings are layer 0, block l is layer 1 + l, the head L + 1.
enum { BERT_DROP_WEIGHTS, BERT_DROP_FIRST, BERT_DROP_SECOND };

// One pass over one micro-batch. batch: on the device.
typedef struct {
  Bert *m;
  const BertBatch *batch;
  int training;  // with dropout
  uint64_t step; // which keys it
} BertPass;

const void *bert_param(const Bert *, const void *flat, int unit, BertTensor);
OpsGrad bert_grad(const Bert *, ZeroGrad flat, int unit, BertTensor);
OpsDropout bert_dropout(const BertPass *, float rate, size_t layer, size_t which);
// Drops (N, C) rows of the batch; returns out, or inp where nothing drops.
const void *bert_drop_rows(const BertPass *, void *out, const void *inp, size_t layer, size_t which);

static inline int bert_has(const Bert *m, BertTensor t) {
  return bert_tensor_in_model(&m->config, t);
}
static inline int bert_is_regression(const Bert *m) {
  return m->config.num_labels == 1;
}
static inline size_t bert_labels(const Bert *m) {
  return m->config.num_labels > 0 ? m->config.num_labels : BERT_NSP_LABELS;
}

// The same batch with its arrays where the device can read them, behind the kernels queued so far.
BertBatch bert_batch_to_device(Bert *, const BertBatch *host);
// Block l, counted from 0, from its input to its output; p: its parameters.
void bert_block_forward(const BertPass *, size_t l, const void *p);
// Up to the last block's output, blocks[L - 1].x2. Returns the embeddings' parameters, still held; the head's are
// being fetched.
const void *bert_trunk(const BertPass *);
// From there to what the losses need: head.norm, head.dropped. p: the head's parameters.
void bert_head_forward(const BertPass *, const void *p);
// The losses, and with `counts` also head.dnorm and head.dpooled and the gradients of the tensors next to the loss.
// embeddings, p: parameters; ge, g: gradients, read only with counts.
void bert_head_losses(const BertPass *, const void *embeddings, const void *p, const BertCounts *counts, ZeroGrad ge,
                      ZeroGrad g);
// Queues their way to the host: *loss is known after bert_finish.
void bert_take_losses(const BertPass *, BertLoss *loss);

#endif
