// llm.c's model .bin (magic 20240326; version 3 fp32, 5 bf16): read by range, written tensor by tensor.
#ifndef LLMC_GPT2_BIN_H
#define LLMC_GPT2_BIN_H

#include <stddef.h>

#include "gpt2_config.h"

#ifdef __cplusplus
extern "C" {
#endif

// Does the name end in .bin?
int gpt2_is_bin(const char *path);

// An open .bin file. Problems of opening go into errors (then NULL comes back): missing, wrong magic or version,
// header values out of range, a size that does not fit the header. gpt2_bin_read gives elements [first, first +
// count) of a tensor of a layer (0 for tensors outside the blocks) as fp32; a read that fails ends all ranks with
// file and offset.
typedef struct GPT2Bin GPT2Bin;
GPT2Bin *gpt2_bin_open(const char *path, GPT2Config *, ZeroErrors *errors);
void gpt2_bin_read(const GPT2Bin *, GPT2Tensor, size_t layer, size_t first, size_t count, float *out);
void gpt2_bin_close(GPT2Bin *);

// Writes a .bin file of a shape that gpt2_bin_open accepts. Makes the same calls of `read` on every rank, so
// `read` may be collective. path: NULL on all ranks but the one that writes. type: ZERO_F32, or ZERO_BF16, to which
// values are rounded to nearest, ties to even. The file is flushed to the disk.
// Returns 0. Where the file cannot be written, the writing rank alone gets -1 and the reason, file included, in
// `problem`; the incomplete file is emptied.
int gpt2_bin_write(const char *path, const GPT2Config *, ZeroType type, GPT2Read *read, void *ctx, char *problem,
                   size_t problem_bytes);

#ifdef __cplusplus
}
#endif
#endif
