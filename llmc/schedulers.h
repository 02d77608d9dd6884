// Learning-rate schedules: llm.c's cosine, linear and constant, with warmup.
#ifndef LLMC_SCHEDULERS_H
#define LLMC_SCHEDULERS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_CONSTANT } ScheduleKind;
typedef struct {
  ScheduleKind kind;
  double lr;             // the highest rate
  size_t warmup;         // steps of linear warmup: lr * (step + 1) / warmup; constant has none
  size_t total;          // steps of the whole run
  double final_fraction; // cosine and linear end at lr * final_fraction
} Schedule;

// "cosine", "linear", "constant"; 0 if the name is known, -1 otherwise.
int schedule_parse(const char *name, ScheduleKind *kind);
const char *schedule_names(void); // for messages: "cosine, linear, constant"
// step from 0; rates as in llm.c's schedulers.h.
double schedule_lr(const Schedule *, size_t step);

#ifdef __cplusplus
}
#endif
#endif
