// BERT (Devlin et al., arXiv 1810.04805) as Hugging Face computes it: LayerNorm after each residual, GELU by the
// error function, attention in both directions. Its heads: masked-LM prediction, tied to the embedding and computed
// at the masked rows alone, with or without next-sentence prediction; or classification, or regression, of whole
// samples.
//
// Units of the engine: the embeddings, each block, the head. The first and the last are used from forward to backward
// without a pause, so both have buffers of their own. bert_model.c makes the model, bert_forward.c and
// bert_backward.c compute it; none of them knows which stage runs or how many ranks there are.
#ifndef LLMC_BERT_MODEL_H
#define LLMC_BERT_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "../zero/zero.h"
#include "bert_batch.h"
#include "bert_config.h"
#include "micro_batches.h"
#include "ops.h"
#include "recompute.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  float hidden;     // after the embeddings' LayerNorm, after attention's and the MLP's projection
  float attention;  // on the attention weights
  float classifier; // before the classification head
  uint64_t seed;
} BertDropout;

// What forward leaves for backward. N rows. Where it is worked out anew, fc, or all but x2, is one and the same
// memory for all blocks.
typedef struct {
  void *qkv;                            // (N, 3C)
  void *att;                            // (N, C)
  void *res1, *x1;                      // (N, C) before and after the LayerNorm behind attention
  void *fc_pre, *fc;                    // (N, H) before and after GELU
  void *res2, *x2;                      // (N, C) before and after the LayerNorm behind the MLP
  float *lse;                           // (NH * N)
  float *mean1, *rstd1, *mean2, *rstd2; // (N)
} BertBlock;

// The same of the head. M masked rows, B samples.
typedef struct {
  void *gathered, *pre, *act, *norm;     // (M, C) masked rows, dense, GELU, LayerNorm
  float *mean, *rstd;                    // (M)
  void *first, *pooled, *dropped;        // (B, C) rows of [CLS], after the pooler, and after dropout
  void *value;                           // (B) what a regression predicts
  void *dnorm, *dact, *dpooled, *dfirst; // (M, C) twice, (B, C) twice: gradients
  void *dvalue;                          // (B)
  float *masked_losses, *label_losses;   // (M), (B)
  float *masked_logits, *label_logits;   // (M, V), (B, labels): as they are asked for, else NULL
  int *masked_best, *label_best;         // (M), (B)
  const int *zeros;                      // (B) the position of every [CLS]
} BertHead;

typedef struct {
  BertConfig config;
  BertBatchShape shape;
  BertDropout dropout;
  ZeroType type;      // of parameters and activations
  ZeroType grad_type; // of the gradients that the engine asks for; a half type where it may ask for fp32 or half
  int recompute;      // RECOMPUTE_…, but not RECOMPUTE_LAYERNORM
  ZeroEngine *engine;
  ZeroDevice *device;
  int num_units, head_unit; // unit 0: embeddings, 1 … L: blocks, L + 1: head

  void *activations;                          // one allocation, which all of these point into
  size_t activation_bytes, without_recompute; // of it, and what it would take with RECOMPUTE_NONE
  void *embedded;                             // (N, C) the sum of the three embeddings
  void *x0;                                   // (N, C) after LayerNorm and dropout
  float *mean0, *rstd0;
  BertBlock *blocks;
  BertHead head;
  void *dres, *dtmp, *ddrop, *dwide; // (N, C) three times, (N, larger of 3C and H): gradients on their way down
  void *scratch;
  MicroBatches *batches; // the batches' arrays on their way to the device, the losses on their way back
} Bert;

// Collective. Memory for batches of `shape`. micro_steps: batches whose losses may be under way before bert_finish,
// at least 1; with more of them the host waits in between. Parameters are 0 until bert_init or bert_load.
void bert_create(Bert *, const BertConfig *, const BertBatchShape *shape, size_t micro_steps, const BertDropout *,
                 int recompute, const ZeroConfig *, ZeroComm *, ZeroDevice *);
void bert_destroy(Bert *);

// Elements [first, first + count) of the initial tensor: weights and embeddings normal with deviation 0.02, also
// those of types and positions; LayerNorm 1, biases 0, the padding of the vocabulary 0.
void bert_initial(const BertConfig *, uint64_t seed, BertTensor, size_t layer, size_t first, size_t count,
                  float *out);
void bert_init(Bert *, uint64_t seed);
// From elsewhere: `source` writes the elements, as bert_initial does, that this rank keeps.
typedef void BertSource(void *ctx, BertTensor, size_t layer, size_t first, size_t count, float *out);
void bert_load(Bert *, BertSource *source, void *ctx);

// The engine's numbers of a tensor.
int bert_unit(const Bert *, BertTensor, size_t layer);
int bert_tensor_index(const BertConfig *, BertTensor); // within its unit
// Collective, as zero_read: the whole tensor to `out` on rank 0.
void bert_read(Bert *, ZeroKind, BertTensor, size_t layer, float *out);

// Summed losses of a micro-batch; labels: of next-sentence prediction, classes or values.
typedef struct {
  double masked, labels;
} BertLoss;

// What evaluation predicts, into the host's memory; NULL: not wanted.
typedef struct {
  int *masked_best;     // (M) the likeliest token of each masked row, those of padding included
  float *masked_logits; // (M, V)
  int *label_best;      // (B) the likeliest class, of missing samples too
  float *label_logits;  // (B, labels); of a regression (B): the value
  float *hidden;        // (N, C) the last block's output
} BertOutputs;

// Evaluation, without dropout. outputs NULL: only losses. A model of masked tokens needs a batch that is masked.
BertLoss bert_forward(Bert *, const BertBatch *, const BertOutputs *outputs);
// How many there are in the whole global batch: each target counts 1/targets, each sample's label 1/samples. Without
// targets masked tokens give no gradient.
typedef struct {
  size_t targets, samples;
} BertCounts;
// Forward with the dropout of this step, and backward. The batch may be another one on return, although the device
// may not have computed it yet; *loss is known after bert_finish.
void bert_forward_backward(Bert *, const BertBatch *, BertCounts, uint64_t step, BertLoss *loss);
// Waits for the losses of all batches so far.
void bert_finish(Bert *);

#ifdef __cplusplus
}
#endif
#endif
