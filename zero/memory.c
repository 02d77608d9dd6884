// The ledger of allocations by category, the allocator that keeps it, and the process's own peak.
//
// The ledger is one per process and is only touched by the main thread: it describes the process, so it is
// a file-local variable rather than something every caller would have to carry along.
#include "memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"

#define ALIGNMENT ((size_t)64)

static struct {
  size_t now[ZERO_MEM_CATEGORIES];
  size_t peak[ZERO_MEM_CATEGORIES];
  size_t window; // of it in this rank's part of the shared window
  size_t device, device_peak;
  size_t process_peak; // largest RssAnon + window seen by zero_process_peak
} ledger;

// Stands in the 64 bytes in front of every block from zero_malloc.
typedef struct {
  size_t bytes;
  void *base;    // what malloc or mmap returned
  size_t mapped; // bytes of the mapping; 0: from aligned_alloc
  ZeroMemory category;
} Header;

_Static_assert(sizeof(Header) <= ALIGNMENT, "the header must fit in front of an aligned block");

void zero_ledger_add(ZeroMemory category, size_t bytes, int window) {
  ledger.now[category] += bytes;
  if (ledger.now[category] > ledger.peak[category]) ledger.peak[category] = ledger.now[category];
  if (window) ledger.window += bytes;
}

void zero_ledger_remove(ZeroMemory category, size_t bytes, int window) {
  if (bytes > ledger.now[category] || (window && bytes > ledger.window)) {
    zero_fatal("ledger: %zu bytes leave category '%s', which holds %zu (window: %zu): freed twice?", bytes,
               zero_ledger_name(category), ledger.now[category], ledger.window);
  }
  ledger.now[category] -= bytes;
  if (window) ledger.window -= bytes;
}

void zero_ledger_add_device(ZeroMemory category, size_t bytes) {
  zero_ledger_add(category, bytes, 0);
  ledger.device += bytes;
  if (ledger.device > ledger.device_peak) ledger.device_peak = ledger.device;
}

void zero_ledger_remove_device(ZeroMemory category, size_t bytes) {
  if (bytes > ledger.device) {
    zero_fatal("ledger: %zu bytes leave the GPU, where %zu are held: freed twice?", bytes, ledger.device);
  }
  zero_ledger_remove(category, bytes, 0);
  ledger.device -= bytes;
}

size_t zero_ledger_device_peak(void) {
  return ledger.device_peak;
}

size_t zero_ledger_now(ZeroMemory category) {
  return ledger.now[category];
}

size_t zero_ledger_peak(ZeroMemory category) {
  return ledger.peak[category];
}

size_t zero_ledger_window(void) {
  return ledger.window;
}

const char *zero_ledger_name(ZeroMemory category) {
  static const char *const names[ZERO_MEM_CATEGORIES] = {
      [ZERO_MEM_PARAMETERS] = "parameters",         [ZERO_MEM_GRADIENTS] = "gradients",
      [ZERO_MEM_OPTIMIZER] = "optimizer",           [ZERO_MEM_GRAD_BUFFERS] = "gradient buffers",
      [ZERO_MEM_GATHER_BUFFERS] = "gather buffers", [ZERO_MEM_COMM] = "communication",
      [ZERO_MEM_ACTIVATIONS] = "activations",       [ZERO_MEM_OTHER] = "other",
  };
  return names[category];
}

// A mapping of its own, the block at a multiple of 2 MiB. Its pages are touched now: the first training step is then
// as fast as the others, and memory that is not there is missed at the start. Returns NULL when there is none.
static char *map_large(size_t bytes, Header *header) {
  size_t mapped = bytes + ALIGNMENT + ZERO_HUGE_PAGE;
  if (mapped < bytes) return NULL;
  char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return NULL;
  uintptr_t first = (uintptr_t)base + ALIGNMENT;
  char *block = base + ALIGNMENT + (ZERO_HUGE_PAGE - first % ZERO_HUGE_PAGE) % ZERO_HUGE_PAGE;
  // Only a request: a kernel without transparent huge pages refuses it, and the memory serves all the same.
  (void)madvise(block, bytes, MADV_HUGEPAGE);
  // Linux before 5.14 does not know this one: there the pages come when they are touched.
  (void)madvise(block, bytes, MADV_POPULATE_WRITE);
  header->base = base;
  header->mapped = mapped;
  return block;
}

static char *allocate_small(size_t bytes, Header *header) {
  size_t whole = ALIGNMENT + (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  char *base = aligned_alloc(ALIGNMENT, whole);
  if (base == NULL) return NULL;
  memset(base, 0, whole);
  header->base = base;
  header->mapped = 0;
  return base + ALIGNMENT;
}

void *zero_malloc(size_t bytes, ZeroMemory category) {
  if (bytes == 0) return NULL;
  Header header = {.bytes = bytes, .category = category};
  char *block = bytes >= ZERO_LARGE_BYTES ? map_large(bytes, &header) : allocate_small(bytes, &header);
  if (block == NULL) {
    zero_fatal(
        "no memory: %zu bytes for '%s' (which holds %zu) could not be allocated; use a smaller batch or "
        "model, a higher ZeRO stage, or more ranks on more machines",
        bytes, zero_ledger_name(category), zero_ledger_now(category));
  }
  memcpy(block - ALIGNMENT, &header, sizeof(header));
  zero_ledger_add(category, bytes, 0);
  return block;
}

void zero_free(void *ptr) {
  if (ptr == NULL) return;
  Header header;
  memcpy(&header, (char *)ptr - ALIGNMENT, sizeof(header));
  zero_ledger_remove(header.category, header.bytes, 0);
  if (header.mapped == 0) {
    free(header.base);
  } else if (munmap(header.base, header.mapped) != 0) {
    zero_fatal("munmap of %zu bytes failed: the block's header was overwritten", header.mapped);
  }
}

// RssAnon of this process in bytes; 0 where the kernel does not tell.
static size_t resident_anonymous(void) {
  FILE *status = fopen("/proc/self/status", "r");
  if (status == NULL) return 0;
  char line[256];
  size_t kib = 0;
  while (fgets(line, sizeof(line), status) != NULL) {
    if (sscanf(line, "RssAnon: %zu kB", &kib) == 1) break;
  }
  fclose(status);
  return kib * 1024;
}

size_t zero_process_peak(void) {
  size_t now = resident_anonymous() + ledger.window;
  if (now > ledger.process_peak) ledger.process_peak = now;
  return ledger.process_peak;
}
