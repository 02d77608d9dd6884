// Drawing a token from logits.
#include "sampler.h"

#include <math.h>

int sample_softmax(const float *logits, size_t count, float coin) {
  // The largest logit is taken off first: exp of a raw one may overflow.
  float largest = logits[0];
  for (size_t i = 1; i < count; i++) largest = fmaxf(largest, logits[i]);
  double sum = 0.0;
  for (size_t i = 0; i < count; i++) sum += expf(logits[i] - largest);

  // The coin is scaled rather than every probability divided.
  const double threshold = coin * sum;
  double running = 0.0;
  for (size_t i = 0; i < count; i++) {
    running += expf(logits[i] - largest);
    if (threshold < running) return (int)i;
  }
  return (int)count - 1; // only where the logits are not numbers
}
