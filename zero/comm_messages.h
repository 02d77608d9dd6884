// MPI messages between ranks, of the host's memory, and the control calls made of them: what the transports mpi and
// nccl have in common.
#ifndef ZERO_COMM_MESSAGES_H
#define ZERO_COMM_MESSAGES_H

#include "comm_impl.h"
#include "comm_staging.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ZERO_MESSAGE_BYTES ((size_t)256 << 20) // the longest message, unless said; far below INT_MAX bytes

enum { ZERO_TAG_REDUCE = 1, ZERO_TAG_GATHER, ZERO_TAG_CONTROL };

// Messages of one operation. They grow as messages are posted and go when the operation ends.
typedef struct {
  MPI_Request *items;
  int count, capacity;
  ZeroStagingBuffer *staging; // the owner's: laid out as the unit is; NULL: the messages need none
} ZeroMessages;

ZeroMessages *zero_messages_new(void);
// Waits for all; watches the peers meanwhile where the transport wants it.
void zero_messages_wait(ZeroComm *, ZeroMessages *);
// Waits and frees.
void zero_messages_end(ZeroComm *, ZeroMessages *);
// Bytes to a peer and from one, in messages of at most `step` bytes; those sent are counted.
void zero_messages_send(ZeroComm *, ZeroMessages *, int to, const char *data, size_t bytes, size_t step, int tag,
                        ZeroWire wire);
void zero_messages_receive(ZeroComm *, ZeroMessages *, int from, char *data, size_t bytes, size_t step, int tag);
// MPI counts in int: a larger number ends all ranks.
int zero_message_bytes(size_t bytes);

// Entries of the table: see comm.h. init sets these and the counters' entries.
void zero_messages_init(ZeroComm *);
void zero_messages_control_gather(ZeroComm *, const double *mine, double *all, const size_t *offsets);
void zero_messages_control_collect(ZeroComm *, int from, const void *mine, void *out, size_t bytes);
void zero_messages_control_broadcast(ZeroComm *, void *data, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
