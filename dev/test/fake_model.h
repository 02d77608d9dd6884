// A model that is no model: units of odd sizes whose gradients are a function of (step, micro-batch, unit, tensor,
// element), and a plain AdamW with clipping in double precision that says what training it must give.
//
// Gradients are small multiples of a power of two, so that their fp32 sums are exact in any order; from step
// FAKE_ROUGH_STEPS on they are not, so that the order of sums shows. Functions are inline because each test is a
// program of one file.
#ifndef TEST_FAKE_MODEL_H
#define TEST_FAKE_MODEL_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../zero/zero.h"

enum { FAKE_UNITS = 4, FAKE_TENSORS = 4, FAKE_LARGEST = 3000 }; // most tensors of a unit, most elements of a tensor
enum { FAKE_ALIGN = 64 };                                       // a tensor starts at a multiple of it

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
  float value = (float)fake_draw(1 + step * 1000 + micro_batch, u, t, i, 1000) * unit;
  return step < FAKE_ROUGH_STEPS ? value : value / 3.0f;
}

// Values for zero_fill: kind 0 weights, 1 exp_avg, 2 exp_avg_sq (which is not negative).
static inline float fake_value(ZeroKind kind, int u, int t, size_t i) {
  float value = (float)fake_draw(900000 + (uint64_t)kind, u, t, i, 1000) * 0x1p-11f;
  return kind == ZERO_EXP_AVG_SQ ? fabsf(value) : value;
}

// ctx: the ZeroKind.
static inline void fake_fill(void *ctx, int u, int t, size_t first, size_t count, float *out) {
  for (size_t i = 0; i < count; i++) out[i] = fake_value(*(const ZeroKind *)ctx, u, t, first + i);
}

// ---------------------------------------------------------------- training by the engine

// One micro-step in the order in which a model works. The whole buffer is made NaN first: whoever reads the gaps
// between tensors has it in the norm. bad: written into one element of one unit, unless it is 0.
static inline void fake_micro_step(ZeroEngine *e, size_t step, size_t micro_batch, float bad) {
  for (int u = 0; u < FAKE_UNITS; u++) {
    zero_get(e, u);
    if (u + 1 < FAKE_UNITS) zero_gather(e, u + 1);
    if (u > 0) zero_release(e, u); // the embeddings stay for the head
  }
  for (int u = FAKE_UNITS - 1; u >= 0; u--) {
    if (u > 0) zero_get(e, u);
    float *flat = zero_grad(e, u).data; // again before done: the same buffer
    int last = fake_units[u].num_tensors - 1;
    size_t end = (zero_offset(e, u, last) + fake_count(u, last) + FAKE_ALIGN - 1) / FAKE_ALIGN * FAKE_ALIGN;
    for (size_t i = 0; i < end; i++) flat[i] = NAN;
    for (int t = 0; t <= last; t++) {
      float *out = (float *)zero_grad(e, u).data + zero_offset(e, u, t);
      for (size_t i = 0; i < fake_count(u, t); i++) out[i] = fake_gradient(step, micro_batch, u, t, i);
      if (bad != 0.0f && u == 1 && t == 1) out[fake_count(u, t) - 1] = bad;
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

static inline double fake_gradient_sum(size_t step, int micro_batches, int u, int t, size_t i) {
  double sum = 0.0;
  for (int m = 0; m < micro_batches; m++) sum += fake_gradient(step, (size_t)m, u, t, i);
  return sum;
}

static inline double fake_norm(size_t step, int micro_batches) {
  double squares = 0.0;
  for (int u = 0; u < FAKE_UNITS; u++) {
    for (int t = 0; t < fake_units[u].num_tensors; t++) {
      for (size_t i = 0; i < fake_count(u, t); i++)
        squares += pow(fake_gradient_sum(step, micro_batches, u, t, i), 2.0);
    }
  }
  return sqrt(squares);
}

// The factor of torch.nn.utils.clip_grad_norm_.
static inline double fake_clip_factor(const ZeroConfig *c, double norm) {
  if (c->clip == 0.0 || norm + 1e-6 <= c->clip) return 1.0;
  return c->clip / (norm + 1e-6);
}

// torch.optim.AdamW in double precision. step: which gradients.
static inline void fake_reference_step(FakeReference *r, const ZeroConfig *c, size_t step, int micro_batches,
                                       double lr) {
  double factor = fake_clip_factor(c, fake_norm(step, micro_batches)), n = (double)++r->steps;
  for (int u = 0; u < FAKE_UNITS; u++) {
    for (int t = 0; t < fake_units[u].num_tensors; t++) {
      int decay = c->decay_all || !(fake_tensors[u][t].flags & ZERO_NO_DECAY);
      for (size_t i = 0; i < fake_count(u, t); i++) {
        double g = factor * fake_gradient_sum(step, micro_batches, u, t, i);
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
