// Which texts go along with a run's BERT: the vocabulary of its tokenizer and the names of its classes, out of the
// files beside the samples or the folder that -e names, which have to agree.
#ifndef LLMC_BERT_FIND_TEXTS_H
#define LLMC_BERT_FIND_TEXTS_H

#include "bert_text.h"
#include "bert_weights.h"
#include "sample_loader.h"

#ifdef __cplusplus
extern "C" {
#endif

// Where they are looked for.
typedef struct {
  const SampleLoader *train, *val; // of -i and -j; NULL: none
  const BertWeights *weights;      // of -e; NULL: no folder
} BertSources;

// Beside the samples means bert_text_beside, for every file of both splits; where none of them has such a text the
// folder's is taken. *vocab and *labels are read whole, then no file is needed any more; count 0: there is none. Both
// are to be freed. config: complete. Problems go into errors:
//   texts beside the samples that differ; one that cannot be read or is none (bert_vocab_read, bert_lines_read);
//   a vocabulary that is not the one that made the samples, by its size and its special words;
//   a vocabulary beside the samples that is not the folder's, word by word;
//   not one name for each class, or too long ones (BERT_LABELS_BYTES);
//   names that are not the folder's, in its order, where its classifier is taken over.
void bert_find_vocab(const BertSources *, const BertConfig *config, BertVocab *vocab, ZeroErrors *errors);
void bert_find_labels(const BertSources *, const BertConfig *config, BertLines *labels, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
