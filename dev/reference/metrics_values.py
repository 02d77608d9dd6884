#!/usr/bin/env python3
"""Prints the expected values of dev/test/test_metrics.c, by scikit-learn and SciPy, from data that the test makes too.

    pip install scikit-learn scipy && python3 dev/reference/metrics_values.py
"""
import numpy as np
import scipy
import sklearn
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, mean_squared_error


def words(seed, n):
    """The test's numbers: the upper 16 bits of a linear congruential generator."""
    values = np.empty(n, dtype=np.int64)
    for i in range(n):
        seed = (seed * 1103515245 + 12345) % 2**31
        values[i] = seed >> 15
    return values


def classes(n, num_classes, absent, agree):
    """Predictions that agree with the labels `agree` times in 10 and else are drawn; class `absent` becomes class 0."""
    labels = words(1, n) % num_classes
    drawn = words(2, n) % num_classes
    predicted = np.where(words(3, n) % 10 < agree, labels, drawn)
    labels[labels == absent] = 0
    predicted[predicted == absent] = 0
    return predicted, labels


def numbers(n, levels, slope):
    """Multiples of 1/8 with ties, and a cube of them with noise."""
    labels = (words(4, n) % levels - levels // 2) / 8
    predicted = slope * labels**3 + (words(5, n) % 16) / 4
    return predicted, labels


def main():
    print(f"// scikit-learn {sklearn.__version__}, SciPy {scipy.__version__}")
    for n, num_classes, absent, agree in [
        (10, 2, -1, 6), (1000, 2, -1, 7), (1000, 2, -1, 0), (1000, 5, -1, 8), (777, 4, 2, 5), (50, 2, 1, 5), (3, 70, -1, 3),
    ]:
        p, t = classes(n, num_classes, absent, agree)
        f1 = f1_score(t, p, zero_division=0) if num_classes == 2 else f1_score(t, p, average="macro", zero_division=0)
        print(f"{{{n}, {num_classes}, {absent}, {agree}, {accuracy_score(t, p)!r}, {float(f1)!r}, "
              f"{float(matthews_corrcoef(t, p))!r}}},")
    for n, levels, slope in [(2, 64, 1), (7, 64, 1), (1000, 64, 1), (1000, 5, -1), (1000, 32768, 0.5), (1000, 64, 0)]:
        p, t = numbers(n, levels, slope)
        print(f"{{{n}, {levels}, {slope}, {float(mean_squared_error(t, p))!r}, {float(pearsonr(p, t)[0])!r}, "
              f"{float(spearmanr(p, t)[0])!r}}},")


if __name__ == "__main__":
    main()
