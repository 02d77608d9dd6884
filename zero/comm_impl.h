// What the transports share among themselves; nothing outside comm*.c includes this.
#ifndef ZERO_COMM_IMPL_H
#define ZERO_COMM_IMPL_H

#define OMPI_SKIP_MPICXX 1 // C++ sees MPI's C interface alone
#include <mpi.h>

#include "comm.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

// A communicator and the MPI it stands on. `comm` comes first: every ZeroComm * is a ZeroTransport *.
typedef struct {
  ZeroComm comm;
  MPI_Comm world;                      // duplicate of MPI_COMM_WORLD; MPI_COMM_NULL: MPI is not running
  MPI_Comm node;                       // those of its ranks that can share memory with this one
  int started;                         // zero_comm_create started MPI, so destroying the communicator ends it
  int forced;                          // the transport was asked for by name
  int wants_nccl;                      // so was nccl, which takes over when the device is known
  uint64_t sent[ZERO_WIRE_CATEGORIES]; // payload bytes: those of comm_messages.c and of nccl
  // Called again and again while the host waits for a message; ends all ranks when a peer is lost. NULL: nobody asks.
  void (*watch)(ZeroComm *);
  ZeroDevice *cpu; // comm->device, until the engine sets another; destroyed with the communicator

  void (*close)(ZeroComm *); // collective: gives back what the transport holds (comm->impl); NULL: none yet
} ZeroTransport;

static inline ZeroTransport *zero_transport(ZeroComm *comm) {
  return (ZeroTransport *)comm;
}

// Why shm cannot serve; the same text on all ranks.
typedef struct {
  char text[512];
} ZeroReason;

// Fill comm's table, in place of the transport that was there. Rank, size, device and the MPI communicators
// are set before. shm is collective and returns 1, or 0 with the reason and the table left as it was.
void zero_comm_self_init(ZeroComm *comm);
void zero_comm_mpi_init(ZeroComm *comm);
int zero_comm_shm_init(ZeroComm *comm, ZeroReason *why);

// nccl is there only in programs for GPUs that were built with NCCL: else the address of these is NULL. Collective.
// possible: whether each rank has a GPU of its own; else with the reason. init may be called only if it has.
__attribute__((weak)) int zero_comm_nccl_possible(ZeroComm *comm, ZeroReason *why);
__attribute__((weak)) void zero_comm_nccl_init(ZeroComm *comm);

// Whether memory is allocated: then there is no way back to another transport.
int zero_comm_shm_in_use(const ZeroComm *comm);
// Collective. Makes room for `bytes` of this rank. Returns 1, or 0 with the reason, on all ranks.
int zero_comm_shm_reserve(ZeroComm *comm, size_t bytes, ZeroReason *why);
// Allocates the staging ring now, so that it is in the ledger from the start.
void zero_comm_mpi_reserve(ZeroComm *comm);

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

// Ends all ranks with a message that names the call unless it succeeded.
void zero_mpi_check_at(const char *file, int line, const char *call, int code);
#define ZERO_MPI(call) zero_mpi_check_at(__FILE__, __LINE__, #call, (call))

#ifdef __cplusplus
}
#endif

#endif
