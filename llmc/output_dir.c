// The output folder.
#include "output_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../zero/memory.h"

static char *copy_string(const char *text) {
  const size_t bytes = strlen(text) + 1;
  return memcpy(zero_malloc(bytes, ZERO_MEM_OTHER), text, bytes);
}

// Cuts path to its parent directory, in place: "a/b//" -> "a", "/a" -> "/", "a" -> ".".
static void cut_to_parent(char *path) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  while (length > 0 && path[length - 1] != '/') length--;
  while (length > 1 && path[length - 1] == '/') length--;
  if (length == 0) path[length++] = '.'; // a name has at least one character, so there is room
  path[length] = '\0';
}

// existing: what there is of dir already.
static void check_space(const char *dir, const char *flag, const char *existing, size_t bytes, const char *what,
                        ZeroErrors *errors) {
  const double MiB = 1024.0 * 1024.0;
  struct statvfs disk;
  if (statvfs(existing, &disk) != 0) {
    zero_errors_add(errors, "%s %s: the room on its disk cannot be read: %s; give another directory", flag, dir,
                    strerror(errno));
    return;
  }
  const double room = (double)disk.f_bavail * (double)disk.f_frsize;
  if (room < (double)bytes) {
    zero_errors_add(errors, "%s %s: its disk has %.1f MiB free, %s needs %.1f; free some, or give another directory",
                    flag, dir, room / MiB, what, (double)bytes / MiB);
  }
}

void output_dir_check(const char *dir, const char *flag, size_t bytes, const char *what, ZeroErrors *errors) {
  if (dir[0] == '\0') {
    zero_errors_add(errors, "%s: the directory's name is empty; give one such as log124M", flag);
    return;
  }
  // What exists of the path, from its end upwards, decides.
  char *path = copy_string(dir);
  struct stat info;
  int missing;
  while ((missing = stat(path, &info) != 0) && errno == ENOENT && strcmp(path, ".") != 0 && strcmp(path, "/") != 0) {
    cut_to_parent(path);
  }
  if (missing) {
    zero_errors_add(errors, "%s %s: cannot be used: %s: %s; give another directory", flag, dir, path,
                    strerror(errno));
  } else if (!S_ISDIR(info.st_mode)) {
    zero_errors_add(errors, "%s %s: %s is a file, not a directory; give another directory", flag, dir, path);
  } else if (access(path, W_OK | X_OK) != 0) {
    zero_errors_add(errors, "%s %s: cannot write in %s: %s; give a directory that you may write to", flag, dir, path,
                    strerror(errno));
  } else if (bytes > 0) {
    check_space(dir, flag, path, bytes, what, errors);
  }
  zero_free(path);
}

// A new folder's name is on the disk only when its parent is. Returns 0, or the errno.
static int sync_parent(const char *made) {
  char *parent = copy_string(made);
  cut_to_parent(parent);
  int problem = 0;
  const int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || fsync(fd) != 0) problem = errno;
  if (fd >= 0) close(fd);
  zero_free(parent);
  return problem;
}

// A file of one block, written and removed. Returns 0, or the errno.
static int try_to_write(const char *dir) {
  enum { BLOCK = 4096 };
  static const char name[] = ".zero_c_probe", block[BLOCK];
  const size_t bytes = strlen(dir) + 1 + sizeof name;
  char *path = zero_malloc(bytes, ZERO_MEM_OTHER);
  snprintf(path, bytes, "%s/%s", dir, name);
  int problem = 0;
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    problem = errno;
  } else {
    const ssize_t written = write(fd, block, BLOCK);
    if (written != BLOCK) problem = written < 0 ? errno : ENOSPC;
    if (close(fd) != 0 && problem == 0) problem = errno; // where quotas and network disks answer
    if (unlink(path) != 0 && problem == 0) problem = errno;
  }
  zero_free(path);
  return problem;
}

void output_dir_make(const char *dir, const char *flag, ZeroErrors *errors) {
  char *path = copy_string(dir);
  const size_t length = strlen(path);
  size_t first_made = 1, last_made = 0; // lengths of the shortest and the longest path that was created here
  int problem = 0;
  for (size_t at = 1; at <= length && problem == 0; at++) {
    if (path[at] != '/' && path[at] != '\0') continue;
    path[at] = '\0';
    if (mkdir(path, 0777) == 0) {
      if (last_made == 0) first_made = at;
      last_made = at;
      problem = sync_parent(path);
    } else if (errno != EEXIST) {
      problem = errno;
    }
    if (at < length) path[at] = '/';
  }
  if (problem == 0) problem = try_to_write(dir);
  if (problem != 0) {
    zero_errors_add(errors, "%s %s: cannot be written to: %s; give another directory", flag, dir, strerror(problem));
    for (size_t at = last_made; at >= first_made; at--) { // the deepest first
      if (path[at] != '/' && path[at] != '\0') continue;
      path[at] = '\0';
      if (rmdir(path) != 0 && errno != ENOENT) break; // filled by someone else in the meantime: it stays
    }
  }
  zero_free(path);
}
