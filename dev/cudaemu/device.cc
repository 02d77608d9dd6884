// The device that programs find: one of compute capability 8.0 with few multiprocessors, so that work is spread as on
// a GPU but tests stay small.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "block.h"
#include "memory.h"
#include "options.h"
#include "shared.h"
#include "stream.h"

enum {
  MULTIPROCESSORS = 4,
  THREADS_OF_MULTIPROCESSOR = 2048,
  BLOCKS_OF_MULTIPROCESSOR = 32,
  REGISTERS = 65536,
  L2_BYTES = 4 << 20,
  CAPABILITY_MAJOR = 8,
  CAPABILITY_MINOR = 0,
  FIRST_BUS = 1, // of the PCI bus
  VERSION = 12000
};
#define SHARED_OF_MULTIPROCESSOR ((size_t)164 << 10)
#define CONSTANT_BYTES ((size_t)64 << 10)

cudaError_t cudaGetDeviceCount(int *count) {
  if (count == NULL) return cudaemu_error(cudaErrorInvalidValue);
  *count = cudaemu_gpus();
  return cudaSuccess;
}

// A process uses one of the node's devices, whose memory and streams it has for itself: they differ by number alone.
static int current_device;

static bool is_device(int device) {
  return device >= 0 && device < cudaemu_gpus();
}

cudaError_t cudaSetDevice(int device) {
  if (!is_device(device)) return cudaemu_error(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
  if (device == NULL) return cudaemu_error(cudaErrorInvalidValue);
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  if (properties == NULL || !is_device(device)) return cudaemu_error(cudaErrorInvalidValue);
  cudaDeviceProp p = {};
  snprintf(p.name, sizeof(p.name), "CUDA emulator");
  p.totalGlobalMem = cudaemu_memory_bytes();
  p.sharedMemPerBlock = CUDAEMU_STATIC_SHARED_LIMIT;
  p.sharedMemPerBlockOptin = CUDAEMU_OPTIN_SHARED_LIMIT;
  p.sharedMemPerMultiprocessor = SHARED_OF_MULTIPROCESSOR;
  p.totalConstMem = CONSTANT_BYTES;
  p.regsPerBlock = p.regsPerMultiprocessor = REGISTERS;
  p.warpSize = CUDAEMU_LANES;
  p.maxThreadsPerBlock = CUDAEMU_MAX_THREADS;
  p.maxThreadsPerMultiProcessor = THREADS_OF_MULTIPROCESSOR;
  p.maxBlocksPerMultiProcessor = BLOCKS_OF_MULTIPROCESSOR;
  for (int i = 0; i < 3; i++) {
    p.maxThreadsDim[i] = (int)CUDAEMU_BLOCK_LIMITS[i];
    p.maxGridSize[i] = (int)CUDAEMU_GRID_LIMITS[i];
  }
  p.major = CAPABILITY_MAJOR;
  p.minor = CAPABILITY_MINOR;
  p.multiProcessorCount = MULTIPROCESSORS;
  p.l2CacheSize = L2_BYTES;
  p.pciBusID = FIRST_BUS + device;
  p.asyncEngineCount = p.concurrentKernels = p.canMapHostMemory = p.unifiedAddressing = 1;
  *properties = p;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
  if (value == NULL || !is_device(device)) return cudaemu_error(cudaErrorInvalidValue);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = CUDAEMU_MAX_THREADS;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = (int)CUDAEMU_STATIC_SHARED_LIMIT;
      break;
    case cudaDevAttrWarpSize:
      *value = CUDAEMU_LANES;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = MULTIPROCESSORS;
      break;
    case cudaDevAttrL2CacheSize:
      *value = L2_BYTES;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = THREADS_OF_MULTIPROCESSOR;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = CAPABILITY_MAJOR;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = CAPABILITY_MINOR;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = (int)SHARED_OF_MULTIPROCESSOR;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = (int)CUDAEMU_OPTIN_SHARED_LIMIT;
      break;
    default:
      return cudaemu_error(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  enum { GREATEST = -5 }; // as GPUs of today answer
  if (least != NULL) *least = 0;
  if (greatest != NULL) *greatest = GREATEST;
  return cudaSuccess;
}

cudaError_t cudaDeviceReset(void) {
  cudaemu_finish_all();
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
  if (version == NULL) return cudaemu_error(cudaErrorInvalidValue);
  *version = VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
  return cudaDriverGetVersion(version);
}

// Registers, which the compiler would know, are not counted.
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *function, int threads,
                                                          size_t smem) {
  if (blocks == NULL || function == NULL || threads < 1 || threads > CUDAEMU_MAX_THREADS) {
    return cudaemu_error(cudaErrorInvalidValue);
  }
  int fit = std::min((int)BLOCKS_OF_MULTIPROCESSOR, THREADS_OF_MULTIPROCESSOR / threads);
  if (smem > 0) fit = (int)std::min((size_t)fit, SHARED_OF_MULTIPROCESSOR / smem);
  *blocks = fit;
  return cudaSuccess;
}
