// What is checked at atomic operations, and fences.
#include "include/cudaemu/atomic.h"

#include "block.h"
#include "options.h"
#include "race.h"
#include "report.h"

// Whether the thread has passed a fence since its last atomic operation: then that operation also publishes what the
// thread knows, as in the pattern "write, fence, count up; the last one reads".
static unsigned char fenced[CUDAEMU_MAX_THREADS];

void cudaemu_fence(const char *file, int line) {
  if (cudaemu_left_out(file, line)) return;
  if (cudaemu_running_launch() != NULL) fenced[cudaemu_thread_number()] = 1;
}

void cudaemu_atomic_begin(const void *memory, size_t bytes, int floating, const char *file, int line) {
  cudaemu_require_kernel("an atomic operation", file, line);
  if ((uintptr_t)memory % bytes != 0) {
    cudaemu_fail(file, line, "misaligned atomic operation: %zu bytes at address %p", bytes, memory);
  }
  if (floating && cudaemu_float_atomics_forbidden()) {
    cudaemu_fail(file, line,
                 "atomicAdd on %s where the order of the sum must be fixed: its order differs from run to run",
                 bytes == sizeof(float) ? "float" : "double");
  }
  unsigned char *flag = &fenced[cudaemu_thread_number()];
  if (*flag) race_release((void *)memory);
  *flag = 0;
}

void cudaemu_atomic_end(const void *memory) {
  race_acquire((void *)memory);
}
