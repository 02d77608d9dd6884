// The engine's configuration: defaults and checks.
#include <math.h>

#include "zero.h"

void zero_config_default(ZeroConfig *config) {
  *config = (ZeroConfig){.stage = 0,
                         .type = ZERO_F32,
                         .wire = ZERO_F32,
                         .accumulate = ZERO_F32,
                         .deterministic = 1,
                         .beta1 = 0.9,
                         .beta2 = 0.95,
                         .eps = 1e-8,
                         .weight_decay = 0.0,
                         .decay_all = 0,
                         .clip = 1.0,
                         .stochastic_rounding = 0,
                         .seed = 0,
                         .loss_scaling = {.scale = 0.0,
                                          .initial_power = 16,
                                          .window = 1000,
                                          .hysteresis = 2,
                                          .consecutive_hysteresis = 0,
                                          .min_scale = 1.0}};
}

static void check_range(ZeroErrors *errors, const char *key, double value, double min, double max) {
  if (!(value >= min && value <= max)) {
    zero_errors_add(errors, "%s: found %g, expected a number from %g to %g", key, value, min, max);
  }
}

void zero_config_check(const ZeroConfig *config, ZeroErrors *errors) {
  const double just_below_one = 1.0 - 1e-9, large = 1e30;
  if (config->stage < 0 || config->stage > 3) {
    zero_errors_add(errors, "ZeRO stage: found %d, expected 0, 1, 2 or 3", config->stage);
  }
  if (config->deterministic != 0 && config->deterministic != 1) {
    zero_errors_add(errors, "deterministic: found %d, expected 0 or 1", config->deterministic);
  }
  if (config->stochastic_rounding != 0 && config->stochastic_rounding != 1) {
    zero_errors_add(errors, "stochastic rounding: found %d, expected 0 or 1", config->stochastic_rounding);
  }
  const ZeroLossScaling *scaling = &config->loss_scaling;
  if (config->type == ZERO_F16) {
    check_range(errors, "loss scale", scaling->scale, 0.0, ZERO_MAX_LOSS_SCALE);
    check_range(errors, "initial scale power", scaling->initial_power, 0.0, ZERO_MAX_LOSS_SCALE_POWER);
    check_range(errors, "loss scale window", (double)scaling->window, 1.0, large);
    check_range(errors, "hysteresis", scaling->hysteresis, 1.0, large);
    check_range(errors, "smallest loss scale", scaling->min_scale, 0.0, ZERO_MAX_LOSS_SCALE);
  }
  check_range(errors, "beta1", config->beta1, 0.0, just_below_one);
  check_range(errors, "beta2", config->beta2, 0.0, just_below_one);
  check_range(errors, "eps", config->eps, 0.0, 1.0);
  check_range(errors, "weight decay", config->weight_decay, 0.0, large);
  check_range(errors, "clip", config->clip, 0.0, large);
}
