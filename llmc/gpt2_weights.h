// A GPT-2's weights as files bring them, behind one interface: llm.c's .bin, or a folder of Hugging Face's.
#ifndef LLMC_GPT2_WEIGHTS_H
#define LLMC_GPT2_WEIGHTS_H

#include <stddef.h>

#include "gpt2_config.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GPT2_NOTE_BYTES = 512 };

typedef struct GPT2Weights GPT2Weights;

// The argument of -e: a folder (gpt2_hf.h), a file whose name ends in .bin (gpt2_bin.h), or a descriptor
// (gpt2_config_parse). *config is its shape. Problems go into errors. Returns the weights, or NULL for a descriptor
// and where there is a problem.
GPT2Weights *gpt2_weights_open(const char *model, GPT2Config *config, ZeroErrors *errors);
// Elements [first, first + count) of a tensor of a layer (0 for tensors outside the blocks), shaped as
// gpt2_tensor_shape says, as fp32. A read that fails ends all ranks with file and offset.
void gpt2_weights_read(GPT2Weights *, GPT2Tensor, size_t layer, size_t first, size_t count, float *out);
// What the user should know about these weights, one line without its end; "" if there is nothing. used: the run's
// dropout, which is not the folder's. Returns note.
const char *gpt2_weights_note(const GPT2Weights *, const GPT2DropoutRates *used, char note[GPT2_NOTE_BYTES]);
void gpt2_weights_close(GPT2Weights *);

#ifdef __cplusplus
}
#endif
#endif
