// Has each rank a GPU of its own? NCCL refuses two ranks on one, unless it was told otherwise: for tests on a machine
// with one GPU ZERO_NCCL_SHARE_GPU=1 leaves the answer to NCCL.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm_impl.h"
#include "cuda_launch.h"

// Where a GPU sits: its machine, and its place there. Then whether its rank would share it.
enum { LEADER, DOMAIN, BUS, DEVICE, PLACE_FIGURES, SHARES = PLACE_FIGURES, FIGURES };

int zero_comm_nccl_shares_gpus(void) {
  const char *value = getenv("ZERO_NCCL_SHARE_GPU");
  if (value == NULL || value[0] == '\0' || strcmp(value, "0") == 0) return 0;
  if (strcmp(value, "1") != 0) {
    zero_fatal("ZERO_NCCL_SHARE_GPU: '%s' found; it is 1, for tests of ranks that share a GPU, or 0", value);
  }
  return 1;
}

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
                                (double)properties.pciBusID, (double)properties.pciDeviceID,
                                (double)zero_comm_nccl_shares_gpus()};
  const int ranks = comm->size;
  double *all = (double *)zero_malloc((size_t)ranks * sizeof mine, ZERO_MEM_OTHER); // (ranks, FIGURES)
  zero_comm_gather_each(comm, mine, FIGURES, all);
  int first[2] = {ranks, ranks}; // two ranks with one GPU that do not both want it so, the lower first
  for (int a = ranks; a-- > 0;) {
    for (int b = ranks; b-- > a + 1;) {
      const double *of_a = all + a * FIGURES, *of_b = all + b * FIGURES;
      if (memcmp(of_a, of_b, PLACE_FIGURES * sizeof *all) != 0) continue;
      if (of_a[SHARES] != 0.0 && of_b[SHARES] != 0.0) continue;
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
