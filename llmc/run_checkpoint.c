// Saving a run, and going on with it.
#include "run_checkpoint.h"

#include <stdio.h>

#include "../zero/checkpoint.h"
#include "../zero/error.h"
#include "../zero/memory.h"
#include "checkpoint_dir.h"

static const char STATE_FILE[] = "state.zero";
static const char MODEL_FILE[] = "model.bin";
enum { PROBLEM_BYTES = 8192 };

// Did something go wrong on any rank? Collective.
static int on_any_rank(ZeroEngine *engine, int wrong) {
  const double flag = wrong != 0;
  return zero_sum_ordered(engine, &flag, 1) > 0.0;
}

void run_checkpoint_save(ZeroEngine *engine, ZeroComm *comm, const Options *o, const Progress *progress,
                         WriteModel *write, void *ctx) {
  const int main_rank = comm->rank == 0;
  const size_t step = (size_t)progress->step;
  char path[CHECKPOINT_PATH], problem[PROBLEM_BYTES] = "";
  int wrong = main_rank && checkpoint_begin(o->out, step, problem, sizeof problem) != 0;
  if (!on_any_rank(engine, wrong)) {
    checkpoint_tmp_path(path, o->out, step, STATE_FILE);
    wrong = zero_save(engine, path, progress, sizeof *progress) != 0;
    if (wrong) snprintf(problem, sizeof problem, "see above");
    if (!wrong) {
      checkpoint_tmp_path(path, o->out, step, MODEL_FILE);
      wrong = write(ctx, main_rank ? path : NULL, problem, sizeof problem) != 0;
    }
    if (main_rank) {
      char ignored[PROBLEM_BYTES];
      if (wrong) checkpoint_abandon(o->out, step, ignored, sizeof ignored);
      wrong =
          wrong || checkpoint_commit(o->out, step, problem, sizeof problem) != 0 ||
          checkpoint_prune(o->out, step, (size_t)o->keep_last, (size_t)o->keep_every, problem, sizeof problem) != 0;
    }
  }
  if (!main_rank) return;
  if (wrong) {
    fprintf(stderr, "warning: no checkpoint of step %zu: %s; training goes on\n", step, problem);
  } else {
    printf("checkpoint %s/step_%08zu\n", o->out, step);
  }
  fflush(stdout);
}

static void check_order_of_data(const char *path, const Progress *saved, const Progress *run, ZeroErrors *errors) {
  if (saved->seed == run->seed && saved->sequences == run->sequences) return;
  zero_errors_add(errors,
                  "-y: %s was trained with --seed %llu and %llu sequences a step, this run has %llu and %llu: its "
                  "data would go on in another order; use the same",
                  path, (unsigned long long)saved->seed, (unsigned long long)saved->sequences,
                  (unsigned long long)run->seed, (unsigned long long)run->sequences);
}

void run_checkpoint_resume(ZeroEngine *engine, ZeroComm *comm, const Options *o, Progress *progress) {
  const int main_rank = comm->rank == 0;
  size_t *steps = NULL, count = 0;
  char problem[PROBLEM_BYTES], path[CHECKPOINT_PATH];
  ZeroErrors errors = {NULL, 0};
  if (checkpoint_list(o->out, &steps, &count, problem, sizeof problem) != 0) {
    zero_errors_add(&errors, "-y: %s", problem);
  }
  int loaded = 0;
  while (!loaded && errors.count == 0 && count > 0) {
    ZeroErrors found = {NULL, 0};
    Progress saved;
    checkpoint_path(path, o->out, steps[--count], STATE_FILE);
    loaded = zero_load(engine, path, &saved, sizeof saved, &found) == 0;
    if (loaded) {
      check_order_of_data(path, &saved, progress, &errors);
      *progress = saved;
    } else if (count == 0) {
      for (int i = 0; i < found.count; i++) zero_errors_add(&errors, "-y: %s", found.lines[i]);
      if (found.count == 0) zero_errors_add(&errors, "-y: no checkpoint in %s is whole", o->out);
    } else if (main_rank) {
      for (int i = 0; i < found.count; i++) printf("note: %s; trying an older one\n", found.lines[i]);
    }
  }
  zero_free(steps);
  zero_errors_check(&errors, comm);
  if (main_rank && loaded) printf("resumed from %s\n", path);
  if (main_rank && !loaded) printf("note: -y 1: no checkpoint in %s, starting at step 0\n", o->out);
}
