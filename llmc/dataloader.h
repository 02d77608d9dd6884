// Token shards: llm.c's .bin files (magic 20240520, version 1, uint16 tokens), one or many by a glob.
//
// The text is cut into windows of T + 1 tokens with stride T, never across shards: window w gives T inputs
// and T targets. Validation takes them in file order. Training takes them in the order of a permutation
// keyed by (seed, epoch) that needs no memory, and rolls into the next epoch; so which windows a global
// step sees depends on nothing but its number.
#ifndef LLMC_DATALOADER_H
#define LLMC_DATALOADER_H

#include <stddef.h>
#include <stdint.h>

#include "../zero/error.h"
#include "shard_files.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct DataLoader DataLoader;

// flag: "-i" or "-j", for messages. Checks the header and size of every shard, and every token of the first
// shard against vocab. Problems go into errors (then NULL comes back): no match, unreadable, wrong magic or
// version, file shorter or longer than its header says, token >= vocab, T longer than every shard.
DataLoader *dataloader_open(const char *pattern, const char *flag, size_t T, size_t vocab, uint64_t seed,
                            ZeroErrors *errors);

// The checksums beside the shards: shard_files_verify.
void dataloader_verify(DataLoader *, const char *flag, int rank, int ranks, ZeroErrors *errors);
ShardsVerified dataloader_verified(const DataLoader *); // zeros before dataloader_verify

size_t dataloader_windows(const DataLoader *); // of all shards
size_t dataloader_tokens(const DataLoader *);
size_t dataloader_shards(const DataLoader *);

// Window w in file order, w < dataloader_windows. A token >= vocab ends all ranks with the file and offset.
void dataloader_window(DataLoader *, size_t w,
                       int *inputs,   // (T)
                       int *targets); // (T)
// The i-th window that training takes, i = 0, 1, 2 … without end: epoch i / windows.
void dataloader_train_window(DataLoader *, size_t i, int *inputs, int *targets);
// Seconds that the calls of dataloader_window and dataloader_train_window took, all together.
double dataloader_seconds(const DataLoader *);
// The permutation itself: a bijection of [0, n) for every (seed, epoch).
size_t dataloader_permute(size_t i, size_t n, uint64_t seed, uint64_t epoch);
void dataloader_close(DataLoader *);

#ifdef __cplusplus
}
#endif
#endif
