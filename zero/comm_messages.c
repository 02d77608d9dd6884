// MPI messages, and the control calls made of them.
#include "comm_messages.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static MPI_Request *next_request(ZeroMessages *requests) {
  if (requests->count == requests->capacity) {
    int capacity = requests->capacity > 0 ? 2 * requests->capacity : 16;
    MPI_Request *items = realloc(requests->items, (size_t)capacity * sizeof(*items));
    if (items == NULL) zero_fatal("no memory for %d MPI requests", capacity);
    requests->items = items;
    requests->capacity = capacity;
  }
  return &requests->items[requests->count++];
}

// MPI counts are ints.
int zero_message_bytes(size_t bytes) {
  if (bytes > INT_MAX) zero_fatal("a message of %zu bytes was asked for; MPI takes up to %d", bytes, INT_MAX);
  return (int)bytes;
}

ZeroMessages *zero_messages_new(void) {
  ZeroMessages *requests = calloc(1, sizeof(*requests));
  if (requests == NULL) zero_fatal("no memory for MPI requests");
  return requests;
}

// Open MPI yields the core while it waits where it knows of more ranks than cores (mpirun --oversubscribe).
void zero_messages_wait(ZeroComm *comm, ZeroMessages *requests) {
  void (*watch)(ZeroComm *) = zero_transport(comm)->watch;
  if (watch == NULL) {
    ZERO_MPI(MPI_Waitall(requests->count, requests->items, MPI_STATUSES_IGNORE));
  } else {
    int done = 0;
    for (;;) {
      ZERO_MPI(MPI_Testall(requests->count, requests->items, &done, MPI_STATUSES_IGNORE));
      if (done) break;
      watch(comm);
      sched_yield();
    }
  }
  requests->count = 0;
}

void zero_messages_end(ZeroComm *comm, ZeroMessages *requests) {
  zero_messages_wait(comm, requests);
  free(requests->items);
  free(requests);
}

// Sends bytes to a peer in messages of at most `step` bytes, counting them.
void zero_messages_send(ZeroComm *comm, ZeroMessages *requests, int to, const char *data, size_t bytes, size_t step,
                        int tag, ZeroWire wire) {
  for (size_t at = 0; at < bytes; at += step) {
    size_t part = bytes - at < step ? bytes - at : step;
    ZERO_MPI(MPI_Isend(data + at, zero_message_bytes(part), MPI_BYTE, to, tag, zero_transport(comm)->world,
                       next_request(requests)));
    zero_transport(comm)->sent[wire] += part;
  }
}

void zero_messages_receive(ZeroComm *comm, ZeroMessages *requests, int from, char *data, size_t bytes, size_t step,
                           int tag) {
  for (size_t at = 0; at < bytes; at += step) {
    size_t part = bytes - at < step ? bytes - at : step;
    ZERO_MPI(MPI_Irecv(data + at, zero_message_bytes(part), MPI_BYTE, from, tag, zero_transport(comm)->world,
                       next_request(requests)));
  }
}

// Every pair exchanges a message, an empty one too: that makes it a barrier.
void zero_messages_control_gather(ZeroComm *comm, const double *mine, double *all, const size_t *offsets) {
  size_t own = zero_span(offsets, comm->rank, sizeof(double));
  ZeroMessages *requests = zero_messages_new();
  for (int i = 1; i < comm->size; i++) {
    int from = (comm->rank + comm->size - i) % comm->size;
    ZERO_MPI(MPI_Irecv(all + offsets[from], zero_message_bytes(zero_span(offsets, from, sizeof(double))), MPI_BYTE,
                       from, ZERO_TAG_CONTROL, zero_transport(comm)->world, next_request(requests)));
  }
  for (int i = 1; i < comm->size; i++) {
    int to = (comm->rank + i) % comm->size;
    ZERO_MPI(MPI_Isend(mine, zero_message_bytes(own), MPI_BYTE, to, ZERO_TAG_CONTROL, zero_transport(comm)->world,
                       next_request(requests)));
    zero_transport(comm)->sent[ZERO_WIRE_CONTROL] += own;
  }
  if (own > 0) memmove(all + offsets[comm->rank], mine, own);
  zero_messages_end(comm, requests);
}

void zero_messages_control_collect(ZeroComm *comm, int from, const void *mine, void *out, size_t bytes) {
  if (from == 0) {
    if (comm->rank == 0 && bytes > 0) memmove(out, mine, bytes);
  } else if (comm->rank == from) {
    ZeroMessages *requests = zero_messages_new();
    zero_messages_send(comm, requests, 0, mine, bytes, ZERO_MESSAGE_BYTES, ZERO_TAG_CONTROL, ZERO_WIRE_CONTROL);
    zero_messages_end(comm, requests);
  } else if (comm->rank == 0) {
    ZeroMessages *requests = zero_messages_new();
    zero_messages_receive(comm, requests, from, out, bytes, ZERO_MESSAGE_BYTES, ZERO_TAG_CONTROL);
    zero_messages_end(comm, requests);
  }
}

void zero_messages_control_broadcast(ZeroComm *comm, void *data, size_t bytes) {
  ZeroMessages *requests = zero_messages_new();
  if (comm->rank == 0) {
    for (int to = 1; to < comm->size; to++) {
      zero_messages_send(comm, requests, to, data, bytes, ZERO_MESSAGE_BYTES, ZERO_TAG_CONTROL, ZERO_WIRE_CONTROL);
    }
  } else {
    zero_messages_receive(comm, requests, 0, data, bytes, ZERO_MESSAGE_BYTES, ZERO_TAG_CONTROL);
  }
  zero_messages_end(comm, requests);
}

static uint64_t sent(ZeroComm *comm, ZeroWire wire) {
  return zero_transport(comm)->sent[wire];
}

static void reset_sent(ZeroComm *comm) {
  memset(zero_transport(comm)->sent, 0, sizeof(zero_transport(comm)->sent));
}

void zero_messages_init(ZeroComm *comm) {
  reset_sent(comm);
  comm->control_gather = zero_messages_control_gather;
  comm->control_collect = zero_messages_control_collect;
  comm->control_broadcast = zero_messages_control_broadcast;
  comm->sent = sent;
  comm->reset_sent = reset_sent;
}
