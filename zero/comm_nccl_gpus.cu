// Has each rank a GPU of its own? NCCL refuses two ranks on one.
#include <stdio.h>
#include <string.h>

#include "comm_impl.h"
#include "cuda_launch.h"

// Where a GPU sits: its machine, and its place there.
enum { LEADER, DOMAIN, BUS, DEVICE, FIGURES };

int zero_comm_nccl_possible(ZeroComm *comm, ZeroReason *why) {
  if (comm->device->host_memory) {
    snprintf(why->text, sizeof why->text,
             "nccl moves a GPU's memory, but the model lies in that of device %s; leave ZERO_COMM unset",
             comm->device->name);
    return 0;
  }
  int current;
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDevice(&current));
  CUDA_CHECK(cudaGetDeviceProperties(&properties, current));
  const double mine[FIGURES] = {(double)zero_transport(comm)->leader, (double)properties.pciDomainID,
                                (double)properties.pciBusID, (double)properties.pciDeviceID};
  const int ranks = comm->size;
  double *all = (double *)zero_malloc((size_t)ranks * sizeof mine, ZERO_MEM_OTHER); // (ranks, FIGURES)
  zero_comm_gather_each(comm, mine, FIGURES, all);
  int first[2] = {ranks, ranks}; // two ranks with one GPU, the lower first
  for (int a = ranks; a-- > 0;) {
    for (int b = ranks; b-- > a + 1;) {
      if (memcmp(all + a * FIGURES, all + b * FIGURES, sizeof mine) != 0) continue;
      first[0] = a;
      first[1] = b;
    }
  }
  zero_free(all);
  if (first[0] == ranks) return 1;
  snprintf(why->text, sizeof why->text,
           "nccl takes one rank for each GPU, but ranks %d and %d share one; start as many ranks on a node as it has "
           "GPUs, or set ZERO_COMM=%s",
           first[0], first[1], zero_transport(comm)->link->name);
  return 0;
}
