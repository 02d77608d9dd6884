// Transport for one rank: nothing travels. MPI need not be there.
#include <string.h>

#include "comm_impl.h"

static void reduce_begin(ZeroComm *comm, ZeroReduce *reduce) {
  (void)comm;
  reduce->active = 1;
  reduce->finished = 0;
}

static void reduce_finish(ZeroComm *comm, ZeroReduce *reduce) {
  if (!reduce->active || reduce->finished) return;
  size_t count = reduce->bounds[1] - reduce->bounds[0];
  if (count > 0 && !reduce->in_place) {
    comm->device->add(comm->device, reduce->acc, reduce->acc_type, reduce->full, reduce->type, count,
                      reduce->overwrite);
  }
  reduce->finished = 1;
}

static void reduce_reusable(ZeroComm *comm, ZeroReduce *reduce) {
  reduce_finish(comm, reduce);
  reduce->active = 0;
}

static void publish(ZeroComm *comm) {
  (void)comm;
}

static void gather_begin(ZeroComm *comm, ZeroGather *gather) {
  size_t bytes = zero_span(gather->bounds, 0, zero_type_size(gather->type));
  if (gather->full != gather->shard && bytes > 0) {
    comm->device->copy(comm->device, gather->full, gather->shard, bytes);
  }
  gather->active = 1;
}

static void gather_finish(ZeroComm *comm, ZeroGather *gather) {
  (void)comm;
  gather->active = 0;
}

static void control_gather(ZeroComm *comm, const double *mine, double *all, const size_t *offsets) {
  (void)comm;
  size_t count = offsets[1] - offsets[0];
  if (count > 0) memmove(all + offsets[0], mine, count * sizeof(*mine));
}

static void control_collect(ZeroComm *comm, int from, const void *mine, void *out, size_t bytes) {
  (void)comm;
  (void)from;
  if (bytes > 0) memmove(out, mine, bytes);
}

static void control_broadcast(ZeroComm *comm, void *data, size_t bytes) {
  (void)comm;
  (void)data;
  (void)bytes;
}

static uint64_t sent(ZeroComm *comm, ZeroWire wire) {
  (void)comm;
  (void)wire;
  return 0;
}

static void reset_sent(ZeroComm *comm) {
  (void)comm;
}

void zero_comm_self_init(ZeroComm *comm) {
  zero_comm_take_over(comm, "self", NULL, NULL);
  comm->alloc = zero_comm_device_alloc;
  comm->free = zero_comm_device_free;
  comm->reduce_begin = reduce_begin;
  comm->reduce_finish = reduce_finish;
  comm->reduce_reusable = reduce_reusable;
  comm->publish = publish;
  comm->gather_begin = gather_begin;
  comm->gather_finish = gather_finish;
  comm->control_gather = control_gather;
  comm->control_collect = control_collect;
  comm->control_broadcast = control_broadcast;
  comm->sent = sent;
  comm->reset_sent = reset_sent;
}
