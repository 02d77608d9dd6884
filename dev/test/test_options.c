// Precedence: built-in < configuration file < flag, for every value that both can give; the file's schedule.
#include <math.h>

#include "../../llmc/options_file.h"
#include "check.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

typedef struct {
  Options options;
  OptionTable table;
  ZeroConfigFile file;
} Run;

// A command line, split at spaces, and a file's text.
static void make_run(Run *r, const char *line, const char *text) {
  static char words[CHECK_TEXT];
  char *argv[64] = {"train_gpt2"};
  int argc = 1;
  ZeroErrors errors = {0};
  strcpy(words, line);
  for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) argv[argc++] = word;
  options_init(&r->options, &r->table, OPTIONS_GPT2, OPTIONS_CPU);
  flags_parse(r->table.flags, r->table.count, argc, argv, r->table.given, &errors, NULL);
  check_no_error(&errors);
  zero_config_text_read("ds.json", text, strlen(text), &r->file, &errors);
  check_no_error(&errors);
  options_apply_file(&r->options, &r->table, &r->file);
}

// What the file and the flags can both set, as one line.
static void check_options(const char *line, const char *text, const char *expected) {
  Run r;
  char found[CHECK_TEXT];
  make_run(&r, line, text);
  const Options *o = &r.options;
  snprintf(found, sizeof found, "z%d %s d%d s%d r%d every %d clip %g | lr %g betas %g %g eps %g decay %g",
           (int)o->stage, o->dtype, (int)o->deterministic, (int)o->stochastic_rounding, (int)o->recompute,
           (int)o->log_every, o->clip, o->lr, o->beta1, o->beta2, o->eps, o->weight_decay);
  if (strcmp(found, expected) != 0) fail_msg("'%s' with %s\ngives    %s\nexpected %s", line, text, found, expected);
  zero_config_file_free(&r.file);
}

#define OUR_ADAM "| lr 0.0003 betas 0.9 0.95 eps 1e-08 decay 0"
#define FULL_FILE                                                                                          \
  "{\"zero_optimization\": {\"stage\": 2}, \"bf16\": {\"enabled\": true}, \"deterministic\": false, "      \
  "\"stochastic_rounding\": true, "                                                                        \
  "\"steps_per_print\": 10, \"activation_checkpointing\": {}, \"gradient_clipping\": 0.5, \"optimizer\": " \
  "{\"type\": \"AdamW\", \"params\": {\"lr\": "                                                            \
  "0.01, \"betas\": [0.8, 0.9], \"eps\": 1e-6, \"weight_decay\": 0.1}}}"

static void test_precedence(void **state) {
  (void)state;
  check_options("", "{}", "z0 fp32 d1 s0 r1 every 1 clip 1 " OUR_ADAM);
  check_options("", FULL_FILE, "z2 bf16 d0 s1 r3 every 10 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0.1");
  // each flag alone, the rest from the file
  check_options("-z 3", FULL_FILE, "z3 bf16 d0 s1 r3 every 10 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0.1");
  check_options("--zero-stage 0", FULL_FILE,
                "z0 bf16 d0 s1 r3 every 10 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0.1");
  check_options("--dtype fp16", FULL_FILE,
                "z2 fp16 d0 s1 r3 every 10 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0.1");
  check_options("--deterministic 1", FULL_FILE,
                "z2 bf16 d1 s1 r3 every 10 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0.1");
  check_options("--stochastic-rounding 0", FULL_FILE,
                "z2 bf16 d0 s0 r3 every 10 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0.1");
  check_options("-r 0", FULL_FILE, "z2 bf16 d0 s1 r0 every 10 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0.1");
  check_options("--log-every 3", FULL_FILE,
                "z2 bf16 d0 s1 r3 every 3 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0.1");
  check_options("--clip 0", FULL_FILE,
                "z2 bf16 d0 s1 r3 every 10 clip 0 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0.1");
  check_options("-l 5", FULL_FILE, "z2 bf16 d0 s1 r3 every 10 clip 0.5 | lr 5 betas 0.8 0.9 eps 1e-06 decay 0.1");
  check_options("--beta1 0.5", FULL_FILE,
                "z2 bf16 d0 s1 r3 every 10 clip 0.5 | lr 0.01 betas 0.5 0.9 eps 1e-06 decay 0.1");
  check_options("--beta2 0.5", FULL_FILE,
                "z2 bf16 d0 s1 r3 every 10 clip 0.5 | lr 0.01 betas 0.8 0.5 eps 1e-06 decay 0.1");
  check_options("--eps 1e-3", FULL_FILE,
                "z2 bf16 d0 s1 r3 every 10 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 0.001 decay 0.1");
  check_options("-c 0", FULL_FILE, "z2 bf16 d0 s1 r3 every 10 clip 0.5 | lr 0.01 betas 0.8 0.9 eps 1e-06 decay 0");
}

// On a GPU bf16 and the reductions that are fastest there.
static void test_device(void **state) {
  (void)state;
  for (int trainer = OPTIONS_GPT2; trainer <= OPTIONS_BERT; trainer++) {
    Run r;
    options_init(&r.options, &r.table, (OptionsTrainer)trainer, OPTIONS_CPU);
    assert_string_equal(r.options.dtype, "fp32");
    assert_int_equal(r.options.deterministic, 1);
    options_init(&r.options, &r.table, (OptionsTrainer)trainer, OPTIONS_GPU);
    assert_string_equal(r.options.dtype, "bf16");
    assert_int_equal(r.options.deterministic, 0);
  }
}

static void test_blocks_and_auto(void **state) {
  (void)state;
  // a block brings DeepSpeed's defaults; one that is not there leaves ours
  check_options("", "{\"optimizer\": {\"type\": \"AdamW\"}}",
                "z0 fp32 d1 s0 r1 every 1 clip 1 | lr 0.001 betas 0.9 0.999 eps 1e-08 decay 0");
  check_options("--beta1 0.7", "{\"optimizer\": {\"type\": \"Adam\", \"params\": {\"weight_decay\": 0.2}}}",
                "z0 fp32 d1 s0 r1 every 1 clip 1 | lr 0.001 betas 0.7 0.999 eps 1e-08 decay 0.2");
  check_options("", "{\"zero_optimization\": {}, \"fp16\": {}}", "z0 fp32 d1 s0 r1 every 1 clip 1 " OUR_ADAM);
  check_options("--dtype bf16", "{}", "z0 bf16 d1 s0 r1 every 1 clip 1 " OUR_ADAM);
  // "auto" leaves the program's values
  check_options("",
                "{\"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": \"auto\", \"betas\": \"auto\", \"eps\": "
                "\"auto\", \"weight_decay\": \"auto\"}}, \"gradient_clipping\": \"auto\", \"fp16\": {\"enabled\": "
                "\"auto\"}}",
                "z0 fp32 d1 s0 r1 every 1 clip 1 " OUR_ADAM);
  check_options("-l 0.5 --dtype fp16",
                "{\"optimizer\": {\"type\": \"AdamW\", \"params\": {\"lr\": \"auto\"}}, \"fp16\": {\"enabled\": "
                "\"auto\"}}",
                "z0 fp16 d1 s0 r1 every 1 clip 1 | lr 0.5 betas 0.9 0.999 eps 1e-08 decay 0");
  // neither type enabled means fp32, also where the program's own default is another; "auto" keeps that
  static const struct {
    const char *text, *dtype;
  } cases[] = {
      {"{}", "fp32"}, {"{\"fp16\": {\"enabled\": false}}", "fp32"}, {"{\"bf16\": {\"enabled\": \"auto\"}}", "bf16"}};
  for (size_t i = 0; i < COUNT(cases); i++) {
    Run r;
    ZeroErrors errors = {0};
    options_init(&r.options, &r.table, OPTIONS_GPT2, OPTIONS_GPU);
    memset(r.table.given, 0, sizeof r.table.given);
    zero_config_text_read("ds.json", cases[i].text, strlen(cases[i].text), &r.file, &errors);
    check_no_error(&errors);
    options_apply_file(&r.options, &r.table, &r.file);
    assert_string_equal(r.options.dtype, cases[i].dtype);
  }
}

// ---------------------------------------------------------------------------------------------------
// The schedule

#define SCHEDULER(type, text) "{\"scheduler\": {\"type\": \"" type "\", \"params\": {" text "}}}"

// Rates of a few steps of a run with lr 0.01 and 100 steps.
static void check_schedule(const char *line, const char *text, ScheduleKind kind, size_t step, double expected) {
  Run r;
  Schedule schedule;
  make_run(&r, line, text);
  assert_int_equal(schedule_from_file(&r.file, &r.table, 0.01, 100, &schedule), 1);
  assert_int_equal(schedule.kind, kind);
  const double found = schedule_lr(&schedule, step);
  if (fabs(found - expected) > 1e-9 * expected)
    fail_msg("%s, step %zu: %.10g, not %.10g", text, step, found, expected);
  zero_config_file_free(&r.file);
}

static void test_schedule(void **state) {
  (void)state;
  // WarmupLR: its own highest rate, DeepSpeed's default or the run's
  check_schedule("", SCHEDULER("WarmupLR", ""), SCHEDULE_WARMUP, 5000, 0.001);
  check_schedule("-l 0.01", SCHEDULER("WarmupLR", "\"warmup_max_lr\": \"auto\""), SCHEDULE_WARMUP, 5000, 0.01);
  check_schedule("", SCHEDULER("WarmupLR", "\"warmup_max_lr\": 0.5, \"warmup_min_lr\": 0.25"), SCHEDULE_WARMUP, 1,
                 0.25);
  check_schedule("",
                 SCHEDULER("WarmupLR", "\"warmup_max_lr\": 8, \"warmup_num_steps\": 4, \"warmup_type\": \"linear\""),
                 SCHEDULE_WARMUP, 3, 4.0);
  check_schedule("", SCHEDULER("WarmupLR", "\"warmup_max_lr\": 8, \"warmup_num_steps\": 4"), SCHEDULE_WARMUP, 2, 4.0);
  check_schedule("", SCHEDULER("WarmupLR", "\"warmup_num_steps\": \"auto\", \"warmup_min_lr\": \"auto\""),
                 SCHEDULE_WARMUP, 3, 0.001);
  // WarmupDecayLR: its own end or the run's
  check_schedule("", SCHEDULER("WarmupDecayLR", "\"total_num_steps\": \"auto\", \"warmup_num_steps\": 20"),
                 SCHEDULE_WARMUP_DECAY, 61, 0.0005);
  check_schedule("", SCHEDULER("WarmupDecayLR", "\"total_num_steps\": 60, \"warmup_num_steps\": 20"),
                 SCHEDULE_WARMUP_DECAY, 41, 0.0005);
  // WarmupCosineLR: shares of the run's rate
  check_schedule("", SCHEDULER("WarmupCosineLR", "\"total_num_steps\": \"auto\", \"warmup_min_ratio\": 0.1"),
                 SCHEDULE_WARMUP_COSINE, 1, 0.001);
  check_schedule("",
                 SCHEDULER("WarmupCosineLR",
                           "\"total_num_steps\": 50, \"warmup_num_steps\": 10, "
                           "\"cos_min_ratio\": 0.2"),
                 SCHEDULE_WARMUP_COSINE, 5000, 0.002);
  check_schedule("", SCHEDULER("LRRangeTest", "\"lr_range_test_step_size\": 10"), SCHEDULE_RANGE_TEST, 5, 0.0015);
  check_schedule("",
                 SCHEDULER("LRRangeTest",
                           "\"lr_range_test_step_size\": 10, \"lr_range_test_staircase\": true, "
                           "\"lr_range_test_step_rate\": 2, \"lr_range_test_min_lr\": 1"),
                 SCHEDULE_RANGE_TEST, 15, 3.0);
  // OneCycle: the second half as long as the first unless it says
  check_schedule("", SCHEDULER("OneCycle", "\"cycle_min_lr\": 1, \"cycle_max_lr\": 2, \"cycle_first_step_size\": 4"),
                 SCHEDULE_ONE_CYCLE, 6, 1.5);
  check_schedule("",
                 SCHEDULER("OneCycle",
                           "\"cycle_min_lr\": 1, \"cycle_max_lr\": 2, \"cycle_first_step_size\": 4, "
                           "\"cycle_second_step_size\": 8"),
                 SCHEDULE_ONE_CYCLE, 6, 1.75);
  check_schedule("",
                 SCHEDULER("OneCycle",
                           "\"cycle_min_lr\": 1, \"cycle_max_lr\": 2, \"cycle_first_step_size\": 4, "
                           "\"decay_step_size\": 2, \"decay_lr_rate\": 1"),
                 SCHEDULE_ONE_CYCLE, 12, 1.0 / 3);
}

static void test_betas_of_a_cycle(void **state) {
  (void)state;
  Run r;
  Schedule schedule;
  double beta1 = 0, beta2 = 0;
  make_run(&r, "",
           SCHEDULER("OneCycle",
                     "\"cycle_min_lr\": 1, \"cycle_max_lr\": 2, \"cycle_first_step_size\": 4, "
                     "\"cycle_min_mom\": 0.5, \"cycle_max_mom\": 0.7, \"decay_mom_rate\": 0.1, "
                     "\"decay_step_size\": 1"));
  assert_int_equal(schedule_from_file(&r.file, &r.table, 0.01, 100, &schedule), 1);
  assert_int_equal(schedule_betas(&schedule, 2, &beta1, &beta2), 1);
  assert_true(fabs(beta1 - 0.6) < 1e-12);
  assert_int_equal(schedule_betas(&schedule, 10, &beta1, &beta2), 1);
  assert_true(fabs(beta1 - 0.84) < 1e-12);
  make_run(&r, "", SCHEDULER("OneCycle", "\"cycle_min_lr\": 1, \"cycle_max_lr\": 2, \"cycle_momentum\": false"));
  assert_int_equal(schedule_from_file(&r.file, &r.table, 0.01, 100, &schedule), 1);
  assert_int_equal(schedule_betas(&schedule, 2, &beta1, &beta2), 0);
}

// -k, -u or -q, and a file without the block, keep the command line's schedule.
static void test_flags_before_the_schedule(void **state) {
  (void)state;
  const char *const lines[] = {"-k linear", "-u 10", "-q 0.1"};
  Run r;
  Schedule schedule;
  for (size_t i = 0; i < COUNT(lines); i++) {
    make_run(&r, lines[i], SCHEDULER("WarmupLR", ""));
    assert_int_equal(schedule_from_file(&r.file, &r.table, 0.01, 100, &schedule), 0);
  }
  make_run(&r, "-l 1 -x 5", SCHEDULER("WarmupLR", ""));
  assert_int_equal(schedule_from_file(&r.file, &r.table, 0.01, 100, &schedule), 1);
  make_run(&r, "", "{}");
  assert_int_equal(schedule_from_file(&r.file, &r.table, 0.01, 100, &schedule), 0);
}

// ---------------------------------------------------------------------------------------------------
// Two trainers

// Parses a line, split at spaces, as `trainer` does.
static void parse_as(OptionsTrainer trainer, Run *r, const char *line, ZeroErrors *errors) {
  static char words[CHECK_TEXT];
  char *argv[64] = {"train"};
  int argc = 1;
  strcpy(words, line);
  for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) argv[argc++] = word;
  options_init(&r->options, &r->table, trainer, OPTIONS_CPU);
  assert_true(r->table.count < OPTIONS_MAX_FLAGS);
  flags_parse(r->table.flags, r->table.count, argc, argv, r->table.given, errors, NULL);
}

// Is the flag in the trainer's help?
static int in_help(OptionsTrainer trainer, const char *flag) {
  static char text[1 << 14];
  Run r;
  options_init(&r.options, &r.table, trainer, OPTIONS_CPU);
  FILE *file = fmemopen(text, sizeof text, "w");
  assert_non_null(file);
  flags_help(file, r.table.flags, r.table.count);
  assert_int_equal(fclose(file), 0);
  char begin[64];
  snprintf(begin, sizeof begin, "\n  %s ", flag);
  return strstr(text, begin) != NULL;
}

// A flag of one trainer is in its help alone, and the other knows nothing of it.
static void test_flags_of_one_trainer(void **state) {
  (void)state;
  const struct {
    const char *flag, *line;
    int gpt2, bert;
  } flags[] = {{"--task", "--task mlm", 0, 1},
               {"--nsp", "--nsp 1", 0, 1},
               {"--packed", "--packed 0", 0, 1},
               {"--mask-probability", "--mask-probability 0.2", 0, 1},
               {"--classifier-dropout", "--classifier-dropout 0.2", 0, 1},
               {"--tokenizer", "--tokenizer x", 1, 0},
               {"-s", "-s 0", 1, 0},
               {"-g", "-g 5", 1, 0},
               {"--dropout", "--dropout 0.2", 1, 1},
               {"--attention-dropout", "--attention-dropout 0.2", 1, 1},
               {"-i", "-i x", 1, 1},
               {"-e", "-e x", 1, 1}};
  for (size_t i = 0; i < COUNT(flags); i++) {
    const int known[] = {flags[i].gpt2, flags[i].bert};
    for (int trainer = OPTIONS_GPT2; trainer <= OPTIONS_BERT; trainer++) {
      Run r;
      ZeroErrors errors = {0};
      assert_int_equal(in_help((OptionsTrainer)trainer, flags[i].flag), known[trainer]);
      parse_as((OptionsTrainer)trainer, &r, flags[i].line, &errors);
      assert_int_equal(options_given(&r.table, flags[i].flag), known[trainer]);
      if (known[trainer]) {
        check_no_error(&errors);
      } else {
        check_one_error(&errors, flags[i].flag, "unknown flag", NULL);
      }
    }
  }
}

static void test_defaults_of_both(void **state) {
  (void)state;
  Run r;
  ZeroErrors errors = {0};
  parse_as(OPTIONS_GPT2, &r, "", &errors);
  assert_true(r.options.dropout == 0.0 && r.options.attention_dropout == 0.0);
  assert_string_equal(r.options.model, "d12");
  parse_as(OPTIONS_BERT, &r, "", &errors);
  assert_true(r.options.dropout == 0.1 && r.options.attention_dropout == 0.1 && r.options.classifier_dropout < 0.0);
  assert_true(r.options.mask_probability == 0.15 && r.options.packed == 1 && r.options.nsp == 0);
  assert_string_equal(r.options.task, "mlm");
  assert_string_equal(r.options.model, "bert-base");
  assert_null(r.options.train);
  parse_as(OPTIONS_BERT, &r,
           "--task classify --nsp 1 --packed 0 --dropout 0 --attention-dropout 0.3 --classifier-dropout 0.5 "
           "--mask-probability 0.25",
           &errors);
  check_no_error(&errors);
  assert_string_equal(r.options.task, "classify");
  assert_true(r.options.nsp == 1 && r.options.packed == 0 && r.options.dropout == 0.0);
  assert_true(r.options.attention_dropout == 0.3 && r.options.classifier_dropout == 0.5);
  assert_true(r.options.mask_probability == 0.25);
}

// A rate of 1 would leave nothing.
static void test_ranges_of_gpt2(void **state) {
  (void)state;
  const char *const lines[] = {"--dropout 1", "--dropout -0.1", "--attention-dropout 1.5", "--attention-dropout nan"};
  for (size_t i = 0; i < COUNT(lines); i++) {
    Run r;
    ZeroErrors errors = {0};
    char flag[64];
    snprintf(flag, sizeof flag, "%.*s", (int)strcspn(lines[i], " "), lines[i]);
    parse_as(OPTIONS_GPT2, &r, lines[i], &errors);
    check_one_error(&errors, flag, "0 to 0.99", NULL);
  }
  Run r;
  ZeroErrors errors = {0};
  parse_as(OPTIONS_GPT2, &r, "--dropout 0.2 --attention-dropout 0.99", &errors);
  check_no_error(&errors);
  assert_true(r.options.dropout == 0.2 && r.options.attention_dropout == 0.99);
}

static void test_ranges(void **state) {
  (void)state;
  const char *const lines[][2] = {{"--dropout 1", "0 to 0.99"},       {"--attention-dropout -0.1", "0 to 0.99"},
                                  {"--classifier-dropout 1", "0.99"}, {"--mask-probability 1.5", "0 to 1"},
                                  {"--packed 2", "0 to 1"},           {"--nsp -1", "0 to 1"},
                                  {"--task nsp", "mlm|classify"}};
  for (size_t i = 0; i < COUNT(lines); i++) {
    Run r;
    ZeroErrors errors = {0};
    parse_as(OPTIONS_BERT, &r, lines[i][0], &errors);
    check_one_error(&errors, lines[i][1], NULL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_precedence),
      cmocka_unit_test(test_device),
      cmocka_unit_test(test_blocks_and_auto),
      cmocka_unit_test(test_schedule),
      cmocka_unit_test(test_betas_of_a_cycle),
      cmocka_unit_test(test_flags_before_the_schedule),
      cmocka_unit_test(test_flags_of_one_trainer),
      cmocka_unit_test(test_defaults_of_both),
      cmocka_unit_test(test_ranges),
      cmocka_unit_test(test_ranges_of_gpt2),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
