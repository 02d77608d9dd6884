// The order in which samples (samples.h) are taken. Training takes them in the order of a permutation keyed by
// (seed, epoch), the dataloader's, and rolls into the next epoch; so which samples a global step sees depends on
// nothing but its number. Validation takes them in file order.
#ifndef LLMC_SAMPLE_LOADER_H
#define LLMC_SAMPLE_LOADER_H

#include <stddef.h>
#include <stdint.h>

#include "samples.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct SampleLoader SampleLoader;

// As samples_open; seed: of the permutation.
SampleLoader *sample_loader_open(const char *pattern, const char *flag, size_t T, size_t vocab, uint64_t seed,
                                 ZeroErrors *errors);
void sample_loader_verify(SampleLoader *, const char *flag, int rank, int ranks, ZeroErrors *errors);
ShardsVerified sample_loader_verified(const SampleLoader *);
size_t sample_loader_files(const SampleLoader *);
const char *sample_loader_path(const SampleLoader *, size_t file); // samples_path
SamplesInfo sample_loader_info(const SampleLoader *);
uint64_t sample_loader_seed(const SampleLoader *);

// Which sample it is, and in which epoch it is taken: what masking is keyed by.
typedef struct {
  size_t number; // in file order
  uint64_t epoch;
} SamplePick;

// The i-th sample that training takes, i = 0, 1, 2 … without end: epoch i / num_samples.
SamplePick sample_loader_pick(const SampleLoader *, size_t i);
// Its text; tokens has room for T. samples_read, timed.
Sample sample_loader_read(SampleLoader *, size_t number, int *tokens);
// Seconds that the calls of sample_loader_read took, all together.
double sample_loader_seconds(const SampleLoader *);
void sample_loader_close(SampleLoader *);

#ifdef __cplusplus
}
#endif
#endif
