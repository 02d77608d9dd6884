// Whole arrays between fp32 and a half type.
#ifndef LLMC_CPU_CONVERT_H
#define LLMC_CPU_CONVERT_H

#include "../ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// out[i] = data[i] in fp32, which is exact. The two do not overlap.
void convert_to_f32(float *out, const void *data, size_t count, ZeroType type);

// grad[i] = sums[i] or, where it accumulates, grad[i] + sums[i], rounded to its type once.
void round_sums(OpsGrad grad, const float *sums, size_t count);

#ifdef __cplusplus
}
#endif
#endif
