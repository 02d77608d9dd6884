// Attention through cuDNN's fused kernels: when they serve, and their calls. Built with USE_CUDNN=1 only; without it
// every call goes to the own kernels.
//
// ZERO_ATTENTION=own forces the own kernels, ZERO_ATTENTION=cudnn is an error where cuDNN cannot serve, both as
// ZERO_COMM does. By itself a program takes cuDNN wherever it serves.
#ifndef LLMC_CUDA_ATTENTION_CUDNN_H
#define LLMC_CUDA_ATTENTION_CUDNN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../zero/error.h"
#include "../ops.h"

#ifdef USE_CUDNN
enum { ATTENTION_CUDNN_BUILT = 1 };
#else
enum { ATTENTION_CUDNN_BUILT = 0 };
#endif

// cuDNN's limits: channels of a head, alignment of tensors in bytes.
enum { CUDNN_HEAD_MULTIPLE = 8, CUDNN_LARGEST_HEAD = 128, CUDNN_ALIGNMENT = 16 };

typedef struct {
  ZeroType type;
  size_t B, T, C, NH;
  int causal, dense, drops; // dense: B sequences of T rows each; drops: with dropout
  uintptr_t addresses;      // of all tensors, combined by |
} AttentionCall;

static inline AttentionCall attention_call(const OpsSequences *sequences, size_t C, size_t NH, int causal,
                                           const OpsDropout *dropout, ZeroType type, uintptr_t addresses) {
  const OpsSequences *s = sequences;
  const AttentionCall call = {type,
                              s->count,
                              s->longest,
                              C,
                              NH,
                              causal,
                              s->starts == NULL && s->lengths == NULL,
                              dropout != NULL && dropout->rate != 0,
                              addresses};
  return call;
}

// NULL, or why cuDNN cannot serve this call.
static inline const char *attention_cudnn_refuses(const AttentionCall *call) {
  if (!ATTENTION_CUDNN_BUILT) return "this program was built without USE_CUDNN=1";
  if (call->type != ZERO_BF16 && call->type != ZERO_F16) return "it takes bf16 and fp16 only";
  if (call->NH == 0 || call->C % call->NH != 0) return "the heads are not equal";
  const size_t head = call->C / call->NH;
  if (head % CUDNN_HEAD_MULTIPLE != 0 || head > CUDNN_LARGEST_HEAD) {
    return "it takes heads of a multiple of 8 channels, at most 128";
  }
  // A sequence is to have the same bits in a batch that is padded, packed or dense, so all of a bidirectional model's
  // go to the own kernels.
  if (!call->causal) return "it is used with a causal mask only";
  if (!call->dense) return "it is not used with padded or packed sequences";
  if (call->drops) return "its dropout would not be the own kernels'";
  if (call->T < 2) return "it takes sequences of at least 2 tokens";
  if (call->addresses % CUDNN_ALIGNMENT != 0) return "it takes tensors aligned to 16 bytes";
  return NULL;
}

// Whether cuDNN serves the call. wanted: NULL, "own" or "cudnn". Any other word, or cuDNN where it cannot serve, ends
// the program.
static inline int attention_chooses_cudnn(const char *wanted, const AttentionCall *call) {
  if (wanted != NULL && strcmp(wanted, "own") == 0) return 0;
  if (wanted != NULL && strcmp(wanted, "cudnn") != 0) {
    zero_fatal("ZERO_ATTENTION: found '%s', expected own or cudnn", wanted);
  }
  const char *refusal = attention_cudnn_refuses(call);
  if (refusal != NULL && wanted != NULL) {
    zero_fatal("ZERO_ATTENTION: cudnn cannot serve %s with T %zu, C %zu, NH %zu: %s; unset it or use own",
               zero_type_name(call->type), call->T, call->C, call->NH, refusal);
  }
  return refusal == NULL;
}

static inline int attention_uses_cudnn(const AttentionCall *call) {
  return attention_chooses_cudnn(getenv("ZERO_ATTENTION"), call);
}

// What follows is there with USE_CUDNN=1 only.
#ifdef __cplusplus
extern "C" {
#endif

// As attention_forward and attention_backward in ops.h, for calls that cuDNN serves. Backward's sums have a fixed
// order. A shape that cuDNN turns down all the same ends the program with cuDNN's words.
void attention_cudnn_forward(void *out, float *lse, const void *qkv, const AttentionCall *call, ZeroStream stream);
void attention_cudnn_backward(void *dqkv, const void *dout, const void *out, const float *lse, const void *qkv,
                              const AttentionCall *call, ZeroStream stream);
// As 91900.
size_t attention_cudnn_version(void);
// Whether cuDNN has an engine for the call on a GPU that need not be there: `gpu` is its description in cuDNN's JSON.
// Returns bytes of workspace, or -1 with cuDNN's words in problem.
int64_t attention_cudnn_plan_for(const char *gpu, const AttentionCall *call, int backward, char *problem,
                                 size_t problem_bytes);

#ifdef __cplusplus
}
#endif

// "cuDNN 9.19" or "own kernels": what a model's causal attention will use, with dropout or without. text holds
// ATTENTION_NAME_BYTES.
enum { ATTENTION_NAME_BYTES = 64 };
static inline const char *attention_name(ZeroType type, size_t B, size_t T, size_t C, size_t NH, int drops,
                                         char *text) {
  const AttentionCall call = {type, B, T, C, NH, 1, 1, drops, 0};
  const int cudnn = attention_uses_cudnn(&call);
  snprintf(text, ATTENTION_NAME_BYTES, "own kernels");
#ifdef USE_CUDNN
  const size_t version = attention_cudnn_version();
  if (cudnn) snprintf(text, ATTENTION_NAME_BYTES, "cuDNN %zu.%zu", version / 10000, version / 100 % 100);
#else
  (void)cudnn;
#endif
  return text;
}

#endif
