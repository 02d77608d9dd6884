// Where the time of a training step goes: train_gpt2 with a clock around every operation and every call of the
// engine.
//
// The program is linked as build/bench_times with `--wrap` of the names below: a call from another file comes here
// first. What an operation calls itself counts as part of it. Runs as train_gpt2 does; at the end rank 0 prints, of
// the steps after the first one,
//
//   part NAME CALLS MS       calls and milliseconds of a step
//   part step 1 MS           the whole of it, from one update to the next
#include <stdio.h>
#include <stdlib.h>

#include "llmc/clock.h"
#include "llmc/ops.h"
#include "zero/zero.h"

typedef enum {
  EMBEDDINGS,
  NORM_FORWARD,
  NORM_BACKWARD,
  LINEAR_FORWARD,
  LINEAR_BACKWARD,
  ATTENTION_FORWARD,
  ATTENTION_BACKWARD,
  GELU,
  HEAD,
  PARAMETERS,
  GRADIENTS,
  UPDATE,
  NUM_PARTS
} Part;

static const char *const names[NUM_PARTS] = {"embeddings",         "layernorm_forward", "layernorm_backward",
                                             "linear_forward",     "linear_backward",   "attention_forward",
                                             "attention_backward", "gelu_again",        "head_and_loss",
                                             "gather_parameters",  "sum_gradients",     "norm_and_adamw"};

static struct {
  double seconds[NUM_PARTS];
  size_t calls[NUM_PARTS];
  int depth;          // of calls within each other
  double entered;     // when the outermost one began
  size_t steps;       // updates after the first one
  double first, last; // when the first update and the last one ended
  int main_rank;
} times;

static void enter(void) {
  if (times.depth++ == 0) times.entered = clock_now();
}

static void leave(Part part) {
  if (--times.depth > 0) return;
  times.seconds[part] += clock_now() - times.entered;
  times.calls[part]++;
}

static void print(void) {
  if (!times.main_rank || times.steps == 0) return;
  const double milli = 1e3 / (double)times.steps;
  for (int p = 0; p < NUM_PARTS; p++) {
    printf("part %s %.0f %.6f\n", names[p], (double)times.calls[p] / (double)times.steps, times.seconds[p] * milli);
  }
  printf("part step 1 %.6f\n", (times.last - times.first) * milli);
}

// An operation without a result: its parameters with and without their types.
#define WRAP(part, name, parameters, arguments) \
  void __real_##name parameters;                \
  void __wrap_##name parameters;                \
  void __wrap_##name parameters {               \
    enter();                                    \
    __real_##name arguments;                    \
    leave(part);                                \
  }

WRAP(EMBEDDINGS, encoder_forward,
     (void *out, const int *tokens, const void *wte, const void *wpe, size_t B, size_t T, size_t C, ZeroType type,
      ZeroStream stream),
     (out, tokens, wte, wpe, B, T, C, type, stream))
WRAP(EMBEDDINGS, encoder_backward,
     (OpsGrad dwte, OpsGrad dwpe, const void *dout, const int *tokens, size_t B, size_t T, size_t C, size_t Vp,
      size_t maxT, ZeroType type, void *scratch, ZeroStream stream),
     (dwte, dwpe, dout, tokens, B, T, C, Vp, maxT, type, scratch, stream))
WRAP(NORM_FORWARD, layernorm_forward,
     (void *out, float *mean, float *rstd, const void *inp, const void *weight, const void *bias, size_t N, size_t C,
      float eps, ZeroType type, ZeroStream stream),
     (out, mean, rstd, inp, weight, bias, N, C, eps, type, stream))
WRAP(NORM_FORWARD, fused_residual_layernorm_forward,
     (void *residual, void *out, float *mean, float *rstd, const void *a, const void *b, const void *weight,
      const void *bias, size_t N, size_t C, float eps, ZeroType type, ZeroStream stream),
     (residual, out, mean, rstd, a, b, weight, bias, N, C, eps, type, stream))
WRAP(NORM_BACKWARD, layernorm_backward,
     (void *dinp, OpsGrad dweight, OpsGrad dbias, const void *dout, const void *add, const void *inp,
      const float *mean, const float *rstd, const void *weight, size_t N, size_t C, ZeroType type, void *scratch,
      ZeroStream stream),
     (dinp, dweight, dbias, dout, add, inp, mean, rstd, weight, N, C, type, scratch, stream))
WRAP(LINEAR_FORWARD, matmul_forward,
     (void *out, void *pre, const void *inp, const void *weight, const void *bias, size_t N, size_t C, size_t OC,
      OpsGelu gelu, ZeroType type, ZeroStream stream),
     (out, pre, inp, weight, bias, N, C, OC, gelu, type, stream))
WRAP(LINEAR_BACKWARD, matmul_backward,
     (void *dinp, OpsGrad dweight, OpsGrad dbias, const void *dout, const void *inp, const void *weight,
      const void *pre, OpsGelu gelu, size_t N, size_t C, size_t OC, ZeroType type, void *scratch, ZeroStream stream),
     (dinp, dweight, dbias, dout, inp, weight, pre, gelu, N, C, OC, type, scratch, stream))
WRAP(ATTENTION_FORWARD, attention_forward,
     (void *out, float *lse, const void *qkv, const OpsSequences *sequences, size_t C, size_t NH, int causal,
      const OpsDropout *dropout, ZeroType type, void *scratch, ZeroStream stream),
     (out, lse, qkv, sequences, C, NH, causal, dropout, type, scratch, stream))
WRAP(ATTENTION_BACKWARD, attention_backward,
     (void *dqkv, const void *dout, const void *out, const float *lse, const void *qkv, const OpsSequences *sequences,
      size_t C, size_t NH, int causal, const OpsDropout *dropout, ZeroType type, void *scratch, ZeroStream stream),
     (dqkv, dout, out, lse, qkv, sequences, C, NH, causal, dropout, type, scratch, stream))
WRAP(GELU, gelu_forward, (void *out, const void *inp, size_t count, OpsGelu gelu, ZeroType type, ZeroStream stream),
     (out, inp, count, gelu, type, stream))
WRAP(HEAD, lm_head_loss,
     (float *loss, void *dhidden, OpsGrad dwte, OpsGrad dbias, float *logits, int *best, const void *hidden,
      const void *wte, const void *bias, const int *targets, float grad_scale, size_t N, size_t C, size_t V,
      size_t Vp, ZeroType type, void *scratch, ZeroStream stream),
     (loss, dhidden, dwte, dbias, logits, best, hidden, wte, bias, targets, grad_scale, N, C, V, Vp, type, scratch,
      stream))
WRAP(PARAMETERS, zero_gather, (ZeroEngine * e, int unit), (e, unit))
WRAP(PARAMETERS, zero_release, (ZeroEngine * e, int unit), (e, unit))
WRAP(GRADIENTS, zero_micro_begin, (ZeroEngine * e, int k, int last), (e, k, last))
WRAP(GRADIENTS, zero_grad_done, (ZeroEngine * e, int unit), (e, unit))

// Those with a result.
const void *__real_zero_get(ZeroEngine *e, int unit);
const void *__wrap_zero_get(ZeroEngine *e, int unit);
const void *__wrap_zero_get(ZeroEngine *e, int unit) {
  enter();
  const void *result = __real_zero_get(e, unit);
  leave(PARAMETERS);
  return result;
}

ZeroGrad __real_zero_grad(ZeroEngine *e, int unit);
ZeroGrad __wrap_zero_grad(ZeroEngine *e, int unit);
ZeroGrad __wrap_zero_grad(ZeroEngine *e, int unit) {
  enter();
  const ZeroGrad result = __real_zero_grad(e, unit);
  leave(GRADIENTS);
  return result;
}

ZeroNorm __real_zero_norm(ZeroEngine *e);
ZeroNorm __wrap_zero_norm(ZeroEngine *e);
ZeroNorm __wrap_zero_norm(ZeroEngine *e) {
  enter();
  const ZeroNorm result = __real_zero_norm(e);
  leave(UPDATE);
  return result;
}

ZeroEngine *__real_zero_initialize(const ZeroConfig *config, const ZeroUnit *units, int num_units, ZeroComm *comm,
                                   ZeroDevice *device);
ZeroEngine *__wrap_zero_initialize(const ZeroConfig *config, const ZeroUnit *units, int num_units, ZeroComm *comm,
                                   ZeroDevice *device);
ZeroEngine *__wrap_zero_initialize(const ZeroConfig *config, const ZeroUnit *units, int num_units, ZeroComm *comm,
                                   ZeroDevice *device) {
  times.main_rank = comm->rank == 0;
  if (atexit(print) != 0) zero_fatal("atexit failed: the times of this run could not be printed");
  return __real_zero_initialize(config, units, num_units, comm, device);
}

// An update ends a step. What came before the first one's end does not count: memory is touched and plans are made.
ZeroStep __real_zero_apply(ZeroEngine *e, float lr);
ZeroStep __wrap_zero_apply(ZeroEngine *e, float lr);
ZeroStep __wrap_zero_apply(ZeroEngine *e, float lr) {
  enter();
  const ZeroStep result = __real_zero_apply(e, lr);
  leave(UPDATE);
  times.last = clock_now();
  if (times.first > 0.0) {
    times.steps++;
    return result;
  }
  times.first = times.last;
  for (int p = 0; p < NUM_PARTS; p++) {
    times.seconds[p] = 0.0;
    times.calls[p] = 0;
  }
  return result;
}
