// The ledger and its allocator: counts and peaks, alignment, zeros, the process's peak, ends with a message.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// After the headers whose types it uses.
#include <cmocka.h>

#include "zero/error.h"
#include "zero/memory.h"

#define MIB ((size_t)1 << 20)

static void test_counts_and_peaks(void **state) {
  (void)state;
  size_t other = zero_ledger_now(ZERO_MEM_OTHER);
  zero_ledger_add(ZERO_MEM_OPTIMIZER, 1000, 0);
  zero_ledger_add(ZERO_MEM_OPTIMIZER, 500, 1);
  assert_int_equal(zero_ledger_now(ZERO_MEM_OPTIMIZER), 1500);
  assert_int_equal(zero_ledger_window(), 500);
  zero_ledger_remove(ZERO_MEM_OPTIMIZER, 1000, 0);
  zero_ledger_add(ZERO_MEM_OPTIMIZER, 200, 0);
  assert_int_equal(zero_ledger_now(ZERO_MEM_OPTIMIZER), 700);
  assert_int_equal(zero_ledger_peak(ZERO_MEM_OPTIMIZER), 1500);
  zero_ledger_remove(ZERO_MEM_OPTIMIZER, 500, 1);
  zero_ledger_remove(ZERO_MEM_OPTIMIZER, 200, 0);
  assert_int_equal(zero_ledger_now(ZERO_MEM_OPTIMIZER), 0);
  assert_int_equal(zero_ledger_window(), 0);
  assert_int_equal(zero_ledger_now(ZERO_MEM_OTHER), other);
}

static void test_names(void **state) {
  (void)state;
  for (int a = 0; a < ZERO_MEM_CATEGORIES; a++) {
    assert_non_null(zero_ledger_name(a));
    for (int b = 0; b < a; b++) assert_string_not_equal(zero_ledger_name(a), zero_ledger_name(b));
  }
}

static void test_allocator(void **state) {
  (void)state;
  assert_null(zero_malloc(0, ZERO_MEM_OTHER));
  zero_free(NULL);
  const size_t sizes[] = {1, 63, 64, 65, 4096, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 37 * MIB + 12345};
  size_t before = zero_ledger_now(ZERO_MEM_GRADIENTS);
  for (int pass = 0; pass < 2; pass++) { // the second pass meets memory that the first made dirty
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
      unsigned char *block = zero_malloc(sizes[k], ZERO_MEM_GRADIENTS);
      assert_int_equal((uintptr_t)block % 64, 0);
      if (sizes[k] >= 4 * MIB) assert_int_equal((uintptr_t)block % (2 * MIB), 0);
      assert_int_equal(zero_ledger_now(ZERO_MEM_GRADIENTS), before + sizes[k]);
      size_t dirty = 0;
      for (size_t i = 0; i < sizes[k]; i++) dirty += block[i] != 0;
      assert_int_equal(dirty, 0);
      memset(block, 0xff, sizes[k]);
      zero_free(block);
      assert_int_equal(zero_ledger_now(ZERO_MEM_GRADIENTS), before);
    }
  }
  assert_int_equal(zero_ledger_peak(ZERO_MEM_GRADIENTS), before + 37 * MIB + 12345);
}

// Memory counts from its allocation on, which touches it; the window counts; the peak stays when memory goes.
static void test_process_peak(void **state) {
  (void)state;
  size_t start = zero_process_peak();
  assert_true(start > 0);
  char *block = zero_malloc(64 * MIB, ZERO_MEM_OTHER);
  size_t held = zero_process_peak();
  assert_true(held >= start + 60 * MIB && held <= start + 68 * MIB);
  memset(block, 1, 64 * MIB);
  size_t touched = zero_process_peak();
  assert_true(touched <= held + 4 * MIB);
  zero_ledger_add(ZERO_MEM_PARAMETERS, 8 * MIB, 1);
  size_t with_window = zero_process_peak();
  assert_true(with_window >= touched + 7 * MIB && with_window <= touched + 9 * MIB);
  zero_ledger_remove(ZERO_MEM_PARAMETERS, 8 * MIB, 1);
  zero_free(block);
  assert_int_equal(zero_process_peak(), with_window);
}

// A GPU's memory is in its category and has a peak of its own.
static void test_device_peak(void **state) {
  (void)state;
  size_t before = zero_ledger_now(ZERO_MEM_OTHER);
  assert_int_equal(zero_ledger_device_peak(), 0);
  zero_ledger_add(ZERO_MEM_OTHER, 1000, 0);
  zero_ledger_add_device(ZERO_MEM_OTHER, 300);
  zero_ledger_add_device(ZERO_MEM_COMM, 50);
  zero_ledger_remove_device(ZERO_MEM_OTHER, 300);
  zero_ledger_add_device(ZERO_MEM_OTHER, 200);
  assert_int_equal(zero_ledger_now(ZERO_MEM_OTHER), before + 1200);
  assert_int_equal(zero_ledger_device_peak(), 350);
  zero_ledger_remove_device(ZERO_MEM_OTHER, 200);
  zero_ledger_remove_device(ZERO_MEM_COMM, 50);
  zero_ledger_remove(ZERO_MEM_OTHER, 1000, 0);
  assert_int_equal(zero_ledger_device_peak(), 350);
}

// Runs action in a child; returns its exit code, its stderr in text.
static int run_child(void (*action)(void), char *text, size_t text_bytes) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    action();
    _exit(0);
  }
  close(ends[1]);
  size_t length = 0;
  ssize_t got;
  while ((got = read(ends[0], text + length, text_bytes - 1 - length)) > 0) length += (size_t)got;
  text[length] = '\0';
  close(ends[0]);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void ask_for_too_much(void) {
  zero_malloc(SIZE_MAX / 4, ZERO_MEM_ACTIVATIONS);
}

static void ask_for_the_most(void) {
  zero_malloc(SIZE_MAX, ZERO_MEM_ACTIVATIONS);
}

static void remove_too_much(void) {
  zero_ledger_add(ZERO_MEM_COMM, 10, 0);
  zero_ledger_remove(ZERO_MEM_COMM, 11, 0);
}

static void remove_what_no_gpu_holds(void) {
  zero_ledger_add(ZERO_MEM_COMM, 10, 0);
  zero_ledger_remove_device(ZERO_MEM_COMM, 10);
}

static void report_user_errors(void) {
  ZeroErrors errors = {0};
  zero_errors_check(&errors, NULL); // none: goes on
  zero_errors_add(&errors, "file %s: found %d", "a.json", 7);
  zero_errors_add(&errors, "flag -b: found 0, expected 1 or more");
  zero_errors_check(&errors, NULL);
}

static void test_errors(void **state) {
  (void)state;
  char text[4096];
  assert_int_equal(run_child(ask_for_too_much, text, sizeof(text)), ZERO_EXIT_FAILED);
  assert_non_null(strstr(text, "error: rank 0: "));
  assert_non_null(strstr(text, "'activations'"));
  assert_int_equal(run_child(ask_for_the_most, text, sizeof(text)), ZERO_EXIT_FAILED);
  assert_non_null(strstr(text, "'activations'"));
  assert_int_equal(run_child(remove_too_much, text, sizeof(text)), ZERO_EXIT_FAILED);
  assert_non_null(strstr(text, "freed twice?"));
  assert_int_equal(run_child(remove_what_no_gpu_holds, text, sizeof(text)), ZERO_EXIT_FAILED);
  assert_non_null(strstr(text, "freed twice?"));
  assert_int_equal(run_child(report_user_errors, text, sizeof(text)), ZERO_EXIT_USAGE);
  assert_string_equal(text, "error: file a.json: found 7\nerror: flag -b: found 0, expected 1 or more\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_counts_and_peaks), cmocka_unit_test(test_names),       cmocka_unit_test(test_allocator),
      cmocka_unit_test(test_process_peak),     cmocka_unit_test(test_device_peak), cmocka_unit_test(test_errors),
  };
  return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
