// Gradients: open -> full -> done -> shard.
//
// Deterministic: in a micro-step the model writes a unit's whole gradient into a buffer in the wire type. When it is
// done the reduction begins: the owner of each range adds all ranks' pieces, in rank order, to its accumulator (fp32
// unless the configuration has it in a half type). At accumulation step k rank r works on global micro-batch
// k * ranks + r, so micro-batches are added in the order 0, 1, 2, … whatever the number of ranks.
//
// With local accumulation (deterministic 0, stages 0 and 1) the model writes straight into the accumulator, which
// holds the whole unit, and the reduction runs once, after the last micro-step: over the accumulator itself, or over
// a copy in the wire type where that is another one.
//
// The reduction of a unit is finished when the next one is done, so that ranks that are a little ahead need not
// wait; a buffer is given out again only when no rank still reads it.
#include <string.h>

#include "engine.h"

enum { REDUCES_UNDER_WAY = 1 }; // reductions that may stay unfinished while the model computes

static void finish_oldest(ZeroEngine *e) {
  Unit *unit = &e->units[e->reduces[0]];
  e->comm->reduce_finish(e->comm, &unit->reduce);
  unit->reduce.finished = 1;
  e->num_reduces--;
  memmove(e->reduces, e->reduces + 1, (size_t)e->num_reduces * sizeof *e->reduces);
}

// Waits until no rank reads this unit's gradient any more.
static void make_reusable(ZeroEngine *e, Unit *unit) {
  if (!unit->reduce.active) return;
  while (!unit->reduce.finished) finish_oldest(e);
  e->comm->reduce_reusable(e->comm, &unit->reduce);
  unit->reduce.active = 0;
}

void zero_finish_reduces(ZeroEngine *e) {
  while (e->num_reduces > 0) finish_oldest(e);
  for (int u = 0; u < e->num_units; u++) make_reusable(e, &e->units[u]);
}

void zero_micro_begin(ZeroEngine *e, int k, int last) {
  zero_check_call(e, "zero_micro_begin", k);
  if (k != e->micro_steps) zero_fatal("zero_micro_begin: step %d, expected %d", k, e->micro_steps);
  e->micro_step = k;
  e->micro_steps++;
  e->last_micro = last;
  e->in_step = 1;
}

// Gives the unit a buffer that no rank reads any more: its own, or the next shared one. The unit's own last reduction
// ends first: with another buffer it would otherwise be forgotten when the next one begins.
static void take_buffer(ZeroEngine *e, int u) {
  Unit *unit = &e->units[u];
  make_reusable(e, unit);
  if (zero_own_gradient(e, unit)) return;
  int slot = e->next_grad_slot;
  e->next_grad_slot = (slot + 1) % SHARED_SLOTS;
  if (e->grad_slot_unit[slot] != NO_UNIT) {
    Unit *previous = &e->units[e->grad_slot_unit[slot]];
    if (previous->grad_open) {
      zero_fatal("unit %s: no gradient buffer left, unit %s still holds this one; call zero_grad_done first",
                 unit->name, previous->name);
    }
    make_reusable(e, previous);
  }
  e->grad_slot_unit[slot] = u;
  unit->grad_buffer = e->grad_slots[slot];
}

ZeroGrad zero_grad(ZeroEngine *e, int u) {
  zero_check_call(e, "zero_grad", u);
  Unit *unit = &e->units[u];
  int local = zero_local_accumulation(e);
  if (!unit->grad_open && !local) take_buffer(e, u);
  unit->grad_open = 1;
  if (local) return (ZeroGrad){unit->accumulated, e->config.accumulate, e->micro_step > 0};
  return (ZeroGrad){unit->grad_buffer, e->config.wire, 0};
}

static void begin_reduce(ZeroEngine *e, int u, const void *full, int overwrite, int in_place) {
  Unit *unit = &e->units[u];
  int everyone = zero_all_reduces(e);
  unit->reduce = (ZeroReduce){.full = full,
                              .type = e->config.wire,
                              .bounds = unit->layout.bounds,
                              .acc = zero_accumulated_at(e, unit, everyone ? unit->acc_lo : unit->own_lo),
                              .acc_type = e->config.accumulate,
                              .overwrite = overwrite,
                              .in_place = in_place,
                              .any_order = !e->config.deterministic,
                              .everyone = everyone,
                              .active = 1};
  e->comm->reduce_begin(e->comm, &unit->reduce);
  e->reduces[e->num_reduces++] = u;
  while (e->num_reduces > REDUCES_UNDER_WAY) finish_oldest(e);
}

void zero_grad_done(ZeroEngine *e, int u) {
  zero_check_call(e, "zero_grad_done", u);
  Unit *unit = &e->units[u];
  if (!unit->grad_open) zero_fatal("unit %s: zero_grad_done without zero_grad", unit->name);
  unit->grad_open = 0;
  unit->grads_done++;
  if (!zero_local_accumulation(e)) {
    begin_reduce(e, u, unit->grad_buffer, e->micro_step == 0, 0);
  } else if (e->last_micro && !zero_gradient_buffers(e)) {
    begin_reduce(e, u, unit->accumulated, 0, 1);
  } else if (e->last_micro) {
    take_buffer(e, u);
    e->device->add(e->device, unit->grad_buffer, e->config.wire, unit->accumulated, e->config.accumulate,
                   unit->layout.total, 1);
    begin_reduce(e, u, unit->grad_buffer, 1, 0);
  }
}

float zero_loss_scale(const ZeroEngine *e) {
  return e->config.type == ZERO_F16 ? (float)e->scaler.scale : 1.0f;
}

ZeroLossScaler zero_scaler(const ZeroEngine *e) {
  return e->scaler;
}

void zero_set_scaler(ZeroEngine *e, const ZeroLossScaler *scaler) {
  e->scaler = *scaler;
}
