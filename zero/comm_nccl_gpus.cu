// Has each rank a GPU of its own? NCCL refuses two ranks on one.
#include <limits.h>
#include <stdio.h>

#include "comm_impl.h"
#include "cuda_launch.h"

// Where a GPU sits in its machine.
typedef struct {
  int domain, bus, device, rank;
} Place;

int zero_comm_nccl_possible(ZeroComm *comm, ZeroReason *why) {
  if (comm->device->host_memory) {
    snprintf(why->text, sizeof why->text,
             "nccl moves a GPU's memory, but the model lies in that of device %s; use mpi", comm->device->name);
    return 0;
  }
  int current;
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDevice(&current));
  CUDA_CHECK(cudaGetDeviceProperties(&properties, current));
  const Place mine = {properties.pciDomainID, properties.pciBusID, properties.pciDeviceID, comm->rank};
  const size_t count = (size_t)comm->node_size;
  Place *all = (Place *)zero_malloc(count * sizeof mine, ZERO_MEM_OTHER); // (node_size)
  ZERO_MPI(
      MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, zero_transport(comm)->node));
  int sharing[2] = {INT_MAX, INT_MAX}; // two ranks with one GPU, the lower first
  for (size_t a = count; a-- > 0;) {
    for (size_t b = a + 1; b < count; b++) {
      if (all[a].domain != all[b].domain || all[a].bus != all[b].bus || all[a].device != all[b].device) continue;
      sharing[0] = all[a].rank;
      sharing[1] = all[b].rank;
    }
  }
  zero_free(all);
  int first[2]; // of all nodes: the same text everywhere
  ZERO_MPI(MPI_Allreduce(sharing, first, 2, MPI_INT, MPI_MIN, zero_transport(comm)->world));
  if (first[0] == INT_MAX) return 1;
  snprintf(why->text, sizeof why->text,
           "nccl takes one rank for each GPU, but ranks %d and %d share one; start as many ranks on a node as it has "
           "GPUs, or set ZERO_COMM=mpi",
           first[0], first[1]);
  return 0;
}
