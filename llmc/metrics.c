// How good predictions are, over a whole validation set.
#include "metrics.h"

#include <math.h>
#include <stdlib.h>

#include "../zero/error.h"
#include "../zero/memory.h"

// ---------------------------------------------------------------------------------------------------
// Classes

// Of one class: how often it was predicted, is right, and both.
typedef struct {
  size_t predicted, labelled, hit;
} ClassCount;

static size_t class_at(const double *values, size_t i, size_t classes) {
  const double value = values[i];
  if (!(value >= 0.0 && value < (double)classes) || value != floor(value)) {
    zero_fatal("metrics: %g is no class, expected a whole number from 0 to %zu (entry %zu); is the loss NaN?", value,
               classes - 1, i);
  }
  return (size_t)value;
}

// 2 / (1/precision + 1/recall), without dividing by 0.
static double f1_of(const ClassCount *c) {
  const size_t both = c->predicted + c->labelled;
  return both > 0 ? 2.0 * (double)c->hit / (double)both : 0.0;
}

static double mean_f1(const ClassCount *counts, size_t classes) {
  double sum = 0.0;
  size_t occurring = 0;
  for (size_t k = 0; k < classes; k++) {
    if (counts[k].predicted + counts[k].labelled == 0) continue;
    sum += f1_of(&counts[k]);
    occurring++;
  }
  return sum / (double)occurring;
}

static double matthews_of(const ClassCount *counts, size_t classes, size_t n) {
  const double all = (double)n;
  double hits = 0.0, products = 0.0, predicted = 0.0, labelled = 0.0;
  for (size_t k = 0; k < classes; k++) {
    const double p = (double)counts[k].predicted, t = (double)counts[k].labelled;
    hits += (double)counts[k].hit;
    products += p * t;
    predicted += p * p;
    labelled += t * t;
  }
  const double spread = (all * all - predicted) * (all * all - labelled);
  return spread > 0.0 ? (hits * all - products) / sqrt(spread) : 0.0;
}

MetricsClasses metrics_classes(const double *predicted, const double *labels, size_t n, size_t classes) {
  if (n == 0 || classes == 0)
    zero_fatal("metrics: %zu predictions of %zu classes, expected some of each", n, classes);
  ClassCount *counts = zero_malloc(classes * sizeof *counts, ZERO_MEM_OTHER);
  size_t hits = 0;
  for (size_t i = 0; i < n; i++) {
    const size_t p = class_at(predicted, i, classes), t = class_at(labels, i, classes);
    counts[p].predicted++;
    counts[t].labelled++;
    counts[p].hit += p == t;
    hits += p == t;
  }
  MetricsClasses m;
  m.accuracy = (double)hits / (double)n;
  m.f1 = classes == 2 ? f1_of(&counts[1]) : mean_f1(counts, classes);
  m.matthews = matthews_of(counts, classes, n);
  zero_free(counts);
  return m;
}

// ---------------------------------------------------------------------------------------------------
// Numbers

static int is_constant(const double *values, size_t n) {
  for (size_t i = 1; i < n; i++) {
    if (values[i] != values[0]) return 0;
  }
  return 1;
}

static double mean_of(const double *values, size_t n) {
  double sum = 0.0;
  for (size_t i = 0; i < n; i++) sum += values[i];
  return sum / (double)n;
}

static double pearson_of(const double *a, const double *b, size_t n) {
  if (is_constant(a, n) || is_constant(b, n)) return NAN;
  const double mean_a = mean_of(a, n), mean_b = mean_of(b, n);
  double aa = 0.0, bb = 0.0, ab = 0.0;
  for (size_t i = 0; i < n; i++) {
    const double da = a[i] - mean_a, db = b[i] - mean_b;
    aa += da * da;
    bb += db * db;
    ab += da * db;
  }
  const double r = ab / (sqrt(aa) * sqrt(bb)); // the product of aa and bb could overflow
  return r > 1.0 ? 1.0 : r < -1.0 ? -1.0 : r;
}

typedef struct {
  double value;
  size_t index;
} Ranked;

static int compare_values(const void *a, const void *b) {
  const double x = ((const Ranked *)a)->value, y = ((const Ranked *)b)->value;
  return (x > y) - (x < y);
}

// ranks (n): from 1; equal values get the mean of their places.
static void rank_values(const double *values, size_t n, double *ranks) {
  Ranked *sorted = zero_malloc(n * sizeof *sorted, ZERO_MEM_OTHER);
  for (size_t i = 0; i < n; i++) sorted[i] = (Ranked){values[i], i};
  qsort(sorted, n, sizeof *sorted, compare_values);
  for (size_t first = 0; first < n;) {
    size_t end = first + 1;
    while (end < n && sorted[end].value == sorted[first].value) end++;
    const double rank = 0.5 * (double)(first + 1 + end); // places first + 1 to end
    for (; first < end; first++) ranks[sorted[first].index] = rank;
  }
  zero_free(sorted);
}

static int has_nan(const double *values, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (isnan(values[i])) return 1;
  }
  return 0;
}

static double spearman_of(const double *a, const double *b, size_t n) {
  if (has_nan(a, n) || has_nan(b, n)) return NAN; // they have no rank
  double *ranks = zero_malloc(2 * n * sizeof *ranks, ZERO_MEM_OTHER);
  rank_values(a, n, ranks);
  rank_values(b, n, ranks + n);
  const double r = pearson_of(ranks, ranks + n, n);
  zero_free(ranks);
  return r;
}

MetricsRegression metrics_regression(const double *predicted, const double *labels, size_t n) {
  if (n == 0) zero_fatal("metrics: no predictions, expected some");
  double squares = 0.0;
  for (size_t i = 0; i < n; i++) squares += (predicted[i] - labels[i]) * (predicted[i] - labels[i]);
  const MetricsRegression m = {squares / (double)n, pearson_of(predicted, labels, n),
                               spearman_of(predicted, labels, n)};
  return m;
}

double metrics_perplexity(double loss) {
  return exp(loss);
}
