// Gradients: open -> full -> done -> shard.
//
// In a micro-step the model writes a unit's whole gradient into a buffer in the wire type. When it is done the
// reduction begins: the owner of each range adds all ranks' pieces, in rank order, to its fp32 accumulator. At
// accumulation step k rank r works on global micro-batch k * ranks + r, so micro-batches are added in the order
// 0, 1, 2, … whatever the number of ranks.
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
  (void)last; // deterministic reductions run at every micro-step, the last one included
  if (k != e->micro_steps) zero_fatal("zero_micro_begin: step %d, expected %d", k, e->micro_steps);
  e->micro_step = k;
  e->micro_steps++;
  e->in_step = 1;
}

ZeroGrad zero_grad(ZeroEngine *e, int u) {
  Unit *unit = &e->units[u];
  if (!unit->grad_open) {
    int own = e->config.stage == 1 || (unit->flags & ZERO_OWN_BUFFER);
    if (own) {
      make_reusable(e, unit);
    } else {
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
    unit->grad_open = 1;
  }
  return (ZeroGrad){unit->grad_buffer, e->config.wire, 0};
}

void zero_grad_done(ZeroEngine *e, int u) {
  Unit *unit = &e->units[u];
  if (!unit->grad_open) zero_fatal("unit %s: zero_grad_done without zero_grad", unit->name);
  unit->grad_open = 0;
  unit->grads_done++;
  unit->reduce = (ZeroReduce){.full = unit->grad_buffer,
                              .type = e->config.wire,
                              .bounds = unit->layout.bounds,
                              .acc = unit->accumulated + (unit->own_lo - unit->keep_lo),
                              .overwrite = e->micro_step == 0,
                              .active = 1};
  e->comm->reduce_begin(e->comm, &unit->reduce);
  e->reduces[e->num_reduces++] = u;
  while (e->num_reduces > REDUCES_UNDER_WAY) finish_oldest(e);
}

float zero_loss_scale(const ZeroEngine *e) {
  (void)e;
  return 1.0f; // fp32 needs none
}
