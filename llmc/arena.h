// One block of memory cut into parts, in two passes over the same code: the first, without memory, counts.
#ifndef LLMC_ARENA_H
#define LLMC_ARENA_H

#include <stddef.h>

typedef struct {
  char *base; // NULL: only count
  size_t used;
} Arena;

// The next `bytes`, aligned as the operations want it; NULL while counting.
static inline void *arena_take(Arena *arena, size_t bytes) {
  const size_t align = 64;
  void *at = arena->base ? arena->base + arena->used : NULL;
  arena->used += (bytes + align - 1) / align * align;
  return at;
}

static inline size_t larger_size(size_t a, size_t b) {
  return a > b ? a : b;
}

#endif
