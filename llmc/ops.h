// Every operation of the models, forward and backward. llmc/cpu/ implements them for the CPU and
// llmc/cuda/ for NVIDIA GPUs, one file per layer.
//
// Conventions
//   B sequences of T tokens, C channels, NH heads, V vocabulary, Vp padded vocabulary; N = B*T rows.
//   Tensors are row-major and dense. `type` is the element type of activations and parameters;
//   statistics (mean, rstd, lse) and losses are fp32 or wider in every type; sums are in fp32.
//   Linear weights are (out, in), as in PyTorch.
//   A parameter gradient has its own type, `grad.type` (the wire type, or fp32 where the engine
//   accumulates in place), and grad.accumulate says whether the first writer of a micro-step
//   overwrites (0) or adds (1): see OpsGrad. Adding sums in fp32 and rounds once.
//   The same inputs give the same bits for every number of threads.
//   `scratch` is memory of at least the size that the operation's *_scratch function returns,
//   aligned to 64 bytes; its contents are undefined before and after.
//   Every result is rounded to its type once, where PyTorch with model.to(type) rounds too or more often. (On CUDA
//   some of cuBLASLt's fused kernels round a product once more, before its bias is added.) On the CPU products in
//   fp16, and in bf16 on processors without instructions for it, go through fp32, in memory that the operations hold
//   themselves: see ops_type_notice. Bad arguments end the program: they are the caller's mistake, not the user's.
#ifndef LLMC_OPS_H
#define LLMC_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "../zero/device.h"

#ifdef __cplusplus
extern "C" {
#endif

// NULL, or a line for the user on what computing in this type costs on this machine.
const char *ops_type_notice(ZeroType type);

// A parameter gradient being written. `data` NULL: not wanted.
typedef struct {
  void *data;
  ZeroType type;
  int accumulate; // 0: overwrite the whole tensor, 1: add to it
} OpsGrad;

// ---------------------------------------------------------------- dropout
// By counter: llmc/dropout.h says what is dropped. A NULL pointer or rate 0: no dropout.
typedef struct {
  float rate; // in [0, 1)
  uint64_t seed, step;
  uint32_t site; // where in the model: ops_dropout_site
} OpsDropout;

// Every place that drops has a number of its own, its head in attention another one. Layer 0 is the embeddings' in
// models that drop there.
enum { OPS_SITES_PER_LAYER = 4, OPS_HEAD_BITS = 10, OPS_MAX_HEADS = 1 << OPS_HEAD_BITS };
static inline uint32_t ops_dropout_site(size_t layer, size_t which) {
  return (uint32_t)(layer * OPS_SITES_PER_LAYER + which) << OPS_HEAD_BITS;
}

// out[n, c] = inp[n, c], scaled or dropped by (c, positions[n], samples[n]); inp itself without dropout. out may be
// inp. Called with gradients it is its own backward.
void dropout(void *out,            // (N, C)
             const void *inp,      // (N, C)
             const int *samples,   // (N) number of the row's sequence within the global batch
             const int *positions, // (N) the row's place in its sequence
             size_t N, size_t C, const OpsDropout *dropout, ZeroType type, ZeroStream stream);

// ---------------------------------------------------------------- embeddings
// out[b,t,:] = wte[tokens[b,t],:] + wpe[t,:]
void encoder_forward(void *out,         // (B, T, C)
                     const int *tokens, // (B, T), each in [0, V)
                     const void *wte,   // (Vp, C)
                     const void *wpe,   // (maxT, C), maxT >= T
                     size_t B, size_t T, size_t C, ZeroType type, ZeroStream stream);

// Adds dout's rows to dwte in the order of rows: a row that occurs often is summed in fp32 and rounded
// once (CUDA: in slices of rows, as embedding_backward). dwpe: rows from T to maxT - 1 become 0 when dwpe.accumulate
// is 0 and are left alone otherwise. dwte.accumulate 0 zeroes the rows that no token names (an untied head); tied
// models pass 1.
size_t encoder_backward_scratch(size_t B, size_t T, size_t C);
void encoder_backward(OpsGrad dwte,      // (Vp, C)
                      OpsGrad dwpe,      // (maxT, C)
                      const void *dout,  // (B, T, C)
                      const int *tokens, // (B, T)
                      size_t B, size_t T, size_t C, size_t Vp, size_t maxT, ZeroType type, void *scratch,
                      ZeroStream stream);

// out[n,:] = wte[tokens[n],:] + wpe[positions[n],:] + wtype[types[n],:], rounded once
void embeddings_forward(void *out,                                           // (N, C)
                        const int *tokens,                                   // (N), each a row of wte
                        const int *positions,                                // (N), each a row of wpe
                        const int *types,                                    // (N), each a row of wtype
                        const void *wte, const void *wpe, const void *wtype, // (rows, C) each
                        size_t N, size_t C, ZeroType type, ZeroStream stream);

// dtable[index[n],:] (+)= dout[n,:], summed in the order of rows, in fp32, and rounded once: for a table of tokens,
// of positions or of types. An index that occurs often is summed in slices of a fixed number of its rows, which are
// then added in order. Rows that no index names become 0 when dtable.accumulate is 0.
size_t embedding_backward_scratch(size_t N, size_t C, size_t rows);
void embedding_backward(OpsGrad dtable,   // (rows, C)
                        const void *dout, // (N, C)
                        const int *index, // (N), each in [0, rows), or -1: this row counts for nothing
                        size_t N, size_t C, size_t rows, ZeroType type, void *scratch, ZeroStream stream);

// ---------------------------------------------------------------- rows by number
// out[m,:] = inp[index[m],:], or zeros where the index is -1. out may not be inp.
void gather_rows(void *out,        // (M, C)
                 const void *inp,  // (N, C)
                 const int *index, // (M), each in [0, N) or -1
                 size_t M, size_t N, size_t C, ZeroType type, ZeroStream stream);

// The backward of gather_rows where no row is named twice: out[index[m],:] = inp[m,:], every other row becomes 0.
void scatter_rows(void *out,        // (N, C)
                  const void *inp,  // (M, C)
                  const int *index, // (M), each in [0, N) and only once, or -1: the row goes nowhere
                  size_t M, size_t N, size_t C, ZeroType type, ZeroStream stream);

// ---------------------------------------------------------------- LayerNorm (arXiv 1607.06450)
void layernorm_forward(void *out,                                             // (N, C)
                       float *mean,                                           // (N)
                       float *rstd,                                           // (N)
                       const void *inp, const void *weight, const void *bias, // (N, C), (C), (C)
                       size_t N, size_t C, float eps, ZeroType type, ZeroStream stream);

// residual = a + b; out = layernorm(residual), in one pass. residual may be a or b.
void fused_residual_layernorm_forward(void *residual,                       // (N, C)
                                      void *out,                            // (N, C)
                                      float *mean, float *rstd,             // (N)
                                      const void *a, const void *b,         // (N, C)
                                      const void *weight, const void *bias, // (C)
                                      size_t N, size_t C, float eps, ZeroType type, ZeroStream stream);

// dinp = (add ? add : 0) + the gradient through the norm. `add` carries the residual branch's gradient,
// may be NULL and may be dinp itself. mean and rstd come from forward, inp is the norm's input.
size_t layernorm_backward_scratch(size_t N, size_t C);
void layernorm_backward(void *dinp,                           // (N, C)
                        OpsGrad dweight, OpsGrad dbias,       // (C)
                        const void *dout,                     // (N, C)
                        const void *add,                      // (N, C) or NULL
                        const void *inp,                      // (N, C)
                        const float *mean, const float *rstd, // (N)
                        const void *weight,                   // (C)
                        size_t N, size_t C, ZeroType type, void *scratch, ZeroStream stream);

// ---------------------------------------------------------------- linear layers
// GELU (arXiv 1606.08415): x times the normal distribution at x, by the error function or by tanh.
typedef enum { OPS_NO_GELU, OPS_GELU, OPS_GELU_ERF } OpsGelu; // OPS_GELU: the tanh form

// out = inp * weight^T + bias. With gelu: pre keeps that value and out = gelu(pre); without, pre must be NULL.
// bias may be NULL. pre may not be out.
void matmul_forward(void *out,          // (N, OC)
                    void *pre,          // (N, OC) or NULL
                    const void *inp,    // (N, C)
                    const void *weight, // (OC, C)
                    const void *bias,   // (OC) or NULL
                    size_t N, size_t C, size_t OC, OpsGelu gelu, ZeroType type, ZeroStream stream);

// dinp = dout * weight, times gelu'(pre) where pre is given (inp was gelu(pre)); dinp NULL: not wanted. `gelu` is
// OPS_NO_GELU exactly where pre is NULL.
// dweight = dout^T * inp; dbias = column sums of dout. Row sums run in fixed slices, added in order.
// grad_type of the scratch: dweight's, or any half type where it may be fp32 or half.
size_t matmul_backward_scratch(size_t N, size_t C, size_t OC, ZeroType grad_type);
void matmul_backward(void *dinp,                     // (N, C) or NULL
                     OpsGrad dweight, OpsGrad dbias, // (OC, C), (OC)
                     const void *dout,               // (N, OC)
                     const void *inp,                // (N, C)
                     const void *weight,             // (OC, C)
                     const void *pre,                // (N, C) or NULL
                     OpsGelu gelu, size_t N, size_t C, size_t OC, ZeroType type, void *scratch, ZeroStream stream);

// ---------------------------------------------------------------- attention
// Where the sequences of a batch lie in its rows: side by side at their full width, padded, or packed one behind the
// other. Rows that are in no sequence are padding. The arrays are read where the operation runs (CUDA: the GPU's
// memory, so trusted there; on the CPU what is wrong in them ends the program).
typedef struct {
  size_t count;       // sequences
  size_t longest;     // no sequence is longer: T of a dense batch
  size_t rows;        // N: rows of the tensors; count * longest where starts is NULL
  const int *starts;  // (count) first row of each, ascending, or NULL: sequence b starts at row b * longest
  const int *lengths; // (count), 0 allowed, or NULL: all `longest`
  const int *samples; // (count) number within the global batch, for dropout: NULL without
} OpsSequences;

// B sequences of T tokens each.
static inline OpsSequences ops_dense(size_t B, size_t T) {
  OpsSequences dense = {B, T, B * T, NULL, NULL, NULL};
  return dense;
}

// Multi-head scaled dot product, tiled with a running softmax (FlashAttention, arXiv 2205.14135): the T x T scores
// are never stored. qkv holds q, k, v of a row side by side, heads inside each. causal 0: every position sees every
// position of its sequence. Padding gives rows of 0 and costs nothing else. CUDA: heads of at most 128 channels,
// at most 65,534 sequences.
// lse: log-sum-exp of the scaled scores of sequence b, head h, position t, at lse[NH * start + h * span + t] with
// span `longest` where starts is NULL, else the sequence's length: (B, NH, T) of a dense batch. Those of padding are
// left alone.
// Dropout (NULL or rate 0: none) acts on the weights after the softmax, as PyTorch's: lse does not see it. Head h
// draws from site + h, with the key's position as the element (dropout.h). A sequence gets the same bits in `out` and
// dqkv padded or packed, wherever its rows are.
// The scratch for `count` sequences of `longest` serves fewer and shorter ones too, with or without dropout.
size_t attention_forward_scratch(const OpsSequences *sequences, size_t C, size_t NH, int causal, ZeroType type);
void attention_forward(void *out,       // (N, C)
                       float *lse,      // (NH * N)
                       const void *qkv, // (N, 3C)
                       const OpsSequences *sequences, size_t C, size_t NH, int causal, const OpsDropout *dropout,
                       ZeroType type, void *scratch, ZeroStream stream);

// The same sequences and dropout as in forward. Rows of padding get gradient 0.
size_t attention_backward_scratch(const OpsSequences *sequences, size_t C, size_t NH, int causal, ZeroType type);
void attention_backward(void *dqkv,                        // (N, 3C)
                        const void *dout, const void *out, // (N, C)
                        const float *lse,                  // (NH * N)
                        const void *qkv,                   // (N, 3C)
                        const OpsSequences *sequences, size_t C, size_t NH, int causal, const OpsDropout *dropout,
                        ZeroType type, void *scratch, ZeroStream stream);

// ---------------------------------------------------------------- the language-model head
#define OPS_IGNORE (-1) // a target that counts for nothing: its loss is 0 and its gradients too

// Projection onto the vocabulary, softmax, cross-entropy and all their gradients, in blocks of rows, so
// that the (N, Vp) logits are never whole in memory. loss[n] = -log softmax(hidden[n] * wte^T + bias)[target],
// over the V real entries; columns V to Vp - 1 have probability 0 and gradient 0. A classifier is the same
// with labels for words: V may be as few as 2, and Vp may be V.
// dhidden = grad_scale * dloss/dhidden, dwte and dbias likewise (rows V to Vp - 1 get 0 when overwriting).
// The bias joins the logits in fp32; its gradient sums fixed slices of rows, added in order.
// best, where wanted: the entry with the largest logit, the lowest of equal ones, also in rows to be ignored.
// dhidden, dwte.data and dbias.data NULL: forward only. logits NULL, or (N, V) for tests and predictions.
// grad_type of the scratch: dwte's, or any half type where it may be fp32 or half.
size_t lm_head_loss_scratch(size_t N, size_t C, size_t Vp, ZeroType type, ZeroType grad_type);
void lm_head_loss(float *loss,        // (N)
                  void *dhidden,      // (N, C) or NULL
                  OpsGrad dwte,       // (Vp, C)
                  OpsGrad dbias,      // (Vp); data NULL where bias is
                  float *logits,      // (N, V) or NULL
                  int *best,          // (N) or NULL
                  const void *hidden, // (N, C)
                  const void *wte,    // (Vp, C)
                  const void *bias,   // (Vp) or NULL
                  const int *targets, // (N): [0, V) or OPS_IGNORE
                  float grad_scale, size_t N, size_t C, size_t V, size_t Vp, ZeroType type, void *scratch,
                  ZeroStream stream);

// logits[n] = hidden[n] * wte^T over the V real entries, for sampling.
size_t lm_head_logits_scratch(size_t N, size_t C, size_t Vp, ZeroType type);
void lm_head_logits(float *logits,      // (N, V)
                    const void *hidden, // (N, C)
                    const void *wte,    // (Vp, C)
                    size_t N, size_t C, size_t V, size_t Vp, ZeroType type, void *scratch, ZeroStream stream);

// ---------------------------------------------------------------- the head of a regression
// loss[n] = (out[n] - targets[n])^2; dout[n] = grad_scale * dloss/dout.
void squared_error(float *loss,          // (N)
                   void *dout,           // (N) or NULL: not wanted; may be out
                   const void *out,      // (N)
                   const float *targets, // (N)
                   float grad_scale, size_t N, ZeroType type, ZeroStream stream);

// ---------------------------------------------------------------- elementwise, where nothing to fuse with
// gelu: OPS_GELU or OPS_GELU_ERF. Results may lie where the operands do.
void gelu_forward(void *out, const void *inp, size_t count, OpsGelu gelu, ZeroType type, ZeroStream stream);
void gelu_backward(void *dinp, const void *dout, const void *inp, size_t count, OpsGelu gelu, ZeroType type,
                   ZeroStream stream);
void tanh_forward(void *out, const void *inp, size_t count, ZeroType type, ZeroStream stream);
// dinp = dout (1 - out^2), with out from tanh_forward
void tanh_backward(void *dinp, const void *dout, const void *out, size_t count, ZeroType type, ZeroStream stream);
void residual_add(void *out, const void *a, const void *b, size_t count, ZeroType type, ZeroStream stream);

// ---------------------------------------------------------------- the yardstick
// FLOP/s of this process's matrix multiply (all its threads) at n rows, k inputs, m outputs: the best of
// as many runs as fit into `seconds`, at least one.
double matmul_peak(size_t n, size_t k, size_t m, ZeroType type, double seconds);

#ifdef __cplusplus
}
#endif
#endif
