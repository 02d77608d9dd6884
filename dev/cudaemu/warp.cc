// Warp primitives: what is exchanged once all lanes of a mask have met.
#include "include/cudaemu/warp.h"

#include <algorithm>

#include "block.h"
#include "options.h"
#include "report.h"

#define EACH_LANE(lane, mask) \
  for (unsigned left = (mask), lane; left != 0 && (lane = (unsigned)__builtin_ctz(left), 1); left &= left - 1)

// ---------------------------------------------------------------- shuffles
typedef struct {
  uint64_t value, result;
  unsigned source; // lane
} Shuffle;

// The lane that a shuffle reads, as NVIDIA's documentation defines it: groups of `width` lanes, out of range is self.
static unsigned source_lane(CudaemuShuffle kind, int lane, int operand, int width) {
  int first = lane & ~(width - 1), last = first + width - 1, source = lane;
  switch (kind) {
    case CUDAEMU_SHFL:
      source = first | (operand & (width - 1));
      break;
    case CUDAEMU_SHFL_XOR:
      source = lane ^ operand;
      break;
    case CUDAEMU_SHFL_DOWN:
      source = lane + (operand & 31);
      break;
    case CUDAEMU_SHFL_UP:
      source = lane - (operand & 31);
      break;
  }
  if (source > last || (kind == CUDAEMU_SHFL_UP && source < first)) source = lane;
  return (unsigned)source;
}

static void exchange(void **lanes, unsigned mask) {
  EACH_LANE(lane, mask) {
    Shuffle *mine = (Shuffle *)lanes[lane];
    mine->result = ((const Shuffle *)lanes[mine->source])->value;
  }
}

uint64_t cudaemu_shuffle(CudaemuShuffle kind, unsigned mask, uint64_t value, int operand, int width, const char *file,
                         int line) {
  static const char *const names[] = {"__shfl_sync", "__shfl_xor_sync", "__shfl_down_sync", "__shfl_up_sync"};
  cudaemu_require_kernel(names[kind], file, line);
  if (width < 1 || width > CUDAEMU_LANES || (width & (width - 1)) != 0) {
    cudaemu_fail(file, line, "%s: width %d found; it is a power of two up to 32", names[kind], width);
  }
  Shuffle shuffle = {value, 0, source_lane(kind, cudaemu_lane(), operand, width)};
  if ((mask >> shuffle.source & 1) == 0) {
    cudaemu_fail(file, line, "%s: lane %d reads lane %u, which is not in mask %08x", names[kind], cudaemu_lane(),
                 shuffle.source, mask);
  }
  cudaemu_warp_meet(mask, exchange, &shuffle, 0, names[kind], file, line);
  return shuffle.result;
}

// ---------------------------------------------------------------- votes
typedef struct {
  uint64_t value;
  unsigned result;
} Vote;

static void ballot(void **lanes, unsigned mask) {
  unsigned yes = 0;
  EACH_LANE(lane, mask) yes |= (unsigned)(((const Vote *)lanes[lane])->value != 0) << lane;
  EACH_LANE(lane, mask)((Vote *)lanes[lane])->result = yes;
}

static void match(void **lanes, unsigned mask) {
  EACH_LANE(lane, mask) {
    Vote *mine = (Vote *)lanes[lane];
    mine->result = 0;
    for (unsigned other = 0; other < CUDAEMU_LANES; other++) {
      if (mask >> other & 1) mine->result |= (unsigned)(((const Vote *)lanes[other])->value == mine->value) << other;
    }
  }
}

unsigned cudaemu_ballot(unsigned mask, int predicate, const char *file, int line) {
  Vote vote = {predicate != 0, 0};
  cudaemu_warp_meet(mask, ballot, &vote, 0, "a warp vote", file, line);
  return vote.result;
}

unsigned cudaemu_match(unsigned mask, uint64_t value, const char *file, int line) {
  Vote vote = {value, 0};
  cudaemu_warp_meet(mask, match, &vote, 0, "__match_any_sync", file, line);
  return vote.result;
}

unsigned cudaemu_active_mask(void) {
  return cudaemu_lanes_alive();
}

// ---------------------------------------------------------------- reductions of integers
typedef struct {
  CudaemuReduction kind;
  unsigned value, result;
} Reduction;

static unsigned combine(CudaemuReduction kind, unsigned a, unsigned b) {
  switch (kind) {
    case CUDAEMU_REDUCE_ADD:
      return a + b;
    case CUDAEMU_REDUCE_MIN_SIGNED:
      return (unsigned)std::min((int)a, (int)b);
    case CUDAEMU_REDUCE_MAX_SIGNED:
      return (unsigned)std::max((int)a, (int)b);
    case CUDAEMU_REDUCE_MIN:
      return std::min(a, b);
    case CUDAEMU_REDUCE_MAX:
      return std::max(a, b);
    case CUDAEMU_REDUCE_AND:
      return a & b;
    case CUDAEMU_REDUCE_OR:
      return a | b;
    case CUDAEMU_REDUCE_XOR:
      return a ^ b;
  }
  return a;
}

static void reduce(void **lanes, unsigned mask) {
  const Reduction *first = (const Reduction *)lanes[__builtin_ctz(mask)];
  unsigned result = first->value;
  EACH_LANE(lane, mask & (mask - 1)) result = combine(first->kind, result, ((const Reduction *)lanes[lane])->value);
  EACH_LANE(lane, mask)((Reduction *)lanes[lane])->result = result;
}

unsigned cudaemu_reduce(CudaemuReduction kind, unsigned mask, unsigned value, const char *file, int line) {
  Reduction reduction = {kind, value, 0};
  cudaemu_warp_meet(mask, reduce, &reduction, 0, "a warp reduction", file, line);
  return reduction.result;
}

// ---------------------------------------------------------------- the warp's barrier
static void nothing(void **lanes, unsigned mask) {
  (void)lanes;
  (void)mask;
}

void cudaemu_syncwarp(unsigned mask, const char *file, int line) {
  if (cudaemu_left_out(file, line)) return;
  cudaemu_warp_meet(mask, nothing, NULL, 1, "__syncwarp", file, line);
}
