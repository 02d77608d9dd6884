// The files that a glob names: descriptors, places of what they hold, checksums.
#include "shard_files.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "clock.h"
#include "files.h"
#include "sidecar.h"

enum { PROBLEM_BYTES = 16384 }; // for messages with paths in them

// ---------------------------------------------------------------------------------------------------
// Files

int shard_files_find(ShardFiles *s, const char *pattern, const char *flag, ZeroErrors *errors) {
  memset(s, 0, sizeof *s);
  for (size_t i = 0; i < SHARD_FILES_OPEN; i++) s->open[i].fd = -1;
  int status = glob(pattern, GLOB_BRACE | GLOB_TILDE, NULL, &s->files); // sorted by name
  if (status == 0) {
    s->ends = zero_malloc(s->files.gl_pathc * sizeof *s->ends, ZERO_MEM_OTHER);
    return 0;
  }
  if (status == GLOB_NOMATCH) {
    zero_errors_add(errors, "%s %s: no such file; give a file or a pattern such as 'data/*_train.bin'", flag,
                    pattern);
  } else {
    zero_errors_add(errors, "%s %s: the pattern cannot be searched: %s; give a simpler one", flag, pattern,
                    status == GLOB_NOSPACE ? "out of memory" : "a directory cannot be read");
  }
  return -1;
}

size_t shard_files_count(const ShardFiles *s) {
  return s->files.gl_pathc;
}

const char *shard_files_path(const ShardFiles *s, size_t shard) {
  return s->files.gl_pathv[shard];
}

int shard_files_fd(ShardFiles *s, size_t shard) {
  ShardFile *slot = &s->open[0];
  for (size_t i = 0; i < SHARD_FILES_OPEN; i++) {
    ShardFile *file = &s->open[i];
    if (file->fd >= 0 && file->shard == shard) {
      file->last_use = ++s->uses;
      return file->fd;
    }
    if (file->last_use < slot->last_use) slot = file; // a free one was never used: 0
  }
  if (slot->fd >= 0) close(slot->fd);
  size_t size = 0;
  const char *reason = NULL;
  const char *path = shard_files_path(s, shard);
  int fd = file_open(path, &size, &reason);
  if (fd < 0) zero_fatal("%s: cannot be opened again while training: %s; was it moved or deleted?", path, reason);
  *slot = (ShardFile){.fd = fd, .shard = shard, .last_use = ++s->uses};
  return fd;
}

void shard_files_close(ShardFiles *s) {
  for (size_t i = 0; i < SHARD_FILES_OPEN; i++) {
    if (s->open[i].fd >= 0) close(s->open[i].fd);
    s->open[i].fd = -1;
  }
  globfree(&s->files);
  zero_free(s->ends);
  s->ends = NULL;
}

// ---------------------------------------------------------------------------------------------------
// Items

size_t shard_files_items(const ShardFiles *s) {
  return s->counted > 0 ? s->ends[s->counted - 1] : 0;
}

void shard_files_add(ShardFiles *s, size_t items) {
  const size_t before = shard_files_items(s);
  s->ends[s->counted++] = before + items;
}

// The first file that ends behind the item: those without items are passed over.
ShardPlace shard_files_place(const ShardFiles *s, size_t item) {
  size_t low = 0, high = s->counted - 1;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (s->ends[middle] <= item) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return (ShardPlace){low, item - (low > 0 ? s->ends[low - 1] : 0)};
}

// ---------------------------------------------------------------------------------------------------
// Checksums

ShardsVerified shard_files_verify(const ShardFiles *s, const char *flag, int rank, int ranks, ZeroErrors *errors) {
  const double start = clock_now();
  ShardsVerified verified = {0, 0, 0.0};
  char problem[PROBLEM_BYTES];
  for (size_t i = 0; i < shard_files_count(s); i++) {
    const char *path = shard_files_path(s, i);
    struct stat info;
    if (!sidecar_exists(path)) continue;
    verified.shards++;
    if (stat(path, &info) == 0) verified.bytes += (size_t)info.st_size; // one that is gone fails below
    if (i % (size_t)ranks != (size_t)rank) continue;
    if (sidecar_verify(path, problem, sizeof problem) != 0) zero_errors_add(errors, "%s %s", flag, problem);
  }
  verified.seconds = clock_now() - start;
  return verified;
}
