// The files that a glob names, kept open as long as there are few, and their checksums.
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
  size_t uses; // clock of the open files
} ShardFiles;

// Returns 0, or -1 and one error: no match, or the pattern cannot be searched. flag: "-i" or "-j", for messages.
int shard_files_find(ShardFiles *, const char *pattern, const char *flag, ZeroErrors *errors);
size_t shard_files_count(const ShardFiles *);
const char *shard_files_path(const ShardFiles *, size_t shard);
// The shard's descriptor, valid until the next call; the one that was not used for the longest time makes room. A
// file that cannot be opened any more ends all ranks.
int shard_files_fd(ShardFiles *, size_t shard);
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
