// What nccl.cc (the calls and their checks) hands to nccl_work.cc (what they do, over MPI).
#ifndef CUDAEMU_NCCL_WORK_H
#define CUDAEMU_NCCL_WORK_H

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "include/nccl.h"

typedef enum {
  CUDAEMU_NCCL_ALL_REDUCE,
  CUDAEMU_NCCL_REDUCE_SCATTER,
  CUDAEMU_NCCL_ALL_GATHER,
  CUDAEMU_NCCL_BROADCAST,
  CUDAEMU_NCCL_SEND,
  CUDAEMU_NCCL_RECV,
  CUDAEMU_NCCL_KINDS
} CudaemuNcclKind;

// What two ranks compare of a call; it travels as it is.
typedef struct {
  int32_t kind, type, op, peer; // peer: the root, or whom a send goes to or a receive comes from
  uint64_t count;
  uint64_t number; // among the calls that this rank makes of the communicator, from 1
} CudaemuNcclCall;

typedef struct {
  CudaemuNcclCall call;
  const char *send; // NULL: nothing
  char *recv;
} CudaemuNcclArguments;

struct ncclComm {
  MPI_Comm mpi;
  int rank, size, device;
  const char *ended; // the call after which it may not be used, or NULL
  bool blocking;     // 0: each call is in progress until ncclCommGetAsyncError has said so once
  bool in_progress;
  std::vector<std::function<void()>> launches; // those that wait for that
  cudaStream_t stream;                         // of the last call
  uint64_t calls;
  ncclResult_t error;
};

// A collective, or the sends and receives of a group, under way.
class CudaemuNcclWork {
 public:
  CudaemuNcclWork(ncclComm *comm, std::vector<CudaemuNcclArguments> calls);
  bool step(); // goes on as far as it can; true: all is done

 private:
  enum { WAITING, MOVING, DONE } state_;
  ncclComm *comm_;
  std::vector<CudaemuNcclArguments> calls_;
  std::vector<bool> involved_, arrived_;           // (size) ranks that take part; whose description has come
  std::vector<std::vector<CudaemuNcclCall>> mine_; // (size) what this rank tells each
  std::vector<std::vector<char>> pieces_;          // (size) what a sum is made of
  std::vector<MPI_Request> requests_;
  double began_; // 0: not yet

  void begin();
  void take_descriptions();
  void complain_of_missing() const;
  void compare(int peer, const std::vector<CudaemuNcclCall> &theirs) const;
  void move();
  void move_to_self();
  void send(int to, const char *data, size_t bytes);
  void receive(int from, char *data, size_t bytes);
  void finish();
};

size_t cudaemu_nccl_type_size(int type);             // 0: there is no such type
const char *cudaemu_nccl_name(CudaemuNcclKind kind); // "ncclAllReduce"
// "ncclAllReduce(count 64, ncclFloat32, ncclSum)"
typedef struct {
  char text[160];
} CudaemuNcclText;
CudaemuNcclText cudaemu_nccl_text(const CudaemuNcclCall &call);
// Adds and so on, element by element: to = to op from.
void cudaemu_nccl_combine(char *to, const char *from, size_t count, ncclDataType_t type, ncclRedOp_t op);

// A line `error: rank R: NCCL: …`; then the whole job ends with exit code 2.
__attribute__((noreturn, format(printf, 1, 2))) void cudaemu_nccl_fail(const char *format, ...);
double cudaemu_nccl_seconds(void);

#endif
