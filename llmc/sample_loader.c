// The order in which samples are taken.
#include "sample_loader.h"

#include "../zero/memory.h"
#include "clock.h"
#include "dataloader.h"

struct SampleLoader {
  Samples *samples;
  uint64_t seed;
  double seconds; // spent on reading
};

SampleLoader *sample_loader_open(const char *pattern, const char *flag, size_t T, size_t vocab, uint64_t seed,
                                 ZeroErrors *errors) {
  Samples *samples = samples_open(pattern, flag, T, vocab, errors);
  if (samples == NULL) return NULL;
  SampleLoader *loader = zero_malloc(sizeof *loader, ZERO_MEM_OTHER);
  loader->samples = samples;
  loader->seed = seed;
  return loader;
}

void sample_loader_verify(SampleLoader *loader, const char *flag, int rank, int ranks, ZeroErrors *errors) {
  samples_verify(loader->samples, flag, rank, ranks, errors);
}
ShardsVerified sample_loader_verified(const SampleLoader *loader) {
  return samples_verified(loader->samples);
}
size_t sample_loader_files(const SampleLoader *loader) {
  return samples_files(loader->samples);
}
const char *sample_loader_path(const SampleLoader *loader, size_t file) {
  return samples_path(loader->samples, file);
}
SamplesInfo sample_loader_info(const SampleLoader *loader) {
  return samples_info(loader->samples);
}
uint64_t sample_loader_seed(const SampleLoader *loader) {
  return loader->seed;
}

SamplePick sample_loader_pick(const SampleLoader *loader, size_t i) {
  const size_t samples = samples_info(loader->samples).num_samples;
  const uint64_t epoch = i / samples;
  const SamplePick pick = {dataloader_permute(i % samples, samples, loader->seed, epoch), epoch};
  return pick;
}

Sample sample_loader_read(SampleLoader *loader, size_t number, int *tokens) {
  const double start = clock_now();
  const Sample sample = samples_read(loader->samples, number, tokens);
  loader->seconds += clock_now() - start;
  return sample;
}

double sample_loader_seconds(const SampleLoader *loader) {
  return loader->seconds;
}

void sample_loader_close(SampleLoader *loader) {
  if (loader == NULL) return;
  samples_close(loader->samples);
  zero_free(loader);
}
