// --export of a BERT: the trained model as a folder for Hugging Face's transformers.
#ifndef LLMC_BERT_EXPORT_H
#define LLMC_BERT_EXPORT_H

#include <stddef.h>

#include "bert_config.h"
#include "bert_hf.h"

#ifdef __cplusplus
extern "C" {
#endif

// Before training: can it be written there later, without loss of anything? Problems go into errors: a name that
// ends in .bin, a model or tokenizer that is there already, a place that cannot be written to. Nothing is created.
void bert_export_check(const char *folder, ZeroErrors *errors);
// After the start-up checks, on one rank: creates the folder and tries to write in it (output_dir_make).
void bert_export_make(const char *folder, ZeroErrors *errors);

// Collective; `read` is called alike on every rank, and rank 0 (writes != 0) alone writes, what bert_hf_write says.
// All is written under names that end in .tmp, flushed to the disk, and only then gets its name, the model last.
// Returns 0, or -1 on the rank that writes and the reason in `problem`; weights that were written whole stay, and
// `problem` says under which name.
int bert_export(const char *folder, int writes, const BertConfig *, const BertAbout *about, const BertVocab *vocab,
                ZeroType type, BertRead *read, void *ctx, char *problem, size_t problem_bytes);

#ifdef __cplusplus
}
#endif
#endif
