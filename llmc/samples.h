// Files of samples for BERT: tokenized texts of different lengths, with or without labels, one file or many by a
// glob. One format serves pretraining and fine-tuning; the scripts in data/ write it. Little-endian, without gaps:
//
//   int32 header[256]                magic 20261128, version 1, num_samples, num_labels (0: none, 1: a number to be
//                                    predicted, n: classes 0 … n - 1), vocab_size, longest sample, the ids of [PAD],
//                                    [CLS], [SEP] and [MASK], num_tokens as two int32 (low, high), pairs (1: the
//                                    label says whether B followed A in the text), then zeros
//   uint64 offsets[num_samples + 1]  of the samples, in tokens: ascending from 0 to num_tokens
//   uint16 second[num_samples]       position from which the token type is 1: the length where there is no B
//   float32 labels[num_samples]      only where num_labels or pairs is not 0
//   uint16 tokens[num_tokens]        [CLS] A [SEP] or [CLS] A [SEP] B [SEP]; not padded, not masked
//
// Nothing of a file is kept in memory: a sample is read when it is asked for.
#ifndef LLMC_SAMPLES_H
#define LLMC_SAMPLES_H

#include <stddef.h>

#include "../zero/error.h"
#include "shard_files.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SAMPLES_MAGIC = 20261128, SAMPLES_VERSION = 1, SAMPLES_MAX_LABELS = 1 << 16 };

typedef struct Samples Samples;

// What all files of a glob have in common, and their sums.
typedef struct {
  size_t num_samples, num_tokens;
  size_t longest;          // tokens of the longest sample
  size_t num_labels;       // 0: none, 1: a number, n: classes
  int pairs;               // 1: labels say whether B followed A
  int two_texts;           // 1: some samples have a second text, so tokens of type 1
  size_t vocab_size;       // of the tokenizer that made the data
  int pad, cls, sep, mask; // its special tokens
} SamplesInfo;

typedef struct {
  size_t length; // tokens
  size_t second; // position from which the token type is 1; length: none
  float label;   // 0 without labels
} Sample;

// flag: "-i" or "-j", for messages. Checks header and size of every file, and of every file all offsets, all values
// of `second` and all labels; of the first file every token too (those of the others are checked when they are read).
// T: the most tokens that a sample may have; vocab: tokens that the model knows. Problems go into errors (then NULL
// comes back): no match, unreadable, wrong magic or version, a header that contradicts itself, a file shorter or
// longer than its header says, files that do not belong together, a sample longer than T, a label that is no class.
Samples *samples_open(const char *pattern, const char *flag, size_t T, size_t vocab, ZeroErrors *errors);
// shard_files_verify: the checksums beside the files.
void samples_verify(Samples *, const char *flag, int rank, int ranks, ZeroErrors *errors);
ShardsVerified samples_verified(const Samples *);
size_t samples_files(const Samples *);
const char *samples_path(const Samples *, size_t file); // file < samples_files

SamplesInfo samples_info(const Samples *);
// Sample n in file order, n < num_samples. tokens has room for T. A file that changed since it was opened, and a
// token outside the vocabulary, end all ranks with file and position; so does a second text where two_texts is 0.
Sample samples_read(Samples *, size_t n, int *tokens);
void samples_close(Samples *);

#ifdef __cplusplus
}
#endif
#endif
