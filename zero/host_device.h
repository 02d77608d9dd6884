// Marks small functions that the host and a GPU's kernels share, so that both compute the same bits.
#ifndef ZERO_HOST_DEVICE_H
#define ZERO_HOST_DEVICE_H

#ifdef __CUDACC__
#define ZERO_HOST_DEVICE __host__ __device__
#else
#define ZERO_HOST_DEVICE
#endif

#endif
