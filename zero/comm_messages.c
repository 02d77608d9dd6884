// Messages, and the control calls made of them.
#include "comm_messages.h"

#include <stdlib.h>
#include <string.h>

ZeroMessages *zero_messages_new(void) {
  ZeroMessages *messages = calloc(1, sizeof(*messages));
  if (messages == NULL) zero_fatal("no memory for messages");
  return messages;
}

void zero_messages_wait(ZeroComm *comm, ZeroMessages *messages, const char *what) {
  ZeroTransport *transport = zero_transport(comm);
  if (messages->count == 0) return;
  if (transport->watch == NULL) {
    transport->link->wait(comm, messages);
    return;
  }
  transport->waited_for = what;
  transport->waited_since = zero_comm_seconds();
  while (!transport->link->test(comm, messages)) transport->watch(comm);
  transport->waited_for = NULL;
}

void zero_messages_end(ZeroComm *comm, ZeroMessages *messages, const char *what) {
  zero_messages_wait(comm, messages, what);
  free(messages->items);
  free(messages);
}

void zero_messages_send(ZeroComm *comm, ZeroMessages *messages, int to, const char *data, size_t bytes, size_t step,
                        int lane, ZeroWire wire) {
  ZeroTransport *transport = zero_transport(comm);
  for (size_t at = 0; at < bytes; at += step) {
    size_t part = bytes - at < step ? bytes - at : step;
    transport->link->send(comm, messages, to, data + at, part, lane);
    transport->sent[wire] += part;
  }
}

void zero_messages_receive(ZeroComm *comm, ZeroMessages *messages, int from, char *data, size_t bytes, size_t step,
                           int lane) {
  for (size_t at = 0; at < bytes; at += step) {
    size_t part = bytes - at < step ? bytes - at : step;
    zero_transport(comm)->link->receive(comm, messages, from, data + at, part, lane);
  }
}

// ---------------------------------------------------------------- control calls
static ZeroMessages *begin_control(ZeroComm *comm) {
  void (*before)(ZeroComm *) = zero_transport(comm)->before_control;
  if (before != NULL) before(comm);
  return zero_messages_new();
}

// Every pair exchanges a message, an empty one too: that makes it a barrier.
static void control_gather(ZeroComm *comm, const double *mine, double *all, const size_t *offsets) {
  ZeroTransport *transport = zero_transport(comm);
  size_t own = zero_span(offsets, comm->rank, sizeof(double));
  ZeroMessages *messages = begin_control(comm);
  for (int i = 1; i < comm->size; i++) {
    int from = (comm->rank + comm->size - i) % comm->size;
    transport->link->receive(comm, messages, from, all + offsets[from], zero_span(offsets, from, sizeof(double)),
                             ZERO_LANE_CONTROL);
  }
  for (int i = 1; i < comm->size; i++) {
    transport->link->send(comm, messages, (comm->rank + i) % comm->size, mine, own, ZERO_LANE_CONTROL);
    transport->sent[ZERO_WIRE_CONTROL] += own;
  }
  if (own > 0) memmove(all + offsets[comm->rank], mine, own);
  zero_messages_end(comm, messages, "control_gather (norms, losses)");
}

static void control_collect(ZeroComm *comm, int from, const void *mine, void *out, size_t bytes) {
  ZeroMessages *messages = begin_control(comm);
  if (from == 0) {
    if (comm->rank == 0 && bytes > 0) memmove(out, mine, bytes);
  } else if (comm->rank == from) {
    zero_messages_send(comm, messages, 0, mine, bytes, ZERO_MESSAGE_BYTES, ZERO_LANE_CONTROL, ZERO_WIRE_CONTROL);
  } else if (comm->rank == 0) {
    zero_messages_receive(comm, messages, from, out, bytes, ZERO_MESSAGE_BYTES, ZERO_LANE_CONTROL);
  }
  zero_messages_end(comm, messages, "control_collect (state to rank 0)");
}

static void control_broadcast(ZeroComm *comm, void *data, size_t bytes) {
  ZeroMessages *messages = begin_control(comm);
  if (comm->rank == 0) {
    for (int to = 1; to < comm->size; to++) {
      zero_messages_send(comm, messages, to, data, bytes, ZERO_MESSAGE_BYTES, ZERO_LANE_CONTROL, ZERO_WIRE_CONTROL);
    }
  } else {
    zero_messages_receive(comm, messages, 0, data, bytes, ZERO_MESSAGE_BYTES, ZERO_LANE_CONTROL);
  }
  zero_messages_end(comm, messages, "control_broadcast");
}

static uint64_t sent(ZeroComm *comm, ZeroWire wire) {
  return zero_transport(comm)->sent[wire];
}

static void reset_sent(ZeroComm *comm) {
  memset(zero_transport(comm)->sent, 0, sizeof(zero_transport(comm)->sent));
}

void zero_messages_init(ZeroComm *comm) {
  reset_sent(comm);
  comm->control_gather = control_gather;
  comm->control_collect = control_collect;
  comm->control_broadcast = control_broadcast;
  comm->sent = sent;
  comm->reset_sent = reset_sent;
}
