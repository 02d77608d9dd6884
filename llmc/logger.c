// main.log in llm.c's form.
#include "logger.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../zero/error.h"
#include "../zero/memory.h"

static const char LOG_NAME[] = "main.log";

struct Logger {
  FILE *file;
  char *path;
};

// An older log keeps its lines under the first free number.
static void move_aside(const char *path) {
  struct stat info;
  if (lstat(path, &info) != 0) {
    if (errno == ENOENT) return;
    zero_fatal("%s: cannot be looked at: %s", path, strerror(errno));
  }
  const size_t digits = 20; // of the largest number
  const size_t bytes = strlen(path) + 1 + digits + 1;
  char *aside = zero_malloc(bytes, ZERO_MEM_OTHER);
  size_t number = 0;
  do {
    snprintf(aside, bytes, "%s.%zu", path, ++number);
  } while (lstat(aside, &info) == 0);
  if (errno != ENOENT || rename(path, aside) != 0) {
    zero_fatal("%s: the older log cannot be moved to %s: %s", path, aside, strerror(errno));
  }
  printf("log: %s of an earlier run is now %s\n", path, aside);
  zero_free(aside);
}

static Logger *new_logger(const char *dir) {
  Logger *logger = zero_malloc(sizeof *logger, ZERO_MEM_OTHER);
  const size_t bytes = strlen(dir) + 1 + sizeof LOG_NAME;
  logger->path = zero_malloc(bytes, ZERO_MEM_OTHER);
  snprintf(logger->path, bytes, "%s/%s", dir, LOG_NAME);
  return logger;
}

Logger *logger_open(const char *dir) {
  Logger *logger = new_logger(dir);
  move_aside(logger->path);
  logger->file = fopen(logger->path, "w");
  if (logger->file == NULL) zero_fatal("%s: cannot be created: %s", logger->path, strerror(errno));
  return logger;
}

// Where the lines of `step` and later ones begin: lines are in the order of steps.
static long end_of_earlier_steps(FILE *file, size_t step) {
  char line[256];
  long end = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    size_t at = 0;
    if (sscanf(line, "s:%zu ", &at) == 1 && at >= step) return end;
    if (strchr(line, '\n') == NULL) return end; // cut off by a crash
    end = ftell(file);
  }
  return end;
}

Logger *logger_resume(const char *dir, size_t step) {
  Logger *logger = new_logger(dir);
  logger->file = fopen(logger->path, "r+");
  if (logger->file == NULL && errno == ENOENT) logger->file = fopen(logger->path, "w");
  if (logger->file == NULL) zero_fatal("%s: cannot be opened: %s", logger->path, strerror(errno));
  const long end = end_of_earlier_steps(logger->file, step);
  if (end < 0 || fseek(logger->file, end, SEEK_SET) != 0 || ftruncate(fileno(logger->file), end) != 0) {
    zero_fatal("%s: cannot be cut back to step %zu: %s", logger->path, step, strerror(errno));
  }
  return logger;
}

__attribute__((format(printf, 2, 3))) static void write_line(Logger *logger, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int written = vfprintf(logger->file, format, arguments);
  va_end(arguments);
  // Flushed line by line: a killed run leaves whole lines, and a full disk shows at once.
  if (written < 0 || fflush(logger->file) != 0) {
    zero_fatal("%s: a line cannot be written: %s; is the disk full?", logger->path, strerror(errno));
  }
}

void logger_train(Logger *logger, size_t step, double loss, double lr, double norm) {
  if (logger == NULL) return;
  write_line(logger, "s:%zu trl:%.9g lr:%.9g norm:%.9g\n", step, loss, lr, norm);
}

void logger_val(Logger *logger, size_t step, double loss) {
  if (logger == NULL) return;
  write_line(logger, "s:%zu tel:%.9g\n", step, loss);
}

void logger_close(Logger *logger) {
  if (logger == NULL) return;
  if (fclose(logger->file) != 0)
    zero_fatal("%s: cannot be closed: %s; is the disk full?", logger->path, strerror(errno));
  zero_free(logger->path);
  zero_free(logger);
}
