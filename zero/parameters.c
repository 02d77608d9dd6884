// Parameters: gather -> get -> release.
//
// Stages 0-2 keep every parameter on every rank: get returns it and nothing travels. Stage 3 keeps only this
// rank's part; get gathers the unit from all ranks into a buffer, and release gives the buffer back. A unit
// flagged ZERO_OWN_BUFFER has one of its own; all others take turns in two, so that the next unit can be
// fetched while one is in use.
#include "engine.h"

static void begin_gather(ZeroEngine *e, Unit *unit) {
  if (!(unit->flags & ZERO_OWN_BUFFER)) {
    int slot = 0;
    while (slot < SHARED_SLOTS && e->gather_slot_unit[slot] != NO_UNIT) slot++;
    if (slot == SHARED_SLOTS) {
      zero_fatal("unit %s: no buffer left to gather into, units %s and %s hold both; release one first", unit->name,
                 e->units[e->gather_slot_unit[0]].name, e->units[e->gather_slot_unit[1]].name);
    }
    e->gather_slot_unit[slot] = (int)(unit - e->units);
    unit->gather_slot = slot;
    unit->gather_buffer = e->gather_slots[slot];
  }
  unit->gather = (ZeroGather){.shard = unit->params,
                              .full = unit->gather_buffer,
                              .type = e->config.type,
                              .bounds = unit->layout.bounds,
                              .wire = zero_gather_wire(e)};
  e->comm->gather_begin(e->comm, &unit->gather);
  unit->gathering = 1;
}

void zero_gather(ZeroEngine *e, int u) {
  zero_check_call(e, "zero_gather", u);
  Unit *unit = &e->units[u];
  if (zero_sharded_parameters(e) && !unit->gathering && !unit->gathered) begin_gather(e, unit);
}

const void *zero_get(ZeroEngine *e, int u) {
  zero_check_call(e, "zero_get", u);
  Unit *unit = &e->units[u];
  unit->gets++;
  if (!zero_sharded_parameters(e)) return unit->params;
  zero_gather(e, u);
  if (!unit->gathered) {
    e->comm->gather_finish(e->comm, &unit->gather);
    unit->gathering = 0;
    unit->gathered = 1;
  }
  return unit->gather_buffer;
}

void zero_release(ZeroEngine *e, int u) {
  zero_check_call(e, "zero_release", u);
  Unit *unit = &e->units[u];
  if (unit->gets == 0) zero_fatal("unit %s: zero_release without zero_get", unit->name);
  if (--unit->gets > 0) return;
  unit->gathered = 0;
  if (unit->gather_slot != NO_UNIT) {
    e->gather_slot_unit[unit->gather_slot] = NO_UNIT;
    unit->gather_slot = NO_UNIT;
    unit->gather_buffer = NULL;
  }
}

void zero_gather_now(ZeroEngine *e, Unit *unit, const void *shard, void *full, ZeroType type) {
  unit->gather = (ZeroGather){
      .shard = shard, .full = full, .type = type, .bounds = unit->layout.bounds, .wire = zero_gather_wire(e)};
  e->comm->gather_begin(e->comm, &unit->gather);
  e->comm->gather_finish(e->comm, &unit->gather);
}

void zero_publish_parameters(ZeroEngine *e) {
  if (e->config.stage == 0) return; // every rank has made its own copy
  e->comm->publish(e->comm);
  if (e->config.stage == 3) return; // fetched when they are used
  size_t size = zero_type_size(e->config.type);
  for (int u = 0; u < e->num_units; u++) {
    Unit *unit = &e->units[u];
    zero_gather_now(e, unit, (char *)unit->params + unit->own_lo * size, unit->params, e->config.type);
  }
}
