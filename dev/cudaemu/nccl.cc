// NCCL's calls: communicators, groups, and the checks of their arguments. The work is nccl_work.cc's; it is queued on
// the stream that the call names, as a kernel is. A misuse ends the whole job with exit code 2 and names rank and
// call.
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>

#include "memory.h"
#include "nccl_work.h"
#include "options.h"
#include "stream.h"

// What ncclGroupStart collects.
typedef struct {
  ncclComm *comm;
  cudaStream_t stream;
  CudaemuNcclArguments arguments;
} GroupCall;
static int group_depth;
static std::vector<GroupCall> group;

// ---------------------------------------------------------------- results
const char *ncclGetErrorString(ncclResult_t result) {
  static const char *const texts[ncclNumResults] = {"no error",
                                                    "unhandled cuda error",
                                                    "unhandled system error",
                                                    "internal error",
                                                    "invalid argument",
                                                    "invalid usage",
                                                    "remote process exited or there was a network error",
                                                    "NCCL operation in progress"};
  return result >= 0 && result < ncclNumResults ? texts[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm) {
  if (comm != NULL && comm->error == ncclInvalidUsage) return "Duplicate GPU detected";
  return comm != NULL && comm->error == ncclRemoteError ? "a failure that ZERO_EMU_NCCL_FAIL asked for" : "";
}

ncclResult_t ncclGetVersion(int *version) {
  if (version == NULL) return ncclInvalidArgument;
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

// ---------------------------------------------------------------- communicators
static ncclComm *usable(ncclComm_t comm, const char *call) {
  if (comm == NULL) cudaemu_nccl_fail("%s: the communicator is NULL", call);
  if (comm->ended != NULL) cudaemu_nccl_fail("%s: the communicator is used after %s", call, comm->ended);
  return comm;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
  if (id == NULL) cudaemu_nccl_fail("ncclGetUniqueId: the id is a null pointer");
  std::random_device source;
  for (char &byte : id->internal) byte = (char)source();
  return ncclSuccess;
}

static void wait_for_ranks(MPI_Request *request, const char *call) {
  const double began = cudaemu_nccl_seconds();
  int done = 0;
  for (;;) {
    if (MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) cudaemu_nccl_fail("%s: MPI failed", call);
    if (done) return;
    if (cudaemu_nccl_seconds() - began > cudaemu_nccl_timeout()) {
      cudaemu_nccl_fail("%s: a rank did not come within %.0f s (ZERO_EMU_TIMEOUT)", call, cudaemu_nccl_timeout());
    }
    sched_yield();
  }
}

// A program that started without MPI, under mpirun or as one rank: MPI then serves the emulator alone.
static void start_mpi(int nranks, const char *call) {
  int running = 0, provided = 0;
  MPI_Initialized(&running);
  if (running) return;
  if (nranks > 1 && getenv("OMPI_COMM_WORLD_SIZE") == NULL) {
    cudaemu_nccl_fail("%s: the emulator's NCCL goes through MPI: start its ranks by mpirun", call);
  }
  if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
    cudaemu_nccl_fail("%s: MPI failed", call);
  }
  atexit([] { MPI_Finalize(); });
}

// As NCCL from 2.30 on takes them: where the variable is set.
static bool ranks_share_a_gpu(void) {
  const char *ranks = getenv("OMPI_COMM_WORLD_LOCAL_SIZE"), *allowed = getenv("NCCL_MULTI_RANK_GPU_ENABLE");
  int gpus = 0;
  cudaGetDeviceCount(&gpus);
  return ranks != NULL && atoi(ranks) > gpus && (allowed == NULL || strcmp(allowed, "1") != 0);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int nranks, ncclUniqueId id, int rank, ncclConfig_t *config) {
  const char *call = "ncclCommInitRank";
  start_mpi(nranks, call);
  if (comm == NULL) cudaemu_nccl_fail("%s: the communicator is a null pointer", call);
  if (config != NULL && config->magic != NCCL_CONFIG_MAGIC) {
    cudaemu_nccl_fail("%s: the configuration was not set to NCCL_CONFIG_INITIALIZER", call);
  }
  ncclComm *made = new ncclComm{};
  MPI_Request request;
  if (MPI_Comm_idup(MPI_COMM_WORLD, &made->mpi, &request) != MPI_SUCCESS) cudaemu_nccl_fail("%s: MPI failed", call);
  wait_for_ranks(&request, call);
  MPI_Comm_rank(made->mpi, &made->rank);
  MPI_Comm_size(made->mpi, &made->size);
  if (nranks != made->size || rank != made->rank) {
    cudaemu_nccl_fail("%s: rank %d of %d asked for; the emulator has all ranks of MPI alone: %d of %d", call, rank,
                      nranks, made->rank, made->size);
  }
  ncclUniqueId first = id;
  if (MPI_Ibcast(first.internal, NCCL_UNIQUE_ID_BYTES, MPI_BYTE, 0, made->mpi, &request) != MPI_SUCCESS) {
    cudaemu_nccl_fail("%s: MPI failed", call);
  }
  wait_for_ranks(&request, call);
  if (memcmp(first.internal, id.internal, NCCL_UNIQUE_ID_BYTES) != 0) {
    cudaemu_nccl_fail("%s: the unique id is not rank 0's: broadcast what one ncclGetUniqueId returned", call);
  }
  cudaGetDevice(&made->device);
  if (ranks_share_a_gpu()) made->error = ncclInvalidUsage;
  made->blocking = config == NULL || config->blocking != 0;
  made->in_progress = !made->blocking;
  *comm = made;
  return made->blocking ? made->error : ncclInProgress;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int nranks, ncclUniqueId id, int rank) {
  return ncclCommInitRankConfig(comm, nranks, id, rank, NULL);
}

// A communicator that does not block: once in progress, then settled, and what was called is on its stream.
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
  usable(comm, "ncclCommGetAsyncError");
  if (error == NULL) cudaemu_nccl_fail("ncclCommGetAsyncError: the error is a null pointer");
  *error = comm->in_progress ? ncclInProgress : comm->error;
  if (comm->in_progress) {
    comm->in_progress = false;
    for (const std::function<void()> &launch : comm->launches) launch();
    comm->launches.clear();
  }
  return ncclSuccess;
}

static void must_be_settled(const ncclComm *comm, const char *call) {
  if (!comm->in_progress) return;
  cudaemu_nccl_fail(
      "%s: the call before is still in progress, on a communicator that does not block: ask ncclCommGetAsyncError "
      "until it is not ncclInProgress",
      call);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  usable(comm, "ncclCommFinalize");
  must_be_settled(comm, "ncclCommFinalize");
  cudaemu_stream_finish(comm->stream);
  comm->in_progress = !comm->blocking;
  return comm->blocking ? ncclSuccess : ncclInProgress;
}

// Its memory stays, so that a use afterwards is seen.
static ncclResult_t end(ncclComm_t comm, const char *call) {
  usable(comm, call);
  comm->ended = call;
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  usable(comm, "ncclCommDestroy");
  cudaemu_stream_finish(comm->stream);
  return end(comm, "ncclCommDestroy");
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  return end(comm, "ncclCommAbort");
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count) {
  *count = usable(comm, "ncclCommCount")->size;
  return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device) {
  *device = usable(comm, "ncclCommCuDevice")->device;
  return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) {
  *rank = usable(comm, "ncclCommUserRank")->rank;
  return ncclSuccess;
}

// ---------------------------------------------------------------- groups
static void queue(ncclComm *comm, cudaStream_t stream, const std::vector<CudaemuNcclArguments> &calls) {
  auto work = std::make_shared<CudaemuNcclWork>(comm, calls);
  auto launch = [stream, work] { cudaemu_stream_put_waiting(stream, [work] { return work->step(); }); };
  if (comm->blocking) {
    launch();
  } else {
    comm->launches.push_back(launch);
    comm->in_progress = true;
  }
}

static bool point_to_point(const GroupCall &call) {
  return call.arguments.call.kind == CUDAEMU_NCCL_SEND || call.arguments.call.kind == CUDAEMU_NCCL_RECV;
}

// Collectives one by one, then all sends and receives of each communicator as one.
static ncclResult_t start_group(void) {
  std::vector<GroupCall> calls;
  calls.swap(group);
  ncclResult_t result = ncclSuccess;
  std::vector<ncclComm *> comms;
  for (const GroupCall &call : calls) {
    if (std::find(comms.begin(), comms.end(), call.comm) == comms.end()) comms.push_back(call.comm);
    if (!point_to_point(call)) queue(call.comm, call.stream, {call.arguments});
  }
  for (ncclComm *comm : comms) {
    std::vector<CudaemuNcclArguments> messages;
    cudaStream_t stream = NULL;
    for (const GroupCall &call : calls) {
      if (call.comm != comm || !point_to_point(call)) continue;
      messages.push_back(call.arguments);
      stream = call.stream;
    }
    if (!messages.empty()) queue(comm, stream, messages);
    if (comm->in_progress) result = ncclInProgress;
  }
  return result;
}

ncclResult_t ncclGroupStart(void) {
  group_depth++;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
  if (group_depth == 0) cudaemu_nccl_fail("ncclGroupEnd without ncclGroupStart");
  return --group_depth == 0 ? start_group() : ncclSuccess;
}

// ---------------------------------------------------------------- checks
static void check_memory(const CudaemuNcclCall &call, const char *which, const void *memory, size_t count) {
  const CudaemuNcclText shown = cudaemu_nccl_text(call);
  if (count == 0) return;
  if (memory == NULL) cudaemu_nccl_fail("%s: %s is a null pointer", shown.text, which);
  size_t room = 0;
  const cudaMemoryType type = cudaemu_memory_type(memory, &room);
  if (type != cudaMemoryTypeDevice && type != cudaMemoryTypeManaged) {
    cudaemu_nccl_fail("%s: %s, %p, is not the device's memory: it is not of cudaMalloc, or was freed", shown.text,
                      which, memory);
  }
  const size_t bytes = count * cudaemu_nccl_type_size(call.type);
  if (bytes > room) {
    cudaemu_nccl_fail("%s: %s has room for %zu bytes, but %zu elements take %zu; counts are elements, not bytes",
                      shown.text, which, room, count, bytes);
  }
}

static bool needs_operation(int kind) {
  return kind == CUDAEMU_NCCL_ALL_REDUCE || kind == CUDAEMU_NCCL_REDUCE_SCATTER;
}

// What can be seen on this rank alone. send_count, recv_count: elements that the call reads and writes here.
static ncclResult_t give(CudaemuNcclKind kind, const void *send, size_t send_count, void *recv, size_t recv_count,
                         size_t count, ncclDataType_t type, ncclRedOp_t op, int peer, ncclComm_t comm,
                         cudaStream_t stream) {
  const char *name = cudaemu_nccl_name(kind);
  usable(comm, name);
  must_be_settled(comm, name);
  if (cudaemu_nccl_type_size(type) == 0) cudaemu_nccl_fail("%s: there is no type %d", name, (int)type);
  if (needs_operation(kind) && (op < ncclSum || op > ncclMin)) {
    cudaemu_nccl_fail("%s: operation %d is not in the emulator", name, (int)op);
  }
  if (peer < 0 || peer >= comm->size) {
    cudaemu_nccl_fail("%s: rank %d found; there are ranks 0 to %d", name, peer, comm->size - 1);
  }
  const CudaemuNcclCall call = {kind, type, op, peer, count, ++comm->calls};
  if (comm->calls > 1 && comm->stream != stream) {
    cudaemu_nccl_fail("%s: another stream than the call before; the emulator has one stream for a communicator",
                      cudaemu_nccl_text(call).text);
  }
  comm->stream = stream;
  check_memory(call, "sendbuff", send, send_count);
  check_memory(call, "recvbuff", recv, recv_count);
  group.push_back({comm, stream, {call, (const char *)send, (char *)recv}});
  return group_depth > 0 ? ncclSuccess : start_group();
}

ncclResult_t ncclBroadcast(const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  usable(comm, "ncclBroadcast");
  return give(CUDAEMU_NCCL_BROADCAST, sendbuff, comm->rank == root ? count : 0, recvbuff, count, count, type, ncclSum,
              root, comm, stream);
}

ncclResult_t ncclAllReduce(const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return give(CUDAEMU_NCCL_ALL_REDUCE, sendbuff, count, recvbuff, count, count, type, op, 0, comm, stream);
}

ncclResult_t ncclReduceScatter(const void *sendbuff, void *recvbuff, size_t recvcount, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const size_t ranks = (size_t)usable(comm, "ncclReduceScatter")->size;
  return give(CUDAEMU_NCCL_REDUCE_SCATTER, sendbuff, ranks * recvcount, recvbuff, recvcount, recvcount, type, op, 0,
              comm, stream);
}

ncclResult_t ncclAllGather(const void *sendbuff, void *recvbuff, size_t sendcount, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  const size_t ranks = (size_t)usable(comm, "ncclAllGather")->size;
  return give(CUDAEMU_NCCL_ALL_GATHER, sendbuff, sendcount, recvbuff, ranks * sendcount, sendcount, type, ncclSum, 0,
              comm, stream);
}

ncclResult_t ncclSend(const void *sendbuff, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return give(CUDAEMU_NCCL_SEND, sendbuff, count, NULL, 0, count, type, ncclSum, peer, comm, stream);
}

ncclResult_t ncclRecv(void *recvbuff, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return give(CUDAEMU_NCCL_RECV, NULL, 0, recvbuff, count, count, type, ncclSum, peer, comm, stream);
}
