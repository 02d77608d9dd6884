// Limits of a GPT-2's shape, shared by descriptors, .bin headers and Hugging Face's config.json.
#ifndef LLMC_GPT2_LIMITS_H
#define LLMC_GPT2_LIMITS_H

#include "gpt2_config.h"

#ifdef __cplusplus
extern "C" {
#endif

// Far above any model, and small enough for every size in bytes to fit into 64 bits:
// the largest, 12 L C^2 elements of 4 bytes, is below 2^62.
enum {
  GPT2_MAX_LAYERS = 1 << 14,
  GPT2_MAX_CHANNELS = 1 << 20,
  GPT2_MAX_POSITIONS = 1 << 24,
  GPT2_MAX_VOCAB = 1 << 24
};

// One error for each size that is out of range or does not fit the others. place: the argument of -e.
void gpt2_config_check(const GPT2Config *, const char *place, ZeroErrors *errors);

// The vocabulary rounded up to a multiple of 128: what Vp is where no file says otherwise.
size_t gpt2_pad_vocab(size_t vocab);

#ifdef __cplusplus
}
#endif
#endif
