// Random numbers that depend on a key and a counter alone (zero/philox.h), so that
// any rank can make any part of the initial weights; and llm.c's xorshift for sampling.
#ifndef LLMC_RANDOM_H
#define LLMC_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// out[i] = std * normal number of element first + i of tensor `tensor` under `seed` (Box-Muller in double);
// the same value however the range is cut.
void random_normal(uint64_t seed, uint32_t tensor, size_t first, size_t count, float std, float *out);

// xorshift* of llm.c's sampler: a float in [0, 1).
float random_uniform(uint64_t *state);

#ifdef __cplusplus
}
#endif
#endif
