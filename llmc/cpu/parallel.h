// How the CPU's operations share work among OpenMP threads.
//
// Work is cut into pieces whose borders depend on the shape alone, never on the number of threads, and no
// two pieces add into the same place: any number of threads gives the same bits.
#ifndef LLMC_CPU_PARALLEL_H
#define LLMC_CPU_PARALLEL_H

#include <stddef.h>

// Waking the other threads takes some microseconds: with fewer elements than this one thread is faster.
enum { PARALLEL_MIN_ELEMENTS = 16384 };

static inline int worth_threads(size_t elements) {
  return elements >= PARALLEL_MIN_ELEMENTS;
}

static inline size_t min_size(size_t a, size_t b) {
  return a < b ? a : b;
}

static inline size_t divide_up(size_t a, size_t b) {
  return (a + b - 1) / b;
}

static inline size_t round_up(size_t a, size_t multiple) {
  return divide_up(a, multiple) * multiple;
}

#endif
