// Stochastic rounding: for a value between two numbers of a half type the share of the draws that go up is exactly
// the distance from the lower one, counted over all draws; what is exact, infinite, NaN or too large has one result.
#include <float.h>
#include <math.h>

#include "../../zero/device.h"
#include "../../zero/stochastic.h"
#include "check.h"

static uint16_t rounded(ZeroType type, float x, uint32_t random) {
  return type == ZERO_BF16 ? zero_f32_to_bf16_stochastic(x, random) : zero_f32_to_f16_stochastic(x, random);
}
static uint16_t to_nearest(ZeroType type, float x) {
  return type == ZERO_BF16 ? zero_f32_to_bf16(x) : zero_f32_to_f16(x);
}
static float widened(ZeroType type, uint16_t half) {
  return type == ZERO_BF16 ? zero_bf16_to_f32(half) : zero_f16_to_f32(half);
}

static const ZeroType halves[] = {ZERO_BF16, ZERO_F16};
enum { HALVES = 2, SIGN = 0x8000, ALL = 1 << 16 };
static const uint16_t infinity_bits[] = {0x7f80, 0x7c00};
static const uint32_t extremes[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
enum { EXTREMES = sizeof extremes / sizeof extremes[0] };

// Every number of the type, of either sign, subnormal ones and infinities among them, whatever is drawn; NaN stays
// NaN.
static void test_exact_values(void **state) {
  (void)state;
  size_t exact = 0, nan = 0;
  for (int t = 0; t < HALVES; t++) {
    for (uint32_t half = 0; half < ALL; half++) {
      float x = widened(halves[t], (uint16_t)half);
      for (int d = 0; d < EXTREMES; d++) {
        uint16_t got = rounded(halves[t], x, extremes[d]);
        if (isnan(x)) {
          assert_true(isnan(widened(halves[t], got)) && (got & SIGN) == (half & SIGN));
          nan++;
        } else {
          assert_int_equal(got, half);
          exact++;
        }
      }
    }
  }
  assert_int_equal(nan, EXTREMES * 2 * (127 + 1023)); // all mantissas but 0, two signs
  assert_int_equal(exact, EXTREMES * HALVES * ALL - nan);
}

// NaN whose bits are all among those that the half type lacks must not become infinite.
static void test_nan_of_low_bits(void **state) {
  (void)state;
  for (int t = 0; t < HALVES; t++) {
    for (int d = 0; d < EXTREMES; d++) {
      assert_true(isnan(widened(halves[t], rounded(halves[t], zero_float_from_bits(0x7f800001u), extremes[d]))));
      assert_true(isnan(widened(halves[t], rounded(halves[t], zero_float_from_bits(0xffffffffu), extremes[d]))));
    }
  }
}

// From the largest finite number on: as to nearest, whatever is drawn. Just below it both neighbours are finite.
static void test_overflow(void **state) {
  (void)state;
  for (int t = 0; t < HALVES; t++) {
    const uint16_t largest = (uint16_t)(infinity_bits[t] - 1);
    const float top = widened(halves[t], largest), below = widened(halves[t], (uint16_t)(largest - 1));
    const float half_gap = (top - below) / 2;
    const float beyond[] = {top, nextafterf(top, INFINITY), nextafterf(top + half_gap, 0), FLT_MAX, INFINITY};
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
      for (int d = 0; d < EXTREMES; d++) {
        assert_int_equal(rounded(halves[t], beyond[i], extremes[d]), to_nearest(halves[t], beyond[i]));
        assert_int_equal(rounded(halves[t], -beyond[i], extremes[d]), to_nearest(halves[t], -beyond[i]));
      }
    }
    assert_int_equal(rounded(halves[t], nextafterf(top, INFINITY), 0xffffffff), largest);
    assert_int_equal(rounded(halves[t], FLT_MAX, 0), infinity_bits[t]);
    assert_int_equal(rounded(halves[t], below + half_gap, 0xffffffff), largest);
    assert_int_equal(rounded(halves[t], below + half_gap, 0), largest - 1);
  }
}

// Over 2^16 draws, evenly spread: how often the value goes away from 0. Never further than to the next number.
static double share_up(ZeroType type, float x) {
  size_t up = 0;
  for (uint32_t d = 0; d < ALL; d++) {
    float got = widened(type, rounded(type, x, d << 16 | 0x8000));
    float lower = widened(type, rounded(type, x, 0)), upper = widened(type, rounded(type, x, 0xffffffff));
    assert_true(fabsf(lower) <= fabsf(x) && fabsf(x) <= fabsf(upper) && signbit(got) == signbit(x));
    assert_true(got == lower || got == upper);
    up += got == upper && upper != lower;
  }
  return (double)up / ALL;
}

// A value of given place between number `half` and the next one; place: a multiple of 2^-13, which all of fp32's
// numbers here can express.
static void check_share(ZeroType type, uint16_t half, double place) {
  const double lower = widened(type, half), upper = widened(type, (uint16_t)(half + 1));
  const float x = (float)(lower + place * (upper - lower));
  assert_true((double)x == lower + place * (upper - lower));
  assert_true(share_up(type, x) == place);
  assert_true(share_up(type, -x) == place);
}

static void test_share(void **state) {
  (void)state;
  const double places[] = {0x1p-13, 0.125, 0.5, 0.625, 1 - 0x1p-13};
  // Normal numbers, at the ends of a power of two too; the smallest and largest subnormal ones; just below the
  // largest.
  const uint16_t bf16[] = {0x3f80, 0x3fff, 0x4049, 0x0080, 0x0000, 0x007f, 0x7f7e};
  const uint16_t fp16[] = {0x3c00, 0x3fff, 0x4248, 0x0400, 0x0000, 0x0001, 0x03ff, 0x7bfe};
  for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
    for (size_t i = 0; i < sizeof bf16 / sizeof bf16[0]; i++) check_share(ZERO_BF16, bf16[i], places[p]);
    for (size_t i = 0; i < sizeof fp16 / sizeof fp16[0]; i++) check_share(ZERO_F16, fp16[i], places[p]);
  }
  // Far below fp16's smallest number, 2^-24: once in 2^16 draws; where a draw of 32 bits cannot express how seldom,
  // never.
  assert_true(share_up(ZERO_F16, 0x1p-40f) == 0x1p-16);
  assert_int_equal(rounded(ZERO_F16, 0x1p-56f, 0xffffffff), 1);
  for (int power = 57; power <= 149; power++) {
    assert_int_equal(rounded(ZERO_F16, ldexpf(1.0f, -power), 0xffffffff), 0);
    assert_int_equal(rounded(ZERO_F16, -ldexpf(1.0f, -power), 0xffffffff), SIGN);
  }
}

// The mean of many parameters' roundings, with the draws that AdamW makes: within five standard deviations.
static void test_mean(void **state) {
  (void)state;
  enum { PARAMETERS = 1 << 18 };
  const float values[] = {1.001f, -0.3f, 3.14159f, 1e-6f};
  for (int t = 0; t < HALVES; t++) {
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
      const float x = values[v];
      const double lower = widened(halves[t], rounded(halves[t], x, 0));
      const double gap = widened(halves[t], rounded(halves[t], x, 0xffffffff)) - lower;
      double sum = 0;
      for (uint64_t block = 0; block < PARAMETERS / ZERO_DRAWS; block++) {
        uint32_t draws[ZERO_DRAWS];
        zero_rounding_draws(42, 7, block, draws);
        for (int i = 0; i < ZERO_DRAWS; i++) sum += widened(halves[t], rounded(halves[t], x, draws[i]));
      }
      const double place = (x - lower) / gap;
      const double deviation = fabs(gap) * sqrt(place * (1 - place) / PARAMETERS);
      assert_true(deviation > 0 && fabs(sum / PARAMETERS - x) < 5 * deviation);
      // To nearest it is another: the test can tell.
      assert_true(fabs(widened(halves[t], to_nearest(halves[t], x)) - x) > 5 * deviation);
    }
  }
}

// Other seeds, steps and blocks draw other numbers; the upper half of each counts.
static void test_draws_differ(void **state) {
  (void)state;
  const struct {
    uint64_t seed;
    size_t step;
    uint64_t block;
  } keys[] = {{1, 1, 0}, {2, 1, 0}, {1, 2, 0}, {1, 1, 1}, {UINT64_C(1) << 32 | 1, 1, 0}, {1, 1, UINT64_C(1) << 32}};
  enum { KEYS = sizeof keys / sizeof keys[0] };
  uint32_t draws[KEYS][ZERO_DRAWS];
  for (int k = 0; k < KEYS; k++) {
    zero_rounding_draws(keys[k].seed, keys[k].step, keys[k].block, draws[k]);
    for (int other = 0; other < k; other++) assert_memory_not_equal(draws[k], draws[other], sizeof draws[k]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exact_values), cmocka_unit_test(test_nan_of_low_bits),
      cmocka_unit_test(test_overflow),     cmocka_unit_test(test_share),
      cmocka_unit_test(test_mean),         cmocka_unit_test(test_draws_differ),
  };
  return cmocka_run_group_tests_name("stochastic rounding", tests, NULL, NULL);
}
