// Is this loss, or this gradient norm, far from the recent ones?
#include "outliers.h"

#include <math.h>
#include <string.h>

void outliers_init(Outliers *outliers) {
  memset(outliers, 0, sizeof *outliers);
}

double outliers_zscore(const Outliers *outliers, double value) {
  if (outliers->count < OUTLIERS_WINDOW) return NAN;
  if (!isfinite(value)) return INFINITY;
  // Anew each time, not by running sums: mean(x^2) - mean(x)^2 loses its digits where the values are close together.
  double sum = 0.0, squares = 0.0;
  for (uint64_t i = 0; i < OUTLIERS_WINDOW; i++) sum += i == outliers->oldest ? value : outliers->values[i];
  const double mean = sum / OUTLIERS_WINDOW;
  for (uint64_t i = 0; i < OUTLIERS_WINDOW; i++) {
    const double deviation = (i == outliers->oldest ? value : outliers->values[i]) - mean;
    squares += deviation * deviation;
  }
  const double std = sqrt(squares / OUTLIERS_WINDOW);
  return std == 0.0 ? 0.0 : (value - mean) / std;
}

void outliers_add(Outliers *outliers, double value) {
  if (!isfinite(value)) return;
  if (outliers->count < OUTLIERS_WINDOW) {
    outliers->values[outliers->count++] = value;
    return;
  }
  outliers->values[outliers->oldest] = value;
  outliers->oldest = (outliers->oldest + 1) % OUTLIERS_WINDOW;
}
