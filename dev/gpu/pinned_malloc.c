// malloc and its kin over page-locked memory, which the CPU and the GPU both reach: with it the tests of the
// operations, which were written for the CPU, run on a GPU as they are. Linked into those tests alone, by the
// linker's --wrap. Kernels must have ended before the test reads: run with CUDA_LAUNCH_BLOCKING=1.
//
// One arena, cut into blocks of powers of two; blocks given back wait in a list for each size.
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void __real_free(void *p);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void __wrap_free(void *p);

static const size_t ARENA_BYTES = (size_t)2 << 30;
enum { SMALLEST_LOG2 = 9, CLASSES = 32 }; // a block is at least twice its header

// In front of each block, as wide as the strictest alignment that tests ask for.
typedef struct Header {
  size_t log2; // of the block's bytes, this header included
  struct Header *next;
  char padding[256 - 2 * sizeof(size_t)];
} Header;

static struct {
  char *base;
  size_t used;
  Header *given_back[CLASSES];
} arena;

static void fail(const char *what, const char *found) {
  fprintf(stderr, "error: pinned_malloc: %s: %s\n", what, found);
  exit(2);
}

static void open_arena(void) {
  cudaError_t error = cudaHostAlloc((void **)&arena.base, ARENA_BYTES, cudaHostAllocMapped | cudaHostAllocPortable);
  if (error != cudaSuccess) fail("cudaHostAlloc", cudaGetErrorString(error));
}

static int in_arena(const void *p) {
  return arena.base != NULL && (const char *)p >= arena.base && (const char *)p < arena.base + ARENA_BYTES;
}

void *__wrap_malloc(size_t bytes) {
  if (arena.base == NULL) open_arena();
  size_t log2 = SMALLEST_LOG2;
  while (((size_t)1 << log2) < bytes + sizeof(Header)) log2++;
  Header *header = log2 < CLASSES ? arena.given_back[log2] : NULL;
  if (header != NULL) {
    arena.given_back[log2] = header->next;
    return header + 1;
  }
  if (log2 >= CLASSES || arena.used + ((size_t)1 << log2) > ARENA_BYTES) fail("no memory left", "arena full");
  header = (Header *)(arena.base + arena.used);
  arena.used += (size_t)1 << log2;
  header->log2 = log2;
  return header + 1;
}

void *__wrap_calloc(size_t count, size_t bytes) {
  return memset(__wrap_malloc(count * bytes), 0, count * bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
  if (alignment > sizeof(Header)) fail("aligned_alloc", "a larger alignment than a header's");
  return __wrap_malloc(bytes);
}

// What libraries have allocated is theirs.
void __wrap_free(void *p) {
  if (!in_arena(p)) {
    __real_free(p);
    return;
  }
  Header *header = (Header *)p - 1;
  header->next = arena.given_back[header->log2];
  arena.given_back[header->log2] = header;
}

void *__wrap_realloc(void *old, size_t bytes) {
  void *p = __wrap_malloc(bytes);
  if (old == NULL) return p;
  if (!in_arena(old)) fail("realloc", "memory that the program did not allocate itself");
  const size_t before = ((size_t)1 << ((Header *)old - 1)->log2) - sizeof(Header);
  memcpy(p, old, before < bytes ? before : bytes);
  __wrap_free(old);
  return p;
}
