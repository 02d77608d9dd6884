// What the unit tests share: temporary directories, files, and the texts of errors. Functions are inline
// because each test is a program of one file.
#ifndef TEST_CHECK_H
#define TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka.h needs the four above
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../zero/error.h"

enum { CHECK_PATH = 512, CHECK_TEXT = 4096, CHECK_STARTED = 99 };

// A directory of its own for a test; check_remove_dir removes it with all that is in it.
static inline void check_make_dir(char made[CHECK_PATH]) {
  strcpy(made, "/tmp/zero_test_XXXXXX");
  assert_non_null(mkdtemp(made));
}

static inline void check_remove_dir(const char *made) {
  char command[CHECK_PATH + 16];
  assert_int_equal(strncmp(made, "/tmp/zero_test_", 15), 0);
  snprintf(command, sizeof command, "rm -rf '%s'", made);
  assert_int_equal(system(command), 0);
}

// The same as cmocka's setup and teardown of a test, which finds its directory in `dir`.
static char dir[CHECK_PATH];
static inline int check_setup_dir(void **state) {
  (void)state;
  check_make_dir(dir);
  return 0;
}
static inline int check_teardown_dir(void **state) {
  (void)state;
  check_remove_dir(dir);
  return 0;
}

// path = parent/name
static inline void check_path(char path[CHECK_PATH], const char *parent, const char *name) {
  assert_true(snprintf(path, CHECK_PATH, "%s/%s", parent, name) < CHECK_PATH);
}

static inline void check_write(const char *path, const void *data, size_t bytes) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
}

// The whole file as a string, at most CHECK_TEXT - 1 characters.
static inline void check_read(const char *path, char text[CHECK_TEXT]) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  const size_t bytes = fread(text, 1, CHECK_TEXT - 1, file);
  text[bytes] = '\0';
  assert_int_equal(fclose(file), 0);
}

static inline void check_contains(const char *line, const char *text) {
  if (strstr(line, text) == NULL) fail_msg("'%s' is not in: %s", text, line);
}

static inline void check_clear(ZeroErrors *errors) {
  for (int i = 0; i < errors->count; i++) free(errors->lines[i]);
  free(errors->lines);
  memset(errors, 0, sizeof *errors);
}

static inline void check_no_error(ZeroErrors *errors) {
  if (errors->count > 0) fail_msg("unexpected error: %s", errors->lines[0]);
}

// Exactly one error, one line, which contains all texts up to NULL. Empties the list.
__attribute__((sentinel)) static inline void check_one_error(ZeroErrors *errors, ...) {
  if (errors->count != 1) {
    for (int i = 0; i < errors->count; i++) print_message("error: %s\n", errors->lines[i]);
    fail_msg("%d errors where one was expected", errors->count);
  }
  assert_null(strchr(errors->lines[0], '\n'));
  va_list texts;
  va_start(texts, errors);
  for (const char *text; (text = va_arg(texts, const char *)) != NULL;) check_contains(errors->lines[0], text);
  va_end(texts);
  check_clear(errors);
}

// call(context) ends the process with exit code 2 and an error line on stderr that contains the texts.
__attribute__((sentinel)) static inline void check_fatal(void (*call)(void *), void *context, ...) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    if (dup2(ends[1], STDERR_FILENO) < 0) _exit(CHECK_STARTED);
    call(context);
    _exit(CHECK_STARTED); // it came back
  }
  close(ends[1]);
  char message[CHECK_TEXT];
  size_t length = 0;
  for (ssize_t got; (got = read(ends[0], message + length, sizeof message - 1 - length)) > 0;) length += (size_t)got;
  message[length] = '\0';
  close(ends[0]);
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), ZERO_EXIT_FAILED);
  check_contains(message, "error: ");
  va_list texts;
  va_start(texts, context);
  for (const char *text; (text = va_arg(texts, const char *)) != NULL;) check_contains(message, text);
  va_end(texts);
}

#endif
