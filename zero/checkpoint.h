// The engine's whole state in one file, and back at any stage and number of ranks.
//
// Numbers are in the machine's own byte order. In the file, one after the other: a header (what follows, steps,
// loss scale); the model's description, one line of text per tensor; the caller's own record; the master weights,
// then exp_avg, then exp_avg_sq, in fp32, tensor by tensor as the model declares them; and the XXH3-64 of all that
// stands before it.
#ifndef ZERO_CHECKPOINT_H
#define ZERO_CHECKPOINT_H

#include <stddef.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ZeroEngine ZeroEngine;

// Collective, between two steps. Rank 0 writes the file, bounded pieces at a time, and flushes it to the disk; an
// older file of that name is overwritten. extra: the caller's record (data position, sampler …), rank 0's counts;
// extra_bytes is the same on all ranks.
// Returns 0, or -1 on all ranks if the file cannot be written (no space, no permission …): rank 0 has then said
// why on stderr and emptied what there was of the file. The engine is as before, training can go on.
int zero_save(ZeroEngine *, const char *path, const void *extra, size_t extra_bytes);

// Collective. Every rank reads the file itself: all of it is checked first, then weights, moments, steps and, in
// fp16, the loss scale are those of the file; its rules (window, hysteresis …) stay the engine's. extra: where
// extra_bytes of the caller's record are put.
// Returns 0, or -1 on all ranks if any of them finds something wrong: missing, cut off, changed, of another model,
// of another version. Then neither the engine nor extra has changed, and the ranks concerned have one error more
// in `errors`.
int zero_load(ZeroEngine *, const char *path, void *extra, size_t extra_bytes, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
