// AdamW: Adam (Kingma & Ba, arXiv 1412.6980, algorithm 1) with decoupled weight decay (Loshchilov & Hutter,
// arXiv 1711.05101, algorithm 2). Written as torch.optim.AdamW writes it:
//   w   = w * (1 - lr * decay)
//   m   = m + (1 - beta1) * (g - m)
//   v   = beta2 * v + (1 - beta2) * g * g
//   w  -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// Plain Adam's L2 penalty, for those who ask for it, adds decay * w to g instead of the first line.
#include "optimizer.h"

#include <math.h>

ZeroAdamWFactors zero_adamw_factors(const ZeroAdamW *step) {
  int correct = !step->no_bias_correction;
  double correction1 = correct ? 1.0 - pow(step->beta1, (double)step->step) : 1.0;
  double correction2 = correct ? 1.0 - pow(step->beta2, (double)step->step) : 1.0;
  return (ZeroAdamWFactors){.grad_scale = (float)step->grad_scale,
                            .one_minus_beta1 = (float)(1.0 - step->beta1),
                            .beta2 = (float)step->beta2,
                            .one_minus_beta2 = (float)(1.0 - step->beta2),
                            .rate = (float)(step->lr / correction1),
                            .root = (float)(1.0 / sqrt(correction2)),
                            .eps = (float)step->eps,
                            .l2 = step->l2 ? (float)step->weight_decay : 0.0f,
                            .keep_decay = step->l2 ? 1.0f : (float)(1.0 - step->lr * step->weight_decay)};
}

void zero_adamw_piece(const ZeroAdamWFactors *factors, float *restrict master, float *restrict exp_avg,
                      float *restrict exp_avg_sq, const float *restrict grad, size_t count, int decay) {
  const ZeroAdamWFactors f = *factors;
  float keep = decay ? f.keep_decay : 1.0f, l2 = decay ? f.l2 : 0.0f;
#pragma omp simd
  for (size_t i = 0; i < count; i++) {
    float g = grad[i] * f.grad_scale + l2 * master[i];
    float m = exp_avg[i] + f.one_minus_beta1 * (g - exp_avg[i]);
    float v = f.beta2 * exp_avg_sq[i] + f.one_minus_beta2 * (g * g);
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    master[i] = keep * master[i] - f.rate * m / (sqrtf(v) * f.root + f.eps);
  }
}
