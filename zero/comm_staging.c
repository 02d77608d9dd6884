// The buffers grow to what is needed at once and stay until the transport ends: page-locked memory is slow to come
// by.
#include "comm_staging.h"

#include "error.h"

// The smallest that is free and large enough; else the first that is free; NULL: all are taken.
static ZeroStagingBuffer *best_free(const ZeroStaging *staging, size_t bytes) {
  ZeroStagingBuffer *best = NULL;
  for (ZeroStagingBuffer *buffer = staging->buffers; buffer != NULL; buffer = buffer->next) {
    if (buffer->taken) continue;
    int better = best == NULL || (best->bytes < bytes ? buffer->bytes >= bytes
                                                      : buffer->bytes >= bytes && buffer->bytes < best->bytes);
    if (better) best = buffer;
  }
  return best;
}

static void free_data(const ZeroStaging *staging, ZeroDevice *device, const ZeroStagingBuffer *buffer) {
  (staging->on_device ? device->free : device->free_host)(device, buffer->data);
}

ZeroStagingBuffer *zero_staging_take(ZeroStaging *staging, ZeroDevice *device, size_t bytes) {
  ZeroStagingBuffer *buffer = best_free(staging, bytes);
  if (buffer == NULL) {
    buffer = zero_malloc(sizeof *buffer, ZERO_MEM_COMM);
    buffer->next = staging->buffers;
    staging->buffers = buffer;
  }
  if (buffer->bytes < bytes) {
    free_data(staging, device, buffer);
    buffer->data = (staging->on_device ? device->alloc : device->alloc_host)(device, bytes, ZERO_MEM_COMM);
    buffer->bytes = bytes;
  }
  buffer->taken = 1;
  return buffer;
}

void zero_staging_give_back(ZeroStagingBuffer *buffer) {
  buffer->taken = 0;
}

void zero_staging_free(ZeroStaging *staging, ZeroDevice *device) {
  while (staging->buffers != NULL) {
    ZeroStagingBuffer *buffer = staging->buffers;
    if (buffer->taken)
      zero_fatal("a transport ends while a message is under way: finish its reduces and gathers first");
    staging->buffers = buffer->next;
    free_data(staging, device, buffer);
    zero_free(buffer);
  }
}
