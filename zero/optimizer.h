// AdamW on a run of elements, on the CPU.
#ifndef ZERO_OPTIMIZER_H
#define ZERO_OPTIMIZER_H

#include <stddef.h>

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

// What one step needs, worked out once in double and then rounded.
typedef struct {
  float grad_scale;
  float one_minus_beta1, beta2, one_minus_beta2;
  float rate; // lr / (1 - beta1^step)
  float root; // 1 / sqrt(1 - beta2^step)
  float eps;
  float l2;         // weight decay that goes into the gradient, 0 with AdamW
  float keep_decay; // 1 - lr * weight_decay
} ZeroAdamWFactors;
ZeroAdamWFactors zero_adamw_factors(const ZeroAdamW *);

// Elementwise: each element's result depends on its own values alone. fp32 throughout.
void zero_adamw_piece(const ZeroAdamWFactors *, float *master, float *exp_avg, float *exp_avg_sq, const float *grad,
                      size_t count, int decay);

#ifdef __cplusplus
}
#endif
#endif
