// BERT's forward pass. A unit's parameters are fetched while the one before it computes, and let go after use.
#include "bert_model.h"

#include <string.h>

#include "../zero/half.h"
#include "bert_pass.h"

// ---------------------------------------------------------------------------------------------------
// Tensors, dropout, batches

static size_t offset_of(const Bert *m, int unit, BertTensor t) {
  return zero_offset(m->engine, unit, bert_tensor_index(&m->config, t));
}

const void *bert_param(const Bert *m, const void *flat, int unit, BertTensor t) {
  return (const char *)flat + offset_of(m, unit, t) * zero_type_size(m->type);
}

OpsGrad bert_grad(const Bert *m, ZeroGrad flat, int unit, BertTensor t) {
  OpsGrad g;
  g.data = (char *)flat.data + offset_of(m, unit, t) * zero_type_size(flat.type);
  g.type = flat.type;
  g.accumulate = flat.accumulate;
  return g;
}

OpsDropout bert_dropout(const BertPass *pass, float rate, size_t layer, size_t which) {
  const OpsDropout d = {pass->training ? rate : 0.0f, pass->m->dropout.seed, pass->step,
                        ops_dropout_site(layer, which)};
  return d;
}

const void *bert_drop_rows(const BertPass *pass, void *out, const void *inp, size_t layer, size_t which) {
  const Bert *m = pass->m;
  const BertBatch *b = pass->batch;
  const OpsDropout d = bert_dropout(pass, m->dropout.hidden, layer, which);
  if (d.rate == 0.0f) return inp;
  dropout(out, inp, b->row_samples, b->positions, b->N, m->config.channels, &d, m->type, m->device->stream);
  return out;
}

BertBatch bert_batch_to_device(Bert *m, const BertBatch *host) {
  if (host->N > bert_batch_max_rows(&m->shape) || host->M > bert_batch_max_masked(&m->shape) ||
      host->parts.count != m->shape.B || (host->M > 0) != bert_has(m, BERT_MLMW)) {
    zero_fatal("a batch of %zu rows, %zu of them masked, and %zu samples; the model holds %zu, %zu and %zu", host->N,
               host->M, host->parts.count, bert_batch_max_rows(&m->shape), bert_batch_max_masked(&m->shape),
               m->shape.B);
  }
  memcpy(micro_batches_fill(m->batches), bert_batch_block(host), bert_batch_bytes(&host->shape));
  return bert_batch_on(host, (void *)micro_batches_send(m->batches));
}

// ---------------------------------------------------------------------------------------------------
// The trunk

void bert_block_forward(const BertPass *pass, size_t l, const void *p) {
  Bert *m = pass->m;
  const BertConfig *c = &m->config;
  BertBlock *a = &m->blocks[l];
  ZeroStream s = m->device->stream;
  const size_t N = pass->batch->N, C = c->channels, H = c->hidden, layer = 1 + l;
  const int u = 1 + (int)l;
  const void *x = l == 0 ? m->x0 : m->blocks[l - 1].x2;
  const OpsDropout weights = bert_dropout(pass, m->dropout.attention, layer, BERT_DROP_WEIGHTS);
  matmul_forward(a->qkv, NULL, x, bert_param(m, p, u, BERT_QKVW), bert_param(m, p, u, BERT_QKVB), N, C, 3 * C,
                 OPS_NO_GELU, m->type, s);
  attention_forward(a->att, a->lse, a->qkv, &pass->batch->parts, C, c->num_heads, 0, &weights, m->type, m->scratch,
                    s);
  matmul_forward(a->res1, NULL, a->att, bert_param(m, p, u, BERT_ATTPROJW), bert_param(m, p, u, BERT_ATTPROJB), N, C,
                 C, OPS_NO_GELU, m->type, s);
  bert_drop_rows(pass, a->res1, a->res1, layer, BERT_DROP_FIRST);
  fused_residual_layernorm_forward(a->res1, a->x1, a->mean1, a->rstd1, x, a->res1, bert_param(m, p, u, BERT_LN1W),
                                   bert_param(m, p, u, BERT_LN1B), N, C, BERT_LAYERNORM_EPS, m->type, s);
  matmul_forward(a->fc, a->fc_pre, a->x1, bert_param(m, p, u, BERT_FCW), bert_param(m, p, u, BERT_FCB), N, C, H,
                 OPS_GELU_ERF, m->type, s);
  matmul_forward(a->res2, NULL, a->fc, bert_param(m, p, u, BERT_FCPROJW), bert_param(m, p, u, BERT_FCPROJB), N, H, C,
                 OPS_NO_GELU, m->type, s);
  bert_drop_rows(pass, a->res2, a->res2, layer, BERT_DROP_SECOND);
  fused_residual_layernorm_forward(a->res2, a->x2, a->mean2, a->rstd2, a->x1, a->res2, bert_param(m, p, u, BERT_LN2W),
                                   bert_param(m, p, u, BERT_LN2B), N, C, BERT_LAYERNORM_EPS, m->type, s);
}

const void *bert_trunk(const BertPass *pass) {
  Bert *m = pass->m;
  ZeroEngine *e = m->engine;
  ZeroStream s = m->device->stream;
  const BertBatch *b = pass->batch;
  const size_t N = b->N, C = m->config.channels;
  const void *embeddings = zero_get(e, 0);
  zero_gather(e, 1);
  embeddings_forward(m->embedded, b->tokens, b->positions, b->types, bert_param(m, embeddings, 0, BERT_WTE),
                     bert_param(m, embeddings, 0, BERT_WPE), bert_param(m, embeddings, 0, BERT_WTYPE), N, C, m->type,
                     s);
  layernorm_forward(m->x0, m->mean0, m->rstd0, m->embedded, bert_param(m, embeddings, 0, BERT_LNEW),
                    bert_param(m, embeddings, 0, BERT_LNEB), N, C, BERT_LAYERNORM_EPS, m->type, s);
  bert_drop_rows(pass, m->x0, m->x0, 0, BERT_DROP_FIRST);
  for (int u = 1; u < m->head_unit; u++) {
    const void *p = zero_get(e, u);
    zero_gather(e, u + 1);
    bert_block_forward(pass, (size_t)u - 1, p);
    zero_release(e, u);
  }
  return embeddings;
}

// ---------------------------------------------------------------------------------------------------
// The head

void bert_head_forward(const BertPass *pass, const void *p) {
  Bert *m = pass->m;
  BertHead *h = &m->head;
  ZeroStream s = m->device->stream;
  const BertBatch *b = pass->batch;
  const size_t N = b->N, M = b->M, B = b->parts.count, C = m->config.channels, layer = 1 + m->config.num_layers;
  const int u = m->head_unit;
  const void *x = m->blocks[m->config.num_layers - 1].x2;
  if (bert_has(m, BERT_MLMW)) {
    gather_rows(h->gathered, x, b->masked_rows, M, N, C, m->type, s);
    matmul_forward(h->act, h->pre, h->gathered, bert_param(m, p, u, BERT_MLMW), bert_param(m, p, u, BERT_MLMB), M, C,
                   C, OPS_GELU_ERF, m->type, s);
    layernorm_forward(h->norm, h->mean, h->rstd, h->act, bert_param(m, p, u, BERT_MLMLNW),
                      bert_param(m, p, u, BERT_MLMLNB), M, C, BERT_LAYERNORM_EPS, m->type, s);
  }
  if (bert_has(m, BERT_POOLW)) {
    gather_rows(h->first, x, b->first_rows, B, N, C, m->type, s);
    matmul_forward(h->pooled, NULL, h->first, bert_param(m, p, u, BERT_POOLW), bert_param(m, p, u, BERT_POOLB), B, C,
                   C, OPS_NO_GELU, m->type, s);
    tanh_forward(h->pooled, h->pooled, B * C, m->type, s);
    const OpsDropout d =
        bert_dropout(pass, m->config.num_labels > 0 ? m->dropout.classifier : 0.0f, layer, BERT_DROP_FIRST);
    dropout(h->dropped, h->pooled, b->parts.samples, h->zeros, B, C, &d, m->type, s);
  }
}

static void masked_losses(const BertPass *pass, const void *embeddings, const void *p, const BertCounts *counts,
                          ZeroGrad ge, ZeroGrad g) {
  Bert *m = pass->m;
  const BertConfig *c = &m->config;
  BertHead *h = &m->head;
  const int u = m->head_unit;
  const OpsGrad none = {NULL, ZERO_F32, 0};
  const float scale = counts && counts->targets > 0 ? zero_loss_scale(m->engine) / (float)counts->targets : 0.0f;
  lm_head_loss(h->masked_losses, counts ? h->dnorm : NULL, counts ? bert_grad(m, ge, 0, BERT_WTE) : none,
               counts ? bert_grad(m, g, u, BERT_MLMBIAS) : none, h->masked_logits, counts ? NULL : h->masked_best,
               h->norm, bert_param(m, embeddings, 0, BERT_WTE), bert_param(m, p, u, BERT_MLMBIAS),
               pass->batch->masked_targets, scale, pass->batch->M, c->channels, c->vocab_size, c->padded_vocab_size,
               m->type, m->scratch, m->device->stream);
}

static void label_losses(const BertPass *pass, const void *p, const BertCounts *counts, ZeroGrad g) {
  Bert *m = pass->m;
  BertHead *h = &m->head;
  ZeroStream s = m->device->stream;
  const int u = m->head_unit, classify = m->config.num_labels > 0;
  const BertTensor weight = classify ? BERT_CLSW : BERT_NSPW, bias = classify ? BERT_CLSB : BERT_NSPB;
  const size_t B = pass->batch->parts.count, C = m->config.channels, labels = bert_labels(m);
  const OpsGrad none = {NULL, ZERO_F32, 0};
  const OpsGrad dweight = counts ? bert_grad(m, g, u, weight) : none,
                dbias = counts ? bert_grad(m, g, u, bias) : none;
  const float scale = counts ? zero_loss_scale(m->engine) / (float)counts->samples : 0.0f;
  const void *w = bert_param(m, p, u, weight), *b = bert_param(m, p, u, bias);
  if (!bert_is_regression(m)) {
    lm_head_loss(h->label_losses, counts ? h->dpooled : NULL, dweight, dbias, h->label_logits,
                 counts ? NULL : h->label_best, h->dropped, w, b, pass->batch->label_classes, scale, B, C, labels,
                 labels, m->type, m->scratch, s);
    return;
  }
  matmul_forward(h->value, NULL, h->dropped, w, b, B, C, 1, OPS_NO_GELU, m->type, s);
  squared_error(h->label_losses, counts ? h->dvalue : NULL, h->value, pass->batch->label_values, scale, B, m->type,
                s);
  if (counts) {
    matmul_backward(h->dpooled, dweight, dbias, h->dvalue, h->dropped, w, NULL, OPS_NO_GELU, B, C, 1, m->type,
                    m->scratch, s);
  }
}

void bert_head_losses(const BertPass *pass, const void *embeddings, const void *p, const BertCounts *counts,
                      ZeroGrad ge, ZeroGrad g) {
  if (bert_has(pass->m, BERT_MLMW)) masked_losses(pass, embeddings, p, counts, ge, g);
  if (bert_has(pass->m, BERT_POOLW)) label_losses(pass, p, counts, g);
}

void bert_take_losses(const BertPass *pass, BertLoss *loss) {
  const Bert *m = pass->m;
  const BertHead *h = &m->head;
  loss->masked = loss->labels = 0.0;
  if (bert_has(m, BERT_MLMW)) {
    micro_batches_take_losses(m->batches, h->masked_losses, pass->batch->M, &loss->masked);
  }
  // A regression has a loss for samples that are missing: they are the last ones.
  if (bert_has(m, BERT_POOLW)) {
    micro_batches_take_losses(m->batches, h->label_losses, pass->batch->real, &loss->labels);
  }
}

void bert_finish(Bert *m) {
  micro_batches_finish(m->batches);
}

// ---------------------------------------------------------------------------------------------------
// Evaluation

// Memory that a kernel can write what is wanted at `wanted` on the host into.
static void *result_memory(Bert *m, void *wanted, size_t bytes) {
  if (wanted == NULL || m->device->host_memory) return wanted;
  return m->device->alloc(m->device, bytes, ZERO_MEM_OTHER);
}

static void result_to_host(Bert *m, void *wanted, void *result, size_t bytes) {
  if (result == wanted) return;
  m->device->to_host(m->device, wanted, result, bytes);
  m->device->free(m->device, result);
}

static void numbers_to_host(Bert *m, int *wanted, const int *best, size_t count) {
  if (wanted != NULL) m->device->to_host(m->device, wanted, best, count * sizeof(int));
}

// Values of the model's type, as fp32 on the host.
static void values_to_host(Bert *m, float *wanted, const void *values, size_t count) {
  if (m->type == ZERO_F32) {
    m->device->to_host(m->device, wanted, values, count * sizeof(float));
    return;
  }
  uint16_t *half = zero_malloc(count * sizeof *half, ZERO_MEM_OTHER);
  m->device->to_host(m->device, half, values, count * sizeof *half);
  for (size_t i = 0; i < count; i++) {
    wanted[i] = m->type == ZERO_BF16 ? zero_bf16_to_f32(half[i]) : zero_f16_to_f32(half[i]);
  }
  zero_free(half);
}

BertLoss bert_forward(Bert *m, const BertBatch *host_batch, const BertOutputs *outputs) {
  static const BertOutputs nothing = {NULL, NULL, NULL, NULL, NULL};
  const BertOutputs *o = outputs ? outputs : &nothing;
  const BertBatch batch = bert_batch_to_device(m, host_batch);
  const BertPass pass = {m, &batch, 0, 0};
  BertHead *h = &m->head;
  const ZeroGrad none = {NULL, ZERO_F32, 0};
  const size_t M = host_batch->M, B = host_batch->parts.count;
  const size_t masked_bytes = M * m->config.vocab_size * sizeof(float),
               label_bytes = B * bert_labels(m) * sizeof(float);
  const int regression = bert_is_regression(m), masked = bert_has(m, BERT_MLMW), labels = bert_has(m, BERT_POOLW);
  const void *embeddings = bert_trunk(&pass);
  const void *p = zero_get(m->engine, m->head_unit);
  bert_head_forward(&pass, p);
  h->masked_logits = masked ? result_memory(m, o->masked_logits, masked_bytes) : NULL;
  h->label_logits = labels && !regression ? result_memory(m, o->label_logits, label_bytes) : NULL;
  bert_head_losses(&pass, embeddings, p, NULL, none, none);
  zero_release(m->engine, m->head_unit);
  zero_release(m->engine, 0);
  if (h->masked_logits) result_to_host(m, o->masked_logits, h->masked_logits, masked_bytes);
  if (h->label_logits) result_to_host(m, o->label_logits, h->label_logits, label_bytes);
  h->masked_logits = h->label_logits = NULL;
  if (masked) numbers_to_host(m, o->masked_best, h->masked_best, M);
  if (labels && !regression) numbers_to_host(m, o->label_best, h->label_best, B);
  if (regression && o->label_logits) values_to_host(m, o->label_logits, h->value, B);
  if (o->hidden) {
    values_to_host(m, o->hidden, m->blocks[m->config.num_layers - 1].x2, host_batch->N * m->config.channels);
  }
  BertLoss loss;
  bert_take_losses(&pass, &loss);
  bert_finish(m);
  return loss;
}
