// The engine's inside: shared by engine.c (life), shards.c (the list of what is kept), state.c (fill, read, hash),
// parameters.c (gather, get, release), gradients.c (buffers, reductions), step.c (norm, AdamW, publish), report.c
// (what it costs) and call_checker.c.
#ifndef ZERO_ENGINE_H
#define ZERO_ENGINE_H

#include "partition.h"
#include "zero.h"

enum { SHARED_SLOTS = 2 }; // buffers that all units without one of their own take turns in
enum { NO_UNIT = -1 };

typedef struct {
  const char *name;
  unsigned flags;
  ZeroLayout layout;
  size_t own_lo, own_hi;   // what this rank owns, elements of the flat buffer
  size_t keep_lo, keep_hi; // whose moments it keeps: all at stage 0, else its own
  size_t acc_lo, acc_hi;   // whose gradients it accumulates: the same, but all with local accumulation

  // Parameters in the compute type. Stages 0-2: `params` is the whole unit; stage 3: this rank's own part. In fp32
  // `master` points into them; in the half types it is memory of its own.
  void *params;
  float *master;     // (keep_hi - keep_lo)
  float *exp_avg;    // (keep_hi - keep_lo)
  float *exp_avg_sq; // (keep_hi - keep_lo)
  void *accumulated; // (acc_hi - acc_lo) gradients, in the accumulation type: summed over micro-steps, and over
                     // ranks in the own range once the reductions have finished

  // Gathered parameters, stage 3.
  void *gather_buffer; // its own, or a shared slot's while it holds one
  int gather_slot;     // NO_UNIT: none
  int gets;            // zero_get minus zero_release
  int gathering, gathered;
  ZeroGather gather;

  // The gradient of this micro-step.
  void *grad_buffer; // its own (ZERO_OWN_BUFFER, and every unit at stage 1), or the slot it was given
  int grad_open;
  int grads_done; // zero_grad_done since the step began
  ZeroReduce reduce;
} Unit;

struct ZeroEngine {
  ZeroConfig config;
  ZeroComm *comm;
  ZeroDevice *device;
  int num_units;
  Unit *units;
  size_t num_parameters;
  ZeroLossScaler scaler;
  size_t applied, skipped;                           // steps of the run, an earlier part of it included
  size_t steps_here, applied_here, micro_steps_here; // since this engine was made, for the traffic table

  void *gather_slots[SHARED_SLOTS];
  int gather_slot_unit[SHARED_SLOTS]; // who holds it, or NO_UNIT
  void *grad_slots[SHARED_SLOTS];
  int grad_slot_unit[SHARED_SLOTS]; // who used it last, or NO_UNIT
  int next_grad_slot;
  int *reduces; // (num_units) units whose reduction has begun and is not finished, oldest first
  int num_reduces;

  int micro_step;  // current accumulation step
  int micro_steps; // made since the step began
  int last_micro;  // the current one is the last of its step
  int in_step;     // between the first zero_micro_begin and apply or skip: traffic counts as a step's
  int norm_known;  // zero_norm was called and neither apply nor skip yet
  ZeroNorm norm;

  // What is kept of each unit, for the device's norm and AdamW: own pieces unit by unit in ascending order, then,
  // at stage 0, the others'.
  ZeroShards kept;
  ZeroPiece *pieces; // kept.pieces on the host; the same memory where that is the device's

  size_t *norm_offsets; // (ranks + 1) where each rank's chunk sums start in all_sums
  size_t *norm_next;    // (ranks) scratch: where in all_sums each rank is being read
  double *piece_sums;   // one per own piece, all units
  double *own_sums;     // one per chunk that this rank owns, all units
  double *all_sums;     // one per chunk of the model, rank by rank
};

// agree.c: collective. What this rank's units and configuration differ in from rank 0's becomes an error.
void zero_check_same(const ZeroConfig *, const ZeroUnit *, int num_units, ZeroComm *, ZeroErrors *errors);
// shards.c: the list of what is kept, after all units are allocated; and its release.
void zero_shards_create(ZeroEngine *);
void zero_shards_destroy(ZeroEngine *);
// gradients.c: adds what is still under way; afterwards `accumulated` is whole on its owner.
void zero_finish_reduces(ZeroEngine *);
// state.c: brings tensor t of unit u to rank 0, owner by owner, and hands it to `take` there, piece by piece in
// ascending order. Collective. buffers: (2, ZERO_READ_PIECE).
enum { ZERO_READ_PIECE = 1 << 18 }; // most elements of a piece
typedef void ZeroTake(void *ctx, size_t first, size_t count, const float *piece);
void zero_collect(ZeroEngine *, ZeroKind kind, int u, int t, float *buffers, ZeroTake *take, void *ctx);
// parameters.c: hands the updated parameters to the ranks that hold copies.
void zero_publish_parameters(ZeroEngine *);
// The transport's all-gather of one unit at once: its shards, wherever they lie, into `full`.
void zero_gather_now(ZeroEngine *, Unit *, const void *shard, void *full, ZeroType);

// Debug builds compare every call over the ranks; argument: its unit, or what tells it from another.
#ifdef ZERO_CHECK_CALLS
void zero_check_call(ZeroEngine *, const char *call, int argument);
#else
static inline void zero_check_call(ZeroEngine *e, const char *call, int argument) {
  (void)e, (void)call, (void)argument;
}
#endif

static inline ZeroWire zero_gather_wire(const ZeroEngine *e) {
  return e->in_step ? ZERO_WIRE_GATHER : ZERO_WIRE_OUTSIDE;
}
// Gradients are summed over micro-steps on each rank and reduced once a step (deterministic 0, stages 0 and 1).
static inline int zero_local_accumulation(const ZeroEngine *e) {
  return !e->config.deterministic && e->config.stage <= 1;
}
// Gradients go through buffers in the wire type; local sums that travel as they are do not.
static inline int zero_gradient_buffers(const ZeroEngine *e) {
  return !zero_local_accumulation(e) || e->config.wire != e->config.accumulate;
}
// Has the unit such a buffer of its own, rather than a turn in the shared ones? At stage 1 with deterministic
// reductions every unit has.
static inline int zero_own_gradient(const ZeroEngine *e, const Unit *unit) {
  if (!zero_gradient_buffers(e)) return 0;
  return (e->config.stage == 1 && !zero_local_accumulation(e)) || (unit->flags & ZERO_OWN_BUFFER);
}
static inline int zero_shared_gradients(const ZeroEngine *e) {
  return zero_gradient_buffers(e) && (e->config.stage != 1 || zero_local_accumulation(e));
}
// Element `at` of the unit in its accumulator.
static inline void *zero_accumulated_at(const ZeroEngine *e, const Unit *unit, size_t at) {
  return (char *)unit->accumulated + (at - unit->acc_lo) * zero_type_size(e->config.accumulate);
}
// How the master weights of the steps applied so far become parameters: always the same for the same steps, so that a
// run that is taken up again has the parameters that it had. Weights that no step has changed are rounded to nearest.
static inline ZeroRounding zero_rounding(const ZeroEngine *e) {
  return (ZeroRounding){e->config.stochastic_rounding && e->applied > 0, e->config.seed, e->applied};
}
// One all-reduce gives every rank all sums, in an order of the transport's own: stage 0 without `deterministic`.
static inline int zero_all_reduces(const ZeroEngine *e) {
  return e->config.stage == 0 && !e->config.deterministic && e->comm->all_reduces;
}
static inline int zero_sharded_parameters(const ZeroEngine *e) {
  return e->config.stage == 3 && e->comm->size > 1;
}

#endif
