// The link mpi: starting and ending MPI, and its messages.
#include "comm_mpi.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// `link` comes first: the ZeroLink of a communicator that goes through MPI is a Mpi.
typedef struct {
  ZeroLink link;
  MPI_Comm world; // duplicate of MPI_COMM_WORLD
  MPI_Comm node;  // those of its ranks that can share memory with this one
  int started;    // MPI was started here, so destroying the communicator ends it
} Mpi;

static Mpi *mpi_of(ZeroComm *comm) {
  return (Mpi *)zero_transport(comm)->link;
}

MPI_Comm zero_mpi_node(ZeroComm *comm) {
  return mpi_of(comm)->node;
}

void zero_mpi_check_at(const char *file, int line, const char *call, int code) {
  if (code == MPI_SUCCESS) return;
  char reason[MPI_MAX_ERROR_STRING] = "unknown error";
  int length;
  MPI_Error_string(code, reason, &length);
  int name_length = (int)strcspn(call, "(");
  zero_fatal_at(file, line,
                "%.*s was expected to succeed, but returned %d: %s; a peer may have died, or memory or "
                "shared memory may have run out",
                name_length, call, code, reason);
}

// ---------------------------------------------------------------- messages
static MPI_Request *next_request(ZeroMessages *messages) {
  if (messages->count == messages->capacity) {
    int capacity = messages->capacity > 0 ? 2 * messages->capacity : 16;
    MPI_Request *items = realloc(messages->items, (size_t)capacity * sizeof(MPI_Request));
    if (items == NULL) zero_fatal("no memory for %d MPI requests", capacity);
    messages->items = items;
    messages->capacity = capacity;
  }
  return (MPI_Request *)messages->items + messages->count++;
}

// MPI counts are ints.
static int message_bytes(size_t bytes) {
  if (bytes > INT_MAX) zero_fatal("a message of %zu bytes was asked for; MPI takes up to %d", bytes, INT_MAX);
  return (int)bytes;
}

static void send(ZeroComm *comm, ZeroMessages *messages, int to, const void *data, size_t bytes, int lane) {
  ZERO_MPI(MPI_Isend(data, message_bytes(bytes), MPI_BYTE, to, lane, mpi_of(comm)->world, next_request(messages)));
}

static void receive(ZeroComm *comm, ZeroMessages *messages, int from, void *data, size_t bytes, int lane) {
  ZERO_MPI(MPI_Irecv(data, message_bytes(bytes), MPI_BYTE, from, lane, mpi_of(comm)->world, next_request(messages)));
}

// Open MPI yields the core while it waits where it knows of more ranks than cores (mpirun --oversubscribe).
static void wait_all(ZeroComm *comm, ZeroMessages *messages) {
  (void)comm;
  ZERO_MPI(MPI_Waitall(messages->count, messages->items, MPI_STATUSES_IGNORE));
  messages->count = 0;
}

static int test(ZeroComm *comm, ZeroMessages *messages) {
  (void)comm;
  int done = 0;
  ZERO_MPI(MPI_Testall(messages->count, messages->items, &done, MPI_STATUSES_IGNORE));
  if (done) {
    messages->count = 0;
  } else {
    sched_yield();
  }
  return done;
}

// ---------------------------------------------------------------- start and end
static void end_all(ZeroComm *comm, int code) {
  MPI_Abort(mpi_of(comm)->world, code);
}

// Asleep, so that the rank that ends this one gets the processor.
static void await_end(ZeroComm *comm, unsigned seconds) {
  (void)comm;
  while (seconds > 0) seconds = sleep(seconds);
}

static void destroy(ZeroComm *comm) {
  Mpi *mpi = mpi_of(comm);
  ZERO_MPI(MPI_Comm_free(&mpi->node));
  ZERO_MPI(MPI_Comm_free(&mpi->world));
  if (mpi->started) ZERO_MPI(MPI_Finalize());
  free(mpi);
}

int zero_mpi_running(void) {
  int initialized;
  ZERO_MPI(MPI_Initialized(&initialized));
  return initialized;
}

void zero_mpi_start(ZeroComm *comm) {
  int finalized;
  ZERO_MPI(MPI_Finalized(&finalized));
  if (finalized) {
    zero_fatal(
        "a communicator was asked for after MPI had been finalized: MPI starts once per process; keep the "
        "first communicator, or call MPI_Init before and MPI_Finalize after all of them");
  }
  Mpi *mpi = calloc(1, sizeof(*mpi));
  if (mpi == NULL) zero_fatal("no memory for a communicator");
  mpi->link = (ZeroLink){.name = "mpi",
                         .send = send,
                         .receive = receive,
                         .wait = wait_all,
                         .test = test,
                         .end_all = end_all,
                         .await_end = await_end,
                         .destroy = destroy};
  if (!zero_mpi_running()) {
    int provided;
    ZERO_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided));
    if (provided < MPI_THREAD_FUNNELED) {
      zero_fatal(
          "MPI was expected to allow threads (MPI_THREAD_FUNNELED), but offers level %d only; use an MPI "
          "built with thread support",
          provided);
    }
    mpi->started = 1;
  }
  ZERO_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &mpi->world));
  ZERO_MPI(MPI_Comm_set_errhandler(mpi->world, MPI_ERRORS_RETURN));
  ZERO_MPI(MPI_Comm_rank(mpi->world, &comm->rank));
  ZERO_MPI(MPI_Comm_size(mpi->world, &comm->size));
  ZERO_MPI(MPI_Comm_split_type(mpi->world, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &mpi->node));
  ZERO_MPI(MPI_Comm_set_errhandler(mpi->node, MPI_ERRORS_RETURN));
  ZERO_MPI(MPI_Comm_rank(mpi->node, &comm->node_rank));
  ZERO_MPI(MPI_Comm_size(mpi->node, &comm->node_size));
  int leader = comm->rank;
  ZERO_MPI(MPI_Bcast(&leader, 1, MPI_INT, 0, mpi->node));
  zero_transport(comm)->leader = leader;
  zero_transport(comm)->link = &mpi->link;
}
