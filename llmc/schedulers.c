// Learning-rate schedules: llm.c's cosine, linear and constant, with warmup.
#include "schedulers.h"

#include <math.h>
#include <string.h>

int schedule_parse(const char *name, ScheduleKind *kind) {
  static const struct {
    const char *name;
    ScheduleKind kind;
  } known[] = {{"cosine", SCHEDULE_COSINE}, {"linear", SCHEDULE_LINEAR}, {"constant", SCHEDULE_CONSTANT}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(name, known[i].name) == 0) {
      *kind = known[i].kind;
      return 0;
    }
  }
  return -1;
}

const char *schedule_names(void) {
  return "cosine, linear, constant";
}

// How much of the decay is done: 0 at the end of warmup, 1 at the end of the run and after it.
static double decay_ratio(const Schedule *schedule, size_t step) {
  if (step >= schedule->total) return 1.0; // also where the warmup is as long as the run
  return (double)(step - schedule->warmup) / (double)(schedule->total - schedule->warmup);
}

double schedule_lr(const Schedule *schedule, size_t step) {
  const double lr = schedule->lr;
  if (schedule->kind == SCHEDULE_CONSTANT) return lr;
  if (step < schedule->warmup) return lr * (double)(step + 1) / (double)schedule->warmup;

  const double min_lr = lr * schedule->final_fraction;
  const double ratio = decay_ratio(schedule, step);
  if (schedule->kind == SCHEDULE_LINEAR) return lr - ratio * (lr - min_lr);
  const double coeff = 0.5 * (1.0 + cos(M_PI * ratio)); // from 1 down to 0
  return min_lr + coeff * (lr - min_lr);
}
