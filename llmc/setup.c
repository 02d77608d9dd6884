// From the command line to a run that can start.
#include "setup.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../zero/batch.h"
#include "dropout.h"
#include "flags_agree.h"
#include "launch.h"
#include "ops.h"
#include "options_file.h"
#include "output_dir.h"
#include "start.h"

#define ZERO_C_VERSION "0.1.0"

int setup_main_rank(const Setup *s) {
  return s->comm->rank == 0;
}

// ---------------------------------------------------------------- the command line

void setup_parse(Setup *s, OptionsTrainer trainer, OptionsDevice device, int argc, char **argv, ZeroErrors *errors) {
  memset(s, 0, sizeof *s);
  options_init(&s->options, &s->table, trainer, device);
  flags_parse(s->table.flags, s->table.count, argc, argv, s->table.given, errors, NULL);
  ZeroStart start;
  const int by_hand = start_from_options(&s->options, &s->table, &start, errors);
  s->threads = launch_threads((int)s->options.threads, by_hand ? start_ranks_here(&start) : 1, argv, &s->core_share);
  if (device == OPTIONS_GPU) s->core_share = 1.0; // the cores do not compute
  s->comm = by_hand ? zero_comm_start(NULL, &start) : zero_comm_create(NULL);
  if (!by_hand) start_check_launched(&s->options, &s->table, s->comm, errors);
}

int setup_help(const Setup *s, const char *program, const char *about) {
  const Options *o = &s->options;
  if (!o->help && !o->version) return 0;
  if (setup_main_rank(s) && o->version) printf("%s " ZERO_C_VERSION "\n", program);
  if (setup_main_rank(s) && o->help) {
    printf("%s: %s Flags are pairs; the last of a repeated one counts.\n", program, about);
    flags_help(stdout, s->table.flags, s->table.count);
  }
  return 1;
}

// Parsing is quiet; once the ranks are known the notices can come from one of them, and once.
void setup_print_notices(Setup *s, int argc, char **argv) {
  ZeroErrors none = {NULL, 0};
  if (!setup_main_rank(s)) return;
  flags_parse(s->table.flags, s->table.count, argc, argv, s->table.given, &none, stdout);
}

static void check_dropout(const Options *o, ZeroErrors *errors) {
  const struct {
    const char *flag;
    double rate;
  } rates[] = {{"--dropout", o->dropout},
               {"--attention-dropout", o->attention_dropout},
               {"--classifier-dropout", o->classifier_dropout}};
  for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
    if (rates[i].rate < 0.0 || dropout_rate_is_valid(rates[i].rate)) continue; // below 0: not settled yet
    zero_errors_add(errors, "%s: %g is too small to be told from 0; give 0, or at least %g", rates[i].flag,
                    rates[i].rate, DROPOUT_SMALLEST);
  }
}

void setup_check_config(Setup *s, ZeroErrors *errors) {
  const Options *o = &s->options;
  zero_config_file_default(&s->file);
  if (o->config) {
    zero_config_file_read(o->config, &s->file, errors);
    options_apply_file(&s->options, &s->table, &s->file);
    zero_config_file_check(o->config, &s->file, (int)o->stage, errors);
  }
  options_zero_config(o, &s->file, &s->zero);
  check_dropout(o, errors);
  zero_config_check(&s->zero, errors);
}

// ---------------------------------------------------------------- batch and data

static int64_t given_in_file(const ZeroFileInt *key) {
  return key->state == ZERO_KEY_GIVEN ? key->value : 0;
}

void setup_check_batch(Setup *s, size_t longest, ZeroErrors *errors) {
  const Options *o = &s->options;
  const size_t llmc_longest = 1024;
  const size_t built_in = longest < llmc_longest ? longest : llmc_longest;
  s->T = o->seq_len > 0 ? (size_t)o->seq_len : built_in;
  if (s->T > longest) {
    zero_errors_add(errors, "-t: found %zu, this model has positions for %zu; use -t %zu or a model with a larger T",
                    s->T, longest, longest);
  }
  if (o->val_batches == 0) zero_errors_add(errors, "-m: found 0; give a number from 1, -1 for all, or -v 0 for none");
  if (o->total_batch > 0 && (size_t)o->total_batch % s->T != 0) {
    zero_errors_add(errors, "-d: found %lld tokens, expected a multiple of -t %zu", (long long)o->total_batch, s->T);
    return;
  }
  ZeroBatch file, flags, batch;
  file.train = given_in_file(&s->file.train_batch_size);
  file.micro = given_in_file(&s->file.train_micro_batch_size_per_gpu);
  file.accumulation = given_in_file(&s->file.gradient_accumulation_steps);
  flags.train = o->total_batch > 0 ? o->total_batch / (int64_t)s->T : 0;
  flags.micro = o->micro_batch > 0 ? o->micro_batch : 0;
  flags.accumulation = 0;
  if (zero_batch_infer(file, flags, s->comm->size, &batch, errors) != 0) return;
  if (batch.accumulation > INT_MAX || batch.micro > INT_MAX) {
    zero_errors_add(errors, "-d: %lld sequences in %lld micro-steps of %lld; give a smaller batch",
                    (long long)batch.train, (long long)batch.accumulation, (long long)batch.micro);
    return;
  }
  s->B = (size_t)batch.micro;
  s->micro_steps = (size_t)batch.accumulation;
  s->sequences = (size_t)batch.train;
}

static int file_exists(const char *path) {
  return access(path, F_OK) == 0;
}

size_t setup_train_sequences(const Setup *s) {
  if (s->train_samples) return sample_loader_info(s->train_samples).num_samples;
  return s->train ? dataloader_windows(s->train) : 0;
}

size_t setup_val_sequences(const Setup *s) {
  if (s->val_samples) return sample_loader_info(s->val_samples).num_samples;
  return s->val ? dataloader_windows(s->val) : 0;
}

SetupValidation setup_validation(const Setup *s) {
  const size_t all = setup_val_sequences(s), ranks = (size_t)s->comm->size;
  const int64_t most = s->options.val_batches;
  size_t micro_batches = (all + s->B - 1) / s->B;
  if (most >= 0 && (size_t)most < micro_batches) micro_batches = (size_t)most;
  const size_t sequences = micro_batches * s->B < all ? micro_batches * s->B : all;
  return (SetupValidation){sequences, (micro_batches + ranks - 1) / ranks};
}

// -x 0 evaluates or converts a model
static int is_training(const Setup *s) {
  return options_given(&s->table, "-i") || s->options.steps != 0;
}

// Own training data has no validation data that goes with it by default.
static void settle_val(Setup *s, ZeroErrors *errors) {
  Options *o = &s->options;
  if (!options_given(&s->table, "-i") || options_given(&s->table, "-j")) return;
  if (o->val_every > 0) {
    zero_errors_add(errors, "-j: not given; name the validation data that goes with -i %s, or use -v 0", o->train);
  }
  o->val = NULL;
}

// Of open training data: -x -1 needs an epoch of at least a step.
static void check_epoch(const Setup *s, ZeroErrors *errors) {
  if (s->options.steps >= 0 || setup_train_sequences(s) >= s->sequences) return;
  zero_errors_add(errors, "-x: %s has %zu sequences, one step takes %zu: less than one epoch; give a number of steps",
                  s->options.train, setup_train_sequences(s), s->sequences);
}

void setup_check_data(Setup *s, size_t vocab, ZeroErrors *errors) {
  Options *o = &s->options;
  const int own_data = options_given(&s->table, "-i"), own_val = options_given(&s->table, "-j");
  const int training = is_training(s);
  const int demo_val = !training && !own_val && o->val_every > 0;
  if ((training && !own_data && !file_exists(DEMO_TRAIN)) || (demo_val && !file_exists(DEMO_VAL))) {
    zero_errors_add(errors,
                    "-i: no data: run `make demo` once for the demo's text, or prepare your own with "
                    "`python3 data/prepare_text.py --input FILES --output data/mine` and give it by "
                    "-i data/mine_train.bin -j data/mine_val.bin");
    return;
  }
  settle_val(s, errors);
  if (training) s->train = dataloader_open(o->train, "-i", s->T, vocab, (uint64_t)o->seed, errors);
  if (s->train) check_epoch(s, errors);
  if (o->val_every > 0 && o->val) s->val = dataloader_open(o->val, "-j", s->T, vocab, (uint64_t)o->seed, errors);
  if (!o->tokenizer && !own_data && o->sample_every > 0 && file_exists(DEMO_TOKENIZER)) o->tokenizer = DEMO_TOKENIZER;
  if (o->tokenizer) s->tokenizer = tokenizer_open(o->tokenizer, "--tokenizer", errors);
  if (errors->count > 0 || !o->verify_data) return; // a run that cannot start reads no whole data sets
  if (s->train) dataloader_verify(s->train, "-i", s->comm->node_rank, s->comm->node_size, errors);
  if (s->val) dataloader_verify(s->val, "-j", s->comm->node_rank, s->comm->node_size, errors);
}

// ---------------------------------------------------------------- samples

SamplesInfo setup_samples_info(const Setup *s) {
  const SamplesInfo none = {0};
  const SampleLoader *loader = s->train_samples ? s->train_samples : s->val_samples;
  return loader ? sample_loader_info(loader) : none;
}

// Has one split what the task needs?
static void check_task(const Setup *s, const SampleLoader *loader, const char *flag, const char *path,
                       ZeroErrors *errors) {
  const SamplesInfo info = sample_loader_info(loader);
  const int classify = strcmp(s->options.task, "classify") == 0;
  if (classify && info.num_labels == 0) {
    zero_errors_add(errors,
                    "%s %s: has no labels, --task classify needs them; prepare labelled text, or use --task mlm",
                    flag, path);
  }
  if (!classify && s->options.nsp && !info.pairs) {
    zero_errors_add(errors,
                    "%s %s: has no sentence pairs, --nsp 1 needs them; prepare the text in pairs, or use --nsp 0",
                    flag, path);
  }
}

// Validation's samples come from the same preparation as training's.
static void check_splits(const Setup *s, ZeroErrors *errors) {
  const SamplesInfo train = sample_loader_info(s->train_samples), val = sample_loader_info(s->val_samples);
  if (train.vocab_size == val.vocab_size && train.pad == val.pad && train.cls == val.cls && train.sep == val.sep &&
      train.mask == val.mask && train.num_labels == val.num_labels && train.pairs == val.pairs) {
    return;
  }
  zero_errors_add(errors,
                  "-j %s: %zu classes, pairs %d and a vocabulary of %zu, where -i %s has %zu, %d and %zu, or other "
                  "special tokens; prepare both together",
                  s->options.val, val.num_labels, val.pairs, val.vocab_size, s->options.train, train.num_labels,
                  train.pairs, train.vocab_size);
}

void setup_check_samples(Setup *s, size_t vocab, ZeroErrors *errors) {
  Options *o = &s->options;
  if (strcmp(o->task, "classify") == 0 && o->nsp) {
    zero_errors_add(errors, "--nsp: found 1 with --task classify; it belongs to --task mlm, use --nsp 0");
  }
  if (is_training(s) && !o->train) {
    zero_errors_add(errors, "-i: not given; prepare samples as data/README.md says and give them by -i FILE -j FILE");
    return;
  }
  settle_val(s, errors);
  if (o->train) s->train_samples = sample_loader_open(o->train, "-i", s->T, vocab, (uint64_t)o->seed, errors);
  if (o->val_every > 0 && o->val) {
    s->val_samples = sample_loader_open(o->val, "-j", s->T, vocab, (uint64_t)o->seed, errors);
  }
  if (s->train_samples) {
    check_epoch(s, errors);
    check_task(s, s->train_samples, "-i", o->train, errors);
  }
  if (s->val_samples) check_task(s, s->val_samples, "-j", o->val, errors);
  if (s->train_samples && s->val_samples) check_splits(s, errors);
  if (errors->count > 0 || !o->verify_data) return;
  const int rank = s->comm->node_rank, ranks = s->comm->node_size;
  if (s->train_samples) sample_loader_verify(s->train_samples, "-i", rank, ranks, errors);
  if (s->val_samples) sample_loader_verify(s->val_samples, "-j", rank, ranks, errors);
}

// ---------------------------------------------------------------- the output folder

void setup_check_output(const Setup *s, size_t checkpoint_bytes, ZeroErrors *errors) {
  const Options *o = &s->options;
  if (!o->out && o->checkpoint_every > 0) zero_errors_add(errors, "-n: checkpoints need a folder; give one by -o");
  if (!o->out && o->resume) zero_errors_add(errors, "-y: give the folder of the run by -o");
  if (!o->out) return;
  output_dir_check(o->out, "-o", o->checkpoint_every > 0 ? checkpoint_bytes : 0, "a checkpoint (-n)", errors);
}

void setup_make_output(const Setup *s) {
  ZeroErrors errors = {NULL, 0};
  if (s->options.out && setup_main_rank(s)) output_dir_make(s->options.out, "-o", &errors);
  zero_errors_check(&errors, s->comm);
}

// ---------------------------------------------------------------- the run

// The file's scheduler, or the flags'. s->steps is known.
static void settle_schedule(Setup *s) {
  const Options *o = &s->options;
  if (schedule_from_file(&s->file, &s->table, o->lr, s->steps, &s->schedule)) return;
  s->schedule.lr = o->lr;
  s->schedule.warmup = (size_t)o->warmup;
  s->schedule.total = s->steps;
  s->schedule.final_fraction = o->final_fraction;
  if (schedule_parse(o->schedule, &s->schedule.kind) != 0) zero_fatal("schedule %s is not known", o->schedule);
}

// Flags, and what follows from files, the configuration and the model.
static void check_same_on_all_ranks(const Setup *s) {
  static const char *const own[] = {"--threads", "-pn", "-pr", "-pg", "-o"}; // -o: rank 0 alone writes there
  const Schedule *schedule = &s->schedule;
  const struct {
    const char *what;
    double value;
  } figures[] = {
      {"steps", (double)s->steps},
      {"training sequences", (double)setup_train_sequences(s)},
      {"validation sequences", (double)setup_val_sequences(s)},
      {"sequences of a micro-batch", (double)s->B},
      {"tokens of a sequence", (double)s->T},
      {"as the number of its schedule", (double)schedule->kind},
      {"as the highest learning rate", schedule->lr},
      {"as the lowest learning rate", schedule->min_lr},
      {"as the last fraction of the rate", schedule->final_fraction},
      {"steps of warmup", (double)schedule->warmup},
      {"steps of its schedule", (double)schedule->total},
      {"as linear warmup", (double)schedule->linear_warmup},
      {"as the rate of LRRangeTest", schedule->range.rate},
      {"steps of an interval of LRRangeTest", (double)schedule->range.size},
      {"as staircase of LRRangeTest", (double)schedule->range.staircase},
      {"steps up of OneCycle", (double)schedule->cycle.first},
      {"steps down of OneCycle", (double)schedule->cycle.second},
      {"steps of decay of OneCycle", (double)schedule->cycle.decay_interval},
      {"as the decay of OneCycle's rate", schedule->cycle.lr_decay},
      {"as the decay of OneCycle's momentum", schedule->cycle.beta1_decay},
      {"as cycled momentum of OneCycle", (double)schedule->cycle.momentum},
      {"as the least momentum of OneCycle", schedule->cycle.min_beta1},
      {"as the most momentum of OneCycle", schedule->cycle.max_beta1},
  };
  enum { FIGURES = sizeof figures / sizeof figures[0] };
  const size_t ranks = (size_t)s->comm->size;
  double mine[FIGURES];
  double *all = zero_malloc(ranks * sizeof mine, ZERO_MEM_OTHER); // (ranks, FIGURES)
  for (size_t i = 0; i < FIGURES; i++) mine[i] = figures[i].value;
  zero_comm_gather_each(s->comm, mine, FIGURES, all);
  ZeroErrors errors = {NULL, 0};
  flags_check_same(s->table.flags, s->table.count, own, sizeof own / sizeof own[0], s->comm, &errors);
  for (size_t i = 0; i < FIGURES; i++) {
    if (mine[i] == all[i]) continue;
    zero_errors_add(&errors, "rank %d has %.10g %s, rank 0 has %.10g; give all ranks the same flags and files",
                    s->comm->rank, mine[i], figures[i].what, all[i]);
  }
  zero_free(all);
  zero_errors_check(&errors, s->comm);
}

void setup_finish(Setup *s) {
  const Options *o = &s->options;
  s->steps = o->steps >= 0 ? (size_t)o->steps : setup_train_sequences(s) / s->sequences;
  settle_schedule(s);
  check_same_on_all_ranks(s);
}

static void print_verified(ShardsVerified v, size_t shards, const char *flag) {
  if (v.shards == 0) return;
  printf("data: %s: %zu of %zu shards agree with their checksums, %.1f MB read in %.2f s\n", flag, v.shards, shards,
         (double)v.bytes * 1e-6, v.seconds);
}

static void print_data(const Setup *s) {
  const Options *o = &s->options;
  if (s->train) {
    printf("data: train %s, %zu tokens, %zu windows of %zu | val %s\n", o->train, dataloader_tokens(s->train),
           dataloader_windows(s->train), s->T, s->val ? o->val : "off");
  } else if (s->train_samples) {
    const SamplesInfo info = sample_loader_info(s->train_samples);
    printf("data: train %s, %zu tokens, %zu samples of at most %zu | val %s\n", o->train, info.num_tokens,
           info.num_samples, info.longest, s->val_samples ? o->val : "off");
  } else {
    printf("data: train off | val %s\n", s->val || s->val_samples ? o->val : "off");
  }
  if (s->train) print_verified(dataloader_verified(s->train), dataloader_shards(s->train), "-i");
  if (s->val) print_verified(dataloader_verified(s->val), dataloader_shards(s->val), "-j");
  if (s->train_samples) {
    print_verified(sample_loader_verified(s->train_samples), sample_loader_files(s->train_samples), "-i");
  }
  if (s->val_samples) {
    print_verified(sample_loader_verified(s->val_samples), sample_loader_files(s->val_samples), "-j");
  }
}

void setup_print_run(const Setup *s) {
  printf("run: %d ranks x %d threads | stage %d | comm %s | %s | deterministic %d | batch %zu = %zu x %zu x %d\n",
         s->comm->size, s->threads, s->zero.stage, s->comm->name, zero_type_name(s->zero.type), s->zero.deterministic,
         s->sequences, s->B, s->micro_steps, s->comm->size);
}

void setup_print_recompute(const Setup *s, size_t bytes, size_t without) {
  static const char *const names[] = {"nothing", "GELU", "GELU and LayerNorm", "whole blocks"};
  const double mib = 1048576.0;
  printf("recompute: %s | activations %.2f MiB", names[s->options.recompute], (double)bytes / mib);
  if (without > bytes) printf(", %.2f MiB less than with -r 0", (double)(without - bytes) / mib);
  printf("\n");
}

void setup_print(const Setup *s, size_t vocab) {
  const Options *o = &s->options;
  print_data(s);
  printf(
      "optimizer: %s lr %g betas %g %g eps %g decay %g clip %g | %s, warmup %zu of %zu steps, final %g | seed %lld\n",
      s->zero.l2 ? "Adam" : "AdamW", s->schedule.lr, o->beta1, o->beta2, o->eps, o->weight_decay, o->clip,
      schedule_name(s->schedule.kind), s->schedule.warmup, s->schedule.total, s->schedule.final_fraction,
      (long long)o->seed);
  if (s->zero.stochastic_rounding && s->zero.type == ZERO_F32) {
    printf("note: stochastic rounding has no effect in fp32: the parameters are the master weights\n");
  } else if (s->zero.stochastic_rounding) {
    printf("rounding: %s parameters stochastically, seed %lld\n", zero_type_name(s->zero.type), (long long)o->seed);
  }
  if (s->file.warning) printf("%s\n", s->file.warning);
  if (ops_type_notice(s->zero.type)) printf("note: %s\n", ops_type_notice(s->zero.type));
  if (s->tokenizer && tokenizer_size(s->tokenizer) != vocab) {
    printf("note: tokenizer %s has %zu tokens, the model %zu: ids without text are printed as <id>\n", o->tokenizer,
           tokenizer_size(s->tokenizer), vocab);
  }
}

void setup_free(Setup *s) {
  if (s->train) dataloader_close(s->train);
  if (s->val) dataloader_close(s->val);
  sample_loader_close(s->train_samples);
  sample_loader_close(s->val_samples);
  if (s->tokenizer) tokenizer_close(s->tokenizer);
  zero_config_file_free(&s->file);
}
