// State in and out: initial values, whole tensors on rank 0, the state hash.
#include <string.h>
#include <xxhash.h>

#include "engine.h"

// This rank's kept part of a kind of fp32 state, indexed from keep_lo.
static float *kept_state(const Unit *unit, ZeroKind kind) {
  switch (kind) {
    case ZERO_MASTER:
      return unit->master;
    case ZERO_EXP_AVG:
      return unit->exp_avg;
    case ZERO_EXP_AVG_SQ:
      return unit->exp_avg_sq;
    case ZERO_GRADIENT:
      break;
  }
  zero_fatal("no fp32 state of kind %d", (int)kind);
}

// The kept parameters from the master weights; fp32 parameters are the master.
static void round_parameters(ZeroEngine *e) {
  const ZeroRounding rounding = zero_rounding(e);
  if (e->config.type != ZERO_F32) e->device->round(e->device, &rounding, &e->kept);
}

// Has elements [first, first + count) of a tensor filled into `kept`: where they lie, or, where the host does not
// reach them, piece by piece through `staging` (ZERO_READ_PIECE).
static void fill_kept(ZeroEngine *e, ZeroFill *fn, void *ctx, int u, int t, size_t first, size_t count, float *kept,
                      float *staging) {
  if (staging == NULL) {
    fn(ctx, u, t, first, count, kept);
    return;
  }
  for (size_t done = 0; done < count; done += ZERO_READ_PIECE) {
    size_t piece = count - done < ZERO_READ_PIECE ? count - done : ZERO_READ_PIECE;
    fn(ctx, u, t, first + done, piece, staging);
    e->device->from_host(e->device, kept + done, staging, piece * sizeof(float));
  }
}

void zero_fill(ZeroEngine *e, ZeroKind kind, ZeroFill *fn, void *ctx) {
  zero_check_call(e, "zero_fill", (int)kind);
  if (kind == ZERO_GRADIENT) zero_fatal("zero_fill: gradients come from the model, not from a fill");
  ZeroDevice *device = e->device;
  size_t staging_bytes = device->host_memory ? 0 : ZERO_READ_PIECE * sizeof(float);
  float *staging = device->alloc_host(device, staging_bytes, ZERO_MEM_OTHER);
  for (int u = 0; u < e->num_units; u++) {
    Unit *unit = &e->units[u];
    for (int t = 0; t < unit->layout.num_tensors; t++) {
      size_t first = 0, count = zero_layout_overlap(&unit->layout, t, unit->keep_lo, unit->keep_hi, &first);
      if (count == 0) continue;
      float *kept = kept_state(unit, kind) + (unit->layout.offsets[t] + first - unit->keep_lo);
      fill_kept(e, fn, ctx, u, t, first, count, kept, staging);
    }
  }
  device->free_host(device, staging);
  if (kind != ZERO_MASTER) return;
  round_parameters(e);
  zero_publish_parameters(e);
}

void zero_set_steps(ZeroEngine *e, size_t applied, size_t skipped) {
  zero_check_call(e, "zero_set_steps", (int)applied);
  e->applied = applied;
  e->skipped = skipped;
  if (!e->config.stochastic_rounding || e->config.type == ZERO_F32) return;
  e->comm->publish(e->comm); // no rank may still be reading the parameters of before
  round_parameters(e);
  zero_publish_parameters(e);
}

// ---------------------------------------------------------------- whole tensors

// Elements [at, at + count) of the unit, which this rank owns, as fp32 on the host: where they lie, or in `staging`,
// with gradients unscaled. sums: the same room in the device's memory, for gradients.
static const float *own_piece(const ZeroEngine *e, const Unit *unit, ZeroKind kind, size_t at, size_t count,
                              float *staging, float *sums) {
  ZeroDevice *device = e->device;
  const float *kept = sums;
  if (kind == ZERO_GRADIENT) {
    device->add(device, sums, ZERO_F32, zero_accumulated_at(e, unit, at), e->config.accumulate, count, 1);
  } else {
    kept = kept_state(unit, kind) + (at - unit->keep_lo);
  }
  if (!device->host_memory) {
    device->to_host(device, staging, kept, count * sizeof(float));
    kept = staging;
  }
  if (kind != ZERO_GRADIENT) return kept;
  float unscale = 1.0f / zero_loss_scale(e);
  for (size_t i = 0; i < count; i++) staging[i] *= unscale;
  return staging;
}

void zero_collect(ZeroEngine *e, ZeroKind kind, int u, int t, float *buffers, ZeroTake *take, void *ctx) {
  Unit *unit = &e->units[u];
  const ZeroLayout *layout = &unit->layout;
  float *arrived = buffers, *staging = buffers + ZERO_READ_PIECE, *sums = staging;
  ZeroDevice *device = e->device;
  if (!device->host_memory) sums = device->alloc(device, ZERO_READ_PIECE * sizeof(float), ZERO_MEM_OTHER);
  for (int r = 0; r < e->comm->size; r++) {
    size_t first = 0, count = zero_layout_overlap(layout, t, layout->bounds[r], layout->bounds[r + 1], &first);
    for (size_t done = 0; done < count; done += ZERO_READ_PIECE) {
      size_t piece = count - done < ZERO_READ_PIECE ? count - done : ZERO_READ_PIECE;
      const float *mine = NULL;
      if (r == e->comm->rank) {
        mine = own_piece(e, unit, kind, layout->offsets[t] + first + done, piece, staging, sums);
      }
      e->comm->control_collect(e->comm, r, mine, arrived, piece * sizeof(float));
      if (e->comm->rank == 0) take(ctx, first + done, piece, arrived);
    }
  }
  if (!device->host_memory) device->free(device, sums);
}

static void take_into(void *ctx, size_t first, size_t count, const float *piece) {
  memcpy((float *)ctx + first, piece, count * sizeof(float));
}

void zero_read(ZeroEngine *e, ZeroKind kind, int u, int tensor, float *out) {
  zero_check_call(e, "zero_read", u);
  if (kind == ZERO_GRADIENT && !e->norm_known) {
    zero_fatal("zero_read: gradients can be read between zero_norm and zero_apply or zero_skip");
  }
  float *buffers = zero_malloc(2 * ZERO_READ_PIECE * sizeof(float), ZERO_MEM_OTHER);
  zero_collect(e, kind, u, tensor, buffers, take_into, out);
  zero_free(buffers);
}

// ---------------------------------------------------------------- the state hash

static void take_into_hash(void *ctx, size_t first, size_t count, const float *piece) {
  (void)first;
  if (XXH3_64bits_update(ctx, piece, count * sizeof(float)) != XXH_OK) zero_fatal("XXH3 failed");
}

uint64_t zero_state_hash(ZeroEngine *e) {
  static const ZeroKind kinds[] = {ZERO_MASTER, ZERO_EXP_AVG, ZERO_EXP_AVG_SQ};
  zero_check_call(e, "zero_state_hash", 0);
  XXH3_state_t *state = XXH3_createState();
  if (!state || XXH3_64bits_reset(state) != XXH_OK) zero_fatal("XXH3 could not be started: out of memory");
  float *buffers = zero_malloc(2 * ZERO_READ_PIECE * sizeof(float), ZERO_MEM_OTHER);
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
    for (int u = 0; u < e->num_units; u++) {
      for (int t = 0; t < e->units[u].layout.num_tensors; t++) {
        zero_collect(e, kinds[k], u, t, buffers, take_into_hash, state);
      }
    }
  }
  uint64_t hash = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  zero_free(buffers);
  e->comm->control_broadcast(e->comm, &hash, sizeof hash);
  return hash;
}
