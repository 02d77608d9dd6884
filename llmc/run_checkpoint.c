// Saving a run, and going on with it.
#include "run_checkpoint.h"

#include <stdio.h>

#include "../zero/checkpoint.h"
#include "../zero/error.h"
#include "../zero/memory.h"
#include "checkpoint_dir.h"

static const char STATE_FILE[] = "state.zero";
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
      checkpoint_tmp_path(path, o->out, step, NULL);
      wrong = write(ctx, main_rank ? path : NULL, problem, sizeof problem) != 0;
    }
    if (main_rank) {
      char ignored[PROBLEM_BYTES];
      if (wrong) checkpoint_abandon(o->out, step, ignored, sizeof ignored);
      wrong = wrong || checkpoint_commit(o->out, step, problem, sizeof problem) != 0;
    }
  }
  if (!main_rank) return;
  if (wrong) {
    fprintf(stderr, "warning: no checkpoint of step %zu: %s; training goes on\n", step, problem);
    return;
  }
  printf("checkpoint %s/step_%08zu\n", o->out, step);
  fflush(stdout);
  if (checkpoint_prune(o->out, step, (size_t)o->keep_last, (size_t)o->keep_every, problem, sizeof problem) != 0) {
    fprintf(stderr, "warning: an older checkpoint stays: %s\n", problem);
  }
}

static void check_order_of_data(const char *path, const Progress *saved, const Progress *run, ZeroErrors *errors) {
  const struct {
    const char *what, *fix;
    uint64_t saved, run;
  } parts[] = {
      {"--seed", "use the same", saved->seed, run->seed},
      {"sequences a step", "use the same -b and -d", saved->sequences, run->sequences},
      {"tokens a sequence", "use the same -t", run->T > 0 ? saved->T : 0, run->T},
      {"sequences in the training data", "use the same -i", saved->windows, run->windows},
  };
  if (run->windows == 0) return; // nothing is trained
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    if (parts[i].saved == parts[i].run) continue;
    zero_errors_add(errors, "-y: %s has %s %llu, this run %llu: its data would go on in another order; %s", path,
                    parts[i].what, (unsigned long long)parts[i].saved, (unsigned long long)parts[i].run,
                    parts[i].fix);
  }
}

// The steps of rank 0's checkpoints, ascending, on every rank: ranks that see different folders still make the same
// calls. *steps: zero_free it.
static void list_for_all(ZeroComm *comm, const char *out, size_t **steps, size_t *count, ZeroErrors *errors) {
  char problem[PROBLEM_BYTES];
  const int main_rank = comm->rank == 0;
  *steps = NULL;
  *count = 0;
  if (main_rank && checkpoint_list(out, steps, count, problem, sizeof problem) != 0) {
    zero_errors_add(errors, "-y: %s", problem);
  }
  zero_errors_check(errors, comm);
  comm->control_broadcast(comm, count, sizeof *count);
  if (!main_rank) *steps = zero_malloc(*count * sizeof **steps, ZERO_MEM_OTHER);
  if (*count > 0) comm->control_broadcast(comm, *steps, *count * sizeof **steps);
}

int run_checkpoint_resume(ZeroEngine *engine, ZeroComm *comm, const Options *o, Progress *progress) {
  const int main_rank = comm->rank == 0;
  size_t *steps, count;
  char path[CHECKPOINT_PATH];
  ZeroErrors errors = {NULL, 0};
  list_for_all(comm, o->out, &steps, &count, &errors);
  int loaded = 0;
  while (!loaded && count > 0) {
    ZeroErrors found = {NULL, 0};
    Progress saved;
    checkpoint_path(path, o->out, steps[--count], STATE_FILE);
    loaded = zero_load(engine, path, &saved, sizeof saved, &found) == 0; // the same on all ranks
    if (loaded) {
      check_order_of_data(path, &saved, progress, &errors);
      *progress = saved;
    } else if (count == 0) {
      for (int i = 0; i < found.count; i++) zero_errors_add(&errors, "-y: %s", found.lines[i]);
    } else if (main_rank) {
      if (found.count == 0) printf("note: %s is damaged on another rank; trying an older one\n", path);
      for (int i = 0; i < found.count; i++) printf("note: %s; trying an older one\n", found.lines[i]);
    }
    zero_errors_clear(&found);
  }
  zero_free(steps);
  zero_errors_check(&errors, comm);
  if (main_rank && loaded) printf("resumed from %s\n", path);
  if (main_rank && !loaded) printf("note: -y 1: no checkpoint in %s, starting at step 0\n", o->out);
  return loaded;
}
