// One block: its threads, who of them runs, its barriers.
//
// A thread runs until it waits. Then its fiber is kept and another thread goes on: one that may, or one that has not
// begun, on a fiber that is free. A thread that never waits hands its fiber to the next one, so that kernels without
// barriers never switch. Under the race check each thread has a fiber of its own, as TSan takes a fiber for a thread.
#include "block.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "fiber.h"
#include "race.h"
#include "report.h"
#include "sanitizers.h"
#include "shared.h"

enum { MAX_WARPS = CUDAEMU_MAX_THREADS / CUDAEMU_LANES, RING = 2 * CUDAEMU_MAX_THREADS, NOBODY = -1 };

CudaemuCurrent cudaemu_current;

// What a lane that waits in a warp operation brought.
typedef struct {
  unsigned mask;
  CudaemuWarpOp *op;
  const char *name, *file;
  int line;
} Lane;

typedef struct {
  unsigned waiting, ended; // lanes
  Lane lane[CUDAEMU_LANES];
  void *data[CUDAEMU_LANES];
  unsigned char meetings[CUDAEMU_LANES]; // of which the lane was the lowest: see race_object
} Warp;

// One process runs one block at a time, on one OS thread: this is it.
static struct {
  const CudaemuCall *call;
  CudaemuOrder order;
  uint64_t random;
  unsigned long long number; // of the block
  int threads;
  int current;
  CudaemuFiber program, *running;
  uint3 index[CUDAEMU_MAX_THREADS];
  CudaemuFiber *fiber[CUDAEMU_MAX_THREADS]; // of threads that wait
  CudaemuFiber *spare[CUDAEMU_MAX_FIBERS];
  int num_spare;
  CudaemuFiber *own[CUDAEMU_MAX_THREADS]; // race check only
  int num_own;

  int ready[RING]; // threads that may go on, from `first` on
  unsigned first, num_ready;
  int to_start[CUDAEMU_MAX_THREADS];
  int num_started, num_ended;

  int at_barrier;
  unsigned barriers; // passed
  int predicates[2]; // of the barrier being reached and of the one before
  const char *barrier_file;
  int barrier_line;
  Warp warp[MAX_WARPS];
} block;

// ---------------------------------------------------------------- objects of the race check
// Whoever passes a barrier has released an object before and acquires it after. Two objects alternate: else a thread
// that is late to acquire would also see what another one released at the next barrier. Each block and each group of
// lanes has its own.
static char *race_begin, *race_end; // released before the block's threads begin; by each thread at its end
enum { OBJECTS_OF_BARRIER = 2, OBJECTS_OF_WARP = 2 * CUDAEMU_LANES };
static char *race_of_block;

static void *race_object(int number) {
  return CUDAEMU_RACE_CHECK ? race_of_block + number * RACE_OBJECT_BYTES : NULL;
}

// ---------------------------------------------------------------- who runs
static void set_current(int thread) {
  block.current = thread;
  cudaemu_current.thread = block.index[thread];
}

static void push_last(int thread) {
  block.ready[(block.first + block.num_ready++) % RING] = thread;
}

static void push_first(int thread) {
  block.first = (block.first + RING - 1) % RING;
  block.ready[block.first] = thread;
  block.num_ready++;
}

// The next thread: one that waits and may go on, else one that has not begun; in random order any of both.
static int pick(void) {
  unsigned unstarted = (unsigned)(block.threads - block.num_started);
  if (block.order == CUDAEMU_RANDOM && block.num_ready > 0) {
    unsigned at = cudaemu_random(&block.random, block.num_ready + unstarted);
    if (at >= block.num_ready) return block.to_start[block.num_started++];
    std::swap(block.ready[(block.first + at) % RING], block.ready[block.first]);
  }
  if (block.num_ready > 0) {
    int thread = block.ready[block.first];
    block.first = (block.first + 1) % RING;
    block.num_ready--;
    return thread;
  }
  return unstarted > 0 ? block.to_start[block.num_started++] : NOBODY;
}

static void run_threads(void);

// The fiber on which a thread goes on or begins.
static CudaemuFiber *fiber_of(int thread) {
  if (block.fiber[thread] != NULL) return block.fiber[thread];
  CudaemuFiber *fiber;
  if (CUDAEMU_RACE_CHECK) {
    fiber = block.own[thread];
  } else {
    fiber = block.num_spare > 0 ? block.spare[--block.num_spare] : cudaemu_fiber_create(run_threads);
  }
  fiber->thread = thread;
  return fiber;
}

static void switch_to(CudaemuFiber *next) {
  CudaemuFiber *from = block.running;
  block.running = next;
  cudaemu_fiber_switch(from, next);
}

// No thread can go on: reports one that waits, in a warp operation if there is one, with its place.
__attribute__((noreturn)) static void fail_deadlock(void) {
  const char *file = block.barrier_file, *what = "__syncthreads";
  int line = block.barrier_line;
  for (int thread = 0; thread < block.threads; thread++) {
    if (block.fiber[thread] == NULL) continue;
    set_current(thread);
    const Warp *warp = &block.warp[thread / CUDAEMU_LANES];
    if ((warp->waiting >> thread % CUDAEMU_LANES & 1) == 0) continue;
    const Lane *lane = &warp->lane[thread % CUDAEMU_LANES];
    file = lane->file;
    line = lane->line;
    what = lane->name;
    break;
  }
  cudaemu_fail(file, line, "deadlock: %s never ends, each thread waits for one that does not come", what);
}

// The running thread waits: whoever lets it go on puts it among the ready ones.
static void wait_here(void) {
  int thread = block.current;
  block.fiber[thread] = block.running;
  int next = pick();
  if (next == NOBODY) fail_deadlock();
  if (next != thread) switch_to(fiber_of(next));
  block.fiber[thread] = NULL;
  set_current(thread);
}

// Mostly it is the same string too, and these are compared at each meeting.
static int same_file(const char *a, const char *b) {
  return a == b || strcmp(a, b) == 0;
}

// ---------------------------------------------------------------- the block's barrier
static void release_barrier(void) {
  block.at_barrier = 0;
  block.barriers++;
  block.predicates[block.barriers % 2] = 0;
  block.first = block.num_ready = 0; // nobody else was ready
  for (int i = 0; i < block.threads; i++) {
    int thread = block.order == CUDAEMU_REVERSE ? block.threads - 1 - i : i;
    if (block.fiber[thread] != NULL) push_last(thread);
  }
}

int cudaemu_barrier(int predicate, const char *file, int line) {
  cudaemu_require_kernel("__syncthreads", file, line);
  if (cudaemu_left_out(file, line)) return predicate != 0;
  unsigned phase = block.barriers % 2;
  void *object = race_object((int)phase);
  race_release(object);
  block.predicates[phase] += predicate != 0;
  if (block.at_barrier == 0) {
    block.barrier_file = file;
    block.barrier_line = line;
  } else if (line != block.barrier_line || !same_file(file, block.barrier_file)) {
    cudaemu_fail(file, line, "divergent barrier: %d threads of the block wait at another __syncthreads, at %s:%d",
                 block.at_barrier, block.barrier_file, block.barrier_line);
  }
  block.at_barrier++;
  if (block.at_barrier + block.num_ended == block.threads) {
    block.fiber[block.current] = block.running;
    release_barrier();
  }
  wait_here();
  race_acquire(object);
  return block.predicates[phase];
}

// ---------------------------------------------------------------- warps
int cudaemu_lane(void) {
  return block.current % CUDAEMU_LANES;
}

int cudaemu_thread_number(void) {
  return block.current;
}

unsigned cudaemu_lanes_alive(void) {
  return ~block.warp[block.current / CUDAEMU_LANES].ended;
}

unsigned long long cudaemu_block_number(void) {
  return cudaemu_running_launch() != NULL ? block.number : 0;
}

void cudaemu_require_kernel(const char *what, const char *file, int line) {
  if (cudaemu_running_launch() == NULL) cudaemu_fail(file, line, "%s is called outside of a kernel", what);
}

static void check_mask(const Warp *warp, int lane, unsigned mask, const char *name, const char *file, int line) {
  if ((mask >> lane & 1) == 0) {
    cudaemu_fail(file, line, "%s: the calling lane %d is not in its own mask %08x", name, lane, mask);
  }
  if ((mask & warp->ended) != 0) {
    cudaemu_fail(file, line, "%s: mask %08x names lanes %08x, which have ended or never were", name, mask,
                 mask & warp->ended);
  }
}

// All lanes of the mask have come. They must agree.
static void check_agreement(const Warp *warp, int lane) {
  const Lane *mine = &warp->lane[lane];
  for (unsigned left = mine->mask; left != 0; left &= left - 1) {
    const Lane *other = &warp->lane[__builtin_ctz(left)];
    if (other->mask != mine->mask || other->op != mine->op || other->line != mine->line ||
        !same_file(other->file, mine->file)) {
      cudaemu_fail(mine->file, mine->line,
                   "%s with mask %08x meets another operation: lane %d is in %s with mask %08x at %s:%d", mine->name,
                   mine->mask, __builtin_ctz(left), other->name, other->mask, other->file, other->line);
    }
  }
}

static void release_lanes(int first_thread, unsigned lanes) {
  // To the front of the queue, so that a warp goes on before others: the last one pushed goes first.
  for (int i = 0; i < CUDAEMU_LANES; i++) {
    int lane = block.order == CUDAEMU_REVERSE ? i : CUDAEMU_LANES - 1 - i;
    if (lanes >> lane & 1) push_first(first_thread + lane);
  }
}

void cudaemu_warp_meet(unsigned mask, CudaemuWarpOp *op, void *data, int ordered, const char *name, const char *file,
                       int line) {
  cudaemu_require_kernel(name, file, line);
  int lane = cudaemu_lane(), number = block.current / CUDAEMU_LANES;
  Warp *warp = &block.warp[number];
  check_mask(warp, lane, mask, name, file, line);
  void *object = NULL;
  if (CUDAEMU_RACE_CHECK && ordered) {
    int lowest = __builtin_ctz(mask);
    object = race_object(OBJECTS_OF_BARRIER + OBJECTS_OF_WARP * number + 2 * lowest + warp->meetings[lowest] % 2);
    race_release(object);
  }
  warp->lane[lane] = (Lane){mask, op, name, file, line};
  warp->data[lane] = data;
  warp->waiting |= 1u << lane;
  if ((warp->waiting & mask) == mask) {
    check_agreement(warp, lane);
    op(warp->data, mask);
    warp->waiting &= ~mask;
    if (ordered) warp->meetings[__builtin_ctz(mask)]++;
    block.fiber[block.current] = block.running;
    release_lanes(number * CUDAEMU_LANES, mask);
  }
  wait_here();
  if (object != NULL) race_acquire(object);
}

// ---------------------------------------------------------------- begin and end
static void end_thread(int thread) {
  Warp *warp = &block.warp[thread / CUDAEMU_LANES];
  unsigned bit = 1u << thread % CUDAEMU_LANES;
  block.num_ended++;
  warp->ended |= bit;
  for (unsigned left = warp->waiting; left != 0; left &= left - 1) {
    const Lane *lane = &warp->lane[__builtin_ctz(left)];
    if ((lane->mask & bit) != 0) {
      cudaemu_fail(lane->file, lane->line, "%s with mask %08x: lane %d ended without it while lane %d waits",
                   lane->name, lane->mask, thread % CUDAEMU_LANES, __builtin_ctz(left));
    }
  }
  if (block.at_barrier > 0 && block.at_barrier + block.num_ended == block.threads) release_barrier();
}

// What every fiber does: runs threads until one of them waits; when switched to with a new thread, again.
static void run_threads(void) {
#ifdef CUDAEMU_ASAN
  __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
  for (;;) {
    CudaemuFiber *me = block.running;
    int thread = me->thread;
    for (;;) {
      set_current(thread);
      race_acquire(race_begin);
#ifdef CUDAEMU_TSAN
      cudaemu_report_name_thread(me->race_thread);
#endif
      block.call->run_thread();
      race_release(race_end);
      end_thread(thread);
      thread = pick();
      if (thread == NOBODY || block.fiber[thread] != NULL || CUDAEMU_RACE_CHECK) break;
    }
    if (thread == NOBODY && block.num_ended != block.threads) fail_deadlock();
    if (!CUDAEMU_RACE_CHECK) block.spare[block.num_spare++] = me;
    switch_to(thread == NOBODY ? &block.program : fiber_of(thread));
  }
}

static void run_block(void) {
  block.num_started = block.num_ended = block.at_barrier = 0;
  block.first = block.num_ready = 0;
  block.barriers = 0;
  block.predicates[0] = block.predicates[1] = 0;
  for (int first = 0; first < block.threads; first += CUDAEMU_LANES) {
    Warp *warp = &block.warp[first / CUDAEMU_LANES];
    int lanes = std::min((int)CUDAEMU_LANES, block.threads - first);
    warp->waiting = 0;
    warp->ended = lanes == CUDAEMU_LANES ? 0 : ~0u << lanes;
  }
  for (int i = 0; i < block.threads; i++) {
    block.to_start[i] = block.order == CUDAEMU_REVERSE ? block.threads - 1 - i : i;
  }
  if (block.order == CUDAEMU_RANDOM) {
    for (int i = block.threads - 1; i > 0; i--) {
      std::swap(block.to_start[i], block.to_start[cudaemu_random(&block.random, (uint32_t)i + 1)]);
    }
  }
  int warps = (block.threads + CUDAEMU_LANES - 1) / CUDAEMU_LANES;
  race_of_block = race_new_objects((size_t)(OBJECTS_OF_BARRIER + OBJECTS_OF_WARP * warps));
  block.running = &block.program;
  switch_to(fiber_of(pick()));
}

// What thread i of two blocks does is not one thread's doing, and nothing orders it.
static void renew_fibers(void) {
  for (int i = 0; CUDAEMU_RACE_CHECK && i < block.threads; i++) cudaemu_fiber_renew(block.own[i], run_threads);
}

static void prepare(const CudaemuCall *call, dim3 grid, dim3 threads, CudaemuOrder order, uint64_t seed) {
  if (block.program.thread == 0) cudaemu_fiber_of_program(&block.program);
  block.program.race_thread = race_this_thread(); // the stream's
  race_end = race_new_objects(1);
  block.call = call;
  block.order = order;
  block.random = cudaemu_seed(seed);
  block.threads = (int)(threads.x * threads.y * threads.z);
  for (unsigned i = 0; i < (unsigned)block.threads; i++) {
    block.index[i] = {i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y};
  }
  while (CUDAEMU_RACE_CHECK && block.num_own < block.threads) {
    block.own[block.num_own++] = cudaemu_fiber_create(run_threads);
  }
  cudaemu_current.grid_dim = grid;
  cudaemu_current.block_dim = threads;
}

void cudaemu_run_blocks(const CudaemuCall *call, dim3 grid, dim3 threads, size_t smem, size_t smem_limit,
                        CudaemuOrder order, uint64_t seed) {
  prepare(call, grid, threads, order, seed);
  uint64_t count = (uint64_t)grid.x * grid.y * grid.z;
  // In random order block i is i * step + offset modulo a power of two, where that is a block: each of them once.
  uint64_t modulus = 1, step = 2 * (uint64_t)cudaemu_random(&block.random, 1 << 30) + 1;
  while (modulus < count) modulus *= 2;
  uint64_t offset = cudaemu_random(&block.random, 1 << 30);
  for (uint64_t i = 0; i < (order == CUDAEMU_RANDOM ? modulus : count); i++) {
    uint64_t b = order == CUDAEMU_FORWARD   ? i
                 : order == CUDAEMU_REVERSE ? count - 1 - i
                                            : (i * step + offset) & (modulus - 1);
    if (b >= count) continue;
    cudaemu_current.block = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y),
                             (unsigned)(b / grid.x / grid.y)};
    block.number++;
    cudaemu_shared_begin_block(smem, smem_limit);
    renew_fibers();
    race_begin = race_new_objects(1);
    race_release(race_begin);
    run_block();
  }
  race_acquire(race_end);
}

// ---------------------------------------------------------------- for reports
void cudaemu_block_print_waiting(void) {
  enum { SHOWN = 8 };
  int lanes = 0;
  for (int thread = 0; thread < block.threads; thread++) {
    const Warp *warp = &block.warp[thread / CUDAEMU_LANES];
    const Lane *lane = &warp->lane[thread % CUDAEMU_LANES];
    if ((warp->waiting >> thread % CUDAEMU_LANES & 1) == 0 || lanes++ >= SHOWN) continue;
    fprintf(stderr, "  thread (%u,%u,%u) waits in %s with mask %08x at %s:%d\n", block.index[thread].x,
            block.index[thread].y, block.index[thread].z, lane->name, lane->mask, lane->file, lane->line);
  }
  if (lanes > SHOWN) fprintf(stderr, "  and %d more in warp operations\n", lanes - SHOWN);
  if (block.at_barrier > 0) {
    fprintf(stderr, "  %d of %d threads wait at __syncthreads at %s:%d, %d have ended\n", block.at_barrier,
            block.threads, block.barrier_file, block.barrier_line, block.num_ended);
  }
}
