// The trainers' command line: their options, defaults and the one table that gives parser and help.
#ifndef LLMC_OPTIONS_H
#define LLMC_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "flags.h"
#include "recompute.h"

#ifdef __cplusplus
extern "C" {
#endif

// Where `make demo` puts its text: the data of a run that names none.
#define DEMO_TRAIN "data/demo_train.bin"
#define DEMO_VAL "data/demo_val.bin"
#define DEMO_TOKENIZER "data/demo_tokenizer.bin"

// Whose command line it is: what only the other trainer knows is no flag here.
typedef enum { OPTIONS_GPT2, OPTIONS_BERT } OptionsTrainer;
// What the program was built for, which some defaults depend on. The emulator counts as a CPU.
typedef enum { OPTIONS_CPU, OPTIONS_GPU } OptionsDevice;

typedef struct {
  const char *train, *val, *model, *out, *tokenizer, *schedule, *dtype, *config, *export_to;
  int64_t micro_batch;          // sequences
  int64_t seq_len, total_batch; // tokens; -1: not given
  int64_t steps;                // -1: one epoch
  int64_t warmup, val_every, val_batches, sample_every, sample_tokens;
  int64_t checkpoint_every, keep_last, keep_every, resume, overfit, verify_data;
  int64_t recompute;           // RECOMPUTE_…
  double skip_loss, skip_norm; // z-scores; 0: off
  int64_t stage, seed, threads, deterministic, stochastic_rounding, hash_every, log_every;
  const char *init, *server, *folder;            // how ranks find each other, by name and where; NULL: not given
  int64_t processes, process_rank, gpus_of_node; // 0, -1, 0: not given
  double lr, final_fraction, weight_decay, beta1, beta2, eps, clip;
  double dropout, attention_dropout;
  // BERT's alone
  const char *task;          // "mlm" or "classify"
  int64_t nsp, packed;       // 0 or 1
  double classifier_dropout; // below 0: as dropout
  double mask_probability;
  int help, version;
} Options;

enum { OPTIONS_MAX_FLAGS = 80 };
typedef struct {
  Flag flags[OPTIONS_MAX_FLAGS];
  int given[OPTIONS_MAX_FLAGS]; // 1: was on the command line
  size_t count;
} OptionTable;

// Fills in the defaults and the table, whose targets are the fields of *options.
void options_init(Options *options, OptionTable *table, OptionsTrainer trainer, OptionsDevice device);
// Was the flag of this name on the command line?
int options_given(const OptionTable *table, const char *name);

#ifdef __cplusplus
}
#endif
#endif
