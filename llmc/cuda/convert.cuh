// Sums of products in fp32 that become a gradient of a half type.
#ifndef LLMC_CUDA_CONVERT_CUH
#define LLMC_CUDA_CONVERT_CUH

#include "types.cuh"

// grad[i] = sums[i] or, where it accumulates, grad[i] + sums[i], rounded to its type once.
void round_sums(OpsGrad grad, const float *sums, size_t count, ZeroStream stream);

#endif
