// The texts beside a BERT: the vocabulary of its tokenizer, a word a line, and the names of its classes.
#ifndef LLMC_BERT_TEXT_H
#define LLMC_BERT_TEXT_H

#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BERT_VOCAB_FILE "vocab.txt" // in a folder

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
BertLines bert_lines_copy(const BertLines *);
void bert_lines_free(BertLines *);

// The vocabulary and what follows from it.
typedef struct {
  BertLines words;
  size_t pad; // number of [PAD]
  int cased;  // words have capitals: the text's stay; otherwise the tokenizer makes them small
} BertVocab;

// Errors too: no [PAD], [UNK], [CLS], [SEP] or [MASK], more words than the model's vocabulary V. -1 if there is any.
int bert_vocab_read(const char *path, const char *flag, size_t V, BertVocab *, ZeroErrors *errors);
void bert_vocab_free(BertVocab *);

// What the scripts in data/ write beside the samples of PREFIX_train.bin: PREFIX + ending (".vocab.txt",
// ".labels.txt"). NULL if there is no such file. To be freed with zero_free.
char *bert_text_beside(const char *samples, const char *ending);

#ifdef __cplusplus
}
#endif
#endif
