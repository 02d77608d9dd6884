// MPI, for the files that stand on it: the link mpi and the transport shm. Nothing else includes it, so that a
// program can be built without MPI by leaving these files out.
#ifndef ZERO_COMM_MPI_H
#define ZERO_COMM_MPI_H

#include <mpi.h>

#include "comm_impl.h"

// Those ranks that can share memory with this one.
MPI_Comm zero_mpi_node(ZeroComm *);

// Ends all ranks with a message that names the call unless it succeeded.
void zero_mpi_check_at(const char *file, int line, const char *call, int code);
#define ZERO_MPI(call) zero_mpi_check_at(__FILE__, __LINE__, #call, (call))

#endif
