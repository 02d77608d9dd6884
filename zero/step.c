// The step: gradient norm, clipping, AdamW on this rank's shard, parameters to whoever holds copies.
#include <math.h>

#include "engine.h"

// PyTorch's clip_grad_norm_ and DeepSpeed add this to the norm, so that a norm of 0 divides nothing by 0.
static const double CLIP_EPS = 1e-6;

static size_t own_chunks(const Unit *unit) {
  return (unit->own_hi - unit->own_lo + ZERO_CHUNK - 1) / ZERO_CHUNK;
}

// One sum of squares per chunk that this rank owns, unit by unit, into own_sums.
static void sum_own_chunks(ZeroEngine *e) {
  e->device->sum_squares(e->device, &e->kept, e->piece_sums);
  size_t p = 0;
  double *sums = e->own_sums;
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    size_t chunks = own_chunks(unit);
    for (size_t c = 0; c < chunks; c++) sums[c] = 0.0;
    for (; p < e->kept.num_own && e->pieces[p].shard == (unsigned)u; p++) {
      sums[(unit->keep_lo + e->pieces[p].first - unit->own_lo) / ZERO_CHUNK] += e->piece_sums[p];
    }
    sums += chunks;
  }
}

// The gathered chunk sums lie rank by rank; adds them chunk by chunk through the model.
static double add_chunk_sums(const ZeroEngine *e, size_t *next) { // next: (ranks) scratch
  double sum = 0.0;
  for (int r = 0; r < e->comm->size; r++) next[r] = e->norm_offsets[r];
  for (int u = 0; u < e->num_units; u++) {
    const size_t *bounds = e->units[u].layout.bounds;
    for (int r = 0; r < e->comm->size; r++) {
      size_t chunks = (bounds[r + 1] - bounds[r] + ZERO_CHUNK - 1) / ZERO_CHUNK;
      for (size_t c = 0; c < chunks; c++) sum += e->all_sums[next[r]++];
    }
  }
  return sum;
}

ZeroNorm zero_norm(ZeroEngine *e) {
  zero_check_call(e, "zero_norm", 0);
  if (e->micro_steps == 0) zero_fatal("zero_norm without zero_micro_begin: this step has no gradients");
  for (int u = 0; u < e->num_units; u++) {
    Unit *unit = &e->units[u];
    if (unit->grad_open || unit->grads_done != e->micro_steps) {
      zero_fatal("unit %s: gradient done in %d of %d micro-steps; call zero_grad_done once in each", unit->name,
                 unit->grads_done, e->micro_steps);
    }
    unit->grads_done = 0;
  }
  zero_finish_reduces(e);
  if (e->config.stage == 0 && !zero_all_reduces(e)) { // every rank runs the whole update: it needs all the sums
    e->comm->publish(e->comm);
    for (int u = 0; u < e->num_units; u++) {
      Unit *unit = &e->units[u];
      zero_gather_now(e, unit, zero_accumulated_at(e, unit, unit->own_lo), unit->accumulated, e->config.accumulate);
    }
  }
  sum_own_chunks(e);
  // Also the point after which no rank reads another's parameters or gradients of this step any more.
  e->comm->control_gather(e->comm, e->own_sums, e->all_sums, e->norm_offsets);
  double sum = add_chunk_sums(e, e->norm_next);
  // A NaN's sign depends on where it came from; logs are to be the same.
  e->norm = (ZeroNorm){isnan(sum) ? NAN : sqrt(sum) / zero_loss_scale(e), !isfinite(sum)};
  e->norm_known = 1;
  return e->norm;
}

static void end_step(ZeroEngine *e, const char *call) {
  if (!e->norm_known) zero_fatal("%s without zero_norm", call);
  e->norm_known = 0;
  e->steps_here++;
  e->micro_steps_here += (size_t)e->micro_steps;
  e->micro_steps = 0;
}

// fp16: the scale that this step's backward used has done its work; what the next one uses follows from the outcome.
static void update_scale(ZeroEngine *e, int overflow) {
  if (e->config.type != ZERO_F16) return;
  if (zero_loss_scaler_update(&e->scaler, overflow) != 0) {
    zero_fatal(
        "Current loss scale already at minimum - cannot decrease scale anymore. Exiting run. (scale %g; the "
        "gradients overflow even so: look for a loss that is infinite or NaN, or lower the learning rate)",
        e->scaler.scale);
  }
}

ZeroStep zero_apply(ZeroEngine *e, float lr) {
  zero_check_call(e, "zero_apply", 0);
  end_step(e, "zero_apply");
  for (int u = 0; u < e->num_units; u++) {
    if (e->units[u].gets > 0 || e->units[u].gathering) {
      zero_fatal("unit %s: its parameters are held while zero_apply changes them; call zero_release first",
                 e->units[u].name);
    }
  }
  e->applied_here++;
  const ZeroConfig *config = &e->config;
  double scale = zero_loss_scale(e);
  double excess = config->clip > 0 ? (e->norm.norm + CLIP_EPS) / config->clip : 0.0;
  double clipped = excess > 1.0 ? 1.0 / excess : 1.0;
  ZeroAdamW adamw = {.l2 = config->l2,
                     .no_bias_correction = config->no_bias_correction,
                     .lr = lr,
                     .beta1 = config->beta1,
                     .beta2 = config->beta2,
                     .eps = config->eps,
                     .weight_decay = config->weight_decay,
                     .grad_scale = clipped / scale,
                     .step = ++e->applied};
  ZeroRounding rounding = zero_rounding(e);
  e->device->adamw(e->device, &adamw, &rounding, &e->kept);
  zero_publish_parameters(e);
  update_scale(e, 0);
  e->in_step = 0;
  return (ZeroStep){e->norm.norm, 0, clipped, scale};
}

void zero_set_betas(ZeroEngine *e, double beta1, double beta2) {
  e->config.beta1 = beta1;
  e->config.beta2 = beta2;
}

void zero_skip(ZeroEngine *e) {
  zero_check_call(e, "zero_skip", 0);
  end_step(e, "zero_skip");
  e->skipped++;
  update_scale(e, e->norm.overflow);
  e->in_step = 0;
}

ZeroStep zero_step(ZeroEngine *e, float lr) {
  ZeroNorm norm = zero_norm(e);
  if (!norm.overflow) return zero_apply(e, lr);
  double scale = zero_loss_scale(e);
  zero_skip(e);
  return (ZeroStep){norm.norm, 1, 1.0, scale};
}

void zero_sums_ordered(ZeroEngine *e, const double *values, int kinds, int n, double *sums) {
  zero_check_call(e, "zero_sums_ordered", kinds * n);
  const size_t each = (size_t)n, count = (size_t)kinds * each, ranks = (size_t)e->comm->size;
  double *all = zero_malloc(count * ranks * sizeof *all, ZERO_MEM_OTHER); // (ranks, kinds, n)
  size_t *offsets = zero_malloc((ranks + 1) * sizeof *offsets, ZERO_MEM_OTHER);
  for (size_t r = 0; r <= ranks; r++) offsets[r] = r * count;
  e->comm->control_gather(e->comm, values, all, offsets);
  for (size_t i = 0; i < (size_t)kinds; i++) {
    sums[i] = 0.0;
    for (size_t k = 0; k < each; k++) {
      for (size_t r = 0; r < ranks; r++) sums[i] += all[r * count + i * each + k];
    }
  }
  zero_free(offsets);
  zero_free(all);
}

double zero_sum_ordered(ZeroEngine *e, const double *values, int n) {
  double sum;
  zero_sums_ordered(e, values, 1, n, &sum);
  return sum;
}
