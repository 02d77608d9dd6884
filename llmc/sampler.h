// Drawing a token from logits.
#ifndef LLMC_SAMPLER_H
#define LLMC_SAMPLER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// The token at which the running sum of softmax(logits) passes coin, coin in [0, 1).
int sample_softmax(const float *logits, size_t count, float coin);

#ifdef __cplusplus
}
#endif
#endif
