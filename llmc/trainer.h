// A trainer's program, whatever the model is: the start, the loop around the steps with schedule, update, step lines,
// main.log, checkpoints, validation and samples when they are due, the stop on a signal, the export and the end.
// What the model is and computes comes in as calls.
#ifndef LLMC_TRAINER_H
#define LLMC_TRAINER_H

#include <stddef.h>

#include "../zero/zero.h"
#include "logger.h"
#include "run_checkpoint.h"
#include "setup.h"

#ifdef __cplusplus
extern "C" {
#endif

// Side of the square products that are timed for the peak. On the emulator a large one takes seconds and says
// nothing.
#ifdef ZERO_CUDA_EMULATOR
enum { TRAINER_PEAK_SIDE = 32 };
#else
enum { TRAINER_PEAK_SIDE = 1024 };
#endif

// What the micro-batches of one step of all ranks together came to.
typedef struct {
  double loss;   // mean over the targets of the global batch
  double tokens; // that were seen
  double flops;  // floating-point operations of forward and backward, by the model's formula
} TrainerWork;

typedef struct TrainerModel TrainerModel;

typedef struct {
  Setup setup;
  ZeroDevice *device;
  ZeroEngine *engine; // the model's
  const TrainerModel *model;
  void *run;         // what the model's calls are called with
  Logger *log;       // rank 0 with -o, else NULL
  double peak_flops; // FLOP/s of the matrix multiply, all ranks together
  Progress progress;
  int resumed; // from a checkpoint
} Trainer;

// The product of a (rows, inputs) and an (inputs, outputs) matrix.
typedef struct {
  size_t rows, inputs, outputs;
} TrainerProduct;

// The model's part. Its calls are made with `run`, by all ranks alike unless they say otherwise.
struct TrainerModel {
  // The program.
  const char *name, *about; // as --help has them: what it is called, what it does in a sentence
  OptionsTrainer options;
  OptionsDevice device_kind;                  // OPEN_DEVICE_KIND
  size_t peak_side;                           // TRAINER_PEAK_SIDE
  ZeroDevice *(*open_device)(ZeroComm *comm); // open_device

  // The start, in this order.
  void (*check)(void *run,
                ZeroErrors *errors); // opens and checks the model, and calls setup_check_…; errors is empty
  void (*create)(void *run);         // makes the engine, trainer->engine
  void (*print)(const void *run);    // on the main rank: what is trained, setup_print included
  void (*fill)(void *run);           // gives the engine its weights
  TrainerProduct (*largest_product)(const void *run);

  // Forward and backward of a step's micro-batches; steps count from 0.
  TrainerWork (*forward_backward)(void *run, size_t step);
  // Prints and logs the validation loss after `step` steps.
  void (*validate)(void *run, size_t step);
  void (*sample)(void *run);               // NULL: this model draws no samples
  double (*data_seconds)(const void *run); // that reading the training data took so far

  // The model as files.
  WriteModel *write_checkpoint;                              // its files of a checkpoint; its ctx is `run`
  void (*make_export)(const char *path, ZeroErrors *errors); // --export, on the main rank before training
  // Writes it there after training. Returns 0, or on the main rank -1 and the reason in `problem`.
  int (*write_export)(void *run, const char *path, char *problem, size_t problem_bytes);

  void (*end)(void *run); // frees what check and create made
};

int trainer_main_rank(const Trainer *); // the one that prints

// The whole program, from its arguments to its exit code. trainer: zero-initialised, a part of *run.
int trainer_program(const TrainerModel *, Trainer *, void *run, int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
