// Learning-rate schedules: llm.c's four, with warmup, and DeepSpeed's five.
#include "schedulers.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {
    [SCHEDULE_COSINE] = "cosine",
    [SCHEDULE_LINEAR] = "linear",
    [SCHEDULE_CONSTANT] = "constant",
    [SCHEDULE_WSD] = "wsd",
    [SCHEDULE_WARMUP] = "WarmupLR",
    [SCHEDULE_WARMUP_DECAY] = "WarmupDecayLR",
    [SCHEDULE_WARMUP_COSINE] = "WarmupCosineLR",
    [SCHEDULE_RANGE_TEST] = "LRRangeTest",
    [SCHEDULE_ONE_CYCLE] = "OneCycle",
};

int schedule_parse(const char *name, ScheduleKind *kind) {
  for (int k = SCHEDULE_COSINE; k <= SCHEDULE_WSD; k++) {
    if (strcmp(name, names[k]) == 0) {
      *kind = (ScheduleKind)k;
      return 0;
    }
  }
  return -1;
}

const char *schedule_names(void) {
  return "cosine, linear, constant, wsd";
}

const char *schedule_name(ScheduleKind kind) {
  return names[kind];
}

int schedule_counts_applied(const Schedule *schedule) {
  return schedule->kind >= SCHEDULE_WARMUP;
}

// ---------------------------------------------------------------------------------------------------
// llm.c's

// How much of the way from `first` to the end of the run is done: 0 to 1, and 1 after it.
static double progress(const Schedule *schedule, size_t first, size_t step) {
  if (step >= schedule->total) return 1.0; // also where the warmup is as long as the run
  return (double)(step - first) / (double)(schedule->total - first);
}

static double llmc_lr(const Schedule *schedule, size_t step) {
  const double lr = schedule->lr;
  if (schedule->kind == SCHEDULE_CONSTANT) return lr;
  if (step < schedule->warmup) return lr * (double)(step + 1) / (double)schedule->warmup;

  const double min_lr = lr * schedule->final_fraction;
  if (schedule->kind == SCHEDULE_WSD) {
    const size_t stable = schedule->total * 4 / 5; // the decay takes the last fifth
    // a warmup that reaches into the decay comes out on its curve
    return step < stable ? lr : min_lr + (1.0 - sqrt(progress(schedule, stable, step))) * (lr - min_lr);
  }
  const double ratio = progress(schedule, schedule->warmup, step);
  if (schedule->kind == SCHEDULE_LINEAR) return lr - ratio * (lr - min_lr);
  const double coeff = 0.5 * (1.0 + cos(M_PI * ratio)); // from 1 down to 0
  return min_lr + coeff * (lr - min_lr);
}

// ---------------------------------------------------------------------------------------------------
// DeepSpeed's. `iteration` is its scheduler's last_batch_iteration, 0 behind the first update.

// Steps of warmup: at least 2, so that its logarithm is not 0.
static size_t warmup_steps(const Schedule *schedule) {
  return schedule->warmup > 2 ? schedule->warmup : 2;
}

// From 0 to 1 over the warmup.
static double warmup_gamma(const Schedule *schedule, size_t iteration) {
  const double steps = (double)warmup_steps(schedule);
  if (schedule->linear_warmup) return (double)iteration / steps;
  return log((double)iteration + 1.0) / log(steps);
}

// Steps between the warmup and the end of the run, at least 1.
static double steps_after_warmup(const Schedule *schedule) {
  const size_t warmup = warmup_steps(schedule);
  return schedule->total > warmup ? (double)(schedule->total - warmup) : 1.0;
}

// What is left of WarmupDecayLR's rate behind the warmup: from 1 down to 0 at the end of the run.
static double linear_decay(const Schedule *schedule, size_t iteration) {
  if (iteration >= schedule->total) return 0.0;
  return (double)(schedule->total - iteration) / steps_after_warmup(schedule);
}

// The same of WarmupCosineLR: its first step behind the warmup is one on the curve already.
static double cosine_decay(const Schedule *schedule, size_t iteration) {
  const double done = (double)(iteration - warmup_steps(schedule) + 1) / steps_after_warmup(schedule);
  const double cosine = 0.5 * (1.0 + cos(M_PI * fmin(1.0, done)));
  return schedule->final_fraction + (1.0 - schedule->final_fraction) * cosine;
}

static double warmup_lr(const Schedule *schedule, size_t step) {
  const double min_lr = schedule->min_lr, lr = schedule->lr;
  // the rate that the scheduler starts with, before its iteration 0
  if (step == 0) return schedule->kind == SCHEDULE_WARMUP_COSINE ? 0.0 : min_lr;
  const size_t iteration = step - 1;
  double gamma = 1.0;
  if (iteration < warmup_steps(schedule)) {
    gamma = warmup_gamma(schedule, iteration);
  } else if (schedule->kind == SCHEDULE_WARMUP_DECAY) {
    gamma = linear_decay(schedule, iteration);
  } else if (schedule->kind == SCHEDULE_WARMUP_COSINE) {
    return lr * cosine_decay(schedule, iteration); // a share of lr alone
  }
  return min_lr + gamma * (lr - min_lr);
}

static double range_lr(const Schedule *schedule, size_t step) {
  const ScheduleRange *range = &schedule->range;
  const double intervals = (double)step / (double)range->size;
  return schedule->min_lr * (1.0 + range->rate * (range->staircase ? floor(intervals) : intervals));
}

// How high in the cycle: 0 at its ends, 1 at its top.
static double cycle_height(const ScheduleCycle *cycle, size_t step) {
  if (step >= cycle->first + cycle->second) return 0.0;
  if (step <= cycle->first) return (double)step / (double)cycle->first;
  return (double)(cycle->first + cycle->second - step) / (double)cycle->second;
}

// Decay intervals behind the cycle.
static double decay_intervals(const ScheduleCycle *cycle, size_t step) {
  const size_t length = cycle->first + cycle->second;
  if (step <= length || cycle->decay_interval == 0) return 0.0;
  return (double)(step - length) / (double)cycle->decay_interval;
}

static double cycle_lr(const Schedule *schedule, size_t step) {
  const ScheduleCycle *cycle = &schedule->cycle;
  const double lr = schedule->min_lr + (schedule->lr - schedule->min_lr) * cycle_height(cycle, step);
  return lr / (1.0 + cycle->lr_decay * decay_intervals(cycle, step));
}

int schedule_betas(const Schedule *schedule, size_t step, double *beta1, double *beta2) {
  const ScheduleCycle *cycle = &schedule->cycle;
  if (schedule->kind != SCHEDULE_ONE_CYCLE || !cycle->momentum) return 0;
  const double onecycle_beta2 = 0.99, below_one = 1.0 - 1e-9;
  const double height = step == 0 ? 1.0 : cycle_height(cycle, step); // the scheduler starts with the lowest
  const double cycled = cycle->max_beta1 - (cycle->max_beta1 - cycle->min_beta1) * height;
  // it grows without end behind the cycle; AdamW needs it below 1
  *beta1 = fmin(cycled * (1.0 + cycle->beta1_decay * decay_intervals(cycle, step)), below_one);
  *beta2 = onecycle_beta2;
  return 1;
}

double schedule_lr(const Schedule *schedule, size_t step) {
  switch (schedule->kind) {
    case SCHEDULE_COSINE:
    case SCHEDULE_LINEAR:
    case SCHEDULE_CONSTANT:
    case SCHEDULE_WSD:
      return llmc_lr(schedule, step);
    case SCHEDULE_WARMUP:
    case SCHEDULE_WARMUP_DECAY:
    case SCHEDULE_WARMUP_COSINE:
      return warmup_lr(schedule, step);
    case SCHEDULE_RANGE_TEST:
      return range_lr(schedule, step);
    case SCHEDULE_ONE_CYCLE:
      return cycle_lr(schedule, step);
  }
  return schedule->lr;
}
