// --export: the trained model as a folder for Hugging Face's transformers, or as llm.c's .bin.
#include "gpt2_export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "gpt2_bin.h"
#include "gpt2_hf.h"
#include "output_dir.h"
#include "safetensors.h"

static const char TMP[] = ".tmp", FLAG[] = "--export";

// In the order in which they get their names: a folder that has a model has all of it.
static const char *const FILES[] = {GPT2_HF_CONFIG, SAFETENSORS_FILE};
enum { NUM_FILES = sizeof FILES / sizeof FILES[0] };

// folder/name + ending, to be freed with zero_free.
static char *make_path(const char *folder, const char *name, const char *ending) {
  const size_t room = strlen(folder) + strlen(name) + strlen(ending) + sizeof "/";
  char *path = zero_malloc(room, ZERO_MEM_OTHER);
  snprintf(path, room, "%s/%s%s", folder, name, ending);
  return path;
}

// Where the file or folder lies: "a/b.bin" -> "a", "b.bin" -> ".". To be freed with zero_free.
static char *parent_of(const char *path) {
  const char *slash = strrchr(path, '/');
  const size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
  char *parent = zero_malloc(length + sizeof ".", ZERO_MEM_OTHER);
  memcpy(parent, length > 0 ? path : ".", length > 0 ? length : 1);
  return parent;
}

// ---------------------------------------------------------------- before training

static void check_absent(const char *path, ZeroErrors *errors) {
  if (access(path, F_OK) != 0) return;
  zero_errors_add(errors, "%s %s: is there already and stays as it is; give another name, or move it away", FLAG,
                  path);
}

void gpt2_export_check(const char *path, ZeroErrors *errors) {
  const int problems = errors->count;
  if (gpt2_is_bin(path)) {
    char *parent = parent_of(path);
    output_dir_check(parent, FLAG, 0, NULL, errors);
    zero_free(parent);
    if (errors->count == problems) check_absent(path, errors);
    return;
  }
  output_dir_check(path, FLAG, 0, NULL, errors);
  static const char *const names[] = {GPT2_HF_CONFIG, SAFETENSORS_FILE, SAFETENSORS_INDEX};
  for (size_t i = 0; errors->count == problems && i < sizeof names / sizeof names[0]; i++) {
    char *file = make_path(path, names[i], "");
    check_absent(file, errors);
    zero_free(file);
  }
}

void gpt2_export_make(const char *path, ZeroErrors *errors) {
  char *parent = parent_of(path);
  output_dir_make(gpt2_is_bin(path) ? parent : path, FLAG, errors);
  zero_free(parent);
}

// ---------------------------------------------------------------- after it

// Gives the file its name: from path + TMP to path.
static int give_name(const char *path, char *problem, size_t problem_bytes) {
  char *from = zero_malloc(strlen(path) + sizeof TMP, ZERO_MEM_OTHER);
  strcpy(from, path);
  strcat(from, TMP);
  const int result = rename(from, path);
  if (result != 0) snprintf(problem, problem_bytes, "%s: cannot get its name: %s", from, strerror(errno));
  zero_free(from);
  return result != 0 ? -1 : 0;
}

// The names themselves, to the disk.
static int sync_folder(const char *folder, char *problem, size_t problem_bytes) {
  const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int failed = fd < 0 || fsync(fd) != 0;
  if (failed) snprintf(problem, problem_bytes, "%s: cannot be brought to the disk: %s", folder, strerror(errno));
  if (fd >= 0) close(fd);
  return failed ? -1 : 0;
}

static int export_bin(const char *path, int writes, const GPT2Config *config, ZeroType type, GPT2Read *read,
                      void *ctx, char *problem, size_t problem_bytes) {
  char *folder = parent_of(path), *tmp = zero_malloc(strlen(path) + sizeof TMP, ZERO_MEM_OTHER);
  strcpy(tmp, path);
  strcat(tmp, TMP);
  int failed = gpt2_bin_write(writes ? tmp : NULL, config, type == ZERO_BF16 ? ZERO_BF16 : ZERO_F32, read, ctx,
                              problem, problem_bytes) != 0;
  if (failed) {
    unlink(tmp);
  } else if (writes) {
    failed = give_name(path, problem, problem_bytes) != 0 || sync_folder(folder, problem, problem_bytes) != 0;
  }
  zero_free(folder);
  zero_free(tmp);
  return failed ? -1 : 0;
}

static int export_folder(const char *folder, int writes, const GPT2Config *config, ZeroType type, GPT2Read *read,
                         void *ctx, char *problem, size_t problem_bytes) {
  int failed = gpt2_hf_write(writes ? folder : NULL, TMP, config, type, read, ctx, problem, problem_bytes) != 0;
  for (int i = 0; writes && !failed && i < NUM_FILES; i++) {
    char *path = make_path(folder, FILES[i], "");
    failed = give_name(path, problem, problem_bytes) != 0 || sync_folder(folder, problem, problem_bytes) != 0;
    zero_free(path);
  }
  return failed ? -1 : 0;
}

int gpt2_export(const char *path, int writes, const GPT2Config *config, ZeroType type, GPT2Read *read, void *ctx,
                char *problem, size_t problem_bytes) {
  return gpt2_is_bin(path) ? export_bin(path, writes, config, type, read, ctx, problem, problem_bytes)
                           : export_folder(path, writes, config, type, read, ctx, problem, problem_bytes);
}
