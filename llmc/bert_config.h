// The shape of a BERT and of its tensors. A descriptor gives one: bert-mini, L=4,H=4,C=128,T=128,V=30522.
#ifndef LLMC_BERT_CONFIG_H
#define LLMC_BERT_CONFIG_H

#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  size_t max_positions;     // maxT
  size_t type_vocab;        // token types
  size_t vocab_size;        // V
  size_t padded_vocab_size; // Vp
  size_t num_layers;        // L
  size_t num_heads;         // NH
  size_t channels;          // C
  size_t hidden;            // channels within the MLP, 4C but in models from elsewhere
  size_t num_labels;        // of the classification head, 1: regression; 0: the head of pretraining
  int nsp;                  // pretraining: next-sentence prediction too, and the pooler that it needs
} BertConfig;

// The tensors, unit by unit: embeddings, block, head.
typedef enum {
  BERT_WTE,
  BERT_WPE,
  BERT_WTYPE,
  BERT_LNEW, // the LayerNorm after the embeddings
  BERT_LNEB,
  BERT_QKVW,
  BERT_QKVB,
  BERT_ATTPROJW,
  BERT_ATTPROJB,
  BERT_LN1W, // after attention and its residual
  BERT_LN1B,
  BERT_FCW,
  BERT_FCB,
  BERT_FCPROJW,
  BERT_FCPROJB,
  BERT_LN2W, // after the MLP and its residual
  BERT_LN2B,
  BERT_POOLW,
  BERT_POOLB,
  BERT_MLMW, // masked-LM head: dense, GELU, LayerNorm; then wte and a bias
  BERT_MLMB,
  BERT_MLMLNW,
  BERT_MLMLNB,
  BERT_MLMBIAS,
  BERT_NSPW,
  BERT_NSPB,
  BERT_CLSW,
  BERT_CLSB,
  BERT_NUM_TENSORS
} BertTensor;

enum { BERT_NSP_LABELS = 2 }; // 0: sentence B follows A, 1: it does not

typedef enum { BERT_UNIT_EMBEDDINGS, BERT_UNIT_BLOCK, BERT_UNIT_HEAD } BertUnit;
BertUnit bert_tensor_unit(BertTensor);
// Is it part of this model? Which tensors of the head are depends on what it predicts.
int bert_tensor_in_model(const BertConfig *, BertTensor);
// Sizes of its two dimensions (1-D: cols 1), of one layer.
void bert_tensor_shape(const BertConfig *, BertTensor, size_t *rows, size_t *cols);
int bert_tensor_in_block(BertTensor);     // part of every block?
const char *bert_tensor_name(BertTensor); // "wte", "qkvw", …

// Elements of all tensors of the model, padded vocabulary included (Psi of the ZeRO formulas).
size_t bert_num_parameters(const BertConfig *);
// Elements of the largest one, of one layer.
size_t bert_largest_tensor(const BertConfig *);

// Brings a whole tensor of one layer (0 for tensors outside the blocks) to the rank that writes, as fp32.
// out: (rows, cols) of bert_tensor_shape; NULL on the ranks that do not write.
typedef void BertRead(void *ctx, BertTensor tensor, size_t layer, float *out);

// text: a descriptor. Problems go into errors: an unknown one (with examples), a missing or zero key, channels not a
// multiple of heads, absurd sizes. Vp is V rounded up to a multiple of 128, the MLP has 4C, num_labels and nsp are 0:
// the caller sets them.
void bert_config_parse(const char *text, BertConfig *, ZeroErrors *errors);
// One error for each size that is out of range or does not fit the others; num_labels, which samples or the folder's
// labels give within their own limit, is not looked at. place: the argument of -e.
void bert_config_check(const BertConfig *, const char *place, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
