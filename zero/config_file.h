// DeepSpeed's configuration file: what its keys mean here, read into one plain struct.
//
// Every value is DeepSpeed's default until the file gives the key; `state` tells which of the two it is, so that a
// program can let its own defaults or its command line stand where the file says nothing or "auto".
#ifndef ZERO_CONFIG_FILE_H
#define ZERO_CONFIG_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "device.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

// ZERO_KEY_AUTO: "auto", the word with which the Hugging Face Trainer fills in its own arguments.
typedef enum { ZERO_KEY_ABSENT, ZERO_KEY_AUTO, ZERO_KEY_GIVEN } ZeroKeyState;
typedef struct {
  ZeroKeyState state;
  int64_t value; // true is 1, false 0
} ZeroFileInt;
typedef struct {
  ZeroKeyState state;
  double value;
} ZeroFileNumber;
typedef struct {
  ZeroKeyState state;
  ZeroType value;
} ZeroFileType;
typedef struct {
  ZeroKeyState state;
  double value[2];
} ZeroFilePair;

typedef struct {
  ZeroFileInt enabled;
  ZeroFileNumber loss_scale; // 0: dynamic
  ZeroFileInt initial_scale_power;
  ZeroFileInt loss_scale_window;
  ZeroFileInt hysteresis;
  ZeroFileInt consecutive_hysteresis;
  ZeroFileNumber min_loss_scale;
} ZeroFileFp16;

typedef struct {
  int given;               // 1: the file has the block
  int one_bit;             // 1: a 1-bit type; these are errors, and one more at stages 2 and 3
  int adam;                // 1: type Adam, 0: AdamW
  ZeroFileInt adam_w_mode; // of type Adam: false adds decay * weight to the gradient (L2); AdamW ignores it
  ZeroFileNumber lr;
  ZeroFilePair betas;
  ZeroFileNumber eps;
  ZeroFileNumber weight_decay;
  ZeroFileInt bias_correction;
} ZeroFileOptimizer;

typedef enum {
  ZERO_SCHEDULER_NONE,
  ZERO_SCHEDULER_WARMUP,
  ZERO_SCHEDULER_WARMUP_DECAY,
  ZERO_SCHEDULER_WARMUP_COSINE,
  ZERO_SCHEDULER_LR_RANGE_TEST,
  ZERO_SCHEDULER_ONE_CYCLE
} ZeroSchedulerType;

// Only the parameters of its type are read; the others keep their defaults.
typedef struct {
  ZeroSchedulerType type; // NONE: the file has no scheduler block
  // WarmupLR, WarmupDecayLR, WarmupCosineLR
  ZeroFileNumber warmup_min_lr, warmup_max_lr;
  ZeroFileInt warmup_num_steps, total_num_steps;
  ZeroFileInt warmup_linear; // warmup_type: 1 "linear", 0 "log"
  ZeroFileNumber warmup_min_ratio, cos_min_ratio;
  // LRRangeTest
  ZeroFileNumber range_min_lr, range_step_rate;
  ZeroFileInt range_step_size, range_staircase;
  // OneCycle
  ZeroFileNumber cycle_min_lr, cycle_max_lr, decay_lr_rate;
  ZeroFileInt cycle_first_step_size, cycle_second_step_size, decay_step_size; // second: as the first if absent
  ZeroFileInt cycle_momentum;
  ZeroFileNumber cycle_min_mom, cycle_max_mom, decay_mom_rate;
} ZeroFileScheduler;

typedef struct {
  char *warning; // one line for the user that lists the keys without effect here, or NULL
  ZeroFileInt train_batch_size, train_micro_batch_size_per_gpu, gradient_accumulation_steps;
  ZeroFileInt stage;         // of zero_optimization
  ZeroFileInt deterministic; // keys of ours
  ZeroFileInt stochastic_rounding;
  ZeroFileInt steps_per_print;
  ZeroFileNumber gradient_clipping;
  ZeroFileType communication_data_type, grad_accum_dtype; // no default: the program's choice if absent
  ZeroFileFp16 fp16;
  ZeroFileInt bf16; // bf16.enabled
  ZeroFileOptimizer optimizer;
  ZeroFileScheduler scheduler;
  int activation_checkpointing; // 1: the file has the block
  // Not honoured yet; kept for zero_config_file_check.
  ZeroFileInt elastic_checkpoint;
  ZeroFileNumber offload_optimizer_ratio;
  int offload_param; // 1: the file asks for it
} ZeroConfigFile;

// As a file that holds nothing.
void zero_config_file_default(ZeroConfigFile *);

// Reads the file into *out. All that is wrong with it becomes an error, at once: broken JSON with line and column,
// duplicate and unknown keys, wrong types and ranges by key. Comments (#, // and /* */) are skipped. Returns 0, or
// -1 if errors were added. *out can be used either way and is to be freed by zero_config_file_free.
int zero_config_file_read(const char *path, ZeroConfigFile *out, ZeroErrors *errors);
// The same for a text of `bytes` bytes that is called `name` in messages.
int zero_config_text_read(const char *name, const char *text, size_t bytes, ZeroConfigFile *out, ZeroErrors *errors);
void zero_config_file_free(ZeroConfigFile *);

// What the file asks for and the stage that the run really takes cannot have together. name: for messages.
void zero_config_file_check(const char *name, const ZeroConfigFile *, int stage, ZeroErrors *errors);

// The compute type that the file decides on: fp16 or bf16 where one is enabled, fp32 where neither is. *automatic is
// set to 1 if "auto" leaves the choice to the program instead.
ZeroType zero_config_file_type(const ZeroConfigFile *, int *automatic);

#ifdef __cplusplus
}
#endif
#endif
