// GPT-2's dropout: rates, sites, and what each micro-batch brings along.
#include "gpt2_dropout.h"

GPT2DropoutRates gpt2_dropout_rates(double hidden, double attention) {
  const GPT2DropoutRates rates = {hidden, attention, hidden};
  return rates;
}

int gpt2_drops(const GPT2DropoutRates *rates) {
  return rates->embeddings > 0.0 || rates->attention > 0.0 || rates->residual > 0.0;
}

// ---------------------------------------------------------------------------------------------------
// Per micro-batch: samples (B), row_samples (B*T), positions (B*T)

size_t gpt2_dropout_ints(const GPT2DropoutRates *rates, size_t B, size_t T) {
  return gpt2_drops(rates) ? B + 2 * B * T : 0;
}

void gpt2_dropout_fill(const GPT2DropoutRates *rates, size_t first, size_t B, size_t T, int *ints) {
  if (!gpt2_drops(rates)) return;
  int *samples = ints, *row_samples = samples + B, *positions = row_samples + B * T;
  for (size_t b = 0; b < B; b++) {
    samples[b] = (int)(first + b);
    for (size_t t = 0; t < T; t++) {
      row_samples[b * T + t] = samples[b];
      positions[b * T + t] = (int)t;
    }
  }
}

GPT2Dropout gpt2_dropout(const GPT2DropoutRates *rates, uint64_t seed, uint64_t step, size_t B, size_t T,
                         const int *ints) {
  const GPT2Dropout d = {*rates, seed, step, ints, ints + B, ints + B + B * T};
  return d;
}

// ---------------------------------------------------------------------------------------------------
// Sites

static OpsDropout at_site(const GPT2Dropout *d, double rate, size_t layer, GPT2DropSite site) {
  const OpsDropout drop = {(float)rate, d->seed, d->step, ops_dropout_site(layer, site)};
  return drop;
}

const void *gpt2_drop_rows(const GPT2Dropout *d, void *out, const void *inp, size_t layer, GPT2DropSite site,
                           size_t B, size_t T, size_t C, ZeroType type, ZeroStream stream) {
  if (d == NULL) return inp;
  const double rate = layer == 0 ? d->rates.embeddings : d->rates.residual;
  if (rate == 0.0) return inp;
  const OpsDropout drop = at_site(d, rate, layer, site);
  dropout(out, inp, d->row_samples, d->positions, B * T, C, &drop, type, stream);
  return out;
}

OpsSequences gpt2_sequences(const GPT2Dropout *d, size_t B, size_t T) {
  OpsSequences sequences = ops_dense(B, T);
  if (d != NULL) sequences.samples = d->samples;
  return sequences;
}

OpsDropout gpt2_drop_weights(const GPT2Dropout *d, size_t l) {
  const OpsDropout none = {0.0f, 0, 0, 0};
  return d == NULL ? none : at_site(d, d->rates.attention, 1 + l, GPT2_DROP_WEIGHTS);
}
