// GPT-2's dropout (llmc/dropout.h has the masks), where transformers has it: after the embeddings, on attention's
// probabilities, and on what attention's projection and the MLP's add to the residual stream.
//
// A mask depends on the seed, the step and the sequence's number within the step's global batch: not on ranks, stage,
// accumulation or micro-batch. None is stored: backward, whatever it recomputes, draws the same ones. What kernels
// need to know of the rows comes along with each micro-batch's tokens.
#ifndef LLMC_GPT2_DROPOUT_H
#define LLMC_GPT2_DROPOUT_H

#include <stddef.h>
#include <stdint.h>

#include "gpt2_config.h"
#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// Where a layer drops; the embeddings are layer 0, block l is layer 1 + l.
typedef enum {
  GPT2_DROP_WEIGHTS, // of attention
  GPT2_DROP_FIRST,   // the embeddings; attention's projection
  GPT2_DROP_SECOND   // the MLP's projection
} GPT2DropSite;

// Of one micro-batch of B sequences of T tokens. The arrays are the device's. NULL in its place: nothing drops.
typedef struct {
  GPT2DropoutRates rates;
  uint64_t seed, step;
  const int *samples;     // (B) number of each sequence within the global batch
  const int *row_samples; // (B*T) the same of each row
  const int *positions;   // (B*T) of the row in its sequence
} GPT2Dropout;

// As the flags give them: hidden, of the embeddings and of what is added to the residual stream; attention.
GPT2DropoutRates gpt2_dropout_rates(double hidden, double attention);
int gpt2_drops(const GPT2DropoutRates *);
// The ints that a micro-batch brings along: 0 where nothing drops.
size_t gpt2_dropout_ints(const GPT2DropoutRates *, size_t B, size_t T);
// Writes them to the host's `ints` for the sequences first, first + 1, … of the global batch; nothing where nothing
// drops.
void gpt2_dropout_fill(const GPT2DropoutRates *, size_t first, size_t B, size_t T, int *ints);
// ints: those of gpt2_dropout_fill, on the device.
GPT2Dropout gpt2_dropout(const GPT2DropoutRates *, uint64_t seed, uint64_t step, size_t B, size_t T, const int *ints);

// The rows (B, T, C) at one site: into out, which may be inp; returns out, or inp, left alone, where nothing drops.
const void *gpt2_drop_rows(const GPT2Dropout *, void *out, const void *inp, size_t layer, GPT2DropSite site, size_t B,
                           size_t T, size_t C, ZeroType type, ZeroStream stream);
// What attention in block l takes: its sequences, and its dropout.
OpsSequences gpt2_sequences(const GPT2Dropout *, size_t B, size_t T);
OpsDropout gpt2_drop_weights(const GPT2Dropout *, size_t l);

#ifdef __cplusplus
}
#endif
#endif
