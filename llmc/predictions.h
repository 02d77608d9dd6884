// The predictions of a validation's samples, gathered from the ranks that made them. They come out in the order of
// the samples' numbers: the same figures for every number of ranks.
#ifndef LLMC_PREDICTIONS_H
#define LLMC_PREDICTIONS_H

#include <stddef.h>

#include "../zero/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Predictions Predictions;

// total: samples of the validation, 0 … total - 1, of all ranks together.
Predictions *predictions_create(size_t total);
// One of this rank's samples. Classes are whole numbers.
void predictions_add(Predictions *, size_t number, double predicted, double label);
// Collective, once: every rank gets all of them. In pieces of a bounded size. A sample that no rank has, or that two
// have, ends all ranks.
void predictions_gather(Predictions *, ZeroComm *);
const double *predictions_predicted(const Predictions *); // (total), after predictions_gather
const double *predictions_labels(const Predictions *);    // likewise
void predictions_free(Predictions *);

#ifdef __cplusplus
}
#endif
#endif
