// Planted bugs, each in a kernel of its own, and the same kernels without the bug. dev/test/test_cudaemu.sh runs each
// of them in the build and the mode that must find it.
//
//   test_bugs NAME 0|1    runs NAME without (0) or with (1) its bug and prints a checksum of what it computed
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../zero/cuda_launch.h"

enum { THREADS = 64, BLOCKS = 3, LANES = 32, ROUNDS = 3 };
#define ALL_LANES 0xffffffffu

// ---------------------------------------------------------------- barriers
__global__ void missing_barrier(float *out, int bug) {
  SHARED(float, tile, [THREADS]);
  tile[threadIdx.x] = (float)threadIdx.x;
  if (!bug) __syncthreads();
  out[blockIdx.x * THREADS + threadIdx.x] = tile[THREADS - 1 - threadIdx.x];
}

// The next round overwrites what others still read.
__global__ void write_after_read(float *out, int bug) {
  DYN_SMEM(float, tile);
  float sum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    tile[threadIdx.x] = (float)(round * 100 + (int)threadIdx.x);
    __syncthreads();
    sum += tile[(threadIdx.x + 1) % THREADS];
    if (!bug) __syncthreads();
  }
  out[blockIdx.x * THREADS + threadIdx.x] = sum;
}

__device__ float first_of_matrices(const float *row) {
#ifdef ZERO_CUDA_EMULATOR
  uint32_t r[4];
  cudaemu_ldmatrix(r, 4, 0, row);
  return __uint_as_float(r[0]);
#else // the emulator's stand-in for an instruction is what is tested
  return row[0];
#endif
}

// A warp loads as matrices what the other warp has stored.
__global__ void matrices_missing_barrier(float *out, int bug) {
  enum { ROW = 4 }; // 16 bytes
  SHARED(float, tile, [ROW * THREADS]);
  for (int i = 0; i < ROW; i++) tile[ROW * threadIdx.x + i] = (float)(threadIdx.x + i);
  if (!bug) __syncthreads();
  out[blockIdx.x * THREADS + threadIdx.x] = first_of_matrices(tile + ROW * ((threadIdx.x + LANES) % THREADS));
}

// Lanes meet in a shuffle, but it orders no memory.
__global__ void shuffle_as_barrier(float *out, int bug) {
  SHARED(float, tile, [THREADS]);
  tile[threadIdx.x] = (float)threadIdx.x;
  float other = __shfl_xor_sync(ALL_LANES, (float)threadIdx.x, 1);
  if (!bug) __syncwarp();
  out[blockIdx.x * THREADS + threadIdx.x] = other + tile[threadIdx.x ^ 1];
}

__global__ void divergent_barrier(float *out, int bug) {
  if (bug && threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[blockIdx.x * THREADS + threadIdx.x] = 1;
}

// Half of a warp waits for the block, the other half for the warp.
__global__ void deadlock(float *out, int bug) {
  if (bug && threadIdx.x < LANES / 2) {
    __syncthreads();
  } else {
    __syncwarp();
  }
  out[blockIdx.x * THREADS + threadIdx.x] = 1;
}

// ---------------------------------------------------------------- bounds
__global__ void out_of_global(float *out, int bug) {
  float *last = out + BLOCKS * THREADS - 1 + bug;
  if (blockIdx.x == BLOCKS - 1 && threadIdx.x == THREADS - 1)
    *last = 1;
  else
    out[blockIdx.x * THREADS + threadIdx.x] = 1;
}

template <int N>
__global__ void out_of_static(float *out, int bug) {
  SHARED(float, tile, [N]);
  SHARED(float, neighbour, [N]);
  tile[threadIdx.x] = neighbour[threadIdx.x] = 1;
  __syncthreads();
  const float *element = tile; // the compiler no longer knows how many there are
  out[blockIdx.x * THREADS + threadIdx.x] = element[(int)threadIdx.x + bug];
}

__global__ void out_of_dynamic(float *out, int bug) {
  DYN_SMEM(float, tile);
  tile[threadIdx.x] = 1;
  __syncthreads();
  out[blockIdx.x * THREADS + threadIdx.x] = tile[(int)threadIdx.x + bug];
}

__global__ void out_of_local(float *out, int bug) {
  float local[8];
  for (int i = 0; i < 8; i++) local[i] = (float)i;
  __syncthreads();
  volatile float *element = local + ((int)threadIdx.x % 8 == 7 ? 7 + bug : 0);
  out[blockIdx.x * THREADS + threadIdx.x] = *element;
}

// ---------------------------------------------------------------- other memory
__global__ void uninitialised_shared(float *out, int bug) {
  SHARED(float, tile, [THREADS]);
  if (threadIdx.x >= (unsigned)bug) tile[threadIdx.x] = 1;
  __syncthreads();
  out[blockIdx.x * THREADS + threadIdx.x] = tile[(threadIdx.x + 1) % THREADS];
}

__global__ void misaligned(float *out, int bug) {
  float4 *four = reinterpret_cast<float4 *>(out + 4 * (threadIdx.x % 8) + bug);
  if (blockIdx.x == 0 && threadIdx.x < 8) *four = make_float4(1, 2, 3, 4);
}

__global__ void misaligned_hint(float *out, int bug) {
  if (blockIdx.x == 0 && threadIdx.x < 8) {
    __stcs(reinterpret_cast<float4 *>(out + 4 * threadIdx.x + bug), make_float4(1, 2, 3, 4));
  }
}

// ---------------------------------------------------------------- warps
__global__ void lane_not_in_mask(float *out, int bug) {
  unsigned mask = bug ? 0x0000ffffu : ALL_LANES;
  out[blockIdx.x * THREADS + threadIdx.x] = __shfl_xor_sync(mask, (float)threadIdx.x, 1);
}

__global__ void mask_names_ended_lane(float *out, int bug) {
  if (bug && threadIdx.x % LANES >= LANES / 2) return;
  out[blockIdx.x * THREADS + threadIdx.x] = __shfl_xor_sync(ALL_LANES, (float)threadIdx.x, 1);
}

__global__ void read_outside_mask(float *out, int bug) {
  if (threadIdx.x % LANES < LANES / 2) {
    out[blockIdx.x * THREADS + threadIdx.x] = __shfl_xor_sync(0x0000ffffu, (float)threadIdx.x, bug ? 16 : 8);
  }
}

// ---------------------------------------------------------------- order
__global__ void float_atomics(float *out, int bug) {
  if (bug) {
    atomicAdd(out, 0.1f * (float)threadIdx.x);
  } else {
    atomicMax(reinterpret_cast<int *>(out), (int)threadIdx.x);
  }
}

// Between blocks nothing is ordered.
__global__ void race_of_blocks(float *out, int bug) {
  if (threadIdx.x == 0) out[bug ? 0 : blockIdx.x] = (float)blockIdx.x;
}

// The last block sums what all have written; without the fence it may read old values.
__global__ void last_block(float *out, int bug) {
  SHARED(unsigned, ticket, [1]);
  unsigned *counter = reinterpret_cast<unsigned *>(out + BLOCKS * THREADS - 1);
  if (threadIdx.x == 0) {
    out[blockIdx.x] = (float)blockIdx.x + 1;
    if (!bug) __threadfence();
    ticket[0] = atomicAdd(counter, 1u);
  }
  __syncthreads();
  if (ticket[0] == BLOCKS - 1 && threadIdx.x == 0) out[BLOCKS] = out[0] + out[1] + out[2];
}

__global__ void fill(float *out, float value) {
  out[blockIdx.x * THREADS + threadIdx.x] = value;
}

__global__ void copy(float *out, const float *in) {
  out[blockIdx.x * THREADS + threadIdx.x] = in[blockIdx.x * THREADS + threadIdx.x];
}

// ---------------------------------------------------------------- the host's side
static float *out, *side; // (BLOCKS, THREADS) on the device
static cudaStream_t first, second;

static void missing_event(int bug) {
  cudaEvent_t filled;
  CUDA_CHECK(cudaEventCreateWithFlags(&filled, cudaEventDisableTiming));
  LAUNCH(fill, BLOCKS, THREADS, 0, first, side, 5.0f);
  CUDA_CHECK(cudaEventRecord(filled, first));
  if (!bug) CUDA_CHECK(cudaStreamWaitEvent(second, filled, 0));
  LAUNCH(copy, BLOCKS, THREADS, 0, second, out, side);
  CUDA_CHECK(cudaStreamSynchronize(second));
  CUDA_CHECK(cudaEventDestroy(filled));
}

static void too_large_block(int bug) {
  LAUNCH(fill, 1, bug ? 1025 : THREADS, 0, first, out, 1.0f);
}

static void too_much_shared(int bug) {
  size_t bytes = bug ? 49153 : THREADS * sizeof(float);
  LAUNCH(out_of_dynamic, BLOCKS, THREADS, bytes, first, out, 0);
}

static void host_pointer(int bug) {
  static float on_host[BLOCKS * THREADS];
  LAUNCH(copy, BLOCKS, THREADS, 0, first, out, bug ? on_host : side);
}

static void static_in_template(int bug) {
  LAUNCH(out_of_static<THREADS>, BLOCKS, THREADS, 0, first, out, bug);
}

static void *page_locked(size_t bytes) {
  void *host;
  CUDA_CHECK(cudaMallocHost(&host, bytes));
  return host;
}

// The host's place is used again before the copy from it is done.
static void slot_reused(int bug) {
  const size_t half = BLOCKS * THREADS / 2;
  float *slot = (float *)page_locked(half * sizeof(float));
  for (size_t round = 0; round < 2; round++) {
    if (!bug) CUDA_CHECK(cudaStreamSynchronize(first));
    for (size_t i = 0; i < half; i++) slot[i] = (float)(round + 1);
    CUDA_CHECK(cudaMemcpyAsync(out + round * half, slot, half * sizeof(float), cudaMemcpyHostToDevice, first));
  }
  CUDA_CHECK(cudaFreeHost(slot)); // waits
}

// The host reads what is still on its way to it.
static void read_too_early(int bug) {
  float *value = (float *)page_locked(sizeof(float));
  *value = 1;
  LAUNCH(fill, BLOCKS, THREADS, 0, first, side, 5.0f);
  CUDA_CHECK(cudaMemcpyAsync(value, side, sizeof(float), cudaMemcpyDeviceToHost, first));
  if (!bug) CUDA_CHECK(cudaStreamSynchronize(first));
  LAUNCH(fill, BLOCKS, THREADS, 0, first, out, *value);
  CUDA_CHECK(cudaFreeHost(value));
}

typedef struct {
  const char *name;
  void (*run)(int bug);
} Bug;

#define KERNEL(name)                                                                                \
  {                                                                                                 \
#name, [](int bug) { LAUNCH(name, BLOCKS, THREADS, THREADS * sizeof(float), first, out, bug); } \
  }
static const Bug bugs[] = {
    KERNEL(missing_barrier),
    KERNEL(write_after_read),
    KERNEL(matrices_missing_barrier),
    KERNEL(shuffle_as_barrier),
    KERNEL(divergent_barrier),
    KERNEL(deadlock),
    KERNEL(out_of_global),
    KERNEL(out_of_dynamic),
    KERNEL(out_of_local),
    KERNEL(uninitialised_shared),
    KERNEL(misaligned),
    KERNEL(misaligned_hint),
    KERNEL(lane_not_in_mask),
    KERNEL(mask_names_ended_lane),
    KERNEL(read_outside_mask),
    KERNEL(float_atomics),
    KERNEL(race_of_blocks),
    KERNEL(last_block),
    {"out_of_static", static_in_template},
    {"missing_event", missing_event},
    {"slot_reused", slot_reused},
    {"read_too_early", read_too_early},
    {"too_large_block", too_large_block},
    {"too_much_shared", too_much_shared},
    {"host_pointer", host_pointer},
};

int main(int argc, char **argv) {
  const Bug *bug = NULL;
  for (const Bug &each : bugs) {
    if (argc == 3 && strcmp(each.name, argv[1]) == 0) bug = &each;
  }
  if (bug == NULL) {
    fprintf(stderr, "error: test_bugs: takes the name of a bug, then 0 or 1\n");
    return 1;
  }
  const size_t bytes = BLOCKS * THREADS * sizeof(float);
  CUDA_CHECK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
  CUDA_CHECK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
  CUDA_CHECK(cudaMalloc(&out, bytes));
  CUDA_CHECK(cudaMalloc(&side, bytes));
  CUDA_CHECK(cudaMemset(out, 0, bytes));
  CUDA_CHECK(cudaMemset(side, 0, bytes));
  CUDA_CHECK(cudaDeviceSynchronize());
  int with_bug = atoi(argv[2]);
  bug->run(with_bug);
  float result[BLOCKS * THREADS];
  CUDA_CHECK(cudaMemcpyAsync(result, out, bytes, cudaMemcpyDeviceToHost,
                             strcmp(bug->name, "missing_event") == 0 ? second : first));
  double sum = 0;
  for (int i = 0; i < BLOCKS * THREADS; i++) sum += (double)result[i] * (i % 7 + 1);
  printf("%s %d: %.9g\n", bug->name, with_bug, sum);
  CUDA_CHECK(cudaFree(out));
  CUDA_CHECK(cudaFree(side));
  CUDA_CHECK(cudaStreamDestroy(first));
  CUDA_CHECK(cudaStreamDestroy(second));
  return 0;
}
