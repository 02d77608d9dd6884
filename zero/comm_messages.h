// Messages between ranks, of the host's memory, through whichever link the communicator has, and the control calls
// made of them: what the transports mpi, tcp and nccl have in common.
#ifndef ZERO_COMM_MESSAGES_H
#define ZERO_COMM_MESSAGES_H

#include "comm_impl.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ZERO_MESSAGE_BYTES ((size_t)256 << 20) // the longest message, unless said; far below INT_MAX bytes

ZeroMessages *zero_messages_new(void);
// Waits for all, and watches the peers meanwhile where the transport wants it. what: in words, for the error of one
// who waits in vain.
void zero_messages_wait(ZeroComm *, ZeroMessages *, const char *what);
// Waits and frees.
void zero_messages_end(ZeroComm *, ZeroMessages *, const char *what);
// Bytes to a peer and from one, in messages of at most `step` bytes; those sent are counted.
void zero_messages_send(ZeroComm *, ZeroMessages *, int to, const char *data, size_t bytes, size_t step, int lane,
                        ZeroWire wire);
void zero_messages_receive(ZeroComm *, ZeroMessages *, int from, char *data, size_t bytes, size_t step, int lane);

// Sets the table's control calls and counters: see comm.h.
void zero_messages_init(ZeroComm *);

#ifdef __cplusplus
}
#endif
#endif
