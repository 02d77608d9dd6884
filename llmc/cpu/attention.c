// Attention, forward (FlashAttention, arXiv 2205.14135): a thread takes a whole head of one sequence, packs
// its keys and values once, and goes over tiles of 64 queries by 64 keys with a running softmax. Products of bf16 are
// those of pairs where the processor has them: weights are then rounded before they meet the values, their sum is
// not.
#include "attention.h"

#include <math.h>
#include <omp.h>

#include "onednn.h"

AttentionShape attention_shape(const OpsSequences *sequences, size_t C, size_t NH, int causal,
                               const OpsDropout *dropout) {
  const OpsSequences *s = sequences;
  if (NH == 0 || C % NH != 0) zero_fatal("attention: expected channels in equal heads, found %zu in %zu", C, NH);
  if (s->starts == NULL && s->rows != s->count * s->longest) {
    zero_fatal("attention: expected %zu rows for %zu sequences of %zu, found %zu", s->count * s->longest, s->count,
               s->longest, s->rows);
  }
  size_t head = C / NH, end = 0; // end: of the sequences so far
  AttentionShape shape = {
      .sequences = s,
      .C = C,
      .NH = NH,
      .head = head,
      .padded = attention_padded_head(C, NH),
      .causal = causal,
      .scale = 1.0f / sqrtf((float)head),
      .on_unit = MATRIX_UNIT && attention_padded_head(C, NH) % UNIT_BLOCK == 0 && onednn_has_matrix_unit(),
      .dropout = dropout_plan(dropout)};
  if (shape.dropout.threshold > 0 && s->samples == NULL) {
    zero_fatal("attention: dropout needs the sequences' samples, found none: set them in OpsSequences");
  }
  for (size_t b = 0; b < s->count; b++) {
    if (s->lengths != NULL && (s->lengths[b] < 0 || (size_t)s->lengths[b] > s->longest)) {
      zero_fatal("attention: expected a length of at most %zu, found %d in sequence %zu", s->longest, s->lengths[b],
                 b);
    }
    size_t length = sequence_length(s, b);
    if (s->starts != NULL && (s->starts[b] < 0 || (size_t)s->starts[b] < end)) {
      zero_fatal("attention: expected sequence %zu from row %zu on, found it at row %d", b, end, s->starts[b]);
    }
    end = sequence_start(s, b) + length;
    if (end > s->rows) {
      zero_fatal("attention: expected sequence %zu within %zu rows, found its end at row %zu", b, s->rows, end);
    }
  }
  return shape;
}

AttentionHead attention_head(const AttentionShape *shape, size_t b, size_t h) {
  const OpsSequences *s = shape->sequences;
  size_t start = sequence_start(s, b), length = sequence_length(s, b);
  return (AttentionHead){.start = start,
                         .length = length,
                         .lse = shape->NH * start + h * (s->starts != NULL ? length : s->longest),
                         .column = h * shape->head,
                         .sample = s->samples != NULL ? (uint32_t)s->samples[b] : 0,
                         .number = (uint32_t)h};
}

void attention_zero_padding(void *data, size_t width, const OpsSequences *sequences, ZeroType type) {
  const OpsSequences *s = sequences;
  if (s->starts == NULL && s->lengths == NULL) return;
  size_t row_bytes = width * zero_type_size(type);
#pragma omp parallel for schedule(dynamic) if (worth_threads(s->rows * width))
  for (size_t gap = 0; gap <= s->count; gap++) { // before each sequence, and behind the last one
    size_t first = gap > 0 ? sequence_start(s, gap - 1) + sequence_length(s, gap - 1) : 0;
    size_t end = gap < s->count ? sequence_start(s, gap) : s->rows;
    memset((char *)data + first * row_bytes, 0, (end - first) * row_bytes);
  }
}

// One thread's memory. Of pairs keys, values and query are half as large.
typedef struct {
  float *keys;   // (tiles, padded, TILE): transposed
  float *values; // (tiles, TILE, padded)
  float *query;  // (TILE, padded), times scale unless in pairs
  float *out;    // (TILE, padded): weighted sum of values, before it is divided by the sum of weights
  float *scores; // (TILE, TILE)
  float *max;    // (TILE): largest score of a row so far, before its factor
  float *sum;    // (TILE, VEC_WIDTH): sum of weights so far, one part per lane
} Workspace;

static size_t workspace_floats(size_t T, size_t padded) {
  return (2 * divide_up(T, TILE) + 2) * TILE * padded + TILE * TILE + TILE + TILE * VEC_WIDTH;
}

static Workspace workspace_at(float *memory, size_t T, size_t padded) {
  size_t tile = TILE * padded, all = divide_up(T, TILE) * tile;
  Workspace work;
  work.keys = memory;
  work.values = work.keys + all;
  work.query = work.values + all;
  work.out = work.query + tile;
  work.scores = work.out + tile;
  work.sum = work.scores + TILE * TILE;
  work.max = work.sum + TILE * VEC_WIDTH;
  return work;
}

size_t attention_forward_scratch(const OpsSequences *sequences, size_t C, size_t NH, int causal, ZeroType type) {
  (void)causal, (void)type;
  size_t floats = workspace_floats(sequences->longest, attention_padded_head(C, NH));
  return (size_t)omp_get_max_threads() * floats * sizeof(float);
}

// One row of a score tile: scores become weights 2^(factor * (score - max)), those beyond `visible` 0. When the
// maximum grows, what the row has gathered so far shrinks accordingly.
VEC_INLINE void softmax_row(const Workspace *work, size_t padded, size_t row, size_t visible, float factor) {
  enum { VECTORS = TILE / VEC_WIDTH };
  float *scores = work->scores + row * TILE, *sum = work->sum + row * VEC_WIDTH;
  Vec x[VECTORS], largest = vec_set(-INFINITY);
#pragma GCC unroll 16
  for (int i = 0; i < VECTORS; i++) {
    x[i] = vec_load(scores + i * VEC_WIDTH);
    if (visible < TILE) {
      x[i] = vec_select(vec_lanes() + i * VEC_WIDTH < (int)visible, x[i], vec_set(-INFINITY));
    }
    largest = vec_max(largest, x[i]);
  }
  float new_max = vec_max_lane(largest), old_max = work->max[row];
  Vec total = vec_load(sum);
  if (new_max > old_max) {
    Vec shrink = vec_exp2(vec_set((old_max - new_max) * factor));
    total *= shrink;
    float *out = work->out + row * padded;
    for (size_t i = 0; i < padded; i += VEC_WIDTH) vec_store(out + i, vec_load(out + i) * shrink);
    work->max[row] = new_max;
  } else {
    new_max = old_max;
  }
  const float shift = new_max * factor;
#pragma GCC unroll 16
  for (int i = 0; i < VECTORS; i++) {
    Vec weight = vec_exp2(x[i] * factor - shift);
    if (visible < TILE) {
      weight = vec_select(vec_lanes() + i * VEC_WIDTH < (int)visible, weight, vec_set(0));
    }
    total += weight;
    vec_store(scores + i * VEC_WIDTH, weight);
  }
  vec_store(sum, total);
}

// Adds what a tile of queries gets from one tile of keys.
VEC_INLINE void attend_tile(const AttentionShape *shape, const AttentionHead *h, const Workspace *work,
                            size_t first_query, size_t queries, size_t key_tile, const TileKind kind) {
  const size_t in_one = tile_in_one(kind);
  size_t padded = shape->padded, first_key = key_tile * TILE, length = h->length, packed = TILE * padded / in_one;
  size_t rows = round_up(queries, tile_block_rows(kind)), keys = min_size(TILE, length - first_key);
  int diagonal = shape->causal && first_key == first_query;
  const TileProduct scores = {.c = work->scores,
                              .c_stride = TILE,
                              .a = work->query,
                              .a_row = padded / in_one,
                              .a_depth = 1,
                              .b = work->keys + key_tile * packed,
                              .b_stride = TILE,
                              .rows = rows,
                              .columns = TILE,
                              .depth = tile_depth(shape->head, kind),
                              .part = diagonal ? TILE_RESULT_LOWER : TILE_WHOLE};
  tile_multiply(&scores, kind);
  const float factor = attention_score_factor(shape, kind) * VEC_LOG2_E;
  for (size_t row = 0; row < rows; row++) {
    size_t visible = attention_visible(shape, length, first_key, first_query + row);
    if (visible == TILE) {
      softmax_row(work, padded, row, TILE, factor);
    } else {
      softmax_row(work, padded, row, visible, factor);
    }
  }
  if (shape->dropout.threshold > 0) {
    for (size_t row = 0; row < queries; row++) {
      float factors[TILE];
      attention_factors(factors, shape, h, first_query + row, first_key);
      attention_drop(work->scores + row * TILE, factors);
    }
  }
  if (kind != TILE_FLOATS) {
    for (size_t row = 0; row < rows; row++) tile_round_row(work->scores + row * TILE, work->scores + row * TILE);
  }
  const TileProduct sums = {.c = work->out,
                            .c_stride = padded,
                            .a = work->scores,
                            .a_row = TILE,
                            .a_depth = 1,
                            .b = work->values + key_tile * packed,
                            .b_stride = padded,
                            .rows = rows,
                            .columns = padded,
                            .depth = tile_depth(keys, kind),
                            .accumulate = 1,
                            .part = diagonal ? TILE_LEFT_LOWER : TILE_WHOLE};
  tile_multiply(&sums, kind);
}

static void attend_tile_of_floats(const AttentionShape *shape, const AttentionHead *h, const Workspace *work,
                                  size_t first_query, size_t queries, size_t key_tile) {
  attend_tile(shape, h, work, first_query, queries, key_tile, TILE_FLOATS);
}

static void attend_tile_of_pairs(const AttentionShape *shape, const AttentionHead *h, const Workspace *work,
                                 size_t first_query, size_t queries, size_t key_tile) {
  attend_tile(shape, h, work, first_query, queries, key_tile, TILE_PAIRED);
}

static void attend_tile_on_unit(const AttentionShape *shape, const AttentionHead *h, const Workspace *work,
                                size_t first_query, size_t queries, size_t key_tile) {
  attend_tile(shape, h, work, first_query, queries, key_tile, TILE_ON_UNIT);
}

// Everything of one head of one sequence.
VEC_INLINE void forward_head(void *out, float *lse, const void *qkv, const AttentionShape *shape,
                             const AttentionHead *h, const Workspace *work, ZeroType type) {
  const int pairs = attention_in_pairs(type);
  const TileKind kind = attention_kind(shape, type);
  size_t C = shape->C, head = shape->head, padded = shape->padded, length = h->length, stride = 3 * C;
  size_t q_at = h->start * stride + h->column, k_at = q_at + C, v_at = q_at + 2 * C; // first elements in qkv
  size_t out_at = h->start * C + h->column;

  for (size_t first = 0; first < length; first += TILE) {
    size_t keys = min_size(TILE, length - first);
    size_t k = k_at + first * stride, v = v_at + first * stride;
    if (pairs) {
      tile_pack_pairs_transposed(work->keys + first * padded / 2, padded, qkv, k, stride, keys, head);
      tile_pack_row_pairs(work->values + first * padded / 2, padded, qkv, v, stride, keys, head);
    } else {
      tile_pack_transposed(work->keys + first * padded, padded, qkv, k, stride, keys, head, type);
      tile_pack(work->values + first * padded, padded, qkv, v, stride, keys, head, 1, type);
    }
  }
  for (size_t first = 0; first < length; first += TILE) {
    size_t queries = min_size(TILE, length - first);
    if (pairs) {
      tile_pack_pairs(work->query, padded, qkv, q_at + first * stride, stride, queries, head);
    } else {
      tile_pack(work->query, padded, qkv, q_at + first * stride, stride, queries, head, shape->scale, type);
    }
    memset(work->out, 0, TILE * padded * sizeof(float));
    memset(work->sum, 0, TILE * VEC_WIDTH * sizeof(float));
    for (size_t row = 0; row < TILE; row++) work->max[row] = -INFINITY;

    size_t seen = shape->causal ? first + queries : length; // no query of this tile sees a key from here on
    for (size_t key_tile = 0; key_tile * TILE < seen; key_tile++) {
      switch (kind) {
        case TILE_FLOATS:
          attend_tile_of_floats(shape, h, work, first, queries, key_tile);
          break;
        case TILE_PAIRED:
          attend_tile_of_pairs(shape, h, work, first, queries, key_tile);
          break;
        case TILE_ON_UNIT:
          attend_tile_on_unit(shape, h, work, first, queries, key_tile);
          break;
      }
    }
    for (size_t row = 0; row < queries; row++) {
      float sum = vec_sum(vec_load(work->sum + row * VEC_WIDTH)), inverse = 1.0f / sum;
      lse[h->lse + first + row] = work->max[row] * attention_score_factor(shape, kind) + logf(sum);
      for (size_t i = 0; i < head; i += VEC_WIDTH) {
        store_elements(out, out_at + (first + row) * C + i, vec_count(head - i),
                       vec_load(work->out + row * padded + i) * inverse, type);
      }
    }
  }
}

void attention_forward(void *out, float *lse, const void *qkv, const OpsSequences *sequences, size_t C, size_t NH,
                       int causal, const OpsDropout *dropout, ZeroType type, void *scratch, ZeroStream stream) {
  (void)stream;
  AttentionShape shape = attention_shape(sequences, C, NH, causal, dropout);
  const int on_unit = attention_kind(&shape, type) == TILE_ON_UNIT;
  size_t longest = sequences->longest, floats = workspace_floats(longest, shape.padded);
#pragma omp parallel for schedule(dynamic) if (attention_worth_threads(&shape))
  for (size_t i = 0; i < sequences->count * NH; i++) {
    Workspace work = workspace_at((float *)scratch + (size_t)omp_get_thread_num() * floats, longest, shape.padded);
    AttentionHead head = attention_head(&shape, i / NH, i % NH);
    if (on_unit) unit_begin();
    FOR_TYPE(type, forward_head, out, lse, qkv, &shape, &head, &work);
    if (on_unit) unit_end();
  }
  attention_zero_padding(out, C, sequences, type);
}
