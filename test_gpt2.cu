// Parity of the whole GPT-2 with reference results: logits, loss, every gradient tensor, and 20 AdamW steps with
// the moments and weights after them, and one batch under dropout with the same masks, against PyTorch in float64
// (dev/fixtures, made by dev/reference); and llm.c's debug state and published losses, where its files are at hand.
//
//   ./test_gpt2 [STAGE [RECOMPUTE]]         one rank; RECOMPUTE: the trainer's -r, 1 if left out
//   scripts/run.sh 4 ./test_gpt2 [STAGE …]  several: the runs with accumulation, shared out over the ranks
#include <unistd.h>

#include "dev/test/gpt2_passes.h"

#define LLMC_BOUND 1e-2 // llm.c's own tolerance of its published losses
enum { LLMC_STEPS = 10 };

// ---------------------------------------------------------------- one batch: logits, loss, gradients

// reference: (layers, count) of tensor t.
static void check_gradient(Test *test, GPT2 *m, const char *model, GPT2Tensor t, const float *reference) {
  const GPT2Config *c = &m->config;
  size_t count = count_of(c, t);
  float *ours = (float *)allocate(count, sizeof(float));
  float *weights = (float *)allocate(count_of(c, GPT2_QKVW), sizeof(float));
  for (size_t l = 0; l < layers_of(c, t); l++) {
    read_tensor(m, ZERO_GRADIENT, t, l, ours);
    if (t == GPT2_QKVB) read_tensor(m, ZERO_GRADIENT, GPT2_QKVW, l, weights);
    check_gradient_tensor(test, model, gpt2_tensor_name(t), l, ours, reference + l * count, count,
                          t == GPT2_QKVB ? weights : NULL);
  }
  zero_free(weights);
  zero_free(ours);
}

// What one batch must give. logits (B*T, V) unpadded; gradients per tensor.
typedef struct {
  const char *name;
  const int *inputs, *targets;
  size_t B, T;
  const float *logits;
  double loss;
  const float *gradients[GPT2_NUM_TENSORS]; // (layers, count)
} Batch;

static void check_batch_results(Test *test, const char *path, const Batch *batch) {
  GPT2 m;
  ZeroConfig zero = base_config(test);
  open_model(test, &m, path, batch->B, batch->T, &zero);
  size_t N = batch->B * batch->T, V = m.config.vocab_size;
  float *logits = (float *)allocate(N * V, sizeof(float));
  MicroBatches *batches = new_batches(test, batch->B, batch->T, 1);
  double loss = forward(&m, batches, batch->inputs, batch->targets, batch->B, batch->T, logits) / (double)N;
  double distance = largest_difference(logits, batch->logits, N * V);
  check(test, distance <= LOGITS_BOUND, "%s logits: largest difference %.2e", batch->name, distance);
  check(test, near(loss, batch->loss, LOSS_BOUND), "%s loss %.9g, expected %.9g", batch->name, loss, batch->loss);

  // The sampler's path gives the same row.
  gpt2_next_logits(&m, send(batches, batch->inputs, batch->targets, N), batch->T - 1, batch->T, logits);
  distance = largest_difference(logits, batch->logits + (batch->T - 2) * V, V);
  check(test, distance <= LOGITS_BOUND, "%s next-token logits: largest difference %.2e", batch->name, distance);

  zero_micro_begin(m.engine, 0, 1);
  forward_backward(&m, batches, batch->inputs, batch->targets, batch->B, batch->T, N, &loss);
  micro_batches_finish(batches);
  loss /= (double)N;
  check(test, near(loss, batch->loss, LOSS_BOUND), "%s training loss %.9g, expected %.9g", batch->name, loss,
        batch->loss);
  ZeroNorm norm = zero_norm(m.engine);
  check(test, !norm.overflow && norm.norm > 0.0, "%s gradient norm %g", batch->name, norm.norm);
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    check_gradient(test, &m, batch->name, (GPT2Tensor)t, batch->gradients[t]);
  }
  zero_skip(m.engine);
  zero_free(logits);
  micro_batches_destroy(batches);
  gpt2_destroy(&m);
}

// ---------------------------------------------------------------- 20 steps

static const char *record(char name[NAME_LENGTH], const char *run, const char *what, GPT2Tensor t) {
  snprintf(name, NAME_LENGTH, "%s%s/%s", run, what, gpt2_tensor_name(t));
  return name;
}

// One kind of state of every tensor after the run. initial: this model before it, for the key bias.
static void check_state(Test *test, int judges, GPT2 *m, const Fixture *f, const char *run, ZeroKind kind,
                        const char *what, const GPT2Bin *initial) {
  const GPT2Config *c = &m->config;
  char name[NAME_LENGTH], distances[NAME_LENGTH / 2];
  snprintf(distances, sizeof distances, "distance/%s", what);
  for (int i = 0; i < GPT2_NUM_TENSORS; i++) {
    GPT2Tensor t = (GPT2Tensor)i;
    size_t count = count_of(c, t), key = t == GPT2_QKVB ? c->channels : 0;
    float *ours = (float *)allocate(count, sizeof(float)), *before = (float *)allocate(count, sizeof(float));
    const float *reference = fixture_f32(f, record(name, run, what, t), NULL);
    const double *rival = fixture_f64(f, record(name, run, distances, t), NULL);
    for (size_t l = 0; l < layers_of(c, t); l++) {
      read_tensor(m, kind, t, l, ours);
      if (!judges) continue;
      gpt2_bin_read(initial, t, l, 0, count, before);
      check_state_tensor(test, run, what, gpt2_tensor_name(t), l, ours, reference + l * count, count, key,
                         key > 0 && kind == ZERO_MASTER ? before : NULL, rival[l]);
    }
    zero_free(ours);
    zero_free(before);
  }
}

// 20 steps of run "train1/" or "train4/": A micro-batches a step, shared out over the ranks. Fills losses (STEPS)
// and, unless it is NULL, norms (STEPS).
static void run_training(Test *test, GPT2 *m, const Fixture *f, const char *run, size_t A, size_t B, size_t T,
                         double *losses, double *norms) {
  size_t ranks = (size_t)test->comm->size, steps_per_rank = A / ranks, count = 0;
  char name[NAME_LENGTH];
  snprintf(name, sizeof name, "%sinputs", run);
  const int32_t *inputs = fixture_i32(f, name, &count);
  check(test, count == STEPS * A * B * T, "%s has %zu tokens", name, count);
  snprintf(name, sizeof name, "%stargets", run);
  const int32_t *targets = fixture_i32(f, name, NULL);
  double *micro = (double *)allocate(steps_per_rank, sizeof(double));
  MicroBatches *batches = new_batches(test, B, T, steps_per_rank);
  for (size_t step = 0; step < STEPS; step++) {
    for (size_t k = 0; k < steps_per_rank; k++) {
      size_t at = ((step * A) + k * ranks + (size_t)test->comm->rank) * B * T;
      zero_micro_begin(m->engine, (int)k, k + 1 == steps_per_rank);
      forward_backward(m, batches, inputs + at, targets + at, B, T, A * B * T, &micro[k]);
    }
    micro_batches_finish(batches);
    losses[step] = zero_sum_ordered(m->engine, micro, (int)steps_per_rank) / (double)(A * B * T);
    ZeroStep done = zero_step(m->engine, STEP_LR);
    if (norms) norms[step] = done.norm;
  }
  micro_batches_destroy(batches);
  zero_free(micro);
}

static void check_training(Test *test, const char *path, const Fixture *f, const char *run, size_t A, size_t B,
                           size_t T) {
  GPT2 m;
  ZeroConfig zero = base_config(test);
  zero.weight_decay = 0.1;
  open_model(test, &m, path, B, T, &zero);
  double losses[STEPS], norms[STEPS];
  run_training(test, &m, f, run, A, B, T, losses, norms);
  check_steps(test, run, f, losses, norms);
  GPT2Config config;
  ZeroErrors errors = {NULL, 0};
  GPT2Bin *initial = gpt2_bin_open(path, &config, &errors);
  zero_errors_check(&errors, test->comm);
  // zero_read gives whole tensors to rank 0; the others take part and compare nothing.
  int judges = test->comm->rank == 0;
  check_state(test, judges, &m, f, run, ZERO_MASTER, "weight", initial);
  check_state(test, judges, &m, f, run, ZERO_EXP_AVG, "exp_avg", initial);
  check_state(test, judges, &m, f, run, ZERO_EXP_AVG_SQ, "exp_avg_sq", initial);
  gpt2_bin_close(initial);
  gpt2_destroy(&m);
}

// ---------------------------------------------------------------- bf16 and fp16

// One batch against float64 (truth), no further away than a few times PyTorch in the same type (rival).
static void check_half_batch(Test *test, const char *path, const Fixture *truth, const Fixture *rival, ZeroType type,
                             size_t B, size_t T) {
  GPT2 m;
  ZeroConfig zero = half_config(test, type, rival);
  open_model(test, &m, path, B, T, &zero);
  const GPT2Config *c = &m.config;
  const char *type_name = zero_type_name(type);
  const int32_t *inputs = fixture_i32(truth, "inputs", NULL), *targets = fixture_i32(truth, "targets", NULL);
  size_t N = B * T, V = c->vocab_size;
  float *logits = (float *)allocate(N * V, sizeof(float));
  MicroBatches *batches = new_batches(test, B, T, 1);
  forward(&m, batches, inputs, targets, B, T, logits);
  double distance = relative_l2(logits, fixture_f32(truth, "logits", NULL), N * V);
  double bound = HALF_RIVAL * fixture_f64(rival, "distance/logits", NULL)[0];
  check(test, distance <= bound, "%s %s logits: distance %.2e, bound %.2e", path, type_name, distance, bound);
  check(test, distance > 0.0, "%s %s logits are those of float64: was the type used?", path, type_name);
  zero_free(logits);

  zero_micro_begin(m.engine, 0, 1);
  double loss = 0.0;
  forward_backward(&m, batches, inputs, targets, B, T, N, &loss);
  micro_batches_finish(batches);
  micro_batches_destroy(batches);
  ZeroNorm norm = zero_norm(m.engine);
  check(test, !norm.overflow, "%s %s: the gradients overflow", path, type_name);
  for (int i = 0; i < GPT2_NUM_TENSORS; i++) {
    GPT2Tensor t = (GPT2Tensor)i;
    char name[NAME_LENGTH];
    size_t count = count_of(c, t);
    const float *reference = fixture_f32(truth, record(name, "", "grad", t), NULL);
    const double *rivals = fixture_f64(rival, record(name, "", "distance/grad", t), NULL);
    float *ours = (float *)allocate(count, sizeof(float));
    for (size_t l = 0; l < layers_of(c, t); l++) {
      read_tensor(&m, ZERO_GRADIENT, t, l, ours);
      check_half_tensor(test, path, type_name, gpt2_tensor_name(t), l, ours, reference + l * count, count,
                        t == GPT2_QKVB ? c->channels : 0, t == GPT2_WTE ? V * c->channels : count, rivals[l]);
    }
    zero_free(ours);
  }
  zero_skip(m.engine);
  gpt2_destroy(&m);
}

// 20 steps: the rms distance of the losses from float64's.
static void check_half_training(Test *test, const char *path, const Fixture *truth, const Fixture *rival,
                                ZeroType type, const char *run, size_t A, size_t B, size_t T) {
  GPT2 m;
  ZeroConfig zero = half_config(test, type, rival);
  zero.weight_decay = 0.1;
  open_model(test, &m, path, B, T, &zero);
  double losses[STEPS];
  char name[NAME_LENGTH];
  run_training(test, &m, truth, run, A, B, T, losses, NULL);
  snprintf(name, sizeof name, "%sloss", run);
  const double *expected = fixture_f64(truth, name, NULL);
  snprintf(name, sizeof name, "%srms", run);
  check_half_losses(test, path, zero_type_name(type), run, losses, expected, fixture_f64(rival, name, NULL)[0]);
  gpt2_destroy(&m);
}

static void check_half(Test *test, const char *path, const char *model, const Fixture *truth, ZeroType type, size_t B,
                       size_t T) {
  char name[NAME_LENGTH];
  snprintf(name, sizeof name, "dev/fixtures/%s_%s.fixture", model, zero_type_name(type));
  Fixture *rival = fixture_open(name);
  if (test->comm->size == 1) {
    check_half_batch(test, path, truth, rival, type, B, T);
    check_half_training(test, path, truth, rival, type, "train1/", 1, B, T);
  }
  check_half_training(test, path, truth, rival, type, "train4/", 4, B, T);
  fixture_close(rival);
}

static void check_fixture(Test *test, const char *model, size_t B, size_t T) {
  char path[NAME_LENGTH], name[NAME_LENGTH];
  snprintf(path, sizeof path, "dev/fixtures/%s.fixture", model);
  Fixture *f = fixture_open(path);
  snprintf(path, sizeof path, "dev/fixtures/%s.bin", model);
  if (test->comm->size == 1) {
    Batch batch;
    batch.name = model;
    batch.B = B;
    batch.T = T;
    batch.inputs = fixture_i32(f, "inputs", NULL);
    batch.targets = fixture_i32(f, "targets", NULL);
    batch.logits = fixture_f32(f, "logits", NULL);
    batch.loss = fixture_f64(f, "loss", NULL)[0];
    for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
      batch.gradients[t] = fixture_f32(f, record(name, "", "grad", (GPT2Tensor)t), NULL);
    }
    check_batch_results(test, path, &batch);
    check_training(test, path, f, "train1/", 1, B, T);
  }
  check_training(test, path, f, "train4/", 4, B, T);
  check_half(test, path, model, f, ZERO_BF16, B, T);
  check_half(test, path, model, f, ZERO_F16, B, T);
  fixture_close(f);
}

// ---------------------------------------------------------------- dropout

// PyTorch had our masks: llmc/dropout.h, by its formula in Python.
static void check_dropout(Test *test, const char *path) {
  enum { B = 3, T = 13, N = B * T, NUMBERS = 3 };
  GPT2 m;
  ZeroConfig zero = base_config(test);
  Fixture *f = fixture_open("dev/fixtures/gpt2_dropout.fixture");
  const double *r = fixture_f64(f, "rates", NULL);
  const GPT2DropoutRates rates = {r[0], r[1], r[2]};
  uint64_t numbers[NUMBERS]; // seed, step, number of the first sequence
  size_t count = 0;
  const int32_t *words = fixture_i32(f, "numbers", &count);
  if (count * sizeof *words != sizeof numbers) zero_fatal("gpt2_dropout.fixture: numbers has %zu words", count);
  memcpy(numbers, words, sizeof numbers);
  const int32_t *inputs = fixture_i32(f, "inputs", &count), *targets = fixture_i32(f, "targets", NULL);
  if (count != N) zero_fatal("gpt2_dropout.fixture: inputs has %zu tokens, expected %d", count, (int)N);

  open_model(test, &m, path, B, T, &zero);
  MicroBatches *batches = micro_batches_create(m.device, 2 * N + gpt2_dropout_ints(&rates, B, T), N, 1);
  int *host = micro_batches_fill(batches);
  gpt2_dropout_fill(&rates, (size_t)numbers[2], B, T, host + 2 * N);
  const int *sent = send(batches, inputs, targets, N);
  const GPT2Dropout d = gpt2_dropout(&rates, numbers[0], numbers[1], B, T, sent + 2 * N);
  double loss = 0.0, expected = fixture_f64(f, "loss", NULL)[0];
  zero_micro_begin(m.engine, 0, 1);
  gpt2_forward_backward(&m, sent, sent + N, B, T, N, &d);
  micro_batches_take_losses(batches, m.losses, N, &loss);
  micro_batches_finish(batches);
  loss /= N;
  check(test, near(loss, expected, LOSS_BOUND), "loss under dropout %.9g, expected %.9g", loss, expected);
  ZeroNorm norm = zero_norm(m.engine);
  check(test, !norm.overflow && norm.norm > 0.0, "gradient norm under dropout %g", norm.norm);
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    char name[NAME_LENGTH];
    check_gradient(test, &m, "gpt2_dropout", (GPT2Tensor)t,
                   fixture_f32(f, record(name, "", "grad", (GPT2Tensor)t), NULL));
  }
  zero_skip(m.engine);

  // Evaluation drops nothing.
  float *logits = (float *)allocate(N * m.config.vocab_size, sizeof(float));
  loss = forward(&m, batches, inputs, targets, B, T, logits) / N;
  expected = fixture_f64(f, "plain_loss", NULL)[0];
  check(test, near(loss, expected, LOSS_BOUND), "loss without dropout %.9g, expected %.9g", loss, expected);
  zero_free(logits);
  micro_batches_destroy(batches);
  gpt2_destroy(&m);
  fixture_close(f);
}

// ---------------------------------------------------------------- llm.c's debug state

enum { DEBUG_MAGIC = 20240327, DEBUG_VERSION = 2, HEADER_INTS = 256 };

static void read_exactly(FILE *file, const char *path, void *out, size_t count, size_t size) {
  if (fread(out, size, count, file) != count) {
    zero_fatal("%s: expected %zu more values of %zu bytes, the file ends", path, count, size);
  }
}

// One training run on one batch against known losses, loss i being that before update i.
static void check_losses(Test *test, const char *path, const Batch *batch, const ZeroConfig *zero,
                         const double *losses, double bound, const char *setting) {
  GPT2 m;
  size_t N = batch->B * batch->T;
  open_model(test, &m, path, batch->B, batch->T, zero);
  MicroBatches *batches = new_batches(test, batch->B, batch->T, 1);
  for (int step = 0; step < LLMC_STEPS; step++) {
    zero_micro_begin(m.engine, 0, 1);
    double loss = 0.0;
    forward_backward(&m, batches, batch->inputs, batch->targets, batch->B, batch->T, N, &loss);
    micro_batches_finish(batches);
    loss /= (double)N;
    zero_step(m.engine, STEP_LR);
    int ok = bound == LLMC_BOUND ? fabs(loss - losses[step]) <= bound : near(loss, losses[step], bound);
    check(test, ok, "%s, %s: loss %d is %.9g, expected %.9g", batch->name, setting, step, loss, losses[step]);
  }
  micro_batches_destroy(batches);
  gpt2_destroy(&m);
}

static void check_debug_state(Test *test, const char *model_path, const char *state_path, const double *losses,
                              const double *losses_clip, double bound) {
  GPT2Config c;
  ZeroErrors errors = {NULL, 0};
  GPT2Bin *bin = gpt2_bin_open(model_path, &c, &errors);
  zero_errors_check(&errors, test->comm);
  gpt2_bin_close(bin);
  FILE *file = fopen(state_path, "rb");
  if (!file) zero_fatal("%s: cannot be opened", state_path);
  int header[HEADER_INTS];
  read_exactly(file, state_path, header, HEADER_INTS, sizeof(int));
  if (header[0] != DEBUG_MAGIC || header[1] != DEBUG_VERSION) {
    zero_fatal("%s: magic %d version %d, expected %d version %d", state_path, header[0], header[1], DEBUG_MAGIC,
               DEBUG_VERSION);
  }
  Batch batch;
  batch.name = model_path;
  batch.B = (size_t)header[2];
  batch.T = (size_t)header[3];
  size_t N = batch.B * batch.T;
  int *inputs = (int *)allocate(N, sizeof(int)), *targets = (int *)allocate(N, sizeof(int));
  float *logits = (float *)allocate(N * c.vocab_size, sizeof(float)), loss;
  float *gradients = (float *)allocate(gpt2_num_parameters(&c), sizeof(float));
  read_exactly(file, state_path, inputs, N, sizeof(int));
  read_exactly(file, state_path, targets, N, sizeof(int));
  read_exactly(file, state_path, logits, N * c.vocab_size, sizeof(float));
  read_exactly(file, state_path, &loss, 1, sizeof(float));
  read_exactly(file, state_path, gradients, gpt2_num_parameters(&c), sizeof(float));
  fclose(file);
  batch.inputs = inputs;
  batch.targets = targets;
  batch.logits = logits;
  batch.loss = (double)loss;
  size_t at = 0;
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    batch.gradients[t] = gradients + at;
    at += layers_of(&c, (GPT2Tensor)t) * count_of(&c, (GPT2Tensor)t);
  }
  // llm.c's real file was made in fp32 on another machine: its own bounds are wider than ours.
  if (bound < LLMC_BOUND) check_batch_results(test, model_path, &batch);

  ZeroConfig zero = base_config(test);
  zero.beta2 = 0.999;
  zero.weight_decay = 0.01;
  zero.decay_all = 1;
  zero.clip = 0.0;
  check_losses(test, model_path, &batch, &zero, losses, bound, "decay on every tensor");
  zero = base_config(test);
  check_losses(test, model_path, &batch, &zero, losses_clip, bound, "clipped");
  zero_free(inputs);
  zero_free(targets);
  zero_free(logits);
  zero_free(gradients);
}

static void check_llmc(Test *test) {
  static const double losses[LLMC_STEPS] = {5.270007, 4.059707, 3.375123, 2.800783, 2.315382,
                                            1.849029, 1.394656, 0.999147, 0.624080, 0.376511};
  static const double losses_clip[LLMC_STEPS] = {5.270009, 4.060681, 3.320085, 2.717550, 2.181066,
                                                 1.653923, 1.168050, 0.736873, 0.401021, 0.187493};
  const char *model = "gpt2_124M.bin", *state = "gpt2_124M_debug_state.bin";
  if (access(model, R_OK) == 0 && access(state, R_OK) == 0) {
    check_debug_state(test, model, state, losses, losses_clip, LLMC_BOUND);
  } else {
    test->skipped++;
    printf("SKIPPED llm.c's published losses: %s and %s are not here\n", model, state);
  }
  Fixture *f = fixture_open("dev/fixtures/gpt2_tiny.fixture");
  check_debug_state(test, "dev/fixtures/gpt2_tiny.bin", "dev/fixtures/gpt2_tiny_debug_state.bin",
                    fixture_f64(f, "losses", NULL), fixture_f64(f, "losses_clip", NULL), LOSS_BOUND);
  fixture_close(f);
}

// ---------------------------------------------------------------- initial weights

static void check_init(Test *test) {
  GPT2 m;
  GPT2Config c;
  ZeroErrors errors = {NULL, 0};
  ZeroConfig zero = base_config(test);
  gpt2_config_parse("L=2,H=2,C=64,T=32,V=100", &c, &errors);
  zero_errors_check(&errors, test->comm);
  gpt2_create(&m, &c, 1, c.max_seq_len, test->recompute, &zero, test->comm, test->device);
  gpt2_init(&m, 1);
  size_t count = count_of(&c, GPT2_FCPROJW);
  float *values = (float *)allocate(count, sizeof(float));
  read_tensor(&m, ZERO_MASTER, GPT2_FCPROJW, 1, values);
  if (test->comm->rank == 0) {
    double std = l2(values, count) / sqrt((double)count), expected = 0.02 / sqrt(2.0 * 2.0);
    // The standard error of a standard deviation is 1/sqrt(2 n) of it; five of them.
    check(test, near(std, expected, 5.0 / sqrt(2.0 * (double)count)), "std of fcprojw %.5g, expected %.5g", std,
          expected);
  }
  read_tensor(&m, ZERO_MASTER, GPT2_WTE, 0, values);
  if (test->comm->rank == 0) {
    size_t real = c.vocab_size * c.channels;
    check(test, l2(values, real) > 0.0, "wte is 0");
    check(test, l2(values + real, count_of(&c, GPT2_WTE) - real) == 0.0, "the padding of wte is not 0");
  }
  zero_free(values);
  gpt2_destroy(&m);
}

int main(int argc, char **argv) {
  Test test;
  memset(&test, 0, sizeof test);
  test.stage = argc > 1 ? atoi(argv[1]) : 0;
  test.recompute = argc > 2 ? atoi(argv[2]) : RECOMPUTE_GELU;
  test.steps = 1;
  test.comm = zero_comm_create(NULL);
  test.device = open_device(test.comm);
  check_fixture(&test, "gpt2_a", 2, 16);
  check_fixture(&test, "gpt2_b", 2, 13);
  check_init(&test);
  if (test.comm->size == 1) check_dropout(&test, "dev/fixtures/gpt2_a.bin");
  if (test.comm->size == 1) check_llmc(&test);
  int failed = total_failures(&test);
  if (test.comm->rank == 0) printf("%d passed, %d failed, %d skipped\n", test.passed, failed, test.skipped);
  zero_comm_destroy(test.comm);
  zero_device_destroy(test.device);
  return failed ? 1 : 0;
}
