// BERT's backward pass. m->dres is the gradient of what a block gives; below each LayerNorm it splits into the branch
// and the residual, which is added to the branch's where both come from.
#include "bert_model.h"
#include "bert_pass.h"

static void block_backward(const BertPass *pass, size_t l, const void *p, ZeroGrad g) {
  Bert *m = pass->m;
  const BertConfig *c = &m->config;
  BertBlock *a = &m->blocks[l];
  ZeroStream s = m->device->stream;
  const size_t N = pass->batch->N, C = c->channels, H = c->hidden, layer = 1 + l;
  const int u = 1 + (int)l;
  const void *x = l == 0 ? m->x0 : m->blocks[l - 1].x2;
  const OpsDropout weights = bert_dropout(pass, m->dropout.attention, layer, BERT_DROP_WEIGHTS);
  if (m->recompute >= RECOMPUTE_BLOCK && l + 1 < c->num_layers)
    bert_block_forward(pass, l, p); // the last's are there

  layernorm_backward(m->dtmp, bert_grad(m, g, u, BERT_LN2W), bert_grad(m, g, u, BERT_LN2B), m->dres, NULL, a->res2,
                     a->mean2, a->rstd2, bert_param(m, p, u, BERT_LN2W), N, C, m->type, m->scratch, s);
  const void *branch = bert_drop_rows(pass, m->ddrop, m->dtmp, layer, BERT_DROP_SECOND);
  if (m->recompute == RECOMPUTE_GELU) gelu_forward(a->fc, a->fc_pre, N * H, OPS_GELU_ERF, m->type, s);
  matmul_backward(m->dwide, bert_grad(m, g, u, BERT_FCPROJW), bert_grad(m, g, u, BERT_FCPROJB), branch, a->fc,
                  bert_param(m, p, u, BERT_FCPROJW), a->fc_pre, OPS_GELU_ERF, N, H, C, m->type, m->scratch, s);
  matmul_backward(m->dres, bert_grad(m, g, u, BERT_FCW), bert_grad(m, g, u, BERT_FCB), m->dwide, a->x1,
                  bert_param(m, p, u, BERT_FCW), NULL, OPS_NO_GELU, N, C, H, m->type, m->scratch, s);
  residual_add(m->dres, m->dres, m->dtmp, N * C, m->type, s);

  layernorm_backward(m->dtmp, bert_grad(m, g, u, BERT_LN1W), bert_grad(m, g, u, BERT_LN1B), m->dres, NULL, a->res1,
                     a->mean1, a->rstd1, bert_param(m, p, u, BERT_LN1W), N, C, m->type, m->scratch, s);
  branch = bert_drop_rows(pass, m->ddrop, m->dtmp, layer, BERT_DROP_FIRST);
  matmul_backward(m->dres, bert_grad(m, g, u, BERT_ATTPROJW), bert_grad(m, g, u, BERT_ATTPROJB), branch, a->att,
                  bert_param(m, p, u, BERT_ATTPROJW), NULL, OPS_NO_GELU, N, C, C, m->type, m->scratch, s);
  attention_backward(m->dwide, m->dres, a->att, a->lse, a->qkv, &pass->batch->parts, C, c->num_heads, 0, &weights,
                     m->type, m->scratch, s);
  matmul_backward(m->dres, bert_grad(m, g, u, BERT_QKVW), bert_grad(m, g, u, BERT_QKVB), m->dwide, x,
                  bert_param(m, p, u, BERT_QKVW), NULL, OPS_NO_GELU, N, C, 3 * C, m->type, m->scratch, s);
  residual_add(m->dres, m->dres, m->dtmp, N * C, m->type, s);
}

// From head.dnorm to the rows of the last block's output, (N, C) at `out`; every other row becomes 0.
static void masked_backward(const BertPass *pass, void *out, const void *p, ZeroGrad g) {
  Bert *m = pass->m;
  BertHead *h = &m->head;
  ZeroStream s = m->device->stream;
  const size_t M = pass->batch->M, C = m->config.channels;
  const int u = m->head_unit;
  layernorm_backward(h->dact, bert_grad(m, g, u, BERT_MLMLNW), bert_grad(m, g, u, BERT_MLMLNB), h->dnorm, NULL,
                     h->act, h->mean, h->rstd, bert_param(m, p, u, BERT_MLMLNW), M, C, m->type, m->scratch, s);
  gelu_backward(h->dact, h->dact, h->pre, M * C, OPS_GELU_ERF, m->type, s);
  void *dgathered = h->dnorm;
  matmul_backward(dgathered, bert_grad(m, g, u, BERT_MLMW), bert_grad(m, g, u, BERT_MLMB), h->dact, h->gathered,
                  bert_param(m, p, u, BERT_MLMW), NULL, OPS_NO_GELU, M, C, C, m->type, m->scratch, s);
  scatter_rows(out, dgathered, pass->batch->masked_rows, M, pass->batch->N, C, m->type, s);
}

// The same from head.dpooled, the gradient of head.dropped.
static void pooler_backward(const BertPass *pass, void *out, const void *p, ZeroGrad g) {
  Bert *m = pass->m;
  BertHead *h = &m->head;
  ZeroStream s = m->device->stream;
  const BertBatch *b = pass->batch;
  const size_t B = b->parts.count, C = m->config.channels;
  const int u = m->head_unit;
  const OpsDropout d = bert_dropout(pass, m->config.num_labels > 0 ? m->dropout.classifier : 0.0f,
                                    1 + m->config.num_layers, BERT_DROP_FIRST);
  dropout(h->dpooled, h->dpooled, b->parts.samples, h->zeros, B, C, &d, m->type, s);
  tanh_backward(h->dpooled, h->dpooled, h->pooled, B * C, m->type, s);
  matmul_backward(h->dfirst, bert_grad(m, g, u, BERT_POOLW), bert_grad(m, g, u, BERT_POOLB), h->dpooled, h->first,
                  bert_param(m, p, u, BERT_POOLW), NULL, OPS_NO_GELU, B, C, C, m->type, m->scratch, s);
  scatter_rows(out, h->dfirst, b->first_rows, B, b->N, C, m->type, s);
}

static void head_backward(const BertPass *pass, const void *p, ZeroGrad g) {
  Bert *m = pass->m;
  const int masked = bert_has(m, BERT_MLMW), pooled = bert_has(m, BERT_POOLW);
  if (masked) masked_backward(pass, m->dres, p, g);
  if (pooled) pooler_backward(pass, masked ? m->dtmp : m->dres, p, g);
  if (masked && pooled) {
    residual_add(m->dres, m->dres, m->dtmp, pass->batch->N * m->config.channels, m->type, m->device->stream);
  }
}

static void embeddings_backward(const BertPass *pass, const void *p, ZeroGrad g) {
  Bert *m = pass->m;
  const BertConfig *c = &m->config;
  ZeroStream s = m->device->stream;
  const BertBatch *b = pass->batch;
  const size_t N = b->N, C = c->channels;
  const void *dx = bert_drop_rows(pass, m->dres, m->dres, 0, BERT_DROP_FIRST);
  layernorm_backward(m->dtmp, bert_grad(m, g, 0, BERT_LNEW), bert_grad(m, g, 0, BERT_LNEB), dx, NULL, m->embedded,
                     m->mean0, m->rstd0, bert_param(m, p, 0, BERT_LNEW), N, C, m->type, m->scratch, s);
  OpsGrad dwte = bert_grad(m, g, 0, BERT_WTE);
  if (bert_has(m, BERT_MLMW)) dwte.accumulate = 1; // the head has written it
  embedding_backward(dwte, m->dtmp, b->tokens, N, C, c->padded_vocab_size, m->type, m->scratch, s);
  embedding_backward(bert_grad(m, g, 0, BERT_WPE), m->dtmp, b->positions, N, C, c->max_positions, m->type, m->scratch,
                     s);
  embedding_backward(bert_grad(m, g, 0, BERT_WTYPE), m->dtmp, b->types, N, C, c->type_vocab, m->type, m->scratch, s);
}

// The embeddings' gradient is opened at the head, where they are tied to it, and closed after their own backward: it
// travels once.
void bert_forward_backward(Bert *m, const BertBatch *host_batch, BertCounts counts, uint64_t step, BertLoss *loss) {
  ZeroEngine *e = m->engine;
  const BertBatch batch = bert_batch_to_device(m, host_batch);
  const BertPass pass = {m, &batch, 1, step};
  const void *embeddings = bert_trunk(&pass);
  int u = m->head_unit;
  const void *p = zero_get(e, u);
  zero_gather(e, u - 1);
  bert_head_forward(&pass, p);
  const ZeroGrad ge = zero_grad(e, 0);
  ZeroGrad g = zero_grad(e, u);
  bert_head_losses(&pass, embeddings, p, &counts, ge, g);
  head_backward(&pass, p, g);
  zero_grad_done(e, u);
  zero_release(e, u);
  while (--u > 0) {
    p = zero_get(e, u);
    if (u > 1) zero_gather(e, u - 1);
    g = zero_grad(e, u);
    block_backward(&pass, (size_t)u - 1, p, g);
    zero_grad_done(e, u);
    zero_release(e, u);
  }
  embeddings_backward(&pass, embeddings, ge);
  zero_grad_done(e, 0);
  zero_release(e, 0);
  bert_take_losses(&pass, loss);
}
