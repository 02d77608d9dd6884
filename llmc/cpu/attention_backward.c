// Attention, backward: a thread takes a whole head of one sequence, so nothing is added by two threads. For
// every tile of keys it goes over the tiles of queries that see it and computes the weights anew from the
// stored log-sum-exp:
//   P = e^(Q K^T - lse),  dP = dO V^T,  dS = P (dP - D) with D = rowsum(O dO),
//   dV += P^T dO,  dK += dS^T Q,  dQ += dS K.
// With dropout's factors F, drawn anew, dV has F P in place of P and dP = F (dO V^T); D stays what it is, as O holds
// F. Q is packed times the scale, which gives K^T's scores and dK their factor; dQ gets it at the end. In pairs Q is
// as it is: scores and dK get the factor in fp32; P and dS are rounded before they are multiplied. The matrix unit
// has no transposed left operand: on it dV^T += dO^T P and dK^T += Q^T dS.
#include <omp.h>

#include "attention.h"

// One thread's memory. Of pairs what is packed is half as large; queries and douts have pairs of columns in their
// first half and pairs of rows in the other one, for the unit transposed.
typedef struct {
  float *queries;  // (tiles, TILE, padded), times scale unless in pairs
  float *douts;    // (tiles, TILE, padded)
  float *dqueries; // (tiles, TILE, padded)
  float *delta;    // (tiles, TILE): D
  float *keys_t;   // (padded, TILE)
  float *values_t; // (padded, TILE)
  float *keys;     // (TILE, padded)
  float *dkeys;    // (TILE, padded), on the unit (padded, TILE)
  float *dvalues;  // (TILE, padded), likewise
  float *weights;  // (TILE, TILE): scores, then P
  float *dweights; // (TILE, TILE): dP, then dS
  float *rounded;  // (TILE, TILE / 2): dS in pairs of columns
} Workspace;

static size_t workspace_floats(size_t T, size_t padded) {
  size_t tiles = divide_up(T, TILE);
  return (3 * tiles + 5) * TILE * padded + tiles * TILE + 2 * TILE * TILE + TILE * TILE / 2;
}

static Workspace workspace_at(float *memory, size_t T, size_t padded) {
  size_t tiles = divide_up(T, TILE), tile = TILE * padded;
  Workspace work;
  work.queries = memory;
  work.douts = work.queries + tiles * tile;
  work.dqueries = work.douts + tiles * tile;
  work.keys_t = work.dqueries + tiles * tile;
  work.values_t = work.keys_t + tile;
  work.keys = work.values_t + tile;
  work.dkeys = work.keys + tile;
  work.dvalues = work.dkeys + tile;
  work.weights = work.dvalues + tile;
  work.dweights = work.weights + TILE * TILE;
  work.rounded = work.dweights + TILE * TILE;
  work.delta = work.rounded + TILE * TILE / 2;
  return work;
}

size_t attention_backward_scratch(const OpsSequences *sequences, size_t C, size_t NH, int causal, ZeroType type) {
  (void)causal, (void)type;
  size_t floats = workspace_floats(sequences->longest, attention_padded_head(C, NH));
  return (size_t)omp_get_max_threads() * floats * sizeof(float);
}

// One row: scores become P = 2^(factor * score - shift) and dP becomes dS; both are 0 beyond `visible`.
VEC_INLINE void weights_row(float *scores, float *dscores, float factor, float shift, float delta, size_t visible) {
#pragma GCC unroll 16
  for (int i = 0; i < TILE; i += VEC_WIDTH) {
    Vec weight = vec_exp2(vec_load(scores + i) * factor - shift);
    Vec dscore = weight * (vec_load(dscores + i) - delta);
    if (visible < TILE) {
      VecInt seen = vec_lanes() + i < (int)visible;
      weight = vec_select(seen, weight, vec_set(0));
      dscore = vec_select(seen, dscore, vec_set(0));
    }
    vec_store(scores + i, weight);
    vec_store(dscores + i, dscore);
  }
}

// The same with code of its own for rows that see all.
VEC_INLINE void visible_row(float *scores, float *dscores, float factor, float shift, float delta, size_t visible) {
  if (visible == TILE) {
    weights_row(scores, dscores, factor, shift, delta, TILE);
  } else {
    weights_row(scores, dscores, factor, shift, delta, visible);
  }
}

// left (TILE, padded) times the transpose of a tile that is packed transposed.
VEC_INLINE void score_tile(float *scores, const float *left, const float *right, const AttentionShape *shape,
                           size_t rows, TilePart part, const TileKind kind) {
  const TileProduct product = {.c = scores,
                               .c_stride = TILE,
                               .a = left,
                               .a_row = shape->padded / tile_in_one(kind),
                               .a_depth = 1,
                               .b = right,
                               .b_stride = TILE,
                               .rows = rows,
                               .columns = TILE,
                               .depth = tile_depth(shape->head, kind),
                               .part = part};
  tile_multiply(&product, kind);
}

// sum (TILE, padded) += weights^T * right, over `depth` rows of queries. Pairs of rows of weights lie where the first
// one of both was.
VEC_INLINE void add_transposed(float *sum, const float *weights, const float *right, size_t padded, size_t rows,
                               size_t depth, TilePart part, const TileKind kind) {
  const size_t in_one = tile_in_one(kind);
  const TileProduct product = {.c = sum,
                               .c_stride = padded,
                               .a = weights,
                               .a_row = 1,
                               .a_depth = in_one * TILE,
                               .b = right,
                               .b_stride = padded,
                               .rows = rows,
                               .columns = padded,
                               .depth = tile_depth(depth, kind),
                               .accumulate = 1,
                               .part = part};
  tile_multiply(&product, kind);
}

// The same on the unit: sum^T (padded, TILE) += right^T * weights, with right packed transposed.
static void add_on_unit(float *sum, const float *weights, const float *right, size_t padded, size_t depth,
                        TilePart part) {
  const TileProduct product = {.c = sum,
                               .c_stride = TILE,
                               .a = right,
                               .a_row = TILE / 2,
                               .a_depth = 1,
                               .b = weights,
                               .b_stride = 2 * TILE,
                               .rows = padded,
                               .columns = TILE,
                               .depth = tile_depth(depth, TILE_ON_UNIT),
                               .accumulate = 1,
                               .part = part};
  tile_multiply(&product, TILE_ON_UNIT);
}

// P and dS of so many queries in pairs of rows, each where the first row of both was; dS also in pairs of columns.
static void round_weights(const Workspace *work, size_t queries) {
  for (size_t row = 0; row < queries; row += 2) {
    const int two = row + 1 < queries;
    float *weights = work->weights + row * TILE, *dweights = work->dweights + row * TILE;
    tile_round_row(work->rounded + row * TILE / 2, dweights);
    if (two) tile_round_row(work->rounded + (row + 1) * TILE / 2, dweights + TILE);
    tile_round_rows(weights, weights, two ? weights + TILE : NULL);
    tile_round_rows(dweights, dweights, two ? dweights + TILE : NULL);
  }
}

// The gradients that one tile of queries and one tile of keys give each other.
VEC_INLINE void backward_tile(const AttentionShape *shape, const AttentionHead *h, const Workspace *work,
                              const float *lse, size_t first_query, size_t first_key, const TileKind kind) {
  const size_t in_one = tile_in_one(kind);
  size_t padded = shape->padded, at = first_query * padded, length = h->length;
  // Pairs of rows follow those of columns, tile by tile.
  size_t columns_at = at, rows_at = kind != TILE_FLOATS ? at + TILE * padded / 2 : at;
  size_t queries = min_size(TILE, length - first_query), keys = min_size(TILE, length - first_key);
  size_t query_rows = round_up(queries, tile_block_rows(kind)), key_rows = round_up(keys, TILE_BLOCK_ROWS);
  int diagonal = shape->causal && first_key == first_query;
  TilePart result = diagonal ? TILE_RESULT_LOWER : TILE_WHOLE;
  TilePart transposed = diagonal ? TILE_LEFT_UPPER : TILE_WHOLE;
  score_tile(work->weights, work->queries + columns_at, work->keys_t, shape, query_rows, result, kind);
  score_tile(work->dweights, work->douts + columns_at, work->values_t, shape, query_rows, result, kind);
  const float factor = attention_score_factor(shape, kind) * VEC_LOG2_E;
  for (size_t row = 0; row < queries; row++) {
    float *scores = work->weights + row * TILE, *dscores = work->dweights + row * TILE;
    float shift = lse[first_query + row] * VEC_LOG2_E, delta = work->delta[first_query + row];
    size_t visible = attention_visible(shape, length, first_key, first_query + row);
    if (shape->dropout.threshold > 0) {
      float factors[TILE];
      attention_factors(factors, shape, h, first_query + row, first_key);
      attention_drop(dscores, factors);
      visible_row(scores, dscores, factor, shift, delta, visible);
      attention_drop(scores, factors);
    } else {
      visible_row(scores, dscores, factor, shift, delta, visible);
    }
  }
  if (kind != TILE_FLOATS) round_weights(work, queries);
  if (kind == TILE_ON_UNIT) {
    // Whole blocks of queries: those that are not there are packed as zeros and weigh nothing.
    const TilePart lower = diagonal ? TILE_RIGHT_LOWER : TILE_WHOLE;
    add_on_unit(work->dvalues, work->weights, work->douts + rows_at, padded, queries, lower);
    add_on_unit(work->dkeys, work->dweights, work->queries + rows_at, padded, queries, lower);
  } else {
    add_transposed(work->dvalues, work->weights, work->douts + rows_at, padded, key_rows, queries, transposed, kind);
    add_transposed(work->dkeys, work->dweights, work->queries + rows_at, padded, key_rows, queries, transposed, kind);
  }
  const TileProduct dqueries = {.c = work->dqueries + at,
                                .c_stride = padded,
                                .a = kind != TILE_FLOATS ? work->rounded : work->dweights,
                                .a_row = TILE / in_one,
                                .a_depth = 1,
                                .b = work->keys,
                                .b_stride = padded,
                                .rows = query_rows,
                                .columns = padded,
                                .depth = tile_depth(keys, kind),
                                .accumulate = 1,
                                .part = diagonal ? TILE_LEFT_LOWER : TILE_WHOLE};
  tile_multiply(&dqueries, kind);
}

static void backward_tile_of_floats(const AttentionShape *shape, const AttentionHead *h, const Workspace *work,
                                    const float *lse, size_t first_query, size_t first_key) {
  backward_tile(shape, h, work, lse, first_query, first_key, TILE_FLOATS);
}

static void backward_tile_of_pairs(const AttentionShape *shape, const AttentionHead *h, const Workspace *work,
                                   const float *lse, size_t first_query, size_t first_key) {
  backward_tile(shape, h, work, lse, first_query, first_key, TILE_PAIRED);
}

static void backward_tile_on_unit(const AttentionShape *shape, const AttentionHead *h, const Workspace *work,
                                  const float *lse, size_t first_query, size_t first_key) {
  backward_tile(shape, h, work, lse, first_query, first_key, TILE_ON_UNIT);
}

// dqkv[at..] = factor * tile, `rows` rows.
VEC_INLINE void store_tile(void *dqkv, size_t at, const AttentionShape *shape, const float *tile, size_t rows,
                           float factor, ZeroType type) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t i = 0; i < shape->head; i += VEC_WIDTH) {
      store_elements(dqkv, at + row * 3 * shape->C + i, vec_count(shape->head - i),
                     vec_load(tile + row * shape->padded + i) * factor, type);
    }
  }
}

// The tensors of one call.
typedef struct {
  void *dqkv;
  const void *dout, *out, *qkv;
  const float *lse;
} Tensors;

VEC_INLINE void backward_head(const Tensors *x, const AttentionShape *shape, const AttentionHead *h,
                              const Workspace *work, ZeroType type) {
  const int pairs = attention_in_pairs(type);
  const TileKind kind = attention_kind(shape, type);
  size_t C = shape->C, head = shape->head, padded = shape->padded, length = h->length, stride = 3 * C;
  size_t q_at = h->start * stride + h->column, k_at = q_at + C, v_at = q_at + 2 * C; // first in qkv
  size_t out_at = h->start * C + h->column;
  const float *lse = x->lse + h->lse;

  for (size_t first = 0; first < length; first += TILE) {
    size_t rows = min_size(TILE, length - first), at = first * padded;
    size_t q = q_at + first * stride, o = out_at + first * C;
    if (pairs) {
      size_t by_rows = at + TILE * padded / 2;
      tile_pack_pairs(work->queries + at, padded, x->qkv, q, stride, rows, head);
      tile_pack_pairs(work->douts + at, padded, x->dout, o, C, rows, head);
      if (kind == TILE_ON_UNIT) {
        tile_pack_row_pairs_transposed(work->queries + by_rows, TILE / 2, padded, x->qkv, q, stride, rows, head);
        tile_pack_row_pairs_transposed(work->douts + by_rows, TILE / 2, padded, x->dout, o, C, rows, head);
      } else {
        tile_pack_row_pairs(work->queries + by_rows, padded, x->qkv, q, stride, rows, head);
        tile_pack_row_pairs(work->douts + by_rows, padded, x->dout, o, C, rows, head);
      }
    } else {
      tile_pack(work->queries + at, padded, x->qkv, q, stride, rows, head, shape->scale, type);
      tile_pack(work->douts + at, padded, x->dout, o, C, rows, head, 1, type);
    }
    memset(work->dqueries + at, 0, TILE * padded * sizeof(float));
  }
  for (size_t t = 0; t < length; t++) {
    Vec sum = {0};
    for (size_t i = 0; i < head; i += VEC_WIDTH) {
      size_t n = vec_count(head - i), at = out_at + t * C + i;
      sum += load_elements(x->out, at, n, type) * load_elements(x->dout, at, n, type);
    }
    work->delta[t] = vec_sum(sum);
  }

  for (size_t first = 0; first < length; first += TILE) {
    size_t keys = min_size(TILE, length - first), k = k_at + first * stride, v = v_at + first * stride;
    if (pairs) {
      tile_pack_pairs_transposed(work->keys_t, padded, x->qkv, k, stride, keys, head);
      tile_pack_pairs_transposed(work->values_t, padded, x->qkv, v, stride, keys, head);
      tile_pack_row_pairs(work->keys, padded, x->qkv, k, stride, keys, head);
    } else {
      tile_pack_transposed(work->keys_t, padded, x->qkv, k, stride, keys, head, type);
      tile_pack_transposed(work->values_t, padded, x->qkv, v, stride, keys, head, type);
      tile_pack(work->keys, padded, x->qkv, k, stride, keys, head, 1, type);
    }
    memset(work->dkeys, 0, TILE * padded * sizeof(float));
    memset(work->dvalues, 0, TILE * padded * sizeof(float));
    for (size_t query = shape->causal ? first : 0; query < length; query += TILE) {
      switch (kind) {
        case TILE_FLOATS:
          backward_tile_of_floats(shape, h, work, lse, query, first);
          break;
        case TILE_PAIRED:
          backward_tile_of_pairs(shape, h, work, lse, query, first);
          break;
        case TILE_ON_UNIT:
          backward_tile_on_unit(shape, h, work, lse, query, first);
          break;
      }
    }
    const float *dkeys = work->dkeys, *dvalues = work->dvalues;
    if (kind == TILE_ON_UNIT) { // what the tile's products read is not needed any more
      tile_transpose(work->keys_t, dkeys, padded);
      tile_transpose(work->values_t, dvalues, padded);
      dkeys = work->keys_t;
      dvalues = work->values_t;
    }
    store_tile(x->dqkv, k, shape, dkeys, keys, pairs ? shape->scale : 1, type);
    store_tile(x->dqkv, v, shape, dvalues, keys, 1, type);
  }
  store_tile(x->dqkv, q_at, shape, work->dqueries, length, shape->scale, type);
}

void attention_backward(void *dqkv, const void *dout, const void *out, const float *lse, const void *qkv,
                        const OpsSequences *sequences, size_t C, size_t NH, int causal, const OpsDropout *dropout,
                        ZeroType type, void *scratch, ZeroStream stream) {
  (void)stream;
  AttentionShape shape = attention_shape(sequences, C, NH, causal, dropout);
  const int on_unit = attention_kind(&shape, type) == TILE_ON_UNIT;
  Tensors tensors = {dqkv, dout, out, qkv, lse};
  size_t longest = sequences->longest, floats = workspace_floats(longest, shape.padded);
#pragma omp parallel for schedule(dynamic) if (attention_worth_threads(&shape))
  for (size_t i = 0; i < sequences->count * NH; i++) {
    Workspace work = workspace_at((float *)scratch + (size_t)omp_get_thread_num() * floats, longest, shape.padded);
    AttentionHead head = attention_head(&shape, i / NH, i % NH);
    if (on_unit) unit_begin();
    FOR_TYPE(type, backward_head, &tensors, &shape, &head, &work);
    if (on_unit) unit_end();
  }
  attention_zero_padding(dqkv, 3 * C, sequences, type);
}
