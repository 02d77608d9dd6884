// Where each element of a unit lies and who owns it.
#include "partition.h"

#include <stdlib.h>
#include <string.h>

static size_t round_up(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
static size_t min_size(size_t a, size_t b) {
  return a < b ? a : b;
}
static size_t max_size(size_t a, size_t b) {
  return a > b ? a : b;
}

static void *copy_array(const void *source, size_t count, size_t size) {
  void *copy = malloc(count * size + 1);
  if (!copy) zero_fatal("out of memory for the description of %zu tensors", count);
  if (source) memcpy(copy, source, count * size);
  return copy;
}

void zero_layout_create(ZeroLayout *layout, const ZeroUnit *unit, int ranks) {
  size_t num_tensors = (size_t)unit->num_tensors;
  layout->num_tensors = unit->num_tensors;
  layout->tensors = copy_array(unit->tensors, num_tensors, sizeof(ZeroTensor));
  layout->offsets = copy_array(NULL, num_tensors, sizeof(size_t));
  layout->counts = copy_array(NULL, num_tensors, sizeof(size_t));
  layout->bounds = copy_array(NULL, (size_t)ranks + 1, sizeof(size_t));
  layout->total = layout->real = 0;
  for (size_t t = 0; t < num_tensors; t++) {
    ZeroTensor *tensor = &layout->tensors[t];
    tensor->name = copy_array(unit->tensors[t].name, strlen(unit->tensors[t].name) + 1, 1);
    if (tensor->ndim < 1 || tensor->ndim > ZERO_MAX_DIMS) {
      zero_fatal("unit %s, tensor %s: %d dimensions, expected 1 to %d", unit->name, tensor->name, tensor->ndim,
                 ZERO_MAX_DIMS);
    }
    size_t count = 1;
    for (int d = 0; d < tensor->ndim; d++) count *= tensor->shape[d];
    layout->offsets[t] = layout->total;
    layout->counts[t] = count;
    layout->real += count;
    layout->total += round_up(count, ZERO_ALIGN);
  }
  layout->num_chunks = (layout->total + ZERO_CHUNK - 1) / ZERO_CHUNK;
  size_t share = (layout->num_chunks + (size_t)ranks - 1) / (size_t)ranks * ZERO_CHUNK;
  for (int r = 0; r <= ranks; r++) layout->bounds[r] = min_size((size_t)r * share, layout->total);
}

void zero_layout_destroy(ZeroLayout *layout) {
  for (int t = 0; t < layout->num_tensors; t++) free((void *)layout->tensors[t].name);
  free(layout->tensors);
  free(layout->offsets);
  free(layout->counts);
  free(layout->bounds);
}

size_t zero_layout_overlap(const ZeroLayout *layout, int t, size_t lo, size_t hi, size_t *first) {
  size_t begin = max_size(layout->offsets[t], lo);
  size_t end = min_size(layout->offsets[t] + layout->counts[t], hi);
  if (begin >= end) return 0;
  *first = begin - layout->offsets[t];
  return end - begin;
}

size_t zero_layout_pieces(const ZeroLayout *layout, size_t lo, size_t hi, ZeroPiece *pieces) {
  size_t num = 0;
  for (int t = 0; t < layout->num_tensors; t++) {
    size_t first = 0;
    size_t count = zero_layout_overlap(layout, t, lo, hi, &first);
    int decay = !(layout->tensors[t].flags & ZERO_NO_DECAY);
    for (size_t at = layout->offsets[t] + first, end = at + count; at < end;) {
      size_t next = min_size((at / ZERO_CHUNK + 1) * ZERO_CHUNK, end);
      if (pieces) pieces[num] = (ZeroPiece){.first = at - lo, .count = (unsigned)(next - at), .decay = decay};
      num++;
      at = next;
    }
  }
  return num;
}
