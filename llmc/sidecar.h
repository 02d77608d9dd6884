// Checksums beside files: FILE.xxh3 holds the XXH3-64 of the whole FILE, in one line as `xxhsum -H3` prints it:
// XXH3_0123456789abcdef  NAME. The scripts in data/ write one for every token shard.
#ifndef LLMC_SIDECAR_H
#define LLMC_SIDECAR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

int sidecar_exists(const char *path);
// Reads the file at path, whole, and compares. Returns 0 if its sidecar agrees, otherwise -1 with the problem and its
// fix in `problem`.
int sidecar_verify(const char *path, char *problem, size_t problem_bytes);

#ifdef __cplusplus
}
#endif
#endif
