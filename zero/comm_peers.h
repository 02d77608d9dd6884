// Are the other ranks of this node still there? MPI and NCCL do not say when one was killed or stopped; the system
// does.
#ifndef ZERO_COMM_PEERS_H
#define ZERO_COMM_PEERS_H

#include "comm_impl.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ZeroPeers ZeroPeers;

// Collective.
ZeroPeers *zero_peers_create(ZeroComm *);
void zero_peers_free(ZeroPeers *);
// To be asked often while waiting: looks at most ten times a second. 1, with a sentence on which rank it is, when one
// has been gone or stopped for some seconds in which this rank ran. A rank that is busy, however long, is not lost.
int zero_peers_lost(ZeroPeers *, ZeroReason *why);
// Ends all ranks for that reason.
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void zero_peers_end(const ZeroReason *why, const char *waited_for);

#ifdef __cplusplus
}
#endif
#endif
