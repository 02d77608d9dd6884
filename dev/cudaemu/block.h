// One block: its threads, who of them runs, its barriers. Blocks run one after the other.
#ifndef CUDAEMU_BLOCK_H
#define CUDAEMU_BLOCK_H

#include <cstddef>
#include <cstdint>

#include "include/cudaemu/launch.h"
#include "include/cudaemu/thread.h"
#include "options.h"

enum { CUDAEMU_MAX_THREADS = 1024, CUDAEMU_LANES = 32 };
static const unsigned CUDAEMU_BLOCK_LIMITS[] = {1024, 1024, 64}, CUDAEMU_GRID_LIMITS[] = {0x7fffffff, 65535, 65535};

// Runs all blocks of a launch, threads and blocks in this order. smem: bytes of dynamic shared memory; smem_limit:
// with static arrays.
void cudaemu_run_blocks(const CudaemuCall *call, dim3 grid, dim3 block, size_t smem, size_t smem_limit,
                        CudaemuOrder order, uint64_t seed);

// A warp operation: given what each lane brought, it computes what each gets. Lanes outside `mask` are not read.
typedef void CudaemuWarpOp(void **lanes, unsigned mask);
// The running thread waits until all lanes of `mask` have called this with the same mask, operation and place; then
// `op` has been called once. `name`: the operation's, for reports. `ordered`: it is a barrier too (__syncwarp).
void cudaemu_warp_meet(unsigned mask, CudaemuWarpOp *op, void *data, int ordered, const char *name, const char *file,
                       int line);
// The running thread's lane; the lanes of its warp that have not ended.
int cudaemu_lane(void);
unsigned cudaemu_lanes_alive(void);
// The running thread's number in its block, counted x first.
int cudaemu_thread_number(void);
// Counts blocks over the program's life, from 1: what belongs to one block is known by it. 0: no kernel runs.
unsigned long long cudaemu_block_number(void);
// Ends the program with a report if no kernel runs.
void cudaemu_require_kernel(const char *what, const char *file, int line);
// For a report: which threads wait, and where.
void cudaemu_block_print_waiting(void);

#endif
