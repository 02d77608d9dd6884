// LAUNCH, SHARED, DYN_SMEM and CUDA_CHECK, which the operations share with the plug-in's own kernels.
#ifndef LLMC_CUDA_LAUNCH_H
#define LLMC_CUDA_LAUNCH_H

#include "../../zero/cuda_launch.h"

#endif
