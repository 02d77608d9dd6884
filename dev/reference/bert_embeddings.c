// The last hidden states of a BERT for a file of samples, for dev/reference/check_minilm.py: the trainer's own reader
// of folders, batches and model, on one rank in fp32.
//
//   ./bert_embeddings FOLDER SAMPLES OUT padded|packed
//
// FOLDER: of Hugging Face's. OUT: fp32 (all tokens of all samples, C), in their order.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "llmc/bert_model.h"
#include "llmc/bert_weights.h"
#include "zero/zero.h"

enum { BATCH = 8 }; // samples that are computed at once

typedef struct {
  const BertConfig *config;
  const BertWeights *weights;
} Source;

// The head is not looked at, so what the folder lacks of it may have any value.
static void read_or_begin(void *ctx, BertTensor t, size_t layer, size_t first, size_t count, float *out) {
  const Source *source = ctx;
  if (bert_weights_has(source->weights, t)) {
    bert_weights_read(source->weights, t, layer, first, count, out);
  } else {
    bert_initial(source->config, 0, t, layer, first, count, out);
  }
}

// The samples' rows one behind the other.
static void write_hidden(Bert *m, SampleLoader *loader, FILE *out) {
  const size_t count = sample_loader_info(loader).num_samples, C = m->config.channels;
  BertBatches *batches = bert_batches_create(loader, m->shape);
  BertOutputs outputs = {NULL, NULL, NULL, NULL, NULL};
  outputs.hidden = zero_malloc(bert_batch_max_rows(&m->shape) * C * sizeof(float), ZERO_MEM_OTHER);
  for (size_t first = 0; first < count; first += BATCH) {
    const BertBatch *b = bert_batches_validate(batches, first, count);
    bert_forward(m, b, &outputs);
    for (size_t i = 0; i < b->real; i++) {
      const size_t values = (size_t)b->parts.lengths[i] * C;
      if (fwrite(outputs.hidden + (size_t)b->first_rows[i] * C, sizeof(float), values, out) != values) {
        zero_fatal("the hidden states of sample %zu cannot be written: %s", first + i, strerror(errno));
      }
    }
  }
  zero_free(outputs.hidden);
  bert_batches_free(batches);
}

static int fail(const char *text, const char *what) {
  fprintf(stderr, "error: %s%s\n", text, what);
  return ZERO_EXIT_USAGE;
}

int main(int argc, char **argv) {
  if (argc != 5 || (strcmp(argv[4], "padded") != 0 && strcmp(argv[4], "packed") != 0)) {
    return fail("give FOLDER SAMPLES OUT padded|packed", "");
  }
  BertConfig config;
  ZeroErrors errors = {NULL, 0};
  SampleLoader *loader = NULL;
  BertWeights *weights = bert_weights_open(argv[1], &config, &errors);
  if (weights != NULL) {
    config.num_labels = 1; // a model without the head of masked tokens: its batches are not masked
    bert_weights_choose(weights, &config, &errors);
    loader = sample_loader_open(argv[2], "SAMPLES", config.max_positions, config.vocab_size, 0, &errors);
  } else if (errors.count == 0) {
    return fail(argv[1], ": has no weights; give a folder of Hugging Face's");
  }
  for (int i = 0; i < errors.count; i++) fail(errors.lines[i], "");
  if (errors.count > 0) return ZERO_EXIT_USAGE;

  Bert model;
  ZeroConfig zero;
  zero_config_default(&zero);
  ZeroComm *comm = zero_comm_create("self");
  ZeroDevice *device = zero_device_cpu();
  const BertBatchShape shape = {BATCH, config.max_positions, strcmp(argv[4], "packed") == 0, 0, 0.0};
  const BertDropout none = {0.0f, 0.0f, 0.0f, 0};
  bert_create(&model, &config, &shape, 1, &none, RECOMPUTE_GELU, &zero, comm, device);
  Source source = {&config, weights};
  bert_load(&model, read_or_begin, &source);
  bert_weights_close(weights);
  FILE *out = fopen(argv[3], "wb");
  if (out == NULL) return fail(argv[3], ": cannot be opened for writing");
  write_hidden(&model, loader, out);
  if (fclose(out) != 0) return fail(argv[3], ": cannot be written whole");
  bert_destroy(&model);
  sample_loader_close(loader);
  zero_device_destroy(device);
  zero_comm_destroy(comm);
  return ZERO_EXIT_OK;
}
