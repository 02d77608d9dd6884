// The folders of a run's checkpoints: what counts as one, what a crash leaves, what is deleted when.
#include "../../llmc/checkpoint_dir.h"

#include <errno.h>
#include <sys/stat.h>

#include "../../zero/memory.h"
#include "check.h"

enum { MOST = 32 };
static char problem[CHECK_TEXT];

static int exists(const char *name) {
  char path[CHECK_PATH];
  struct stat info;
  check_path(path, dir, name);
  return stat(path, &info) == 0;
}

static void make_folder(const char *name) {
  char path[CHECK_PATH];
  check_path(path, dir, name);
  assert_int_equal(mkdir(path, 0777), 0);
}

static void make_file(const char *name) {
  char path[CHECK_PATH];
  check_path(path, dir, name);
  check_write(path, name, strlen(name));
}

static void begin(size_t step) {
  char path[CHECKPOINT_PATH];
  if (checkpoint_begin(dir, step, problem, sizeof problem) != 0) fail_msg("%s", problem);
  checkpoint_tmp_path(path, dir, step, "state.bin");
  check_write(path, &step, sizeof step);
}

static void commit(size_t step) {
  if (checkpoint_commit(dir, step, problem, sizeof problem) != 0) fail_msg("%s", problem);
}

static void save(size_t step) {
  begin(step);
  commit(step);
}

// The steps that are there, as text: "1 20 300".
static const char *listed(void) {
  static char text[CHECK_TEXT];
  size_t *steps = NULL, count = 0, length = 0;
  if (checkpoint_list(dir, &steps, &count, problem, sizeof problem) != 0) fail_msg("%s", problem);
  assert_true(count < MOST);
  text[0] = '\0';
  for (size_t i = 0; i < count; i++) {
    length += (size_t)snprintf(text + length, sizeof text - length, "%s%zu", i > 0 ? " " : "", steps[i]);
  }
  zero_free(steps);
  return text;
}

static void test_paths(void **state) {
  (void)state;
  char path[CHECKPOINT_PATH];
  checkpoint_path(path, "log/a", 20, "model.bin");
  assert_string_equal(path, "log/a/step_00000020/model.bin");
  checkpoint_tmp_path(path, "log", 123456789, "state.bin");
  assert_string_equal(path, "log/step_123456789.tmp/state.bin");
}

static void test_save(void **state) {
  (void)state;
  assert_string_equal(listed(), "");
  begin(20);
  assert_true(exists("step_00000020.tmp/state.bin"));
  assert_string_equal(listed(), ""); // not complete yet
  commit(20);
  assert_true(exists("step_00000020/state.bin") && !exists("step_00000020.tmp"));
  save(100000000);
  save(3);
  assert_string_equal(listed(), "3 20 100000000");
}

// What else lies in the folder is neither listed nor touched.
static void test_other_names(void **state) {
  (void)state;
  static const char *const folders[] = {"step_1",         "step_+0000001",
                                        "step_0000000x",  "step_00000001x",
                                        "step_000000001", "step_99999999999999999999999",
                                        "earlier",        "tmp"};
  enum { FOLDERS = sizeof folders / sizeof folders[0] };
  for (size_t i = 0; i < FOLDERS; i++) make_folder(folders[i]);
  make_file("step_00000007"); // not a folder
  make_file("main.log");
  save(5);
  assert_string_equal(listed(), "5");
  save(6);
  assert_int_equal(checkpoint_prune(dir, 6, 1, 0, problem, sizeof problem), 0);
  assert_string_equal(listed(), "6");
  for (size_t i = 0; i < FOLDERS; i++) assert_true(exists(folders[i]));
  assert_true(exists("step_00000007") && exists("main.log"));
}

static void test_leftovers(void **state) {
  (void)state;
  save(10);
  begin(20); // and the run is killed
  make_folder("step_00000010.replaced.tmp");
  make_folder("step_00000010.replaced.tmp/deep");
  make_file("step_00000010.replaced.tmp/deep/state.bin");
  make_file("step_.tmp");
  make_file("other.tmp");
  assert_string_equal(listed(), "10");
  begin(30);
  assert_true(!exists("step_00000020.tmp") && !exists("step_00000010.replaced.tmp") && !exists("step_.tmp"));
  assert_true(exists("other.tmp") && exists("step_00000030.tmp"));
  assert_int_equal(checkpoint_abandon(dir, 30, problem, sizeof problem), 0);
  assert_true(!exists("step_00000030.tmp"));
  assert_int_equal(checkpoint_abandon(dir, 30, problem, sizeof problem), 0); // nothing there: nothing to do
  assert_string_equal(listed(), "10");
}

// A step that is saved again replaces what was there, all of it.
static void test_replace(void **state) {
  (void)state;
  save(10);
  make_file("step_00000010/other.bin");
  save(10);
  assert_true(exists("step_00000010/state.bin") && !exists("step_00000010/other.bin"));
  assert_true(!exists("step_00000010.replaced.tmp"));
  assert_string_equal(listed(), "10");
}

static void test_prune(void **state) {
  (void)state;
  static const struct {
    size_t newest, keep_last, keep_every;
    const char *left;
  } table[] = {
      {60, 0, 0, "10 20 30 40 50 60 70"}, // off
      {60, 0, 20, "10 20 30 40 50 60 70"},
      {60, 1, 0, "60 70"}, // 70 is older than the run that goes on from below it
      {60, 2, 0, "50 60 70"},
      {70, 2, 0, "60 70"},
      {60, 6, 0, "10 20 30 40 50 60 70"},
      {60, 100, 0, "10 20 30 40 50 60 70"},
      {60, SIZE_MAX, 0, "10 20 30 40 50 60 70"},
      {60, 1, 20, "20 40 60 70"},
      {60, 2, 20, "20 40 50 60 70"},
      {70, 1, 30, "30 60 70"},
      {70, 1, 10, "10 20 30 40 50 60 70"},
      {10, 1, 0, "10 20 30 40 50 60 70"},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    for (size_t step = 10; step <= 70; step += 10) save(step);
    if (checkpoint_prune(dir, table[i].newest, table[i].keep_last, table[i].keep_every, problem, sizeof problem) !=
        0) {
      fail_msg("%s", problem);
    }
    assert_string_equal(listed(), table[i].left);
  }
}

// The newest one is not there: nothing may go.
static void test_prune_before_commit(void **state) {
  (void)state;
  save(10);
  save(20);
  begin(30);
  assert_int_equal(checkpoint_prune(dir, 30, 1, 0, problem, sizeof problem), -1);
  check_contains(problem, "before the newest checkpoint is complete");
  assert_string_equal(listed(), "10 20");
}

static void test_move_aside(void **state) {
  (void)state;
  assert_int_equal(checkpoint_move_aside(dir, problem, sizeof problem), 0);
  assert_true(!exists("earlier.1"));
  save(10);
  save(20);
  make_folder("earlier.1");
  make_file("main.log");
  assert_int_equal(checkpoint_move_aside(dir, problem, sizeof problem), 0);
  assert_string_equal(listed(), "");
  assert_true(exists("earlier.2/step_00000010/state.bin") && exists("earlier.2/step_00000020/state.bin"));
  assert_true(exists("main.log"));
}

static void test_failures(void **state) {
  (void)state;
  char file[CHECK_PATH], below[CHECK_PATH];
  size_t *steps = NULL, count = 1;
  make_file("file");
  check_path(file, dir, "file");
  check_path(below, dir, "no/folder");
  assert_int_equal(checkpoint_begin(file, 1, problem, sizeof problem), -1);
  check_contains(problem, file);
  check_contains(problem, "Not a directory");
  assert_int_equal(checkpoint_begin(below, 1, problem, sizeof problem), -1);
  check_contains(problem, "the folder cannot be created: No such file");
  assert_int_equal(checkpoint_list(file, &steps, &count, problem, sizeof problem), -1);
  check_contains(problem, "Not a directory");
  assert_int_equal(checkpoint_list(below, &steps, &count, problem, sizeof problem), 0); // not there: none
  assert_int_equal(count, 0);
  assert_int_equal(checkpoint_commit(dir, 1, problem, sizeof problem), -1);
  check_contains(problem, "step_00000001.tmp: cannot be opened");
}

static void long_path(void *context) {
  char path[CHECKPOINT_PATH];
  checkpoint_path(path, context, 1, "state.bin");
}

static void test_long_path(void **state) {
  (void)state;
  char text[CHECKPOINT_PATH];
  memset(text, 'a', sizeof text);
  text[sizeof text - 1] = '\0';
  check_fatal(long_path, text, "too long for a checkpoint", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_paths),
      cmocka_unit_test_setup_teardown(test_save, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_other_names, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_leftovers, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_replace, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_prune, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_prune_before_commit, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_move_aside, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_failures, check_setup_dir, check_teardown_dir),
      cmocka_unit_test(test_long_path),
  };
  return cmocka_run_group_tests_name("checkpoint_dir", tests, NULL, NULL);
}
