// The files that a glob names, kept open as long as there are few, what they hold numbered through all of them, and
// their checksums.
#ifndef LLMC_SHARD_FILES_H
#define LLMC_SHARD_FILES_H

#include <glob.h>
#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SHARD_FILES_OPEN = 64 }; // descriptors kept open at once

typedef struct {
  int fd; // -1: free
  size_t shard;
  size_t last_use;
} ShardFile;

typedef struct {
  glob_t files; // sorted by name
  ShardFile open[SHARD_FILES_OPEN];
  size_t uses;  // clock of the open files
  size_t *ends; // (files) items in this file and those before it; counted so far: the first `counted`
  size_t counted;
} ShardFiles;

// Returns 0, or -1 and one error: no match, or the pattern cannot be searched. flag: "-i" or "-j", for messages.
int shard_files_find(ShardFiles *, const char *pattern, const char *flag, ZeroErrors *errors);
size_t shard_files_count(const ShardFiles *);
const char *shard_files_path(const ShardFiles *, size_t shard);
// The shard's descriptor, valid until the next call; the one that was not used for the longest time makes room. A
// file that cannot be opened any more ends all ranks.
int shard_files_fd(ShardFiles *, size_t shard);
// Items (windows, samples) are numbered from 0 through all files in their order. add: the next file has so many, the
// first call is for the first. Afterwards each item has a place: its file, and its number there.
void shard_files_add(ShardFiles *, size_t items);
size_t shard_files_items(const ShardFiles *); // of the files that were added
typedef struct {
  size_t shard, item;
} ShardPlace;
// item: below shard_files_items.
ShardPlace shard_files_place(const ShardFiles *, size_t item);

// Closes what is open. After shard_files_find, whatever it returned.
void shard_files_close(ShardFiles *);

typedef struct {
  size_t shards, bytes; // with a checksum, whoever read them
  double seconds;       // of this rank
} ShardsVerified;

// Checksums, for files that have one beside them (sidecar.h). The ranks that read the same disks share the work: rank
// r of `ranks` reads files r, r + ranks, … whole. Problems go into errors: a file that differs from its checksum.
ShardsVerified shard_files_verify(const ShardFiles *, const char *flag, int rank, int ranks, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
