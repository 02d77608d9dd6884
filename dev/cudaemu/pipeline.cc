// Asynchronous copies from global to shared memory: what each thread of the running block has under way.
#include "include/cuda_pipeline.h"

#include "block.h"
#include "report.h"

enum { MOST_UNDER_WAY = 256 }; // copies of one thread

// A ring, oldest first. In memory of its own: TSan takes a container's memory, which goes from thread to thread, for
// memory of the kernel's.
typedef struct {
  unsigned long long block; // whose; another block's copies are gone
  struct {
    CudaemuCopy copy;
    size_t group;
  } ring[MOST_UNDER_WAY];
  size_t taken, added; // copies
  size_t groups;       // closed by commit; what is added belongs to the next one
} Pipeline;

static Pipeline *running(void) {
  static Pipeline of_thread[CUDAEMU_MAX_THREADS];
  Pipeline *pipeline = &of_thread[cudaemu_thread_number()];
  if (pipeline->block != cudaemu_block_number()) {
    pipeline->block = cudaemu_block_number();
    pipeline->taken = pipeline->added = pipeline->groups = 0;
  }
  return pipeline;
}

void cudaemu_copy_later(const CudaemuCopy *copy, const char *file, int line) {
  cudaemu_require_kernel("__pipeline_memcpy_async", file, line);
  if ((copy->bytes != 4 && copy->bytes != 8 && copy->bytes != 16) || copy->zfill > copy->bytes) {
    cudaemu_fail(file, line, "asynchronous copy of %zu bytes, %zu of them zeros: 4, 8 or 16 are possible",
                 copy->bytes, copy->zfill);
  }
  const bool reads = copy->zfill < copy->bytes;
  if ((size_t)copy->to % copy->bytes != 0 || (reads && (size_t)copy->from % copy->bytes != 0)) {
    cudaemu_fail(file, line, "asynchronous copy of %zu bytes from %p to %p: both must be aligned to them",
                 copy->bytes, (const void *)copy->from, (const void *)copy->to);
  }
  Pipeline *pipeline = running();
  if (pipeline->added - pipeline->taken == MOST_UNDER_WAY) {
    cudaemu_fail(file, line,
                 "more than %d asynchronous copies of one thread are under way: the emulator has room for "
                 "no more",
                 MOST_UNDER_WAY);
  }
  pipeline->ring[pipeline->added % MOST_UNDER_WAY].copy = *copy;
  pipeline->ring[pipeline->added++ % MOST_UNDER_WAY].group = pipeline->groups;
}

void cudaemu_close_copies(void) {
  running()->groups++;
}

int cudaemu_next_copy(size_t prior, CudaemuCopy *copy) {
  Pipeline *pipeline = running();
  const size_t oldest = pipeline->taken % MOST_UNDER_WAY;
  if (pipeline->taken == pipeline->added || pipeline->ring[oldest].group + prior >= pipeline->groups) return 0;
  *copy = pipeline->ring[oldest].copy;
  pipeline->taken++;
  return 1;
}
