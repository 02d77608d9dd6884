// Checksums beside files.
#include "sidecar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "../zero/error.h"
#include "../zero/memory.h"
#include "files.h"

enum { PIECE_BYTES = 1 << 22, SIDECAR_PATH = 4096, LINE_BYTES = 64 };
static const char PREFIX[] = "XXH3_", ENDING[] = ".xxh3";

// The path's sidecar in `sidecar`. Returns 0 if it does not fit: such a path has none.
static int sidecar_path(const char *path, char sidecar[SIDECAR_PATH]) {
  const int length = snprintf(sidecar, SIDECAR_PATH, "%s%s", path, ENDING);
  return length > 0 && length < SIDECAR_PATH;
}

int sidecar_exists(const char *path) {
  char sidecar[SIDECAR_PATH];
  return sidecar_path(path, sidecar) && access(sidecar, F_OK) == 0;
}

// The checksum that the sidecar names. Returns NULL, or the reason why there is none in it.
static const char *read_sidecar(const char *sidecar, uint64_t *value) {
  char line[LINE_BYTES + 1] = "";
  size_t size = 0;
  const char *reason = NULL;
  const int fd = file_open(sidecar, &size, &reason);
  if (fd < 0) return reason;
  reason = file_read(fd, line, size < LINE_BYTES ? size : LINE_BYTES, 0);
  close(fd);
  if (reason != NULL) return reason;
  const size_t prefix = sizeof PREFIX - 1, digits = 16;
  int end = 0;
  if (strncmp(line, PREFIX, prefix) != 0 || strspn(line + prefix, "0123456789abcdef") != digits ||
      sscanf(line + prefix, "%" SCNx64 "%n", value, &end) != 1 || line[prefix + (size_t)end] != ' ') {
    return "it does not begin with XXH3_, 16 hexadecimal digits and a space";
  }
  return NULL;
}

// The XXH3-64 of the whole file. Returns NULL, or the reason why it cannot be read.
static const char *hash_file(const char *path, uint64_t *value) {
  size_t size = 0;
  const char *reason = NULL;
  const int fd = file_open(path, &size, &reason);
  if (fd < 0) return reason;
  XXH3_state_t *hash = XXH3_createState();
  if (!hash || XXH3_64bits_reset(hash) != XXH_OK) zero_fatal("XXH3 could not be started: out of memory");
  void *piece = zero_malloc(PIECE_BYTES, ZERO_MEM_OTHER);
  for (size_t offset = 0; offset < size && reason == NULL; offset += PIECE_BYTES) {
    const size_t left = size - offset, bytes = left < PIECE_BYTES ? left : PIECE_BYTES;
    reason = file_read(fd, piece, bytes, offset);
    if (reason == NULL && XXH3_64bits_update(hash, piece, bytes) != XXH_OK) zero_fatal("XXH3 failed");
  }
  *value = XXH3_64bits_digest(hash);
  zero_free(piece);
  XXH3_freeState(hash);
  close(fd);
  return reason;
}

int sidecar_verify(const char *path, char *problem, size_t problem_bytes) {
  char sidecar[SIDECAR_PATH];
  uint64_t expected = 0, found = 0;
  const char *reason = sidecar_path(path, sidecar) ? read_sidecar(sidecar, &expected) : "its path is too long";
  if (reason != NULL) {
    snprintf(problem, problem_bytes, "%s: the checksum cannot be read: %s; prepare the data anew, or delete %s", path,
             reason, sidecar);
    return -1;
  }
  reason = hash_file(path, &found);
  if (reason != NULL) {
    snprintf(problem, problem_bytes, "%s: cannot be read: %s; check the file", path, reason);
    return -1;
  }
  if (found == expected) return 0;
  snprintf(problem, problem_bytes,
           "%s: its XXH3-64 is %016" PRIx64 ", %s says %016" PRIx64
           ": the file is damaged or was changed; copy or prepare it anew, or delete %s if you changed it yourself",
           path, found, sidecar, expected, sidecar);
  return -1;
}
