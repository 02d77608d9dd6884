// How the ranks of a run find each other: llm.c's flags -pi, -pn, -pr, -pg, -ps and -pf.
#ifndef LLMC_START_H
#define LLMC_START_H

#include "../zero/zero.h"
#include "options.h"

#ifdef __cplusplus
extern "C" {
#endif

// Returns 1 and fills *start in if this run starts without MPI, by -pi tcp or fs; else 0. What does not go together
// is added to the errors; where that leaves it open who the other ranks are, this process ends with all of them, exit
// code 1.
int start_from_options(const Options *, const OptionTable *, ZeroStart *start, ZeroErrors *errors);
// How many ranks are on this machine, as far as the flags tell: all of them unless there is -pg.
int start_ranks_here(const ZeroStart *);
// For a run that did not start so: do the flags say what the launcher did?
void start_check_launched(const Options *, const OptionTable *, const ZeroComm *, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
