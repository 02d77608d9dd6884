// What a run was asked to do: command line, configuration file, batch, data and output folder, checked before
// anything is written.
//
// The checks add to one list of errors, so that a user sees all problems at once. A trainer calls, on all ranks:
//   setup_parse, then, if there is no error yet, its model's own checks and the setup_check_… below, then
//   zero_errors_check; then setup_finish, its model's engine, which may still be refused, setup_make_output and, at
//   the end, setup_free.
#ifndef LLMC_SETUP_H
#define LLMC_SETUP_H

#include <stddef.h>

#include "../zero/config_file.h"
#include "../zero/zero.h"
#include "dataloader.h"
#include "options.h"
#include "sample_loader.h"
#include "schedulers.h"
#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  Options options; // after setup_check_config: with the configuration file's values where no flag was given
  OptionTable table;
  ZeroConfigFile file; // as an empty one without --config
  ZeroConfig zero;
  ZeroComm *comm;
  int threads;
  double core_share;  // part of a core that a thread has, below 1 where ranks have more threads than there are cores
  size_t B, T;        // sequences and tokens of a micro-batch
  size_t micro_steps; // per step
  size_t sequences;   // of a global batch
  size_t steps;
  DataLoader *train, *val;                   // of setup_check_data; val NULL: no validation
  SampleLoader *train_samples, *val_samples; // of setup_check_samples, likewise
  Tokenizer *tokenizer;                      // or NULL
  Schedule schedule;
} Setup;

// Is this the rank that prints and writes files?
int setup_main_rank(const Setup *);

// Reads the command line, settles the threads (which may execute the program once more) and connects the ranks.
void setup_parse(Setup *, OptionsTrainer trainer, OptionsDevice, int argc, char **argv, ZeroErrors *errors);
// Prints what --help or --version asks for, on rank 0. program: its name; about: what it does, in a sentence.
// Returns 1 if one of them was given.
int setup_help(const Setup *, const char *program, const char *about);
// Prints what the command line has that is accepted without effect, on rank 0.
void setup_print_notices(Setup *, int argc, char **argv);

void setup_check_config(Setup *, ZeroErrors *errors);
// longest: the sequence length that the model has positions for, in tokens.
void setup_check_batch(Setup *, size_t longest, ZeroErrors *errors);
// Opens data and tokenizer. After setup_check_batch. vocab: tokens that the model knows.
void setup_check_data(Setup *, size_t vocab, ZeroErrors *errors);
// The same for a trainer whose data are samples, and whether they have what --task and --nsp need.
void setup_check_samples(Setup *, size_t vocab, ZeroErrors *errors);
// What the samples have in common, of -i or else of -j; zeros without both. num_labels is the classifier's size.
SamplesInfo setup_samples_info(const Setup *);
// Windows or samples; 0 where there is none.
size_t setup_train_sequences(const Setup *);
size_t setup_val_sequences(const Setup *);
// What a validation takes by -m: the first `sequences` of the split, in `rounds` micro-batches of every rank. What is
// past the end in the last round counts for nothing.
typedef struct {
  size_t sequences, rounds;
} SetupValidation;
SetupValidation setup_validation(const Setup *);
// Can -o be written to, and does its disk have room for a checkpoint of so many bytes, where -n asks for some?
void setup_check_output(const Setup *, size_t checkpoint_bytes, ZeroErrors *errors);

// Collective. Creates the output folder and tries to write in it; where that fails all ranks end with exit code 1 and
// nothing is left behind.
void setup_make_output(const Setup *);
// Steps and schedule of the run, for which the data has to be open. Collective: ranks whose data or flags differ end
// with exit code 1.
void setup_finish(Setup *);
// The first line of a run: ranks, types and batch. After zero_initialize, which may choose another transport.
void setup_print_run(const Setup *);
// What -r saves; of the activations: bytes that they take, and that they would take with RECOMPUTE_NONE.
void setup_print_recompute(const Setup *, size_t bytes, size_t without);
// The lines of data and optimizer that a run begins with. vocab: tokens that the model knows.
void setup_print(const Setup *, size_t vocab);
void setup_free(Setup *);

#ifdef __cplusplus
}
#endif
#endif
