// Checks of the asynchronous copies from global to shared memory.
#include "include/cuda_pipeline.h"

#include "block.h"
#include "report.h"

void cudaemu_check_async_copy(const void *to, const void *from, size_t bytes, size_t zfill, const char *file,
                              int line) {
  cudaemu_require_kernel("__pipeline_memcpy_async", file, line);
  if ((bytes != 4 && bytes != 8 && bytes != 16) || zfill > bytes) {
    cudaemu_fail(file, line, "asynchronous copy of %zu bytes, %zu of them zeros: 4, 8 or 16 are possible", bytes,
                 zfill);
  }
  if ((size_t)to % bytes != 0 || (zfill < bytes && (size_t)from % bytes != 0)) {
    cudaemu_fail(file, line, "asynchronous copy of %zu bytes from %p to %p: both must be aligned to them", bytes,
                 from, to);
  }
}
