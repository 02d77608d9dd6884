// Learning-rate schedules: sequences of rates against literal values, computed from the laws by hand or by an
// independent program that steps a scheduler behind each update.
#include <math.h>

#include "../../llmc/schedulers.h"
#include "check.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

static void check_close(const char *what, size_t step, double found, double expected) {
  if (fabs(found - expected) > 1e-8 * fabs(expected)) {
    fail_msg("%s, step %zu: %.10g, expected %.10g", what, step, found, expected);
  }
}

static void check_rate(const Schedule *schedule, size_t step, double expected) {
  check_close(schedule_name(schedule->kind), step, schedule_lr(schedule, step), expected);
}

static void check_rates(const Schedule *schedule, const double *expected, size_t count) {
  assert_true(count >= 5);
  for (size_t step = 0; step < count; step++) check_rate(schedule, step, expected[step]);
}

// ---------------------------------------------------------------------------------------------------
// llm.c's

static Schedule llmc_schedule(ScheduleKind kind, double lr, size_t warmup, size_t total, double final_fraction) {
  const Schedule schedule = {
      .kind = kind, .lr = lr, .warmup = warmup, .total = total, .final_fraction = final_fraction};
  return schedule;
}

static void test_cosine(void **state) {
  (void)state;
  const Schedule schedule = llmc_schedule(SCHEDULE_COSINE, 1e-3, 100, 2000, 0.1);
  check_rate(&schedule, 0, 1e-5);
  check_rate(&schedule, 49, 5e-4);
  check_rate(&schedule, 99, 1e-3);
  check_rate(&schedule, 100, 1e-3);
  check_rate(&schedule, 575, 8.681980515e-4); // a quarter: 1e-4 + 9e-4 (1 + cos 45 degrees) / 2
  check_rate(&schedule, 1050, 5.5e-4);
  check_rate(&schedule, 2000, 1e-4);
  check_rate(&schedule, 3000, 1e-4); // past the end
}

static void test_linear(void **state) {
  (void)state;
  const Schedule schedule = llmc_schedule(SCHEDULE_LINEAR, 1e-3, 100, 2000, 0.1);
  check_rate(&schedule, 0, 1e-5);
  check_rate(&schedule, 100, 1e-3);
  check_rate(&schedule, 575, 7.75e-4);
  check_rate(&schedule, 1050, 5.5e-4);
  check_rate(&schedule, 2000, 1e-4);
}

static void test_constant_has_no_warmup(void **state) {
  (void)state;
  const Schedule schedule = llmc_schedule(SCHEDULE_CONSTANT, 3e-4, 100, 2000, 0.1);
  check_rate(&schedule, 0, 3e-4);
  check_rate(&schedule, 1999, 3e-4);
}

// Constant after the warmup, then 1 - sqrt(x) over the last fifth.
static void test_wsd(void **state) {
  (void)state;
  const Schedule schedule = llmc_schedule(SCHEDULE_WSD, 1e-3, 10, 100, 0.1);
  check_rate(&schedule, 0, 1e-4);
  check_rate(&schedule, 4, 5e-4);
  check_rate(&schedule, 9, 1e-3);
  check_rate(&schedule, 10, 1e-3);
  check_rate(&schedule, 79, 1e-3);
  check_rate(&schedule, 80, 1e-3);
  check_rate(&schedule, 85, 5.5e-4); // a quarter of the decay: half of the way
  check_rate(&schedule, 95, 2.205771366e-4);
  check_rate(&schedule, 99, 1.227885094e-4);
  check_rate(&schedule, 100, 1e-4);
  check_rate(&schedule, 200, 1e-4);
  // 0.8 * 7 = 5.6: the decay begins at step 5
  const Schedule odd = llmc_schedule(SCHEDULE_WSD, 1e-3, 0, 7, 0.0);
  check_rate(&odd, 4, 1e-3);
  check_rate(&odd, 5, 1e-3);
  check_rate(&odd, 6, 2.928932188e-4);
  check_rate(&odd, 7, 0.0);
  // a warmup that is longer than the constant part
  const Schedule late = llmc_schedule(SCHEDULE_WSD, 1e-3, 9, 10, 0.0);
  check_rate(&late, 8, 1e-3);
  check_rate(&late, 9, 2.928932188e-4);
}

static void test_warmup_as_long_as_the_run(void **state) {
  (void)state;
  const ScheduleKind kinds[] = {SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_WSD};
  for (size_t k = 0; k < COUNT(kinds); k++) {
    const Schedule schedule = llmc_schedule(kinds[k], 1e-3, 10, 10, 0.5);
    check_rate(&schedule, 9, 1e-3);
    check_rate(&schedule, 10, 5e-4);
    const Schedule longer = llmc_schedule(kinds[k], 1e-3, 20, 10, 0.5);
    check_rate(&longer, 9, 5e-4);
    check_rate(&longer, 25, 5e-4);
    const Schedule empty = llmc_schedule(kinds[k], 1e-3, 0, 0, 0.5);
    check_rate(&empty, 0, 5e-4);
  }
}

static void test_names(void **state) {
  (void)state;
  static const struct {
    const char *name;
    ScheduleKind kind;
  } known[] = {{"cosine", SCHEDULE_COSINE},
               {"linear", SCHEDULE_LINEAR},
               {"constant", SCHEDULE_CONSTANT},
               {"wsd", SCHEDULE_WSD}};
  for (size_t i = 0; i < COUNT(known); i++) {
    ScheduleKind kind = SCHEDULE_ONE_CYCLE;
    assert_int_equal(schedule_parse(known[i].name, &kind), 0);
    assert_int_equal(kind, known[i].kind);
    assert_string_equal(schedule_name(kind), known[i].name);
    const Schedule schedule = {.kind = kind};
    assert_int_equal(schedule_counts_applied(&schedule), 0);
  }
  ScheduleKind kind = SCHEDULE_CONSTANT;
  assert_int_equal(schedule_parse("cos", &kind), -1);
  assert_int_equal(schedule_parse("", &kind), -1);
  assert_int_equal(schedule_parse("WarmupLR", &kind), -1); // of configuration files only
  assert_string_equal(schedule_names(), "cosine, linear, constant, wsd");
  assert_string_equal(schedule_name(SCHEDULE_WARMUP_COSINE), "WarmupCosineLR");
  for (int k = SCHEDULE_WARMUP; k <= SCHEDULE_ONE_CYCLE; k++) {
    const Schedule schedule = {.kind = (ScheduleKind)k};
    assert_int_equal(schedule_counts_applied(&schedule), 1);
  }
}

// ---------------------------------------------------------------------------------------------------
// DeepSpeed's. Each list begins with the rate that the scheduler starts with.

static void test_warmup(void **state) {
  (void)state;
  Schedule schedule = {.kind = SCHEDULE_WARMUP, .lr = 1e-3, .min_lr = 1e-4, .warmup = 4};
  // 1e-4 + 9e-4 log(t + 1) / log 4
  const double logarithmic[] = {1e-4, 1e-4, 5.5e-4, 8.132331253e-4, 1e-3, 1e-3, 1e-3, 1e-3};
  check_rates(&schedule, logarithmic, COUNT(logarithmic));
  schedule.linear_warmup = 1; // 1e-4 + 9e-4 t / 4
  const double linear[] = {1e-4, 1e-4, 3.25e-4, 5.5e-4, 7.75e-4, 1e-3, 1e-3, 1e-3};
  check_rates(&schedule, linear, COUNT(linear));
  check_rate(&schedule, 1000000, 1e-3);
}

// One step of warmup counts as two: log 1 would be 0.
static void test_shortest_warmup(void **state) {
  (void)state;
  const double expected[] = {0, 0, 1e-3, 1e-3, 1e-3};
  for (size_t warmup = 0; warmup <= 2; warmup++) {
    const Schedule schedule = {.kind = SCHEDULE_WARMUP, .lr = 1e-3, .warmup = warmup};
    check_rates(&schedule, expected, COUNT(expected));
  }
}

static void test_warmup_decay(void **state) {
  (void)state;
  Schedule schedule = {.kind = SCHEDULE_WARMUP_DECAY, .lr = 1e-3, .warmup = 4, .total = 10};
  const double logarithmic[] = {0,         0,    5e-4,      7.924812504e-4, 1e-3, 1e-3, 0.005 / 6,
                                0.004 / 6, 5e-4, 0.002 / 6, 0.001 / 6,      0,    0,    0};
  check_rates(&schedule, logarithmic, COUNT(logarithmic));
  schedule.linear_warmup = 1; // it goes down to where it began
  schedule.min_lr = 2e-4;
  const double linear[] = {2e-4,           2e-4, 4e-4,           6e-4,           8e-4, 1e-3, 8.666666667e-4,
                           7.333333333e-4, 6e-4, 4.666666667e-4, 3.333333333e-4, 2e-4, 2e-4, 2e-4};
  check_rates(&schedule, linear, COUNT(linear));
  // a warmup longer than the run ends in nothing
  const Schedule longer = {.kind = SCHEDULE_WARMUP_DECAY, .lr = 6e-3, .warmup = 6, .total = 3, .linear_warmup = 1};
  const double expected[] = {0, 0, 1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 0, 0};
  check_rates(&longer, expected, COUNT(expected));
}

static void test_warmup_cosine(void **state) {
  (void)state;
  Schedule schedule = {.kind = SCHEDULE_WARMUP_COSINE, .lr = 6e-4, .warmup = 4, .total = 10, .final_fraction = 1e-4};
  const double logarithmic[] = {0,          0,         3e-4,       4.7548875022e-4, 6e-4, 5.5981163976e-4,
                                4.50015e-4, 3.0003e-4, 1.50045e-4, 4.0248359596e-5, 6e-8, 6e-8,
                                6e-8,       6e-8};
  check_rates(&schedule, logarithmic, COUNT(logarithmic));
  // the first update has no rate at all, the second the least of the warmup
  schedule.linear_warmup = 1;
  schedule.min_lr = 1.5e-4;
  schedule.final_fraction = 0.1;
  const double linear[] = {0,      1.5e-4,  2.625e-4,       3.75e-4, 4.875e-4, 5.638268590e-4, 4.65e-4,
                           3.3e-4, 1.95e-4, 9.617314097e-5, 6e-5,    6e-5,     6e-5,           6e-5};
  check_rates(&schedule, linear, COUNT(linear));
  const Schedule longer = {
      .kind = SCHEDULE_WARMUP_COSINE, .lr = 1e-3, .warmup = 4, .total = 3, .final_fraction = 0.1, .linear_warmup = 1};
  const double expected[] = {0, 0, 2.5e-4, 5e-4, 7.5e-4, 1e-4, 1e-4, 1e-4};
  check_rates(&longer, expected, COUNT(expected));
}

static void test_range_test(void **state) {
  (void)state;
  Schedule schedule = {.kind = SCHEDULE_RANGE_TEST, .min_lr = 1e-3, .range = {.rate = 0.5, .size = 4}};
  const double continuous[] = {1e-3,     1.125e-3, 1.25e-3,  1.375e-3, 1.5e-3,
                               1.625e-3, 1.75e-3,  1.875e-3, 2e-3,     2.125e-3};
  check_rates(&schedule, continuous, COUNT(continuous));
  schedule.range.staircase = 1;
  const double stairs[] = {1e-3, 1e-3, 1e-3, 1e-3, 1.5e-3, 1.5e-3, 1.5e-3, 1.5e-3, 2e-3, 2e-3};
  check_rates(&schedule, stairs, COUNT(stairs));
}

static void test_one_cycle(void **state) {
  (void)state;
  Schedule schedule = {.kind = SCHEDULE_ONE_CYCLE,
                       .lr = 1e-3,
                       .min_lr = 1e-4,
                       .cycle = {.first = 4, .second = 2, .decay_interval = 2, .lr_decay = 0.5}};
  const double decaying[] = {1e-4, 3.25e-4, 5.5e-4,   7.75e-4,  1e-3, 5.5e-4,
                             1e-4, 8e-5,    2e-4 / 3, 4e-4 / 7, 5e-5, 4e-4 / 9};
  check_rates(&schedule, decaying, COUNT(decaying));
  schedule.cycle.decay_interval = 0; // no decay, whatever its rate
  const double flat[] = {1e-4, 3.25e-4, 5.5e-4, 7.75e-4, 1e-3, 5.5e-4, 1e-4, 1e-4, 1e-4};
  check_rates(&schedule, flat, COUNT(flat));
}

static void test_one_cycle_betas(void **state) {
  (void)state;
  Schedule schedule = {.kind = SCHEDULE_ONE_CYCLE,
                       .cycle = {.first = 4,
                                 .second = 2,
                                 .decay_interval = 2,
                                 .beta1_decay = 0.05,
                                 .momentum = 1,
                                 .min_beta1 = 0.8,
                                 .max_beta1 = 0.9}};
  // the scheduler starts with the lowest, and goes on from the highest
  const double expected[] = {0.8, 0.875, 0.85, 0.825, 0.8, 0.85, 0.9, 0.9225, 0.945, 0.9675, 0.99, 1.0 - 1e-9};
  for (size_t step = 0; step < COUNT(expected); step++) {
    double beta1 = 0, beta2 = 0;
    assert_int_equal(schedule_betas(&schedule, step, &beta1, &beta2), 1);
    check_close("beta1", step, beta1, expected[step]);
    check_close("beta2", step, beta2, 0.99);
  }
  double beta1 = 0.9, beta2 = 0.95;
  schedule.cycle.momentum = 0;
  assert_int_equal(schedule_betas(&schedule, 3, &beta1, &beta2), 0);
  schedule = (Schedule){.kind = SCHEDULE_COSINE, .cycle = {.momentum = 1}};
  assert_int_equal(schedule_betas(&schedule, 3, &beta1, &beta2), 0);
  assert_true(beta1 == 0.9 && beta2 == 0.95);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cosine),
      cmocka_unit_test(test_linear),
      cmocka_unit_test(test_constant_has_no_warmup),
      cmocka_unit_test(test_wsd),
      cmocka_unit_test(test_warmup_as_long_as_the_run),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_warmup),
      cmocka_unit_test(test_shortest_warmup),
      cmocka_unit_test(test_warmup_decay),
      cmocka_unit_test(test_warmup_cosine),
      cmocka_unit_test(test_range_test),
      cmocka_unit_test(test_one_cycle),
      cmocka_unit_test(test_one_cycle_betas),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
