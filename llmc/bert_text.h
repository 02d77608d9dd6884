// The texts beside a BERT: the vocabulary of its tokenizer, a word a line, and the names of its classes.
#ifndef LLMC_BERT_TEXT_H
#define LLMC_BERT_TEXT_H

#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BERT_VOCAB_FILE "vocab.txt" // in a folder

// Names of classes take at most so many bytes together: config.json, which has each of them twice and in the worst
// case with 6 bytes for one, then stays below the 64 MiB that are read of it.
enum { BERT_LABELS_BYTES = 1 << 22 };

// A small text file in memory, by lines. Zero-initialised: none.
typedef struct {
  char *text;   // owns them
  char **lines; // (count), without their ends
  size_t count;
} BertLines;

// The whole file. Problems go into errors with flag and path: unreadable, empty, too large, a 0 byte, a line twice.
// Returns 0, or -1 if there is any.
int bert_lines_read(const char *path, const char *flag, BertLines *, ZeroErrors *errors);
// prefix0, prefix1, … of `count` lines.
BertLines bert_lines_number(const char *prefix, size_t count);
#define BERT_LABEL_PREFIX "LABEL_" // of classes without names, as transformers has them
BertLines bert_lines_copy(const BertLines *);
void bert_lines_free(BertLines *);
// The first line, counted from 0, in which the two differ or that only one of them has; BERT_LINES_SAME if there is
// none.
size_t bert_lines_differ(const BertLines *, const BertLines *);
#define BERT_LINES_SAME ((size_t)-1)

// The vocabulary and what follows from it.
typedef struct {
  BertLines words;
  size_t pad, cls, sep, mask; // numbers of [PAD], [CLS], [SEP] and [MASK]
  int cased;                  // words have capitals: the text's stay; otherwise the tokenizer makes them small
} BertVocab;

// Errors too: no [PAD], [UNK], [CLS], [SEP] or [MASK], more words than the model's vocabulary V. -1 if there is any.
int bert_vocab_read(const char *path, const char *flag, size_t V, BertVocab *, ZeroErrors *errors);
void bert_vocab_free(BertVocab *);

#define BERT_BESIDE_VOCAB ".vocab.txt"
#define BERT_BESIDE_LABELS ".labels.txt"
// The path of a text that the scripts in data/ write once for all samples of a PREFIX: PREFIX + ending, for samples
// PREFIX_train.bin, PREFIX_val.bin and PREFIX_val_mismatched.bin. NULL if there is no such file, or if the samples
// have another name. To be freed with zero_free.
char *bert_text_beside(const char *samples, const char *ending);

#ifdef __cplusplus
}
#endif
#endif
