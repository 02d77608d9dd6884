// Transport through MPI messages: works for any ranks, on one node or on many.
//
// A reduce-scatter sends every peer its range of this rank's gradient, in tiles, straight out of the gradient
// buffer; the owner of a range receives them source by source, in rank order, into a ring of staging tiles
// and adds each into its accumulator. An all-gather receives straight into place.
// Messages between two ranks with one tag keep their order, and all ranks make the same calls in the same
// order, so several operations may be under way without telling their messages apart.
// Where the device's memory is not the host's, the messages go through staging buffers on the host.
#include <stdlib.h>
#include <string.h>

#include "comm_impl.h"
#include "comm_messages.h"
#include "comm_staging.h"

#define TILE_BYTES ((size_t)1 << 20) // a reduce-scatter's message; a multiple of every element's size
#define RING_TILES 4                 // staging tiles: one is added while the others arrive

typedef struct {
  ZeroDevice *device;  // whose memory these are
  char *ring;          // RING_TILES * TILE_BYTES on the host; NULL until it is needed
  void *tile;          // TILE_BYTES of the device's, where that cannot read the ring; else NULL
  ZeroStaging staging; // whole units, where MPI cannot read the device's memory
} Mpi;

static void free_buffers(Mpi *mpi) {
  if (mpi->device == NULL) return;
  zero_staging_free(&mpi->staging, mpi->device);
  mpi->device->free(mpi->device, mpi->tile);
  mpi->device->free_host(mpi->device, mpi->ring);
  mpi->device = NULL;
}

void zero_comm_mpi_reserve(ZeroComm *comm) {
  Mpi *mpi = comm->impl;
  ZeroDevice *device = comm->device;
  if (mpi->device == device || comm->size == 1) return;
  free_buffers(mpi);
  mpi->device = device;
  mpi->ring = device->alloc_host(device, RING_TILES * TILE_BYTES, ZERO_MEM_COMM);
  mpi->tile = device->alloc(device, device->host_memory ? 0 : TILE_BYTES, ZERO_MEM_COMM);
}

static void end_requests(ZeroComm *comm, ZeroMessages *requests) {
  ZeroStagingBuffer *staging = requests->staging;
  zero_messages_end(comm, requests);
  if (staging != NULL) zero_staging_give_back(staging);
}

// Staging for a unit's messages, if they need some.
static void stage(ZeroComm *comm, ZeroMessages *requests, const size_t *bounds, size_t element) {
  if (comm->device->host_memory || comm->size == 1) return;
  zero_comm_mpi_reserve(comm);
  Mpi *mpi = comm->impl;
  requests->staging = zero_staging_take(&mpi->staging, mpi->device, bounds[comm->size] * element);
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
    zero_messages_send(comm, requests, to, piece, zero_span(bounds, to, element), TILE_BYTES, ZERO_TAG_REDUCE,
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
  zero_comm_mpi_reserve(comm);
  Mpi *mpi = comm->impl;
  ZeroDevice *device = comm->device;
  size_t element = zero_type_size(reduce->type);
  Tiling tiling = {.own = reduce->bounds[comm->rank + 1] - reduce->bounds[comm->rank],
                   .per_tile = TILE_BYTES / element};
  tiling.tiles = (tiling.own + tiling.per_tile - 1) / tiling.per_tile;
  if (tiling.own == 0) return;

  MPI_Request pending[RING_TILES];
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
        ZERO_MPI(MPI_Irecv(mpi->ring + slot * TILE_BYTES, zero_message_bytes(bytes), MPI_BYTE, peer, ZERO_TAG_REDUCE,
                           zero_transport(comm)->world, &pending[slot]));
      }
      size_t slot = taken % RING_TILES;
      ZERO_MPI(MPI_Wait(&pending[slot], MPI_STATUS_IGNORE));
      const void *piece = mpi->ring + slot * TILE_BYTES;
      if (mpi->tile != NULL) {
        device->from_host(device, mpi->tile, piece, tile_elements(&tiling, tile) * element);
        piece = mpi->tile;
      }
      char *acc = (char *)reduce->acc + tile * tiling.per_tile * zero_type_size(reduce->acc_type);
      device->add(device, acc, reduce->acc_type, piece, reduce->type, tile_elements(&tiling, tile), overwrite);
    }
  }
}

static void end_reduce_requests(ZeroComm *comm, ZeroReduce *reduce) {
  if (reduce->state != NULL) end_requests(comm, reduce->state);
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
                          zero_span(gather->bounds, from, element), ZERO_MESSAGE_BYTES, ZERO_TAG_GATHER);
  }
  for (int i = 1; i < comm->size; i++) {
    int to = (comm->rank + i) % comm->size;
    zero_messages_send(comm, requests, to, shard, own, ZERO_MESSAGE_BYTES, ZERO_TAG_GATHER, gather->wire);
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
    zero_messages_wait(comm, requests);
    stage_in(comm, requests, gather->full, 0, bounds[comm->rank] * element);
    stage_in(comm, requests, gather->full, bounds[comm->rank + 1] * element, bounds[comm->size] * element);
  }
  end_requests(comm, requests);
  gather->state = NULL;
  gather->active = 0;
}

static void close_mpi(ZeroComm *comm) {
  Mpi *mpi = comm->impl;
  free_buffers(mpi);
  free(mpi);
}

void zero_comm_mpi_init(ZeroComm *comm) {
  Mpi *mpi = calloc(1, sizeof(*mpi));
  if (mpi == NULL) zero_fatal("no memory for transport mpi");
  zero_comm_take_over(comm, "mpi", mpi, close_mpi);
  comm->alloc = zero_comm_device_alloc;
  comm->free = zero_comm_device_free;
  comm->reduce_begin = reduce_begin;
  comm->reduce_finish = reduce_finish;
  comm->reduce_reusable = reduce_reusable;
  comm->publish = publish;
  comm->gather_begin = gather_begin;
  comm->gather_finish = gather_finish;
  zero_messages_init(comm);
}
