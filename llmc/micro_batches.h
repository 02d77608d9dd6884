// What passes between the host and the device around each micro-batch: its tokens on the way in, its losses on the
// way out. Nothing of it makes the host wait while the device has work: the loader fills the next micro-batch while
// this one is computed, and losses are added up when a step is over. Where the device's memory is the host's, nothing
// is copied.
//
//   int *host = micro_batches_fill(m);                  // fill it
//   const int *tokens = micro_batches_send(m);          // queue the kernels that read it and write losses
//   micro_batches_take_losses(m, losses, rows, &sum);
//   …                                                   // more of them
//   micro_batches_finish(m);                            // from here on every sum is known
#ifndef LLMC_MICRO_BATCHES_H
#define LLMC_MICRO_BATCHES_H

#include <stddef.h>

#include "../zero/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct MicroBatches MicroBatches;

// ints: of one micro-batch, in whatever order the trainer lays out its tokens, targets and the like. rows: most
// losses of one. pending: micro-batches whose losses may be under way together, at least 1.
MicroBatches *micro_batches_create(ZeroDevice *, size_t ints, size_t rows, size_t pending);
// No losses are under way any more.
void micro_batches_destroy(MicroBatches *);

// Where the host writes the next micro-batch, (ints): all of it, what it holds is old. The host has two such places
// in turn; it waits here if the device has not yet fetched the last but one.
int *micro_batches_fill(MicroBatches *);
// Queues the copy of what was filled. Returns the (ints) where kernels read them, those queued before the next send.
const int *micro_batches_send(MicroBatches *);
// losses: (rows) of the device, as the kernels queued so far leave them. *sum, their sum in row order, is known after
// micro_batches_finish, which this calls itself when as many are under way as may be.
void micro_batches_take_losses(MicroBatches *, const float *losses, size_t rows, double *sum);
// Waits until all losses that were taken are here, and adds them up.
void micro_batches_finish(MicroBatches *);

#ifdef __cplusplus
}
#endif
#endif
