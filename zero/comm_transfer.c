// Transport through messages: works for any ranks, on one node or on many. It is called mpi or tcp, by the link that
// carries them.
//
// A reduce-scatter sends every peer its range of this rank's gradient, in tiles, straight out of the gradient
// buffer; the owner of a range receives them source by source, in rank order, into a ring of staging tiles
// and adds each into its accumulator. An all-gather receives straight into place.
// Messages between two ranks on one lane keep their order, and all ranks make the same calls in the same
// order, so several operations may be under way without telling their messages apart.
// Where the device's memory is not the host's, the messages go through staging buffers on the host.
#include <stdlib.h>
#include <string.h>

#include "comm_impl.h"
#include "comm_messages.h"
#include "comm_peers.h"
#include "comm_staging.h"

#define TILE_BYTES ((size_t)1 << 20) // a reduce-scatter's message; a multiple of every element's size
#define REDUCING "a reduce-scatter"
#define GATHERING "an all-gather"
#define RING_TILES 4 // staging tiles: one is added while the others arrive

typedef struct {
  ZeroDevice *device;                 // whose memory these are
  char *ring;                         // RING_TILES * TILE_BYTES on the host; NULL until it is needed
  void *tile;                         // TILE_BYTES of the device's, where that cannot read the ring; else NULL
  ZeroStaging staging;                // whole units, where the link cannot read the device's memory
  ZeroMessages *arriving[RING_TILES]; // one for each tile of the ring
  // Where no launcher ends the job when a rank has ended or hangs, else NULL and unused.
  ZeroPeers *peers;
  double limit; // seconds that one wait may take
} Transfer;

static void free_buffers(Transfer *transfer) {
  if (transfer->device == NULL) return;
  zero_staging_free(&transfer->staging, transfer->device);
  transfer->device->free(transfer->device, transfer->tile);
  transfer->device->free_host(transfer->device, transfer->ring);
  transfer->device = NULL;
}

void zero_comm_transfer_reserve(ZeroComm *comm) {
  Transfer *transfer = comm->impl;
  ZeroDevice *device = comm->device;
  if (transfer->device == device || comm->size == 1) return;
  free_buffers(transfer);
  transfer->device = device;
  transfer->ring = device->alloc_host(device, RING_TILES * TILE_BYTES, ZERO_MEM_COMM);
  transfer->tile = device->alloc(device, device->host_memory ? 0 : TILE_BYTES, ZERO_MEM_COMM);
}

static void end_requests(ZeroComm *comm, ZeroMessages *requests, const char *what) {
  ZeroStagingBuffer *staging = requests->staging;
  zero_messages_end(comm, requests, what);
  if (staging != NULL) zero_staging_give_back(staging);
}

// Staging for a unit's messages, if they need some.
static void stage(ZeroComm *comm, ZeroMessages *requests, const size_t *bounds, size_t element) {
  if (comm->device->host_memory || comm->size == 1) return;
  zero_comm_transfer_reserve(comm);
  Transfer *transfer = comm->impl;
  requests->staging = zero_staging_take(&transfer->staging, transfer->device, bounds[comm->size] * element);
}

// Bytes [from, to) of a unit, into its staging or out of it.
static void stage_out(ZeroComm *comm, const ZeroMessages *requests, const char *unit, size_t from, size_t to) {
  if (to > from) comm->device->to_host(comm->device, requests->staging->data + from, unit + from, to - from);
}

static void stage_in(ZeroComm *comm, const ZeroMessages *requests, char *unit, size_t from, size_t to) {
  if (to > from) comm->device->from_host(comm->device, unit + from, requests->staging->data + from, to - from);
}

static void reduce_begin(ZeroComm *comm, ZeroReduce *reduce) {
  size_t element = zero_type_size(reduce->type);
  const size_t *bounds = reduce->bounds;
  const char *full = reduce->full;
  ZeroMessages *requests = zero_messages_new();
  stage(comm, requests, bounds, element);
  if (requests->staging != NULL) { // the peers' ranges
    stage_out(comm, requests, full, 0, bounds[comm->rank] * element);
    stage_out(comm, requests, full, bounds[comm->rank + 1] * element, bounds[comm->size] * element);
    full = requests->staging->data;
  }
  // Each rank starts with the peer after it, so that they do not all send to rank 0 first.
  for (int i = 1; i < comm->size; i++) {
    int to = (comm->rank + i) % comm->size;
    const char *piece = full + bounds[to] * element;
    zero_messages_send(comm, requests, to, piece, zero_span(bounds, to, element), TILE_BYTES, ZERO_LANE_REDUCE,
                       ZERO_WIRE_REDUCE);
  }
  reduce->state = requests;
  reduce->active = 1;
  reduce->finished = 0;
}

// The tiles of one reduce-scatter that come in over the wire, numbered source by source.
typedef struct {
  size_t own;      // elements of this rank's range
  size_t per_tile; // elements of a tile, the last of a source's may be shorter
  size_t tiles;    // tiles of one source
} Tiling;

static size_t tile_elements(const Tiling *tiling, size_t tile) {
  size_t first = tile * tiling->per_tile;
  return tiling->own - first < tiling->per_tile ? tiling->own - first : tiling->per_tile;
}

// All ranks' pieces of this rank's range, in rank order, into its accumulator.
static void add_pieces(ZeroComm *comm, ZeroReduce *reduce) {
  zero_comm_transfer_reserve(comm);
  Transfer *transfer = comm->impl;
  ZeroDevice *device = comm->device;
  size_t element = zero_type_size(reduce->type);
  Tiling tiling = {.own = reduce->bounds[comm->rank + 1] - reduce->bounds[comm->rank],
                   .per_tile = TILE_BYTES / element};
  tiling.tiles = (tiling.own + tiling.per_tile - 1) / tiling.per_tile;
  if (tiling.own == 0) return;

  size_t arriving = (size_t)(comm->size - 1) * tiling.tiles;
  size_t posted = 0, taken = 0;
  for (int source = 0; source < comm->size; source++) {
    int overwrite = reduce->overwrite && source == 0;
    if (source == comm->rank) {
      const char *piece = (const char *)reduce->full + reduce->bounds[comm->rank] * element;
      if (!reduce->in_place) {
        device->add(device, reduce->acc, reduce->acc_type, piece, reduce->type, tiling.own, overwrite);
      }
      continue;
    }
    for (size_t tile = 0; tile < tiling.tiles; tile++, taken++) {
      for (; posted < arriving && posted < taken + RING_TILES; posted++) {
        int peer = (int)(posted / tiling.tiles);
        if (peer >= comm->rank) peer++;
        size_t bytes = tile_elements(&tiling, posted % tiling.tiles) * element;
        size_t slot = posted % RING_TILES;
        zero_messages_receive(comm, transfer->arriving[slot], peer, transfer->ring + slot * TILE_BYTES, bytes,
                              TILE_BYTES, ZERO_LANE_REDUCE);
      }
      size_t slot = taken % RING_TILES;
      zero_messages_wait(comm, transfer->arriving[slot], REDUCING);
      const void *piece = transfer->ring + slot * TILE_BYTES;
      if (transfer->tile != NULL) {
        device->from_host(device, transfer->tile, piece, tile_elements(&tiling, tile) * element);
        piece = transfer->tile;
      }
      char *acc = (char *)reduce->acc + tile * tiling.per_tile * zero_type_size(reduce->acc_type);
      device->add(device, acc, reduce->acc_type, piece, reduce->type, tile_elements(&tiling, tile), overwrite);
    }
  }
}

static void end_reduce_requests(ZeroComm *comm, ZeroReduce *reduce) {
  if (reduce->state != NULL) end_requests(comm, reduce->state, REDUCING);
  reduce->state = NULL;
}

static void reduce_finish(ZeroComm *comm, ZeroReduce *reduce) {
  if (!reduce->active || reduce->finished) return;
  reduce->finished = 1;
  add_pieces(comm, reduce);
  // Staging is wanted back at once: a unit may stay unused until the next micro-step.
  if (((ZeroMessages *)reduce->state)->staging != NULL) end_reduce_requests(comm, reduce);
}

static void reduce_reusable(ZeroComm *comm, ZeroReduce *reduce) {
  if (!reduce->active) return;
  reduce_finish(comm, reduce);
  end_reduce_requests(comm, reduce);
  reduce->active = 0;
}

// Messages are sent when they are asked for: nothing has to be announced.
static void publish(ZeroComm *comm) {
  (void)comm;
}

static void gather_begin(ZeroComm *comm, ZeroGather *gather) {
  size_t element = zero_type_size(gather->type);
  char *full = gather->full;
  char *place = full + gather->bounds[comm->rank] * element;
  size_t own = zero_span(gather->bounds, comm->rank, element);
  ZeroMessages *requests = zero_messages_new();
  stage(comm, requests, gather->bounds, element);
  char *landing = full; // where the peers' ranges arrive
  const char *shard = gather->shard;
  if (requests->staging != NULL) {
    landing = requests->staging->data;
    shard = landing + (place - full);
    if (own > 0) comm->device->to_host(comm->device, landing + (place - full), gather->shard, own);
  }
  for (int i = 1; i < comm->size; i++) {
    int from = (comm->rank + comm->size - i) % comm->size;
    zero_messages_receive(comm, requests, from, landing + gather->bounds[from] * element,
                          zero_span(gather->bounds, from, element), ZERO_MESSAGE_BYTES, ZERO_LANE_GATHER);
  }
  for (int i = 1; i < comm->size; i++) {
    int to = (comm->rank + i) % comm->size;
    zero_messages_send(comm, requests, to, shard, own, ZERO_MESSAGE_BYTES, ZERO_LANE_GATHER, gather->wire);
  }
  if (place != gather->shard && own > 0) comm->device->copy(comm->device, place, gather->shard, own);
  gather->state = requests;
  gather->active = 1;
}

static void gather_finish(ZeroComm *comm, ZeroGather *gather) {
  if (!gather->active) return;
  ZeroMessages *requests = gather->state;
  if (requests->staging != NULL) {
    const size_t element = zero_type_size(gather->type), *bounds = gather->bounds;
    zero_messages_wait(comm, requests, GATHERING);
    stage_in(comm, requests, gather->full, 0, bounds[comm->rank] * element);
    stage_in(comm, requests, gather->full, bounds[comm->rank + 1] * element, bounds[comm->size] * element);
  }
  end_requests(comm, requests, GATHERING);
  gather->state = NULL;
  gather->active = 0;
}

// ---------------------------------------------------------------- the transport's life
static void watch(ZeroComm *comm) {
  const Transfer *transfer = comm->impl;
  const ZeroTransport *transport = zero_transport(comm);
  ZeroReason why;
  if (zero_peers_lost(transfer->peers, &why)) zero_peers_end(&why, transport->waited_for);
  if (zero_comm_seconds() - transport->waited_since < transfer->limit) return;
  zero_comm_too_long(transport->waited_for, transfer->limit);
}

static void close_transfer(ZeroComm *comm) {
  Transfer *transfer = comm->impl;
  free_buffers(transfer);
  for (int i = 0; i < RING_TILES; i++) zero_messages_end(comm, transfer->arriving[i], REDUCING);
  if (transfer->peers != NULL) zero_peers_free(transfer->peers);
  free(transfer);
}

void zero_comm_transfer_init(ZeroComm *comm) {
  ZeroTransport *transport = zero_transport(comm);
  Transfer *transfer = calloc(1, sizeof(*transfer));
  if (transfer == NULL) zero_fatal("no memory for transport %s", transport->link->name);
  for (int i = 0; i < RING_TILES; i++) transfer->arriving[i] = zero_messages_new();
  zero_comm_take_over(comm, transport->link->name, transfer, close_transfer);
  comm->alloc = zero_comm_device_alloc;
  comm->free = zero_comm_device_free;
  comm->reduce_begin = reduce_begin;
  comm->reduce_finish = reduce_finish;
  comm->reduce_reusable = reduce_reusable;
  comm->publish = publish;
  comm->gather_begin = gather_begin;
  comm->gather_finish = gather_finish;
  zero_messages_init(comm);
  if (transport->link->look == NULL) return; // the launcher ends all ranks when one has ended
  transfer->limit = zero_comm_time_limit();
  transfer->peers = zero_peers_create(comm);
  transport->watch = watch;
}
