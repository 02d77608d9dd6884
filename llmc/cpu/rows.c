// Rows by number: gathered from a tensor, and their gradients put back.
#include "element.h"
#include "parallel.h"

static void check_index(const int *index, size_t M, size_t N, const char *where) {
  for (size_t m = 0; m < M; m++) {
    if (index[m] != -1 && (index[m] < 0 || (size_t)index[m] >= N)) {
      zero_fatal("%s: expected -1 or a row below %zu, found %d at %zu", where, N, index[m], m);
    }
  }
}

void gather_rows(void *out, const void *inp, const int *index, size_t M, size_t N, size_t C, ZeroType type,
                 ZeroStream stream) {
  (void)stream;
  check_index(index, M, N, "gather_rows");
  const size_t bytes = C * zero_type_size(type);
#pragma omp parallel for schedule(static) if (worth_threads(M * C))
  for (size_t m = 0; m < M; m++) {
    char *to = (char *)out + m * bytes;
    if (index[m] >= 0) {
      memcpy(to, (const char *)inp + (size_t)index[m] * bytes, bytes);
    } else {
      memset(to, 0, bytes);
    }
  }
}

void scatter_rows(void *out, const void *inp, const int *index, size_t M, size_t N, size_t C, ZeroType type,
                  ZeroStream stream) {
  (void)stream;
  check_index(index, M, N, "scatter_rows");
  const size_t bytes = C * zero_type_size(type);
#pragma omp parallel for schedule(static) if (worth_threads(N * C))
  for (size_t n = 0; n < N; n++) memset((char *)out + n * bytes, 0, bytes);
#pragma omp parallel for schedule(static) if (worth_threads(M * C))
  for (size_t m = 0; m < M; m++) {
    if (index[m] >= 0) memcpy((char *)out + (size_t)index[m] * bytes, (const char *)inp + m * bytes, bytes);
  }
}
