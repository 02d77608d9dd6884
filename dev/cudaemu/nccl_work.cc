// What NCCL's calls do, over MPI. Each begins by telling every rank that takes part what is called here, and goes on
// when all of them have told the same; so one that is missing or different is named, instead of waited for. Then the
// data moves, straight out of and into the device's memory, while the stream stands at this work.
#include "nccl_work.h"

#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include "options.h"

enum { TAG_DESCRIPTION = 1, TAG_DATA };
enum { EXIT_FAILED = 2 };
#define MESSAGE_BYTES ((size_t)1 << 30) // MPI counts in int

#define MPI_CALL(call)                                                                        \
  do {                                                                                        \
    if ((call) != MPI_SUCCESS) cudaemu_nccl_fail("%s: MPI failed under the emulator", #call); \
  } while (0)

void cudaemu_nccl_fail(const char *format, ...) {
  int running = 0, rank = 0;
  MPI_Initialized(&running);
  if (running) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  char message[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  fflush(stdout);
  fprintf(stderr, "error: rank %d: NCCL: %s\n", rank, message);
  fflush(stderr);
  if (running) MPI_Abort(MPI_COMM_WORLD, EXIT_FAILED);
  _exit(EXIT_FAILED);
}

double cudaemu_nccl_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// ---------------------------------------------------------------- how calls are named
static const char *const type_names[] = {"ncclInt8",   "ncclUint8",   "ncclInt32",   "ncclUint32",  "ncclInt64",
                                         "ncclUint64", "ncclFloat16", "ncclFloat32", "ncclFloat64", "ncclBfloat16"};
static const size_t type_sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
static const char *const op_names[] = {"ncclSum", "ncclProd", "ncclMax", "ncclMin", "ncclAvg"};
static const char *const call_names[CUDAEMU_NCCL_KINDS] = {"ncclAllReduce", "ncclReduceScatter", "ncclAllGather",
                                                           "ncclBroadcast", "ncclSend",          "ncclRecv"};

size_t cudaemu_nccl_type_size(int type) {
  return type >= 0 && (size_t)type < sizeof(type_sizes) / sizeof(type_sizes[0]) ? type_sizes[type] : 0;
}

const char *cudaemu_nccl_name(CudaemuNcclKind kind) {
  return call_names[kind];
}

CudaemuNcclText cudaemu_nccl_text(const CudaemuNcclCall &call) {
  CudaemuNcclText text;
  char last[32] = "";
  switch (call.kind) {
    case CUDAEMU_NCCL_ALL_REDUCE:
    case CUDAEMU_NCCL_REDUCE_SCATTER:
      snprintf(last, sizeof(last), ", %s", op_names[call.op]);
      break;
    case CUDAEMU_NCCL_BROADCAST:
      snprintf(last, sizeof(last), ", root %d", call.peer);
      break;
    case CUDAEMU_NCCL_SEND:
    case CUDAEMU_NCCL_RECV:
      snprintf(last, sizeof(last), ", peer %d", call.peer);
      break;
    default:
      break;
  }
  snprintf(text.text, sizeof(text.text), "%s(count %llu, %s%s), call %llu of the communicator", call_names[call.kind],
           (unsigned long long)call.count, type_names[call.type], last, (unsigned long long)call.number);
  return text;
}

static bool point_to_point(int kind) {
  return kind == CUDAEMU_NCCL_SEND || kind == CUDAEMU_NCCL_RECV;
}

// ---------------------------------------------------------------- describing, comparing
CudaemuNcclWork::CudaemuNcclWork(ncclComm *comm, std::vector<CudaemuNcclArguments> calls)
    : state_(WAITING), comm_(comm), calls_(std::move(calls)), began_(0) {
  size_t size = (size_t)comm->size;
  involved_.assign(size, !point_to_point(calls_[0].call.kind));
  arrived_.assign(size, false);
  mine_.resize(size);
  pieces_.resize(size);
  for (const CudaemuNcclArguments &arguments : calls_) {
    if (point_to_point(arguments.call.kind)) involved_[(size_t)arguments.call.peer] = true;
    for (size_t r = 0; r < size; r++) {
      if (!point_to_point(arguments.call.kind) || (size_t)arguments.call.peer == r)
        mine_[r].push_back(arguments.call);
    }
  }
}

void CudaemuNcclWork::begin() {
  began_ = cudaemu_nccl_seconds();
  for (int r = 0; r < comm_->size; r++) {
    const std::vector<CudaemuNcclCall> &calls = mine_[(size_t)r];
    if (!involved_[(size_t)r]) continue;
    if (r == comm_->rank) {
      compare(r, calls);
      arrived_[(size_t)r] = true;
      continue;
    }
    MPI_Request request;
    MPI_CALL(MPI_Isend(calls.data(), (int)(calls.size() * sizeof(CudaemuNcclCall)), MPI_BYTE, r, TAG_DESCRIPTION,
                       comm_->mpi, &request));
    requests_.push_back(request);
  }
}

static void differ(const CudaemuNcclCall &mine, int peer, const char *theirs) {
  cudaemu_nccl_fail(
      "%s: rank %d makes %s; all ranks make the same calls in the same order, with the same count (elements, not "
      "bytes), type and operation, and each ncclSend has its ncclRecv",
      cudaemu_nccl_text(mine).text, peer, theirs);
}

void CudaemuNcclWork::compare(int peer, const std::vector<CudaemuNcclCall> &theirs) const {
  const std::vector<CudaemuNcclCall> &mine = mine_[(size_t)peer];
  if (!point_to_point(mine[0].kind) || !point_to_point(theirs[0].kind)) {
    const CudaemuNcclCall &a = mine[0], &b = theirs[0];
    if (a.kind != b.kind || a.type != b.type || a.op != b.op || a.peer != b.peer || a.count != b.count) {
      differ(a, peer, cudaemu_nccl_text(b).text);
    }
    return;
  }
  // The n-th send of one side to the other is the n-th receive there, and the other way round.
  for (int kind : {CUDAEMU_NCCL_SEND, CUDAEMU_NCCL_RECV}) {
    std::vector<CudaemuNcclCall> ours, matching;
    for (const CudaemuNcclCall &call : mine) {
      if (call.kind == kind) ours.push_back(call);
    }
    for (const CudaemuNcclCall &call : theirs) {
      if (call.kind != kind) matching.push_back(call);
    }
    for (size_t i = 0; i < std::max(ours.size(), matching.size()); i++) {
      if (i >= ours.size()) {
        differ(mine.back(), peer, (std::string("also ") + cudaemu_nccl_text(matching[i]).text).c_str());
      }
      if (i >= matching.size()) differ(ours[i], peer, "no call that belongs to it in this group");
      if (ours[i].count != matching[i].count || ours[i].type != matching[i].type) {
        differ(ours[i], peer, cudaemu_nccl_text(matching[i]).text);
      }
    }
  }
}

void CudaemuNcclWork::complain_of_missing() const {
  std::string missing;
  for (int r = 0; r < comm_->size; r++) {
    if (involved_[(size_t)r] && !arrived_[(size_t)r]) missing += (missing.empty() ? "" : ", ") + std::to_string(r);
  }
  cudaemu_nccl_fail("%s: rank %s did not come within %.0f s (ZERO_EMU_TIMEOUT): it skips the call, or was stopped",
                    cudaemu_nccl_text(calls_[0].call).text, missing.c_str(), cudaemu_nccl_timeout());
}

void CudaemuNcclWork::take_descriptions() {
  for (int r = 0; r < comm_->size; r++) {
    if (!involved_[(size_t)r] || arrived_[(size_t)r]) continue;
    int there = 0, bytes = 0;
    MPI_Status status;
    MPI_CALL(MPI_Iprobe(r, TAG_DESCRIPTION, comm_->mpi, &there, &status));
    if (!there) continue;
    MPI_CALL(MPI_Get_count(&status, MPI_BYTE, &bytes));
    std::vector<CudaemuNcclCall> theirs((size_t)bytes / sizeof(CudaemuNcclCall));
    MPI_CALL(MPI_Recv(theirs.data(), bytes, MPI_BYTE, r, TAG_DESCRIPTION, comm_->mpi, MPI_STATUS_IGNORE));
    compare(r, theirs);
    arrived_[(size_t)r] = true;
  }
}

bool CudaemuNcclWork::step() {
  const uint64_t failing = cudaemu_nccl_failing_call();
  if (failing > 0 && calls_.back().call.number >= failing) {
    comm_->error = ncclRemoteError;
    return false;
  }
  if (state_ == WAITING) {
    if (began_ == 0) begin();
    take_descriptions();
    if (arrived_ != involved_) {
      if (cudaemu_nccl_seconds() - began_ > cudaemu_nccl_timeout()) complain_of_missing();
      return false;
    }
    move();
    state_ = MOVING;
  }
  if (state_ == MOVING) {
    int all = 0;
    MPI_CALL(MPI_Testall((int)requests_.size(), requests_.data(), &all, MPI_STATUSES_IGNORE));
    if (!all) return false;
    finish();
    state_ = DONE;
  }
  return true;
}

// ---------------------------------------------------------------- moving
void CudaemuNcclWork::send(int to, const char *data, size_t bytes) {
  for (size_t at = 0; at < bytes; at += MESSAGE_BYTES) {
    MPI_Request request;
    MPI_CALL(
        MPI_Isend(data + at, (int)std::min(bytes - at, MESSAGE_BYTES), MPI_BYTE, to, TAG_DATA, comm_->mpi, &request));
    requests_.push_back(request);
  }
}

void CudaemuNcclWork::receive(int from, char *data, size_t bytes) {
  for (size_t at = 0; at < bytes; at += MESSAGE_BYTES) {
    MPI_Request request;
    MPI_CALL(MPI_Irecv(data + at, (int)std::min(bytes - at, MESSAGE_BYTES), MPI_BYTE, from, TAG_DATA, comm_->mpi,
                       &request));
    requests_.push_back(request);
  }
}

// Sends to oneself, in their order, into the receives from oneself.
void CudaemuNcclWork::move_to_self() {
  std::vector<const CudaemuNcclArguments *> sends, receives;
  for (const CudaemuNcclArguments &a : calls_) {
    if (a.call.peer != comm_->rank) continue;
    (a.call.kind == CUDAEMU_NCCL_SEND ? sends : receives).push_back(&a);
  }
  for (size_t i = 0; i < sends.size(); i++) {
    const size_t bytes = sends[i]->call.count * cudaemu_nccl_type_size(sends[i]->call.type);
    if (bytes > 0) memmove(receives[i]->recv, sends[i]->send, bytes);
  }
}

void CudaemuNcclWork::move() {
  const CudaemuNcclArguments &a = calls_[0];
  const size_t bytes = a.call.count * cudaemu_nccl_type_size(a.call.type);
  if (point_to_point(a.call.kind)) {
    for (const CudaemuNcclArguments &one : calls_) {
      const size_t length = one.call.count * cudaemu_nccl_type_size(one.call.type);
      if (one.call.peer == comm_->rank) continue;
      if (one.call.kind == CUDAEMU_NCCL_SEND) {
        send(one.call.peer, one.send, length);
      } else {
        receive(one.call.peer, one.recv, length);
      }
    }
    move_to_self();
    return;
  }
  for (int r = 0; r < comm_->size; r++) {
    if (r == comm_->rank) continue;
    const size_t index = (size_t)r;
    switch (a.call.kind) {
      case CUDAEMU_NCCL_ALL_REDUCE:
      case CUDAEMU_NCCL_REDUCE_SCATTER:
        pieces_[index].resize(bytes);
        send(r, a.call.kind == CUDAEMU_NCCL_ALL_REDUCE ? a.send : a.send + index * bytes, bytes);
        receive(r, pieces_[index].data(), bytes);
        break;
      case CUDAEMU_NCCL_ALL_GATHER:
        send(r, a.send, bytes);
        receive(r, a.recv + index * bytes, bytes);
        break;
      case CUDAEMU_NCCL_BROADCAST:
        if (comm_->rank == a.call.peer) send(r, a.send, bytes);
        if (r == a.call.peer) receive(r, a.recv, bytes);
        break;
    }
  }
}

// A sum goes round the ring and ends at its owner, rounded at each rank, as NCCL's: not in the order of the ranks.
static void sum_round(char *to, const std::vector<const char *> &pieces, size_t owner, size_t from, size_t count,
                      ncclDataType_t type, ncclRedOp_t op) {
  const size_t size = cudaemu_nccl_type_size(type), ranks = pieces.size();
  std::vector<char> sum(pieces[(owner + 1) % ranks] + from * size,
                        pieces[(owner + 1) % ranks] + (from + count) * size);
  for (size_t i = 2; i <= ranks; i++) {
    cudaemu_nccl_combine(sum.data(), pieces[(owner + i) % ranks] + from * size, count, type, op);
  }
  if (count > 0) memcpy(to + from * size, sum.data(), count * size);
}

void CudaemuNcclWork::finish() {
  const CudaemuNcclArguments &a = calls_[0];
  const size_t size = cudaemu_nccl_type_size(a.call.type), bytes = a.call.count * size;
  const size_t rank = (size_t)comm_->rank, ranks = (size_t)comm_->size;
  const ncclDataType_t type = (ncclDataType_t)a.call.type;
  const ncclRedOp_t op = (ncclRedOp_t)a.call.op;
  std::vector<const char *> pieces;
  for (size_t r = 0; r < ranks; r++) pieces.push_back(pieces_[r].data());
  switch (a.call.kind) {
    case CUDAEMU_NCCL_ALL_REDUCE: {
      pieces[rank] = a.send;
      const size_t share = (a.call.count + ranks - 1) / ranks;
      for (size_t r = 0; r < ranks; r++) {
        const size_t from = std::min(r * share, (size_t)a.call.count);
        sum_round(a.recv, pieces, r, from, std::min(share, a.call.count - from), type, op);
      }
      break;
    }
    case CUDAEMU_NCCL_REDUCE_SCATTER:
      pieces[rank] = a.send + rank * bytes;
      sum_round(a.recv, pieces, rank, 0, a.call.count, type, op);
      break;
    case CUDAEMU_NCCL_ALL_GATHER:
      if (bytes > 0) memmove(a.recv + rank * bytes, a.send, bytes);
      break;
    case CUDAEMU_NCCL_BROADCAST:
      if (comm_->rank == a.call.peer && bytes > 0) memmove(a.recv, a.send, bytes);
      break;
  }
}
