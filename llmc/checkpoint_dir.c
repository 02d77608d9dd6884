// The folders of a run's checkpoints: DIR/step_00000020/, each complete or not there at all.
#define _GNU_SOURCE // nftw
#include "checkpoint_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../zero/error.h"
#include "../zero/memory.h"

static const char PREFIX[] = "step_", TMP[] = ".tmp", REPLACED[] = ".replaced.tmp", ASIDE[] = "earlier.";
enum { DIGITS = 8, NAME_BYTES = 64, OPEN_FOLDERS = 16 };

// Where a function's reason of failure goes.
typedef struct {
  char *text;
  size_t bytes;
} Problem;

// `PATH: what: reason of errno`. Returns -1.
static int fail(const Problem *problem, const char *path, const char *what) {
  snprintf(problem->text, problem->bytes, "%s: %s: %s", path, what, strerror(errno));
  return -1;
}

// ---------------------------------------------------------------- names

__attribute__((format(printf, 2, 3))) static void make_path(char path[CHECKPOINT_PATH], const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(path, CHECKPOINT_PATH, format, arguments);
  va_end(arguments);
  if (length < 0 || length >= CHECKPOINT_PATH) {
    zero_fatal("%.100s…: a path of %d characters is too long for a checkpoint; give a shorter folder", path, length);
  }
}

static void step_folder(char path[CHECKPOINT_PATH], const char *dir, size_t step, const char *ending) {
  make_path(path, "%s/%s%0*zu%s", dir, PREFIX, DIGITS, step, ending);
}

void checkpoint_path(char path[CHECKPOINT_PATH], const char *dir, size_t step, const char *name) {
  make_path(path, "%s/%s%0*zu%s%s", dir, PREFIX, DIGITS, step, name ? "/" : "", name ? name : "");
}

void checkpoint_tmp_path(char path[CHECKPOINT_PATH], const char *dir, size_t step, const char *name) {
  make_path(path, "%s/%s%0*zu%s%s%s", dir, PREFIX, DIGITS, step, TMP, name ? "/" : "", name ? name : "");
}

static int is_leftover(const char *name) {
  const size_t length = strlen(name), ending = strlen(TMP);
  return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && length > ending && strcmp(name + length - ending, TMP) == 0;
}

// Exactly as step_folder writes it; step_1 and step_+0000001 are not ours.
static int is_step(const char *name, size_t *step) {
  if (strncmp(name, PREFIX, strlen(PREFIX)) != 0) return 0;
  const char *digits = name + strlen(PREFIX);
  if (strspn(digits, "0123456789") != strlen(digits) || strlen(digits) < DIGITS) return 0;
  errno = 0;
  *step = (size_t)strtoull(digits, NULL, 10);
  char again[NAME_BYTES];
  snprintf(again, sizeof again, "%s%0*zu", PREFIX, DIGITS, *step);
  return errno == 0 && strcmp(again, name) == 0;
}

// ---------------------------------------------------------------- folders

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk) {
  (void)info, (void)kind, (void)walk;
  return remove(path);
}

static int remove_folder(const char *path, const Problem *problem) {
  if (nftw(path, remove_entry, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT) return 0;
  return fail(problem, path, "an old checkpoint cannot be removed");
}

// A file's content or a folder's entries, to the disk.
static int sync_path(const char *path, const Problem *problem) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(problem, path, "cannot be opened to bring it to the disk");
  const int synced = fsync(fd) == 0 ? 0 : fail(problem, path, "cannot be brought to the disk");
  close(fd);
  return synced;
}

// Calls visit(ctx, name) for each entry until it does not return 0. A folder that does not exist has none.
typedef int Visit(void *ctx, const char *name);
static int visit_folder(const char *path, Visit *visit, void *ctx, const Problem *problem) {
  DIR *folder = opendir(path);
  if (!folder) return errno == ENOENT ? 0 : fail(problem, path, "the folder cannot be read");
  int result = 0;
  const struct dirent *entry;
  while (result == 0 && (errno = 0, entry = readdir(folder)) != NULL) {
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) result = visit(ctx, entry->d_name);
  }
  if (result == 0 && errno != 0) result = fail(problem, path, "the folder cannot be read");
  closedir(folder);
  return result;
}

typedef struct {
  const char *dir;
  const Problem *problem;
  size_t *steps; // NULL: only counted
  size_t count, room;
} Walk;

static int sync_entry(void *ctx, const char *name) {
  const Walk *walk = ctx;
  char path[CHECKPOINT_PATH];
  make_path(path, "%s/%s", walk->dir, name);
  return sync_path(path, walk->problem);
}

static int remove_leftover(void *ctx, const char *name) {
  const Walk *walk = ctx;
  if (!is_leftover(name)) return 0;
  char path[CHECKPOINT_PATH];
  make_path(path, "%s/%s", walk->dir, name);
  return remove_folder(path, walk->problem);
}

// ---------------------------------------------------------------- what is there

static int add_step(void *ctx, const char *name) {
  Walk *walk = ctx;
  size_t step = 0;
  struct stat info;
  char path[CHECKPOINT_PATH];
  if (!is_step(name, &step)) return 0;
  make_path(path, "%s/%s", walk->dir, name);
  if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) return 0;
  if (walk->count == walk->room) {
    const size_t room = walk->room > 0 ? 2 * walk->room : 16;
    size_t *steps = zero_malloc(room * sizeof *steps, ZERO_MEM_OTHER);
    if (walk->count > 0) memcpy(steps, walk->steps, walk->count * sizeof *steps);
    zero_free(walk->steps);
    walk->steps = steps;
    walk->room = room;
  }
  walk->steps[walk->count++] = step;
  return 0;
}

static int compare_steps(const void *a, const void *b) {
  const size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

int checkpoint_list(const char *dir, size_t **steps, size_t *count, char *problem, size_t problem_bytes) {
  const Problem where = {problem, problem_bytes};
  Walk walk = {.dir = dir, .problem = &where};
  const int result = visit_folder(dir, add_step, &walk, &where);
  if (walk.count > 0) qsort(walk.steps, walk.count, sizeof *walk.steps, compare_steps);
  *steps = walk.steps;
  *count = walk.count;
  return result;
}

// ---------------------------------------------------------------- writing one

int checkpoint_begin(const char *dir, size_t step, char *problem, size_t problem_bytes) {
  const Problem where = {problem, problem_bytes};
  Walk walk = {.dir = dir, .problem = &where};
  char tmp[CHECKPOINT_PATH];
  // A leftover that cannot be removed (an open file on NFS) takes space, no more: what matters is this step's folder.
  if (visit_folder(dir, remove_leftover, &walk, &where) != 0) errno = 0;
  if (mkdir(dir, 0777) != 0 && errno != EEXIST) return fail(&where, dir, "the folder cannot be created");
  step_folder(tmp, dir, step, TMP);
  if (mkdir(tmp, 0777) != 0) return fail(&where, tmp, "the folder cannot be created");
  return 0;
}

int checkpoint_commit(const char *dir, size_t step, char *problem, size_t problem_bytes) {
  const Problem where = {problem, problem_bytes};
  char tmp[CHECKPOINT_PATH], complete[CHECKPOINT_PATH], replaced[CHECKPOINT_PATH];
  step_folder(tmp, dir, step, TMP);
  step_folder(complete, dir, step, "");
  step_folder(replaced, dir, step, REPLACED);
  Walk walk = {.dir = tmp, .problem = &where};
  if (visit_folder(tmp, sync_entry, &walk, &where) != 0 || sync_path(tmp, &where) != 0) return -1;
  // One of the same step, from before a resume, makes way whole: a folder cannot take the name of a full one.
  if (rename(complete, replaced) != 0 && errno != ENOENT) return fail(&where, complete, "cannot be replaced");
  if (rename(tmp, complete) != 0) return fail(&where, tmp, "cannot be given its name");
  if (sync_path(dir, &where) != 0) return -1;
  return remove_folder(replaced, &where);
}

int checkpoint_abandon(const char *dir, size_t step, char *problem, size_t problem_bytes) {
  const Problem where = {problem, problem_bytes};
  char tmp[CHECKPOINT_PATH];
  step_folder(tmp, dir, step, TMP);
  return remove_folder(tmp, &where);
}

// ---------------------------------------------------------------- the old ones

// Out of sight first, then removed: a crash in between leaves no half of one.
static int remove_step(const char *dir, size_t step, const Problem *problem) {
  char complete[CHECKPOINT_PATH], tmp[CHECKPOINT_PATH];
  step_folder(complete, dir, step, "");
  step_folder(tmp, dir, step, TMP);
  if (rename(complete, tmp) != 0) return fail(problem, complete, "an old checkpoint cannot be removed");
  return remove_folder(tmp, problem);
}

int checkpoint_prune(const char *dir, size_t newest, size_t keep_last, size_t keep_every, char *problem,
                     size_t problem_bytes) {
  const Problem where = {problem, problem_bytes};
  size_t *steps = NULL, count = 0;
  if (keep_last == 0) return 0;
  int result = checkpoint_list(dir, &steps, &count, problem, problem_bytes);
  while (count > 0 && steps[count - 1] > newest) count--;
  if (result == 0 && (count == 0 || steps[count - 1] != newest)) {
    errno = ENOENT;
    result = fail(&where, dir, "nothing is deleted before the newest checkpoint is complete");
  }
  for (size_t i = 0; result == 0 && i + keep_last < count; i++) {
    if (keep_every > 0 && steps[i] % keep_every == 0) continue;
    result = remove_step(dir, steps[i], &where);
  }
  zero_free(steps);
  return result;
}

int checkpoint_move_aside(const char *dir, char *problem, size_t problem_bytes) {
  const Problem where = {problem, problem_bytes};
  size_t *steps = NULL, count = 0, number = 0;
  char aside[CHECKPOINT_PATH], from[CHECKPOINT_PATH], to[CHECKPOINT_PATH];
  int result = checkpoint_list(dir, &steps, &count, problem, problem_bytes);
  if (result == 0 && count > 0) {
    int made;
    do {
      make_path(aside, "%s/%s%zu", dir, ASIDE, ++number);
      made = mkdir(aside, 0777);
    } while (made != 0 && errno == EEXIST);
    if (made != 0) result = fail(&where, aside, "the folder for an earlier run's checkpoints cannot be created");
    for (size_t i = 0; result == 0 && i < count; i++) {
      step_folder(from, dir, steps[i], "");
      step_folder(to, aside, steps[i], "");
      if (rename(from, to) != 0) result = fail(&where, from, "cannot be moved aside");
    }
    if (result == 0) printf("checkpoints: %zu of an earlier run are now in %s\n", count, aside);
  }
  zero_free(steps);
  return result;
}
