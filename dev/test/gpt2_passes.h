// The model of train_gpt2.cu as test_gpt2.cu runs it: opened from a fixture's file, one micro-batch of the host's at
// a time.
#ifndef TEST_GPT2_PASSES_H
#define TEST_GPT2_PASSES_H

#define TESTING // the model alone
#include "../../train_gpt2.cu"
#include "fixture.h"
#include "parity.h"

static size_t layers_of(const GPT2Config *c, GPT2Tensor t) {
  return gpt2_tensor_in_block(t) ? c->num_layers : 1;
}

static size_t count_of(const GPT2Config *c, GPT2Tensor t) {
  size_t rows, cols;
  gpt2_tensor_shape(c, t, &rows, &cols);
  return rows * cols;
}

static void read_tensor(GPT2 *m, ZeroKind kind, GPT2Tensor t, size_t layer, float *out) {
  int unit = t < GPT2_LN1W ? 0 : t >= GPT2_LNFW ? m->final_unit : 1 + (int)layer;
  zero_read(m->engine, kind, unit, (int)t - (int)first_tensor(m, unit), out);
}

// ---------------------------------------------------------------- models

static void open_model(Test *test, GPT2 *m, const char *path, size_t B, size_t T, const ZeroConfig *zero) {
  GPT2Config config;
  ZeroErrors errors = {NULL, 0};
  GPT2Weights *weights = gpt2_weights_open(path, &config, &errors);
  zero_errors_check(&errors, test->comm);
  gpt2_create(m, &config, B, T, test->recompute, zero, test->comm, test->device);
  gpt2_load(m, weights);
  gpt2_weights_close(weights);
}

// ---------------------------------------------------------------- micro-batches of the host

static MicroBatches *new_batches(Test *test, size_t B, size_t T, size_t pending) {
  return micro_batches_create(test->device, 2 * B * T, B * T, pending);
}

// inputs, targets (N) to the device: (2, N) there.
static const int *send(MicroBatches *batches, const int *inputs, const int *targets, size_t N) {
  int *host = micro_batches_fill(batches);
  memcpy(host, inputs, N * sizeof(int));
  memcpy(host + N, targets, N * sizeof(int));
  return micro_batches_send(batches);
}

// The summed loss; logits (B*T, V) of the host.
static double forward(GPT2 *m, MicroBatches *batches, const int *inputs, const int *targets, size_t B, size_t T,
                      float *logits) {
  ZeroDevice *device = m->device;
  size_t N = B * T, bytes = N * m->config.vocab_size * sizeof(float);
  float *result = (float *)device->alloc(device, bytes, ZERO_MEM_OTHER);
  const int *sent = send(batches, inputs, targets, N);
  gpt2_forward(m, sent, sent + N, B, T, result);
  device->to_host(device, logits, result, bytes);
  device->free(device, result);
  double sum = 0.0;
  micro_batches_take_losses(batches, m->losses, N, &sum);
  micro_batches_finish(batches);
  return sum;
}

// *sum, the summed loss, is known after micro_batches_finish.
static void forward_backward(GPT2 *m, MicroBatches *batches, const int *inputs, const int *targets, size_t B,
                             size_t T, size_t num_targets, double *sum) {
  size_t N = B * T;
  const int *sent = send(batches, inputs, targets, N);
  gpt2_forward_backward(m, sent, sent + N, B, T, num_targets, NULL);
  micro_batches_take_losses(batches, m->losses, N, sum);
}

#endif
