// --export: the trained model as a folder for Hugging Face's transformers, or as llm.c's .bin.
#ifndef LLMC_GPT2_EXPORT_H
#define LLMC_GPT2_EXPORT_H

#include <stddef.h>

#include "gpt2_config.h"

#ifdef __cplusplus
extern "C" {
#endif

// Before training: can it be written there later, without loss of anything? path: a name ending in .bin, or a folder.
// Problems go into errors: a model that is there already, a place that cannot be written to. Nothing is created.
void gpt2_export_check(const char *path, ZeroErrors *errors);
// After the start-up checks, on one rank: creates the folder, or that of the .bin, and tries to write in it
// (output_dir_make).
void gpt2_export_make(const char *path, ZeroErrors *errors);

// Collective; `read` is called alike on every rank, and rank 0 (writes != 0) alone writes. dropout, type: those of
// training, dropout's rates for a folder; a
// .bin is bf16 or fp32, where fp16 becomes fp32. All is written under names that end in .tmp, flushed to the disk,
// and only then gets its name, the model last. Returns 0, or -1 on the rank that writes and the reason in `problem`.
int gpt2_export(const char *path, int writes, const GPT2Config *, const GPT2DropoutRates *dropout, ZeroType type,
                GPT2Read *read, void *ctx, char *problem, size_t problem_bytes);

#ifdef __cplusplus
}
#endif
#endif
