// GPT-2 training with ZeRO, on one rank or many. Read it from top to bottom: the model and its units, forward,
// backward, one training step, evaluation, sampling, the options, main.
//
// The mathematics is in llmc/ops.h, the sharding in zero/zero.h. This file knows neither which stage runs nor
// how many ranks there are: around each unit it gets parameters and hands in gradients, on every rank alike.
// It is written in the common subset of C and C++, so that one source serves the CPU and nvcc.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmc/arena.h"
#include "llmc/export_files.h"
#include "llmc/gpt2_bin.h"
#include "llmc/gpt2_config.h"
#include "llmc/gpt2_dropout.h"
#include "llmc/gpt2_export.h"
#include "llmc/gpt2_weights.h"
#include "llmc/micro_batches.h"
#include "llmc/open_device.h"
#include "llmc/ops.h"
#include "llmc/random.h"
#include "llmc/recompute.h"
#include "llmc/sampler.h"
#include "llmc/trainer.h"
#include "zero/zero.h"
#ifdef ZERO_CUDA
#include "llmc/cuda/attention_cudnn.h"
#endif

// ----------------------------------------------------------------------------
// The model: embeddings, L blocks, the final LayerNorm. Each is a unit of the engine.

enum { TENSORS_IN_BLOCK = GPT2_FCPROJB - GPT2_LN1W + 1 };
#define INIT_STD 0.02f // of all weights; the residual projections are scaled by 1/sqrt(2L) more

// What forward leaves for backward. N = B*T rows. Where it is worked out anew, ln1 and ln2, or fc, or all but res3
// are one and the same memory for all blocks, and hold something else by then.
typedef struct {
  void *ln1;                            // (N, C)
  void *qkv;                            // (N, 3C)
  void *att;                            // (N, C)
  void *res2;                           // (N, C) residual stream after attention
  void *ln2;                            // (N, C)
  void *fc_pre, *fc;                    // (N, 4C) before and after GELU
  void *res3;                           // (N, C) residual stream after the MLP
  float *lse;                           // (B, NH, T)
  float *mean1, *rstd1, *mean2, *rstd2; // (N)
} BlockActivations;

typedef struct {
  GPT2Config config;
  ZeroType type;      // of parameters and activations
  ZeroType grad_type; // of the gradients that the engine asks for; a half type where it may ask for fp32 or half
  size_t B, T;        // the largest micro-batch that the activations hold
  int recompute;      // RECOMPUTE_…
  ZeroEngine *engine;
  ZeroDevice *device;
  int num_units, final_unit; // unit 0: embeddings, 1 … L: blocks, L + 1: final LayerNorm

  void *activations;                          // one allocation, which all of these point into
  size_t activation_bytes, without_recompute; // of it, and what it would take with RECOMPUTE_NONE
  void *encoded;                              // (N, C)
  BlockActivations *blocks;
  void *lnf;            // (N, C); also the blocks' norms where they are recomputed: the head is the last to need it
  float *meanf, *rstdf; // (N)
  void *dres, *dtmp, *dwide; // (N, C), (N, C), (N, 4C) gradients on their way down
  float *losses;             // (N)
  float *logits;             // (V) for sampling; NULL where the host's memory will do
  void *scratch;
} GPT2;

// Cuts `memory` into the activations; NULL: only counts. Returns the bytes.
static size_t carve_activations(GPT2 *m, void *memory) {
  Arena whole = {(char *)memory, 0}, *arena = &whole;
  const GPT2Config *c = &m->config;
  size_t N = m->B * m->T, C = c->channels, NH = c->num_heads;
  size_t row = C * zero_type_size(m->type), stat = N * sizeof(float); // bytes of (C), of (N)
  m->encoded = arena_take(arena, N * row);
  m->lnf = arena_take(arena, N * row);
  const int keep_gelu = m->recompute < RECOMPUTE_GELU, keep_norms = m->recompute < RECOMPUTE_LAYERNORM;
  void *fc = keep_gelu ? NULL : arena_take(arena, N * 4 * row);
  for (size_t l = 0; l < c->num_layers; l++) {
    BlockActivations *a = &m->blocks[l];
    if (l > 0 && m->recompute >= RECOMPUTE_BLOCK) {
      *a = m->blocks[0];
      a->res3 = arena_take(arena, N * row);
      continue;
    }
    a->ln1 = keep_norms ? arena_take(arena, N * row) : m->lnf;
    a->qkv = arena_take(arena, N * 3 * row);
    a->att = arena_take(arena, N * row);
    a->res2 = arena_take(arena, N * row);
    a->ln2 = keep_norms ? arena_take(arena, N * row) : m->lnf;
    a->fc_pre = arena_take(arena, N * 4 * row);
    a->fc = keep_gelu ? arena_take(arena, N * 4 * row) : fc;
    a->res3 = arena_take(arena, N * row);
    a->lse = (float *)arena_take(arena, NH * stat);
    a->mean1 = (float *)arena_take(arena, stat);
    a->rstd1 = (float *)arena_take(arena, stat);
    a->mean2 = (float *)arena_take(arena, stat);
    a->rstd2 = (float *)arena_take(arena, stat);
  }
  m->meanf = (float *)arena_take(arena, stat);
  m->rstdf = (float *)arena_take(arena, stat);
  m->dres = arena_take(arena, N * row);
  m->dtmp = arena_take(arena, N * row);
  m->dwide = arena_take(arena, N * 4 * row);
  m->losses = (float *)arena_take(arena, stat);
  m->logits = m->device->host_memory ? NULL : (float *)arena_take(arena, c->vocab_size * sizeof(float));

  size_t scratch = encoder_backward_scratch(m->B, m->T, C);
  scratch = larger_size(scratch, layernorm_backward_scratch(N, C));
  scratch = larger_size(scratch, matmul_backward_scratch(N, C, 3 * C, m->grad_type));
  scratch = larger_size(scratch, matmul_backward_scratch(N, C, C, m->grad_type));
  scratch = larger_size(scratch, matmul_backward_scratch(N, C, 4 * C, m->grad_type));
  scratch = larger_size(scratch, matmul_backward_scratch(N, 4 * C, C, m->grad_type));
  const OpsSequences sequences = ops_dense(m->B, m->T);
  scratch = larger_size(scratch, attention_forward_scratch(&sequences, C, NH, 1, m->type));
  scratch = larger_size(scratch, attention_backward_scratch(&sequences, C, NH, 1, m->type));
  scratch = larger_size(scratch, lm_head_loss_scratch(N, C, c->padded_vocab_size, m->type, m->grad_type));
  scratch = larger_size(scratch, lm_head_logits_scratch(1, C, c->padded_vocab_size, m->type));
  m->scratch = arena_take(arena, scratch);
  return arena->used;
}

static void describe_tensor(const GPT2Config *config, GPT2Tensor t, ZeroTensor *tensor) {
  size_t rows, cols;
  gpt2_tensor_shape(config, t, &rows, &cols);
  memset(tensor, 0, sizeof *tensor);
  tensor->name = gpt2_tensor_name(t);
  tensor->ndim = cols > 1 ? 2 : 1;
  tensor->shape[0] = rows;
  tensor->shape[1] = cols;
  tensor->flags = cols > 1 ? 0u : (unsigned)ZERO_NO_DECAY; // decay on 2-D tensors only
}

// First tensor of a unit in the order of GPT2Tensor.
static GPT2Tensor first_tensor(const GPT2 *m, int unit) {
  return unit == 0 ? GPT2_WTE : unit == m->final_unit ? GPT2_LNFW : GPT2_LN1W;
}

// Collective. Parameters are 0 until gpt2_init or gpt2_load.
static void gpt2_create(GPT2 *m, const GPT2Config *config, size_t B, size_t T, int recompute, const ZeroConfig *zero,
                        ZeroComm *comm, ZeroDevice *device) {
  memset(m, 0, sizeof *m);
  m->config = *config;
  m->type = zero->type;
  m->grad_type = zero->wire != ZERO_F32 ? zero->wire : zero->accumulate;
  m->B = B;
  m->T = T;
  m->device = device;
  m->num_units = (int)config->num_layers + 2;
  m->final_unit = m->num_units - 1;

  ZeroTensor tensors[GPT2_NUM_TENSORS];
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) describe_tensor(config, (GPT2Tensor)t, &tensors[t]);
  ZeroUnit *units = (ZeroUnit *)zero_malloc((size_t)m->num_units * sizeof(ZeroUnit), ZERO_MEM_OTHER);
  for (int u = 0; u < m->num_units; u++) {
    int block = u != 0 && u != m->final_unit;
    units[u].name = u == 0 ? "embeddings" : block ? "block" : "final norm";
    units[u].num_tensors = block ? (int)TENSORS_IN_BLOCK : 2;
    units[u].tensors = &tensors[first_tensor(m, u)];
    units[u].flags = u == 0 ? (unsigned)ZERO_OWN_BUFFER : 0u;
  }
  m->engine = zero_initialize(zero, units, m->num_units, comm, device);
  zero_free(units);

  m->blocks = (BlockActivations *)zero_malloc(config->num_layers * sizeof(BlockActivations), ZERO_MEM_OTHER);
  m->recompute = RECOMPUTE_NONE;
  m->without_recompute = carve_activations(m, NULL);
  m->recompute = recompute;
  m->activation_bytes = carve_activations(m, NULL);
  m->activations = device->alloc(device, m->activation_bytes, ZERO_MEM_ACTIVATIONS);
  carve_activations(m, m->activations);
}

static void gpt2_destroy(GPT2 *m) {
  zero_destroy(m->engine);
  m->device->free(m->device, m->activations);
  zero_free(m->blocks);
}

// ----------------------------------------------------------------------------
// Initial weights, made or read piece by piece: no rank ever holds what it does not keep.

typedef struct {
  const GPT2 *model;
  uint64_t seed;
  GPT2Weights *weights; // of a file or folder
} InitSource;

static void fill_random(void *ctx, int unit, int tensor, size_t first, size_t count, float *out) {
  const InitSource *source = (const InitSource *)ctx;
  const GPT2Config *config = &source->model->config;
  GPT2Tensor t = (GPT2Tensor)(first_tensor(source->model, unit) + tensor);
  size_t rows, cols;
  gpt2_tensor_shape(config, t, &rows, &cols);
  if (cols == 1) { // LayerNorm weights 1, biases 0
    float value = t == GPT2_LN1W || t == GPT2_LN2W || t == GPT2_LNFW ? 1.0f : 0.0f;
    for (size_t i = 0; i < count; i++) out[i] = value;
    return;
  }
  int residual = t == GPT2_ATTPROJW || t == GPT2_FCPROJW;
  float std = residual ? INIT_STD / sqrtf(2.0f * (float)config->num_layers) : INIT_STD;
  random_normal(source->seed, (uint32_t)(unit * GPT2_NUM_TENSORS + (int)t), first, count, std, out);
  if (t == GPT2_WTE) { // the padding of the vocabulary stays 0
    size_t real = config->vocab_size * config->channels;
    for (size_t i = first < real ? real - first : 0; i < count; i++) out[i] = 0.0f;
  }
}

static void fill_from_weights(void *ctx, int unit, int tensor, size_t first, size_t count, float *out) {
  const InitSource *source = (const InitSource *)ctx;
  GPT2Tensor t = (GPT2Tensor)(first_tensor(source->model, unit) + tensor);
  size_t layer = gpt2_tensor_in_block(t) ? (size_t)unit - 1 : 0;
  gpt2_weights_read(source->weights, t, layer, first, count, out);
}

static void gpt2_init(GPT2 *m, uint64_t seed) {
  InitSource source = {m, seed, NULL};
  zero_fill(m->engine, ZERO_MASTER, fill_random, &source);
}

static void gpt2_load(GPT2 *m, GPT2Weights *weights) {
  InitSource source = {m, 0, weights};
  zero_fill(m->engine, ZERO_MASTER, fill_from_weights, &source);
}

// ----------------------------------------------------------------------------
// Forward. A unit's parameters are fetched while the one before it computes, and let go after use.

// Tensor t within its unit's flat buffer of parameters or gradients.
static size_t tensor_offset(const GPT2 *m, int unit, GPT2Tensor t) {
  return zero_offset(m->engine, unit, (int)t - (int)first_tensor(m, unit));
}

static const void *param(const GPT2 *m, const void *flat, int unit, GPT2Tensor t) {
  return (const char *)flat + tensor_offset(m, unit, t) * zero_type_size(m->type);
}

static OpsGrad grad(const GPT2 *m, ZeroGrad flat, int unit, GPT2Tensor t) {
  OpsGrad g;
  g.data = (char *)flat.data + tensor_offset(m, unit, t) * zero_type_size(flat.type);
  g.type = flat.type;
  g.accumulate = flat.accumulate;
  return g;
}

// The residual stream (N, C) that block l reads.
static const void *block_input(const GPT2 *m, size_t l) {
  return l == 0 ? m->encoded : m->blocks[l - 1].res3;
}

// ln1, from a finished residual stream.
static void first_norm(GPT2 *m, size_t l, const void *p, size_t N) {
  BlockActivations *a = &m->blocks[l];
  int u = 1 + (int)l;
  layernorm_forward(a->ln1, a->mean1, a->rstd1, block_input(m, l), param(m, p, u, GPT2_LN1W),
                    param(m, p, u, GPT2_LN1B), N, m->config.channels, GPT2_LAYERNORM_EPSILON, m->type,
                    m->device->stream);
}

// From ln1 to fc: all that a block's backward needs.
static void block_inside(GPT2 *m, size_t l, const void *p, size_t B, size_t T, const GPT2Dropout *d) {
  const GPT2Config *c = &m->config;
  BlockActivations *a = &m->blocks[l];
  ZeroStream s = m->device->stream;
  size_t N = B * T, C = c->channels;
  int u = 1 + (int)l;
  matmul_forward(a->qkv, NULL, a->ln1, param(m, p, u, GPT2_QKVW), param(m, p, u, GPT2_QKVB), N, C, 3 * C, OPS_NO_GELU,
                 m->type, s);
  const OpsSequences sequences = gpt2_sequences(d, B, T);
  const OpsDropout weights = gpt2_drop_weights(d, l);
  attention_forward(a->att, a->lse, a->qkv, &sequences, C, c->num_heads, 1, &weights, m->type, m->scratch, s);
  matmul_forward(a->res2, NULL, a->att, param(m, p, u, GPT2_ATTPROJW), param(m, p, u, GPT2_ATTPROJB), N, C, C,
                 OPS_NO_GELU, m->type, s);
  gpt2_drop_rows(d, a->res2, a->res2, 1 + l, GPT2_DROP_FIRST, B, T, C, m->type, s);
  fused_residual_layernorm_forward(a->res2, a->ln2, a->mean2, a->rstd2, block_input(m, l), a->res2,
                                   param(m, p, u, GPT2_LN2W), param(m, p, u, GPT2_LN2B), N, C, GPT2_LAYERNORM_EPSILON,
                                   m->type, s);
  matmul_forward(a->fc, a->fc_pre, a->ln2, param(m, p, u, GPT2_FCW), param(m, p, u, GPT2_FCB), N, C, 4 * C, OPS_GELU,
                 m->type, s);
}

static void block_forward(GPT2 *m, size_t l, const void *p, size_t B, size_t T, const GPT2Dropout *d) {
  BlockActivations *a = &m->blocks[l];
  ZeroStream s = m->device->stream;
  size_t N = B * T, C = m->config.channels;
  int u = 1 + (int)l;
  if (l == 0) {
    first_norm(m, l, p, N);
  } else { // the block before left its MLP's output in res3: add its residual stream now
    BlockActivations *before = &m->blocks[l - 1];
    fused_residual_layernorm_forward(before->res3, a->ln1, a->mean1, a->rstd1, before->res2, before->res3,
                                     param(m, p, u, GPT2_LN1W), param(m, p, u, GPT2_LN1B), N, C,
                                     GPT2_LAYERNORM_EPSILON, m->type, s);
  }
  block_inside(m, l, p, B, T, d);
  matmul_forward(a->res3, NULL, a->fc, param(m, p, u, GPT2_FCPROJW), param(m, p, u, GPT2_FCPROJB), N, 4 * C, C,
                 OPS_NO_GELU, m->type, s);
  gpt2_drop_rows(d, a->res3, a->res3, 1 + l, GPT2_DROP_SECOND, B, T, C, m->type, s);
}

// tokens (B, T) up to the final LayerNorm, m->lnf (B*T, C); d NULL: without dropout. Leaves the embeddings held: the
// head needs them next. Returns their flat buffer.
static const void *gpt2_trunk(GPT2 *m, const int *tokens, size_t B, size_t T, const GPT2Dropout *d) {
  ZeroEngine *e = m->engine;
  ZeroStream s = m->device->stream;
  size_t N = B * T, C = m->config.channels, L = m->config.num_layers;
  const void *embeddings = zero_get(e, 0);
  zero_gather(e, 1);
  encoder_forward(m->encoded, tokens, param(m, embeddings, 0, GPT2_WTE), param(m, embeddings, 0, GPT2_WPE), B, T, C,
                  m->type, s);
  gpt2_drop_rows(d, m->encoded, m->encoded, 0, GPT2_DROP_FIRST, B, T, C, m->type, s);
  for (size_t l = 0; l < L; l++) {
    int u = 1 + (int)l;
    const void *p = zero_get(e, u);
    zero_gather(e, u + 1);
    block_forward(m, l, p, B, T, d);
    zero_release(e, u);
  }
  BlockActivations *last = &m->blocks[L - 1];
  const void *p = zero_get(e, m->final_unit);
  fused_residual_layernorm_forward(last->res3, m->lnf, m->meanf, m->rstdf, last->res2, last->res3,
                                   param(m, p, m->final_unit, GPT2_LNFW), param(m, p, m->final_unit, GPT2_LNFB), N, C,
                                   GPT2_LAYERNORM_EPSILON, m->type, s);
  zero_release(e, m->final_unit);
  return embeddings;
}

// Evaluation: tokens, targets (B, T) to m->losses and logits (B*T, V), which may be NULL.
static void gpt2_forward(GPT2 *m, const int *tokens, const int *targets, size_t B, size_t T, float *logits) {
  const GPT2Config *c = &m->config;
  const void *embeddings = gpt2_trunk(m, tokens, B, T, NULL);
  OpsGrad none = {NULL, ZERO_F32, 0};
  lm_head_loss(m->losses, NULL, none, none, logits, NULL, m->lnf, param(m, embeddings, 0, GPT2_WTE), NULL, targets,
               0.0f, B * T, c->channels, c->vocab_size, c->padded_vocab_size, m->type, m->scratch, m->device->stream);
  zero_release(m->engine, 0);
}

// ----------------------------------------------------------------------------
// Backward. m->dres is the gradient of the residual stream; each step adds its branch to it.

static void block_backward(GPT2 *m, size_t l, const void *p, ZeroGrad g, size_t B, size_t T, const GPT2Dropout *d) {
  const GPT2Config *c = &m->config;
  BlockActivations *a = &m->blocks[l];
  ZeroStream s = m->device->stream;
  size_t N = B * T, C = c->channels;
  int u = 1 + (int)l;
  if (m->recompute >= RECOMPUTE_BLOCK) {
    if (l + 1 < c->num_layers) { // the last block's are still there, but for its norms
      first_norm(m, l, p, N);
      block_inside(m, l, p, B, T, d);
    }
  } else if (m->recompute >= RECOMPUTE_GELU) {
    gelu_forward(a->fc, a->fc_pre, N * 4 * C, OPS_GELU, m->type, s);
  }
  // Of a branch below its dropout: m->dres itself, or a copy in memory that holds nothing at that point.
  const void *branch = gpt2_drop_rows(d, m->dtmp, m->dres, 1 + l, GPT2_DROP_SECOND, B, T, C, m->type, s);
  matmul_backward(m->dwide, grad(m, g, u, GPT2_FCPROJW), grad(m, g, u, GPT2_FCPROJB), branch, a->fc,
                  param(m, p, u, GPT2_FCPROJW), a->fc_pre, OPS_GELU, N, 4 * C, C, m->type, m->scratch, s);
  if (m->recompute >= RECOMPUTE_LAYERNORM) {
    layernorm_forward(a->ln2, a->mean2, a->rstd2, a->res2, param(m, p, u, GPT2_LN2W), param(m, p, u, GPT2_LN2B), N, C,
                      GPT2_LAYERNORM_EPSILON, m->type, s);
  }
  matmul_backward(m->dtmp, grad(m, g, u, GPT2_FCW), grad(m, g, u, GPT2_FCB), m->dwide, a->ln2,
                  param(m, p, u, GPT2_FCW), NULL, OPS_NO_GELU, N, C, 4 * C, m->type, m->scratch, s);
  layernorm_backward(m->dres, grad(m, g, u, GPT2_LN2W), grad(m, g, u, GPT2_LN2B), m->dtmp, m->dres, a->res2, a->mean2,
                     a->rstd2, param(m, p, u, GPT2_LN2W), N, C, m->type, m->scratch, s);
  branch = gpt2_drop_rows(d, m->dwide, m->dres, 1 + l, GPT2_DROP_FIRST, B, T, C, m->type, s);
  matmul_backward(m->dtmp, grad(m, g, u, GPT2_ATTPROJW), grad(m, g, u, GPT2_ATTPROJB), branch, a->att,
                  param(m, p, u, GPT2_ATTPROJW), NULL, OPS_NO_GELU, N, C, C, m->type, m->scratch, s);
  const OpsSequences sequences = gpt2_sequences(d, B, T);
  const OpsDropout weights = gpt2_drop_weights(d, l);
  attention_backward(m->dwide, m->dtmp, a->att, a->lse, a->qkv, &sequences, C, c->num_heads, 1, &weights, m->type,
                     m->scratch, s);
  if (m->recompute >= RECOMPUTE_LAYERNORM) first_norm(m, l, p, N);
  matmul_backward(m->dtmp, grad(m, g, u, GPT2_QKVW), grad(m, g, u, GPT2_QKVB), m->dwide, a->ln1,
                  param(m, p, u, GPT2_QKVW), NULL, OPS_NO_GELU, N, C, 3 * C, m->type, m->scratch, s);
  layernorm_backward(m->dres, grad(m, g, u, GPT2_LN1W), grad(m, g, u, GPT2_LN1B), m->dtmp, m->dres, block_input(m, l),
                     a->mean1, a->rstd1, param(m, p, u, GPT2_LN1W), N, C, m->type, m->scratch, s);
}

// Forward and backward of one micro-batch, tokens and targets (B, T), to m->losses; every target counts
// 1/num_targets; d NULL: without dropout. The tied embedding is opened at the head and closed after the embedding's
// own backward: it travels once.
static void gpt2_forward_backward(GPT2 *m, const int *tokens, const int *targets, size_t B, size_t T,
                                  size_t num_targets, const GPT2Dropout *d) {
  const GPT2Config *c = &m->config;
  ZeroEngine *e = m->engine;
  ZeroStream s = m->device->stream;
  size_t N = B * T, C = c->channels;
  const void *embeddings = gpt2_trunk(m, tokens, B, T, d);
  zero_gather(e, m->final_unit);
  float grad_scale = zero_loss_scale(e) / (float)num_targets;
  ZeroGrad ge = zero_grad(e, 0);
  OpsGrad no_bias = {NULL, ZERO_F32, 0};
  lm_head_loss(m->losses, m->dtmp, grad(m, ge, 0, GPT2_WTE), no_bias, NULL, NULL, m->lnf,
               param(m, embeddings, 0, GPT2_WTE), NULL, targets, grad_scale, N, C, c->vocab_size,
               c->padded_vocab_size, m->type, m->scratch, s);
  zero_release(e, 0);

  int u = m->final_unit;
  const void *p = zero_get(e, u);
  zero_gather(e, u - 1);
  ZeroGrad g = zero_grad(e, u);
  BlockActivations *last = &m->blocks[c->num_layers - 1];
  layernorm_backward(m->dres, grad(m, g, u, GPT2_LNFW), grad(m, g, u, GPT2_LNFB), m->dtmp, NULL, last->res3, m->meanf,
                     m->rstdf, param(m, p, u, GPT2_LNFW), N, C, m->type, m->scratch, s);
  zero_grad_done(e, u);
  zero_release(e, u);
  while (--u > 0) {
    p = zero_get(e, u);
    if (u > 1) zero_gather(e, u - 1);
    g = zero_grad(e, u);
    block_backward(m, (size_t)u - 1, p, g, B, T, d);
    zero_grad_done(e, u);
    zero_release(e, u);
  }
  gpt2_drop_rows(d, m->dres, m->dres, 0, GPT2_DROP_FIRST, B, T, C, m->type, s);
  OpsGrad dwte = grad(m, ge, 0, GPT2_WTE);
  dwte.accumulate = 1; // the head has written it
  encoder_backward(dwte, grad(m, ge, 0, GPT2_WPE), m->dres, tokens, B, T, C, c->padded_vocab_size, c->max_seq_len,
                   m->type, m->scratch, s);
  zero_grad_done(e, 0);
}

// The logits (V), on the host, of token `used` - 1 of a context of T tokens; what stands behind it does not count.
// All ranks take part.
static void gpt2_next_logits(GPT2 *m, const int *tokens, size_t used, size_t T, float *logits) {
  const GPT2Config *c = &m->config;
  const void *embeddings = gpt2_trunk(m, tokens, 1, T, NULL);
  const char *row = (const char *)m->lnf + (used - 1) * c->channels * zero_type_size(m->type);
  float *result = m->device->host_memory ? logits : m->logits;
  lm_head_logits(result, row, param(m, embeddings, 0, GPT2_WTE), 1, c->channels, c->vocab_size, c->padded_vocab_size,
                 m->type, m->scratch, m->device->stream);
  if (result != logits) m->device->to_host(m->device, logits, result, c->vocab_size * sizeof(float));
  zero_release(m->engine, 0);
}

#ifndef TESTING // test_gpt2.cu includes this file for the model alone

// ----------------------------------------------------------------------------
// The run: what was asked for and what the loop carries from step to step (llmc/trainer.h), and the model.

typedef struct {
  Trainer trainer;
  GPT2Config config;
  GPT2DropoutRates rates;
  GPT2 model;
  GPT2Weights *weights;  // of the file or folder that -e names, until the engine has them; else NULL
  MicroBatches *batches; // inputs and targets, (2, B, T); in training, what dropout needs behind them
  double *micro_losses;  // (micro_steps) summed losses of this rank's micro-batches
} Run;

static size_t min_size(size_t a, size_t b) {
  return a < b ? a : b;
}

// micro_steps micro-batches of every rank. Global micro-batch k * ranks + rank takes its sequences from the step's
// share of the data, so the ranks' number does not change what a step sees.
static TrainerWork forward_backward(void *run, size_t step) {
  Run *r = (Run *)run;
  const Setup *s = &r->trainer.setup;
  size_t ranks = (size_t)s->comm->size, tokens = s->sequences * s->T, N = s->B * s->T;
  for (size_t k = 0; k < s->micro_steps; k++) {
    size_t micro_batch = k * ranks + (size_t)s->comm->rank;
    int *inputs = micro_batches_fill(r->batches);
    for (size_t b = 0; b < s->B; b++) {
      size_t window = (s->options.overfit ? 0 : step * s->sequences) + micro_batch * s->B + b;
      dataloader_train_window(s->train, window, inputs + b * s->T, inputs + N + b * s->T);
    }
    gpt2_dropout_fill(&r->rates, micro_batch * s->B, s->B, s->T, inputs + 2 * N);
    const int *sent = micro_batches_send(r->batches);
    const GPT2Dropout d = gpt2_dropout(&r->rates, (uint64_t)s->options.seed, step, s->B, s->T, sent + 2 * N);
    zero_micro_begin(r->model.engine, (int)k, k + 1 == s->micro_steps);
    gpt2_forward_backward(&r->model, sent, sent + N, s->B, s->T, tokens, gpt2_drops(&r->rates) ? &d : NULL);
    micro_batches_take_losses(r->batches, r->model.losses, N, &r->micro_losses[k]);
  }
  micro_batches_finish(r->batches);
  const GPT2Config *c = &r->config;
  double flops_per_token =
      6.0 * (double)gpt2_num_parameters(c) + 6.0 * (double)c->num_layers * (double)c->channels * (double)s->T;
  TrainerWork work;
  work.loss = zero_sum_ordered(r->model.engine, r->micro_losses, (int)s->micro_steps) / (double)tokens;
  work.tokens = (double)tokens;
  work.flops = work.tokens * flops_per_token;
  return work;
}

// Mean loss over the first windows of the validation split, in file order; all ranks run the same number of
// micro-batches, and rows past the end count for nothing.
static double validate(Run *r, size_t *windows_seen) {
  const Setup *s = &r->trainer.setup;
  const SetupValidation of = setup_validation(s);
  const size_t ranks = (size_t)s->comm->size, N = s->B * s->T, windows = of.sequences, rounds = of.rounds;
  double *losses = (double *)zero_malloc(rounds * sizeof(double), ZERO_MEM_OTHER);
  for (size_t k = 0; k < rounds; k++) {
    size_t window = (k * ranks + (size_t)s->comm->rank) * s->B;
    int *host = micro_batches_fill(r->batches);
    for (size_t b = 0; b < s->B; b++) {
      int *inputs = host + b * s->T, *targets = inputs + N;
      if (window + b < windows) {
        dataloader_window(s->val, window + b, inputs, targets);
      } else {
        memset(inputs, 0, s->T * sizeof(int));
        for (size_t t = 0; t < s->T; t++) targets[t] = OPS_IGNORE;
      }
    }
    const int *sent = micro_batches_send(r->batches);
    gpt2_forward(&r->model, sent, sent + N, s->B, s->T, NULL);
    micro_batches_take_losses(r->batches, r->model.losses, N, &losses[k]);
  }
  micro_batches_finish(r->batches);
  double sum = zero_sum_ordered(r->model.engine, losses, (int)rounds);
  zero_free(losses);
  *windows_seen = windows;
  return sum / (double)(windows * s->T);
}

// Draws a text token by token; every rank computes the same one, rank 0 prints it.
static void sample(void *run) {
  Run *r = (Run *)run;
  const Setup *s = &r->trainer.setup;
  enum { ROUND = 64 }; // context lengths are multiples of it, so that few shapes occur
  size_t V = r->config.vocab_size, length = 1, total = (size_t)s->options.sample_tokens;
  int *text = (int *)zero_malloc((total + 1) * sizeof(int), ZERO_MEM_OTHER);
  float *logits = (float *)zero_malloc(V * sizeof(float), ZERO_MEM_OTHER);
  int eot = s->tokenizer ? tokenizer_eot(s->tokenizer) : (int)V - 1;
  text[0] = eot >= 0 && eot < (int)V ? eot : 0; // a tokenizer may have none
  for (; length <= total; length++) {
    size_t first = length > s->T ? length - s->T : 0, used = length - first;
    size_t padded = min_size((used + ROUND - 1) / ROUND * ROUND, s->T); // later rows are not seen by the last one
    int *context = micro_batches_fill(r->batches);
    for (size_t t = 0; t < padded; t++) context[t] = t < used ? text[first + t] : 0;
    gpt2_next_logits(&r->model, micro_batches_send(r->batches), used, padded, logits);
    text[length] = sample_softmax(logits, V, random_uniform(&r->trainer.progress.sample_state));
  }
  if (trainer_main_rank(&r->trainer)) {
    printf("generating:\n---\n");
    for (size_t i = 1; i <= total; i++) {
      size_t bytes = 0;
      const char *piece = s->tokenizer ? tokenizer_decode(s->tokenizer, text[i], &bytes) : NULL;
      if (piece) {
        fwrite(piece, 1, bytes, stdout);
      } else {
        printf("<%d>", text[i]);
      }
    }
    printf("\n---\n");
    fflush(stdout);
  }
  zero_free(text);
  zero_free(logits);
}

// ----------------------------------------------------------------------------
// Start-up: every problem is collected before anything is written.

// Bytes of a checkpoint: weights and moments in fp32, and the model in its file type.
static size_t checkpoint_bytes(const Run *r) {
  const size_t state = 3 * sizeof(float);
  return gpt2_num_parameters(&r->config) * (state + (r->trainer.setup.zero.type == ZERO_BF16 ? 2 : sizeof(float)));
}

static void check_run(void *run, ZeroErrors *errors) {
  Run *r = (Run *)run;
  Setup *s = &r->trainer.setup;
  r->rates = gpt2_dropout_rates(s->options.dropout, s->options.attention_dropout);
  r->weights = gpt2_weights_open(s->options.model, &r->config, errors);
  int model_errors = errors->count;
  setup_check_config(s, errors);
  if (errors->count == 0) { // a batch from a broken file, data for a broken model would only confuse
    setup_check_batch(s, r->config.max_seq_len, errors);
    setup_check_data(s, r->config.vocab_size, errors);
  }
  setup_check_output(s, model_errors == 0 ? checkpoint_bytes(r) : 0, errors);
  if (s->options.export_to) gpt2_export_check(s->options.export_to, errors);
}

static void print_run(const void *run) {
  const Run *r = (const Run *)run;
  const Setup *s = &r->trainer.setup;
  const GPT2Config *c = &r->config;
  setup_print_run(s);
  printf("model: %s | L %zu H %zu C %zu T %zu V %zu (padded to %zu) | %zu parameters\n", s->options.model,
         c->num_layers, c->num_heads, c->channels, c->max_seq_len, c->vocab_size, c->padded_vocab_size,
         gpt2_num_parameters(c));
#ifdef ZERO_CUDA
  char attention[ATTENTION_NAME_BYTES];
  printf("attention: %s\n",
         attention_name(s->zero.type, s->B, s->T, c->channels, c->num_heads, r->rates.attention > 0.0, attention));
#endif
  setup_print_recompute(s, r->model.activation_bytes, r->model.without_recompute);
  if (gpt2_drops(&r->rates)) printf("dropout: %g, attention %g\n", s->options.dropout, s->options.attention_dropout);
  setup_print(s, c->vocab_size);
  char note[GPT2_NOTE_BYTES];
  if (r->weights && *gpt2_weights_note(r->weights, &r->rates, note))
    printf("note: -e %s: %s\n", s->options.model, note);
  fflush(stdout);
}

// ----------------------------------------------------------------------------
// The model as a file, for checkpoints and at the end

static void read_for_file(void *ctx, GPT2Tensor t, size_t layer, float *out) {
  GPT2 *m = (GPT2 *)ctx;
  int unit = t < GPT2_LN1W ? 0 : t >= GPT2_LNFW ? m->final_unit : 1 + (int)layer;
  zero_read(m->engine, ZERO_MASTER, unit, (int)t - (int)first_tensor(m, unit), out);
}

static int write_bin(void *run, const char *folder, char *problem, size_t problem_bytes) {
  GPT2 *m = &((Run *)run)->model;
  ZeroType type = m->type == ZERO_BF16 ? ZERO_BF16 : ZERO_F32;
  char *path = folder ? export_path(folder, "model.bin", "") : NULL;
  int result = gpt2_bin_write(path, &m->config, type, read_for_file, m, problem, problem_bytes);
  zero_free(path);
  return result;
}

static int write_export(void *run, const char *path, char *problem, size_t problem_bytes) {
  Run *r = (Run *)run;
  return gpt2_export(path, trainer_main_rank(&r->trainer), &r->config, &r->rates, r->model.type, read_for_file,
                     &r->model, problem, problem_bytes);
}

// ----------------------------------------------------------------------------
// The program

static void print_validation(void *run, size_t step) {
  Run *r = (Run *)run;
  size_t windows = 0;
  double loss = validate(r, &windows);
  if (!trainer_main_rank(&r->trainer)) return;
  printf("val loss %.6f | %zu windows\n", loss, windows);
  fflush(stdout);
  logger_val(r->trainer.log, step, loss);
}

static double data_seconds(const void *run) {
  return dataloader_seconds(((const Run *)run)->trainer.setup.train);
}

static void create_run(void *run) {
  Run *r = (Run *)run;
  Trainer *t = &r->trainer;
  const Setup *s = &t->setup;
  const size_t validating = 16; // micro-batches whose losses are read together there, at least
  r->batches = micro_batches_create(t->device, 2 * s->B * s->T + gpt2_dropout_ints(&r->rates, s->B, s->T),
                                    s->B * s->T, larger_size(s->micro_steps, validating));
  r->micro_losses = (double *)zero_malloc(s->micro_steps * sizeof(double), ZERO_MEM_OTHER);
  gpt2_create(&r->model, &r->config, s->B, s->T, (int)s->options.recompute, &s->zero, s->comm, t->device);
  t->engine = r->model.engine;
}

static void fill_run(void *run) {
  Run *r = (Run *)run;
  if (r->weights) {
    gpt2_load(&r->model, r->weights);
    gpt2_weights_close(r->weights);
  } else {
    gpt2_init(&r->model, (uint64_t)r->trainer.setup.options.seed);
  }
}

static TrainerProduct largest_product(const void *run) {
  const Run *r = (const Run *)run;
  const TrainerProduct product = {r->model.B * r->model.T, r->config.channels, 4 * r->config.channels};
  return product;
}

static void end_run(void *run) {
  Run *r = (Run *)run;
  gpt2_destroy(&r->model);
  micro_batches_destroy(r->batches);
  zero_free(r->micro_losses);
}

int main(int argc, char **argv) {
  TrainerModel gpt2;
  memset(&gpt2, 0, sizeof gpt2);
  gpt2.name = "train_gpt2";
  gpt2.about = "trains a GPT-2 with ZeRO.";
  gpt2.options = OPTIONS_GPT2;
  gpt2.device_kind = OPEN_DEVICE_KIND;
  gpt2.peak_side = TRAINER_PEAK_SIDE;
  gpt2.open_device = open_device;
  gpt2.check = check_run;
  gpt2.create = create_run;
  gpt2.print = print_run;
  gpt2.fill = fill_run;
  gpt2.largest_product = largest_product;
  gpt2.forward_backward = forward_backward;
  gpt2.validate = print_validation;
  gpt2.sample = sample;
  gpt2.data_seconds = data_seconds;
  gpt2.write_checkpoint = write_bin;
  gpt2.make_export = gpt2_export_make;
  gpt2.write_export = write_export;
  gpt2.end = end_run;
  Run run;
  memset(&run, 0, sizeof run);
  return trainer_program(&gpt2, &run.trainer, &run, argc, argv);
}
#endif
