// What attention's forward and backward share.
#ifndef LLMC_CPU_ATTENTION_H
#define LLMC_CPU_ATTENTION_H

#include "dropout.h"
#include "tile.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  const OpsSequences *sequences;
  size_t C, NH;
  size_t head;   // C / NH, the size of a head
  size_t padded; // the same rounded up to TILE_COLUMNS: the columns of a packed tile
  int causal;
  float scale; // 1 / sqrt(head)
  int on_unit; // whether pairs are multiplied on the processor's matrix unit
  DropoutPlan dropout;
} AttentionShape;

// Ends the program if C is not a multiple of NH or the sequences do not lie in their rows one after the other.
AttentionShape attention_shape(const OpsSequences *sequences, size_t C, size_t NH, int causal,
                               const OpsDropout *dropout);

static inline size_t attention_padded_head(size_t C, size_t NH) {
  return round_up(C / NH, TILE_COLUMNS);
}

static inline size_t sequence_start(const OpsSequences *s, size_t b) {
  return s->starts != NULL ? (size_t)s->starts[b] : b * s->longest;
}

static inline size_t sequence_length(const OpsSequences *s, size_t b) {
  return s->lengths != NULL ? (size_t)s->lengths[b] : s->longest;
}

// One head of one sequence.
typedef struct {
  size_t start;    // the sequence's first row
  size_t length;   // positions
  size_t lse;      // where its log-sum-exps begin
  size_t column;   // its first channel
  uint32_t sample; // what its dropout draws from
  uint32_t number; // of the head, likewise
} AttentionHead;

AttentionHead attention_head(const AttentionShape *shape, size_t b, size_t h);

// Zeros in the rows of data (rows, width) that are in no sequence.
void attention_zero_padding(void *data, size_t width, const OpsSequences *sequences, ZeroType type);

// How many keys of the key tile that begins at first_key the query at `position` sees, at most TILE.
static inline size_t attention_visible(const AttentionShape *shape, size_t length, size_t first_key,
                                       size_t position) {
  size_t end = shape->causal ? min_size(position + 1, length) : length;
  return end > first_key ? min_size(end - first_key, TILE) : 0;
}

// factors (TILE): what dropout multiplies the weights of the query at `position` by, for the keys from first_key on.
VEC_INLINE void attention_factors(float *factors, const AttentionShape *shape, const AttentionHead *h,
                                  size_t position, size_t first_key) {
#pragma GCC unroll 8
  for (int i = 0; i < TILE; i += DROPOUT_STEP) {
    Vec drawn[2];
    vec_dropout_factors(&shape->dropout, h->number, (uint32_t)(first_key + (size_t)i) / DROPOUT_WORDS,
                        (uint32_t)position, h->sample, drawn);
    vec_store(factors + i, drawn[0]);
    vec_store(factors + i + VEC_WIDTH, drawn[1]);
  }
}

// row (TILE) *= factors (TILE)
VEC_INLINE void attention_drop(float *row, const float *factors) {
#pragma GCC unroll 16
  for (int i = 0; i < TILE; i += VEC_WIDTH) vec_store(row + i, vec_load(row + i) * vec_load(factors + i));
}

// What tiles are made of, and multiplied by (tile.h). Of pairs the queries are packed as they are, and the scores get
// the factor `scale` in fp32; otherwise the queries have it.
VEC_INLINE int attention_in_pairs(ZeroType type) {
  return TILE_PAIRS && type == ZERO_BF16;
}

VEC_INLINE TileKind attention_kind(const AttentionShape *shape, ZeroType type) {
  if (!attention_in_pairs(type)) return TILE_FLOATS;
  return shape->on_unit ? TILE_ON_UNIT : TILE_PAIRED;
}

// What a packed product's scores are to be multiplied by.
VEC_INLINE float attention_score_factor(const AttentionShape *shape, const TileKind kind) {
  return kind != TILE_FLOATS ? shape->scale : 1.0f;
}

// Whether heads are worth sharing among threads.
static inline int attention_worth_threads(const AttentionShape *shape) {
  return worth_threads(shape->sequences->rows * shape->C);
}

#ifdef __cplusplus
}
#endif
#endif
