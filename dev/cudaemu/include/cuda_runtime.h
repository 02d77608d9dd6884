// Stands in for CUDA's header of this name: see ../README.md.
#ifndef CUDAEMU_CUDA_RUNTIME_H
#define CUDAEMU_CUDA_RUNTIME_H

#ifndef ZERO_CUDA_EMULATOR
#error "the emulator's headers need -DZERO_CUDA_EMULATOR"
#endif

#include "cudaemu/atomic.h"
#include "cudaemu/launch.h"
#include "cudaemu/math.h"
#include "cudaemu/memory_access.h"
#include "cudaemu/mma.h"
#include "cudaemu/qualifiers.h"
#include "cudaemu/runtime_api.h"
#include "cudaemu/thread.h"
#include "cudaemu/vector_types.h"
#include "cudaemu/warp.h"

#endif
