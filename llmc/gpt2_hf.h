// GPT-2 as Hugging Face's transformers stores it: a folder with config.json and model.safetensors, or several files
// with an index.
//
// Its linear weights are (in, out), ours (out, in): they are transposed on the way. Its vocabulary has no padding:
// rows from V on are 0 here and are not written there. The head's weight is that of the embedding and is stored once.
#ifndef LLMC_GPT2_HF_H
#define LLMC_GPT2_HF_H

#include <stddef.h>

#include "gpt2_bin.h"
#include "gpt2_config.h"
#include "hf_config.h"
#include "hf_tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

// folder/config.json: the shape, and whether the model computes what this program does: GPT-2 with tanh GELU,
// LayerNorm's eps 1e-5, an MLP of 4C, scaled attention, tied embeddings. Each key that says otherwise is an error
// with file and key. *dropout: what the file has for training. Returns 0, or -1 if there is any error.
int gpt2_hf_config(const char *folder, GPT2Config *, GPT2DropoutRates *dropout, ZeroErrors *errors);

typedef struct GPT2HF GPT2HF;
// Opens the folder; Vp is V rounded up to a multiple of 128. Tensors may be named with or without "transformer.", and
// be fp32, bf16 or fp16, each for itself. lm_head.weight may be there if it equals the embedding; the masks of old
// files are not read. Problems go into errors (then NULL comes back): those of gpt2_hf_config and safetensors_open, a
// tensor that is missing, of another shape or type, or unknown.
GPT2HF *gpt2_hf_open(const char *folder, GPT2Config *, ZeroErrors *errors);
// As gpt2_bin_read. Holds one transposed tensor, so that it is read once however small the pieces are.
void gpt2_hf_read(GPT2HF *, GPT2Tensor, size_t layer, size_t first, size_t count, float *out);
const GPT2DropoutRates *gpt2_hf_dropout(const GPT2HF *); // of gpt2_hf_config
void gpt2_hf_close(GPT2HF *);

// Writes config.json and model.safetensors into an existing folder, under the names with suffix behind them. dropout:
// that of training; type: of the tensors. Calls of `read`, results and `problem` as in gpt2_bin_write, with folder
// NULL on the ranks that do not write; files that are not complete are removed.
int gpt2_hf_write(const char *folder, const char *suffix, const GPT2Config *, const GPT2DropoutRates *dropout,
                  ZeroType type, GPT2Read *read, void *ctx, char *problem, size_t problem_bytes);

// ---------------------------------------------------------------- shared by reader and writer
// The tensor's name, "transformer.h.3.attn.c_attn.weight"; its shape there, without padding; is it stored transposed?
// Returns the number of dimensions.
void gpt2_hf_name(GPT2Tensor, size_t layer, char name[HF_NAME]);
int gpt2_hf_shape(const GPT2Config *, GPT2Tensor, size_t shape[2]);
int gpt2_hf_transposed(GPT2Tensor);

#ifdef __cplusplus
}
#endif
#endif
