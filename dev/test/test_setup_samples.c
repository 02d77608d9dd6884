// What BERT's trainer checks about its data before it starts, and the numbers that the loop takes from it.
#include <fcntl.h>
#include <stdio.h>

#include "../../llmc/setup.h"
#include "sample_file.h"

enum { T = 32, SAMPLES = 30 };

static SampleFileText file; // large
static ZeroComm *comm;

static void write_samples(const char *name, int num_labels, int pairs) {
  char path[CHECK_PATH];
  check_path(path, dir, name);
  sample_file_begin(&file, num_labels, pairs);
  for (size_t n = 0; n < SAMPLES; n++) {
    sample_file_add(&file, 3 + n % 9, pairs ? 2 : 0, (float)(n % (size_t)(num_labels > 1 ? num_labels : 2)));
  }
  sample_file_write(&file, path);
}

// A run in the test's folder with this line, split at spaces, and batches of 8 samples.
static void check_line(Setup *s, const char *line, ZeroErrors *errors) {
  static char words[CHECK_TEXT];
  char *argv[64] = {"train_bert"};
  int argc = 1;
  strcpy(words, line);
  for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) argv[argc++] = word;
  memset(s, 0, sizeof *s);
  options_init(&s->options, &s->table, OPTIONS_BERT, OPTIONS_CPU);
  flags_parse(s->table.flags, s->table.count, argc, argv, s->table.given, errors, NULL);
  check_no_error(errors);
  s->comm = comm;
  s->T = T;
  s->B = s->sequences = 8;
  s->micro_steps = 1;
  assert_int_equal(chdir(dir), 0);
  setup_check_samples(s, TEST_VOCAB, errors);
}

static void expect_problem(const char *line, const char *text1, const char *text2) {
  Setup s;
  ZeroErrors errors = {0};
  check_line(&s, line, &errors);
  check_one_error(&errors, text1, text2, NULL);
  setup_free(&s);
}

static void test_good_runs(void **state) {
  (void)state;
  static const struct {
    const char *line;
    size_t train, val, num_labels;
  } runs[] = {{"-i text.bin -j text.bin", SAMPLES, SAMPLES, 0},
              {"-i text.bin -v 0", SAMPLES, 0, 0},
              {"-i classes.bin -j classes.bin", SAMPLES, SAMPLES, 3}, // labels do not disturb masking
              {"-i pairs.bin -j pairs.bin --nsp 1", SAMPLES, SAMPLES, 0},
              {"-i classes.bin -j classes.bin --task classify", SAMPLES, SAMPLES, 3},
              {"-i numbers.bin -j numbers.bin --task classify", SAMPLES, SAMPLES, 1},
              {"-j classes.bin --task classify -x 0", 0, SAMPLES, 3},
              {"-x 0", 0, 0, 0}};
  write_samples("text.bin", 0, 0);
  write_samples("classes.bin", 3, 0);
  write_samples("numbers.bin", 1, 0);
  write_samples("pairs.bin", 0, 1);
  for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
    Setup s;
    ZeroErrors errors = {0};
    check_line(&s, runs[i].line, &errors);
    check_no_error(&errors);
    assert_int_equal(setup_train_sequences(&s), runs[i].train);
    assert_int_equal(setup_val_sequences(&s), runs[i].val);
    assert_int_equal(setup_samples_info(&s).num_labels, runs[i].num_labels);
    setup_finish(&s);
    assert_int_equal(s.steps, strstr(runs[i].line, "-x 0") ? 0 : SAMPLES / 8); // an epoch of whole batches
    setup_free(&s);
  }
}

// What setup_print writes, as a string.
static void printed(const Setup *s, char text[CHECK_TEXT]) {
  char path[CHECK_PATH];
  check_path(path, dir, "printed");
  fflush(stdout);
  const int before = dup(STDOUT_FILENO), there = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  assert_true(before >= 0 && there >= 0 && dup2(there, STDOUT_FILENO) >= 0);
  setup_print(s, TEST_VOCAB);
  fflush(stdout);
  const int restored = dup2(before, STDOUT_FILENO);
  close(before);
  close(there);
  assert_true(restored >= 0);
  check_read(path, text);
}

static void test_lines(void **state) {
  (void)state;
  static const char *const lines[][2] = {
      {"-i text.bin -j text.bin", "data: train text.bin, 261 tokens, 30 samples of at most 13 | val text.bin\n"},
      {"-i text.bin -v 0", "data: train text.bin, 261 tokens, 30 samples of at most 13 | val off\n"},
      {"-j text.bin -x 0", "data: train off | val text.bin\n"}};
  write_samples("text.bin", 0, 0);
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    Setup s;
    ZeroErrors errors = {0};
    char text[CHECK_TEXT];
    check_line(&s, lines[i][0], &errors);
    check_no_error(&errors);
    setup_finish(&s);
    printed(&s, text);
    check_contains(text, lines[i][1]);
    setup_free(&s);
  }
}

static void test_problems(void **state) {
  (void)state;
  write_samples("text.bin", 0, 0);
  write_samples("classes.bin", 3, 0);
  write_samples("two.bin", 2, 0);
  write_samples("pairs.bin", 0, 1);
  expect_problem("", "-i: not given", "data/README.md");
  expect_problem("-i text.bin", "-j: not given", "-i text.bin");
  expect_problem("-i none.bin -v 0", "-i none.bin: no such file", "give ");
  expect_problem("-i text.bin -j none.bin", "-j none.bin: no such file", "give ");
  expect_problem("-i text.bin -v 0 --task classify", "-i text.bin: has no labels", "--task mlm");
  expect_problem("-i pairs.bin -v 0 --task classify", "-i pairs.bin: has no labels", "--task mlm");
  expect_problem("-i text.bin -v 0 --nsp 1", "-i text.bin: has no sentence pairs", "--nsp 0");
  expect_problem("-j text.bin -x 0 --nsp 1", "-j text.bin: has no sentence pairs", "--nsp 0");
  expect_problem("-i classes.bin -v 0 --task classify --nsp 1", "--nsp: found 1", "--task mlm");
  expect_problem("-i classes.bin -j two.bin --task classify", "-j two.bin: 2 classes", "-i classes.bin has 3");
  // fewer samples than a step takes
  char path[CHECK_PATH];
  check_path(path, dir, "few.bin");
  sample_file_begin(&file, 0, 0);
  for (size_t n = 0; n < 7; n++) sample_file_add(&file, 5, 0, 0);
  sample_file_write(&file, path);
  expect_problem("-i few.bin -v 0", "-x: few.bin has 7 sequences, one step takes 8", "give a number of steps");
  Setup s;
  ZeroErrors errors = {0};
  check_line(&s, "-i few.bin -v 0 -x 5", &errors);
  check_no_error(&errors);
  setup_free(&s);
}

// Rates that would be drawn as 0.
static void test_small_rates(void **state) {
  (void)state;
  write_samples("text.bin", 0, 0);
  static const char *const flags[] = {"--dropout", "--attention-dropout", "--classifier-dropout"};
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    char line[CHECK_TEXT];
    Setup s;
    ZeroErrors errors = {0};
    snprintf(line, sizeof line, "-i text.bin -v 0 %s 1e-10", flags[i]);
    check_line(&s, line, &errors);
    check_no_error(&errors);
    setup_check_config(&s, &errors);
    snprintf(line, sizeof line, "%s: 1e-10 is too small", flags[i]);
    check_one_error(&errors, line, "at least 2.32831e-10", NULL);
    setup_free(&s);
  }
}

// A checksum that does not fit is found, unless it is not asked for.
static void test_checksum(void **state) {
  (void)state;
  static const char line[] = "XXH3_0123456789abcdef  text.bin\n";
  char path[CHECK_PATH];
  check_path(path, dir, "text.bin.xxh3");
  write_samples("text.bin", 0, 0);
  check_write(path, line, strlen(line));
  expect_problem("-i text.bin -v 0", "-i text.bin: its XXH3-64 is ", "0123456789abcdef");
  Setup s;
  ZeroErrors errors = {0};
  check_line(&s, "-i text.bin -v 0 --verify-data 0", &errors);
  check_no_error(&errors);
  setup_free(&s);
}

int main(void) {
  comm = zero_comm_create("self");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_good_runs, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_lines, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_problems, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_small_rates, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_checksum, check_setup_dir, check_teardown_dir),
  };
  const int failed = cmocka_run_group_tests_name("setup of samples", tests, NULL, NULL);
  zero_comm_destroy(comm);
  return failed > 0;
}
