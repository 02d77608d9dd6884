// The matrix multiply's peak, as the CPU backend makes its products: the ceiling of `make bench`.
//
//   gemm TYPE THREADS SECONDS M K N...     TYPE: fp32, bf16; SECONDS for each shape; M rows, K inputs, N outputs
//
// Prints a line a shape: `gemm TYPE THREADS M K N GFLOP/s`, the best of the runs that fit into SECONDS.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmc/launch.h"
#include "llmc/ops.h"
#include "zero/error.h"

static const char USAGE[] = "usage: gemm TYPE THREADS SECONDS M K N...";

static size_t positive(const char *text) {
  char *end;
  const long long value = strtoll(text, &end, 10);
  if (*end != '\0' || value < 1) zero_fatal("gemm: '%s' found; give a whole number of 1 or more; %s", text, USAGE);
  return (size_t)value;
}

int main(int argc, char **argv) {
  const int first_shape = 4, words_of_shape = 3;
  if (argc <= first_shape || (argc - first_shape) % words_of_shape != 0) {
    zero_fatal("gemm: %d arguments found; %s", argc - 1, USAGE);
  }
  const char *name = argv[1];
  if (strcmp(name, "fp32") != 0 && strcmp(name, "bf16") != 0) {
    zero_fatal("gemm: TYPE '%s' found; give fp32 or bf16", name);
  }
  const ZeroType type = strcmp(name, "bf16") == 0 ? ZERO_BF16 : ZERO_F32;
  double share;
  const int threads = launch_threads((int)positive(argv[2]), 1, argv, &share);
  if (share < 1.0) zero_fatal("gemm: %d threads found; give at most one for each core", threads);
  char *end;
  const double seconds = strtod(argv[3], &end);
  if (*end != '\0' || !(seconds > 0.0)) zero_fatal("gemm: SECONDS '%s' found; give a time above 0", argv[3]);
  for (int i = first_shape; i < argc; i += words_of_shape) {
    const size_t m = positive(argv[i]), k = positive(argv[i + 1]), n = positive(argv[i + 2]);
    printf("gemm %s %d %zu %zu %zu %.2f\n", name, threads, m, k, n, matmul_peak(m, k, n, type, seconds) * 1e-9);
    fflush(stdout);
  }
  return 0;
}
