// Warp primitives. Each lane registers what it brings; the last one of the mask to arrive exchanges. A lane that is
// not in its own mask, a mask that names a lane which has ended or never was, lanes that disagree on mask, function
// or place, and a shuffle from outside the mask end the program with a report.
#ifndef CUDAEMU_WARP_H
#define CUDAEMU_WARP_H

#include "qualifiers.h"
#include "thread.h"

#define CUDAEMU_ALL_LANES 0xffffffffu

typedef enum { CUDAEMU_SHFL, CUDAEMU_SHFL_XOR, CUDAEMU_SHFL_DOWN, CUDAEMU_SHFL_UP } CudaemuShuffle;
typedef enum {
  CUDAEMU_REDUCE_ADD,
  CUDAEMU_REDUCE_MIN_SIGNED,
  CUDAEMU_REDUCE_MAX_SIGNED,
  CUDAEMU_REDUCE_MIN,
  CUDAEMU_REDUCE_MAX,
  CUDAEMU_REDUCE_AND,
  CUDAEMU_REDUCE_OR,
  CUDAEMU_REDUCE_XOR
} CudaemuReduction;

uint64_t cudaemu_shuffle(CudaemuShuffle kind, unsigned mask, uint64_t value, int operand, int width, const char *file,
                         int line);
unsigned cudaemu_ballot(unsigned mask, int predicate, const char *file, int line);
unsigned cudaemu_match(unsigned mask, uint64_t value, const char *file, int line);
unsigned cudaemu_reduce(CudaemuReduction kind, unsigned mask, unsigned value, const char *file, int line);
unsigned cudaemu_active_mask(void);
void cudaemu_syncwarp(unsigned mask, const char *file, int line);

template <typename T>
static inline T cudaemu_shuffle_any(CudaemuShuffle kind, unsigned mask, T value, int operand, int width,
                                    const char *file, int line) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable<T>::value,
                "CUDA shuffles 8 bytes at most");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = cudaemu_shuffle(kind, mask, bits, operand, width, file, line);
  memcpy(&value, &bits, sizeof(T));
  return value;
}

template <typename T>
static inline T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, CUDAEMU_PLACE) {
  return cudaemu_shuffle_any(CUDAEMU_SHFL, mask, value, lane, width, file, line);
}
template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize, CUDAEMU_PLACE) {
  return cudaemu_shuffle_any(CUDAEMU_SHFL_XOR, mask, value, lanes, width, file, line);
}
template <typename T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, CUDAEMU_PLACE) {
  return cudaemu_shuffle_any(CUDAEMU_SHFL_DOWN, mask, value, (int)delta, width, file, line);
}
template <typename T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, CUDAEMU_PLACE) {
  return cudaemu_shuffle_any(CUDAEMU_SHFL_UP, mask, value, (int)delta, width, file, line);
}

static inline void __syncwarp(unsigned mask = CUDAEMU_ALL_LANES, CUDAEMU_PLACE) {
  cudaemu_syncwarp(mask, file, line);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, CUDAEMU_PLACE) {
  return cudaemu_ballot(mask, predicate, file, line);
}
static inline int __any_sync(unsigned mask, int predicate, CUDAEMU_PLACE) {
  return cudaemu_ballot(mask, predicate, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, CUDAEMU_PLACE) {
  return cudaemu_ballot(mask, predicate, file, line) == mask;
}
// The lanes that have not ended: which of them stand at the same place is known only to a GPU.
static inline unsigned __activemask(void) {
  return cudaemu_active_mask();
}
template <typename T>
static inline unsigned __match_any_sync(unsigned mask, T value, CUDAEMU_PLACE) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "CUDA compares 8 bytes at most");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  return cudaemu_match(mask, bits, file, line);
}

#define CUDAEMU_REDUCE_FUNCTION(name, type, kind)                         \
  static inline type name(unsigned mask, type value, CUDAEMU_PLACE) {     \
    return (type)cudaemu_reduce(kind, mask, (unsigned)value, file, line); \
  }
CUDAEMU_REDUCE_FUNCTION(__reduce_add_sync, int, CUDAEMU_REDUCE_ADD)
CUDAEMU_REDUCE_FUNCTION(__reduce_add_sync, unsigned, CUDAEMU_REDUCE_ADD)
CUDAEMU_REDUCE_FUNCTION(__reduce_min_sync, int, CUDAEMU_REDUCE_MIN_SIGNED)
CUDAEMU_REDUCE_FUNCTION(__reduce_min_sync, unsigned, CUDAEMU_REDUCE_MIN)
CUDAEMU_REDUCE_FUNCTION(__reduce_max_sync, int, CUDAEMU_REDUCE_MAX_SIGNED)
CUDAEMU_REDUCE_FUNCTION(__reduce_max_sync, unsigned, CUDAEMU_REDUCE_MAX)
CUDAEMU_REDUCE_FUNCTION(__reduce_and_sync, unsigned, CUDAEMU_REDUCE_AND)
CUDAEMU_REDUCE_FUNCTION(__reduce_or_sync, unsigned, CUDAEMU_REDUCE_OR)
CUDAEMU_REDUCE_FUNCTION(__reduce_xor_sync, unsigned, CUDAEMU_REDUCE_XOR)

#endif
