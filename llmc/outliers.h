// Is this loss, or this gradient norm, far from the recent ones? llm.c's detector: the z-score of a value within the
// window of the last 128, itself included. Unlike there, a value whose update is skipped is not added, so one
// outlier does not widen the window for the next.
#ifndef LLMC_OUTLIERS_H
#define LLMC_OUTLIERS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { OUTLIERS_WINDOW = 128 };

// Plain data, without gaps: it goes into checkpoints as it is.
typedef struct {
  double values[OUTLIERS_WINDOW]; // a ring once it is full
  uint64_t count;                 // of values that are there
  uint64_t oldest;                // which one the next value replaces
} Outliers;

void outliers_init(Outliers *);
// (value - mean) / standard deviation over the window as it would be with value in place of the oldest: at most
// 127 / sqrt(128) = 11.2. NaN until the window is full; 0 if all are equal; infinity for a value that is not finite.
double outliers_zscore(const Outliers *, double value);
// The value was used. One that is not finite is left out.
void outliers_add(Outliers *, double value);

#ifdef __cplusplus
}
#endif
#endif
