// The loss scale of fp16 training: static, or dynamic by DeepSpeed's rules.
//
// Backward runs with the scale; the step unscales with that same scale and only then updates it. (DeepSpeed
// updates first, so that every growth step of its halves the gradients.)
#ifndef ZERO_LOSS_SCALER_H
#define ZERO_LOSS_SCALER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZERO_MAX_LOSS_SCALE_POWER 127.0 // 2^127 is the largest power of two in fp32
#define ZERO_MAX_LOSS_SCALE 0x1p127

typedef struct {
  double scale;               // a constant scale; 0: dynamic
  int initial_power;          // dynamic: starts at 2^initial_power
  size_t window;              // steps without overflow after which the scale doubles
  int hysteresis;             // the overflow that halves the scale: 2 puts up with one
  int consecutive_hysteresis; // 1: a step without overflow refills the hysteresis
  double min_scale;           // the scale never falls below
} ZeroLossScaling;

typedef struct {
  ZeroLossScaling rules;
  double scale;
  size_t iteration;   // updates so far
  long last_overflow; // iteration of the last overflow, -1 before the first
  int hysteresis_left;
} ZeroLossScaler;

void zero_loss_scaler_init(ZeroLossScaler *, const ZeroLossScaling *);
// After every attempted step. Returns 0, or -1 when an overflow came at the smallest scale: training cannot go on.
int zero_loss_scaler_update(ZeroLossScaler *, int overflow);

#ifdef __cplusplus
}
#endif
#endif
