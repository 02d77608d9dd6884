// What the transports share among themselves; nothing outside comm*.c includes this.
#ifndef ZERO_COMM_IMPL_H
#define ZERO_COMM_IMPL_H

#include "comm.h"
#include "comm_link.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

// A communicator and what carries its messages. `comm` comes first: every ZeroComm * is a ZeroTransport *.
typedef struct {
  ZeroComm comm;
  ZeroLink *link;                      // NULL: one rank that started nothing, whatever its transport
  int leader;                          // the lowest rank of this node, by which nodes are told apart
  int forced;                          // the transport was asked for by name
  int wants_nccl;                      // so was nccl, which takes over when the device is known
  uint64_t sent[ZERO_WIRE_CATEGORIES]; // payload bytes: those of comm_messages.c and of nccl
  // Called again and again while the host waits for a message; ends all ranks when a peer is lost. NULL: nobody asks.
  void (*watch)(ZeroComm *);
  // Called before the messages of a control call. NULL: there is nothing to do before.
  void (*before_control)(ZeroComm *);
  const char *waited_for; // messages that the host waits for, in words, or NULL
  double waited_since;    // seconds of zero_comm_seconds
  ZeroDevice *cpu;        // comm->device, until the engine sets another; destroyed with the communicator

  void (*close)(ZeroComm *); // collective: gives back what the transport holds (comm->impl); NULL: none yet
} ZeroTransport;

static inline ZeroTransport *zero_transport(ZeroComm *comm) {
  return (ZeroTransport *)comm;
}

// Why a transport cannot serve; the same text on all ranks.
typedef struct {
  char text[512];
} ZeroReason;

// Fill comm's table, in place of the transport that was there. Rank, size, device and link are set before. transfer
// has the link's name, mpi or tcp, and is collective.
void zero_comm_self_init(ZeroComm *comm);
void zero_comm_transfer_init(ZeroComm *comm);

// MPI is there only in programs that were built with it: else the address of these is NULL.
// running: whether MPI has been initialized. start: starts it unless it is, and sets rank, size, node and link.
__attribute__((weak)) int zero_mpi_running(void);
__attribute__((weak)) void zero_mpi_start(ZeroComm *comm);
// Collective; returns 1, or 0 with the reason and the table left as it was.
__attribute__((weak)) int zero_comm_shm_init(ZeroComm *comm, ZeroReason *why);

// nccl is there only in programs for GPUs that were built with NCCL: else the address of these is NULL. Collective.
// possible: whether each rank has a GPU of its own; else with the reason. init may be called only if it has.
// shares_gpus: this rank's ZERO_NCCL_SHARE_GPU, with which a GPU that it shares is no such reason; not collective.
__attribute__((weak)) int zero_comm_nccl_possible(ZeroComm *comm, ZeroReason *why);
__attribute__((weak)) void zero_comm_nccl_init(ZeroComm *comm);
__attribute__((weak)) int zero_comm_nccl_shares_gpus(void);

// Whether memory is allocated: then there is no way back to another transport.
__attribute__((weak)) int zero_comm_shm_in_use(const ZeroComm *comm);
// Collective. Makes room for `bytes` of this rank. Returns 1, or 0 with the reason, on all ranks.
__attribute__((weak)) int zero_comm_shm_reserve(ZeroComm *comm, size_t bytes, ZeroReason *why);
// Allocates the staging ring now, so that it is in the ledger from the start.
void zero_comm_transfer_reserve(ZeroComm *comm);

// Device memory for transports whose peers do not reach into it; a non-NULL pointer for 0 bytes.
void *zero_comm_device_alloc(ZeroComm *comm, size_t bytes, ZeroMemory category);
void zero_comm_device_free(ZeroComm *comm, void *ptr);

// Puts a transport in the place of the one before, which is closed: its name and state, and the entries of the
// table that are alike in all transports (abort, destroy).
void zero_comm_take_over(ZeroComm *comm, const char *name, void *impl, void (*close)(ZeroComm *));

// Bytes of a rank's range.
static inline size_t zero_span(const size_t *bounds, int rank, size_t element_bytes) {
  return (bounds[rank + 1] - bounds[rank]) * element_bytes;
}

// Seconds of a clock that only goes forward.
double zero_comm_seconds(void);
// ZERO_COMM_TIMEOUT, in seconds: how long a rank that is there may be waited for.
double zero_comm_time_limit(void);
// Ends all ranks: what took longer than that.
#if defined(__GNUC__)
__attribute__((noreturn))
#endif
void zero_comm_too_long(const char *what, double limit);

#ifdef __cplusplus
}
#endif

#endif
