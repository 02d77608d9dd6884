// What a start without MPI is told by the environment, and the start itself.
#ifndef ZERO_COMM_START_H
#define ZERO_COMM_START_H

#include "comm_impl.h"

// Whether mpirun, srun or the like started this process.
int zero_start_launcher_present(void);
// Its ranks and rank, where it says so; else 0.
int zero_start_launched(ZeroStart *);
// ZERO_START, ZERO_RANK, ZERO_RANKS. 0: ZERO_START is not set. A mistake in them ends this process with exit code 1.
int zero_start_from_environment(ZeroStart *);
// A variable that is a number of seconds above 0, or the built-in value; anything else ends this process.
double zero_start_seconds(const char *variable, double built_in);

// Finds the other ranks and connects with all; sets rank, size, node and link. Adds to the errors if that fails.
void zero_tcp_start(ZeroComm *, const ZeroStart *, ZeroErrors *);

#endif
