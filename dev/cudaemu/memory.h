// Which memory is the device's, which is pinned: what a kernel may be given and what a copy may move.
#ifndef CUDAEMU_MEMORY_H
#define CUDAEMU_MEMORY_H

#include "include/cudaemu/runtime_api.h"

// What `memory` lies in; *room: the bytes from there to the end of it (device and pinned memory; else untouched).
cudaMemoryType cudaemu_memory_type(const void *memory, size_t *room);
// Remembers the error for cudaGetLastError and returns it.
cudaError_t cudaemu_error(cudaError_t error);

#endif
