// Stands in for CUDA's header of this name: see ../README.md.
#ifndef CUDAEMU_CUDA_FP16_H
#define CUDAEMU_CUDA_FP16_H

#include "cuda_runtime.h"
#include "cudaemu/half_types.h"

CUDAEMU_HALF_TYPE(__half, __half2, half, half2)
typedef __half half;
typedef __half2 half2;

#endif
