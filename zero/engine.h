// The engine's inside: shared by engine.c (life, fill, read, hash), parameters.c (gather, get, release),
// gradients.c (buffers, reductions), step.c (norm, AdamW, publish) and report.c (what it costs).
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

  // Parameters. Stages 0-2: `params` is the whole unit; stage 3: this rank's own part. In fp32 they are the
  // master weights too.
  void *params;
  float *master;      // (keep_hi - keep_lo)
  float *exp_avg;     // (keep_hi - keep_lo)
  float *exp_avg_sq;  // (keep_hi - keep_lo)
  float *accumulated; // (keep_hi - keep_lo) gradients summed over ranks and micro-steps

  ZeroPiece *pieces; // of [keep_lo, keep_hi); those of [own_lo, own_hi) are a run of them
  size_t num_pieces, first_own_piece, num_own_pieces;

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
  int in_step;     // between the first zero_micro_begin and apply or skip: traffic counts as a step's
  int norm_known;  // zero_norm was called and neither apply nor skip yet
  ZeroNorm norm;

  size_t *norm_offsets; // (ranks + 1) where each rank's chunk sums start in all_sums
  size_t *norm_next;    // (ranks) scratch: where in all_sums each rank is being read
  double *piece_sums;   // scratch: as many as a unit has pieces at the most
  double *own_sums;     // one per chunk that this rank owns, all units
  double *all_sums;     // one per chunk of the model, rank by rank
};

// gradients.c: adds what is still under way; afterwards `accumulated` is whole on its owner.
void zero_finish_reduces(ZeroEngine *);
// parameters.c: hands the updated parameters to the ranks that hold copies.
void zero_publish_parameters(ZeroEngine *);
// The transport's all-gather of one unit at once: its shards, wherever they lie, into `full`.
void zero_gather_now(ZeroEngine *, Unit *, const void *shard, void *full, ZeroType);

static inline ZeroWire zero_gather_wire(const ZeroEngine *e) {
  return e->in_step ? ZERO_WIRE_GATHER : ZERO_WIRE_OUTSIDE;
}
static inline int zero_sharded_parameters(const ZeroEngine *e) {
  return e->config.stage == 3 && e->comm->size > 1;
}

#endif
