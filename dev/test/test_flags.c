// The flag parser: values, spellings, every message, and the help text.
#include "../../llmc/flags.h"
#include "check.h"

typedef struct {
  int64_t batch, steps;
  double rate, decay;
  const char *output, *type;
  int help;
} Values;

enum { SECTION, BATCH, STEPS, RATE, DECAY, OUTPUT, TYPE, STAGE, IGNORED, HELP, NUM_FLAGS };

// The table of a small program, its values and what came out.
typedef struct {
  Values values;
  int64_t stage;
  Flag flags[NUM_FLAGS];
  int given[NUM_FLAGS];
  ZeroErrors errors;
  char notices[CHECK_TEXT];
} Program;

static void make_table(Program *p) {
  const Flag table[NUM_FLAGS] = {
      [SECTION] = {.help = "Training:"},
      [BATCH] = {"-b", NULL, FLAG_INT, &p->values.batch, 1, 4096, NULL, "N", "micro-batch (4)"},
      [STEPS] = {"-x", NULL, FLAG_INT, &p->values.steps, -1, 1e15, NULL, "N", "steps (-1: one epoch)"},
      [RATE] = {"-l", NULL, FLAG_FLOAT, &p->values.rate, 0, 10, NULL, "RATE", "learning rate (3e-4)"},
      [DECAY] = {"-c", "--decay", FLAG_FLOAT, &p->values.decay, 0, 0.1, NULL, "X", "weight decay (0)"},
      [OUTPUT] = {"-o", NULL, FLAG_STRING, &p->values.output, 0, 0, NULL, "DIR", "log directory (none)"},
      [TYPE] = {"--dtype", NULL, FLAG_STRING, &p->values.type, 0, 0, "fp32|bf16|fp16", "TYPE", "compute type"},
      [STAGE] = {"-z", "--zero-stage", FLAG_INT, &p->stage, 0, 3, NULL, "N", "ZeRO stage (0)"},
      [IGNORED] = {"-lg", NULL, FLAG_IGNORED, NULL, 0, 0, NULL, "N", "ignored"},
      [HELP] = {"--help", NULL, FLAG_SWITCH, &p->values.help, 0, 0, NULL, NULL, "this text"},
  };
  memcpy(p->flags, table, sizeof table);
}

// Parses one line, split at spaces ('_' stands for an empty argument).
static void parse(Program *p, const char *line) {
  memset(p, 0, sizeof *p);
  make_table(p);
  static char words[CHECK_TEXT];
  char *argv[64] = {"program"};
  int argc = 1;
  strcpy(words, line);
  for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
    argv[argc++] = strcmp(word, "_") == 0 ? "" : word;
  }
  FILE *notices = fmemopen(p->notices, sizeof p->notices, "w");
  assert_non_null(notices);
  flags_parse(p->flags, NUM_FLAGS, argc, argv, p->given, &p->errors, notices);
  fclose(notices);
}

static void test_values(void **state) {
  (void)state;
  Program p;
  parse(&p, "-b 16 -x -1 -l 6e-4 --decay 0.1 -o log --dtype bf16 --zero-stage 2 --help");
  check_no_error(&p.errors);
  assert_int_equal(p.values.batch, 16);
  assert_int_equal(p.values.steps, -1);
  assert_true(p.values.rate == 6e-4);
  assert_true(p.values.decay == 0.1); // its own upper bound
  assert_string_equal(p.values.output, "log");
  assert_string_equal(p.values.type, "bf16");
  assert_int_equal(p.stage, 2);
  assert_int_equal(p.values.help, 1);
  const int given[NUM_FLAGS] = {0, 1, 1, 1, 1, 1, 1, 1, 0, 1};
  assert_memory_equal(p.given, given, sizeof given);
  assert_string_equal(p.notices, "");
}

static void test_nothing_given(void **state) {
  (void)state;
  Program p;
  parse(&p, "");
  check_no_error(&p.errors);
  const int given[NUM_FLAGS] = {0};
  assert_memory_equal(p.given, given, sizeof given);
  assert_int_equal(p.values.batch, 0);
}

static void test_spellings(void **state) {
  (void)state;
  Program p;
  parse(&p, "--zero-stage=3 --dtype=fp16 --decay=0.05 -o --odd=name");
  check_no_error(&p.errors);
  assert_int_equal(p.stage, 3);
  assert_string_equal(p.values.type, "fp16");
  assert_true(p.values.decay == 0.05);
  assert_string_equal(p.values.output, "--odd=name"); // a value, for no flag is called so
  parse(&p, "-z 1 -b 2 -z 2 --zero-stage 3 -b 5");
  check_no_error(&p.errors);
  assert_int_equal(p.stage, 3);
  assert_int_equal(p.values.batch, 5);
  parse(&p, "-x 1000000000000000");
  check_no_error(&p.errors);
  assert_int_equal(p.values.steps, 1000000000000000);
  parse(&p, "-l .5 -b +7");
  check_no_error(&p.errors);
  assert_true(p.values.rate == 0.5);
  assert_int_equal(p.values.batch, 7);
}

static void test_ignored_flags(void **state) {
  (void)state;
  Program p;
  parse(&p, "-lg -1 -b 3");
  check_no_error(&p.errors);
  assert_int_equal(p.values.batch, 3);
  check_contains(p.notices, "notice: -lg");
  assert_int_equal(p.given[IGNORED], 1);
  // without a place for notices
  char *argv[] = {"program", "-lg", "1"};
  flags_parse(p.flags, NUM_FLAGS, 3, argv, p.given, &p.errors, NULL);
  check_no_error(&p.errors);
}

static void expect_problem(const char *line, const char *text1, const char *text2) {
  Program p;
  parse(&p, line);
  check_one_error(&p.errors, text1, text2, NULL);
}

static void test_bad_numbers(void **state) {
  (void)state;
  expect_problem("-b 12x", "-b: '12x' is not a whole number", "from 1 to 4096");
  expect_problem("-b _", "-b: '' is not a whole number", "from 1 to 4096");
  expect_problem("-b 1.5", "-b: '1.5' is not a whole number", "give");
  expect_problem("-b 0x10", "-b: '0x10'", "whole number");
  expect_problem("-b 99999999999999999999", "-b: '99999999999999999999'", "whole number");
  expect_problem("-b 0", "-b: 0 is out of range", "from 1 to 4096");
  expect_problem("-b 4097", "-b: 4097 is out of range", "from 1 to 4096");
  expect_problem("-x -2", "-x: -2 is out of range", "from -1 to");
  expect_problem("--zero-stage 4", "--zero-stage: 4 is out of range", "from 0 to 3");
  expect_problem("--zero-stage=", "--zero-stage: ''", "whole number");
  expect_problem("-l nan", "-l: 'nan' is not a number", "from 0 to 10");
  expect_problem("-l inf", "-l: 'inf' is not a number", "from 0 to 10");
  expect_problem("-l 1e999", "-l: '1e999' is not a number", "from 0 to 10");
  expect_problem("-l 1e-4x", "-l: '1e-4x' is not a number", "from 0 to 10");
  expect_problem("-l _", "-l: '' is not a number", "from 0 to 10");
  expect_problem("-l -1e-4", "-l: -1e-4 is out of range", "from 0 to 10");
  expect_problem("-c 0.1001", "-c: 0.1001 is out of range", "from 0 to 0.1");
  char *argv[] = {"program", "-b", " 5"};
  Program p;
  parse(&p, "");
  flags_parse(p.flags, NUM_FLAGS, 3, argv, p.given, &p.errors, NULL);
  check_one_error(&p.errors, "-b: ' 5' is not a whole number", NULL);
}

static void test_bad_flags(void **state) {
  (void)state;
  expect_problem("--dtype fp8", "--dtype: 'fp8' is not known", "fp32|bf16|fp16");
  expect_problem("--dtype fp", "--dtype: 'fp' is not known", "fp32|bf16|fp16");
  expect_problem("-b", "-b: its value is missing", "the end of the line; write -b N");
  expect_problem("-o -b 3", "-o: its value is missing, found -b", "write -o DIR");
  expect_problem("--help=1", "--help: takes no value", "'1'");
  expect_problem("17", "'17' stands where a flag should", "--help");
  expect_problem("-q 1", "-q: unknown flag", "--help lists");
  expect_problem("-q -1 -b 2", "-q: unknown flag", "--help lists"); // its value is no second error
  expect_problem("--zero-stag 1", "--zero-stag: unknown flag", "did you mean --zero-stage?");
  expect_problem("--zerostage=1", "--zerostage=1: unknown flag", "did you mean --zero-stage?");
  expect_problem("--dtpye fp32", "--dtpye: unknown flag", "did you mean --dtype?");
  expect_problem("--b 4", "--b: unknown flag", "did you mean -b?");
  expect_problem("-B 4", "-B: unknown flag", "did you mean -b?");
  expect_problem("--HELP", "--HELP: unknown flag", "did you mean --help?");
  expect_problem("-b=4", "-b=4: unknown flag", "did you mean -b?");
  expect_problem("--", "--: unknown flag", "--help lists");
  expect_problem("--a-name-that-is-longer-than-any-flag-could-ever-be-and-so-is-near-to-none-of-them 1",
                 "unknown flag", "--help lists");
}

// Each problem has its line, and what is right still counts.
static void test_all_problems_are_named(void **state) {
  (void)state;
  Program p;
  parse(&p, "-b x --nothing 3 -x 7 -l y");
  assert_int_equal(p.errors.count, 3);
  check_contains(p.errors.lines[0], "-b: 'x'");
  check_contains(p.errors.lines[1], "--nothing: unknown");
  check_contains(p.errors.lines[2], "-l: 'y'");
  assert_int_equal(p.values.steps, 7);
  check_clear(&p.errors);
}

static void test_help(void **state) {
  (void)state;
  Program p;
  parse(&p, "");
  char text[CHECK_TEXT] = "";
  FILE *out = fmemopen(text, sizeof text, "w");
  assert_non_null(out);
  flags_help(out, p.flags, NUM_FLAGS);
  fclose(out);
  assert_string_equal(text,
                      "Training:\n"
                      "  -b N                micro-batch (4)\n"
                      "  -x N                steps (-1: one epoch)\n"
                      "  -l RATE             learning rate (3e-4)\n"
                      "  -c, --decay X       weight decay (0)\n"
                      "  -o DIR              log directory (none)\n"
                      "  --dtype TYPE        compute type (fp32|bf16|fp16)\n"
                      "  -z, --zero-stage N  ZeRO stage (0)\n"
                      "  -lg N               ignored\n"
                      "  --help              this text\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_nothing_given),
      cmocka_unit_test(test_spellings),
      cmocka_unit_test(test_ignored_flags),
      cmocka_unit_test(test_bad_numbers),
      cmocka_unit_test(test_bad_flags),
      cmocka_unit_test(test_all_problems_are_named),
      cmocka_unit_test(test_help),
  };
  return cmocka_run_group_tests_name("flags", tests, NULL, NULL);
}
