// ZeRO for any C trainer: AdamW states, gradients and parameters sharded over the ranks of a job
// (Rajbhandari et al., arXiv 1910.02054). This header is the plug-in's whole public face.
//
// A model describes itself as units: the groups of tensors that are gathered and reduced together, e.g. the
// embeddings, each transformer block, the final norm. Around each unit it then makes the same calls at every
// stage, on every rank, in the same order:
//
//   for each micro-step k:      zero_micro_begin(e, k, k == last)
//     forward, unit by unit:    zero_gather(next)  p = zero_get(u)  …compute…  zero_release(u)
//     backward, unit by unit:   the same, and      g = zero_grad(u) …write…    zero_grad_done(u)
//   once per step:              zero_step(e, lr), or zero_norm, a decision, then zero_apply or zero_skip
//
// The engine sums gradients over ranks and micro-steps; it never averages: the loss gradient already carries
// loss_scale / (targets in the global batch). zero/README.md walks through the code.
#ifndef ZERO_H
#define ZERO_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "comm.h"
#include "device.h"
#include "error.h"
#include "loss_scaler.h"
#include "memory.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------- what a model looks like
enum { ZERO_MAX_DIMS = 4 };
enum { ZERO_NO_DECAY = 1u };   // ZeroTensor.flags: no weight decay
enum { ZERO_OWN_BUFFER = 1u }; // ZeroUnit.flags: gradient and gather buffers of its own

typedef struct {
  const char *name;
  int ndim;
  size_t shape[ZERO_MAX_DIMS];
  unsigned flags;
} ZeroTensor;

typedef struct {
  const char *name;
  int num_tensors;
  const ZeroTensor *tensors;
  unsigned flags;
} ZeroUnit;

// ---------------------------------------------------------------- configuration
typedef struct {
  int stage;           // 0 plain data parallel, 1 + optimizer states, 2 + gradients, 3 + parameters sharded
  ZeroType type;       // compute type: parameters and activations
  ZeroType wire;       // type in which gradients travel (communication_data_type)
  ZeroType accumulate; // type in which they are accumulated (data_types.grad_accum_dtype)
  int deterministic;   // 1: reduce at every micro-step in rank order, so that bits do not depend on ranks
  double beta1, beta2; // AdamW
  double eps;
  double weight_decay;          // on tensors without ZERO_NO_DECAY
  int l2;                       // 1: Adam with weight decay as an L2 penalty in the gradient, not AdamW
  int no_bias_correction;       // 1: the moments are used without correction
  int decay_all;                // 1: on every tensor, flagged or not
  double clip;                  // largest global gradient norm; 0: off
  ZeroLossScaling loss_scaling; // fp16 only
  int stochastic_rounding;      // 1: steps round the parameters of a half type stochastically; fp32 has none to round
  uint64_t seed;                // of the numbers drawn for it
} ZeroConfig;

void zero_config_default(ZeroConfig *); // stage 0, fp32, deterministic, betas .9/.95, eps 1e-8, clip 1;
                                        // dynamic loss scale from 2^16, window 1000, hysteresis 2, at least 1
// Adds one error for each value that cannot work.
void zero_config_check(const ZeroConfig *, ZeroErrors *);

// ---------------------------------------------------------------- life of an engine
typedef enum { ZERO_MASTER, ZERO_EXP_AVG, ZERO_EXP_AVG_SQ, ZERO_GRADIENT } ZeroKind;
typedef struct ZeroEngine ZeroEngine;

// Collective. Copies the description; allocates all model state and buffers, zeroed.
ZeroEngine *zero_initialize(const ZeroConfig *, const ZeroUnit *, int num_units, ZeroComm *, ZeroDevice *);
void zero_destroy(ZeroEngine *); // collective; the communicator and device stay the caller's

// First element of a tensor in its unit's flat buffer.
size_t zero_offset(const ZeroEngine *, int unit, int tensor);
// Parameter elements in all (Psi), without alignment.
size_t zero_num_parameters(const ZeroEngine *);

// Calls fn for each piece of each tensor that this rank keeps; fn writes elements [first, first + count) of
// the tensor to out. Collective: master weights are published to the ranks that hold copies. MASTER, EXP_AVG
// and EXP_AVG_SQ only.
typedef void ZeroFill(void *ctx, int unit, int tensor, size_t first, size_t count, float *out);
void zero_fill(ZeroEngine *, ZeroKind, ZeroFill *fn, void *ctx);
// Collective; the whole tensor to `out` on rank 0 (others may pass NULL), in bounded pieces. ZERO_GRADIENT:
// the unscaled, unclipped sum, between zero_norm and zero_apply / zero_skip.
void zero_read(ZeroEngine *, ZeroKind, int unit, int tensor, float *out);

// On resume. Collective: with stochastic rounding the parameters become those that these steps had left.
void zero_set_steps(ZeroEngine *, size_t applied, size_t skipped);
size_t zero_steps_applied(const ZeroEngine *);
size_t zero_steps_skipped(const ZeroEngine *);

// Collective; the same value on all ranks: XXH3-64 over master weights, exp_avg, exp_avg_sq, in that order,
// unit by unit, tensor by tensor, real elements only.
uint64_t zero_state_hash(ZeroEngine *);

// ---------------------------------------------------------------- parameters
void zero_gather(ZeroEngine *, int unit);     // begin fetching (prefetch); may be left out
const void *zero_get(ZeroEngine *, int unit); // its flat buffer, compute type, valid until released; counted
void zero_release(ZeroEngine *, int unit);    // once per zero_get

// ---------------------------------------------------------------- gradients
// Where a unit's full gradient of this micro-step is written. accumulate 0: the first writer of each tensor
// overwrites the whole tensor; 1: all writers add. Calling zero_grad again before zero_grad_done returns the
// same buffer.
typedef struct {
  void *data;
  ZeroType type;
  int accumulate;
} ZeroGrad;

void zero_micro_begin(ZeroEngine *, int k, int last); // accumulation step k; last one of the global batch?
ZeroGrad zero_grad(ZeroEngine *, int unit);
void zero_grad_done(ZeroEngine *, int unit); // once per unit and micro-step, after its last writer

// What the loss gradient is multiplied with in this step: 1 but in fp16.
float zero_loss_scale(const ZeroEngine *);
// The scaler's whole state, for checkpoints.
ZeroLossScaler zero_scaler(const ZeroEngine *);
void zero_set_scaler(ZeroEngine *, const ZeroLossScaler *);
// values: this rank's n figures of micro-steps 0 … n-1. Their sum over all ranks in the order of global
// micro-batches (m = k * ranks + rank): the same value on all ranks, whatever their number. Collective.
double zero_sum_ordered(ZeroEngine *, const double *values, int n);
// The same of several kinds of figures in one message: values (kinds, n), sums (kinds).
void zero_sums_ordered(ZeroEngine *, const double *values, int kinds, int n, double *sums);

// ---------------------------------------------------------------- the step
typedef struct {
  double norm;  // global gradient norm, unscaled, before clipping
  int overflow; // some gradient is infinite or NaN
} ZeroNorm;
typedef struct {
  double norm;
  int skipped;    // 1: nothing was changed
  double clipped; // factor that clipping applied, 1 if none
  double scale;   // loss scale that this step's backward used
} ZeroStep;

void zero_set_betas(ZeroEngine *, double beta1, double beta2); // for schedules that move them
ZeroNorm zero_norm(ZeroEngine *);                              // finishes the reductions; then decide:
ZeroStep zero_apply(ZeroEngine *, float lr); // clip, AdamW on this rank's shard, publish the parameters
void zero_skip(ZeroEngine *);                // or drop this step's gradients
ZeroStep zero_step(ZeroEngine *, float lr);  // norm, then apply, or skip on overflow

// ---------------------------------------------------------------- what it costs
// Bytes of model state and buffers by formula, for this rank (zero/README.md, "What it costs").
typedef struct {
  size_t parameters, gradients, optimizer; // model state
  size_t grad_buffers, gather_buffers;     // U and G of the formulas
} ZeroMemoryFormula;
void zero_memory_formula(const ZeroEngine *, ZeroMemoryFormula *);
// Bytes that this rank has sent in all steps so far, by formula with exact shares. Stage 3 counts the gathers of
// the usual order: each unit once in forward, and once more in backward unless it is flagged ZERO_OWN_BUFFER (the
// model keeps those from their first use to their last).
typedef struct {
  uint64_t reduce, gather;
} ZeroTraffic;
void zero_traffic_formula(const ZeroEngine *, ZeroTraffic *);
// The same, as the transport counted it.
void zero_traffic_counted(ZeroEngine *, ZeroTraffic *);

// Collective. The start-up table: paper, formula, allocated; the largest of all ranks.
void zero_print_memory(ZeroEngine *, FILE *);
// Collective. The closing tables: bytes that all ranks sent per step, by the paper, by formula and counted; and
// the processes' own peak.
void zero_print_traffic(ZeroEngine *, FILE *);
void zero_print_peak(ZeroEngine *, FILE *);

#ifdef __cplusplus
}
#endif
#endif
