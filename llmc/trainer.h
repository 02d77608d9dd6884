// The loop that every trainer runs: schedule, update, step lines, main.log, checkpoints, validation and samples when
// they are due, and the stop on a signal. What a step computes is the model's: it comes in as calls.
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

// The model's part, called with `run`, by all ranks alike.
typedef struct {
  // Forward and backward of a step's micro-batches; steps count from 0.
  TrainerWork (*forward_backward)(void *run, size_t step);
  // Prints and logs the validation loss after `step` steps.
  void (*validate)(void *run, size_t step);
  void (*sample)(void *run);               // NULL: this model draws no samples
  const char *model_file;                  // name of the model in a checkpoint
  WriteModel *write_model;                 // writes it; its ctx is `run`
  double (*data_seconds)(const void *run); // that reading the training data took so far
  void *run;
} TrainerCalls;

typedef struct {
  Setup setup;
  ZeroDevice *device;
  ZeroEngine *engine; // the model's
  TrainerCalls calls;
  Logger *log;       // rank 0 with -o, else NULL
  double peak_flops; // FLOP/s of the matrix multiply, all ranks together
  Progress progress;
  int resumed; // from a checkpoint
} Trainer;

int trainer_main_rank(const Trainer *); // the one that prints

// The start of what a checkpoint keeps, before the engine is there. windows: of the training data.
void trainer_begin(Trainer *, size_t windows);
// With engine, weights and calls in place: resumes where -y asks for it, prints the memory table, measures the peak
// and opens the log. side: TRAINER_PEAK_SIDE; rows, inputs, outputs: of the model's largest matrix multiply, whose
// speed may be the peak.
void trainer_start(Trainer *, size_t side, size_t rows, size_t inputs, size_t outputs);
// All steps up to -x or a signal.
void trainer_run(Trainer *);
// The tables of traffic and memory; closes the log. Before the engine is destroyed.
void trainer_end(Trainer *);

#ifdef __cplusplus
}
#endif
#endif
