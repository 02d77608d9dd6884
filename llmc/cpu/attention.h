// What attention's forward and backward share.
#ifndef LLMC_CPU_ATTENTION_H
#define LLMC_CPU_ATTENTION_H

#include "tile.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  size_t B, T, C, NH;
  size_t head;   // C / NH, the size of a head
  size_t padded; // the same rounded up to TILE_COLUMNS: the columns of a packed tile
  const int *lengths;
  int causal;
  float scale; // 1 / sqrt(head)
} AttentionShape;

// Ends the program if C is not a multiple of NH or a length is not in [0, T].
AttentionShape attention_shape(size_t B, size_t T, size_t C, size_t NH, const int *lengths, int causal);

static inline size_t attention_padded_head(size_t C, size_t NH) {
  return round_up(C / NH, TILE_COLUMNS);
}

// Positions of sequence b that count.
static inline size_t attention_length(const AttentionShape *shape, size_t b) {
  return shape->lengths != NULL ? (size_t)shape->lengths[b] : shape->T;
}

// How many keys of the key tile that begins at first_key the query at `position` sees, at most TILE.
static inline size_t attention_visible(const AttentionShape *shape, size_t length, size_t first_key,
                                       size_t position) {
  size_t end = shape->causal ? min_size(position + 1, length) : length;
  return end > first_key ? min_size(end - first_key, TILE) : 0;
}

// Whether heads are worth sharing among threads.
static inline int attention_worth_threads(const AttentionShape *shape) {
  return worth_threads(shape->B * shape->T * shape->C);
}

#ifdef __cplusplus
}
#endif
#endif
