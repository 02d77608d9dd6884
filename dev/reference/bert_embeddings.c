// The last hidden states of a BERT for a file of samples, for dev/reference/check_minilm.py: our reader of folders,
// our batches and our operations, on the CPU in fp32.
//
//   ./bert_embeddings FOLDER SAMPLES OUT padded|packed
//
// FOLDER: of Hugging Face's. OUT: fp32 (all tokens of all samples, C), in their order.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "llmc/bert_batch.h"
#include "llmc/bert_weights.h"
#include "llmc/ops.h"
#include "zero/memory.h"

#define EPSILON 1e-12f // of BERT's LayerNorm
enum { BATCH = 8 };    // samples that are computed at once

typedef struct {
  BertConfig config;
  float *tensors[BERT_NUM_TENSORS]; // (layers, rows, cols)
} Model;

static float *allocate(size_t count) {
  return zero_malloc(count * sizeof(float), ZERO_MEM_ACTIVATIONS);
}

static void load(Model *m, const BertWeights *weights) {
  for (int t = 0; t < BERT_POOLW; t++) {
    size_t rows, cols, layers = bert_tensor_in_block((BertTensor)t) ? m->config.num_layers : 1;
    bert_tensor_shape(&m->config, (BertTensor)t, &rows, &cols);
    m->tensors[t] = allocate(layers * rows * cols);
    for (size_t l = 0; l < layers; l++) {
      bert_weights_read(weights, (BertTensor)t, l, 0, rows * cols, m->tensors[t] + l * rows * cols);
    }
  }
}

static const float *tensor(const Model *m, BertTensor t, size_t layer) {
  size_t rows, cols;
  bert_tensor_shape(&m->config, t, &rows, &cols);
  return m->tensors[t] + layer * rows * cols;
}

// x: (N, C)
static void forward(const Model *m, const BertBatch *b, float *x) {
  const size_t N = b->N, C = m->config.channels, H = m->config.hidden, NH = m->config.num_heads;
  float *qkv = allocate(N * 3 * C), *att = allocate(N * C), *y = allocate(N * C), *res = allocate(N * C);
  float *pre = allocate(N * H), *fc = allocate(N * H), *lse = allocate(N * NH), *mean = allocate(N),
        *rstd = allocate(N);
  void *scratch = zero_malloc(attention_forward_scratch(&b->parts, C, NH, 0, ZERO_F32), ZERO_MEM_ACTIVATIONS);
  embeddings_forward(y, b->tokens, b->positions, b->types, m->tensors[BERT_WTE], m->tensors[BERT_WPE],
                     m->tensors[BERT_WTYPE], N, C, ZERO_F32, NULL);
  layernorm_forward(x, mean, rstd, y, m->tensors[BERT_LNEW], m->tensors[BERT_LNEB], N, C, EPSILON, ZERO_F32, NULL);
  for (size_t l = 0; l < m->config.num_layers; l++) {
    matmul_forward(qkv, NULL, x, tensor(m, BERT_QKVW, l), tensor(m, BERT_QKVB, l), N, C, 3 * C, OPS_NO_GELU, ZERO_F32,
                   NULL);
    attention_forward(att, lse, qkv, &b->parts, C, NH, 0, NULL, ZERO_F32, scratch, NULL);
    matmul_forward(y, NULL, att, tensor(m, BERT_ATTPROJW, l), tensor(m, BERT_ATTPROJB, l), N, C, C, OPS_NO_GELU,
                   ZERO_F32, NULL);
    fused_residual_layernorm_forward(res, att, mean, rstd, x, y, tensor(m, BERT_LN1W, l), tensor(m, BERT_LN1B, l), N,
                                     C, EPSILON, ZERO_F32, NULL);
    matmul_forward(fc, pre, att, tensor(m, BERT_FCW, l), tensor(m, BERT_FCB, l), N, C, H, OPS_GELU_ERF, ZERO_F32,
                   NULL);
    matmul_forward(y, NULL, fc, tensor(m, BERT_FCPROJW, l), tensor(m, BERT_FCPROJB, l), N, H, C, OPS_NO_GELU,
                   ZERO_F32, NULL);
    fused_residual_layernorm_forward(res, x, mean, rstd, att, y, tensor(m, BERT_LN2W, l), tensor(m, BERT_LN2B, l), N,
                                     C, EPSILON, ZERO_F32, NULL);
  }
  float *all[] = {qkv, att, y, res, pre, fc, lse, mean, rstd};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) zero_free(all[i]);
  zero_free(scratch);
}

// The samples' rows one behind the other.
static void write_hidden(const Model *m, SampleLoader *loader, int packed, FILE *out) {
  const BertBatchShape shape = {BATCH, m->config.max_positions, packed, 0, 0.0};
  const size_t count = sample_loader_info(loader).num_samples, C = m->config.channels;
  BertBatches *batches = bert_batches_create(loader, shape);
  float *x = allocate(bert_batch_max_rows(&shape) * C);
  for (size_t first = 0; first < count; first += BATCH) {
    const BertBatch *b = bert_batches_validate(batches, first, count);
    forward(m, b, x);
    for (size_t i = 0; i < b->real; i++) {
      const size_t values = (size_t)b->parts.lengths[i] * C;
      if (fwrite(x + (size_t)b->first_rows[i] * C, sizeof *x, values, out) != values) {
        zero_fatal("the hidden states of sample %zu cannot be written: %s", first + i, strerror(errno));
      }
    }
  }
  zero_free(x);
  bert_batches_free(batches);
}

static int fail(const char *text, const char *what) {
  fprintf(stderr, "error: %s%s\n", text, what);
  return ZERO_EXIT_USAGE;
}

int main(int argc, char **argv) {
  static Model m;
  ZeroErrors errors = {NULL, 0};
  if (argc != 5 || (strcmp(argv[4], "padded") != 0 && strcmp(argv[4], "packed") != 0)) {
    return fail("give FOLDER SAMPLES OUT padded|packed", "");
  }
  SampleLoader *loader = NULL;
  BertWeights *weights = bert_weights_open(argv[1], &m.config, &errors);
  if (weights != NULL) {
    loader = sample_loader_open(argv[2], "SAMPLES", m.config.max_positions, m.config.vocab_size, 0, &errors);
  } else if (errors.count == 0) {
    return fail(argv[1], ": has no weights; give a folder of Hugging Face's");
  }
  for (int i = 0; i < errors.count; i++) fail(errors.lines[i], "");
  if (errors.count > 0) return ZERO_EXIT_USAGE;
  load(&m, weights);
  bert_weights_close(weights);
  FILE *out = fopen(argv[3], "wb");
  if (out == NULL) return fail(argv[3], ": cannot be opened for writing");
  write_hidden(&m, loader, strcmp(argv[4], "packed") == 0, out);
  if (fclose(out) != 0) return fail(argv[3], ": cannot be written whole");
  for (int t = 0; t < BERT_NUM_TENSORS; t++) zero_free(m.tensors[t]);
  sample_loader_close(loader);
  return ZERO_EXIT_OK;
}
