// Metrics against scikit-learn's and SciPy's values, which dev/reference/metrics_values.py prints; edges that it
// lacks.
#include <math.h>

#include "../../llmc/metrics.h"
#include "check.h"

enum { MOST = 1000 };
static double predicted[MOST], labels[MOST];
// Sums in another order than NumPy's: 1000 terms.
static const double tolerance = 1e-13;

// The script's words(): the upper 16 bits of a linear congruential generator.
static uint32_t draw(uint32_t *state) {
  *state = (*state * 1103515245u + 12345u) & 0x7fffffffu;
  return *state >> 15;
}

static void check_near(double found, double expected, const char *what, size_t row) {
  if (isnan(expected) ? isnan(found) : fabs(found - expected) <= tolerance * fmax(1.0, fabs(expected))) return;
  fail_msg("%s, row %zu: %.17g, expected %.17g", what, row, found, expected);
}

static void test_classes(void **state) {
  (void)state;
  // scikit-learn 1.9.1
  static const struct {
    size_t n, classes;
    int absent, agree; // a class that becomes class 0; in how many of 10 cases a prediction is the label
    double accuracy, f1, matthews;
  } rows[] = {
      {10, 2, -1, 6, 0.9, 0.9333333333333333, 0.7637626158259734},
      {1000, 2, -1, 7, 0.84, 0.84251968503937, 0.6799247818361255},
      {1000, 2, -1, 0, 0.509, 0.5055387713997986, 0.01840101729411917},
      {1000, 5, -1, 8, 0.822, 0.8215826875959433, 0.7775171632329239},
      {777, 4, 2, 5, 0.712998712998713, 0.6936164321410222, 0.5430653244625977},
      {50, 2, 1, 5, 1.0, 0.0, 0.0},
      {3, 70, -1, 3, 0.3333333333333333, 0.16666666666666666, 0.20412414523193154},
  };
  for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
    uint32_t of_labels = 1, of_predictions = 2, of_agreement = 3;
    for (size_t i = 0; i < rows[r].n; i++) {
      const int label = (int)(draw(&of_labels) % rows[r].classes),
                other = (int)(draw(&of_predictions) % rows[r].classes);
      const int prediction = (int)(draw(&of_agreement) % 10) < rows[r].agree ? label : other;
      labels[i] = label == rows[r].absent ? 0 : label;
      predicted[i] = prediction == rows[r].absent ? 0 : prediction;
    }
    const MetricsClasses m = metrics_classes(predicted, labels, rows[r].n, rows[r].classes);
    check_near(m.accuracy, rows[r].accuracy, "accuracy", r);
    check_near(m.f1, rows[r].f1, "F1", r);
    check_near(m.matthews, rows[r].matthews, "Matthews", r);
  }
}

static void test_regression(void **state) {
  (void)state;
  // SciPy 1.17.1 and scikit-learn 1.9.1
  static const struct {
    size_t n;
    int levels; // different labels: ties
    double slope, mean_squared_error, pearson, spearman;
  } rows[] = {
      {2, 64, 1, 138.43492317199707, 1.0, 0.9999999999999999},
      {7, 64, 1, 646.1902220589774, 0.9468885899394165, 1.0},
      {1000, 64, 1, 435.09601636886595, 0.9101534784502868, 0.9758919709745646},
      {1000, 5, -1, 5.0084693870544434, 0.014026985918863085, -0.03821285952665999},
      {1000, 32768, 0.5, 2.5068412715551196e+18, 0.9133037388812596, 0.9999999639999632},
      {1000, 64, 0, 9.937421875, 0.026785628077602156, 0.02652708332339451},
  };
  for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
    uint32_t of_labels = 4, of_noise = 5;
    for (size_t i = 0; i < rows[r].n; i++) {
      labels[i] = ((int)(draw(&of_labels) % (uint32_t)rows[r].levels) - rows[r].levels / 2) / 8.0;
      predicted[i] = rows[r].slope * labels[i] * labels[i] * labels[i] + (draw(&of_noise) % 16) / 4.0;
    }
    const MetricsRegression m = metrics_regression(predicted, labels, rows[r].n);
    check_near(m.mean_squared_error, rows[r].mean_squared_error, "mean squared error", r);
    check_near(m.pearson, rows[r].pearson, "Pearson", r);
    check_near(m.spearman, rows[r].spearman, "Spearman", r);
  }
}

static void test_undefined(void **state) {
  (void)state;
  const double rising[] = {1, 2, 3, 4}, constant[] = {0.1, 0.1, 0.1, 0.1}, with_nan[] = {1, NAN, 3, 4};
  const double huge[] = {-1e100, 3e100, 2e100, 9e100}, huge_rising[] = {1e100, 2e100, 3e100, 4e100};
  MetricsRegression m = metrics_regression(rising, constant, 4);
  assert_true(isnan(m.pearson) && isnan(m.spearman));
  m = metrics_regression(constant, rising, 4);
  assert_true(isnan(m.pearson) && isnan(m.spearman));
  m = metrics_regression(with_nan, rising, 4);
  assert_true(isnan(m.pearson) && isnan(m.spearman) && isnan(m.mean_squared_error));
  m = metrics_regression(rising, rising, 1);
  assert_true(isnan(m.pearson) && isnan(m.spearman));
  m = metrics_regression(huge, huge_rising, 4); // the product of the sums of squares would overflow
  check_near(m.pearson, 14.5 / sqrt(52.75 * 5.0), "Pearson", 0);
  check_near(m.spearman, 0.8, "Spearman", 0);
  assert_true(metrics_perplexity(0.0) == 1.0);
  check_near(metrics_perplexity(3.0), 20.085536923187668, "perplexity", 0);
  assert_true(isinf(metrics_perplexity(1000.0)));
}

static void bad_prediction(void *value) {
  const double label = 0.0;
  metrics_classes(value, &label, 1, 3);
}

static void no_prediction(void *none) {
  metrics_regression(none, none, 0);
}

static void test_failures(void **state) {
  (void)state;
  double values[] = {3.0, -1.0, 0.5, NAN};
  static const char *const texts[] = {"3 is no class", "-1 is no class", "0.5 is no class", "nan is no class"};
  for (size_t i = 0; i < 4; i++) check_fatal(bad_prediction, &values[i], texts[i], "0 to 2", NULL);
  check_fatal(no_prediction, values, "no predictions", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_classes),
      cmocka_unit_test(test_regression),
      cmocka_unit_test(test_undefined),
      cmocka_unit_test(test_failures),
  };
  return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
