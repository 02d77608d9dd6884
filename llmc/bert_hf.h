// BERT as Hugging Face's transformers stores it: a folder with config.json and model.safetensors, or several files
// with an index.
//
// Its query, key and value are tensors of their own, ours are packed into one. Its vocabulary has no padding: rows
// from V on are 0 here and are not written there. The weight that predicts masked tokens is that of the word
// embeddings and is stored once.
#ifndef LLMC_BERT_HF_H
#define LLMC_BERT_HF_H

#include <stddef.h>

#include "../zero/device.h"
#include "bert_config.h"
#include "bert_text.h"
#include "hf_config.h"
#include "hf_tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

// Probabilities of dropout: of hidden states (after embeddings, attention's projection and the MLP), of attention's
// weights, and before the classifier.
typedef struct {
  double hidden, attention;
  double classifier; // below 0 in a folder that leaves it open (null): whatever `hidden` becomes
} BertDropoutRates;
#define BERT_DROPOUT_AS_HIDDEN (-1.0)

// What a folder says besides the shape and the weights.
typedef struct {
  BertDropoutRates dropout;
  BertLines labels; // names of the classes of a BertForSequenceClassification, one for regression; else none
} BertAbout;

// folder/config.json: the shape (num_labels and nsp are 0), and whether the model computes what this program does:
// BERT with erf GELU, LayerNorm's eps 1e-12, absolute positions, tied embeddings, no cross attention, one label of
// several or a number to be predicted. Each key that says otherwise is an error with file and key. Returns 0, or -1
// if there is any error. *about is to be freed with bert_about_free if it is 0.
int bert_hf_config(const char *folder, BertConfig *, BertAbout *about, ZeroErrors *errors);
void bert_about_free(BertAbout *);

typedef struct BertHF BertHF;
// Opens the folder; Vp is V rounded up to a multiple of 128. The encoder's tensors may be named with or without
// "bert.", those of LayerNorm gamma and beta too, and each be fp32, bf16 or fp16. Pooler and heads may be missing,
// but each is whole if any of it is there; cls.predictions.decoder may be there if it equals the embedding and the
// bias. Positions that old files list are not read. Problems go into errors (then NULL comes back): those of
// bert_hf_config and safetensors_open, a tensor that is missing, of another shape or type, or unknown.
BertHF *bert_hf_open(const char *folder, BertConfig *, ZeroErrors *errors);
const BertAbout *bert_hf_about(const BertHF *);
int bert_hf_has(const BertHF *, BertTensor); // has the folder this tensor (of all layers)?
size_t bert_hf_labels(const BertHF *);       // rows of the classifier; 0: there is none
// Elements [first, first + count) of a tensor that it has, of a layer (0 for tensors outside the blocks), shaped as
// bert_tensor_shape says, as fp32. A read that fails ends all ranks with file and offset.
void bert_hf_read(const BertHF *, BertTensor, size_t layer, size_t first, size_t count, float *out);
void bert_hf_close(BertHF *);

// Writes config.json and model.safetensors into an existing folder, and with a vocabulary vocab.txt and
// tokenizer_config.json, under the names with suffix behind them: what from_pretrained of transformers needs, for
// BertForSequenceClassification, BertForPreTraining or BertForMaskedLM, whichever the model is. vocab: NULL: none.
// about: rates of 0 or more, and as many names as labels, or none: LABEL_0, …. type: of the tensors. Collective:
// `read` is called alike on every rank, and folder is NULL on those that do not write. The reason of a failure goes
// to `problem`. Weights that are written stay, whatever becomes of the texts beside them.
typedef enum {
  BERT_HF_WRITTEN,     // 0
  BERT_HF_NOTHING,     // no weights, and no other file
  BERT_HF_WEIGHTS_ONLY // the weights are whole, but not all of the texts
} BertHFResult;
BertHFResult bert_hf_write(const char *folder, const char *suffix, const BertConfig *, const BertAbout *about,
                           const BertVocab *vocab, ZeroType type, BertRead *read, void *ctx, char *problem,
                           size_t problem_bytes);
#define BERT_TOKENIZER_FILE "tokenizer_config.json"

// ---------------------------------------------------------------- shared by reader and writer
// Tensors of the file that one of the model is: 3 for query, key and value, whose rows follow each other; else 1.
int bert_hf_parts(BertTensor);
// The name of one of them, "bert.encoder.layer.3.attention.self.key.weight"; its shape there, without padding.
// Returns the number of dimensions; 1-D: shape[1] is 1.
void bert_hf_name(BertTensor, size_t layer, int part, char name[HF_NAME]);
int bert_hf_shape(const BertConfig *, BertTensor, size_t shape[2]);

#ifdef __cplusplus
}
#endif
#endif
