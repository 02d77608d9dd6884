// The batch triple: sequences of a global batch = sequences of a micro-batch x accumulation steps x ranks.
#ifndef ZERO_BATCH_H
#define ZERO_BATCH_H

#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

// In sequences; 0: not given.
typedef struct {
  int64_t train;        // of all ranks in one step: train_batch_size
  int64_t micro;        // of one rank at once: train_micro_batch_size_per_gpu
  int64_t accumulation; // micro-steps of a step: gradient_accumulation_steps
} ZeroBatch;

enum { ZERO_BATCH_DEFAULT_MICRO = 4 };

// The triple of a run on `ranks` ranks. file: the configuration file's entries. flags: the command line's train and
// micro, which come before the file's (its accumulation is not used). If flags gave one of them and both are known,
// the accumulation is inferred anew, whatever the file says. Where nothing is given: micro ZERO_BATCH_DEFAULT_MICRO
// and one micro-step; where only flags.train is: micro ZERO_BATCH_DEFAULT_MICRO. What is still missing is then
// inferred as DeepSpeed does, and checked with its messages. Returns 0 and the triple in *out, or -1 and one error.
int zero_batch_infer(ZeroBatch file, ZeroBatch flags, int ranks, ZeroBatch *out, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
