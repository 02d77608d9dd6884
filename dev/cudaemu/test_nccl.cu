// NCCL with planted misuse, for the emulator's checks: test_nccl NAME 0|1, on two ranks or more. With 0 the program
// is right and prints a sum, with 1 one thing in it is wrong. Compiles with nvcc too.
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "zero/cuda_launch.h"

enum { COUNT = 48, EXIT_USAGE = 1 };

typedef struct {
  int rank, size, bug;
  ncclComm_t comm;
  cudaStream_t stream;
  float *from, *to; // (COUNT), (size, COUNT) of the device's memory
} Test;

#define NCCL_CALL(call)                                                                         \
  do {                                                                                          \
    const ncclResult_t result = (call);                                                         \
    if (result != ncclSuccess) zero_fatal("NCCL: %s in %s", ncclGetErrorString(result), #call); \
  } while (0)

static void all_reduce(Test *t, size_t count, ncclDataType_t type) {
  NCCL_CALL(ncclAllReduce(t->from, t->to, count, type, ncclSum, t->comm, t->stream));
}

static void right_sum(Test *t) {
  all_reduce(t, COUNT, ncclFloat32);
}

static void last_rank(Test *t, void (*wrong)(Test *)) {
  if (t->bug && t->rank == t->size - 1) {
    wrong(t);
  } else {
    right_sum(t);
  }
}

static void sum_of_bytes(Test *t) {
  all_reduce(t, COUNT * sizeof(float), ncclFloat32);
}
static void count_in_bytes(Test *t) {
  last_rank(t, sum_of_bytes);
}

static void shorter_sum(Test *t) {
  all_reduce(t, COUNT / 2, ncclFloat32);
}
static void other_count(Test *t) {
  last_rank(t, shorter_sum);
}

static void sum_of_int32(Test *t) {
  all_reduce(t, COUNT, ncclInt32);
}
static void wrong_type(Test *t) {
  last_rank(t, sum_of_int32);
}

static void sum_of_host(Test *t) {
  static float host[COUNT];
  NCCL_CALL(ncclAllReduce(host, t->to, COUNT, ncclFloat32, ncclSum, t->comm, t->stream));
}
static void host_memory(Test *t) {
  last_rank(t, sum_of_host);
}

static void sum_of_nothing(Test *t) {
  NCCL_CALL(ncclAllReduce(NULL, t->to, COUNT, ncclFloat32, ncclSum, t->comm, t->stream));
}
static void null_pointer(Test *t) {
  last_rank(t, sum_of_nothing);
}

// The others wait for its sum; it goes on to its next call.
static void skips_call(Test *t) {
  if (!t->bug || t->rank != 0) right_sum(t);
  NCCL_CALL(ncclAllGather(t->from, t->to, COUNT, ncclFloat32, t->comm, t->stream));
  right_sum(t);
}

// There is no call afterwards: the rank is missing.
// The rank does not go on to MPI_Finalize: mpirun of Open MPI 4.1.4 crashes or hangs now and then when one rank
// aborts while another is in there.
static void skips_last_call(Test *t) {
  const unsigned longer_than_the_others_wait = 30; // seconds
  if (!t->bug || t->rank != 0) {
    right_sum(t);
  } else {
    sleep(longer_than_the_others_wait);
  }
}

static void wrong_order(Test *t) {
  const int other_way = t->bug && t->rank == 0;
  if (!other_way) right_sum(t);
  NCCL_CALL(ncclBroadcast(t->from, t->from, COUNT, ncclFloat32, 0, t->comm, t->stream));
  if (other_way) right_sum(t);
  right_sum(t);
}

static void message(Test *t, size_t count, int send) {
  const int next = (t->rank + 1) % t->size, before = (t->rank + t->size - 1) % t->size;
  NCCL_CALL(ncclGroupStart());
  if (send) NCCL_CALL(ncclSend(t->from, count, ncclFloat32, next, t->comm, t->stream));
  NCCL_CALL(ncclRecv(t->to, COUNT, ncclFloat32, before, t->comm, t->stream));
  NCCL_CALL(ncclGroupEnd());
}
static void shorter_message(Test *t) {
  message(t, t->bug && t->rank == 0 ? COUNT - 1 : COUNT, 1);
}
static void receive_without_send(Test *t) {
  message(t, COUNT, !t->bug || t->rank != 0);
}

static void use_after_destroy(Test *t) {
  right_sum(t);
  if (!t->bug) return;
  CUDA_CHECK(cudaStreamSynchronize(t->stream));
  NCCL_CALL(ncclCommDestroy(t->comm));
  right_sum(t);
}

typedef struct {
  const char *name;
  void (*run)(Test *);
} Case;

static const Case cases[] = {
    {"count_in_bytes", count_in_bytes},
    {"other_count", other_count},
    {"wrong_type", wrong_type},
    {"host_memory", host_memory},
    {"null_pointer", null_pointer},
    {"skips_call", skips_call},
    {"skips_last_call", skips_last_call},
    {"wrong_order", wrong_order},
    {"shorter_message", shorter_message},
    {"receive_without_send", receive_without_send},
    {"use_after_destroy", use_after_destroy},
};

static void prepare(Test *t) {
  MPI_Comm_rank(MPI_COMM_WORLD, &t->rank);
  MPI_Comm_size(MPI_COMM_WORLD, &t->size);
  int gpus;
  CUDA_CHECK(cudaGetDeviceCount(&gpus));
  CUDA_CHECK(cudaSetDevice(t->rank % gpus));
  CUDA_CHECK(cudaStreamCreateWithFlags(&t->stream, cudaStreamNonBlocking));
  float host[COUNT];
  for (int i = 0; i < COUNT; i++) host[i] = (float)(i + t->rank);
  CUDA_CHECK(cudaMalloc((void **)&t->from, sizeof(host)));
  CUDA_CHECK(cudaMalloc((void **)&t->to, (size_t)t->size * sizeof(host)));
  CUDA_CHECK(cudaMemcpyAsync(t->from, host, sizeof(host), cudaMemcpyHostToDevice, t->stream));
  CUDA_CHECK(cudaStreamSynchronize(t->stream));
  ncclUniqueId id;
  if (t->rank == 0) NCCL_CALL(ncclGetUniqueId(&id));
  MPI_Bcast(&id, (int)sizeof(id), MPI_BYTE, 0, MPI_COMM_WORLD);
  NCCL_CALL(ncclCommInitRank(&t->comm, t->size, id, t->rank));
}

static void print_sum(const Test *t) {
  float host[COUNT];
  CUDA_CHECK(cudaMemcpyAsync(host, t->to, sizeof(host), cudaMemcpyDeviceToHost, t->stream));
  CUDA_CHECK(cudaStreamSynchronize(t->stream));
  double sum = 0.0;
  for (int i = 0; i < COUNT; i++) sum += (double)host[i];
  printf("rank %d sum %.0f\n", t->rank, sum);
}

int main(int argc, char **argv) {
  const Case *chosen = NULL;
  for (const Case &one : cases) {
    if (argc == 3 && strcmp(one.name, argv[1]) == 0) chosen = &one;
  }
  if (chosen == NULL) {
    fprintf(stderr, "error: a case and 0 or 1 were expected: test_nccl NAME 0|1\n");
    return EXIT_USAGE;
  }
  MPI_Init(&argc, &argv);
  Test test = {};
  test.bug = atoi(argv[2]);
  prepare(&test);
  chosen->run(&test);
  print_sum(&test);
  NCCL_CALL(ncclCommDestroy(test.comm));
  MPI_Finalize();
  return 0;
}
