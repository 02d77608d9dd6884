// What carries bytes between ranks: MPI (comm_mpi.c) or TCP sockets (comm_tcp.c). The messages of comm_messages.h go
// through it, whichever it is.
//
// On a lane, messages between two ranks keep their order, and all ranks use a lane in the same order; so a message is
// known by its place, and several operations may be under way.
#ifndef ZERO_COMM_LINK_H
#define ZERO_COMM_LINK_H

#include "comm.h"
#include "comm_staging.h"

#ifdef __cplusplus
extern "C" {
#endif

// ALARM is the link's own.
enum { ZERO_LANE_ALARM, ZERO_LANE_REDUCE, ZERO_LANE_GATHER, ZERO_LANE_CONTROL, ZERO_LANES };

// Messages of one operation. They grow as messages are posted and go when the operation ends.
typedef struct {
  void *items;                // the link's
  int count, capacity;        // messages under way; room in items
  ZeroStagingBuffer *staging; // the owner's: laid out as the unit is; NULL: the messages need none
} ZeroMessages;

typedef struct ZeroLink {
  const char *name; // "mpi", "tcp"
  // Post one message and return at once; data stays as it is, or is not looked at, until the message has gone.
  void (*send)(ZeroComm *, ZeroMessages *, int to, const void *data, size_t bytes, int lane);
  void (*receive)(ZeroComm *, ZeroMessages *, int from, void *data, size_t bytes, int lane);
  void (*wait)(ZeroComm *, ZeroMessages *); // until all have gone; count is 0 then
  int (*test)(ZeroComm *, ZeroMessages *);  // 1: all have gone, and count is 0; 0: perhaps after a short sleep
  // Ends this process if a peer has gone or ended the job. NULL: the launcher sees to that.
  void (*look)(ZeroComm *);
  void (*end_all)(ZeroComm *, int code); // ends every rank's process, this one too
  // Waits so long for the peer that is about to end all; returns if it does not.
  void (*await_end)(ZeroComm *, unsigned seconds);
  void (*destroy)(ZeroComm *); // collective
} ZeroLink;

#ifdef __cplusplus
}
#endif
#endif
