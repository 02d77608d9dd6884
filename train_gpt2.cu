// GPT-2 training with ZeRO, on one rank or many. Read it from top to bottom: the model and its units, forward,
// backward, one training step, evaluation, sampling, the options, main.
//
// The mathematics is in llmc/ops.h, the sharding in zero/zero.h. This file knows neither which stage runs nor
// how many ranks there are: around each unit it gets parameters and hands in gradients, on every rank alike.
// It is written in the common subset of C and C++, so that one source serves the CPU and nvcc.
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "llmc/checkpoint_dir.h"
#include "llmc/dataloader.h"
#include "llmc/flags.h"
#include "llmc/gpt2_config.h"
#include "llmc/launch.h"
#include "llmc/logger.h"
#include "llmc/ops.h"
#include "llmc/options.h"
#include "llmc/options_file.h"
#include "llmc/outliers.h"
#include "llmc/random.h"
#include "llmc/sampler.h"
#include "llmc/schedulers.h"
#include "llmc/tokenizer.h"
#include "zero/batch.h"
#include "zero/checkpoint.h"
#include "zero/zero.h"

// ----------------------------------------------------------------------------
// The model: embeddings, L blocks, the final LayerNorm. Each is a unit of the engine.

enum { TENSORS_IN_BLOCK = GPT2_FCPROJB - GPT2_LN1W + 1 };
#define INIT_STD 0.02f // of all weights; the residual projections are scaled by 1/sqrt(2L) more

// What forward leaves for backward. N = B*T rows.
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
  ZeroType type, wire; // of parameters and activations; of gradients on their way to the engine
  size_t B, T;         // the largest micro-batch that the activations hold
  ZeroEngine *engine;
  ZeroDevice *device;
  int num_units, final_unit; // unit 0: embeddings, 1 … L: blocks, L + 1: final LayerNorm

  void *activations; // one allocation, which all of these point into
  void *encoded;     // (N, C)
  BlockActivations *blocks;
  void *lnf;                 // (N, C)
  float *meanf, *rstdf;      // (N)
  void *dres, *dtmp, *dwide; // (N, C), (N, C), (N, 4C) gradients on their way down
  float *losses;             // (N)
  void *scratch;
} GPT2;

typedef struct {
  char *base;
  size_t used;
} Arena;

// The next `bytes` of the arena; with base NULL only counts.
static void *carve(Arena *arena, size_t bytes) {
  const size_t align = 64;
  void *at = arena->base ? arena->base + arena->used : NULL;
  arena->used += (bytes + align - 1) / align * align;
  return at;
}

static size_t max_size(size_t a, size_t b) {
  return a > b ? a : b;
}

static void carve_activations(GPT2 *m, Arena *arena) {
  const GPT2Config *c = &m->config;
  size_t N = m->B * m->T, C = c->channels, NH = c->num_heads;
  size_t row = C * zero_type_size(m->type), stat = N * sizeof(float); // bytes of (C), of (N)
  m->encoded = carve(arena, N * row);
  for (size_t l = 0; l < c->num_layers; l++) {
    BlockActivations *a = &m->blocks[l];
    a->ln1 = carve(arena, N * row);
    a->qkv = carve(arena, N * 3 * row);
    a->att = carve(arena, N * row);
    a->res2 = carve(arena, N * row);
    a->ln2 = carve(arena, N * row);
    a->fc_pre = carve(arena, N * 4 * row);
    a->fc = carve(arena, N * 4 * row);
    a->res3 = carve(arena, N * row);
    a->lse = (float *)carve(arena, NH * stat);
    a->mean1 = (float *)carve(arena, stat);
    a->rstd1 = (float *)carve(arena, stat);
    a->mean2 = (float *)carve(arena, stat);
    a->rstd2 = (float *)carve(arena, stat);
  }
  m->lnf = carve(arena, N * row);
  m->meanf = (float *)carve(arena, stat);
  m->rstdf = (float *)carve(arena, stat);
  m->dres = carve(arena, N * row);
  m->dtmp = carve(arena, N * row);
  m->dwide = carve(arena, N * 4 * row);
  m->losses = (float *)carve(arena, stat);

  size_t scratch = encoder_backward_scratch(m->B, m->T, C);
  scratch = max_size(scratch, layernorm_backward_scratch(N, C));
  scratch = max_size(scratch, matmul_backward_scratch(N, C, 3 * C, m->wire));
  scratch = max_size(scratch, matmul_backward_scratch(N, C, C, m->wire));
  scratch = max_size(scratch, matmul_backward_scratch(N, C, 4 * C, m->wire));
  scratch = max_size(scratch, matmul_backward_scratch(N, 4 * C, C, m->wire));
  scratch = max_size(scratch, attention_forward_scratch(m->B, m->T, C, NH));
  scratch = max_size(scratch, attention_backward_scratch(m->B, m->T, C, NH));
  scratch = max_size(scratch, lm_head_loss_scratch(N, C, c->padded_vocab_size, m->type, m->wire));
  scratch = max_size(scratch, lm_head_logits_scratch(1, C, c->padded_vocab_size, m->type));
  m->scratch = carve(arena, scratch);
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
static void gpt2_create(GPT2 *m, const GPT2Config *config, size_t B, size_t T, const ZeroConfig *zero, ZeroComm *comm,
                        ZeroDevice *device) {
  memset(m, 0, sizeof *m);
  m->config = *config;
  m->type = zero->type;
  m->wire = zero->wire;
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
  Arena arena = {NULL, 0};
  carve_activations(m, &arena);
  m->activations = device->alloc(device, arena.used, ZERO_MEM_ACTIVATIONS);
  arena.base = (char *)m->activations;
  arena.used = 0;
  carve_activations(m, &arena);
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
  const GPT2Bin *bin;
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

static void fill_from_bin(void *ctx, int unit, int tensor, size_t first, size_t count, float *out) {
  const InitSource *source = (const InitSource *)ctx;
  GPT2Tensor t = (GPT2Tensor)(first_tensor(source->model, unit) + tensor);
  size_t layer = gpt2_tensor_in_block(t) ? (size_t)unit - 1 : 0;
  gpt2_bin_read(source->bin, t, layer, first, count, out);
}

static void gpt2_init(GPT2 *m, uint64_t seed) {
  InitSource source = {m, seed, NULL};
  zero_fill(m->engine, ZERO_MASTER, fill_random, &source);
}

static void gpt2_load(GPT2 *m, const GPT2Bin *bin) {
  InitSource source = {m, 0, bin};
  zero_fill(m->engine, ZERO_MASTER, fill_from_bin, &source);
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

static void block_forward(GPT2 *m, size_t l, const void *p, size_t B, size_t T) {
  const GPT2Config *c = &m->config;
  BlockActivations *a = &m->blocks[l];
  ZeroStream s = m->device->stream;
  size_t N = B * T, C = c->channels;
  int u = 1 + (int)l;
  const void *ln1w = param(m, p, u, GPT2_LN1W), *ln1b = param(m, p, u, GPT2_LN1B);
  if (l == 0) {
    layernorm_forward(a->ln1, a->mean1, a->rstd1, m->encoded, ln1w, ln1b, N, C, m->type, s);
  } else { // the block before left its MLP's output in res3: add its residual stream now
    BlockActivations *before = &m->blocks[l - 1];
    fused_residual_layernorm_forward(before->res3, a->ln1, a->mean1, a->rstd1, before->res2, before->res3, ln1w, ln1b,
                                     N, C, m->type, s);
  }
  const void *residual = l == 0 ? m->encoded : m->blocks[l - 1].res3;
  matmul_forward(a->qkv, NULL, a->ln1, param(m, p, u, GPT2_QKVW), param(m, p, u, GPT2_QKVB), N, C, 3 * C, OPS_NO_GELU,
                 m->type, s);
  attention_forward(a->att, a->lse, a->qkv, NULL, B, T, C, c->num_heads, 1, m->type, m->scratch, s);
  matmul_forward(a->res2, NULL, a->att, param(m, p, u, GPT2_ATTPROJW), param(m, p, u, GPT2_ATTPROJB), N, C, C,
                 OPS_NO_GELU, m->type, s);
  fused_residual_layernorm_forward(a->res2, a->ln2, a->mean2, a->rstd2, residual, a->res2, param(m, p, u, GPT2_LN2W),
                                   param(m, p, u, GPT2_LN2B), N, C, m->type, s);
  matmul_forward(a->fc, a->fc_pre, a->ln2, param(m, p, u, GPT2_FCW), param(m, p, u, GPT2_FCB), N, C, 4 * C, OPS_GELU,
                 m->type, s);
  matmul_forward(a->res3, NULL, a->fc, param(m, p, u, GPT2_FCPROJW), param(m, p, u, GPT2_FCPROJB), N, 4 * C, C,
                 OPS_NO_GELU, m->type, s);
}

// tokens (B, T) up to the final LayerNorm, m->lnf (B*T, C). Leaves the embeddings held: the head needs them next.
// Returns their flat buffer.
static const void *gpt2_trunk(GPT2 *m, const int *tokens, size_t B, size_t T) {
  ZeroEngine *e = m->engine;
  ZeroStream s = m->device->stream;
  size_t N = B * T, C = m->config.channels, L = m->config.num_layers;
  const void *embeddings = zero_get(e, 0);
  zero_gather(e, 1);
  encoder_forward(m->encoded, tokens, param(m, embeddings, 0, GPT2_WTE), param(m, embeddings, 0, GPT2_WPE), B, T, C,
                  m->type, s);
  for (size_t l = 0; l < L; l++) {
    int u = 1 + (int)l;
    const void *p = zero_get(e, u);
    zero_gather(e, u + 1);
    block_forward(m, l, p, B, T);
    zero_release(e, u);
  }
  BlockActivations *last = &m->blocks[L - 1];
  const void *p = zero_get(e, m->final_unit);
  fused_residual_layernorm_forward(last->res3, m->lnf, m->meanf, m->rstdf, last->res2, last->res3,
                                   param(m, p, m->final_unit, GPT2_LNFW), param(m, p, m->final_unit, GPT2_LNFB), N, C,
                                   m->type, s);
  zero_release(e, m->final_unit);
  return embeddings;
}

// Sum of the losses of all rows, in row order.
static double sum_losses(const GPT2 *m, size_t N) {
  double sum = 0.0;
  for (size_t n = 0; n < N; n++) sum += (double)m->losses[n];
  return sum;
}

// Evaluation: the summed loss of a micro-batch. logits NULL, or (B*T, V).
static double gpt2_forward(GPT2 *m, const int *tokens, const int *targets, size_t B, size_t T, float *logits) {
  const GPT2Config *c = &m->config;
  const void *embeddings = gpt2_trunk(m, tokens, B, T);
  OpsGrad none = {NULL, ZERO_F32, 0};
  lm_head_loss(m->losses, NULL, none, logits, m->lnf, param(m, embeddings, 0, GPT2_WTE), targets, 0.0f, B * T,
               c->channels, c->vocab_size, c->padded_vocab_size, m->type, m->scratch, m->device->stream);
  zero_release(m->engine, 0);
  return sum_losses(m, B * T);
}

// ----------------------------------------------------------------------------
// Backward. m->dres is the gradient of the residual stream; each step adds its branch to it.

static void block_backward(GPT2 *m, size_t l, const void *p, ZeroGrad g, size_t B, size_t T) {
  const GPT2Config *c = &m->config;
  BlockActivations *a = &m->blocks[l];
  ZeroStream s = m->device->stream;
  size_t N = B * T, C = c->channels;
  int u = 1 + (int)l;
  const void *residual = l == 0 ? m->encoded : m->blocks[l - 1].res3;
  matmul_backward(m->dwide, grad(m, g, u, GPT2_FCPROJW), grad(m, g, u, GPT2_FCPROJB), m->dres, a->fc,
                  param(m, p, u, GPT2_FCPROJW), a->fc_pre, N, 4 * C, C, m->type, m->scratch, s);
  matmul_backward(m->dtmp, grad(m, g, u, GPT2_FCW), grad(m, g, u, GPT2_FCB), m->dwide, a->ln2,
                  param(m, p, u, GPT2_FCW), NULL, N, C, 4 * C, m->type, m->scratch, s);
  layernorm_backward(m->dres, grad(m, g, u, GPT2_LN2W), grad(m, g, u, GPT2_LN2B), m->dtmp, m->dres, a->res2, a->mean2,
                     a->rstd2, param(m, p, u, GPT2_LN2W), N, C, m->type, m->scratch, s);
  matmul_backward(m->dtmp, grad(m, g, u, GPT2_ATTPROJW), grad(m, g, u, GPT2_ATTPROJB), m->dres, a->att,
                  param(m, p, u, GPT2_ATTPROJW), NULL, N, C, C, m->type, m->scratch, s);
  attention_backward(m->dwide, m->dtmp, a->att, a->lse, a->qkv, NULL, B, T, C, c->num_heads, 1, m->type, m->scratch,
                     s);
  matmul_backward(m->dtmp, grad(m, g, u, GPT2_QKVW), grad(m, g, u, GPT2_QKVB), m->dwide, a->ln1,
                  param(m, p, u, GPT2_QKVW), NULL, N, C, 3 * C, m->type, m->scratch, s);
  layernorm_backward(m->dres, grad(m, g, u, GPT2_LN1W), grad(m, g, u, GPT2_LN1B), m->dtmp, m->dres, residual,
                     a->mean1, a->rstd1, param(m, p, u, GPT2_LN1W), N, C, m->type, m->scratch, s);
}

// Forward and backward of one micro-batch; every target counts 1/num_targets. Returns the summed loss.
// The tied embedding is opened at the head and closed after the embedding's own backward: it travels once.
static double gpt2_forward_backward(GPT2 *m, const int *tokens, const int *targets, size_t B, size_t T,
                                    size_t num_targets) {
  const GPT2Config *c = &m->config;
  ZeroEngine *e = m->engine;
  ZeroStream s = m->device->stream;
  size_t N = B * T, C = c->channels;
  const void *embeddings = gpt2_trunk(m, tokens, B, T);
  zero_gather(e, m->final_unit);
  float grad_scale = zero_loss_scale(e) / (float)num_targets;
  ZeroGrad ge = zero_grad(e, 0);
  lm_head_loss(m->losses, m->dtmp, grad(m, ge, 0, GPT2_WTE), NULL, m->lnf, param(m, embeddings, 0, GPT2_WTE), targets,
               grad_scale, N, C, c->vocab_size, c->padded_vocab_size, m->type, m->scratch, s);
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
    block_backward(m, (size_t)u - 1, p, g, B, T);
    zero_grad_done(e, u);
    zero_release(e, u);
  }
  OpsGrad dwte = grad(m, ge, 0, GPT2_WTE);
  dwte.accumulate = 1; // the head has written it
  encoder_backward(dwte, grad(m, ge, 0, GPT2_WPE), m->dres, tokens, B, T, C, c->padded_vocab_size, c->max_seq_len,
                   m->type, m->scratch, s);
  zero_grad_done(e, 0);
  return sum_losses(m, N);
}

// The logits (V) of token `used` - 1 of a context of T tokens; what stands behind it does not count. All ranks take
// part.
static void gpt2_next_logits(GPT2 *m, const int *tokens, size_t used, size_t T, float *logits) {
  const GPT2Config *c = &m->config;
  const void *embeddings = gpt2_trunk(m, tokens, 1, T);
  const char *row = (const char *)m->lnf + (used - 1) * c->channels * zero_type_size(m->type);
  lm_head_logits(logits, row, param(m, embeddings, 0, GPT2_WTE), 1, c->channels, c->vocab_size, c->padded_vocab_size,
                 m->type, m->scratch, m->device->stream);
  zero_release(m->engine, 0);
}

#ifndef TESTING // test_gpt2.cu includes this file for the model alone

#define ZERO_C_VERSION "0.1.0"
#define SAMPLE_SEED 1337 // of llm.c's sampler

// ----------------------------------------------------------------------------
// The run: everything that main puts together, checks and then uses.

// What a checkpoint keeps of a run beside the engine's state. Plain data, without gaps.
typedef struct {
  uint64_t step;            // steps done
  uint64_t seed, sequences; // the order of the data; where step `step` stands in it
  uint64_t sample_state;
  Outliers loss, norm;
} Progress;

typedef struct {
  Options options;
  OptionTable table;
  ZeroConfigFile file; // as an empty one without --config
  ZeroComm *comm;
  ZeroDevice *device;
  int threads;
  GPT2 model;
  GPT2Config config;
  ZeroConfig zero;
  DataLoader *train, *val;
  Tokenizer *tokenizer;
  Logger *log;
  Schedule schedule;
  size_t B, T;        // sequences and tokens of a micro-batch
  size_t micro_steps; // per step
  size_t sequences;   // of a global batch
  size_t steps;
  int *inputs, *targets; // (B, T)
  double *micro_losses;  // (micro_steps) summed losses of this rank's micro-batches
  double peak_flops;     // FLOP/s of the matrix multiply, all ranks together
  Progress progress;
} Run;

static size_t min_size(size_t a, size_t b) {
  return a < b ? a : b;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int main_rank(const Run *r) {
  return r->comm->rank == 0;
}

// The update, unless the gradients overflow or loss or norm is an outlier that the user wants skipped.
static ZeroStep update(Run *r, float lr, double loss) {
  const Options *o = &r->options;
  ZeroEngine *e = r->model.engine;
  Progress *p = &r->progress;
  ZeroNorm norm = zero_norm(e);
  int outlier = (o->skip_loss > 0 && outliers_zscore(&p->loss, loss) > o->skip_loss) ||
                (o->skip_norm > 0 && outliers_zscore(&p->norm, norm.norm) > o->skip_norm);
  if (norm.overflow || outlier) {
    ZeroStep skipped = {norm.norm, 1, 1.0, zero_loss_scale(e)};
    zero_skip(e);
    return skipped;
  }
  outliers_add(&p->loss, loss);
  outliers_add(&p->norm, norm.norm);
  return zero_apply(e, lr);
}

// One step: micro_steps micro-batches of every rank, then the update. Global micro-batch k * ranks + rank takes its
// sequences from the step's share of the data, so the ranks' number does not change what a step sees.
static ZeroStep train_step(Run *r, size_t step, float lr, double *loss) {
  size_t ranks = (size_t)r->comm->size, tokens = r->sequences * r->T;
  for (size_t k = 0; k < r->micro_steps; k++) {
    size_t micro_batch = k * ranks + (size_t)r->comm->rank;
    for (size_t b = 0; b < r->B; b++) {
      size_t window = (r->options.overfit ? 0 : step * r->sequences) + micro_batch * r->B + b;
      dataloader_train_window(r->train, window, r->inputs + b * r->T, r->targets + b * r->T);
    }
    zero_micro_begin(r->model.engine, (int)k, k + 1 == r->micro_steps);
    r->micro_losses[k] = gpt2_forward_backward(&r->model, r->inputs, r->targets, r->B, r->T, tokens);
  }
  *loss = zero_sum_ordered(r->model.engine, r->micro_losses, (int)r->micro_steps) / (double)tokens;
  return update(r, lr, *loss);
}

// Mean loss over the first windows of the validation split, in file order; all ranks run the same number of
// micro-batches, and rows past the end count for nothing.
static double validate(Run *r, size_t *windows_seen) {
  size_t ranks = (size_t)r->comm->size, windows = dataloader_windows(r->val);
  size_t micro_batches = (windows + r->B - 1) / r->B;
  if (r->options.val_batches >= 0) micro_batches = min_size(micro_batches, (size_t)r->options.val_batches);
  windows = min_size(windows, micro_batches * r->B);
  double sum = 0.0;
  for (size_t first = 0; first < micro_batches; first += ranks) {
    size_t window = (first + (size_t)r->comm->rank) * r->B;
    for (size_t b = 0; b < r->B; b++) {
      int *inputs = r->inputs + b * r->T, *targets = r->targets + b * r->T;
      if (window + b < windows) {
        dataloader_window(r->val, window + b, inputs, targets);
      } else {
        memset(inputs, 0, r->T * sizeof(int));
        for (size_t t = 0; t < r->T; t++) targets[t] = OPS_IGNORE;
      }
    }
    double loss = gpt2_forward(&r->model, r->inputs, r->targets, r->B, r->T, NULL);
    sum += zero_sum_ordered(r->model.engine, &loss, 1);
  }
  *windows_seen = windows;
  return sum / (double)(windows * r->T);
}

// Draws a text token by token; every rank computes the same one, rank 0 prints it.
static void sample(Run *r) {
  enum { ROUND = 64 }; // context lengths are multiples of it, so that few shapes occur
  size_t V = r->config.vocab_size, length = 1, total = (size_t)r->options.sample_tokens;
  int *text = (int *)zero_malloc((total + 1) * sizeof(int), ZERO_MEM_OTHER);
  int *context = (int *)zero_malloc(r->T * sizeof(int), ZERO_MEM_OTHER);
  float *logits = (float *)zero_malloc(V * sizeof(float), ZERO_MEM_OTHER);
  int eot = r->tokenizer ? tokenizer_eot(r->tokenizer) : (int)V - 1;
  text[0] = eot < (int)V ? eot : 0;
  for (; length <= total; length++) {
    size_t first = length > r->T ? length - r->T : 0, used = length - first;
    size_t padded = min_size((used + ROUND - 1) / ROUND * ROUND, r->T); // later rows are not seen by the last one
    for (size_t t = 0; t < padded; t++) context[t] = t < used ? text[first + t] : 0;
    gpt2_next_logits(&r->model, context, used, padded, logits);
    text[length] = sample_softmax(logits, V, random_uniform(&r->progress.sample_state));
  }
  if (main_rank(r)) {
    printf("generating:\n---\n");
    for (size_t i = 1; i <= total; i++) {
      size_t bytes = 0;
      const char *piece = r->tokenizer ? tokenizer_decode(r->tokenizer, text[i], &bytes) : NULL;
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
  zero_free(context);
  zero_free(logits);
}

// ----------------------------------------------------------------------------
// Start-up: options to a run, with every problem collected before anything is written.

static int file_exists(const char *path) {
  return access(path, F_OK) == 0;
}

static int64_t given_in_file(const ZeroFileInt *key) {
  return key->state == ZERO_KEY_GIVEN ? key->value : 0;
}

static void check_batch(Run *r, ZeroErrors *errors) {
  const Options *o = &r->options;
  size_t longest = r->config.max_seq_len;
  const size_t llmc_longest = 1024;
  r->T = o->seq_len > 0 ? (size_t)o->seq_len : min_size(longest, llmc_longest);
  if (r->T > longest) {
    zero_errors_add(errors, "-t: found %zu, this model has positions for %zu; use -t %zu or a model with a larger T",
                    r->T, longest, longest);
  }
  if (o->val_batches == 0) zero_errors_add(errors, "-m: found 0; give a number from 1, -1 for all, or -v 0 for none");
  if (o->total_batch > 0 && (size_t)o->total_batch % r->T != 0) {
    zero_errors_add(errors, "-d: found %lld tokens, expected a multiple of -t %zu", (long long)o->total_batch, r->T);
    return;
  }
  ZeroBatch file, flags, batch;
  file.train = given_in_file(&r->file.train_batch_size);
  file.micro = given_in_file(&r->file.train_micro_batch_size_per_gpu);
  file.accumulation = given_in_file(&r->file.gradient_accumulation_steps);
  flags.train = o->total_batch > 0 ? o->total_batch / (int64_t)r->T : 0;
  flags.micro = o->micro_batch > 0 ? o->micro_batch : 0;
  flags.accumulation = 0;
  if (zero_batch_infer(file, flags, r->comm->size, &batch, errors) != 0) return;
  r->B = (size_t)batch.micro;
  r->micro_steps = (size_t)batch.accumulation;
  r->sequences = (size_t)batch.train;
}

static void check_data(Run *r, ZeroErrors *errors) {
  Options *o = &r->options;
  int own_data = options_given(&r->table, "-i");
  if (!own_data && !file_exists(DEMO_TRAIN)) {
    zero_errors_add(errors,
                    "-i: no data: run `make demo` once for the demo's text, or prepare your own with "
                    "`python3 data/prepare_text.py --input FILES --output data/mine` and give it by "
                    "-i data/mine_train.bin -j data/mine_val.bin");
    return;
  }
  if (own_data && !options_given(&r->table, "-j")) {
    if (o->val_every > 0) {
      zero_errors_add(errors, "-j: not given; name the validation tokens that go with -i %s, or use -v 0", o->train);
    }
    o->val = NULL;
  }
  size_t V = r->config.vocab_size;
  r->train = dataloader_open(o->train, "-i", r->T, V, (uint64_t)o->seed, errors);
  if (r->train && o->steps < 0 && dataloader_windows(r->train) < r->sequences) {
    zero_errors_add(errors,
                    "-x: %s has %zu sequences, one step takes %zu: less than one epoch; give a number of steps",
                    o->train, dataloader_windows(r->train), r->sequences);
  }
  if (o->val_every > 0 && o->val) r->val = dataloader_open(o->val, "-j", r->T, V, (uint64_t)o->seed, errors);
  if (!o->tokenizer && !own_data && file_exists(DEMO_TOKENIZER)) o->tokenizer = DEMO_TOKENIZER;
  if (o->tokenizer) r->tokenizer = tokenizer_open(o->tokenizer, "--tokenizer", errors);
}

static void check_run(Run *r, ZeroErrors *errors, GPT2Bin **bin) {
  const Options *o = &r->options;
  int model_errors = errors->count;
  if (gpt2_config_parse(o->model, &r->config, errors) == 1 && errors->count == model_errors) {
    *bin = gpt2_bin_open(o->model, &r->config, errors);
  }
  zero_config_file_default(&r->file);
  if (o->config) {
    zero_config_file_read(o->config, &r->file, errors);
    options_apply_file(&r->options, &r->table, &r->file);
    zero_config_file_check(o->config, &r->file, (int)o->stage, errors);
  }
  options_zero_config(o, &r->file, &r->zero);
  zero_config_check(&r->zero, errors);
  if (errors->count == model_errors) {
    check_batch(r, errors);
    check_data(r, errors);
  }
  if (o->out) logger_check(o->out, "-o", errors);
  if (!o->out && o->checkpoint_every > 0) zero_errors_add(errors, "-n: checkpoints need a folder; give one by -o");
  if (!o->out && o->resume) zero_errors_add(errors, "-y: give the folder of the run by -o");
}

static void print_run(const Run *r) {
  const Options *o = &r->options;
  const GPT2Config *c = &r->config;
  printf("run: %d ranks x %d threads | stage %d | comm %s | %s | deterministic %d | batch %zu = %zu x %zu x %d\n",
         r->comm->size, r->threads, r->zero.stage, r->comm->name, zero_type_name(r->zero.type), r->zero.deterministic,
         r->sequences, r->B, r->micro_steps, r->comm->size);
  printf("model: %s | L %zu H %zu C %zu T %zu V %zu (padded to %zu) | %zu parameters\n", o->model, c->num_layers,
         c->num_heads, c->channels, c->max_seq_len, c->vocab_size, c->padded_vocab_size, gpt2_num_parameters(c));
  printf("data: train %s, %zu tokens, %zu windows of %zu | val %s\n", o->train, dataloader_tokens(r->train),
         dataloader_windows(r->train), r->T, r->val ? o->val : "off");
  printf(
      "optimizer: AdamW lr %g betas %g %g eps %g decay %g clip %g | %s, warmup %zu of %zu steps, final %g | seed "
      "%lld\n",
      r->schedule.lr, o->beta1, o->beta2, o->eps, o->weight_decay, o->clip, schedule_name(r->schedule.kind),
      r->schedule.warmup, r->steps, o->final_fraction, (long long)o->seed);
  if (r->file.warning) printf("%s\n", r->file.warning);
  if (ops_type_notice(r->zero.type)) printf("note: %s\n", ops_type_notice(r->zero.type));
  if (r->tokenizer && tokenizer_size(r->tokenizer) != c->vocab_size) {
    printf("note: tokenizer %s has %zu tokens, the model %zu: ids without text are printed as <id>\n", o->tokenizer,
           tokenizer_size(r->tokenizer), c->vocab_size);
  }
  fflush(stdout);
}

// FLOP/s that the ranks' matrix multiplies reach together: the best of two square shapes and the model's own.
static double measure_peak(Run *r) {
  const double seconds = 0.1; // each; half a second in all
  const size_t side = 1024;
  size_t C = r->config.channels, N = r->B * r->T;
  double best = matmul_peak(side, side, side, r->zero.type, seconds);
  double other = matmul_peak(2 * side, 2 * side, 2 * side, r->zero.type, seconds);
  best = other > best ? other : best;
  other = matmul_peak(N, C, 4 * C, r->zero.type, seconds);
  best = other > best ? other : best;
  return zero_sum_ordered(r->model.engine, &best, 1);
}

// ----------------------------------------------------------------------------
// Checkpoints: DIR/step_00000020/ with state.zero (the engine and Progress) and model.bin (llm.c's format).

#define STATE_FILE "state.zero"
#define MODEL_FILE "model.bin"
#define PROBLEM_BYTES 8192

// Did something go wrong on any rank? Collective.
static int on_any_rank(Run *r, int wrong) {
  double flag = wrong != 0;
  return zero_sum_ordered(r->model.engine, &flag, 1) > 0.0;
}

static void read_for_bin(void *ctx, GPT2Tensor t, size_t layer, float *out) {
  GPT2 *m = (GPT2 *)ctx;
  int unit = t < GPT2_LN1W ? 0 : t >= GPT2_LNFW ? m->final_unit : 1 + (int)layer;
  zero_read(m->engine, ZERO_MASTER, unit, (int)t - (int)first_tensor(m, unit), out);
}

// A checkpoint that cannot be written is said and given up; training goes on.
static void save_checkpoint(Run *r, size_t step) {
  const Options *o = &r->options;
  char path[CHECKPOINT_PATH], problem[PROBLEM_BYTES] = "";
  r->progress.step = step;
  int wrong = main_rank(r) && checkpoint_begin(o->out, step, problem, sizeof problem) != 0;
  if (!on_any_rank(r, wrong)) {
    checkpoint_tmp_path(path, o->out, step, STATE_FILE);
    wrong = zero_save(r->model.engine, path, &r->progress, sizeof r->progress) != 0;
    if (!wrong) {
      checkpoint_tmp_path(path, o->out, step, MODEL_FILE);
      ZeroType type = r->zero.type == ZERO_BF16 ? ZERO_BF16 : ZERO_F32;
      wrong = gpt2_bin_write(main_rank(r) ? path : NULL, &r->config, type, read_for_bin, &r->model, problem,
                             sizeof problem) != 0;
    }
    if (main_rank(r)) {
      char ignored[PROBLEM_BYTES];
      if (wrong) checkpoint_abandon(o->out, step, ignored, sizeof ignored);
      wrong =
          wrong || checkpoint_commit(o->out, step, problem, sizeof problem) != 0 ||
          checkpoint_prune(o->out, step, (size_t)o->keep_last, (size_t)o->keep_every, problem, sizeof problem) != 0;
    }
  }
  if (!main_rank(r)) return;
  if (wrong) {
    fprintf(stderr, "warning: no checkpoint of step %zu: %s; training goes on\n", step, problem);
  } else {
    printf("checkpoint %s/step_%08zu\n", o->out, step);
  }
  fflush(stdout);
}

// The newest checkpoint that is whole; older ones are tried where it is not. Ends all ranks if none of several is.
static void resume(Run *r) {
  const Options *o = &r->options;
  size_t *steps = NULL, count = 0;
  char problem[PROBLEM_BYTES], path[CHECKPOINT_PATH];
  ZeroErrors errors = {NULL, 0};
  if (checkpoint_list(o->out, &steps, &count, problem, sizeof problem) != 0)
    zero_errors_add(&errors, "-y: %s", problem);
  int loaded = 0;
  while (!loaded && errors.count == 0 && count > 0) {
    ZeroErrors found = {NULL, 0};
    Progress progress;
    checkpoint_path(path, o->out, steps[--count], STATE_FILE);
    loaded = zero_load(r->model.engine, path, &progress, sizeof progress, &found) == 0;
    if (loaded) {
      if (progress.seed != r->progress.seed || progress.sequences != r->progress.sequences) {
        zero_errors_add(&errors,
                        "-y: %s was trained with --seed %llu and %llu sequences a step, this run has %llu and "
                        "%llu: its data would go on in another order; use the same",
                        path, (unsigned long long)progress.seed, (unsigned long long)progress.sequences,
                        (unsigned long long)r->progress.seed, (unsigned long long)r->progress.sequences);
      }
      r->progress = progress;
    } else if (count == 0) {
      for (int i = 0; i < found.count; i++) zero_errors_add(&errors, "-y: %s", found.lines[i]);
      if (found.count == 0) zero_errors_add(&errors, "-y: no checkpoint in %s is whole", o->out);
    } else if (main_rank(r)) {
      for (int i = 0; i < found.count; i++) printf("note: %s; trying an older one\n", found.lines[i]);
    }
  }
  zero_free(steps);
  zero_errors_check(&errors, r->comm);
  if (main_rank(r) && loaded) printf("resumed from %s\n", path);
  if (main_rank(r) && !loaded) printf("note: -y 1: no checkpoint in %s, starting at step 0\n", o->out);
}

// ----------------------------------------------------------------------------
// The loop

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal_number) {
  (void)signal_number;
  stop_requested = 1;
}

// SIGINT and SIGTERM finish the step; SIGUSR1 too, which mpirun hands on (scripts/run.sh sends that one).
static void catch_signals(void) {
  static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = request_stop;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
    if (sigaction(signals[i], &action, NULL) != 0) zero_fatal("signal %d cannot be caught", signals[i]);
  }
}

static void print_step(const Run *r, size_t step, double loss, ZeroStep done, double lr, double seconds,
                       double left) {
  const GPT2Config *c = &r->config;
  double tokens = (double)(r->sequences * r->T) / seconds;
  double flops_per_token =
      6.0 * (double)gpt2_num_parameters(c) + 6.0 * (double)c->num_layers * (double)c->channels * (double)r->T;
  long minutes = (long)(left / 60.0);
  char scale[32] = "";
  if (r->zero.type == ZERO_F16) snprintf(scale, sizeof scale, " | scale %g", done.scale);
  printf(
      "step %5zu/%zu | loss %.6f | norm %.4f | lr %.3e | %.1f ms | %.0f tok/s | %.1f %% of peak | %ld:%02ld "
      "left%s%s\n",
      step + 1, r->steps, loss, done.norm, lr, seconds * 1e3, tokens,
      100.0 * tokens * flops_per_token / r->peak_flops, minutes, (long)left - 60 * minutes, scale,
      done.skipped ? " | skipped" : "");
  fflush(stdout);
}

static void evaluate(Run *r, size_t step) {
  const Options *o = &r->options;
  int last = step == r->steps;
  if (o->val_every > 0 && r->val && (last || step % (size_t)o->val_every == 0)) {
    size_t windows = 0;
    double loss = validate(r, &windows);
    if (main_rank(r)) {
      printf("val loss %.6f | %zu windows\n", loss, windows);
      fflush(stdout);
      logger_val(r->log, step, loss);
    }
  }
  if (o->sample_every > 0 && (last || (step > 0 && step % (size_t)o->sample_every == 0))) sample(r);
}

static void train(Run *r) {
  const Options *o = &r->options;
  double busy = 0.0, busy_at_print = 0.0; // seconds spent in training steps
  size_t first = (size_t)r->progress.step, printed_step = first, step = first;
  int stop = 0;
  for (; step <= r->steps; step++) {
    evaluate(r, step);
    if (step == r->steps) break;
    double start = now(), loss = 0.0;
    size_t at = schedule_counts_applied(&r->schedule) ? zero_steps_applied(r->model.engine) : step;
    double lr = schedule_lr(&r->schedule, at), beta1, beta2;
    if (schedule_betas(&r->schedule, at, &beta1, &beta2)) zero_set_betas(r->model.engine, beta1, beta2);
    ZeroStep done = train_step(r, step, (float)lr, &loss);
    busy += now() - start;
    zero_process_peak();
    stop = on_any_rank(r, stop_requested);
    if (main_rank(r)) {
      logger_train(r->log, step, loss, lr, done.norm);
      if ((step + 1) % (size_t)o->log_every == 0 || step + 1 == r->steps || step == first || stop) {
        double seconds = (busy - busy_at_print) / (double)(step + 1 - printed_step);
        print_step(r, step, loss, done, lr, seconds, seconds * (double)(r->steps - step - 1));
        busy_at_print = busy;
        printed_step = step + 1;
      }
    }
    if (o->hash_every > 0 && (step + 1) % (size_t)o->hash_every == 0) {
      unsigned long long hash = zero_state_hash(r->model.engine);
      if (main_rank(r)) printf("step %zu state %016llx\n", step + 1, hash);
    }
    int due =
        o->checkpoint_every > 0 && ((step + 1) % (size_t)o->checkpoint_every == 0 || step + 1 == r->steps || stop);
    if (due) save_checkpoint(r, step + 1);
    if (stop) break;
  }
  if (!main_rank(r)) return;
  if (stop)
    printf("stopped by a signal after step %zu%s\n", step + 1,
           o->checkpoint_every > 0 ? "" : ", nothing saved: no -n");
  printf("trained %zu steps in %.1f s\n", (stop ? step + 1 : r->steps) - first, busy);
}

// Rank 0. A resumed run goes on with its log; a new one moves what is there aside.
static void open_log(Run *r) {
  const Options *o = &r->options;
  if (!o->out) return;
  if (o->resume) {
    r->log = logger_resume(o->out, (size_t)r->progress.step);
    return;
  }
  r->log = logger_open(o->out);
  char problem[PROBLEM_BYTES];
  if (checkpoint_move_aside(o->out, problem, sizeof problem) != 0) zero_fatal("-o %s: %s", o->out, problem);
}

static void start_run(Run *r, GPT2Bin *bin) {
  const Options *o = &r->options;
  r->steps = o->steps >= 0 ? (size_t)o->steps : dataloader_windows(r->train) / r->sequences;
  if (!schedule_from_file(&r->file, &r->table, o->lr, r->steps, &r->schedule)) {
    r->schedule.lr = o->lr;
    r->schedule.warmup = (size_t)o->warmup;
    r->schedule.total = r->steps;
    r->schedule.final_fraction = o->final_fraction;
    if (schedule_parse(o->schedule, &r->schedule.kind) != 0) zero_fatal("schedule %s is not known", o->schedule);
  }
  r->progress.sample_state = SAMPLE_SEED;
  r->progress.seed = (uint64_t)o->seed;
  r->progress.sequences = r->sequences;
  outliers_init(&r->progress.loss);
  outliers_init(&r->progress.norm);
  r->inputs = (int *)zero_malloc(r->B * r->T * sizeof(int), ZERO_MEM_OTHER);
  r->targets = (int *)zero_malloc(r->B * r->T * sizeof(int), ZERO_MEM_OTHER);
  r->micro_losses = (double *)zero_malloc(r->micro_steps * sizeof(double), ZERO_MEM_OTHER);
  r->device = zero_device_cpu();
  gpt2_create(&r->model, &r->config, r->B, r->T, &r->zero, r->comm, r->device);
  if (main_rank(r)) print_run(r); // after the engine has settled which transport it uses
  if (bin) {
    gpt2_load(&r->model, bin);
    gpt2_bin_close(bin);
  } else {
    gpt2_init(&r->model, (uint64_t)o->seed);
  }
  if (o->resume) resume(r);
  zero_print_memory(r->model.engine, stdout);
  r->peak_flops = measure_peak(r);
  if (main_rank(r)) {
    printf("matrix multiply peak: %.1f GFLOP/s, all ranks\n", r->peak_flops * 1e-9);
    open_log(r);
    fflush(stdout);
  }
}

static void end_run(Run *r) {
  zero_print_traffic(r->model.engine, stdout);
  zero_print_peak(r->model.engine, stdout);
  if (r->log) logger_close(r->log);
  gpt2_destroy(&r->model);
  dataloader_close(r->train);
  if (r->val) dataloader_close(r->val);
  if (r->tokenizer) tokenizer_close(r->tokenizer);
  zero_free(r->inputs);
  zero_free(r->targets);
  zero_free(r->micro_losses);
  zero_config_file_free(&r->file);
}

int main(int argc, char **argv) {
  Run run;
  ZeroErrors errors = {NULL, 0};
  GPT2Bin *bin = NULL;
  memset(&run, 0, sizeof run);
  OptionTable *table = &run.table;
  options_init(&run.options, table);
  flags_parse(table->flags, table->count, argc, argv, table->given, &errors, NULL);
  run.threads = launch_threads((int)run.options.threads, argv);
  run.comm = zero_comm_create(NULL);
  if (run.options.help || run.options.version) {
    if (main_rank(&run) && run.options.version) printf("train_gpt2 " ZERO_C_VERSION "\n");
    if (main_rank(&run) && run.options.help) {
      printf("train_gpt2: trains a GPT-2 with ZeRO. Flags are pairs; the last of a repeated one counts.\n");
      flags_help(stdout, table->flags, table->count);
    }
    zero_comm_destroy(run.comm);
    return ZERO_EXIT_OK;
  }
  if (errors.count == 0) check_run(&run, &errors, &bin);
  zero_errors_check(&errors, run.comm);
  // Once more for the notices, now that they can come from one rank and once.
  if (main_rank(&run)) flags_parse(table->flags, table->count, argc, argv, table->given, &errors, stdout);
  catch_signals();
  start_run(&run, bin);
  train(&run);
  end_run(&run);
  zero_comm_destroy(run.comm);
  zero_device_destroy(run.device);
  return ZERO_EXIT_OK;
}
#endif
