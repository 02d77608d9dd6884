// How the ranks of a run find each other.
#include "start.h"

#include <string.h>

static void check_place(const OptionTable *table, const char *flag, const char *needed, const char *init,
                        ZeroErrors *errors) {
  const int given = options_given(table, flag), wanted = strcmp(init, needed) == 0;
  if (wanted && !given) {
    zero_errors_add(errors, "%s: not given; -pi %s needs %s", flag, init,
                    strcmp(flag, "-ps") == 0 ? "HOST:PORT, where rank 0 listens" : "a folder that all ranks see");
  } else if (given && !wanted) {
    zero_errors_add(errors, "%s: goes with -pi %s, but this run starts by -pi %s; leave one of them out", flag,
                    needed, init);
  }
}

// Who this is among how many.
static void check_ranks(const Options *o, const OptionTable *table, ZeroErrors *errors) {
  if (!options_given(table, "-pn")) {
    zero_errors_add(errors, "-pn: not given; -pi %s needs the number of processes", o->init);
    return;
  }
  if (o->processes > 1 && !options_given(table, "-pr")) {
    zero_errors_add(errors, "-pr: not given; each of the %lld processes needs its own, from 0 to %lld",
                    (long long)o->processes, (long long)o->processes - 1);
  }
  if (o->processes > 0 && o->process_rank >= o->processes) {
    zero_errors_add(errors, "-pr: found %lld, but -pn says %lld processes; give a number from 0 to %lld",
                    (long long)o->process_rank, (long long)o->processes, (long long)o->processes - 1);
  }
}

int start_from_options(const Options *o, const OptionTable *table, ZeroStart *start, ZeroErrors *errors) {
  const char *init = o->init != NULL ? o->init : "mpi";
  *start = (ZeroStart){.ranks = 1, .rank = 0};
  if (o->help || o->version) return strcmp(init, "mpi") != 0; // nobody else is needed
  const int before = errors->count;
  if (o->init != NULL || !options_given(table, "-pi")) { // else it is not known what the others go with
    check_place(table, "-ps", "tcp", init, errors);
    check_place(table, "-pf", "fs", init, errors);
  }
  if (strcmp(init, "mpi") == 0) {
    if (zero_comm_has_mpi()) return 0;
    if (o->init != NULL) zero_errors_add(errors, "-pi: this program was built without MPI; give tcp or fs");
    if (o->init == NULL && o->processes > 1) {
      zero_errors_add(errors,
                      "-pn: %lld processes, but this program was built without MPI; give -pi tcp or -pi fs too",
                      (long long)o->processes);
    }
    return 0;
  }
  check_ranks(o, table, errors);
  start->rank = o->processes == 1 && !options_given(table, "-pr") ? 0 : (int)o->process_rank;
  // With a mistake in these, or in a number of theirs, there is no connection to tell the others by.
  if (errors->count > before || o->processes < 1 || start->rank < 0) zero_errors_check(errors, NULL);
  start->ranks = (int)o->processes;
  start->per_node = (int)o->gpus_of_node;
  start->server = o->server;
  start->folder = o->folder;
  return 1;
}

int start_ranks_here(const ZeroStart *start) {
  return start->per_node > 0 && start->per_node < start->ranks ? start->per_node : start->ranks;
}

void start_check_launched(const Options *o, const OptionTable *table, const ZeroComm *comm, ZeroErrors *errors) {
  if (!zero_comm_has_mpi()) return; // then there is no launcher, and what asks for one was an error already
  if (options_given(table, "-pn") && o->processes != comm->size) {
    zero_errors_add(errors,
                    "-pn: found %lld, but %d ranks were started; start as many by mpirun, or give -pi tcp or fs",
                    (long long)o->processes, comm->size);
  }
  if (options_given(table, "-pr") && o->process_rank != comm->rank) {
    zero_errors_add(errors,
                    "-pr: found %lld, but this is rank %d; mpirun numbers the ranks: leave -pr out, or give -pi "
                    "tcp or fs",
                    (long long)o->process_rank, comm->rank);
  }
  if (options_given(table, "-pg") && comm->node_size > o->gpus_of_node) {
    zero_errors_add(errors, "-pg: found %lld, but %d ranks were started on this node; start at most so many there",
                    (long long)o->gpus_of_node, comm->node_size);
  }
}
