// BERT training with ZeRO, on one rank or many: masked-LM pretraining, with next-sentence prediction or without, and
// fine-tuning to classes or numbers. Read it from top to bottom: one training step, validation, the start, files,
// main.
//
// The model is llmc/bert_model.h, the loop around the steps llmc/trainer.h, the sharding zero/zero.h. It is written
// in the common subset of C and C++, so that one source serves the CPU and nvcc.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmc/bert_export.h"
#include "llmc/bert_find_texts.h"
#include "llmc/bert_model.h"
#include "llmc/bert_weights.h"
#include "llmc/metrics.h"
#include "llmc/open_device.h"
#include "llmc/predictions.h"
#include "llmc/trainer.h"
#include "zero/zero.h"

typedef struct {
  Trainer trainer;
  BertConfig config;
  Bert model;
  BertWeights *weights; // of the folder that -e names, until the engine has them; else NULL
  BertAbout about;      // dropout and names of the classes, for the folder that is written
  BertVocab vocab;      // the tokenizer's, for the same; without words: there is none
  BertBatches *train, *val;
  BertLoss *losses; // (micro_steps) of this rank's micro-batches
  double *figures;  // (FIGURES, micro_steps) of the same
  int no_targets;   // a step without any masked token was said
} Run;

// What is known of a micro-batch, summed over all ranks in global order.
enum { MASKED_LOSS, LABEL_LOSS, TARGETS, SAMPLES, TOKENS, FLOPS, MASKED_RIGHT, FIGURES };

static int main_rank(const Run *r) {
  return trainer_main_rank(&r->trainer);
}

static int predicts_masked(const Run *r) {
  return r->config.num_labels == 0;
}

static const BertVocab *vocabulary(const Run *r) {
  return r->vocab.words.count > 0 ? &r->vocab : NULL;
}

static BertBatchShape batch_shape(const Run *r) {
  const Setup *s = &r->trainer.setup;
  const BertBatchShape shape = {s->B, s->T, (int)s->options.packed, predicts_masked(r), s->options.mask_probability};
  return shape;
}

// ----------------------------------------------------------------------------
// A training step

// Forward and backward: 6 for each weight and row that meet, 12 C for each pair of
// positions of a sample; the head at the masked rows alone. Look-ups of embeddings cost none.
static double batch_flops(const Run *r, const BertBatch *batch) {
  const BertConfig *c = &r->config;
  const double C = (double)c->channels, block = 4.0 * C * C + 2.0 * C * (double)c->hidden, L = (double)c->num_layers;
  double pairs = 0.0;
  for (size_t b = 0; b < batch->real; b++) pairs += (double)batch->parts.lengths[b] * (double)batch->parts.lengths[b];
  double flops = 6.0 * L * block * (double)batch->tokens_used + 12.0 * L * C * pairs;
  if (predicts_masked(r)) flops += 6.0 * (C * C + C * (double)c->vocab_size) * (double)batch->targets;
  return flops;
}

// values: (FIGURES, n), this rank's column k.
static void note_batch(const Run *r, double *values, size_t n, size_t k, const BertBatch *batch) {
  values[TARGETS * n + k] = (double)batch->targets;
  values[SAMPLES * n + k] = (double)batch->real;
  values[TOKENS * n + k] = (double)batch->tokens_used;
  values[FLOPS * n + k] = batch_flops(r, batch);
  values[MASKED_RIGHT * n + k] = 0.0;
}

static void note_loss(double *values, size_t n, size_t k, BertLoss loss) {
  values[MASKED_LOSS * n + k] = loss.masked;
  values[LABEL_LOSS * n + k] = loss.labels;
}

// Of nothing: 0.
static double mean(double sum, double count) {
  return count > 0.0 ? sum / count : 0.0;
}

// The mean over the masked tokens plus, where labels are predicted, the mean over the samples. sums: (FIGURES), of
// all ranks.
static double mean_loss(const Run *r, const double *sums) {
  double loss = 0.0;
  if (predicts_masked(r)) loss += mean(sums[MASKED_LOSS], sums[TARGETS]);
  if (!predicts_masked(r) || r->config.nsp) loss += mean(sums[LABEL_LOSS], sums[SAMPLES]);
  return loss;
}

// Texts of special tokens alone have nothing that could be masked. Said once, however many steps there are.
static void note_no_targets(Run *r, size_t step) {
  if (main_rank(r) && !r->no_targets) {
    printf("note: no sample of step %zu has a token that can be masked: it counts as a masked loss of 0\n", step + 1);
  }
  r->no_targets = 1;
}

// micro_steps micro-batches of every rank. Global micro-batch k * ranks + rank takes its samples from the step's
// share of the data. How many tokens are masked in the whole global batch must be known before the first backward.
static TrainerWork forward_backward(void *run, size_t step) {
  Run *r = (Run *)run;
  const Setup *s = &r->trainer.setup;
  const size_t ranks = (size_t)s->comm->size, n = s->micro_steps,
               first = s->options.overfit ? 0 : step * s->sequences;
  BertCounts counts = {0, s->sequences};
  if (predicts_masked(r)) {
    for (size_t k = 0; k < n; k++) {
      const size_t in_step = (k * ranks + (size_t)s->comm->rank) * s->B;
      r->figures[TARGETS * n + k] = (double)bert_batches_train_targets(r->train, first + in_step);
    }
    counts.targets = (size_t)zero_sum_ordered(r->model.engine, r->figures + TARGETS * n, (int)n);
  }
  for (size_t k = 0; k < n; k++) {
    const size_t in_step = (k * ranks + (size_t)s->comm->rank) * s->B;
    const BertBatch *batch = bert_batches_train(r->train, first + in_step, in_step);
    zero_micro_begin(r->model.engine, (int)k, k + 1 == n);
    note_batch(r, r->figures, n, k, batch);
    bert_forward_backward(&r->model, batch, counts, step, &r->losses[k]);
  }
  bert_finish(&r->model);
  for (size_t k = 0; k < n; k++) note_loss(r->figures, n, k, r->losses[k]);
  double sums[FIGURES];
  zero_sums_ordered(r->model.engine, r->figures, FIGURES, (int)n, sums);
  if (predicts_masked(r) && counts.targets == 0) note_no_targets(r, step);
  TrainerWork work;
  work.loss = mean_loss(r, sums);
  work.tokens = sums[TOKENS];
  work.flops = sums[FLOPS];
  return work;
}

// ----------------------------------------------------------------------------
// Validation, in file order. All ranks run the same number of micro-batches; samples past the end count for nothing.

static void add_predictions(const Run *r, Predictions *predictions, const BertBatch *batch, const BertOutputs *out) {
  for (size_t b = 0; b < batch->real; b++) {
    if (r->config.num_labels == 1) {
      predictions_add(predictions, batch->numbers[b], (double)out->label_logits[b], (double)batch->label_values[b]);
    } else {
      predictions_add(predictions, batch->numbers[b], (double)out->label_best[b], (double)batch->label_classes[b]);
    }
  }
}

static double count_right(const BertBatch *batch, const int *best) {
  double right = 0.0;
  for (size_t i = 0; i < batch->M; i++) {
    right += batch->masked_targets[i] != OPS_IGNORE && batch->masked_targets[i] == best[i];
  }
  return right;
}

static void print_labels(const Run *r, const Predictions *predictions, size_t samples) {
  const double *predicted = predictions_predicted(predictions), *labels = predictions_labels(predictions);
  const double percent = 100.0;
  if (r->config.num_labels == 1) {
    const MetricsRegression m = metrics_regression(predicted, labels, samples);
    printf(" | Pearson %.4f | Spearman %.4f", m.pearson, m.spearman);
    return;
  }
  const size_t classes = r->config.nsp ? (size_t)BERT_NSP_LABELS : r->config.num_labels;
  const MetricsClasses m = metrics_classes(predicted, labels, samples, classes);
  printf(" | %s %.2f %% | F1 %.4f | Matthews %.4f", r->config.nsp ? "next sentence right" : "accuracy",
         percent * m.accuracy, m.f1, m.matthews);
}

static void validate(void *run, size_t step) {
  Run *r = (Run *)run;
  const Setup *s = &r->trainer.setup;
  const SetupValidation of = setup_validation(s);
  const size_t ranks = (size_t)s->comm->size, samples = of.sequences, rounds = of.rounds;
  const int labels = !predicts_masked(r) || r->config.nsp;
  double *values = (double *)zero_malloc(FIGURES * rounds * sizeof(double), ZERO_MEM_OTHER); // (FIGURES, rounds)
  const size_t masked = bert_batch_max_masked(&r->model.shape);
  int *best = (int *)zero_malloc((masked + s->B) * sizeof(int), ZERO_MEM_OTHER); // (M), (B)
  float *numbers = (float *)zero_malloc(s->B * sizeof(float), ZERO_MEM_OTHER);
  BertOutputs out = {NULL, NULL, NULL, NULL, NULL};
  if (predicts_masked(r)) out.masked_best = best;
  if (labels && r->config.num_labels == 1) out.label_logits = numbers;
  if (labels && r->config.num_labels != 1) out.label_best = best + masked;
  Predictions *predictions = labels ? predictions_create(samples) : NULL;
  for (size_t k = 0; k < rounds; k++) {
    const BertBatch *batch = bert_batches_validate(r->val, (k * ranks + (size_t)s->comm->rank) * s->B, samples);
    note_batch(r, values, rounds, k, batch);
    note_loss(values, rounds, k, bert_forward(&r->model, batch, &out));
    if (predicts_masked(r)) values[MASKED_RIGHT * rounds + k] = count_right(batch, best);
    if (labels) add_predictions(r, predictions, batch, &out);
  }
  double sums[FIGURES];
  zero_sums_ordered(r->model.engine, values, FIGURES, (int)rounds, sums);
  const double loss = mean_loss(r, sums);
  if (labels) predictions_gather(predictions, s->comm);
  if (main_rank(r)) {
    const double percent = 100.0;
    printf("val loss %.6f", loss);
    if (predicts_masked(r) && sums[TARGETS] > 0.0) {
      printf(" | masked right %.2f %% | perplexity %.2f", percent * sums[MASKED_RIGHT] / sums[TARGETS],
             metrics_perplexity(sums[MASKED_LOSS] / sums[TARGETS]));
    } else if (predicts_masked(r)) {
      printf(" | no token that can be masked");
    }
    if (labels) print_labels(r, predictions, samples);
    printf(" | %zu samples\n", samples);
    fflush(stdout);
    logger_val(r->trainer.log, step, loss);
  }
  if (labels) predictions_free(predictions);
  zero_free(numbers);
  zero_free(best);
  zero_free(values);
}

static double data_seconds(const void *run) {
  return sample_loader_seconds(((const Run *)run)->trainer.setup.train_samples);
}

// ----------------------------------------------------------------------------
// Start-up: every problem is collected before anything is written.

static size_t checkpoint_bytes(const Run *r) {
  const size_t state = 3 * sizeof(float); // weights and moments
  return bert_num_parameters(&r->config) * (state + zero_type_size(r->trainer.setup.zero.type));
}

// Dropout as the flags say, else as the folder does; before the classifier as elsewhere where neither says.
static void settle_dropout(Run *r, const BertAbout *folder) {
  Setup *s = &r->trainer.setup;
  Options *o = &s->options;
  const int classifier = options_given(&s->table, "--classifier-dropout");
  if (folder) {
    if (!options_given(&s->table, "--dropout")) o->dropout = folder->dropout.hidden;
    if (!options_given(&s->table, "--attention-dropout")) o->attention_dropout = folder->dropout.attention;
  }
  if (!classifier) {
    const double rate = folder ? folder->dropout.classifier : BERT_DROPOUT_AS_HIDDEN;
    o->classifier_dropout = rate < 0.0 ? o->dropout : rate;
  }
  r->about.dropout.hidden = o->dropout;
  r->about.dropout.attention = o->attention_dropout;
  r->about.dropout.classifier = o->classifier_dropout;
}

// How many classes: as the samples have them or, where none are read, as the folder names them.
static void settle_labels(Run *r, ZeroErrors *errors) {
  const Setup *s = &r->trainer.setup;
  r->config.num_labels = setup_samples_info(s).num_labels;
  if (r->config.num_labels > 0) return;
  if (r->weights) r->config.num_labels = bert_weights_about(r->weights)->labels.count;
  if (r->config.num_labels > 0) return;
  zero_errors_add(errors, "--task classify: neither samples nor -e %s say how many classes there are; give -i or -j",
                  s->options.model);
}

// Do rows and token types of the batches fit the program and the model?
static void check_batches(const Run *r, ZeroErrors *errors) {
  const Setup *s = &r->trainer.setup;
  const Options *o = &s->options;
  const struct {
    const char *flag, *path;
    const SampleLoader *loader;
  } splits[] = {{"-i", o->train, s->train_samples}, {"-j", o->val, s->val_samples}};
  const BertBatchShape shape = batch_shape(r);
  if (!bert_batch_fits(&shape)) {
    zero_errors_add(errors, "-b: %zu samples of %zu tokens are more rows than can be numbered; give a smaller -b",
                    s->B, s->T);
  }
  for (size_t i = 0; i < sizeof splits / sizeof splits[0] && r->config.type_vocab < 2; i++) {
    if (!splits[i].loader || !sample_loader_info(splits[i].loader).two_texts) continue;
    zero_errors_add(
        errors,
        "%s %s: has samples of two texts, but -e %s knows one type of token (type_vocab_size); give samples "
        "of one text, or another model",
        splits[i].flag, splits[i].path, o->model);
  }
}

static void find_texts(Run *r, ZeroErrors *errors) {
  const Setup *s = &r->trainer.setup;
  const BertSources sources = {s->train_samples, s->val_samples, r->weights};
  bert_find_vocab(&sources, &r->config, &r->vocab, errors);
  bert_find_labels(&sources, &r->config, &r->about.labels, errors);
}

static void check_run(void *run, ZeroErrors *errors) {
  Run *r = (Run *)run;
  Setup *s = &r->trainer.setup;
  const Options *o = &s->options;
  r->weights = bert_weights_open(o->model, &r->config, errors);
  const int model_errors = errors->count;
  setup_check_config(s, errors);
  if (o->recompute == RECOMPUTE_LAYERNORM) {
    zero_errors_add(
        errors, "-r: found 2, but a BERT's blocks hand on what their LayerNorms give; use 1, or 3 for whole blocks");
  }
  if (errors->count == 0) { // a batch from a broken file, data for a broken model would only confuse
    setup_check_batch(s, r->config.max_positions, errors);
    setup_check_samples(s, r->config.vocab_size, errors);
  }
  if (errors->count == 0) {
    if (strcmp(o->task, "classify") == 0) settle_labels(r, errors);
    r->config.nsp = (int)o->nsp;
    if (r->weights) bert_weights_choose(r->weights, &r->config, errors);
    settle_dropout(r, r->weights ? bert_weights_about(r->weights) : NULL);
    check_batches(r, errors);
    find_texts(r, errors);
  }
  setup_check_output(s, model_errors == 0 ? checkpoint_bytes(r) : 0, errors);
  if (errors->count == 0 && o->export_to) bert_export_check(o->export_to, errors);
}

static void print_run(const void *run) {
  const Run *r = (const Run *)run;
  const Setup *s = &r->trainer.setup;
  const BertConfig *c = &r->config;
  const BertDropoutRates *d = &r->about.dropout;
  setup_print_run(s);
  printf("model: %s | L %zu H %zu C %zu T %zu V %zu (padded to %zu) | %zu parameters\n", s->options.model,
         c->num_layers, c->num_heads, c->channels, c->max_positions, c->vocab_size, c->padded_vocab_size,
         bert_num_parameters(c));
  printf("task: ");
  if (predicts_masked(r)) {
    printf("masked tokens, %g of all%s", s->options.mask_probability, c->nsp ? ", and next sentences" : "");
  } else if (c->num_labels == 1) {
    printf("a number");
  } else {
    printf("%zu classes", c->num_labels);
  }
  printf(" | %s | dropout %g, attention %g", s->options.packed ? "packed" : "padded", d->hidden, d->attention);
  if (!predicts_masked(r)) printf(", classifier %g", d->classifier);
  printf("\n");
  setup_print_recompute(s, r->model.activation_bytes, r->model.without_recompute);
  setup_print(s, c->vocab_size);
  char note[BERT_NOTE_BYTES];
  for (int kind = 0; r->weights && kind < BERT_NUM_NOTES; kind++) {
    if (*bert_weights_note(r->weights, (BertNote)kind, note)) printf("note: -e %s: %s\n", s->options.model, note);
  }
  if (!vocabulary(r) && (s->options.checkpoint_every > 0 || s->options.export_to)) {
    printf("note: no vocabulary, neither PREFIX" BERT_BESIDE_VOCAB " beside PREFIX_train.bin nor " BERT_VOCAB_FILE
           " in -e %s: what is written has no " BERT_VOCAB_FILE "\n",
           s->options.model);
  }
  fflush(stdout);
}

// A tensor of the folder, or new values where it has none.
static void weights_or_new(void *ctx, BertTensor t, size_t layer, size_t first, size_t count, float *out) {
  const Run *r = (const Run *)ctx;
  if (bert_weights_has(r->weights, t)) {
    bert_weights_read(r->weights, t, layer, first, count, out);
  } else {
    bert_initial(&r->config, (uint64_t)r->trainer.setup.options.seed, t, layer, first, count, out);
  }
}

// ----------------------------------------------------------------------------
// The model as files

static void read_for_file(void *ctx, BertTensor t, size_t layer, float *out) {
  bert_read((Bert *)ctx, ZERO_MASTER, t, layer, out);
}

// A checkpoint has what an export has: transformers loads its folder, and so does -e.
static int write_checkpoint(void *run, const char *folder, char *problem, size_t problem_bytes) {
  Run *r = (Run *)run;
  const BertHFResult result = bert_hf_write(folder, "", &r->config, &r->about, vocabulary(r), r->model.type,
                                            read_for_file, &r->model, problem, problem_bytes);
  return result == BERT_HF_WRITTEN ? 0 : -1;
}

static int write_export(void *run, const char *path, char *problem, size_t problem_bytes) {
  Run *r = (Run *)run;
  return bert_export(path, main_rank(r), &r->config, &r->about, vocabulary(r), r->model.type, read_for_file,
                     &r->model, problem, problem_bytes);
}

// ----------------------------------------------------------------------------
// The program

static void create_run(void *run) {
  Run *r = (Run *)run;
  Trainer *t = &r->trainer;
  const Setup *s = &t->setup;
  const Options *o = &s->options;
  const BertBatchShape shape = batch_shape(r);
  const BertDropout dropout = {(float)o->dropout, (float)o->attention_dropout, (float)o->classifier_dropout,
                               (uint64_t)o->seed};
  if (s->train_samples) r->train = bert_batches_create(s->train_samples, shape);
  if (s->val_samples) r->val = bert_batches_create(s->val_samples, shape);
  r->figures = (double *)zero_malloc(FIGURES * s->micro_steps * sizeof(double), ZERO_MEM_OTHER);
  r->losses = (BertLoss *)zero_malloc(s->micro_steps * sizeof(BertLoss), ZERO_MEM_OTHER);
  bert_create(&r->model, &r->config, &shape, s->micro_steps, &dropout, (int)o->recompute, &s->zero, s->comm,
              t->device);
  t->engine = r->model.engine;
}

static void fill_run(void *run) {
  Run *r = (Run *)run;
  if (r->weights) {
    bert_load(&r->model, weights_or_new, r);
    bert_weights_close(r->weights);
  } else {
    bert_init(&r->model, (uint64_t)r->trainer.setup.options.seed);
  }
}

static TrainerProduct largest_product(const void *run) {
  const Run *r = (const Run *)run;
  const TrainerProduct product = {r->model.shape.B * r->model.shape.T, r->config.channels, r->config.hidden};
  return product;
}

static void end_run(void *run) {
  Run *r = (Run *)run;
  bert_destroy(&r->model);
  bert_batches_free(r->train);
  bert_batches_free(r->val);
  bert_lines_free(&r->about.labels);
  bert_vocab_free(&r->vocab);
  zero_free(r->figures);
  zero_free(r->losses);
}

int main(int argc, char **argv) {
  TrainerModel bert;
  memset(&bert, 0, sizeof bert);
  bert.name = "train_bert";
  bert.about = "trains a BERT with ZeRO.";
  bert.options = OPTIONS_BERT;
  bert.device_kind = OPEN_DEVICE_KIND;
  bert.peak_side = TRAINER_PEAK_SIDE;
  bert.open_device = open_device;
  bert.check = check_run;
  bert.create = create_run;
  bert.print = print_run;
  bert.fill = fill_run;
  bert.largest_product = largest_product;
  bert.forward_backward = forward_backward;
  bert.validate = validate;
  bert.data_seconds = data_seconds;
  bert.write_checkpoint = write_checkpoint;
  bert.make_export = bert_export_make;
  bert.write_export = write_export;
  bert.end = end_run;
  Run run;
  memset(&run, 0, sizeof run);
  return trainer_program(&bert, &run.trainer, &run, argc, argv);
}
