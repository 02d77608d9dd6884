// Attention over sequences with dropout once more, in double precision and written to be read (reference.h says the
// rest), and dropout's draws from the formula that llmc/dropout.h documents, without its code.
#ifndef TEST_REFERENCE_ATTENTION_H
#define TEST_REFERENCE_ATTENTION_H

#include "reference.h"

// ---------------------------------------------------------------- sequences
static inline size_t start_of(const OpsSequences *s, size_t b) {
  return s->starts != NULL ? (size_t)s->starts[b] : b * s->longest;
}

static inline size_t length_of(const OpsSequences *s, size_t b) {
  return s->lengths != NULL ? (size_t)s->lengths[b] : s->longest;
}

// Where the log-sum-exps of head h of sequence b begin.
static inline size_t lse_of(const OpsSequences *s, size_t NH, size_t b, size_t h) {
  return NH * start_of(s, b) + h * (s->starts != NULL ? length_of(s, b) : s->longest);
}

// ---------------------------------------------------------------- dropout
// Philox4x32-10 as the paper has it: ten rounds, between them the key grows.
static inline void plain_philox(const uint32_t counter[4], uint64_t key, uint32_t out[4]) {
  uint32_t left[2] = {counter[0], counter[2]}, right[2] = {counter[1], counter[3]};
  uint32_t k[2] = {(uint32_t)(key & 0xffffffff), (uint32_t)(key >> 32)};
  const uint64_t multiplier[2] = {0xD2511F53, 0xCD9E8D57};
  for (int round = 0; round < 10; round++) {
    const uint64_t product[2] = {multiplier[0] * left[0], multiplier[1] * left[1]};
    for (int i = 0; i < 2; i++) {
      left[i] = (uint32_t)(product[1 - i] >> 32) ^ right[i] ^ k[i];
      right[i] = (uint32_t)(product[1 - i] & 0xffffffff);
    }
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  out[0] = left[0], out[1] = right[0], out[2] = left[1], out[3] = right[1];
}

// What the weight of a key at `position` is multiplied by: 0 or 1 / (1 - rate). d NULL: 1.
static inline double reference_factor(const OpsDropout *d, size_t head, int sample, size_t position, size_t key) {
  if (d == NULL) return 1;
  uint64_t mixed = d->seed + 0x9e3779b97f4a7c15ull;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
  mixed = mixed ^ (mixed >> 31);
  const uint32_t counter[4] = {(uint32_t)(key / 4), (uint32_t)position, (uint32_t)sample, d->site + (uint32_t)head};
  uint32_t words[4];
  plain_philox(counter, mixed + d->step, words);
  return words[key % 4] < d->rate * 0x1p32 ? 0 : 1 / (1 - (double)d->rate);
}

// ---------------------------------------------------------------- attention
// One head: the weights (T, T) of its queries over its keys, T its sequence's length, 0 where a key is not seen. q
// and k begin at qkv[at] and qkv[at + C], rows 3C apart.
static inline void reference_attention_weights(double *weights, double *lse, const float *qkv, size_t at, size_t T,
                                               size_t C, size_t head, int causal) {
  memset(weights, 0, T * T * sizeof(double));
  for (size_t t = 0; t < T; t++) {
    size_t end = causal ? t + 1 : T;
    double sum = 0;
    for (size_t u = 0; u < end; u++) {
      double score = 0;
      for (size_t i = 0; i < head; i++) score += (double)qkv[at + t * 3 * C + i] * qkv[at + C + u * 3 * C + i];
      weights[t * T + u] = exp(score / sqrt((double)head));
      sum += weights[t * T + u];
    }
    lse[t] = log(sum);
    for (size_t u = 0; u < end; u++) weights[t * T + u] /= sum;
  }
}

// out (N, C), lse (NH * N) and, for the loss sum(out * dout), dqkv (N, 3C); all are set, with 0 where no sequence is.
static inline void reference_attention(double *out, double *lse, double *dqkv, const float *qkv, const float *dout,
                                       const OpsSequences *s, size_t C, size_t NH, int causal, const OpsDropout *d) {
  size_t head = C / NH;
  double *weights = new_doubles(s->longest * s->longest), *factors = new_doubles(s->longest * s->longest);
  memset(out, 0, s->rows * C * sizeof(double));
  memset(dqkv, 0, s->rows * 3 * C * sizeof(double));
  memset(lse, 0, NH * s->rows * sizeof(double));
  for (size_t bh = 0; bh < s->count * NH; bh++) {
    size_t b = bh / NH, h = bh % NH, T = length_of(s, b);
    size_t q = start_of(s, b) * 3 * C + h * head, k = q + C, v = k + C, o = start_of(s, b) * C + h * head;
    reference_attention_weights(weights, lse + lse_of(s, NH, b, h), qkv, q, T, C, head, causal);
    for (size_t i = 0; i < T * T; i++) {
      factors[i] = d != NULL && weights[i] > 0 ? reference_factor(d, h, s->samples[b], i / T, i % T) : 1;
    }
    for (size_t t = 0; t < T; t++) {
      double delta = 0; // sum over keys of weight * dweight
      for (size_t u = 0; u < T; u++) {
        const double dropped = weights[t * T + u] * factors[t * T + u];
        for (size_t i = 0; i < head; i++) {
          out[o + t * C + i] += dropped * qkv[v + u * 3 * C + i];
          dqkv[v + u * 3 * C + i] += dropped * dout[o + t * C + i];
          delta += dropped * dout[o + t * C + i] * qkv[v + u * 3 * C + i];
        }
      }
      for (size_t u = 0; u < T; u++) {
        double dweight = 0;
        for (size_t i = 0; i < head; i++) dweight += (double)dout[o + t * C + i] * qkv[v + u * 3 * C + i];
        dweight *= factors[t * T + u];
        double dscore = weights[t * T + u] * (dweight - delta) / sqrt((double)head);
        for (size_t i = 0; i < head; i++) {
          dqkv[q + t * 3 * C + i] += dscore * qkv[k + u * 3 * C + i];
          dqkv[k + u * 3 * C + i] += dscore * qkv[q + t * 3 * C + i];
        }
      }
    }
  }
  free(weights), free(factors);
}

#endif
