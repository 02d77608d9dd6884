// Ranks talking to each other: what the engine asks of a transport.
//
// Five transports fill the same table: comm_self.c (one rank, nothing is started), comm_shm.c (ranks of one node,
// through an MPI shared-memory window), comm_transfer.c (anything, through messages: mpi and, without MPI, tcp) and
// comm_nccl.cu (ranks with a GPU each, through NCCL). "Returns when" is meant in the order of the device's stream:
// what is queued there afterwards may rely on it, and with nccl the host itself does not wait. Every call marked
// "collective" is made by every rank, in the same order.
//
// A unit's flat buffer of `total` elements is cut into one contiguous range per rank: rank r owns
// [bounds[r], bounds[r + 1]). Ranges may be empty. Counts are elements, never bytes.
#ifndef ZERO_COMM_H
#define ZERO_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

// What travelled, for the traffic table. CONTROL: chunk norms, losses, flags, hashes. OUTSIDE: gathers that are
// not part of a training step (start-up, evaluation, sampling).
typedef enum {
  ZERO_WIRE_REDUCE,
  ZERO_WIRE_GATHER,
  ZERO_WIRE_CONTROL,
  ZERO_WIRE_OUTSIDE,
  ZERO_WIRE_CATEGORIES
} ZeroWire;

typedef struct ZeroComm ZeroComm;

// One reduce-scatter under way. The caller fills the first block; the transport keeps the rest.
typedef struct {
  const void *full;     // this rank's gradient of the whole unit, in memory from comm->alloc
  ZeroType type;        // wire type
  const size_t *bounds; // (size + 1) borders, the same on every rank
  void *acc;            // this rank's accumulator for its own range
  ZeroType acc_type;    // its type; sums are in fp32 and rounded to it once per piece
  int overwrite;        // 1: rank 0's piece overwrites acc (first accumulation step), 0: it is added
  int in_place;         // 1: acc is this rank's range of full: only the peers' pieces are added, in rank order

  int any_order; // 1: the transport may take the sum in an order of its own
  int everyone;  // 1: acc gets the whole unit's sums on every rank; with any_order, where comm->all_reduces

  int active; // begun and not yet known to be reusable
  int finished;
  uint64_t ticket;
  void *state;
} ZeroReduce;

// One all-gather under way.
typedef struct {
  const void *shard; // this rank's own range (bounds[rank+1] - bounds[rank] elements), in memory from comm->alloc
  void *full;        // where the whole unit is put; shard may lie inside it, at its own place
  ZeroType type;
  const size_t *bounds;
  ZeroWire wire; // category to count it in: ZERO_WIRE_GATHER or ZERO_WIRE_OUTSIDE

  int active;
  void *state;
} ZeroGather;

struct ZeroComm {
  const char *name; // "self", "shm", "mpi", "tcp", "nccl"
  int all_reduces;  // 1: ZeroReduce.everyone may be set
  int rank, size;
  int node_rank, node_size;
  ZeroDevice *device;
  void *impl;

  // Memory that a transport can reach from other ranks (shm: in the window; else device memory).
  // Collective; `bytes` may differ from rank to rank and may be 0 (a non-NULL pointer comes back all the
  // same). Zeroed, aligned to 64 bytes, in the ledger under `category`.
  void *(*alloc)(ZeroComm *, size_t bytes, ZeroMemory category);
  void (*free)(ZeroComm *, void *ptr); // collective

  // Reduce-scatter. begin says that `full` is written and returns at once; finish adds the pieces of all
  // ranks, in rank order 0, 1, 2 …, into acc; reusable returns when no rank will read `full` any more.
  // Several may be begun before the first is finished; they finish in the order in which they began.
  // All three collective. A rank sends total - own elements; with `everyone` (size - 1) * own more, which count as a
  // gather.
  void (*reduce_begin)(ZeroComm *, ZeroReduce *);
  void (*reduce_finish)(ZeroComm *, ZeroReduce *);
  void (*reduce_reusable)(ZeroComm *, ZeroReduce *);

  // All-gather. The ranks' shards must be complete before: between writing them and gather_begin stands
  // publish (collective), and they stay unchanged until every rank has finished its gathers and made a
  // later collective call of control_gather. begin may return at once; finish returns when full is whole.
  // Several may be begun before the first is finished. A rank sends (size - 1) * own elements.
  void (*publish)(ZeroComm *);
  void (*gather_begin)(ZeroComm *, ZeroGather *);
  void (*gather_finish)(ZeroComm *, ZeroGather *);

  // all[offsets[r]..offsets[r+1]) = rank r's `mine`; doubles; collective and a barrier.
  void (*control_gather)(ZeroComm *, const double *mine, double *all, const size_t *offsets);
  // To rank 0 alone, in pieces of bounded size by the caller: `bytes` from rank `from` (all ranks call it;
  // from = 0 copies). out is used on rank 0.
  void (*control_collect)(ZeroComm *, int from, const void *mine, void *out, size_t bytes);
  // Rank 0's bytes to all; collective.
  void (*control_broadcast)(ZeroComm *, void *data, size_t bytes);

  // Ends every rank's process with this exit code; does not return.
  void (*abort)(ZeroComm *, int code);
  // For a rank that another is about to end: waits so long for it, and returns if that does not happen.
  void (*await_end)(ZeroComm *, unsigned seconds);
  void (*destroy)(ZeroComm *); // collective; finalizes MPI where zero_comm_create started it

  // Payload bytes this rank has sent (shm: what its peers have read from it) since the last reset.
  // Exact after a control_gather.
  uint64_t (*sent)(ZeroComm *, ZeroWire);
  void (*reset_sent)(ZeroComm *); // collective
};

// all[r * each .. (r + 1) * each) = rank r's `mine`; a control_gather of as many doubles from every rank. Collective.
void zero_comm_gather_each(ZeroComm *, const double *mine, size_t each, double *all);
// name: "self", "shm", "mpi", "tcp", "nccl" or NULL: the ZERO_COMM variable, else shm for several ranks on one node,
// mpi across nodes, self without a launcher (mpirun, srun); when the engine is created on a GPU, nccl if every rank
// has one of its own, else mpi. Starts MPI if a launcher is there or the name needs it. A forced transport that
// cannot work is an error that ends all ranks with exit code 1; shm chosen by itself whose file system is too small
// falls back to mpi with a message (checked against need_bytes, what this rank will allocate, when the engine is
// created). Where ZERO_START=tcp:HOST:PORT or fs:FOLDER is set the ranks start without MPI as zero_comm_start does;
// ZERO_RANK and ZERO_RANKS say who this is, else the launcher's variables.
ZeroComm *zero_comm_create(const char *name);

// How the ranks of a job that is not started by MPI find each other: at rank 0, by one of server and folder.
typedef struct {
  int ranks, rank;
  int per_node;       // ranks of each node, the first ones on the first; 0: found out by the names of the machines
  const char *server; // "HOST:PORT" at which rank 0 listens, or NULL; [HOST]:PORT for IPv6
  const char *folder; // which all ranks see, where rank 0 leaves a file that says where it listens; or NULL
} ZeroStart;
// The same over TCP, MPI untouched: transport tcp, self for one rank, nccl as above; start NULL: as zero_comm_create
// without ZERO_START. Waits for all ranks up to ZERO_START_TIMEOUT seconds (300). What hinders the start (a rank that
// is missing or there twice, other numbers of ranks, an address that does not answer) is an error on the ranks that
// it concerns and on those that are already there, exit code 1.
ZeroComm *zero_comm_start(const char *name, const ZeroStart *start);
int zero_comm_has_mpi(void); // 1: MPI is in this program

// Collective, when comm->device is the model's: makes sure that the transport suits it and can hold need_bytes per
// rank; starts nccl; may switch a shm that was not forced to mpi (one line on stderr), or end all ranks if it was
// forced. Call it before the first alloc.
void zero_comm_reserve(ZeroComm *, size_t need_bytes);
void zero_comm_destroy(ZeroComm *);

#ifdef __cplusplus
}
#endif
#endif
