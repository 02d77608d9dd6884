// Embeddings that name token, position and type of every row, and the gradient of any of their tables.
//
// Backward sorts the rows by index and cuts the sorted list at fixed places, every SLICE_ROWS rows, and between
// indices. Each part is summed by one thread in the order of rows; an index that has several parts gets their sums
// added in order: no atomics, the same bits for any number of threads, and a table of two rows takes more than two.
#include "element.h"
#include "parallel.h"
#include "row_sort.h"

enum { SLICE_ROWS = 128 };

typedef struct {
  const void *wte, *wpe, *wtype;
} Tables;

VEC_INLINE void embed_row(void *out, size_t row, const Tables *tables, size_t token, size_t position, size_t kind,
                          size_t C, ZeroType type) {
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at);
    Vec sum = load_elements(tables->wte, token * C + at, n, type) +
              load_elements(tables->wpe, position * C + at, n, type) +
              load_elements(tables->wtype, kind * C + at, n, type);
    store_elements(out, row * C + at, n, sum, type);
  }
}

void embeddings_forward(void *out, const int *tokens, const int *positions, const int *types, const void *wte,
                        const void *wpe, const void *wtype, size_t N, size_t C, ZeroType type, ZeroStream stream) {
  (void)stream;
  const Tables tables = {wte, wpe, wtype};
#pragma omp parallel for schedule(static) if (worth_threads(N * C))
  for (size_t row = 0; row < N; row++) {
    FOR_TYPE(type, embed_row, out, row, &tables, (size_t)tokens[row], (size_t)positions[row], (size_t)types[row], C);
  }
}

// ---------------------------------------------------------------- backward
// The sums of parts that are not all of their index. At most two such parts begin in a slice: one goes on from the
// slice before, one goes on into the next.
typedef struct {
  IndexedRow *list; // sorted, without those that count for nothing
  size_t rows;      // in the list
  size_t *starts;   // where each part begins
  size_t parts;
  float *sums; // (slices, 2, C)
  size_t C;
} Parts;

size_t embedding_backward_scratch(size_t N, size_t C, size_t rows) {
  (void)rows;
  return N * (2 * sizeof(IndexedRow) + sizeof(size_t)) + divide_up(N, SLICE_ROWS) * 2 * C * sizeof(float);
}

static Parts sort_parts(const int *index, size_t N, size_t C, size_t rows, void *scratch) {
  if (N >= UINT32_MAX || rows >= UINT32_MAX) {
    zero_fatal("embedding_backward: expected less than 2^32 rows, found %zu for a table of %zu", N, rows);
  }
  IndexedRow *list = scratch, *other = list + N;
  size_t *starts = (size_t *)(other + N), count = 0;
  for (size_t row = 0; row < N; row++) {
    if (index[row] == -1) continue;
    if (index[row] < 0 || (size_t)index[row] >= rows) {
      zero_fatal("embedding_backward: expected -1 or an index below %zu, found %d in row %zu", rows, index[row], row);
    }
    list[count++] = (IndexedRow){(uint32_t)index[row], (uint32_t)row};
  }
  Parts parts = {sort_rows(list, other, count, rows), count, starts, 0, (float *)(starts + N), C};
  for (size_t i = 0; i < count; i++) {
    if (i % SLICE_ROWS == 0 || parts.list[i].index != parts.list[i - 1].index) starts[parts.parts++] = i;
  }
  return parts;
}

static size_t part_end(const Parts *parts, size_t part) {
  return part + 1 < parts->parts ? parts->starts[part + 1] : parts->rows;
}

// Whether the part goes on from the one before it, and whether the next one goes on from it.
static int part_continues(const Parts *parts, size_t part) {
  size_t start = parts->starts[part];
  return start > 0 && parts->list[start].index == parts->list[start - 1].index;
}

static int part_is_continued(const Parts *parts, size_t part) {
  return part + 1 < parts->parts && part_continues(parts, part + 1);
}

static float *part_sums(const Parts *parts, size_t part) {
  size_t slice = parts->starts[part] / SLICE_ROWS;
  return parts->sums + (2 * slice + !part_continues(parts, part)) * parts->C;
}

// grad[at…] (+)= the rows of dout that list[0..count) names.
VEC_INLINE void add_rows(OpsGrad grad, size_t first, const void *dout, const IndexedRow *list, size_t count, size_t C,
                         ZeroType type) {
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at);
    Vec sum = {0};
    for (size_t i = 0; i < count; i++) sum += load_elements(dout, list[i].row * C + at, n, type);
    store_gradient(grad, first + at, n, sum);
  }
}

// A part that is all of its index goes where it belongs, others to their place among the sums.
static void sum_part(const Parts *parts, size_t part, OpsGrad dtable, const void *dout, ZeroType type) {
  const IndexedRow *list = parts->list + parts->starts[part];
  size_t count = part_end(parts, part) - parts->starts[part], C = parts->C, first = list->index * C;
  if (part_continues(parts, part) || part_is_continued(parts, part)) {
    dtable = (OpsGrad){part_sums(parts, part), ZERO_F32, 0};
    first = 0;
  }
  FOR_TYPE(type, add_rows, dtable, first, dout, list, count, C);
}

// The sums of an index that has several parts, of which this is the first.
static void add_parts(const Parts *parts, size_t part, OpsGrad dtable) {
  const size_t C = parts->C, first = parts->list[parts->starts[part]].index * C;
  for (size_t at = 0; at < C; at += VEC_WIDTH) {
    size_t n = vec_count(C - at), next = part;
    Vec sum = vec_load_n(part_sums(parts, part) + at, n);
    while (part_is_continued(parts, next)) sum += vec_load_n(part_sums(parts, ++next) + at, n);
    store_gradient(dtable, first + at, n, sum);
  }
}

void embedding_backward(OpsGrad dtable, const void *dout, const int *index, size_t N, size_t C, size_t rows,
                        ZeroType type, void *scratch, ZeroStream stream) {
  (void)stream;
  if (dtable.data == NULL) return;
  const Parts parts = sort_parts(index, N, C, rows, scratch);
  if (!dtable.accumulate) memset(dtable.data, 0, rows * C * zero_type_size(dtable.type));
#pragma omp parallel for schedule(dynamic, 16) if (worth_threads(N * C))
  for (size_t part = 0; part < parts.parts; part++) sum_part(&parts, part, dtable, dout, type);
#pragma omp parallel for schedule(dynamic, 16) if (worth_threads(N * C))
  for (size_t part = 0; part < parts.parts; part++) {
    if (part_is_continued(&parts, part) && !part_continues(&parts, part)) add_parts(&parts, part, dtable);
  }
}
