// The device that a program was built for. The choice is made where the program itself is compiled, by nvcc or for
// the CPU: the C files beside it are the same objects in both.
#ifndef LLMC_OPEN_DEVICE_H
#define LLMC_OPEN_DEVICE_H

#include "../zero/device.h"
#include "options.h"

#if defined(ZERO_CUDA) && !defined(ZERO_CUDA_EMULATOR)
#define OPEN_DEVICE_KIND OPTIONS_GPU
#else
#define OPEN_DEVICE_KIND OPTIONS_CPU
#endif

// As zero_device_cuda: collective, and ends all ranks where there is no GPU.
static inline ZeroDevice *open_device(struct ZeroComm *comm) {
#ifdef ZERO_CUDA
  return zero_device_cuda(comm);
#else
  (void)comm;
  return zero_device_cpu();
#endif
}

#endif
