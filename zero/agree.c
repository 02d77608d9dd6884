// Do all ranks describe the same engine? Ranks that differ would wait for each other for ever, read past what a peer
// has, or train each its shard in another way.
#include <xxhash.h>

#include "engine.h"

// What has to be the same, as numbers that doubles hold exactly.
typedef struct {
  const char *name;
  double value;
} Figure;

enum { HALF_BITS = 32 };

static double low_half(uint64_t value) {
  return (double)(value & UINT32_MAX);
}

static double high_half(uint64_t value) {
  return (double)(value >> HALF_BITS);
}

// Of everything in the units' descriptions but their names.
static uint64_t hash_units(const ZeroUnit *units, int num_units) {
  XXH3_state_t *hash = XXH3_createState();
  if (!hash || XXH3_64bits_reset(hash) != XXH_OK) zero_fatal("XXH3 could not be started: out of memory");
  int failed = 0;
  for (int u = 0; u < num_units; u++) {
    const uint64_t unit[] = {(uint64_t)units[u].num_tensors, units[u].flags};
    failed |= XXH3_64bits_update(hash, unit, sizeof unit) != XXH_OK;
    for (int t = 0; t < units[u].num_tensors; t++) {
      const ZeroTensor *tensor = &units[u].tensors[t];
      uint64_t shape[ZERO_MAX_DIMS + 2] = {(uint64_t)tensor->ndim, tensor->flags};
      for (int d = 0; d < tensor->ndim; d++) shape[2 + d] = tensor->shape[d];
      failed |= XXH3_64bits_update(hash, shape, sizeof shape) != XXH_OK;
    }
  }
  if (failed) zero_fatal("XXH3 failed");
  const uint64_t value = XXH3_64bits_digest(hash);
  XXH3_freeState(hash);
  return value;
}

void zero_check_same(const ZeroConfig *c, const ZeroUnit *units, int num_units, ZeroComm *comm, ZeroErrors *errors) {
  const ZeroLossScaling *s = &c->loss_scaling;
  const uint64_t model = hash_units(units, num_units);
  const Figure figures[] = {
      {"units of the model", (double)num_units},
      {"the shapes of the model", low_half(model)},
      {"the shapes of the model", high_half(model)},
      {"stage", (double)c->stage},
      {"compute type", (double)c->type},
      {"communication_data_type", (double)c->wire},
      {"grad_accum_dtype", (double)c->accumulate},
      {"deterministic", (double)c->deterministic},
      {"beta1", c->beta1},
      {"beta2", c->beta2},
      {"eps", c->eps},
      {"weight_decay", c->weight_decay},
      {"adam_w_mode", (double)c->l2},
      {"bias_correction", (double)c->no_bias_correction},
      {"decay of all tensors", (double)c->decay_all},
      {"gradient_clipping", c->clip},
      {"loss_scale", s->scale},
      {"initial_scale_power", (double)s->initial_power},
      {"loss_scale_window", (double)s->window},
      {"hysteresis", (double)s->hysteresis},
      {"consecutive_hysteresis", (double)s->consecutive_hysteresis},
      {"min_loss_scale", s->min_scale},
      {"stochastic_rounding", (double)c->stochastic_rounding},
      {"seed", low_half(c->seed)},
      {"seed", high_half(c->seed)},
  };
  enum { FIGURES = sizeof figures / sizeof figures[0] };
  const size_t ranks = (size_t)comm->size;
  double mine[FIGURES];
  double *all = zero_malloc(ranks * sizeof mine, ZERO_MEM_OTHER); // (ranks, FIGURES)
  for (size_t i = 0; i < FIGURES; i++) mine[i] = figures[i].value;
  zero_comm_gather_each(comm, mine, FIGURES, all);
  for (size_t i = 0; i < FIGURES; i++) {
    if (mine[i] == all[i]) continue;
    zero_errors_add(errors,
                    "rank %d differs from rank 0 in %s; give all ranks the same model, configuration and flags",
                    comm->rank, figures[i].name);
    break; // the first one says enough: the halves of a hash are two figures
  }
  zero_free(all);
}
