// The engine's life: what is allocated where, and its release.
#include "engine.h"

#include <stdlib.h>
#include <string.h>

static size_t max_size(size_t a, size_t b) {
  return a > b ? a : b;
}

// ---------------------------------------------------------------- allocation

static void describe_unit(ZeroEngine *e, Unit *unit, const ZeroUnit *description) {
  zero_layout_create(&unit->layout, description, e->comm->size);
  unit->name = strdup(description->name);
  if (!unit->name) zero_fatal("out of memory for the name of unit %s", description->name);
  unit->flags = description->flags;
  unit->own_lo = unit->layout.bounds[e->comm->rank];
  unit->own_hi = unit->layout.bounds[e->comm->rank + 1];
  unit->keep_lo = e->config.stage == 0 ? 0 : unit->own_lo;
  unit->keep_hi = e->config.stage == 0 ? unit->layout.total : unit->own_hi;
  int whole = e->config.stage == 0 || zero_local_accumulation(e);
  unit->acc_lo = whole ? 0 : unit->own_lo;
  unit->acc_hi = whole ? unit->layout.total : unit->own_hi;
  unit->gather_slot = NO_UNIT;
  e->num_parameters += unit->layout.real;
}

// Elements of the largest unit that shares the slots.
static size_t shared_slot_size(const ZeroEngine *e) {
  size_t largest = 0;
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    if (!(unit->flags & ZERO_OWN_BUFFER)) largest = max_size(largest, unit->layout.total);
  }
  return largest;
}

// Do the other ranks read this rank's accumulators? At stage 0 everyone needs all sums; local sums that travel as
// they are are read too.
static int reachable_sums(const ZeroEngine *e) {
  return e->config.stage == 0 || zero_local_accumulation(e);
}

// Bytes that will be asked of comm->alloc, so that the transport can say at once whether it has them.
static size_t comm_bytes(const ZeroEngine *e) {
  size_t type = zero_type_size(e->config.type), wire = zero_type_size(e->config.wire), bytes = 0;
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    size_t own = unit->own_hi - unit->own_lo, total = unit->layout.total;
    bytes += (e->config.stage == 3 ? own : total) * type;
    if (reachable_sums(e)) bytes += total * zero_type_size(e->config.accumulate);
    if (zero_own_gradient(e, unit)) bytes += total * wire;
  }
  if (zero_shared_gradients(e)) bytes += SHARED_SLOTS * shared_slot_size(e) * wire;
  return bytes;
}

static void allocate_unit(ZeroEngine *e, Unit *unit) {
  ZeroComm *comm = e->comm;
  ZeroDevice *device = e->device;
  size_t own = unit->own_hi - unit->own_lo, keep = unit->keep_hi - unit->keep_lo, total = unit->layout.total;
  size_t type = zero_type_size(e->config.type), wire = zero_type_size(e->config.wire);

  unit->params = comm->alloc(comm, (e->config.stage == 3 ? own : total) * type, ZERO_MEM_PARAMETERS);
  if (e->config.type == ZERO_F32) {
    unit->master = (float *)unit->params + (e->config.stage == 3 ? 0 : unit->keep_lo);
  } else {
    unit->master = device->alloc(device, keep * sizeof(float), ZERO_MEM_OPTIMIZER);
  }
  unit->exp_avg = device->alloc(device, keep * sizeof(float), ZERO_MEM_OPTIMIZER);
  unit->exp_avg_sq = device->alloc(device, keep * sizeof(float), ZERO_MEM_OPTIMIZER);
  size_t accumulator = (unit->acc_hi - unit->acc_lo) * zero_type_size(e->config.accumulate);
  unit->accumulated = reachable_sums(e) ? comm->alloc(comm, accumulator, ZERO_MEM_GRADIENTS)
                                        : device->alloc(device, accumulator, ZERO_MEM_GRADIENTS);
  if (zero_own_gradient(e, unit)) {
    ZeroMemory category = !zero_shared_gradients(e) ? ZERO_MEM_GRADIENTS : ZERO_MEM_GRAD_BUFFERS;
    unit->grad_buffer = comm->alloc(comm, total * wire, category);
  }
  if (zero_sharded_parameters(e) && (unit->flags & ZERO_OWN_BUFFER)) {
    unit->gather_buffer = device->alloc(device, total * type, ZERO_MEM_GATHER_BUFFERS);
  }
}

static void allocate_slots(ZeroEngine *e) {
  size_t size = shared_slot_size(e);
  for (int slot = 0; slot < SHARED_SLOTS; slot++) {
    e->gather_slot_unit[slot] = e->grad_slot_unit[slot] = NO_UNIT;
    if (zero_shared_gradients(e)) {
      e->grad_slots[slot] = e->comm->alloc(e->comm, size * zero_type_size(e->config.wire), ZERO_MEM_GRAD_BUFFERS);
    }
    if (zero_sharded_parameters(e)) {
      size_t bytes = size * zero_type_size(e->config.type);
      e->gather_slots[slot] = e->device->alloc(e->device, bytes, ZERO_MEM_GATHER_BUFFERS);
    }
  }
}

static void allocate_norms(ZeroEngine *e) {
  size_t ranks = (size_t)e->comm->size;
  e->norm_offsets = zero_malloc((ranks + 1) * sizeof *e->norm_offsets, ZERO_MEM_COMM);
  e->norm_next = zero_malloc(ranks * sizeof *e->norm_next, ZERO_MEM_COMM);
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    for (size_t r = 0; r < ranks; r++) {
      size_t count = unit->layout.bounds[r + 1] - unit->layout.bounds[r];
      e->norm_offsets[r + 1] += (count + ZERO_CHUNK - 1) / ZERO_CHUNK;
    }
  }
  for (size_t r = 0; r < ranks; r++) e->norm_offsets[r + 1] += e->norm_offsets[r];
  size_t own = e->norm_offsets[e->comm->rank + 1] - e->norm_offsets[e->comm->rank];
  e->piece_sums = e->device->alloc_host(e->device, e->kept.num_own * sizeof(double), ZERO_MEM_COMM);
  e->own_sums = zero_malloc(own * sizeof(double), ZERO_MEM_COMM);
  e->all_sums = zero_malloc(e->norm_offsets[ranks] * sizeof(double), ZERO_MEM_COMM);
}

ZeroEngine *zero_initialize(const ZeroConfig *config, const ZeroUnit *units, int num_units, ZeroComm *comm,
                            ZeroDevice *device) {
  ZeroErrors errors = {0};
  zero_config_check(config, &errors);
  zero_errors_check(&errors, comm);
  zero_check_same(config, units, num_units, comm, &errors);
  zero_errors_check(&errors, comm);

  ZeroEngine *e = zero_malloc(sizeof *e, ZERO_MEM_OTHER);
  e->config = *config;
  zero_loss_scaler_init(&e->scaler, &config->loss_scaling);
  e->comm = comm;
  e->device = comm->device = device;
  e->num_units = num_units;
  e->units = zero_malloc((size_t)num_units * sizeof *e->units, ZERO_MEM_OTHER);
  e->reduces = zero_malloc((size_t)num_units * sizeof *e->reduces, ZERO_MEM_OTHER);
  for (int u = 0; u < num_units; u++) describe_unit(e, &e->units[u], &units[u]);
  zero_comm_reserve(comm, comm_bytes(e));
  for (int u = 0; u < num_units; u++) allocate_unit(e, &e->units[u]);
  allocate_slots(e);
  zero_shards_create(e);
  allocate_norms(e);
  comm->reset_sent(comm);
  return e;
}

static void free_unit(ZeroEngine *e, Unit *unit) {
  e->comm->free(e->comm, unit->params);
  e->device->free(e->device, unit->exp_avg);
  e->device->free(e->device, unit->exp_avg_sq);
  if (e->config.type != ZERO_F32) e->device->free(e->device, unit->master);
  if (reachable_sums(e)) {
    e->comm->free(e->comm, unit->accumulated);
  } else {
    e->device->free(e->device, unit->accumulated);
  }
  if (zero_own_gradient(e, unit)) e->comm->free(e->comm, unit->grad_buffer);
  if (unit->flags & ZERO_OWN_BUFFER) e->device->free(e->device, unit->gather_buffer);
  zero_layout_destroy(&unit->layout);
  free((void *)unit->name);
}

void zero_destroy(ZeroEngine *e) {
  zero_check_call(e, "zero_destroy", 0);
  zero_finish_reduces(e);
  for (int u = 0; u < e->num_units; u++) free_unit(e, &e->units[u]);
  for (int slot = 0; slot < SHARED_SLOTS; slot++) {
    if (e->grad_slots[slot]) e->comm->free(e->comm, e->grad_slots[slot]);
    e->device->free(e->device, e->gather_slots[slot]);
  }
  zero_shards_destroy(e);
  zero_free(e->norm_offsets);
  zero_free(e->norm_next);
  e->device->free_host(e->device, e->piece_sums);
  zero_free(e->own_sums);
  zero_free(e->all_sums);
  zero_free(e->reduces);
  zero_free(e->units);
  zero_free(e);
}

// ---------------------------------------------------------------- questions

size_t zero_offset(const ZeroEngine *e, int unit, int tensor) {
  return e->units[unit].layout.offsets[tensor];
}
size_t zero_num_parameters(const ZeroEngine *e) {
  return e->num_parameters;
}
size_t zero_steps_applied(const ZeroEngine *e) {
  return e->applied;
}
size_t zero_steps_skipped(const ZeroEngine *e) {
  return e->skipped;
}
