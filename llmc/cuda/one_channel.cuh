// Linear layers of one output channel: the head of a regression. A matrix of one row or column is none of cuBLASLt's
// business: it refuses some with a bias (CUBLAS_STATUS_INVALID_VALUE), and such products are bound by bytes anyway.
#ifndef LLMC_CUDA_ONE_CHANNEL_CUH
#define LLMC_CUDA_ONE_CHANNEL_CUH

#include "types.cuh"

// As matmul_forward with OC 1 and without GELU: out (N), inp (N, C), weight (C), bias (1) or NULL.
void one_channel_forward(void *out, const void *inp, const void *weight, const void *bias, size_t N, size_t C,
                         ZeroType type, ZeroStream stream);

// dinp (N, C) = dout (N) times weight (C).
void one_channel_input_gradient(void *dinp, const void *dout, const void *weight, size_t N, size_t C, ZeroType type,
                                ZeroStream stream);

// Bytes of scratch that one_channel_weight_gradient needs.
size_t one_channel_scratch(size_t N, size_t C);

// dweight (C) (+)= the sum of inp's rows (N, C), each times its dout (N): in fp32, in an order that N alone says,
// rounded once.
void one_channel_weight_gradient(OpsGrad dweight, const void *dout, const void *inp, size_t N, size_t C,
                                 ZeroType type, void *scratch, ZeroStream stream);

#endif
