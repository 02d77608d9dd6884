// The loss scale's sequences, step by step, for runs without overflow, with overflows alone and with some. Expected
// scales are written out; they were worked out by hand from the rules in DeepSpeed's DynamicLossScaler.
#include "../../zero/loss_scaler.h"

#include "check.h"

enum { POWER = 4, WINDOW = 2 }; // starts at 16, doubles after two steps without overflow
enum { MOST_STEPS = 16, STOP = -1 };

// `overflows`: one letter a step, x: overflow. `scales`: the scale after each step, STOP where training cannot go on.
static const struct {
  const char *name, *overflows;
  int hysteresis, consecutive;
  double scales[MOST_STEPS];
} sequences[] = {
    // The first overflow counts as one at step -1: the first doubling comes at step window + 1.
    {"no overflow, hysteresis 1", ".......", 1, 0, {16, 16, 32, 32, 64, 64, 128}},
    {"no overflow, hysteresis 2", ".......", 2, 0, {16, 16, 32, 32, 64, 64, 128}},
    {"no overflow, hysteresis 2, consecutive", ".......", 2, 1, {16, 16, 32, 32, 64, 64, 128}},
    // Down to the floor of 1, where the next one ends the run.
    {"overflows alone, hysteresis 1", "xxxxx", 1, 0, {8, 4, 2, 1, STOP}},
    {"overflows alone, hysteresis 1, consecutive", "xxxxx", 1, 1, {8, 4, 2, 1, STOP}},
    // One is put up with; afterwards each halves, for nothing refills the hysteresis.
    {"overflows alone, hysteresis 2", "xxxxxx", 2, 0, {16, 8, 4, 2, 1, STOP}},
    {"overflows alone, hysteresis 2, consecutive", "xxxxxx", 2, 1, {16, 8, 4, 2, 1, STOP}},
    {"overflows alone, hysteresis 3", "xxxxxxx", 3, 0, {16, 16, 8, 4, 2, 1, STOP}},
    // After an overflow the window begins anew, and the first step does not count.
    {"some overflow, hysteresis 1", "x...x..x...", 1, 0, {8, 8, 8, 16, 8, 8, 8, 4, 4, 4, 8}},
    {"some overflow, hysteresis 1, growth between",
     ".....x.....x",
     1,
     0,
     {16, 16, 32, 32, 64, 32, 32, 32, 64, 64, 128, 64}},
    // An overflow that is put up with begins the window anew all the same. Growth refills the hysteresis (step 9),
    // other steps without overflow do not.
    {"some overflow, hysteresis 2", "x.x..x...x.x", 2, 0, {16, 16, 8, 8, 8, 4, 4, 4, 8, 8, 8, 4}},
    // Refilled by every step without overflow: single overflows never halve, pairs halve once.
    {"some overflow, hysteresis 2, consecutive",
     "x.x..x...xx.xx",
     2,
     1,
     {16, 16, 16, 16, 16, 16, 16, 16, 32, 32, 16, 16, 16, 8}},
};
enum { SEQUENCES = sizeof sequences / sizeof sequences[0] };

static ZeroLossScaling rules_of(int hysteresis, int consecutive) {
  return (ZeroLossScaling){.scale = 0.0,
                           .initial_power = POWER,
                           .window = WINDOW,
                           .hysteresis = hysteresis,
                           .consecutive_hysteresis = consecutive,
                           .min_scale = 1.0};
}

static void test_sequences(void **state) {
  (void)state;
  for (size_t i = 0; i < SEQUENCES; i++) {
    ZeroLossScaling rules = rules_of(sequences[i].hysteresis, sequences[i].consecutive);
    ZeroLossScaler scaler;
    zero_loss_scaler_init(&scaler, &rules);
    assert_true(scaler.scale == 16.0);
    size_t steps = strlen(sequences[i].overflows);
    assert_in_range(steps, 5, MOST_STEPS);
    for (size_t s = 0; s < steps; s++) {
      int result = zero_loss_scaler_update(&scaler, sequences[i].overflows[s] == 'x');
      double expected = sequences[i].scales[s];
      if (expected == STOP ? result != STOP : result != 0 || scaler.scale != expected) {
        fail_msg("%s, step %zu: returned %d with scale %g, expected %g", sequences[i].name, s + 1, result,
                 scaler.scale, expected);
      }
    }
  }
}

// A scale that halving would take below the floor stops at it.
static void test_floor_between_powers(void **state) {
  (void)state;
  ZeroLossScaling rules = rules_of(1, 0);
  rules.min_scale = 6.0;
  ZeroLossScaler scaler;
  zero_loss_scaler_init(&scaler, &rules);
  assert_int_equal(zero_loss_scaler_update(&scaler, 1), 0);
  assert_true(scaler.scale == 8.0);
  assert_int_equal(zero_loss_scaler_update(&scaler, 1), 0);
  assert_true(scaler.scale == 6.0);
  assert_int_equal(zero_loss_scaler_update(&scaler, 1), -1);
}

// At the floor an overflow is still put up with where the hysteresis has one left.
static void test_hysteresis_at_the_floor(void **state) {
  (void)state;
  ZeroLossScaling rules = rules_of(2, 0);
  rules.initial_power = 0;
  ZeroLossScaler scaler;
  zero_loss_scaler_init(&scaler, &rules);
  assert_int_equal(zero_loss_scaler_update(&scaler, 1), 0);
  assert_int_equal(zero_loss_scaler_update(&scaler, 1), -1);
  assert_true(scaler.scale == 1.0);
}

// The defaults of a run: 2^16, doubled at the 1,001st step without overflow and every 1,000 steps from there.
static void test_long_window(void **state) {
  (void)state;
  ZeroLossScaling rules = rules_of(2, 0);
  rules.initial_power = 16;
  rules.window = 1000;
  ZeroLossScaler scaler;
  zero_loss_scaler_init(&scaler, &rules);
  for (int step = 1; step <= 2001; step++) {
    assert_int_equal(zero_loss_scaler_update(&scaler, 0), 0);
    assert_true(scaler.scale == (step < 1001 ? 65536.0 : step < 2001 ? 131072.0 : 262144.0));
  }
}

// A scale that is given stays, with and without overflow, below the floor too.
static void test_static_scale(void **state) {
  (void)state;
  const double scales[] = {0.5, 1.0, 128.0, 1000.5};
  for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
    ZeroLossScaling rules = rules_of(1, 0);
    rules.scale = scales[i];
    ZeroLossScaler scaler;
    zero_loss_scaler_init(&scaler, &rules);
    for (int step = 0; step < 40; step++) {
      assert_int_equal(zero_loss_scaler_update(&scaler, step % 10 < 3), 0);
      assert_true(scaler.scale == scales[i]);
    }
  }
}

// A copy goes on as the original does: what a checkpoint relies on.
static void test_copy(void **state) {
  (void)state;
  ZeroLossScaling rules = rules_of(2, 0);
  ZeroLossScaler scaler, copy;
  zero_loss_scaler_init(&scaler, &rules);
  const char *overflows = "x..xx...x.....x.";
  int moved = 0;
  for (size_t s = 0; overflows[s]; s++) {
    copy = scaler;
    double before = scaler.scale;
    zero_loss_scaler_update(&scaler, overflows[s] == 'x');
    zero_loss_scaler_update(&copy, overflows[s] == 'x');
    assert_true(copy.scale == scaler.scale && copy.hysteresis_left == scaler.hysteresis_left);
    moved += scaler.scale != before;
  }
  assert_true(moved > 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sequences),    cmocka_unit_test(test_floor_between_powers),
      cmocka_unit_test(test_long_window),  cmocka_unit_test(test_hysteresis_at_the_floor),
      cmocka_unit_test(test_static_scale), cmocka_unit_test(test_copy),
  };
  return cmocka_run_group_tests_name("loss scaler", tests, NULL, NULL);
}
