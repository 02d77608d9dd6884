// The emulator's settings, from the environment. They are read at each launch, so that one program can try several.
//
//   ZERO_EMU_ORDER=forward|reverse|random:SEED   which thread, and which block, runs first
//   ZERO_EMU_STREAMS=issue|delayed|random:SEED   when a stream's work is done: at once; only when something waits for
//                                                it; or at a random moment until then
//   ZERO_EMU_NO_FLOAT_ATOMICS=1                  atomicAdd on float and double is an error: its order is not fixed
//   ZERO_EMU_KERNELS=FILE                        at the end the names of all kernels that ran are added to FILE
//   ZERO_EMU_COUNTS=FILE                         at the end how often the host waited and what it gave the device to
//   do
//                                                is added to FILE: lines KIND NAME COUNT, see count.h
//   ZERO_EMU_COUNTS_FROM=KERNEL                  counts from this kernel's first launch on
//   ZERO_EMU_MEMORY=BYTES                        the device's memory, 16 GiB unless given
//   ZERO_EMU_LEAVE_OUT=FILE:LINE                the barriers and fences of this line do nothing, as if they were not
//                                                there; at the end stderr has how often
//   ZERO_EMU_UNIFIED=1                           kernels may be given the host's memory, as on machines where the GPU
//                                                reads it: for tests of operations that were written for the CPU
//   ZERO_EMU_GPUS=N                              devices of a node; one for each of its ranks unless given
//   ZERO_EMU_TIMEOUT=SECONDS                     how long an NCCL call waits for the other ranks, 60 unless given
//   ZERO_EMU_NCCL_FAIL=N                         the N-th NCCL call of a communicator never ends, and from then on
//   its
//                                                asynchronous error is ncclRemoteError
#ifndef CUDAEMU_OPTIONS_H
#define CUDAEMU_OPTIONS_H

#include <cstddef>
#include <cstdint>

typedef enum { CUDAEMU_FORWARD, CUDAEMU_REVERSE, CUDAEMU_RANDOM } CudaemuOrder;
typedef enum { CUDAEMU_AT_ISSUE, CUDAEMU_DELAYED, CUDAEMU_AT_RANDOM } CudaemuTiming;

// The seed, where there is one, goes into *seed.
CudaemuOrder cudaemu_order(uint64_t *seed);
CudaemuTiming cudaemu_timing(uint64_t *seed);
int cudaemu_float_atomics_forbidden(void);
const char *cudaemu_kernels_file(void); // NULL: not wanted
const char *cudaemu_counts_file(void);  // NULL: not wanted
const char *cudaemu_counts_from(void);  // kernel whose first launch begins the counts; NULL: from the start
size_t cudaemu_memory_bytes(void);
int cudaemu_unified_memory(void);
int cudaemu_gpus(void);
double cudaemu_nccl_timeout(void);
uint64_t cudaemu_nccl_failing_call(void); // 0: none
// Whether the barrier or fence at this place is to do nothing. Read once: it is asked at every barrier.
int cudaemu_left_out(const char *file, int line);

// A number in [0, count), from a generator (xorshift64) whose state is not 0; cudaemu_seed makes one from a seed.
uint64_t cudaemu_seed(uint64_t seed);
uint32_t cudaemu_random(uint64_t *state, uint32_t count);

#endif
