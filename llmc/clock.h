// Time for durations.
#ifndef LLMC_CLOCK_H
#define LLMC_CLOCK_H

#include <time.h>

// Seconds of a clock that only goes forward.
static inline double clock_now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

#endif
