// The list of what a rank keeps, as the device's norm and AdamW go over it: one shard per unit, cut into pieces.
//
// It is made once, when all is allocated: no pointer in it changes while the engine lives.
#include "engine.h"

// Writes the pieces of [lo, hi) of unit u, or only counts them where `pieces` is NULL.
static size_t unit_pieces(const ZeroEngine *e, int u, size_t lo, size_t hi, ZeroPiece *pieces) {
  const Unit *unit = &e->units[u];
  size_t count = zero_layout_pieces(&unit->layout, lo, hi, pieces);
  for (size_t p = 0; pieces != NULL && p < count; p++) {
    pieces[p].first += lo - unit->keep_lo;
    pieces[p].shard = (unsigned)u;
    if (e->config.decay_all) pieces[p].decay = 1;
  }
  return count;
}

// Own pieces of all units, then the others that are kept. Returns how many, and how many own ones in *own.
static size_t all_pieces(const ZeroEngine *e, ZeroPiece *pieces, size_t *own) {
  size_t count = 0;
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    count += unit_pieces(e, u, unit->own_lo, unit->own_hi, pieces ? pieces + count : NULL);
  }
  *own = count;
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    count += unit_pieces(e, u, unit->keep_lo, unit->own_lo, pieces ? pieces + count : NULL);
    count += unit_pieces(e, u, unit->own_hi, unit->keep_hi, pieces ? pieces + count : NULL);
  }
  return count;
}

static ZeroShard *describe_shards(const ZeroEngine *e) {
  ZeroShard *shards = zero_malloc((size_t)e->num_units * sizeof *shards, ZERO_MEM_OTHER);
  uint64_t unit_first = 0;
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    size_t params_lo = e->config.stage == 3 ? 0 : unit->keep_lo * zero_type_size(e->config.type);
    shards[u] = (ZeroShard){.master = unit->master,
                            .exp_avg = unit->exp_avg,
                            .exp_avg_sq = unit->exp_avg_sq,
                            .grad = zero_accumulated_at(e, unit, unit->keep_lo),
                            .params = e->config.type == ZERO_F32 ? NULL : (char *)unit->params + params_lo,
                            .first_parameter = unit_first + unit->keep_lo};
    unit_first += unit->layout.total;
  }
  return shards;
}

// A copy in the device's memory; `host` itself where that is the host's.
static void *on_device(ZeroDevice *device, void *host, size_t bytes) {
  if (device->host_memory || bytes == 0) return host;
  void *copy = device->alloc(device, bytes, ZERO_MEM_OTHER);
  device->from_host(device, copy, host, bytes);
  return copy;
}

void zero_shards_create(ZeroEngine *e) {
  ZeroDevice *device = e->device;
  ZeroShards *kept = &e->kept;
  kept->grad_type = e->config.accumulate;
  kept->param_type = e->config.type;
  kept->num_pieces = all_pieces(e, NULL, &kept->num_own);
  e->pieces = zero_malloc(kept->num_pieces * sizeof *e->pieces, ZERO_MEM_OTHER);
  all_pieces(e, e->pieces, &kept->num_own);
  kept->pieces = on_device(device, e->pieces, kept->num_pieces * sizeof *e->pieces);
  ZeroShard *shards = describe_shards(e);
  kept->shards = on_device(device, shards, (size_t)e->num_units * sizeof *shards);
  if (kept->shards != shards) zero_free(shards);
  if (!device->host_memory) kept->sums = device->alloc(device, kept->num_own * sizeof(double), ZERO_MEM_COMM);
}

void zero_shards_destroy(ZeroEngine *e) {
  ZeroDevice *device = e->device;
  if (device->host_memory) {
    zero_free((void *)e->kept.shards);
  } else {
    device->free(device, (void *)e->kept.shards);
    device->free(device, (void *)e->kept.pieces);
    device->free(device, e->kept.sums);
  }
  zero_free(e->pieces);
}
