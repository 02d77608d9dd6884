// A run that is asked to stop finishes its step first: SIGINT, SIGTERM, and SIGUSR1, which mpirun hands on
// (scripts/run.sh sends that one).
#ifndef LLMC_STOP_H
#define LLMC_STOP_H

#ifdef __cplusplus
extern "C" {
#endif

// From here on these signals are only noted. Ends all ranks if they cannot be caught.
void stop_catch_signals(void);
// Has one come, to this rank?
int stop_requested(void);

#ifdef __cplusplus
}
#endif
#endif
