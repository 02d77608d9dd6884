// Reading ranges of files that may be larger than 2 GiB, and writing them.
#ifndef LLMC_FILES_H
#define LLMC_FILES_H

#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

// llm.c's files all begin with 256 int32: magic, version, then what the kind of file needs.
enum { LLMC_HEADER_INTS = 256, LLMC_HEADER_BYTES = 1024 };

int file_is_folder(const char *path);
// Opens a regular file for reading and gives its size in bytes. Returns the descriptor, or -1 and the reason.
int file_open(const char *path, size_t *size, const char **reason);
// Reads all of [offset, offset + bytes). Returns NULL, or the reason why it could not.
const char *file_read(int fd, void *dst, size_t bytes, size_t offset);
// Writes all of it where the descriptor stands. *written grows by the bytes that were, also before a failure. Returns
// 0, or the errno of what failed.
int file_write(int fd, const void *data, size_t bytes, size_t *written);
// All of a small file, with a 0 behind it, to be freed with zero_free; its size goes to *bytes. NULL and an error
// with flag and path if it cannot be read or has more than `limit` bytes. fix: what to do where it cannot be opened.
char *file_read_text(const char *path, size_t limit, const char *flag, const char *fix, size_t *bytes,
                     ZeroErrors *errors);
// file_open, and the header read and its size and magic checked. Returns the descriptor, or -1 with
// the problem and its fix in `problem`. kind: what the file should be, in words; fix: what to do about it.
int file_open_llmc(const char *path, int magic, const char *kind, const char *fix, int header[LLMC_HEADER_INTS],
                   size_t *size, char *problem, size_t problem_bytes);

#ifdef __cplusplus
}
#endif
#endif
