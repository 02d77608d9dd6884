// Parity of the whole BERT with reference results: logits, losses, every gradient tensor, 20 AdamW steps with the
// moments and weights after them, and gradients under dropout with the same masks, against PyTorch in float64
// (dev/fixtures, made by dev/reference); padded and packed.
//
//   ./test_bert [STAGE [RECOMPUTE [batch]]] one rank; RECOMPUTE: the trainer's -r, 1 if left out; batch: no 20 steps
//   scripts/run.sh 4 ./test_bert [STAGE …]  several: the runs with accumulation, shared out over the ranks
#include <stdlib.h>

#include "dev/test/bert_fixture.h"
#include "dev/test/parity.h"
#include "llmc/bert_model.h"

// ---------------------------------------------------------------- models

static void open_model(Test *test, Bert *m, Model *model, const BertDropout *dropout, const ZeroConfig *zero) {
  static const BertDropout none = {0.0f, 0.0f, 0.0f, 0};
  BertBatchShape shape = shape_of(model);
  bert_create(m, &model->config, &shape, 1, dropout ? dropout : &none, test->recompute, zero, test->comm,
              test->device);
  bert_load(m, read_weights, model);
}

static double mean_loss(const Model *model, BertLoss sum, BertCounts counts) {
  double loss = model->config.nsp || model->config.num_labels > 0 ? sum.labels / (double)counts.samples : 0.0;
  return model->config.num_labels == 0 ? loss + sum.masked / (double)counts.targets : loss;
}

// ---------------------------------------------------------------- one batch: logits, losses, gradients

static size_t label_outputs(const Model *model) {
  return model->config.num_labels > 0 ? model->config.num_labels : (size_t)BERT_NSP_LABELS;
}

static void check_largest(Test *test, const char *label, const char *what, const int *best, const float *logits,
                          size_t rows, size_t cols) {
  for (size_t i = 0; i < rows; i++) {
    size_t largest = 0;
    for (size_t j = 1; j < cols; j++) largest = logits[i * cols + j] > logits[i * cols + largest] ? j : largest;
    check(test, best[i] == (int)largest, "%s %s row %zu: best is %d, expected %zu", label, what, i, best[i], largest);
  }
}

static void check_logits(Test *test, const Model *model, const char *name, const float *ours, size_t count) {
  size_t expected;
  const float *reference = fixture_f32(model->fixture, name, &expected);
  check(test, count == expected, "%s %s: %zu numbers, expected %zu", model->label, name, count, expected);
  double distance = largest_difference(ours, reference, count);
  check(test, distance <= LOGITS_BOUND, "%s %s: largest difference %.2e", model->label, name, distance);
}

static void check_forward(Test *test, Bert *m, const Model *model, const BertBatch *batch) {
  size_t V = model->config.vocab_size, labels = label_outputs(model), rows = batch->N * model->config.channels;
  BertOutputs o = {(int *)allocate(batch->M + 1, sizeof(int)), (float *)allocate(batch->M * V + 1, sizeof(float)),
                   (int *)allocate(model->B, sizeof(int)), (float *)allocate(model->B * labels, sizeof(float)),
                   (float *)allocate(rows, sizeof(float))};
  BertLoss loss = bert_forward(m, batch, &o);
  check_logits(test, model, "label_logits", o.label_logits, model->B * labels);
  double expected = fixture_f64(model->fixture, "label_loss", NULL)[0];
  check(test, near(loss.labels, expected, LOSS_BOUND), "%s loss of labels %.9g, expected %.9g", model->label,
        loss.labels, expected);
  if (labels > 1) check_largest(test, model->label, "label", o.label_best, o.label_logits, model->B, labels);
  if (model->config.num_labels == 0) {
    check_logits(test, model, "masked_logits", o.masked_logits, batch->targets * V);
    check_largest(test, model->label, "masked", o.masked_best, o.masked_logits, batch->targets, V);
    expected = fixture_f64(model->fixture, "masked_loss", NULL)[0];
    check(test, near(loss.masked, expected, LOSS_BOUND), "%s loss of masked tokens %.9g, expected %.9g", model->label,
          loss.masked, expected);
  }
  // The last LayerNorm has given every row that is a token's, so that none is 0.
  check(test, l2(o.hidden, rows) > 0.0, "%s: the last block's output is 0", model->label);
  zero_free(o.masked_best);
  zero_free(o.masked_logits);
  zero_free(o.label_best);
  zero_free(o.label_logits);
  zero_free(o.hidden);
}

// A batch in two parts, the rest of each missing, has the losses of the whole.
static void check_missing(Test *test, Bert *m, const Model *model, const Micro *s, BertLoss whole) {
  BertLoss sum = {0.0, 0.0};
  for (size_t part = 0; part < 2; part++) {
    void *block;
    BertBatch batch = make_batch(model, s, part == 0 ? 0 : 2, part == 0 ? 2 : model->B, 0, &block);
    BertLoss loss = bert_forward(m, &batch, NULL);
    sum.masked += loss.masked;
    sum.labels += loss.labels;
    zero_free(block);
  }
  check(test, near(sum.labels, whole.labels, LOSS_BOUND), "%s in two parts: loss of labels %.9g, expected %.9g",
        model->label, sum.labels, whole.labels);
  check(test, near(sum.masked, whole.masked, LOSS_BOUND),
        "%s in two parts: loss of masked tokens %.9g, expected %.9g", model->label, sum.masked, whole.masked);
}

// Every gradient tensor against records "PREFIXgrad/NAME".
static void check_gradients(Test *test, Bert *m, const Model *model, const char *prefix) {
  const BertConfig *c = &model->config;
  float *weights = (float *)allocate(count_of(c, BERT_QKVW), sizeof(float));
  char label[2 * NAME_LENGTH];
  snprintf(label, sizeof label, "%s %s", model->label, prefix);
  for (int i = 0; i < BERT_NUM_TENSORS; i++) {
    BertTensor t = (BertTensor)i;
    if (!bert_tensor_in_model(c, t)) continue;
    size_t count = count_of(c, t);
    const float *reference = tensor_record(model, prefix, "grad", t);
    float *ours = (float *)allocate(count, sizeof(float));
    for (size_t l = 0; l < layers_of(c, t); l++) {
      bert_read(m, ZERO_GRADIENT, t, l, ours);
      if (t == BERT_QKVB) bert_read(m, ZERO_GRADIENT, BERT_QKVW, l, weights);
      check_gradient_tensor(test, label, bert_tensor_name(t), l, ours, reference + l * count, count,
                            t == BERT_QKVB ? weights : NULL);
    }
    zero_free(ours);
  }
  zero_free(weights);
}

static BertLoss forward_backward(Bert *m, const BertBatch *batch, BertCounts counts, uint64_t step) {
  BertLoss loss;
  bert_forward_backward(m, batch, counts, step, &loss);
  bert_finish(m);
  return loss;
}

// Forward and backward of the fixture's batch; the loss and the gradients against records under `prefix`.
static void check_backward(Test *test, Bert *m, const Model *model, const BertBatch *batch, const char *prefix,
                           double expected, uint64_t step) {
  BertCounts counts = {batch->targets, model->B};
  zero_micro_begin(m->engine, 0, 1);
  double loss = mean_loss(model, forward_backward(m, batch, counts, step), counts);
  check(test, near(loss, expected, LOSS_BOUND), "%s %s training loss %.9g, expected %.9g", model->label, prefix, loss,
        expected);
  ZeroNorm norm = zero_norm(m->engine);
  check(test, !norm.overflow && norm.norm > 0.0, "%s gradient norm %g", model->label, norm.norm);
  check_gradients(test, m, model, prefix);
  zero_skip(m->engine);
}

static void check_batch(Test *test, Model *model) {
  Bert m;
  ZeroConfig zero = base_config(test);
  open_model(test, &m, model, NULL, &zero);
  Micro s = samples_of(model, "", 0);
  void *block;
  BertBatch batch = make_batch(model, &s, 0, model->B, 0, &block);
  check_forward(test, &m, model, &batch);
  check_missing(test, &m, model, &s, bert_forward(&m, &batch, NULL));
  check_backward(test, &m, model, &batch, "", fixture_f64(model->fixture, "loss", NULL)[0], 0);
  zero_free(block);
  bert_destroy(&m);
}

// The same model without next-sentence prediction: other tensors, other gradients.
static void check_masked_alone(Test *test, Model *model) {
  Bert m;
  ZeroConfig zero = base_config(test);
  Model alone = *model;
  alone.config.nsp = 0;
  open_model(test, &m, &alone, NULL, &zero);
  Micro s = samples_of(&alone, "", 0);
  void *block;
  BertBatch batch = make_batch(&alone, &s, 0, alone.B, 0, &block);
  double expected = fixture_f64(alone.fixture, "masked_loss", NULL)[0] / (double)batch.targets;
  check_backward(test, &m, &alone, &batch, "masked/", expected, 0);
  zero_free(block);
  bert_destroy(&m);
}

// PyTorch had our masks: llmc/dropout.h, by its formula in Python.
static void check_dropout(Test *test, Model *model) {
  enum { HIDDEN, ATTENTION, CLASSIFIER };
  Bert m;
  ZeroConfig zero = base_config(test);
  const double *rates = fixture_f64(model->fixture, "dropout/rates", NULL);
  uint64_t numbers[3]; // seed, step, number of the first sample
  size_t count;
  const int32_t *words = fixture_i32(model->fixture, "dropout/numbers", &count);
  if (count * sizeof *words != sizeof numbers) zero_fatal("%s: dropout/numbers has %zu words", model->name, count);
  memcpy(numbers, words, sizeof numbers);
  BertDropout dropout = {(float)rates[HIDDEN], (float)rates[ATTENTION], (float)rates[CLASSIFIER], numbers[0]};
  open_model(test, &m, model, &dropout, &zero);
  Micro s = samples_of(model, "", 0);
  void *block;
  BertBatch batch = make_batch(model, &s, 0, model->B, (size_t)numbers[2], &block);
  check_backward(test, &m, model, &batch, "dropout/", fixture_f64(model->fixture, "dropout/loss", NULL)[0],
                 numbers[1]);
  // Evaluation drops nothing.
  double expected = fixture_f64(model->fixture, "label_loss", NULL)[0], loss = bert_forward(&m, &batch, NULL).labels;
  check(test, near(loss, expected, LOSS_BOUND), "%s evaluated under dropout: loss of labels %.9g, expected %.9g",
        model->label, loss, expected);
  zero_free(block);
  bert_destroy(&m);
}

// ---------------------------------------------------------------- 20 steps

// Micro-batches of a step of run "train1/" or "train4/".
static size_t micro_batches(const char *run) {
  return strcmp(run, "train4/") == 0 ? 4 : 1;
}

// The run's micro-batches shared out over the ranks. Fills losses (STEPS) and, unless it is NULL, norms (STEPS).
static void run_training(Test *test, Bert *m, const Model *model, const char *run, double *losses, double *norms) {
  size_t ranks = (size_t)test->comm->size, A = micro_batches(run), steps_per_rank = A / ranks;
  double *masked = (double *)allocate(steps_per_rank, sizeof(double));
  double *labels = (double *)allocate(steps_per_rank, sizeof(double));
  for (size_t step = 0; step < STEPS; step++) {
    BertCounts counts = {0, A * model->B};
    for (size_t k = 0; k < A; k++) {
      Micro s = samples_of(model, run, step * A + k);
      counts.targets += targets_in(model, &s);
    }
    for (size_t k = 0; k < steps_per_rank; k++) {
      void *block;
      Micro s = samples_of(model, run, step * A + k * ranks + (size_t)test->comm->rank);
      BertBatch batch = make_batch(model, &s, 0, model->B, 0, &block);
      zero_micro_begin(m->engine, (int)k, k + 1 == steps_per_rank);
      BertLoss loss = forward_backward(m, &batch, counts, step);
      masked[k] = loss.masked;
      labels[k] = loss.labels;
      zero_free(block);
    }
    BertLoss sum;
    sum.masked = zero_sum_ordered(m->engine, masked, (int)steps_per_rank);
    sum.labels = zero_sum_ordered(m->engine, labels, (int)steps_per_rank);
    losses[step] = mean_loss(model, sum, counts);
    ZeroStep done = zero_step(m->engine, STEP_LR);
    if (norms) norms[step] = done.norm;
  }
  zero_free(masked);
  zero_free(labels);
}

// One kind of state of every tensor after the run. zero_read gives whole tensors to rank 0; the others take part and
// compare nothing.
static void check_state(Test *test, Bert *m, const Model *model, const char *run, const char *label, ZeroKind kind,
                        const char *what) {
  const BertConfig *c = &model->config;
  char name[NAME_LENGTH], distances[NAME_LENGTH / 2];
  snprintf(distances, sizeof distances, "distance/%s", what);
  for (int i = 0; i < BERT_NUM_TENSORS; i++) {
    BertTensor t = (BertTensor)i;
    if (!bert_tensor_in_model(c, t)) continue;
    size_t count = count_of(c, t), key = t == BERT_QKVB ? c->channels : 0;
    float *ours = (float *)allocate(count, sizeof(float));
    const float *reference = tensor_record(model, run, what, t), *before = tensor_record(model, "", "weight", t);
    const double *rival = fixture_f64(model->fixture, record(name, run, distances, t), NULL);
    for (size_t l = 0; l < layers_of(c, t); l++) {
      bert_read(m, kind, t, l, ours);
      if (test->comm->rank != 0) continue;
      check_state_tensor(test, label, what, bert_tensor_name(t), l, ours, reference + l * count, count, key,
                         key > 0 && kind == ZERO_MASTER ? before + l * count : NULL, rival[l]);
    }
    zero_free(ours);
  }
}

static void check_training(Test *test, Model *model, const char *run) {
  Bert m;
  ZeroConfig zero = base_config(test);
  zero.weight_decay = 0.1;
  open_model(test, &m, model, NULL, &zero);
  double losses[STEPS], norms[STEPS];
  char label[2 * NAME_LENGTH];
  snprintf(label, sizeof label, "%s %s", model->label, run);
  run_training(test, &m, model, run, losses, norms);
  check_steps(test, run, model->fixture, losses, norms);
  check_state(test, &m, model, run, label, ZERO_MASTER, "weight");
  check_state(test, &m, model, run, label, ZERO_EXP_AVG, "exp_avg");
  check_state(test, &m, model, run, label, ZERO_EXP_AVG_SQ, "exp_avg_sq");
  bert_destroy(&m);
}

// ---------------------------------------------------------------- bf16 and fp16

static void check_half_logits(Test *test, const Model *model, const Fixture *rival, const char *type,
                              const char *name, const float *ours) {
  char record_name[NAME_LENGTH];
  size_t count;
  const float *reference = fixture_f32(model->fixture, name, &count);
  snprintf(record_name, sizeof record_name, "distance/%s", name);
  // Few numbers scatter more, as small tensors do.
  double bound = (count >= HALF_LARGE ? HALF_RIVAL : HALF_RIVAL_SMALL) * fixture_f64(rival, record_name, NULL)[0];
  double distance = relative_l2(ours, reference, count);
  check(test, distance <= bound, "%s %s %s: distance %.2e, bound %.2e", model->label, type, name, distance, bound);
  check(test, distance > 0.0, "%s %s %s are those of float64: was the type used?", model->label, type, name);
}

// One batch against float64, no further away than a few times PyTorch in the same type (rival).
static void check_half_batch(Test *test, Model *model, const Fixture *rival, ZeroType type) {
  Bert m;
  const BertConfig *c = &model->config;
  ZeroConfig zero = half_config(test, type, rival);
  const char *type_name = zero_type_name(type);
  open_model(test, &m, model, NULL, &zero);
  Micro s = samples_of(model, "", 0);
  void *block;
  BertBatch batch = make_batch(model, &s, 0, model->B, 0, &block);
  BertOutputs o;
  memset(&o, 0, sizeof o);
  o.masked_logits = (float *)allocate(batch.M * c->vocab_size + 1, sizeof(float));
  o.label_logits = (float *)allocate(model->B * label_outputs(model), sizeof(float));
  bert_forward(&m, &batch, &o);
  check_half_logits(test, model, rival, type_name, "label_logits", o.label_logits);
  if (batch.M > 0) check_half_logits(test, model, rival, type_name, "masked_logits", o.masked_logits);
  zero_free(o.masked_logits);
  zero_free(o.label_logits);

  BertCounts counts = {batch.targets, model->B};
  zero_micro_begin(m.engine, 0, 1);
  forward_backward(&m, &batch, counts, 0);
  ZeroNorm norm = zero_norm(m.engine);
  check(test, !norm.overflow, "%s %s: the gradients overflow", model->label, type_name);
  for (int i = 0; i < BERT_NUM_TENSORS; i++) {
    BertTensor t = (BertTensor)i;
    if (!bert_tensor_in_model(c, t)) continue;
    char name[NAME_LENGTH];
    size_t count = count_of(c, t), rows, cols;
    bert_tensor_shape(c, t, &rows, &cols);
    size_t real = rows == c->padded_vocab_size ? c->vocab_size * cols : count;
    const float *reference = tensor_record(model, "", "grad", t);
    const double *rivals = fixture_f64(rival, record(name, "", "distance/grad", t), NULL);
    float *ours = (float *)allocate(count, sizeof(float));
    for (size_t l = 0; l < layers_of(c, t); l++) {
      bert_read(&m, ZERO_GRADIENT, t, l, ours);
      check_half_tensor(test, model->label, type_name, bert_tensor_name(t), l, ours, reference + l * count, count,
                        t == BERT_QKVB ? c->channels : 0, real, rivals[l]);
    }
    zero_free(ours);
  }
  zero_skip(m.engine);
  zero_free(block);
  bert_destroy(&m);
}

// 20 steps: the rms distance of the losses from float64's.
static void check_half_training(Test *test, Model *model, const Fixture *rival, ZeroType type, const char *run) {
  Bert m;
  ZeroConfig zero = half_config(test, type, rival);
  zero.weight_decay = 0.1;
  open_model(test, &m, model, NULL, &zero);
  double losses[STEPS];
  char name[NAME_LENGTH];
  run_training(test, &m, model, run, losses, NULL);
  snprintf(name, sizeof name, "%sloss", run);
  const double *expected = fixture_f64(model->fixture, name, NULL);
  snprintf(name, sizeof name, "%srms", run);
  check_half_losses(test, model->label, zero_type_name(type), run, losses, expected,
                    fixture_f64(rival, name, NULL)[0]);
  bert_destroy(&m);
}

static void check_half(Test *test, Model *model, ZeroType type, int has_train1) {
  char name[NAME_LENGTH];
  snprintf(name, sizeof name, "dev/fixtures/%s_%s.fixture", model->name, zero_type_name(type));
  Fixture *rival = fixture_open(name);
  if (test->comm->size == 1) {
    check_half_batch(test, model, rival, type);
    if (test->steps && has_train1) check_half_training(test, model, rival, type, "train1/");
  }
  if (test->steps) check_half_training(test, model, rival, type, "train4/");
  fixture_close(rival);
}

// ---------------------------------------------------------------- all of one fixture

enum { HAS_TRAIN1 = 1, HAS_DROPOUT = 2, HAS_MASKED = 4 }; // what the fixture has

static void check_fixture(Test *test, const char *name, int has) {
  char path[NAME_LENGTH];
  Model model;
  snprintf(path, sizeof path, "dev/fixtures/%s.fixture", name);
  Fixture *f = fixture_open(path);
  read_model(&model, name, f);
  for (int packed = 0; packed < PACKINGS; packed++) {
    pack(&model, packed);
    if (test->comm->size == 1) {
      check_batch(test, &model);
      if (has & HAS_MASKED) check_masked_alone(test, &model);
      if (has & HAS_DROPOUT) check_dropout(test, &model);
      if (test->steps && (has & HAS_TRAIN1)) check_training(test, &model, "train1/");
    }
    if (test->steps) check_training(test, &model, "train4/");
    check_half(test, &model, ZERO_BF16, has & HAS_TRAIN1);
    check_half(test, &model, ZERO_F16, has & HAS_TRAIN1);
  }
  fixture_close(f);
}

// ---------------------------------------------------------------- initial weights

static void check_init(Test *test) {
  Bert m;
  BertConfig c;
  ZeroErrors errors = {NULL, 0};
  ZeroConfig zero = base_config(test);
  BertDropout none = {0.0f, 0.0f, 0.0f, 0};
  bert_config_parse("L=2,H=2,C=64,T=32,V=100", &c, &errors);
  zero_errors_check(&errors, test->comm);
  c.nsp = 1;
  BertBatchShape shape = {1, c.max_positions, 0, 1, MASK_PROBABILITY};
  bert_create(&m, &c, &shape, 1, &none, test->recompute, &zero, test->comm, test->device);
  bert_init(&m, 1);
  size_t most = bert_largest_tensor(&c);
  float *values = (float *)allocate(most, sizeof(float));
  for (int i = 0; i < BERT_NUM_TENSORS; i++) {
    BertTensor t = (BertTensor)i;
    if (!bert_tensor_in_model(&c, t)) continue;
    size_t rows, cols, count = count_of(&c, t), real = count;
    bert_tensor_shape(&c, t, &rows, &cols);
    bert_read(&m, ZERO_MASTER, t, layers_of(&c, t) - 1, values);
    if (test->comm->rank != 0) continue;
    const char *name = bert_tensor_name(t);
    if (cols == 1) {
      double expected = t == BERT_LNEW || t == BERT_LN1W || t == BERT_LN2W || t == BERT_MLMLNW ? (double)count : 0.0;
      check(test, l2(values, count) * l2(values, count) == expected, "initial %s", name);
      continue;
    }
    if (t == BERT_WTE) {
      real = c.vocab_size * c.channels;
      check(test, l2(values + real, count - real) == 0.0, "the padding of wte is not 0");
    }
    double std = l2(values, real) / sqrt((double)real), expected = 0.02;
    // The standard error of a standard deviation is 1/sqrt(2 n) of it; five of them.
    check(test, near(std, expected, 5.0 / sqrt(2.0 * (double)real)), "std of %s %.5g, expected %.5g", name, std,
          expected);
  }
  zero_free(values);
  bert_destroy(&m);
}

int main(int argc, char **argv) {
  Test test;
  memset(&test, 0, sizeof test);
  test.stage = argc > 1 ? atoi(argv[1]) : 0;
  test.recompute = argc > 2 ? atoi(argv[2]) : RECOMPUTE_GELU;
  test.steps = argc <= 3;
  if (argc > 3 && strcmp(argv[3], "batch") != 0)
    zero_fatal("the third argument is '%s'; give batch or none", argv[3]);
  test.comm = zero_comm_create(NULL);
#ifdef ZERO_CUDA
  test.device = zero_device_cuda(test.comm);
#else
  test.device = zero_device_cpu();
#endif
  check_fixture(&test, "bert_a", HAS_TRAIN1 | HAS_DROPOUT | HAS_MASKED);
  check_fixture(&test, "bert_b", 0);
  check_fixture(&test, "bert_classes", HAS_TRAIN1);
  check_fixture(&test, "bert_values", HAS_DROPOUT);
  check_init(&test);
  int failed = total_failures(&test);
  if (test.comm->rank == 0) printf("%d passed, %d failed, %d skipped\n", test.passed, failed, test.skipped);
  zero_comm_destroy(test.comm);
  zero_device_destroy(test.device);
  return failed ? 1 : 0;
}
