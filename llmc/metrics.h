// How good predictions are, over a whole validation set: the figures that scikit-learn and SciPy give.
#ifndef LLMC_METRICS_H
#define LLMC_METRICS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  double accuracy;
  double f1;       // of class 1 where there are two classes, else the mean over the classes that occur; 0 for 0/0
  double matthews; // correlation coefficient (Gorodkin 2004 for more than two classes); 0 where undefined
} MetricsClasses;

// predicted, labels (n): whole numbers from 0 to classes - 1, n >= 1. Others end all ranks.
MetricsClasses metrics_classes(const double *predicted, const double *labels, size_t n, size_t classes);

typedef struct {
  double mean_squared_error;
  double pearson;  // NaN where either side is constant or holds a NaN
  double spearman; // likewise; equal values get the mean of their ranks
} MetricsRegression;

// predicted, labels (n), n >= 1.
MetricsRegression metrics_regression(const double *predicted, const double *labels, size_t n);

// Of a mean loss in nats per target.
double metrics_perplexity(double loss);

#ifdef __cplusplus
}
#endif
#endif
