// A BERT as -e names it, behind one interface: a descriptor, or a folder of Hugging Face's with weights.
#ifndef LLMC_BERT_WEIGHTS_H
#define LLMC_BERT_WEIGHTS_H

#include <stddef.h>

#include "bert_config.h"
#include "bert_hf.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct BertWeights BertWeights;

// The argument of -e: a folder (bert_hf.h) or a descriptor (bert_config_parse). *config is its shape, with num_labels
// and nsp 0. Problems go into errors. Returns the weights, or NULL for a descriptor and where there is a problem.
BertWeights *bert_weights_open(const char *model, BertConfig *config, ZeroErrors *errors);

// When the data and the task have said what the model predicts: config is complete. An error if the classifier that
// is there has another number of labels. Call before what follows.
void bert_weights_choose(BertWeights *, const BertConfig *, ZeroErrors *errors);
// Has the folder this tensor? If not, and the model has it, it begins with new values.
int bert_weights_has(const BertWeights *, BertTensor);
// bert_hf_read, of a tensor that is there.
void bert_weights_read(const BertWeights *, BertTensor, size_t layer, size_t first, size_t count, float *out);

// What the user should know about these weights: tensors that begin anew, tensors of heads that the task leaves out.
typedef enum { BERT_NOTE_NEW, BERT_NOTE_LEFT_OUT, BERT_NUM_NOTES } BertNote;
enum { BERT_NOTE_BYTES = 1024 };
// One line without its end; "" if there is nothing. Returns note.
const char *bert_weights_note(const BertWeights *, BertNote, char note[BERT_NOTE_BYTES]);

// What config.json says about dropout and labels: the trainer's defaults.
const BertAbout *bert_weights_about(const BertWeights *);
// The folder, and the path of its vocabulary; NULL if it has none. Valid until the weights are closed.
const char *bert_weights_folder(const BertWeights *);
const char *bert_weights_vocab(const BertWeights *);
void bert_weights_close(BertWeights *);

#ifdef __cplusplus
}
#endif
#endif
