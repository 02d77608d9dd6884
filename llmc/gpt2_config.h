// The shape of a GPT-2 and of its tensors. A descriptor gives one: d12, gpt2:d12, L=4,H=4,C=128,T=64,V=256.
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

// Probabilities of dropout in training, in [0, 1): embd_pdrop, attn_pdrop, resid_pdrop of Hugging Face's.
typedef struct {
  double embeddings, attention, residual;
} GPT2DropoutRates;

// The tensors in the order of the .bin file; there each is (L, …) for those of a block.
#define GPT2_LAYERNORM_EPSILON 1e-5f

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
// Elements of the largest one, of one layer.
size_t gpt2_largest_tensor(const GPT2Config *);

// Brings a whole tensor of one layer (0 for tensors outside the blocks) to the rank that writes, as fp32.
// out: (rows, cols) of gpt2_tensor_shape; NULL on the ranks that do not write.
typedef void GPT2Read(void *ctx, GPT2Tensor tensor, size_t layer, float *out);

// text: a descriptor. Problems go into errors: an unknown one (with examples), a missing or zero key, channels not a
// multiple of heads, absurd sizes. Vp is V rounded up to a multiple of 128.
void gpt2_config_parse(const char *text, GPT2Config *, ZeroErrors *errors);
// One error for each size that is out of range or does not fit the others. place: the argument of -e.
void gpt2_config_check(const GPT2Config *, const char *place, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
