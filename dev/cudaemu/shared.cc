// A block's shared memory. Static arrays come from an arena, with forbidden zones between them. Dynamic memory ends
// where a page begins that nobody may touch, so that an overflow shows without sanitizers too. All of it starts as
// NaN in each block: an array that merely kept what the last block left would hide reads before the first write.
#include "shared.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>

#include "block.h"
#include "race.h"
#include "report.h"
#include "sanitizers.h"

enum { NAN_BYTE = 0xff, ALIGNMENT = 16, GAP = 64, PAGE = 4096 };
#define STATIC_BYTES ((size_t)192 << 10) // the arrays' limit and room for the zones between them
#define DYNAMIC_BYTES ((CUDAEMU_OPTIN_SHARED_LIMIT + PAGE - 1) / PAGE * PAGE)
#define ALL_BYTES (STATIC_BYTES + DYNAMIC_BYTES)

static char *arena;                      // static part, dynamic part, guard page
static unsigned char written[ALL_BYTES]; // byte by byte, in this block; only a build with ASan writes it
static size_t arena_used, array_bytes;   // of the static part: with zones, without
static size_t dynamic_bytes, shared_limit;

static char *dynamic_begin(size_t bytes) {
  return arena + ALL_BYTES - (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

// Not by memset, which the race check would take for a write of the running thread.
static void fill(void *memory, size_t bytes) {
  allow_memory(memory, bytes);
  asm volatile("rep stosb" : "+D"(memory), "+c"(bytes) : "a"(NAN_BYTE) : "memory");
}

static char *map_arena(char *place) {
  void *memory = mmap(place, ALL_BYTES + PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | (place != NULL ? MAP_FIXED : 0), -1, 0);
  if (memory == MAP_FAILED || mprotect((char *)memory + ALL_BYTES, PAGE, PROT_NONE) != 0) {
    cudaemu_fail(NULL, 0, "no memory for the blocks' shared memory");
  }
  return (char *)memory;
}

void cudaemu_shared_begin_block(size_t bytes, size_t limit) {
  if (arena == NULL) {
    arena = map_arena(NULL);
    forbid_memory(arena, ALL_BYTES);
  } else if (CUDAEMU_RACE_CHECK) {
    map_arena(arena); // new memory: what the last block did there is no race with this one
  }
#ifdef CUDAEMU_ASAN
  forbid_memory(arena, arena_used);
  forbid_memory(dynamic_begin(dynamic_bytes), (size_t)(arena + ALL_BYTES - dynamic_begin(dynamic_bytes)));
  memset(written, 0, arena_used);
  memset(written + (dynamic_begin(bytes) - arena), 0, bytes);
#endif
  arena_used = array_bytes = 0;
  dynamic_bytes = bytes;
  shared_limit = limit;
  fill(dynamic_begin(bytes), bytes);
}

void *cudaemu_shared_find(CudaemuSharedSlot *slot, size_t bytes, const char *name, const char *file, int line) {
  unsigned long long number = cudaemu_block_number();
  if (slot->block == number && number != 0) return slot->memory;
  cudaemu_require_kernel("SHARED", file, line);
  array_bytes += bytes;
  if (array_bytes > CUDAEMU_STATIC_SHARED_LIMIT || array_bytes + dynamic_bytes > shared_limit) {
    cudaemu_fail(
        file, line,
        "too much shared memory with '%s': %zu bytes static (at most %zu) and %zu dynamic (together at most %zu)",
        name, array_bytes, CUDAEMU_STATIC_SHARED_LIMIT, dynamic_bytes, shared_limit);
  }
  // Aligned to 16 and to no more: a kernel that relies on more is found.
  size_t at = (arena_used + GAP + GAP - 1) / GAP * GAP + ALIGNMENT;
  arena_used = at + bytes;
  if (arena_used > STATIC_BYTES) cudaemu_fail(file, line, "too many shared arrays");
  fill(arena + at, bytes);
  *slot = {number, arena + at};
  return slot->memory;
}

// With no dynamic memory this is the guard page: a kernel may name the array as long as it does not touch it.
void *cudaemu_shared_dynamic(void) {
  return dynamic_begin(dynamic_bytes);
}

static int is_shared(const void *memory) {
  return arena != NULL && (const char *)memory >= arena && (const char *)memory < arena + ALL_BYTES;
}

void cudaemu_shared_note_write(const void *memory, size_t bytes) {
  if (is_shared(memory) && is_shared((const char *)memory + bytes - 1))
    memset(written + ((const char *)memory - arena), 1, bytes);
}

int cudaemu_shared_is_unwritten(const void *memory, size_t bytes) {
  if (!is_shared(memory) || !is_shared((const char *)memory + bytes - 1)) return 0;
  const unsigned char *first = written + ((const char *)memory - arena);
  for (size_t i = 0; i < bytes; i++) {
    if (!first[i]) return 1;
  }
  return 0;
}
