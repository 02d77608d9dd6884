// Memory through which messages go: the host's, where MPI does not reach the device's own, or the device's, for
// pieces that are still to be added. A few buffers, used again and again.
#ifndef ZERO_COMM_STAGING_H
#define ZERO_COMM_STAGING_H

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ZeroStagingBuffer {
  char *data;
  size_t bytes;
  int taken;
  struct ZeroStagingBuffer *next;
} ZeroStagingBuffer;

// Zero-initialise it.
typedef struct {
  ZeroStagingBuffer *buffers;
  int on_device; // 1: the device's memory
} ZeroStaging;

// A buffer of at least so many bytes that nobody else has; back with it, when its messages have gone.
ZeroStagingBuffer *zero_staging_take(ZeroStaging *, ZeroDevice *, size_t bytes);
void zero_staging_give_back(ZeroStagingBuffer *);
void zero_staging_free(ZeroStaging *, ZeroDevice *);

#ifdef __cplusplus
}
#endif

#endif
