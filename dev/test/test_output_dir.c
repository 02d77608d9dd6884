// The output folder: what is refused before a run, what shows only when it is made.
#include <sys/mount.h>
#include <sys/stat.h>

#include "../../llmc/output_dir.h"
#include "check.h"

enum { NOBODY = 65534 };

static int exists(const char *path) {
  return access(path, F_OK) == 0;
}

static void test_check(void **state) {
  (void)state;
  char path[CHECK_PATH], below[CHECK_PATH];
  ZeroErrors errors = {0};
  output_dir_check(dir, "-o", 0, NULL, &errors);
  check_path(path, dir, "new/and/deep/");
  output_dir_check(path, "-o", 1000, "a checkpoint", &errors);
  output_dir_check("new_relative_directory", "-o", 0, NULL, &errors);
  check_no_error(&errors);
  check_path(path, dir, "new");
  assert_false(exists(path)); // nothing was made

  check_path(path, dir, "file");
  check_write(path, "x", 1);
  output_dir_check(path, "-o", 0, NULL, &errors);
  check_one_error(&errors, "-o ", path, "is a file, not a directory", NULL);
  check_path(below, path, "log");
  output_dir_check(below, "-o", 0, NULL, &errors);
  check_one_error(&errors, "-o ", below, "Not a directory", NULL);
  output_dir_check("", "-o", 0, NULL, &errors);
  check_one_error(&errors, "-o: ", "empty", NULL);
  output_dir_check(dir, "-o", SIZE_MAX, "a checkpoint (-n)", &errors);
  check_one_error(&errors, "-o ", dir, "MiB free", "a checkpoint (-n) needs 17592186044416.0", NULL);
}

// Root may write anywhere: as another user, then. The error comes back as the message of the end.
static void check_as_nobody(void *path) {
  ZeroErrors errors = {0};
  if (geteuid() == 0 && setuid(NOBODY) != 0) return;
  output_dir_check(path, "-o", 0, NULL, &errors);
  if (errors.count == 1) zero_fatal("%s", errors.lines[0]);
}

static void test_check_without_permission(void **state) {
  (void)state;
  char path[CHECK_PATH];
  check_path(path, dir, "log/deep");
  assert_int_equal(chmod(dir, 0555), 0);
  check_fatal(check_as_nobody, path, "-o ", path, "cannot write in", dir, "Permission denied", NULL);
  assert_int_equal(chmod(dir, 0700), 0);
}

static void test_make(void **state) {
  (void)state;
  char path[CHECK_PATH], probe[CHECK_PATH];
  ZeroErrors errors = {0};
  check_path(path, dir, "a/b//c/");
  for (int again = 0; again < 2; again++) { // there already: as good
    output_dir_make(path, "-o", &errors);
    check_no_error(&errors);
    assert_true(exists(path));
  }
  check_path(probe, dir, "a/b/c");
  assert_int_equal(rmdir(probe), 0); // so nothing else is in it
}

// What cannot be made leaves nothing behind, not even its parents.
static void test_make_fails(void **state) {
  (void)state;
  char path[CHECK_PATH], file[CHECK_PATH];
  ZeroErrors errors = {0};
  output_dir_make("/proc/zero_c", "-o", &errors);
  check_one_error(&errors, "-o /proc/zero_c: ", "cannot be written to", NULL);
  output_dir_make("/proc", "-o", &errors); // root passes every permission, and yet
  check_one_error(&errors, "-o /proc: ", "cannot be written to", NULL);

  char name[CHECK_PATH], long_name[300];
  memset(long_name, 'x', sizeof long_name - 1);
  long_name[sizeof long_name - 1] = '\0';
  snprintf(name, sizeof name, "new/deep/%s", long_name);
  check_path(path, dir, name);
  output_dir_make(path, "-o", &errors);
  check_one_error(&errors, "-o ", "File name too long", NULL);
  check_path(path, dir, "new");
  assert_false(exists(path));

  check_path(file, dir, "file");
  check_write(file, "x", 1);
  check_path(path, file, "log");
  output_dir_make(path, "-o", &errors);
  check_one_error(&errors, "-o ", path, "Not a directory", NULL);
  assert_true(exists(file));
}

// A small file system without a free block: its folder can be made, a file in it cannot be filled.
static void test_full_disk(void **state) {
  (void)state;
  char disk[CHECK_PATH], path[CHECK_PATH];
  check_path(disk, dir, "disk");
  assert_int_equal(mkdir(disk, 0777), 0);
  if (mount("tmpfs", disk, "tmpfs", 0, "size=32k") != 0) {
    print_message("skip full disk: a tmpfs cannot be mounted here\n");
    skip();
  }
  static char block[32 << 10];
  check_path(path, disk, "large");
  check_write(path, block, sizeof block);
  ZeroErrors errors = {0};
  check_path(path, disk, "log/deep");
  output_dir_check(path, "-o", 1000, "a checkpoint", &errors);
  check_one_error(&errors, path, "0.0 MiB free", NULL);
  output_dir_make(path, "-o", &errors);
  check_one_error(&errors, path, "No space left on device", NULL);
  check_path(path, disk, "log");
  assert_false(exists(path));
  assert_int_equal(umount(disk), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_check, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_check_without_permission, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_make, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_make_fails, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_full_disk, check_setup_dir, check_teardown_dir),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
