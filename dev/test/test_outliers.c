// The outlier detector: when it says what, and against llm.c's running sums written plainly.
#include "../../llmc/outliers.h"

#include <math.h>

#include "check.h"

// Losses that fall slowly and shake.
static double loss(int i) {
  return 3.0 - 0.001 * i + 0.1 * sin(1.7 * i) + 0.05 * cos(0.31 * i * i);
}

// update_detector of llm.c, which adds every value.
typedef struct {
  double values[128], sum, squares;
  int count, next;
} Plain;

static double plain_update(Plain *plain, double value) {
  if (plain->count < 128) {
    plain->values[plain->count++] = value;
    plain->sum += value;
    plain->squares += value * value;
    return NAN;
  }
  const double old = plain->values[plain->next];
  plain->values[plain->next] = value;
  plain->next = (plain->next + 1) % 128;
  plain->sum += value - old;
  plain->squares += value * value - old * old;
  const double mean = plain->sum / 128;
  return (value - mean) / sqrt(plain->squares / 128 - mean * mean);
}

static void test_as_llmc(void **state) {
  (void)state;
  Outliers outliers;
  Plain plain = {0};
  outliers_init(&outliers);
  int compared = 0;
  for (int i = 0; i < 1000; i++) {
    const double expected = plain_update(&plain, loss(i)), found = outliers_zscore(&outliers, loss(i));
    outliers_add(&outliers, loss(i));
    if (i < 128) {
      assert_true(isnan(expected) && isnan(found));
    } else {
      // its squares, near 9, are known to 1e-16 * 9 * sqrt(1000 updates); the variance is 0.006
      assert_true(fabs(found - expected) < 1e-10);
      compared += fabs(found) > 0.1;
    }
  }
  assert_true(compared > 700);
}

// By hand: 127 zeros and a one have mean 1/128 and variance 127/128^2.
static void test_values(void **state) {
  (void)state;
  Outliers outliers;
  outliers_init(&outliers);
  for (int i = 0; i < 127; i++) outliers_add(&outliers, 0.0);
  assert_true(isnan(outliers_zscore(&outliers, 1.0)));
  outliers_add(&outliers, 0.0);
  assert_true(outliers_zscore(&outliers, 0.0) == 0.0);
  assert_true(fabs(outliers_zscore(&outliers, 1.0) - 127.0 / sqrt(127.0)) < 1e-12);
  assert_true(fabs(outliers_zscore(&outliers, -5.0) + 127.0 / sqrt(127.0)) < 1e-12);
  assert_true(outliers_zscore(&outliers, INFINITY) == INFINITY);
  assert_true(outliers_zscore(&outliers, NAN) == INFINITY);
}

// Where values are close together compared with their size, running sums have no digits left.
static void test_close_values(void **state) {
  (void)state;
  Outliers outliers;
  outliers_init(&outliers);
  for (int i = 0; i < 300; i++) outliers_add(&outliers, 1e9 + i % 2);
  // the oldest of 64 zeros is replaced by a 10: sum 64 + 10, squares 64 + 100
  const double mean = 74.0 / 128, std = sqrt(164.0 / 128 - mean * mean);
  assert_true(fabs(outliers_zscore(&outliers, 1e9 + 10) - (10 - mean) / std) < 1e-6);
}

// Asking changes nothing; what is skipped stays out, so a second outlier is as far off as the first was.
static void test_skipped_stays_out(void **state) {
  (void)state;
  Outliers outliers, added;
  outliers_init(&outliers);
  for (int i = 0; i < 200; i++) outliers_add(&outliers, loss(i));
  const Outliers before = outliers;
  const double first = outliers_zscore(&outliers, 30.0);
  assert_true(first > 11.0);
  assert_memory_equal(&outliers, &before, sizeof before);
  assert_true(outliers_zscore(&outliers, 30.0) == first);
  added = outliers;
  outliers_add(&added, 30.0);
  assert_true(outliers_zscore(&added, 30.0) < 8.0);
  outliers_add(&outliers, NAN);
  outliers_add(&outliers, -INFINITY);
  assert_memory_equal(&outliers, &before, sizeof before);
}

// The window forgets: 128 values later an old outlier has no weight any more.
static void test_window_moves(void **state) {
  (void)state;
  Outliers with, without;
  outliers_init(&with);
  outliers_init(&without);
  outliers_add(&with, 1e6);
  outliers_add(&without, 1.0);
  for (int i = 0; i < 127; i++) {
    outliers_add(&with, loss(i));
    outliers_add(&without, loss(i));
  }
  outliers_add(&with, loss(127)); // in place of the outlier
  outliers_add(&without, loss(127));
  assert_true(outliers_zscore(&with, 2.0) == outliers_zscore(&without, 2.0));
  // a copy, as from a checkpoint, goes on the same
  Outliers copy;
  memcpy(&copy, &with, sizeof copy);
  outliers_add(&with, 2.5);
  outliers_add(&copy, 2.5);
  assert_true(outliers_zscore(&with, 2.0) == outliers_zscore(&copy, 2.0));
  assert_int_equal(sizeof copy, 130 * 8); // no gaps
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_as_llmc),      cmocka_unit_test(test_values),
      cmocka_unit_test(test_close_values), cmocka_unit_test(test_skipped_stays_out),
      cmocka_unit_test(test_window_moves),
  };
  return cmocka_run_group_tests_name("outliers", tests, NULL, NULL);
}
