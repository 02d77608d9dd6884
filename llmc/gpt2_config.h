// The shape of a GPT-2: from a descriptor (d12, gpt2:d12, L=4,H=4,C=128,T=64,V=256) or from llm.c's model
// .bin file (magic 20240326; version 3 fp32, 5 bf16), whose weights are read by range. Such a file can be written
// too.
#ifndef LLMC_GPT2_CONFIG_H
#define LLMC_GPT2_CONFIG_H

#include <stddef.h>

#include "../zero/device.h"
#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  size_t max_seq_len;       // maxT
  size_t vocab_size;        // V
  size_t padded_vocab_size; // Vp
  size_t num_layers;        // L
  size_t num_heads;         // NH
  size_t channels;          // C
} GPT2Config;

// The tensors in the order of the .bin file; there each is (L, …) for those of a block.
typedef enum {
  GPT2_WTE,
  GPT2_WPE,
  GPT2_LN1W,
  GPT2_LN1B,
  GPT2_QKVW,
  GPT2_QKVB,
  GPT2_ATTPROJW,
  GPT2_ATTPROJB,
  GPT2_LN2W,
  GPT2_LN2B,
  GPT2_FCW,
  GPT2_FCB,
  GPT2_FCPROJW,
  GPT2_FCPROJB,
  GPT2_LNFW,
  GPT2_LNFB,
  GPT2_NUM_TENSORS
} GPT2Tensor;

// Elements of one tensor (of one layer) under this shape; sizes of its two dimensions (1-D: cols 1).
void gpt2_tensor_shape(const GPT2Config *, GPT2Tensor, size_t *rows, size_t *cols);
int gpt2_tensor_in_block(GPT2Tensor);     // part of every block?
const char *gpt2_tensor_name(GPT2Tensor); // "wte", "qkvw", …

// Elements of all tensors, padded vocabulary included (Psi of the ZeRO formulas).
size_t gpt2_num_parameters(const GPT2Config *);

// text: the argument of -e. A name ending in .bin is a file. Problems go into errors: an unknown descriptor
// (with examples), a missing or zero key, channels not a multiple of heads, absurd sizes; for files missing,
// wrong magic or version, header values out of range, file size that does not fit the header.
// Returns 1 if text is a .bin file, 0 for a descriptor.
int gpt2_config_parse(const char *text, GPT2Config *, ZeroErrors *errors);

// An open .bin file. gpt2_bin_read gives elements [first, first + count) of a tensor of a layer (0 for
// tensors outside the blocks) as fp32; a read that fails ends all ranks with file and offset.
typedef struct GPT2Bin GPT2Bin;
GPT2Bin *gpt2_bin_open(const char *path, GPT2Config *, ZeroErrors *errors);
void gpt2_bin_read(const GPT2Bin *, GPT2Tensor, size_t layer, size_t first, size_t count, float *out);
void gpt2_bin_close(GPT2Bin *);

// Brings a whole tensor of one layer (0 for tensors outside the blocks) to the rank that writes, as fp32.
// out: (rows, cols) of gpt2_tensor_shape; NULL on the ranks that do not write.
typedef void GPT2Read(void *ctx, GPT2Tensor tensor, size_t layer, float *out);
// Writes a .bin file of a shape that gpt2_config_parse accepts. Makes the same calls of `read` on every rank, so
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
