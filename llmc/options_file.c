// A configuration file's values where the command line has none: built-in < file < flag.
#include "options_file.h"

#include <string.h>

// Does the file decide on this value? Blocks bring DeepSpeed's defaults for the keys that they leave out; of keys
// without a block only those that are there count.
static int file_decides(const OptionTable *table, const char *flag, ZeroKeyState state, int block) {
  return !options_given(table, flag) && (block ? state != ZERO_KEY_AUTO : state == ZERO_KEY_GIVEN);
}

static void apply_int(int64_t *option, const OptionTable *table, const char *flag, const ZeroFileInt *key) {
  if (file_decides(table, flag, key->state, 0)) *option = key->value;
}

static void apply_optimizer(Options *o, const OptionTable *table, const ZeroFileOptimizer *file) {
  if (!file->given) return;
  if (file_decides(table, "-l", file->lr.state, 1)) o->lr = file->lr.value;
  if (file_decides(table, "--beta1", file->betas.state, 1)) o->beta1 = file->betas.value[0];
  if (file_decides(table, "--beta2", file->betas.state, 1)) o->beta2 = file->betas.value[1];
  if (file_decides(table, "--eps", file->eps.state, 1)) o->eps = file->eps.value;
  if (file_decides(table, "-c", file->weight_decay.state, 1)) o->weight_decay = file->weight_decay.value;
}

void options_apply_file(Options *o, const OptionTable *table, const ZeroConfigFile *file) {
  apply_int(&o->stage, table, "-z", &file->stage);
  apply_int(&o->deterministic, table, "--deterministic", &file->deterministic);
  apply_int(&o->stochastic_rounding, table, "--stochastic-rounding", &file->stochastic_rounding);
  apply_int(&o->log_every, table, "--log-every", &file->steps_per_print);
  if (file->activation_checkpointing && !options_given(table, "-r")) o->recompute = RECOMPUTE_BLOCK;
  if (file_decides(table, "--clip", file->gradient_clipping.state, 0)) o->clip = file->gradient_clipping.value;
  int automatic = 0;
  const ZeroType type = zero_config_file_type(file, &automatic);
  if (!automatic && !options_given(table, "--dtype")) o->dtype = zero_type_name(type);
  apply_optimizer(o, table, &file->optimizer);
}

static ZeroType parse_type(const char *name) {
  return strcmp(name, "bf16") == 0 ? ZERO_BF16 : strcmp(name, "fp16") == 0 ? ZERO_F16 : ZERO_F32;
}

void options_zero_config(const Options *o, const ZeroConfigFile *file, ZeroConfig *config) {
  zero_config_default(config);
  config->stage = (int)o->stage;
  config->type = config->wire = parse_type(o->dtype);
  if (file->communication_data_type.state == ZERO_KEY_GIVEN) config->wire = file->communication_data_type.value;
  if (file->grad_accum_dtype.state == ZERO_KEY_GIVEN) config->accumulate = file->grad_accum_dtype.value;
  config->deterministic = (int)o->deterministic;
  config->stochastic_rounding = (int)o->stochastic_rounding;
  config->seed = (uint64_t)o->seed;
  config->beta1 = o->beta1;
  config->beta2 = o->beta2;
  config->eps = o->eps;
  config->weight_decay = o->weight_decay;
  config->clip = o->clip;
  config->l2 = file->optimizer.given && file->optimizer.adam && !file->optimizer.adam_w_mode.value;
  config->no_bias_correction = file->optimizer.given && !file->optimizer.bias_correction.value;
  const ZeroFileFp16 *fp16 = &file->fp16; // DeepSpeed's defaults, which are ours, where the file says nothing
  config->loss_scaling = (ZeroLossScaling){.scale = fp16->loss_scale.value,
                                           .initial_power = (int)fp16->initial_scale_power.value,
                                           .window = (size_t)fp16->loss_scale_window.value,
                                           .hysteresis = (int)fp16->hysteresis.value,
                                           .consecutive_hysteresis = (int)fp16->consecutive_hysteresis.value,
                                           .min_scale = fp16->min_loss_scale.value};
}

int schedule_from_file(const ZeroConfigFile *file, const OptionTable *table, double lr, size_t total,
                       Schedule *schedule) {
  static const ScheduleKind kinds[] = {
      [ZERO_SCHEDULER_WARMUP] = SCHEDULE_WARMUP,
      [ZERO_SCHEDULER_WARMUP_DECAY] = SCHEDULE_WARMUP_DECAY,
      [ZERO_SCHEDULER_WARMUP_COSINE] = SCHEDULE_WARMUP_COSINE,
      [ZERO_SCHEDULER_LR_RANGE_TEST] = SCHEDULE_RANGE_TEST,
      [ZERO_SCHEDULER_ONE_CYCLE] = SCHEDULE_ONE_CYCLE,
  };
  const ZeroFileScheduler *f = &file->scheduler;
  if (f->type == ZERO_SCHEDULER_NONE) return 0;
  if (options_given(table, "-k") || options_given(table, "-u") || options_given(table, "-q")) return 0;
  memset(schedule, 0, sizeof *schedule);
  schedule->kind = kinds[f->type];
  schedule->lr = lr;
  schedule->total = f->total_num_steps.state == ZERO_KEY_GIVEN ? (size_t)f->total_num_steps.value : total;
  schedule->warmup = f->warmup_num_steps.state == ZERO_KEY_AUTO ? 0 : (size_t)f->warmup_num_steps.value;
  schedule->linear_warmup = (int)f->warmup_linear.value;
  switch (f->type) {
    case ZERO_SCHEDULER_NONE:
      break;
    case ZERO_SCHEDULER_WARMUP:
    case ZERO_SCHEDULER_WARMUP_DECAY:
      schedule->min_lr = f->warmup_min_lr.state == ZERO_KEY_AUTO ? 0.0 : f->warmup_min_lr.value;
      if (f->warmup_max_lr.state != ZERO_KEY_AUTO) schedule->lr = f->warmup_max_lr.value;
      break;
    case ZERO_SCHEDULER_WARMUP_COSINE:
      schedule->min_lr = lr * f->warmup_min_ratio.value;
      schedule->final_fraction = f->cos_min_ratio.value;
      break;
    case ZERO_SCHEDULER_LR_RANGE_TEST:
      schedule->min_lr = f->range_min_lr.value;
      schedule->range.rate = f->range_step_rate.value;
      schedule->range.size = (size_t)f->range_step_size.value;
      schedule->range.staircase = (int)f->range_staircase.value;
      break;
    case ZERO_SCHEDULER_ONE_CYCLE: {
      const ZeroFileInt *second = &f->cycle_second_step_size, *first = &f->cycle_first_step_size;
      schedule->min_lr = f->cycle_min_lr.value;
      schedule->lr = f->cycle_max_lr.value;
      schedule->cycle.first = (size_t)first->value;
      schedule->cycle.second = (size_t)(second->state == ZERO_KEY_GIVEN ? second->value : first->value);
      schedule->cycle.decay_interval = (size_t)f->decay_step_size.value;
      schedule->cycle.lr_decay = f->decay_lr_rate.value;
      schedule->cycle.beta1_decay = f->decay_mom_rate.value;
      schedule->cycle.momentum = (int)f->cycle_momentum.value;
      schedule->cycle.min_beta1 = f->cycle_min_mom.value;
      schedule->cycle.max_beta1 = f->cycle_max_mom.value;
      break;
    }
  }
  return 1;
}
