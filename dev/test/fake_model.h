// A model that is no model: units of odd sizes whose gradients are a function of (step, micro-batch, unit, tensor,
// element), and a plain AdamW with clipping in double precision that says what training it must give.
//
// Gradients are small multiples of a power of two, so that their fp32 sums are exact in any order, rounded to a half
// type or not; from step FAKE_ROUGH_STEPS on they are not, so that the order of sums shows. They have more bits than
// either half type, so that its rounding shows. Functions are inline because each test is a program of one file.
#ifndef TEST_FAKE_MODEL_H
#define TEST_FAKE_MODEL_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../zero/half.h"
#include "../../zero/zero.h"

enum { FAKE_UNITS = 4, FAKE_TENSORS = 4, FAKE_LARGEST = 3000 }; // most tensors of a unit, most elements of a tensor
enum { FAKE_ALIGN = 64, FAKE_CHUNK = 1024 }; // a tensor starts at a multiple of one, ranks own multiples of the other
enum { FAKE_LIMIT = 5000 };                  // of the whole numbers that values are made of

// Sizes that are multiples of nothing; the last unit is one chunk, so that some ranks own none of it.
static const ZeroTensor fake_tensors[FAKE_UNITS][FAKE_TENSORS] = {
    {{"table", 2, {37, 23}, 0}, {"positions", 2, {5, 23}, 0}},
    {{"scale", 1, {129}, ZERO_NO_DECAY},
     {"weight", 2, {31, 67}, 0},
     {"single", 1, {1}, ZERO_NO_DECAY},
     {"cube", 3, {13, 7, 3}, 0}},
    {{"deep", 4, {2, 5, 10, 30}, 0}, {"bias", 1, {100}, ZERO_NO_DECAY}},
    {{"gain", 1, {7}, ZERO_NO_DECAY}, {"shift", 1, {7}, 0}},
};
static const ZeroUnit fake_units[FAKE_UNITS] = {
    {"embeddings", 2, fake_tensors[0], ZERO_OWN_BUFFER},
    {"first block", 4, fake_tensors[1], 0},
    {"second block", 2, fake_tensors[2], 0},
    {"final norm", 2, fake_tensors[3], 0},
};
enum { FAKE_PARAMETERS = 851 + 115 + 129 + 2077 + 1 + 273 + 3000 + 100 + 7 + 7 };
// Lengths of the flat buffers: 14 + 2, 3 + 33 + 1 + 5, 47 + 2 and 1 + 1 times FAKE_ALIGN.
static const size_t fake_totals[FAKE_UNITS] = {1024, 2688, 3136, 128};
enum { FAKE_TOTAL = 1024 + 2688 + 3136 + 128, FAKE_EMBEDDINGS = 1024, FAKE_LARGEST_BLOCK = 3136 };

static inline size_t fake_count(int u, int t) {
  size_t count = 1;
  for (int d = 0; d < fake_tensors[u][t].ndim; d++) count *= fake_tensors[u][t].shape[d];
  return count;
}

// A whole number in [-limit, limit] that looks random.
static inline int fake_draw(uint64_t a, int u, int t, size_t i, int limit) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + ((uint64_t)u * FAKE_TENSORS + (uint64_t)t) * 0xbf58476d1ce4e5b9u + i;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  return (int)(x % (2 * (uint64_t)limit + 1)) - limit;
}

// Steps with an odd number have gradients 16 times as large, so that clipping is at work in some and not in others.
enum { FAKE_ROUGH_STEPS = 1000 };
static inline float fake_gradient(size_t step, size_t micro_batch, int u, int t, size_t i) {
  const float unit = step % 2 ? 0x1p-8f : 0x1p-12f;
  float value = (float)fake_draw(1 + step * 1000 + micro_batch, u, t, i, FAKE_LIMIT) * unit;
  return step < FAKE_ROUGH_STEPS ? value : value / 3.0f;
}

// Values for zero_fill: kind 0 weights, 1 exp_avg, 2 exp_avg_sq (which is not negative).
static inline float fake_value(ZeroKind kind, int u, int t, size_t i) {
  float value = (float)fake_draw(900000 + (uint64_t)kind, u, t, i, FAKE_LIMIT) * 0x1p-11f;
  return kind == ZERO_EXP_AVG_SQ ? fabsf(value) : value;
}

// ctx: the ZeroKind.
static inline void fake_fill(void *ctx, int u, int t, size_t first, size_t count, float *out) {
  for (size_t i = 0; i < count; i++) out[i] = fake_value(*(const ZeroKind *)ctx, u, t, first + i);
}

// ---------------------------------------------------------------- element types

static inline float fake_load(const void *data, ZeroType type, size_t i) {
  if (type == ZERO_F32) return ((const float *)data)[i];
  uint16_t half = ((const uint16_t *)data)[i];
  return type == ZERO_BF16 ? zero_bf16_to_f32(half) : zero_f16_to_f32(half);
}

static inline void fake_store(void *data, ZeroType type, size_t i, float x) {
  if (type == ZERO_F32) ((float *)data)[i] = x;
  if (type == ZERO_BF16) ((uint16_t *)data)[i] = zero_f32_to_bf16(x);
  if (type == ZERO_F16) ((uint16_t *)data)[i] = zero_f32_to_f16(x);
}

static inline float fake_rounded(ZeroType type, float x) {
  float cell = 0.0f;
  fake_store(&cell, type, 0, x);
  return fake_load(&cell, type, 0);
}

// ---------------------------------------------------------------- training by the engine

// What a model's kernels do with one tensor's gradient: round it to the type once; add it in fp32 where there is a
// sum.
static inline void fake_write(ZeroGrad grad, size_t at, float value) {
  float sum = grad.accumulate ? fake_load(grad.data, grad.type, at) + value : value;
  fake_store(grad.data, grad.type, at, sum);
}

// One micro-step in the order in which a model works. The whole buffer is made NaN before its first use: whoever
// reads the gaps between tensors has it in the norm. bad: written into one element of one unit, unless it is 0.
static inline void fake_micro_step(ZeroEngine *e, size_t step, size_t micro_batch, float bad) {
  for (int u = 0; u < FAKE_UNITS; u++) {
    zero_get(e, u);
    if (u + 1 < FAKE_UNITS) zero_gather(e, u + 1);
    if (u > 0) zero_release(e, u); // the embeddings stay for the head
  }
  for (int u = FAKE_UNITS - 1; u >= 0; u--) {
    if (u > 0) zero_get(e, u);
    ZeroGrad grad = zero_grad(e, u);
    int last = fake_units[u].num_tensors - 1;
    size_t end = (zero_offset(e, u, last) + fake_count(u, last) + FAKE_ALIGN - 1) / FAKE_ALIGN * FAKE_ALIGN;
    for (size_t i = 0; i < end && !grad.accumulate; i++) fake_store(grad.data, grad.type, i, NAN);
    for (int t = 0; t <= last; t++) {
      grad = zero_grad(e, u); // again before done: the same buffer
      size_t offset = zero_offset(e, u, t), count = fake_count(u, t);
      for (size_t i = 0; i < count; i++) {
        fake_write(grad, offset + i, fake_gradient(step, micro_batch, u, t, i) * zero_loss_scale(e));
      }
      if (bad != 0.0f && u == 1 && t == 1) fake_write(grad, offset + count - 1, bad);
    }
    zero_grad_done(e, u);
    if (u > 0) zero_release(e, u);
  }
  zero_release(e, 0);
}

// All micro-steps of one step; this rank takes micro-batches k * ranks + rank. bad: on rank bad_rank alone.
static inline void fake_backward(ZeroEngine *e, const ZeroComm *comm, size_t step, int micro_steps, float bad,
                                 int bad_rank) {
  for (int k = 0; k < micro_steps; k++) {
    zero_micro_begin(e, k, k + 1 == micro_steps);
    size_t micro_batch = (size_t)k * (size_t)comm->size + (size_t)comm->rank;
    fake_micro_step(e, step, micro_batch, comm->rank == bad_rank ? bad : 0.0f);
  }
}

// ---------------------------------------------------------------- training by the book

typedef struct {
  double state[3][FAKE_UNITS][FAKE_TENSORS][FAKE_LARGEST]; // ZeroKind first: weights, exp_avg, exp_avg_sq
  size_t steps;
} FakeReference;

static inline void fake_reference_start(FakeReference *r) {
  memset(r, 0, sizeof *r);
  for (int u = 0; u < FAKE_UNITS; u++) {
    for (int t = 0; t < fake_units[u].num_tensors; t++) {
      for (size_t i = 0; i < fake_count(u, t); i++) r->state[0][u][t][i] = fake_value(ZERO_MASTER, u, t, i);
    }
  }
}

// A step's gradients, summed and unscaled.
typedef struct {
  double sum[FAKE_UNITS][FAKE_TENSORS][FAKE_LARGEST];
} FakeGradients;

static inline size_t fake_offset(int u, int t) {
  size_t offset = 0;
  for (int before = 0; before < t; before++) {
    offset += (fake_count(u, before) + FAKE_ALIGN - 1) / FAKE_ALIGN * FAKE_ALIGN;
  }
  return offset;
}

// How many chunks of a unit a rank owns at the most.
static inline size_t fake_chunk_share(int u, int ranks) {
  size_t chunks = (fake_totals[u] + FAKE_CHUNK - 1) / FAKE_CHUNK;
  return (chunks + (size_t)ranks - 1) / (size_t)ranks;
}

// How many elements of a unit's flat buffer a rank owns.
static inline size_t fake_owned(int u, int rank, int ranks) {
  size_t share = fake_chunk_share(u, ranks) * FAKE_CHUNK, lo = (size_t)rank * share;
  if (lo >= fake_totals[u]) return 0;
  return fake_totals[u] - lo < share ? fake_totals[u] - lo : share;
}

// Reduced at every micro-step: each micro-batch's gradient travels in the wire type and is added, in global order, to
// the accumulator.
static inline float fake_sum_reduced(const ZeroConfig *c, const float *micro_batches, int count) {
  float sum = 0.0f;
  for (int m = 0; m < count; m++) sum = fake_rounded(c->accumulate, sum + fake_rounded(c->wire, micro_batches[m]));
  return sum;
}

// Accumulated on each rank and reduced once: the owner's sum first where the accumulators themselves travel, else all
// in rank order in the wire type.
static inline float fake_sum_local(const ZeroConfig *c, const float *micro_batches, int count, int ranks, int owner) {
  float sum = 0.0f;
  for (int place = 0; place < ranks; place++) {
    int rank = c->wire != c->accumulate ? place : place == 0 ? owner : place <= owner ? place - 1 : place;
    float local = 0.0f;
    for (int m = rank; m < count; m += ranks) local = fake_rounded(c->accumulate, local + micro_batches[m]);
    sum = fake_rounded(c->accumulate, sum + fake_rounded(c->wire, local));
  }
  return sum;
}

// The sums that the configuration's types and order of additions make of a step's gradients; exactly the engine's.
// scale: the loss scale.
static inline void fake_gradients(FakeGradients *g, const ZeroConfig *c, size_t step, int micro_steps, int ranks,
                                  float scale) {
  enum { MOST = 64 };
  float micro_batches[MOST];
  int count = micro_steps * ranks, local = !c->deterministic && c->stage <= 1;
  if (count > MOST) abort();
  for (int u = 0; u < FAKE_UNITS; u++) {
    for (int t = 0; t < fake_units[u].num_tensors; t++) {
      for (size_t i = 0; i < fake_count(u, t); i++) {
        for (int m = 0; m < count; m++) micro_batches[m] = fake_gradient(step, (size_t)m, u, t, i) * scale;
        int owner = (int)((fake_offset(u, t) + i) / FAKE_CHUNK / fake_chunk_share(u, ranks));
        float sum =
            local ? fake_sum_local(c, micro_batches, count, ranks, owner) : fake_sum_reduced(c, micro_batches, count);
        g->sum[u][t][i] = sum / scale;
      }
    }
  }
}

static inline double fake_norm(const FakeGradients *g) {
  double squares = 0.0;
  for (int u = 0; u < FAKE_UNITS; u++) {
    for (int t = 0; t < fake_units[u].num_tensors; t++) {
      for (size_t i = 0; i < fake_count(u, t); i++) squares += pow(g->sum[u][t][i], 2.0);
    }
  }
  return sqrt(squares);
}

// The factor of torch.nn.utils.clip_grad_norm_.
static inline double fake_clip_factor(const ZeroConfig *c, double norm) {
  if (c->clip == 0.0 || norm + 1e-6 <= c->clip) return 1.0;
  return c->clip / (norm + 1e-6);
}

// torch.optim.AdamW in double precision.
static inline void fake_reference_step(FakeReference *r, const ZeroConfig *c, const FakeGradients *gradients,
                                       double lr) {
  double factor = fake_clip_factor(c, fake_norm(gradients)), n = (double)++r->steps;
  for (int u = 0; u < FAKE_UNITS; u++) {
    for (int t = 0; t < fake_units[u].num_tensors; t++) {
      int decay = c->decay_all || !(fake_tensors[u][t].flags & ZERO_NO_DECAY);
      for (size_t i = 0; i < fake_count(u, t); i++) {
        double g = factor * gradients->sum[u][t][i];
        double *w = &r->state[0][u][t][i], *m = &r->state[1][u][t][i], *v = &r->state[2][u][t][i];
        *w *= 1.0 - lr * (decay ? c->weight_decay : 0.0);
        *m = c->beta1 * *m + (1.0 - c->beta1) * g;
        *v = c->beta2 * *v + (1.0 - c->beta2) * g * g;
        double m_hat = *m / (1.0 - pow(c->beta1, n)), v_hat = *v / (1.0 - pow(c->beta2, n));
        *w -= lr * m_hat / (sqrt(v_hat) + c->eps);
      }
    }
  }
}

#endif
