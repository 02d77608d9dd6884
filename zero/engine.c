// The engine's life: allocation, initial values, reading tensors back, the state hash.
#include "engine.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { READ_PIECE = 1 << 18 }; // elements that travel to rank 0 at a time when state is hashed

static size_t max_size(size_t a, size_t b) {
  return a > b ? a : b;
}

// ---------------------------------------------------------------- allocation

static int has_own_gradient(const ZeroEngine *e, const Unit *unit) {
  return e->config.stage == 1 || (unit->flags & ZERO_OWN_BUFFER);
}

static void describe_unit(ZeroEngine *e, Unit *unit, const ZeroUnit *description) {
  zero_layout_create(&unit->layout, description, e->comm->size);
  unit->name = strdup(description->name);
  if (!unit->name) zero_fatal("out of memory for the name of unit %s", description->name);
  unit->flags = description->flags;
  unit->own_lo = unit->layout.bounds[e->comm->rank];
  unit->own_hi = unit->layout.bounds[e->comm->rank + 1];
  unit->keep_lo = e->config.stage == 0 ? 0 : unit->own_lo;
  unit->keep_hi = e->config.stage == 0 ? unit->layout.total : unit->own_hi;
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

// Bytes that will be asked of comm->alloc, so that the transport can say at once whether it has them.
static size_t comm_bytes(const ZeroEngine *e) {
  size_t type = zero_type_size(e->config.type), wire = zero_type_size(e->config.wire), bytes = 0;
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    size_t own = unit->own_hi - unit->own_lo, total = unit->layout.total;
    bytes += (e->config.stage == 3 ? own : total) * type;
    if (e->config.stage == 0) bytes += total * sizeof(float);
    if (has_own_gradient(e, unit)) bytes += total * wire;
  }
  if (e->config.stage != 1) bytes += SHARED_SLOTS * shared_slot_size(e) * wire;
  return bytes;
}

static void allocate_unit(ZeroEngine *e, Unit *unit) {
  ZeroComm *comm = e->comm;
  ZeroDevice *device = e->device;
  size_t own = unit->own_hi - unit->own_lo, keep = unit->keep_hi - unit->keep_lo, total = unit->layout.total;
  size_t type = zero_type_size(e->config.type), wire = zero_type_size(e->config.wire);

  unit->params = comm->alloc(comm, (e->config.stage == 3 ? own : total) * type, ZERO_MEM_PARAMETERS);
  unit->master = (float *)unit->params + (e->config.stage == 3 ? 0 : unit->keep_lo);
  unit->exp_avg = device->alloc(device, keep * sizeof(float), ZERO_MEM_OPTIMIZER);
  unit->exp_avg_sq = device->alloc(device, keep * sizeof(float), ZERO_MEM_OPTIMIZER);
  // At stage 0 the other ranks read this rank's sums.
  size_t accumulator = keep * sizeof(float);
  unit->accumulated = e->config.stage == 0 ? comm->alloc(comm, accumulator, ZERO_MEM_GRADIENTS)
                                           : device->alloc(device, accumulator, ZERO_MEM_GRADIENTS);
  if (has_own_gradient(e, unit)) {
    ZeroMemory category = e->config.stage == 1 ? ZERO_MEM_GRADIENTS : ZERO_MEM_GRAD_BUFFERS;
    unit->grad_buffer = comm->alloc(comm, total * wire, category);
  }
  if (zero_sharded_parameters(e) && (unit->flags & ZERO_OWN_BUFFER)) {
    unit->gather_buffer = device->alloc(device, total * type, ZERO_MEM_GATHER_BUFFERS);
  }

  unit->num_pieces = zero_layout_pieces(&unit->layout, unit->keep_lo, unit->keep_hi, NULL);
  unit->first_own_piece = zero_layout_pieces(&unit->layout, unit->keep_lo, unit->own_lo, NULL);
  unit->num_own_pieces = zero_layout_pieces(&unit->layout, unit->own_lo, unit->own_hi, NULL);
  unit->pieces = zero_malloc(unit->num_pieces * sizeof *unit->pieces, ZERO_MEM_OTHER);
  zero_layout_pieces(&unit->layout, unit->keep_lo, unit->keep_hi, unit->pieces);
  if (e->config.decay_all) {
    for (size_t p = 0; p < unit->num_pieces; p++) unit->pieces[p].decay = 1;
  }
}

static void allocate_slots(ZeroEngine *e) {
  size_t size = shared_slot_size(e);
  for (int slot = 0; slot < SHARED_SLOTS; slot++) {
    e->gather_slot_unit[slot] = e->grad_slot_unit[slot] = NO_UNIT;
    if (e->config.stage != 1) {
      e->grad_slots[slot] = e->comm->alloc(e->comm, size * zero_type_size(e->config.wire), ZERO_MEM_GRAD_BUFFERS);
    }
    if (zero_sharded_parameters(e)) {
      size_t bytes = size * zero_type_size(e->config.type);
      e->gather_slots[slot] = e->device->alloc(e->device, bytes, ZERO_MEM_GATHER_BUFFERS);
    }
  }
}

static void allocate_norms(ZeroEngine *e) {
  size_t ranks = (size_t)e->comm->size, most_pieces = 0;
  e->norm_offsets = zero_malloc((ranks + 1) * sizeof *e->norm_offsets, ZERO_MEM_COMM);
  e->norm_next = zero_malloc(ranks * sizeof *e->norm_next, ZERO_MEM_COMM);
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    most_pieces = max_size(most_pieces, unit->num_own_pieces);
    for (size_t r = 0; r < ranks; r++) {
      size_t count = unit->layout.bounds[r + 1] - unit->layout.bounds[r];
      e->norm_offsets[r + 1] += (count + ZERO_CHUNK - 1) / ZERO_CHUNK;
    }
  }
  for (size_t r = 0; r < ranks; r++) e->norm_offsets[r + 1] += e->norm_offsets[r];
  size_t own = e->norm_offsets[e->comm->rank + 1] - e->norm_offsets[e->comm->rank];
  e->piece_sums = zero_malloc(most_pieces * sizeof(double), ZERO_MEM_COMM);
  e->own_sums = zero_malloc(own * sizeof(double), ZERO_MEM_COMM);
  e->all_sums = zero_malloc(e->norm_offsets[ranks] * sizeof(double), ZERO_MEM_COMM);
}

ZeroEngine *zero_initialize(const ZeroConfig *config, const ZeroUnit *units, int num_units, ZeroComm *comm,
                            ZeroDevice *device) {
  ZeroErrors errors = {0};
  zero_config_check(config, &errors);
  zero_errors_check(&errors, comm);

  ZeroEngine *e = zero_malloc(sizeof *e, ZERO_MEM_OTHER);
  e->config = *config;
  e->comm = comm;
  e->device = comm->device = device;
  e->num_units = num_units;
  e->units = zero_malloc((size_t)num_units * sizeof *e->units, ZERO_MEM_OTHER);
  e->reduces = zero_malloc((size_t)num_units * sizeof *e->reduces, ZERO_MEM_OTHER);
  for (int u = 0; u < num_units; u++) describe_unit(e, &e->units[u], &units[u]);
  zero_comm_reserve(comm, comm_bytes(e));
  for (int u = 0; u < num_units; u++) allocate_unit(e, &e->units[u]);
  allocate_slots(e);
  allocate_norms(e);
  comm->reset_sent(comm);
  return e;
}

static void free_unit(ZeroEngine *e, Unit *unit) {
  e->comm->free(e->comm, unit->params);
  e->device->free(e->device, unit->exp_avg);
  e->device->free(e->device, unit->exp_avg_sq);
  if (e->config.stage == 0) {
    e->comm->free(e->comm, unit->accumulated);
  } else {
    e->device->free(e->device, unit->accumulated);
  }
  if (has_own_gradient(e, unit)) e->comm->free(e->comm, unit->grad_buffer);
  if (unit->flags & ZERO_OWN_BUFFER) e->device->free(e->device, unit->gather_buffer);
  zero_free(unit->pieces);
  zero_layout_destroy(&unit->layout);
  free((void *)unit->name);
}

void zero_destroy(ZeroEngine *e) {
  zero_finish_reduces(e);
  for (int u = 0; u < e->num_units; u++) free_unit(e, &e->units[u]);
  for (int slot = 0; slot < SHARED_SLOTS; slot++) {
    if (e->grad_slots[slot]) e->comm->free(e->comm, e->grad_slots[slot]);
    e->device->free(e->device, e->gather_slots[slot]);
  }
  zero_free(e->norm_offsets);
  zero_free(e->norm_next);
  zero_free(e->piece_sums);
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

void zero_set_steps(ZeroEngine *e, size_t applied, size_t skipped) {
  e->applied = applied;
  e->skipped = skipped;
}

// ---------------------------------------------------------------- state in and out

// This rank's kept part of a kind of state, indexed from keep_lo.
static float *kept_state(const Unit *unit, ZeroKind kind) {
  switch (kind) {
    case ZERO_MASTER:
      return unit->master;
    case ZERO_EXP_AVG:
      return unit->exp_avg;
    case ZERO_EXP_AVG_SQ:
      return unit->exp_avg_sq;
    case ZERO_GRADIENT:
      return unit->accumulated;
  }
  zero_fatal("unknown kind of state %d", (int)kind);
}

void zero_fill(ZeroEngine *e, ZeroKind kind, ZeroFill *fn, void *ctx) {
  if (kind == ZERO_GRADIENT) zero_fatal("zero_fill: gradients come from the model, not from a fill");
  for (int u = 0; u < e->num_units; u++) {
    Unit *unit = &e->units[u];
    for (int t = 0; t < unit->layout.num_tensors; t++) {
      size_t first = 0, count = zero_layout_overlap(&unit->layout, t, unit->keep_lo, unit->keep_hi, &first);
      if (count == 0) continue;
      fn(ctx, u, t, first, count, kept_state(unit, kind) + (unit->layout.offsets[t] + first - unit->keep_lo));
    }
  }
  if (kind == ZERO_MASTER) zero_publish_parameters(e);
}

// Where rank r's owned part of a tensor starts within it, how long it is, and (on r itself) where it lies.
static size_t owned_part(const ZeroEngine *e, Unit *unit, ZeroKind kind, int tensor, int r, size_t *first,
                         const float **data) {
  const ZeroLayout *layout = &unit->layout;
  size_t count = zero_layout_overlap(layout, tensor, layout->bounds[r], layout->bounds[r + 1], first);
  int here = count > 0 && r == e->comm->rank;
  *data = here ? kept_state(unit, kind) + (layout->offsets[tensor] + *first - unit->keep_lo) : NULL;
  return count;
}

void zero_read(ZeroEngine *e, ZeroKind kind, int u, int tensor, float *out) {
  if (kind == ZERO_GRADIENT && !e->norm_known) {
    zero_fatal("zero_read: gradients can be read between zero_norm and zero_apply or zero_skip");
  }
  for (int r = 0; r < e->comm->size; r++) {
    size_t first = 0;
    const float *data = NULL;
    size_t count = owned_part(e, &e->units[u], kind, tensor, r, &first, &data);
    for (size_t done = 0; done < count; done += READ_PIECE) {
      size_t piece = count - done < READ_PIECE ? count - done : READ_PIECE;
      float *target = e->comm->rank == 0 ? out + first + done : NULL;
      e->comm->control_collect(e->comm, r, data ? data + done : NULL, target, piece * sizeof(float));
    }
  }
}

uint64_t zero_state_hash(ZeroEngine *e) {
  static const ZeroKind kinds[] = {ZERO_MASTER, ZERO_EXP_AVG, ZERO_EXP_AVG_SQ};
  XXH3_state_t *state = XXH3_createState();
  float *piece = zero_malloc(READ_PIECE * sizeof(float), ZERO_MEM_OTHER);
  if (!state || XXH3_64bits_reset(state) != XXH_OK) zero_fatal("XXH3 could not be started: out of memory");
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
    for (int u = 0; u < e->num_units; u++) {
      for (int t = 0; t < e->units[u].layout.num_tensors; t++) {
        for (int r = 0; r < e->comm->size; r++) {
          size_t first = 0;
          const float *data = NULL;
          size_t count = owned_part(e, &e->units[u], kinds[k], t, r, &first, &data);
          for (size_t done = 0; done < count; done += READ_PIECE) {
            size_t bytes = (count - done < READ_PIECE ? count - done : READ_PIECE) * sizeof(float);
            e->comm->control_collect(e->comm, r, data ? data + done : NULL, piece, bytes);
            if (e->comm->rank == 0 && XXH3_64bits_update(state, piece, bytes) != XXH_OK) zero_fatal("XXH3 failed");
          }
        }
      }
    }
  }
  uint64_t hash = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  zero_free(piece);
  e->comm->control_broadcast(e->comm, &hash, sizeof hash);
  return hash;
}
