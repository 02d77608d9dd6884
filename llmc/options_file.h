// A configuration file's values where the command line has none: built-in < file < flag.
#ifndef LLMC_OPTIONS_FILE_H
#define LLMC_OPTIONS_FILE_H

#include "../zero/config_file.h"
#include "../zero/zero.h"
#include "options.h"
#include "schedulers.h"

#ifdef __cplusplus
extern "C" {
#endif

// Takes over what the file gives and no flag does: stage, dtype, deterministic, stochastic rounding, clipping, steps
// per line and, where it has the block, the whole optimizer. A file that enables neither fp16 nor bf16 means fp32;
// "auto" leaves the program's value. Not the batch (zero_batch_infer) and the schedule (below).
void options_apply_file(Options *options, const OptionTable *table, const ZeroConfigFile *file);

// The engine's configuration: the options (after options_apply_file) and what the file alone can say.
void options_zero_config(const Options *options, const ZeroConfigFile *file, ZeroConfig *config);

// 1 and *schedule, if the file has a scheduler block and none of -k, -u and -q was given; else 0. lr: the run's
// learning rate, of which WarmupCosineLR takes shares and which is "auto"'s highest rate; total: steps of the run,
// which is "auto"'s total_num_steps.
int schedule_from_file(const ZeroConfigFile *file, const OptionTable *table, double lr, size_t total,
                       Schedule *schedule);

#ifdef __cplusplus
}
#endif
#endif
