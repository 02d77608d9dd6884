// A run's checkpoints: DIR/step_00000020/ with state.zero (the engine's state and the run's progress) and the
// model in files of its own.
//
// All ranks make these calls; the folders are made by rank 0 (checkpoint_dir.h).
#ifndef LLMC_RUN_CHECKPOINT_H
#define LLMC_RUN_CHECKPOINT_H

#include <stdint.h>

#include "../zero/zero.h"
#include "options.h"
#include "outliers.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a checkpoint keeps of a run beside the engine's state. Plain data, without gaps.
typedef struct {
  uint64_t step; // steps done
  // The order of the data and where step `step` stands in it: sequences of a step, tokens of a window (0: the data
  // are samples, whose order does not depend on it), windows or samples of the whole set.
  uint64_t seed, sequences, T, windows;
  uint64_t sample_state; // of the sampler's generator
  Outliers loss, norm;
} Progress;

// Writes the model's files into a folder that is there (NULL on the ranks that do not write). Collective. Returns 0,
// or -1 and the reason in `problem` on the writing rank.
typedef int WriteModel(void *ctx, const char *folder, char *problem, size_t problem_bytes);

// Saves after progress->step steps into o->out, with the model's files, and prunes by -nk and -nm. A checkpoint that
// cannot be written is said on rank 0 and given up: training goes on.
void run_checkpoint_save(ZeroEngine *, ZeroComm *, const Options *o, const Progress *progress, WriteModel *write,
                         void *ctx);
// Goes on from the newest checkpoint in o->out that is whole: the engine's state and *progress are its own. Where the
// newest is damaged, older ones are tried, with a note. No checkpoint at all: a note, and everything stays as it is.
// Rank 0 says which checkpoints there are. Returns 1 if there was one, else 0. Ends all ranks with exit code 1 if
// none of several is whole, or if the data would go on in another order than that of the checkpoint.
int run_checkpoint_resume(ZeroEngine *, ZeroComm *, const Options *o, Progress *progress);

#ifdef __cplusplus
}
#endif
#endif
