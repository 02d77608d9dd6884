// The device's memory: the host's, but remembered, so that kernels and copies are given the right kind. Fresh memory
// is full of NaN. Each allocation is one of the C library's, so that ASan sees what is written beyond its end.
#include "memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

#include "count.h"
#include "options.h"
#include "report.h"
#include "stream.h"

enum { ALIGNMENT = 256, NAN_BYTE = 0xff }; // cudaMalloc aligns to 256 bytes

typedef struct {
  size_t bytes;
  cudaMemoryType type;
  bool registered; // by cudaHostRegister: not ours to free
} Allocation;

// By the address of the first byte.
static std::map<uintptr_t, Allocation> &allocations(void) {
  static std::map<uintptr_t, Allocation> all;
  return all;
}
static size_t device_bytes; // in use
static cudaError_t last_error;

// ---------------------------------------------------------------- errors
cudaError_t cudaemu_error(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t cudaPeekAtLastError(void) {
  return last_error;
}

cudaError_t cudaGetLastError(void) {
  cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}

typedef struct {
  cudaError_t error;
  const char *name, *text;
} ErrorText;

static const ErrorText *error_text(cudaError_t error) {
  static const ErrorText texts[] = {
      {cudaSuccess, "cudaSuccess", "no error"},
      {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
      {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
      {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
      {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
      {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
      {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
      {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
      {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
      {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
      {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
  };
  for (const ErrorText &text : texts) {
    if (text.error == error) return &text;
  }
  static const ErrorText unknown = {cudaSuccess, "unrecognized error code", "unrecognized error code"};
  return &unknown;
}

const char *cudaGetErrorName(cudaError_t error) {
  return error_text(error)->name;
}

const char *cudaGetErrorString(cudaError_t error) {
  return error_text(error)->text;
}

// ---------------------------------------------------------------- whose memory it is
// What no allocation holds: not the GPU's, unless it reads all of the host's memory.
static cudaMemoryType type_of_others(size_t *room) {
  if (!cudaemu_unified_memory()) return cudaMemoryTypeUnregistered;
  *room = SIZE_MAX;
  return cudaMemoryTypeManaged;
}

cudaMemoryType cudaemu_memory_type(const void *memory, size_t *room) {
  auto after = allocations().upper_bound((uintptr_t)memory);
  if (after == allocations().begin()) return type_of_others(room);
  auto found = std::prev(after);
  uintptr_t offset = (uintptr_t)memory - found->first;
  if (offset > found->second.bytes) return type_of_others(room);
  *room = found->second.bytes - offset;
  return found->second.type;
}

void cudaemu_check_argument(const CudaemuSite &site, int index, const void *pointer) {
  size_t room;
  if (pointer == NULL || cudaemu_memory_type(pointer, &room) != cudaMemoryTypeUnregistered) return;
  cudaemu_fail(site.file, site.line,
               "kernel '%s': argument %d, %p, is not memory that a GPU can read: it is not of "
               "cudaMalloc, cudaMallocHost or cudaHostRegister, or was freed",
               site.kernel, index, pointer);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *memory) {
  if (attributes == NULL) return cudaemu_error(cudaErrorInvalidValue);
  size_t room;
  cudaMemoryType type = cudaemu_memory_type(memory, &room);
  *attributes = {type, 0, type == cudaMemoryTypeUnregistered ? NULL : (void *)memory,
                 type == cudaMemoryTypeDevice ? NULL : (void *)memory};
  return cudaSuccess;
}

// ---------------------------------------------------------------- allocations
static cudaError_t allocate(void **memory, size_t bytes, cudaMemoryType type) {
  if (memory == NULL) return cudaemu_error(cudaErrorInvalidValue);
  *memory = NULL;
  if (bytes == 0) return cudaSuccess;
  size_t total = cudaemu_memory_bytes();
  bool device = type == cudaMemoryTypeDevice;
  if (device && (bytes > total || device_bytes > total - bytes)) return cudaemu_error(cudaErrorMemoryAllocation);
  if (posix_memalign(memory, ALIGNMENT, bytes) != 0) return cudaemu_error(cudaErrorMemoryAllocation);
  memset(*memory, NAN_BYTE, bytes);
  allocations()[(uintptr_t)*memory] = {bytes, type, false};
  if (device) device_bytes += bytes;
  return cudaSuccess;
}

static cudaError_t release(void *memory, cudaMemoryType type, bool registered) {
  if (memory == NULL) return cudaSuccess;
  auto found = allocations().find((uintptr_t)memory);
  if (found == allocations().end() || found->second.type != type || found->second.registered != registered) {
    return cudaemu_error(cudaErrorInvalidValue);
  }
  if (cudaemu_work_left(NULL)) cudaemu_count_wait(registered ? "cudaHostUnregister" : "cudaFree", false);
  cudaemu_finish_all(); // as CUDA does, so that nothing uses it any more
  if (type == cudaMemoryTypeDevice) device_bytes -= found->second.bytes;
  allocations().erase(found);
  if (!registered) free(memory);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
  return allocate(memory, bytes, cudaMemoryTypeDevice);
}

cudaError_t cudaFree(void *memory) {
  return release(memory, cudaMemoryTypeDevice, false);
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags) {
  if (flags > (cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined)) {
    return cudaemu_error(cudaErrorInvalidValue);
  }
  return allocate(memory, bytes, cudaMemoryTypeHost);
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) {
  return cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *memory) {
  return release(memory, cudaMemoryTypeHost, false);
}

cudaError_t cudaHostRegister(void *memory, size_t bytes, unsigned flags) {
  size_t room;
  if (memory == NULL || bytes == 0 || flags > (cudaHostRegisterPortable | cudaHostRegisterMapped) ||
      cudaemu_memory_type(memory, &room) != cudaMemoryTypeUnregistered) {
    return cudaemu_error(cudaErrorInvalidValue);
  }
  allocations()[(uintptr_t)memory] = {bytes, cudaMemoryTypeHost, true};
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *memory) {
  if (memory == NULL) return cudaemu_error(cudaErrorInvalidValue);
  return release(memory, cudaMemoryTypeHost, true);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
  if (free_bytes == NULL || total_bytes == NULL) return cudaemu_error(cudaErrorInvalidValue);
  *total_bytes = cudaemu_memory_bytes();
  *free_bytes = *total_bytes - device_bytes;
  return cudaSuccess;
}

// ---------------------------------------------------------------- copies
typedef struct {
  char *to;
  const char *from;
  size_t to_pitch, from_pitch, width, height;
} Copy;

static size_t copy_extent(size_t pitch, const Copy *copy) {
  return (copy->height - 1) * pitch + copy->width;
}

static void do_copy(const Copy &copy) {
  for (size_t row = 0; row < copy.height; row++) {
    memmove(copy.to + row * copy.to_pitch, copy.from + row * copy.from_pitch, copy.width);
  }
}

// Both sides lie in what they are said to lie in, and fit.
static cudaError_t check_copy(const Copy *copy, cudaMemcpyKind kind, cudaMemoryType *to, cudaMemoryType *from) {
  size_t to_room = SIZE_MAX, from_room = SIZE_MAX;
  *to = cudaemu_memory_type(copy->to, &to_room);
  *from = cudaemu_memory_type(copy->from, &from_room);
  if (copy->to == NULL || copy->from == NULL || to_room < copy_extent(copy->to_pitch, copy) ||
      from_room < copy_extent(copy->from_pitch, copy)) {
    return cudaErrorInvalidValue;
  }
  if (copy->width > copy->to_pitch || copy->width > copy->from_pitch) return cudaErrorInvalidPitchValue;
  if (*to == cudaMemoryTypeManaged || *from == cudaMemoryTypeManaged) return cudaSuccess; // both sides reach it
  bool to_device = *to == cudaMemoryTypeDevice, from_device = *from == cudaMemoryTypeDevice;
  switch (kind) {
    case cudaMemcpyHostToHost:
      return to_device || from_device ? cudaErrorInvalidMemcpyDirection : cudaSuccess;
    case cudaMemcpyHostToDevice:
      return !to_device || from_device ? cudaErrorInvalidMemcpyDirection : cudaSuccess;
    case cudaMemcpyDeviceToHost:
      return to_device || !from_device ? cudaErrorInvalidMemcpyDirection : cudaSuccess;
    case cudaMemcpyDeviceToDevice:
      return !to_device || !from_device ? cudaErrorInvalidMemcpyDirection : cudaSuccess;
    case cudaMemcpyDefault:
      return cudaSuccess;
  }
  return cudaErrorInvalidMemcpyDirection;
}

// The host waits for a copy that it has put into the stream.
static void wait_for_copy(cudaStream_t stream, const char *call) {
  if (cudaemu_work_left(&stream)) cudaemu_count_wait(call, false);
  cudaemu_stream_finish(stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (width == 0 || height == 0) return cudaSuccess;
  Copy copy = {(char *)to, (const char *)from, to_pitch, from_pitch, width, height};
  cudaMemoryType to_type, from_type;
  cudaError_t error = check_copy(&copy, kind, &to_type, &from_type);
  if (error != cudaSuccess) return cudaemu_error(error);
  cudaemu_stream_put(stream, [copy] { do_copy(copy); });
  cudaemu_count("copy", "cudaMemcpyAsync");
  // Host memory that is not pinned is read, or has been written, before the call returns.
  if (to_type == cudaMemoryTypeUnregistered || from_type == cudaMemoryTypeUnregistered) {
    wait_for_copy(stream, "cudaMemcpyAsync");
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                         cudaMemcpyKind kind) {
  cudaError_t error = cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, NULL);
  if (error == cudaSuccess && kind != cudaMemcpyDeviceToDevice) wait_for_copy(NULL, "cudaMemcpy");
  return error;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpy2D(to, bytes, from, bytes, bytes, 1, kind);
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  size_t room = 0;
  if (cudaemu_memory_type(memory, &room) == cudaMemoryTypeUnregistered || room < bytes) {
    return cudaemu_error(cudaErrorInvalidValue);
  }
  cudaemu_stream_put(stream, [memory, value, bytes] { memset(memory, value, bytes); });
  cudaemu_count("copy", "cudaMemsetAsync");
  return cudaSuccess;
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
  return cudaMemsetAsync(memory, value, bytes, NULL);
}
