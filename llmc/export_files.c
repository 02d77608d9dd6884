// --export, whatever the model is: what is there already stays, and a file gets its name when it is whole.
#include "export_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "output_dir.h"

char *export_path(const char *folder, const char *name, const char *ending) {
  const size_t room = strlen(folder) + strlen(name) + strlen(ending) + sizeof "/";
  char *path = zero_malloc(room, ZERO_MEM_OTHER);
  snprintf(path, room, "%s/%s%s", folder, name, ending);
  return path;
}

char *export_parent(const char *path) {
  const char *slash = strrchr(path, '/');
  const size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
  char *parent = zero_malloc(length + sizeof ".", ZERO_MEM_OTHER);
  memcpy(parent, length > 0 ? path : ".", length > 0 ? length : 1);
  return parent;
}

void export_check_absent(const char *path, ZeroErrors *errors) {
  if (access(path, F_OK) != 0) return;
  zero_errors_add(errors, "%s %s: is there already and stays as it is; give another name, or move it away",
                  EXPORT_FLAG, path);
}

void export_check_folder(const char *folder, const char *const *names, size_t count, ZeroErrors *errors) {
  const int problems = errors->count;
  output_dir_check(folder, EXPORT_FLAG, 0, NULL, errors);
  for (size_t i = 0; errors->count == problems && i < count; i++) {
    char *file = export_path(folder, names[i], "");
    export_check_absent(file, errors);
    zero_free(file);
  }
}

// The names of a folder, to the disk.
static int sync_folder(const char *folder, char *problem, size_t problem_bytes) {
  const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int failed = fd < 0 || fsync(fd) != 0;
  if (failed) snprintf(problem, problem_bytes, "%s: cannot be brought to the disk: %s", folder, strerror(errno));
  if (fd >= 0) close(fd);
  return failed ? -1 : 0;
}

int export_give_name(const char *path, char *problem, size_t problem_bytes) {
  char *from = zero_malloc(strlen(path) + sizeof EXPORT_TMP, ZERO_MEM_OTHER), *folder = export_parent(path);
  strcpy(from, path);
  strcat(from, EXPORT_TMP);
  int result = rename(from, path);
  if (result != 0) {
    snprintf(problem, problem_bytes, "%s: cannot get its name: %s", from, strerror(errno));
  } else {
    result = sync_folder(folder, problem, problem_bytes);
  }
  zero_free(from);
  zero_free(folder);
  return result != 0 ? -1 : 0;
}

int export_give_names(const char *folder, const char *const *names, size_t count, char *problem,
                      size_t problem_bytes) {
  int failed = 0;
  for (size_t i = 0; !failed && i < count; i++) {
    char *path = export_path(folder, names[i], "");
    failed = export_give_name(path, problem, problem_bytes) != 0;
    zero_free(path);
  }
  return failed ? -1 : 0;
}
