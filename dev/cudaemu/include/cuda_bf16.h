// Stands in for CUDA's header of this name: see ../README.md.
#ifndef CUDAEMU_CUDA_BF16_H
#define CUDAEMU_CUDA_BF16_H

#include "cuda_runtime.h"
#include "cudaemu/half_types.h"

CUDAEMU_HALF_TYPE(__nv_bfloat16, __nv_bfloat162, bfloat16, bfloat162)
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

#endif
