// Transport for the ranks of one node: every rank reads the others' memory, in windows that all share.
//
// A reduce-scatter copies nothing: the owner of a range adds the pieces straight out of the ranks' gradient
// buffers. An all-gather copies each range once. Who may read what and when is told by counters:
//   written   reduces whose gradients this rank has written: its peers may read them;
//   read      reduces that this rank has finished: it will not read its peers' gradients of these any more.
// All ranks begin and finish their reduces in the same order, so a reduce is known by its number alone.
// Small messages (control_*) go through two slots per rank that take turns, with a barrier between writing and
// reading: before a slot is written again, a later barrier has seen all its readers through.
#include "comm_shm.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOT_BYTES ((size_t)128 << 10)    // longer control messages go in several rounds
#define SMALLEST_WINDOW ((size_t)1 << 20) // for allocations that were not reserved
#define RESERVED_ALLOCATIONS 256          // whose rounding a reservation has room for
// The longest spin before a rank sleeps, where every rank of the node has a core to itself; and where the awaited one
// may need this very core, which is then offered between two looks: to be woken from sleep costs more than that.
#define SPIN_ALONE_NS 20000L
#define SPIN_CROWDED_NS 100000L

// What a rank shows its peers, in a window of its own.
typedef struct {
  ZeroCounter written, read;
  ZeroCounter barrier;       // rank 0's is used: barriers that all ranks have reached
  _Atomic uint32_t arrivals; // rank 0's is used: arrivals at all barriers so far
  _Alignas(ZERO_CACHE_LINE) _Atomic uint64_t sent[ZERO_WIRE_CATEGORIES]; // bytes that peers have read here
  _Alignas(ZERO_CACHE_LINE) char slots[2][SLOT_BYTES];
} Control;

// One allocation: where it is on every rank, as seen from this process.
typedef struct Block {
  ZeroWindow *window;
  size_t bytes;
  ZeroMemory category;
  struct Block *next;
  char *base[]; // (size)
} Block;

typedef struct {
  ZeroWindow *control_window;
  ZeroWindow *windows; // newest first: allocations come from the first
  Block *blocks;
  uint32_t begun, finished; // reduces
  uint32_t barriers;
  unsigned round;      // of control messages: which slot is used
  const void **pieces; // (size) scratch: the ranks' pieces of a reduce
  ZeroSpin spin;
} Shm;

static Control *control_of(const Shm *shm, int rank) {
  return (Control *)shm->control_window->part[rank].base;
}

static void count_read(const Shm *shm, int from, ZeroWire wire, size_t bytes) {
  // Relaxed: it is looked at after a barrier.
  atomic_fetch_add_explicit(&control_of(shm, from)->sent[wire], bytes, memory_order_relaxed);
}

static void barrier(ZeroComm *comm) {
  Shm *shm = comm->impl;
  Control *root = control_of(shm, 0);
  uint32_t number = ++shm->barriers;
  uint32_t all = number * (uint32_t)comm->size; // arrivals when everybody is there; may run over, like the counter
  if (atomic_fetch_add(&root->arrivals, 1) + 1 == all) {
    zero_counter_set(&root->barrier, number);
  } else {
    zero_counter_wait(&root->barrier, number, shm->spin);
  }
}

// One round of control messages: write into own slot, next_round, read the peers' slots with slot_of.
static char *own_slot(ZeroComm *comm) {
  Shm *shm = comm->impl;
  return control_of(shm, comm->rank)->slots[shm->round % 2];
}

static void next_round(ZeroComm *comm) {
  Shm *shm = comm->impl;
  barrier(comm);
  shm->round++;
}

static const char *slot_of(const Shm *shm, int rank) {
  return control_of(shm, rank)->slots[(shm->round - 1) % 2];
}

// ----------------------------------------------------------------------------
// Memory

// A block's room in its window. The line left free behind it keeps the end of one block from being the
// beginning of the next, so that a pointer says which block it belongs to even if nothing is left behind it.
static size_t room_for(size_t bytes) {
  return (bytes + ZERO_CACHE_LINE - 1) / ZERO_CACHE_LINE * ZERO_CACHE_LINE + ZERO_CACHE_LINE;
}

static void drop_window(Shm *shm, ZeroWindow *window) {
  ZeroWindow **link = &shm->windows;
  while (*link != window) link = &(*link)->next;
  *link = window->next;
  zero_window_free(window);
}

static void add_window(ZeroComm *comm, size_t bytes) {
  Shm *shm = comm->impl;
  ZeroWindow *window = zero_window_create(comm, bytes);
  window->next = shm->windows;
  shm->windows = window;
}

int zero_comm_shm_in_use(const ZeroComm *comm) {
  return comm->size > 1 && ((Shm *)comm->impl)->blocks != NULL;
}

int zero_comm_shm_reserve(ZeroComm *comm, size_t bytes, ZeroReason *why) {
  if (comm->size == 1) return 1;
  Shm *shm = comm->impl;
  // A reservation that nobody used makes way.
  if (shm->windows != NULL && shm->windows->allocations == 0) drop_window(shm, shm->windows);
  bytes += RESERVED_ALLOCATIONS * room_for(0) * 2;
  if (!zero_window_fits(comm, bytes, why)) return 0;
  add_window(comm, bytes);
  return 1;
}

// Where each rank would put an allocation in the newest window. SIZE_MAX: it has no room.
static void exchange_offsets(ZeroComm *comm, size_t room, size_t *offsets) {
  Shm *shm = comm->impl;
  const ZeroWindow *window = shm->windows;
  size_t mine = window != NULL && room <= window->bytes - window->used ? window->used : SIZE_MAX;
  memcpy(own_slot(comm), &mine, sizeof(mine));
  next_round(comm);
  for (int r = 0; r < comm->size; r++) memcpy(&offsets[r], slot_of(shm, r), sizeof(offsets[r]));
}

static int all_have_room(const size_t *offsets, int size) {
  for (int r = 0; r < size; r++) {
    if (offsets[r] == SIZE_MAX) return 0;
  }
  return 1;
}

static void *alloc(ZeroComm *comm, size_t bytes, ZeroMemory category) {
  Shm *shm = comm->impl;
  size_t ranks = (size_t)comm->size, room = room_for(bytes);
  size_t *offsets = malloc(ranks * sizeof(*offsets));
  Block *block = malloc(sizeof(*block) + ranks * sizeof(block->base[0]));
  if (offsets == NULL || block == NULL) zero_fatal("no memory for the table of shared allocations");

  exchange_offsets(comm, room, offsets);
  if (!all_have_room(offsets, comm->size)) {
    size_t window_bytes = room > SMALLEST_WINDOW ? room : SMALLEST_WINDOW;
    ZeroReason why;
    if (!zero_window_fits(comm, window_bytes, &why)) zero_fatal("%s", why.text);
    add_window(comm, window_bytes);
    exchange_offsets(comm, room, offsets);
  }

  ZeroWindow *window = shm->windows;
  window->used += room;
  window->allocations++;
  *block = (Block){.window = window, .bytes = bytes, .category = category, .next = shm->blocks};
  for (int r = 0; r < comm->size; r++) block->base[r] = window->part[r].base + offsets[r];
  shm->blocks = block;
  free(offsets);
  zero_ledger_add(category, bytes, 1);
  return block->base[comm->rank]; // zeros: no room of a window is used twice
}

static void free_block(ZeroComm *comm, void *ptr) {
  Shm *shm = comm->impl;
  Block **link = &shm->blocks;
  while (*link != NULL && (*link)->base[comm->rank] != ptr) link = &(*link)->next;
  Block *block = *link;
  if (block == NULL) zero_fatal("a pointer from comm->alloc was expected, but %p is none: freed twice?", ptr);
  *link = block->next;
  zero_ledger_remove(block->category, block->bytes, 1);
  barrier(comm); // nobody reads it any more
  if (--block->window->allocations == 0) drop_window(shm, block->window);
  free(block);
}

// Where the memory that a rank knows as `ptr` is on another rank: same block, same distance from its start.
static const char *peer_address(ZeroComm *comm, const void *ptr, int rank) {
  const Shm *shm = comm->impl;
  const char *address = ptr;
  for (const Block *block = shm->blocks; block != NULL; block = block->next) {
    const char *own = block->base[comm->rank];
    if (address >= own && address <= own + block->bytes) return block->base[rank] + (address - own);
  }
  zero_fatal("memory from comm->alloc was expected, but %p is none: peers cannot reach it", ptr);
}

// ----------------------------------------------------------------------------
// Reduce-scatter

static void reduce_begin(ZeroComm *comm, ZeroReduce *reduce) {
  Shm *shm = comm->impl;
  reduce->ticket = ++shm->begun;
  reduce->active = 1;
  reduce->finished = 0;
  zero_counter_set(&control_of(shm, comm->rank)->written, shm->begun);
}

static void reduce_finish(ZeroComm *comm, ZeroReduce *reduce) {
  if (!reduce->active || reduce->finished) return;
  Shm *shm = comm->impl;
  uint32_t ticket = (uint32_t)reduce->ticket;
  if (ticket != ++shm->finished) {
    zero_fatal("reduce %u was expected to be finished next, but %u was: they finish in the order in which they began",
               shm->finished, ticket);
  }
  size_t element = zero_type_size(reduce->type);
  size_t first = reduce->bounds[comm->rank], count = reduce->bounds[comm->rank + 1] - first;
  for (int r = 0; r < comm->size && count > 0; r++) {
    if (r == comm->rank && reduce->in_place) continue;
    zero_counter_wait(&control_of(shm, r)->written, ticket, shm->spin);
    if (r != comm->rank) count_read(shm, r, ZERO_WIRE_REDUCE, count * element);
  }
  int pieces = 0;
  for (int r = 0; r < comm->size && count > 0; r++) {
    if (r == comm->rank && reduce->in_place) continue; // acc has it
    shm->pieces[pieces++] = peer_address(comm, reduce->full, r) + first * element;
  }
  if (pieces > 0) {
    const int overwrite = reduce->overwrite && !reduce->in_place;
    comm->device->add_pieces(comm->device, reduce->acc, reduce->acc_type, shm->pieces, pieces, reduce->type, count,
                             overwrite);
  }
  reduce->finished = 1;
  zero_counter_set(&control_of(shm, comm->rank)->read, ticket);
}

static void reduce_reusable(ZeroComm *comm, ZeroReduce *reduce) {
  if (!reduce->active) return;
  reduce_finish(comm, reduce);
  Shm *shm = comm->impl;
  for (int r = 0; r < comm->size; r++) {
    zero_counter_wait(&control_of(shm, r)->read, (uint32_t)reduce->ticket, shm->spin);
  }
  reduce->active = 0;
}

// ----------------------------------------------------------------------------
// All-gather

static void gather_begin(ZeroComm *comm, ZeroGather *gather) {
  (void)comm;
  gather->active = 1;
}

static void gather_finish(ZeroComm *comm, ZeroGather *gather) {
  if (!gather->active) return;
  Shm *shm = comm->impl;
  size_t element = zero_type_size(gather->type);
  const size_t *bounds = gather->bounds;
  char *full = gather->full;
  // Either every rank keeps its range in its place of a whole buffer, or in an allocation for the range alone.
  int in_place = gather->shard == full + bounds[comm->rank] * element;
  // Each rank starts with itself, so that they do not all read from rank 0 first.
  for (int i = 0; i < comm->size; i++) {
    int r = (comm->rank + i) % comm->size;
    size_t bytes = zero_span(bounds, r, element);
    if (bytes == 0 || (in_place && r == comm->rank)) continue;
    const char *range =
        in_place ? peer_address(comm, full, r) + bounds[r] * element : peer_address(comm, gather->shard, r);
    comm->device->copy(comm->device, full + bounds[r] * element, range, bytes);
    if (r != comm->rank) count_read(shm, r, gather->wire, bytes);
  }
  gather->active = 0;
}

// ----------------------------------------------------------------------------
// Control messages

static size_t part_of(size_t bytes, size_t at) {
  if (at >= bytes) return 0;
  return bytes - at < SLOT_BYTES ? bytes - at : SLOT_BYTES;
}

static void control_gather(ZeroComm *comm, const double *mine, double *all, const size_t *offsets) {
  Shm *shm = comm->impl;
  size_t longest = 0;
  for (int r = 0; r < comm->size; r++) {
    size_t bytes = zero_span(offsets, r, sizeof(double));
    if (bytes > longest) longest = bytes;
  }
  size_t at = 0;
  do { // at least once: it is a barrier too
    size_t part = part_of(zero_span(offsets, comm->rank, sizeof(double)), at);
    if (part > 0) memcpy(own_slot(comm), (const char *)mine + at, part);
    next_round(comm);
    for (int r = 0; r < comm->size; r++) {
      part = part_of(zero_span(offsets, r, sizeof(double)), at);
      if (part == 0) continue;
      memcpy((char *)(all + offsets[r]) + at, slot_of(shm, r), part);
      if (r != comm->rank) count_read(shm, r, ZERO_WIRE_CONTROL, part);
    }
    at += SLOT_BYTES;
  } while (at < longest);
}

// `bytes` from one rank to rank 0 or to all. Peers count what they read only after the barrier, so one more
// barrier follows where the counters are to be exact: control_gather's.
static void control_copy(ZeroComm *comm, int from, int to_all, const void *source, void *target, size_t bytes) {
  Shm *shm = comm->impl;
  for (size_t at = 0; at < bytes; at += SLOT_BYTES) {
    size_t part = part_of(bytes, at);
    if (comm->rank == from) memcpy(own_slot(comm), (const char *)source + at, part);
    next_round(comm);
    if (comm->rank != 0 && !to_all) continue;
    memcpy((char *)target + at, slot_of(shm, from), part);
    if (comm->rank != from) count_read(shm, from, ZERO_WIRE_CONTROL, part);
  }
}

static void control_collect(ZeroComm *comm, int from, const void *mine, void *out, size_t bytes) {
  control_copy(comm, from, 0, mine, out, bytes);
}

static void control_broadcast(ZeroComm *comm, void *data, size_t bytes) {
  control_copy(comm, 0, 1, data, data, bytes);
}

static uint64_t sent(ZeroComm *comm, ZeroWire wire) {
  return atomic_load(&control_of(comm->impl, comm->rank)->sent[wire]);
}

static void reset_sent(ZeroComm *comm) {
  barrier(comm); // nobody counts any more what came before
  for (int wire = 0; wire < ZERO_WIRE_CATEGORIES; wire++) {
    atomic_store(&control_of(comm->impl, comm->rank)->sent[wire], 0);
  }
  barrier(comm); // nobody counts yet what comes after
}

// ----------------------------------------------------------------------------

static void close_shm(ZeroComm *comm) {
  Shm *shm = comm->impl;
  while (shm->blocks != NULL) free_block(comm, shm->blocks->base[comm->rank]);
  while (shm->windows != NULL) drop_window(shm, shm->windows);
  zero_window_free(shm->control_window);
  zero_ledger_remove(ZERO_MEM_COMM, sizeof(Control), 1);
  free(shm->pieces);
  free(shm);
}

int zero_comm_shm_init(ZeroComm *comm, ZeroReason *why) {
  if (comm->size == 1) { // nobody to share a window with
    zero_comm_self_init(comm);
    comm->name = "shm";
    return 1;
  }
  if (!zero_window_fits(comm, sizeof(Control), why)) return 0;
  Shm *shm = calloc(1, sizeof(*shm));
  if (shm != NULL) shm->pieces = calloc((size_t)comm->size, sizeof *shm->pieces);
  if (shm == NULL || shm->pieces == NULL) zero_fatal("no memory for transport shm");
  const int crowded = comm->node_size > sysconf(_SC_NPROCESSORS_ONLN);
  shm->spin = (ZeroSpin){.ns = crowded ? SPIN_CROWDED_NS : SPIN_ALONE_NS, .yields = crowded};
  shm->control_window = zero_window_create(comm, sizeof(Control));
  zero_ledger_add(ZERO_MEM_COMM, sizeof(Control), 1);

  zero_comm_take_over(comm, "shm", shm, close_shm);
  comm->alloc = alloc;
  comm->free = free_block;
  comm->reduce_begin = reduce_begin;
  comm->reduce_finish = reduce_finish;
  comm->reduce_reusable = reduce_reusable;
  comm->publish = barrier;
  comm->gather_begin = gather_begin;
  comm->gather_finish = gather_finish;
  comm->control_gather = control_gather;
  comm->control_collect = control_collect;
  comm->control_broadcast = control_broadcast;
  comm->sent = sent;
  comm->reset_sent = reset_sent;
  return 1;
}
