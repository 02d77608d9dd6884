// Learning-rate schedules: llm.c's four, with warmup, and DeepSpeed's five.
#ifndef LLMC_SCHEDULERS_H
#define LLMC_SCHEDULERS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  SCHEDULE_COSINE,
  SCHEDULE_LINEAR,
  SCHEDULE_CONSTANT,
  SCHEDULE_WSD, // warmup, stable, decay
  // DeepSpeed's
  SCHEDULE_WARMUP,        // WarmupLR
  SCHEDULE_WARMUP_DECAY,  // WarmupDecayLR
  SCHEDULE_WARMUP_COSINE, // WarmupCosineLR
  SCHEDULE_RANGE_TEST,    // LRRangeTest
  SCHEDULE_ONE_CYCLE      // OneCycle
} ScheduleKind;

// LRRangeTest: min_lr * (1 + rate * step / size), with whole intervals only if staircase.
typedef struct {
  double rate;
  size_t size; // steps of an interval
  int staircase;
} ScheduleRange;

// OneCycle: min_lr up to lr in `first` steps, down again in `second`, then min_lr / (1 + lr_decay * intervals).
// AdamW's beta1 moves the other way, from max_beta1 down to min_beta1 and up again, then grows by beta1_decay.
typedef struct {
  size_t first, second;
  size_t decay_interval; // steps; 0: no decay
  double lr_decay, beta1_decay;
  int momentum; // 1: beta1 is cycled
  double min_beta1, max_beta1;
} ScheduleCycle;

typedef struct {
  ScheduleKind kind;
  double lr;             // the highest rate; not of LRRangeTest
  size_t warmup;         // llm.c's: steps of linear warmup, lr * (step + 1) / warmup; constant has none
  size_t total;          // steps of the whole run
  double final_fraction; // cosine, linear, wsd and WarmupCosineLR end at lr * final_fraction
  double min_lr;         // DeepSpeed's: where warmup, test and cycle begin; of WarmupCosineLR too
  int linear_warmup;     // DeepSpeed's: 1 linear, 0 logarithmic
  ScheduleRange range;
  ScheduleCycle cycle;
} Schedule;

// "cosine", "linear", "constant", "wsd"; 0 if the name is known, -1 otherwise.
int schedule_parse(const char *name, ScheduleKind *kind);
const char *schedule_names(void); // for messages: "cosine, linear, constant, wsd"
// For messages: the name that schedule_parse takes, or DeepSpeed's.
const char *schedule_name(ScheduleKind);

// 1: the schedule is DeepSpeed's, whose step is the number of updates applied so far; skipped steps do not move it.
// 0: its step is the number of the step in the run, from 0.
int schedule_counts_applied(const Schedule *);

// The rate of a step, from 0. llm.c's as in its schedulers.h. DeepSpeed's as the optimizer gets them: its schedulers
// move behind each update, so the first one uses the rate that the scheduler starts with, and update n (from 0) that
// of the scheduler's iteration n - 1. WarmupLR, WarmupDecayLR and WarmupCosineLR have gamma(0) = 0 and so begin with
// the same rate twice (WarmupCosineLR with 0, then min_lr); LRRangeTest and OneCycle count iterations from 1 and move
// at the second update.
double schedule_lr(const Schedule *, size_t step);

// The betas of a step: of OneCycle with momentum *beta1 and *beta2 are set and 1 is returned, else nothing and 0. As
// in DeepSpeed, beta2 becomes 0.99, and the first update uses min_beta1.
int schedule_betas(const Schedule *, size_t step, double *beta1, double *beta2);

#ifdef __cplusplus
}
#endif
#endif
