// The loss scale of fp16 training: static, or dynamic by DeepSpeed's rules.
#include "loss_scaler.h"

#include <math.h>

static const double FACTOR = 2.0; // by which the scale grows and shrinks

void zero_loss_scaler_init(ZeroLossScaler *scaler, const ZeroLossScaling *rules) {
  scaler->rules = *rules;
  scaler->scale = rules->scale > 0.0 ? rules->scale : ldexp(1.0, rules->initial_power);
  scaler->iteration = 0;
  scaler->last_overflow = -1;
  scaler->hysteresis_left = rules->hysteresis;
}

static int shrink(ZeroLossScaler *scaler) {
  const ZeroLossScaling *rules = &scaler->rules;
  scaler->last_overflow = (long)scaler->iteration;
  if (rules->hysteresis > 1 && scaler->hysteresis_left > 1) {
    scaler->hysteresis_left--;
    return 0;
  }
  if (scaler->scale == rules->min_scale) return -1;
  scaler->scale = fmax(scaler->scale / FACTOR, rules->min_scale);
  return 0;
}

static void grow(ZeroLossScaler *scaler) {
  const ZeroLossScaling *rules = &scaler->rules;
  if (rules->consecutive_hysteresis) scaler->hysteresis_left = rules->hysteresis;
  long since = (long)scaler->iteration - scaler->last_overflow - 1;
  if (since > 0 && since % (long)rules->window == 0) {
    if (!rules->consecutive_hysteresis) scaler->hysteresis_left = rules->hysteresis;
    scaler->scale *= FACTOR;
  }
}

int zero_loss_scaler_update(ZeroLossScaler *scaler, int overflow) {
  int result = 0;
  if (scaler->rules.scale == 0.0) {
    if (overflow) {
      result = shrink(scaler);
    } else {
      grow(scaler);
    }
  }
  scaler->iteration++;
  return result;
}
