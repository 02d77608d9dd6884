// Launching a kernel: the limits, the queue, and the list of kernels that ran.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "block.h"
#include "count.h"
#include "memory.h"
#include "options.h"
#include "report.h"
#include "shared.h"
#include "stream.h"

// ---------------------------------------------------------------- kernels that ran
// Each as its launches name it. A plain array: the streams, which the race check takes for threads, share it.
enum { MAX_KERNELS = 4096 };
static const char *kernels[MAX_KERNELS];
static size_t num_kernels;

// The name without parentheses and template arguments.
static std::string plain_name(const char *kernel) {
  std::string name = kernel;
  size_t first = name.find_first_not_of("( ");
  return first == std::string::npos ? name : name.substr(first, name.find_first_of("<) ", first) - first);
}

// In one piece, as several processes may write the same file.
static void write_kernels(void) {
  const char *path = cudaemu_kernels_file();
  if (path == NULL || *path == '\0') return;
  std::set<std::string> names;
  for (size_t i = 0; i < num_kernels; i++) names.insert(plain_name(kernels[i]));
  std::string text;
  for (const std::string &name : names) text += name + "\n";
  FILE *file = fopen(path, "a");
  if (file == NULL || fwrite(text.data(), 1, text.size(), file) != text.size() || fclose(file) != 0) {
    cudaemu_fail(NULL, 0, "ZERO_EMU_KERNELS: '%s' cannot be written", path);
  }
}

static void remember_kernel(const char *kernel) {
  for (size_t i = 0; i < num_kernels; i++) {
    if (kernels[i] == kernel) return;
  }
  if (num_kernels == MAX_KERNELS) cudaemu_fail(NULL, 0, "more than %d launches with names of their own", MAX_KERNELS);
  if (num_kernels == 0) atexit(write_kernels);
  kernels[num_kernels++] = kernel;
}

// ---------------------------------------------------------------- attributes of kernels
static std::map<const void *, size_t> &dynamic_limits(void) {
  static std::map<const void *, size_t> all;
  return all;
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value) {
  enum { MAX_CARVEOUT = 100 };
  if (function == NULL || value < -1) return cudaemu_error(cudaErrorInvalidValue);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
    return cudaemu_error(value <= MAX_CARVEOUT ? cudaSuccess : cudaErrorInvalidValue);
  }
  if (value < 0 || (size_t)value > CUDAEMU_OPTIN_SHARED_LIMIT) return cudaemu_error(cudaErrorInvalidValue);
  dynamic_limits()[function] = (size_t)value;
  return cudaSuccess;
}

static size_t dynamic_limit(const void *function) {
  auto found = dynamic_limits().find(function);
  return found == dynamic_limits().end() ? CUDAEMU_STATIC_SHARED_LIMIT : found->second;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *function) {
  if (attributes == NULL || function == NULL) return cudaemu_error(cudaErrorInvalidValue);
  *attributes = {(int)dynamic_limit(function), CUDAEMU_MAX_THREADS};
  return cudaSuccess;
}

// ---------------------------------------------------------------- the launch
static void check_limits(const CudaemuSite &site, dim3 grid, dim3 block, size_t smem, size_t smem_limit) {
  const unsigned grid_size[] = {grid.x, grid.y, grid.z}, block_size[] = {block.x, block.y, block.z};
  unsigned long long threads = 1;
  for (int i = 0; i < 3; i++) {
    if (grid_size[i] < 1 || grid_size[i] > CUDAEMU_GRID_LIMITS[i]) {
      cudaemu_fail(site.file, site.line,
                   "kernel '%s': a grid of (%u,%u,%u) blocks; each is at least 1 and at most (%u,%u,%u)", site.kernel,
                   grid.x, grid.y, grid.z, CUDAEMU_GRID_LIMITS[0], CUDAEMU_GRID_LIMITS[1], CUDAEMU_GRID_LIMITS[2]);
    }
    threads *= block_size[i];
    if (block_size[i] < 1 || block_size[i] > CUDAEMU_BLOCK_LIMITS[i] || threads > CUDAEMU_MAX_THREADS) {
      cudaemu_fail(site.file, site.line,
                   "kernel '%s': a block of (%u,%u,%u) threads; each is at least 1 and at most (%u,%u,%u), together "
                   "at most %d",
                   site.kernel, block.x, block.y, block.z, CUDAEMU_BLOCK_LIMITS[0], CUDAEMU_BLOCK_LIMITS[1],
                   CUDAEMU_BLOCK_LIMITS[2], CUDAEMU_MAX_THREADS);
    }
  }
  if (smem > smem_limit) {
    cudaemu_fail(
        site.file, site.line,
        "kernel '%s': %zu bytes of dynamic shared memory; at most %zu: cudaFuncSetAttribute raises it up to %zu",
        site.kernel, smem, smem_limit, CUDAEMU_OPTIN_SHARED_LIMIT);
  }
}

void cudaemu_enqueue_launch(const CudaemuSite &site, const void *function, dim3 grid, dim3 block, size_t smem,
                            cudaStream_t stream, std::unique_ptr<CudaemuCall> call) {
  size_t limit = dynamic_limit(function);
  check_limits(site, grid, block, smem, limit);
  cudaemu_count("launch", plain_name(site.kernel).c_str());
  // Static arrays count too; who asked for more may use all that there is.
  size_t all = limit > CUDAEMU_STATIC_SHARED_LIMIT ? CUDAEMU_OPTIN_SHARED_LIMIT : CUDAEMU_STATIC_SHARED_LIMIT;
  // Shared only because a std::function can be copied; the queue is its one owner.
  cudaemu_stream_put(stream, [site, grid, block, smem, all, owned = std::shared_ptr<CudaemuCall>(std::move(call))] {
    static bool handlers_set;
    if (!handlers_set) cudaemu_report_faults();
    handlers_set = true;
    remember_kernel(site.kernel);
    uint64_t seed = 0;
    CudaemuOrder order = cudaemu_order(&seed);
    cudaemu_report_launch(&site);
    cudaemu_run_blocks(owned.get(), grid, block, smem, all, order, seed);
    cudaemu_report_launch(NULL);
  });
}
