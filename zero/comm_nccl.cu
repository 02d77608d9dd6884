// Transport through NCCL: ranks that have a GPU each. Only programs for GPUs have it.
//
// All of NCCL's work is queued on a stream of its own, beside the device's stream, on which the model computes. An
// event of the device's stream stands before each operation: what it sends is written, and nobody still uses what it
// writes. An event of its own stands behind it, for which the device's stream waits when the operation is finished.
// So a reduction runs while backward goes on, and the next unit is fetched while this one is used; the host waits for
// neither.
//
// Deterministic sums: the pieces travel as grouped sends and receives into buffers of the device's memory, and the
// device's stream adds them in the order of the ranks: the bits of the other transports. Sums of any order: NCCL's
// reduce-scatter where the ranks' shares are equal (whole chunks seldom are), NCCL's all-reduce where every rank
// wants the whole, the same pieces otherwise.
//
// Control calls are those of comm_messages.c, through MPI or TCP, on the host's memory. The host first waits until
// NCCL's stream is empty: messages and NCCL are never under way together on one device, and what goes wrong in one is
// not waited for in the other.
//
// Wherever the host waits it also asks NCCL for asynchronous errors and the system for the node's other ranks: a
// rank that was killed or stopped ends the job, and the operation that waited for it is named.
#include <nccl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm_impl.h"
#include "comm_messages.h"
#include "comm_peers.h"
#include "comm_staging.h"
#include "cuda_launch.h"

// Operations that are remembered from the start, so that the oldest one under way can be named.
enum { OPERATIONS = 32 };

typedef struct Operation {
  const char *name;
  size_t elements;
  ZeroType type;
  uint64_t number;            // from 1, in the order of their beginning, the same on all ranks; 0: unused
  cudaEvent_t done;           // on NCCL's stream
  int under_way;              // begun and not finished
  ZeroStagingBuffer *staging; // where pieces arrive, or NULL
  struct Operation *next;
} Operation;

typedef struct {
  ncclComm_t nccl;
  cudaStream_t stream;  // NCCL's
  cudaEvent_t computed; // on the device's stream
  Operation *operations;
  uint64_t begun;
  ZeroStaging staging;
  ZeroPeers *peers;
  ZeroDevice *device;
  ZeroComm *comm;
  double moved_on; // seconds; when the last operation began
  double limit;    // seconds that none may take, nor a control call
} Nccl;

static Nccl *nccl_of(ZeroComm *comm) {
  return (Nccl *)comm->impl;
}

static cudaStream_t compute_stream(const ZeroComm *comm) {
  return (cudaStream_t)comm->device->stream;
}

// ---------------------------------------------------------------- what goes wrong
// What the host waits for: "reduce-scatter of 64 fp32 (operation 7)".
static ZeroReason waited_for(const Nccl *nccl) {
  ZeroReason what;
  const Operation *oldest = NULL;
  for (const Operation *op = nccl->operations; op != NULL; op = op->next) {
    if (op->number == 0 || cudaEventQuery(op->done) != cudaErrorNotReady) continue;
    if (oldest == NULL || op->number < oldest->number) oldest = op;
  }
  if (oldest != NULL) {
    snprintf(what.text, sizeof what.text, "%s of %zu %s (operation %llu)", oldest->name, oldest->elements,
             zero_type_name(oldest->type), (unsigned long long)oldest->number);
  } else {
    const char *messages = zero_transport(nccl->comm)->waited_for;
    snprintf(what.text, sizeof what.text, "%s", messages != NULL ? messages : "nothing");
  }
  return what;
}

// The kernels that may hang stay as they are: the link ends every rank's process, this one too.
static void fail(const Nccl *nccl, ncclResult_t result, const char *during) {
  const char *detail = nccl->nccl != NULL ? ncclGetLastError(nccl->nccl) : "";
  zero_fatal("NCCL: %s (%s) in %s, while waiting for %s; look for another rank's error above, or set NCCL_DEBUG=INFO",
             ncclGetErrorString(result), detail, during, waited_for(nccl).text);
}

static void check(const Nccl *nccl, ncclResult_t result, const char *call) {
  if (result != ncclSuccess) fail(nccl, result, call);
}
#define NCCL_CHECK(nccl, call) check((nccl), (call), #call)

// Peers and time, but no call of NCCL's: its communicator may be in the making.
static void watch_peers(const Nccl *nccl) {
  const ZeroLink *link = zero_transport(nccl->comm)->link;
  if (link != NULL && link->look != NULL) link->look(nccl->comm); // one rank may have none
  ZeroReason why;
  if (zero_peers_lost(nccl->peers, &why)) zero_peers_end(&why, waited_for(nccl).text);
}

static void watch(ZeroComm *comm) {
  const Nccl *nccl = nccl_of(comm);
  ncclResult_t error;
  NCCL_CHECK(nccl, ncclCommGetAsyncError(nccl->nccl, &error));
  if (error != ncclSuccess && error != ncclInProgress) fail(nccl, error, "asynchronous work");
  watch_peers(nccl);
  const ZeroTransport *transport = zero_transport(comm);
  const double moved_on = transport->waited_for != NULL ? transport->waited_since : nccl->moved_on;
  if (zero_comm_seconds() - moved_on < nccl->limit) return;
  const ZeroReason what = waited_for(nccl);
  if (transport->waited_for == NULL && strcmp(what.text, "nothing") == 0) return; // the model computes
  zero_comm_too_long(what.text, nccl->limit);
}

// The communicator does not block: a call may still be in progress when it returns, and only afterwards is its work
// on the stream.
static void settle(const Nccl *nccl, ncclResult_t result, const char *call) {
  while (result == ncclInProgress) {
    NCCL_CHECK(nccl, ncclCommGetAsyncError(nccl->nccl, &result));
    if (result != ncclInProgress) break;
    watch_peers(nccl);
    sched_yield();
  }
  check(nccl, result, call);
}
#define NCCL_SETTLE(nccl, call) settle((nccl), (call), #call)

// ---------------------------------------------------------------- operations and their events
static void add_operation(Nccl *nccl) {
  Operation *op = (Operation *)zero_malloc(sizeof *op, ZERO_MEM_OTHER);
  CUDA_CHECK(cudaEventCreateWithFlags(&op->done, cudaEventDisableTiming));
  op->next = nccl->operations;
  nccl->operations = op;
}

// The one that was unused for longest: its event has most likely been reached.
static Operation *take_operation(Nccl *nccl, const char *name, size_t elements, ZeroType type) {
  Operation *oldest = NULL;
  for (int attempt = 0; oldest == NULL; attempt++) {
    if (attempt > 0) add_operation(nccl);
    for (Operation *op = nccl->operations; op != NULL; op = op->next) {
      if (!op->under_way && (oldest == NULL || op->number < oldest->number)) oldest = op;
    }
  }
  oldest->name = name;
  oldest->elements = elements;
  oldest->type = type;
  oldest->number = ++nccl->begun;
  oldest->under_way = 1;
  nccl->moved_on = zero_comm_seconds();
  return oldest;
}

// NCCL's stream goes on when the device's stream has done all that it was given so far.
static void start_after_compute(ZeroComm *comm) {
  Nccl *nccl = nccl_of(comm);
  CUDA_CHECK(cudaEventRecord(nccl->computed, compute_stream(comm)));
  CUDA_CHECK(cudaStreamWaitEvent(nccl->stream, nccl->computed, 0));
}

static void mark_done(const Nccl *nccl, const Operation *op) {
  CUDA_CHECK(cudaEventRecord(op->done, nccl->stream));
}

// The device's stream goes on when the operation is done.
static void compute_waits(const ZeroComm *comm, const Operation *op) {
  CUDA_CHECK(cudaStreamWaitEvent(compute_stream(comm), op->done, 0));
}

// What arrived was given to the device's stream: the next user of the buffer starts after that.
static void end_operation(Operation *op) {
  if (op->staging != NULL) zero_staging_give_back(op->staging);
  op->staging = NULL;
  op->under_way = 0;
}

// ---------------------------------------------------------------- types, shares
static ncclDataType_t nccl_type(ZeroType type) {
  switch (type) {
    case ZERO_F32:
      return ncclFloat32;
    case ZERO_BF16:
      return ncclBfloat16;
    case ZERO_F16:
      return ncclFloat16;
  }
  zero_fatal("NCCL: no type for %s", zero_type_name(type));
}

static size_t own_count(const ZeroComm *comm, const size_t *bounds) {
  return bounds[comm->rank + 1] - bounds[comm->rank];
}

static int equal_shares(const ZeroComm *comm, const size_t *bounds) {
  for (int r = 1; r < comm->size; r++) {
    if (bounds[r + 1] - bounds[r] != bounds[1] - bounds[0]) return 0;
  }
  return bounds[1] > bounds[0];
}

static void count_sent(ZeroComm *comm, ZeroWire wire, size_t elements, ZeroType type) {
  zero_transport(comm)->sent[wire] += elements * zero_type_size(type);
}

// ---------------------------------------------------------------- reduce-scatter
typedef enum { PIECES, REDUCE_SCATTER, ALL_REDUCE } Way;

static Way way_of(const ZeroComm *comm, const ZeroReduce *reduce) {
  if (reduce->everyone) return ALL_REDUCE;
  return reduce->any_order && equal_shares(comm, reduce->bounds) ? REDUCE_SCATTER : PIECES;
}

// NCCL may write the sum where it belongs: nothing is to be added to, no type changes.
static int lands_in_place(const ZeroReduce *reduce) {
  return reduce->in_place || (reduce->overwrite && reduce->type == reduce->acc_type);
}

// The pieces of the ranks before this one, then those behind it.
static char *piece_of(const ZeroComm *comm, const ZeroReduce *reduce, const Operation *op, int source) {
  const size_t place = (size_t)(source < comm->rank ? source : source - 1);
  return op->staging->data + place * zero_span(reduce->bounds, comm->rank, zero_type_size(reduce->type));
}

static void exchange_pieces(ZeroComm *comm, const ZeroReduce *reduce, const Operation *op) {
  const Nccl *nccl = nccl_of(comm);
  const size_t element = zero_type_size(reduce->type), own = own_count(comm, reduce->bounds);
  const ncclDataType_t type = nccl_type(reduce->type);
  NCCL_CHECK(nccl, ncclGroupStart());
  for (int i = 1; i < comm->size; i++) { // each starts with the peer after it
    const int to = (comm->rank + i) % comm->size, from = (comm->rank + comm->size - i) % comm->size;
    const size_t count = reduce->bounds[to + 1] - reduce->bounds[to];
    const char *piece = (const char *)reduce->full + reduce->bounds[to] * element;
    if (count > 0) NCCL_SETTLE(nccl, ncclSend(piece, count, type, to, nccl->nccl, nccl->stream));
    if (own > 0) {
      NCCL_SETTLE(nccl, ncclRecv(piece_of(comm, reduce, op, from), own, type, from, nccl->nccl, nccl->stream));
    }
  }
  NCCL_SETTLE(nccl, ncclGroupEnd());
}

static void reduce_begin(ZeroComm *comm, ZeroReduce *reduce) {
  static const char *const names[] = {"reduce-scatter by pieces", "reduce-scatter", "all-reduce"};
  Nccl *nccl = nccl_of(comm);
  const Way way = way_of(comm, reduce);
  const size_t own = own_count(comm, reduce->bounds), total = reduce->bounds[comm->size];
  const size_t peers = (size_t)comm->size - 1, element = zero_type_size(reduce->type);
  const ncclDataType_t type = nccl_type(reduce->type);
  Operation *op = take_operation(nccl, names[way], total, reduce->type);
  const size_t arriving = way == PIECES ? peers * own : way == REDUCE_SCATTER && !lands_in_place(reduce) ? own : 0;
  if (arriving > 0) op->staging = zero_staging_take(&nccl->staging, nccl->device, arriving * element);
  start_after_compute(comm); // of a reduction: the gradient is written, the buffer free
  switch (way) {
    case PIECES:
      exchange_pieces(comm, reduce, op);
      break;
    case REDUCE_SCATTER: {
      void *sum = lands_in_place(reduce) ? reduce->acc : op->staging->data;
      NCCL_SETTLE(nccl, ncclReduceScatter(reduce->full, sum, own, type, ncclSum, nccl->nccl, nccl->stream));
      break;
    }
    case ALL_REDUCE: // over the gradient itself
      if (total > 0) {
        NCCL_SETTLE(
            nccl, ncclAllReduce(reduce->full, (void *)reduce->full, total, type, ncclSum, nccl->nccl, nccl->stream));
      }
      count_sent(comm, ZERO_WIRE_GATHER, peers * own, reduce->type);
      break;
  }
  mark_done(nccl, op); // of a reduction
  count_sent(comm, ZERO_WIRE_REDUCE, total - own, reduce->type);
  reduce->state = op;
  reduce->active = 1;
  reduce->finished = 0;
}

// All ranks' pieces of this rank's range, in rank order.
static void add_pieces(ZeroComm *comm, const ZeroReduce *reduce, const Operation *op) {
  const size_t own = own_count(comm, reduce->bounds);
  if (own == 0) return;
  for (int source = 0; source < comm->size; source++) {
    const char *piece = (const char *)reduce->full + reduce->bounds[source] * zero_type_size(reduce->type);
    if (source == comm->rank && reduce->in_place) continue;
    if (source != comm->rank) piece = piece_of(comm, reduce, op, source);
    comm->device->add(comm->device, reduce->acc, reduce->acc_type, piece, reduce->type, own,
                      reduce->overwrite && source == 0);
  }
}

static void reduce_finish(ZeroComm *comm, ZeroReduce *reduce) {
  if (!reduce->active || reduce->finished) return;
  ZeroDevice *device = comm->device;
  Operation *op = (Operation *)reduce->state;
  compute_waits(comm, op); // for a reduction: its pieces are there, and the gradient has been sent
  switch (way_of(comm, reduce)) {
    case PIECES:
      add_pieces(comm, reduce, op);
      break;
    case REDUCE_SCATTER:
      if (!lands_in_place(reduce)) {
        device->add(device, reduce->acc, reduce->acc_type, op->staging->data, reduce->type,
                    own_count(comm, reduce->bounds), reduce->overwrite);
      }
      break;
    case ALL_REDUCE:
      if (!reduce->in_place) {
        device->add(device, reduce->acc, reduce->acc_type, reduce->full, reduce->type, reduce->bounds[comm->size],
                    reduce->overwrite);
      }
      break;
  }
  end_operation(op);
  reduce->state = NULL;
  reduce->finished = 1;
}

// The device's stream waits already: this rank has sent its pieces, and no other reads its memory.
static void reduce_reusable(ZeroComm *comm, ZeroReduce *reduce) {
  reduce_finish(comm, reduce);
  reduce->active = 0;
}

// ---------------------------------------------------------------- all-gather
// The event that each gather starts after stands behind AdamW too.
static void publish(ZeroComm *comm) {
  (void)comm;
}

static void exchange_shards(ZeroComm *comm, const ZeroGather *gather) {
  const Nccl *nccl = nccl_of(comm);
  const size_t element = zero_type_size(gather->type), own = own_count(comm, gather->bounds);
  const ncclDataType_t type = nccl_type(gather->type);
  char *full = (char *)gather->full, *place = full + gather->bounds[comm->rank] * element;
  if (place != gather->shard && own > 0) {
    CUDA_CHECK(cudaMemcpyAsync(place, gather->shard, own * element, cudaMemcpyDeviceToDevice, nccl->stream));
  }
  NCCL_CHECK(nccl, ncclGroupStart());
  for (int i = 1; i < comm->size; i++) {
    const int to = (comm->rank + i) % comm->size, from = (comm->rank + comm->size - i) % comm->size;
    const size_t theirs = gather->bounds[from + 1] - gather->bounds[from];
    if (own > 0) NCCL_SETTLE(nccl, ncclSend(gather->shard, own, type, to, nccl->nccl, nccl->stream));
    if (theirs > 0) {
      NCCL_SETTLE(nccl,
                  ncclRecv(full + gather->bounds[from] * element, theirs, type, from, nccl->nccl, nccl->stream));
    }
  }
  NCCL_SETTLE(nccl, ncclGroupEnd());
}

static void gather_begin(ZeroComm *comm, ZeroGather *gather) {
  Nccl *nccl = nccl_of(comm);
  const size_t own = own_count(comm, gather->bounds);
  Operation *op = take_operation(nccl, "all-gather", gather->bounds[comm->size], gather->type);
  start_after_compute(comm); // of a gather: the shard is written, the buffer no longer read
  if (equal_shares(comm, gather->bounds)) {
    NCCL_SETTLE(nccl,
                ncclAllGather(gather->shard, gather->full, own, nccl_type(gather->type), nccl->nccl, nccl->stream));
  } else {
    exchange_shards(comm, gather);
  }
  mark_done(nccl, op); // of a gather
  count_sent(comm, gather->wire, ((size_t)comm->size - 1) * own, gather->type);
  gather->state = op;
  gather->active = 1;
}

static void gather_finish(ZeroComm *comm, ZeroGather *gather) {
  if (!gather->active) return;
  Operation *op = (Operation *)gather->state;
  compute_waits(comm, op); // for a gather: the unit is whole
  end_operation(op);
  gather->state = NULL;
  gather->active = 0;
}

// ---------------------------------------------------------------- control
static void finish_nccl(ZeroComm *comm) {
  const Nccl *nccl = nccl_of(comm);
  cudaError_t state;
  while ((state = cudaStreamQuery(nccl->stream)) == cudaErrorNotReady) {
    watch(comm);
    sched_yield();
  }
  CUDA_CHECK(state);
}

// ---------------------------------------------------------------- the transport's life
static void close_nccl(ZeroComm *comm) {
  Nccl *nccl = nccl_of(comm);
  finish_nccl(comm);
  NCCL_SETTLE(nccl, ncclCommFinalize(nccl->nccl));
  NCCL_CHECK(nccl, ncclCommDestroy(nccl->nccl));
  zero_staging_free(&nccl->staging, nccl->device);
  while (nccl->operations != NULL) {
    Operation *op = nccl->operations;
    nccl->operations = op->next;
    CUDA_CHECK(cudaEventDestroy(op->done));
    zero_free(op);
  }
  CUDA_CHECK(cudaEventDestroy(nccl->computed));
  CUDA_CHECK(cudaStreamDestroy(nccl->stream));
  nccl->device->while_waiting = NULL;
  zero_peers_free(nccl->peers);
  zero_free(nccl);
}

// A stream whose work goes before the model's where both could run.
static void create_stream(Nccl *nccl) {
  int least, greatest;
  CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  CUDA_CHECK(cudaStreamCreateWithPriority(&nccl->stream, cudaStreamNonBlocking, greatest));
  CUDA_CHECK(cudaEventCreateWithFlags(&nccl->computed, cudaEventDisableTiming));
}

void zero_comm_nccl_init(ZeroComm *comm) {
  Nccl *nccl = (Nccl *)zero_malloc(sizeof *nccl, ZERO_MEM_OTHER);
  nccl->device = comm->device;
  nccl->staging.on_device = 1;
  nccl->comm = comm;
  nccl->limit = zero_comm_time_limit();
  nccl->moved_on = zero_comm_seconds();
  nccl->peers = zero_peers_create(comm);
  create_stream(nccl);
  for (int i = 0; i < OPERATIONS; i++) add_operation(nccl);

  ncclUniqueId id;
  if (comm->rank == 0) NCCL_CHECK(nccl, ncclGetUniqueId(&id));
  comm->control_broadcast(comm, &id, sizeof id);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const char *call = "ncclCommInitRankConfig";
  if (zero_comm_nccl_shares_gpus()) {
    call =
        "ncclCommInitRankConfig (ZERO_NCCL_SHARE_GPU leaves it to NCCL whether ranks may share a GPU: 2.30 and later "
        "take NCCL_MULTI_RANK_GPU_ENABLE=1, earlier ones a NCCL_HOSTID of its own for each rank)";
  }
  settle(nccl, ncclCommInitRankConfig(&nccl->nccl, comm->size, id, comm->rank, &config), call);

  zero_comm_take_over(comm, "nccl", nccl, close_nccl);
  comm->all_reduces = 1;
  comm->alloc = zero_comm_device_alloc;
  comm->free = zero_comm_device_free;
  comm->reduce_begin = reduce_begin;
  comm->reduce_finish = reduce_finish;
  comm->reduce_reusable = reduce_reusable;
  comm->publish = publish;
  comm->gather_begin = gather_begin;
  comm->gather_finish = gather_finish;
  zero_messages_init(comm);
  zero_transport(comm)->before_control = finish_nccl;
  zero_transport(comm)->watch = watch;
  comm->device->waiting_for = comm;
  comm->device->while_waiting = watch;
}
