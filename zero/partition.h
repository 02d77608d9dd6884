// Where each element of a unit lies and who owns it: the one place that draws these borders.
#ifndef ZERO_PARTITION_H
#define ZERO_PARTITION_H

#include <stddef.h>

#include "device.h"
#include "zero.h"

#ifdef __cplusplus
extern "C" {
#endif

// A tensor starts at a multiple of ZERO_ALIGN elements, the same in every type. A unit's flat buffer is cut into
// chunks of ZERO_CHUNK elements: a rank owns whole chunks, and norms are summed chunk by chunk, so no result
// depends on the number of ranks.
enum { ZERO_ALIGN = 64, ZERO_CHUNK = 1024 };

// A unit laid out flat.
typedef struct {
  int num_tensors;
  ZeroTensor *tensors; // copies; names too
  size_t *offsets;     // (num_tensors) first element of each
  size_t *counts;      // (num_tensors) elements of each
  size_t total;        // elements of the flat buffer, alignment included
  size_t real;         // elements of the tensors alone
  size_t num_chunks;
  size_t *bounds; // (ranks + 1) rank r owns elements [bounds[r], bounds[r + 1])
} ZeroLayout;

// ranks >= 1. Rank r of N owns chunks [r * ceil(chunks / N), (r + 1) * ceil(chunks / N)), cut at the end: the last
// ranks may own fewer or none.
void zero_layout_create(ZeroLayout *, const ZeroUnit *, int ranks);
void zero_layout_destroy(ZeroLayout *);

// The pieces (chunk x tensor) of elements [lo, hi) in ascending order; lo and hi are chunk borders or the end.
// Written to `pieces` if it is not NULL, with `first` counted from lo and shard 0. Returns how many there are.
size_t zero_layout_pieces(const ZeroLayout *, size_t lo, size_t hi, ZeroPiece *pieces);

// The part of tensor t that lies in [lo, hi) of the flat buffer: its first element, counted within the tensor,
// and its length (0 if none).
size_t zero_layout_overlap(const ZeroLayout *, int t, size_t lo, size_t hi, size_t *first);

#ifdef __cplusplus
}
#endif
#endif
