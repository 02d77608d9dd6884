// Reading ranges of files that may be larger than 2 GiB, and writing them.
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../zero/memory.h"

_Static_assert(sizeof(off_t) >= 8, "files over 2 GiB need 64-bit offsets");

int file_is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

int file_open(const char *path, size_t *size, const char **reason) {
  struct stat info;
  // Looked at before it is opened: opening a FIFO would wait for its writer.
  if (stat(path, &info) != 0) {
    *reason = strerror(errno);
    return -1;
  }
  if (!S_ISREG(info.st_mode)) {
    *reason = S_ISDIR(info.st_mode) ? "it is a directory" : "it is not a regular file";
    return -1;
  }
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    *reason = strerror(errno);
    return -1;
  }
  *size = (size_t)info.st_size;
  return fd;
}

const char *file_read(int fd, void *dst, size_t bytes, size_t offset) {
  char *out = dst;
  while (bytes > 0) {
    ssize_t got = pread(fd, out, bytes, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return strerror(errno);
    if (got == 0) return "the file ends there";
    out += got;
    offset += (size_t)got;
    bytes -= (size_t)got;
  }
  return NULL;
}

int file_write(int fd, const void *data, size_t bytes, size_t *written) {
  const char *next = data;
  while (bytes > 0) {
    const ssize_t put = write(fd, next, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return put < 0 ? errno : EIO;
    next += put;
    bytes -= (size_t)put;
    *written += (size_t)put;
  }
  return 0;
}

char *file_read_text(const char *path, size_t limit, const char *flag, const char *fix, size_t *bytes,
                     ZeroErrors *errors) {
  const char *reason = NULL;
  const int fd = file_open(path, bytes, &reason);
  if (fd < 0) {
    zero_errors_add(errors, "%s %s: cannot be opened: %s; %s", flag, path, reason, fix);
    return NULL;
  }
  char *text = NULL;
  if (*bytes > limit) {
    zero_errors_add(errors, "%s %s: has %zu bytes, more than the %zu that such a file may have; is it the right one?",
                    flag, path, *bytes, limit);
  } else {
    text = zero_malloc(*bytes + 1, ZERO_MEM_OTHER);
    reason = file_read(fd, text, *bytes, 0);
    if (reason != NULL) {
      zero_errors_add(errors, "%s %s: cannot be read: %s; copy or download it again", flag, path, reason);
      zero_free(text);
      text = NULL;
    }
  }
  close(fd);
  return text;
}

int file_open_llmc(const char *path, int magic, const char *kind, const char *fix, int header[LLMC_HEADER_INTS],
                   size_t *size, char *problem, size_t problem_bytes) {
  const char *reason = NULL;
  int fd = file_open(path, size, &reason);
  if (fd < 0) {
    snprintf(problem, problem_bytes, "cannot be opened: %s; %s", reason, fix);
    return -1;
  }
  if (*size < LLMC_HEADER_BYTES) {
    snprintf(problem, problem_bytes, "has %zu bytes, fewer than the header of %s (%d bytes); %s", *size, kind,
             LLMC_HEADER_BYTES, fix);
  } else if ((reason = file_read(fd, header, LLMC_HEADER_BYTES, 0)) != NULL) {
    snprintf(problem, problem_bytes, "its header cannot be read: %s; %s", reason, fix);
  } else if (header[0] != magic) {
    snprintf(problem, problem_bytes, "begins with %d where %s begins with %d; %s", header[0], kind, magic, fix);
  } else {
    return fd;
  }
  close(fd);
  return -1;
}
