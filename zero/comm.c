// Creating a communicator: starting MPI or TCP where it is needed, choosing the transport, and what all transports
// have in common.
#include "comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm_impl.h"
#include "comm_start.h"

#define LEGAL_NAMES "self, shm, mpi, tcp" // and nccl in programs for GPUs
#define WITHOUT_MPI_NAMES "self, tcp"

// ---------------------------------------------------------------- what the transports share
double zero_comm_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double zero_comm_time_limit(void) {
  const double built_in = 600.0; // a checkpoint that rank 0 writes to a slow disk keeps the others waiting
  return zero_start_seconds("ZERO_COMM_TIMEOUT", built_in);
}

void zero_comm_too_long(const char *what, double limit) {
  zero_fatal(
      "%s took more than %.0f s; a rank hangs, or the time is too short for this machine: set "
      "ZERO_COMM_TIMEOUT=SECONDS",
      what, limit);
}

void zero_comm_gather_each(ZeroComm *comm, const double *mine, size_t each, double *all) {
  const size_t ranks = (size_t)comm->size;
  size_t *offsets = zero_malloc((ranks + 1) * sizeof *offsets, ZERO_MEM_OTHER);
  for (size_t r = 0; r <= ranks; r++) offsets[r] = r * each;
  comm->control_gather(comm, mine, all, offsets);
  zero_free(offsets);
}

void *zero_comm_device_alloc(ZeroComm *comm, size_t bytes, ZeroMemory category) {
  // Callers may do arithmetic on an empty allocation's pointer and hand it back to free; any byte will do.
  if (bytes == 0) return comm;
  return comm->device->alloc(comm->device, bytes, category);
}

void zero_comm_device_free(ZeroComm *comm, void *ptr) {
  if (ptr != comm) comm->device->free(comm->device, ptr);
}

static void end_all(ZeroComm *comm, int code) {
  const ZeroLink *link = zero_transport(comm)->link;
  if (link != NULL) link->end_all(comm, code);
  exit(code);
}

static void await_end(ZeroComm *comm, unsigned seconds) {
  const ZeroLink *link = zero_transport(comm)->link;
  if (link != NULL) link->await_end(comm, seconds);
}

// Closes the transport, then the link: MPI, if it was started here, or the sockets.
static void destroy(ZeroComm *comm) {
  ZeroTransport *transport = zero_transport(comm);
  if (transport->close != NULL) transport->close(comm);
  if (transport->link != NULL) transport->link->destroy(comm);
  zero_device_destroy(transport->cpu);
  zero_error_set_comm(NULL);
  free(transport);
}

void zero_comm_take_over(ZeroComm *comm, const char *name, void *impl, void (*close)(ZeroComm *)) {
  ZeroTransport *transport = zero_transport(comm);
  if (transport->close != NULL) transport->close(comm);
  transport->close = close;
  transport->watch = transport->before_control = NULL;
  comm->all_reduces = 0;
  comm->name = name;
  comm->impl = impl;
  comm->abort = end_all;
  comm->await_end = await_end;
  comm->destroy = destroy;
}

// ---------------------------------------------------------------- choosing
// One line on rank 0: what was not asked for by name, and cannot serve.
static void note_fallback(ZeroComm *comm, const ZeroReason *why) {
  if (comm->rank == 0) fprintf(stderr, "note: using transport %s: %s\n", zero_transport(comm)->link->name, why->text);
}

static int link_is(ZeroComm *comm, const char *name) {
  const ZeroLink *link = zero_transport(comm)->link;
  return link != NULL && strcmp(link->name, name) == 0;
}

static void choose_unforced(ZeroComm *comm) {
  if (comm->size == 1) {
    zero_comm_self_init(comm);
  } else if (link_is(comm, "mpi") && comm->node_size == comm->size) {
    ZeroReason why;
    if (!zero_comm_shm_init(comm, &why)) note_fallback(comm, &why);
  }
}

static void choose_shm(ZeroComm *comm, ZeroErrors *errors) {
  if (!link_is(comm, "mpi")) {
    zero_errors_add(errors,
                    "ZERO_COMM: shm shares memory through MPI, but the ranks were started without it; use tcp");
  } else if (comm->node_size == comm->size) {
    ZeroReason why;
    if (!zero_comm_shm_init(comm, &why)) zero_errors_add(errors, "%s", why.text);
  } else {
    zero_errors_add(errors,
                    "ZERO_COMM: shm serves the ranks of one node, but only %d of %d ranks are on rank %d's; "
                    "use mpi",
                    comm->node_size, comm->size, comm->rank);
  }
}

static void choose_forced(ZeroComm *comm, const char *name, ZeroErrors *errors) {
  if (link_is(comm, name)) return;
  if (strcmp(name, "self") == 0) {
    if (comm->size == 1) {
      zero_comm_self_init(comm);
    } else {
      zero_errors_add(errors,
                      "ZERO_COMM: self serves one rank, but %d were started; use shm, mpi or tcp, or start one rank",
                      comm->size);
    }
  } else if (strcmp(name, "shm") == 0) {
    choose_shm(comm, errors);
  } else if (strcmp(name, "mpi") == 0) {
    zero_errors_add(errors, "ZERO_COMM: mpi was asked for, but the ranks were started without MPI; use tcp");
  } else if (strcmp(name, "nccl") == 0) {
    if (zero_comm_nccl_init != NULL) {
      zero_transport(comm)->wants_nccl = 1; // the device is not known yet; the link carries what the start needs
    } else {
      zero_errors_add(
          errors,
          "ZERO_COMM: nccl is not in this build: it moves the memory of GPUs, and NCCL must be there when "
          "the program for them is built (make train_gpt2cu); use one of " LEGAL_NAMES);
    }
  } else if (strcmp(name, "tcp") == 0) {
    zero_errors_add(
        errors,
        "ZERO_COMM: tcp was asked for, but not where the ranks find each other; give -pi tcp or -pi fs, or "
        "set ZERO_START=tcp:HOST:PORT or ZERO_START=fs:FOLDER");
  } else {
    zero_errors_add(errors, "ZERO_COMM: unknown transport '%s'; use one of " LEGAL_NAMES, name);
  }
}

int zero_comm_has_mpi(void) {
  return zero_mpi_start != NULL;
}

// Is MPI wanted, by name or because a launcher started several processes that wait for each other in it?
static int wants_mpi(const char *name, ZeroErrors *errors) {
  const int named =
      name != NULL && (strcmp(name, "shm") == 0 || strcmp(name, "mpi") == 0 || strcmp(name, "nccl") == 0);
  if (zero_comm_has_mpi()) return named || zero_mpi_running() || zero_start_launcher_present();
  ZeroStart launched;
  if (named && strcmp(name, "nccl") != 0) {
    zero_errors_add(errors, "ZERO_COMM: %s needs MPI, and this program was built without it; use one of %s", name,
                    WITHOUT_MPI_NAMES);
  } else if (zero_start_launched(&launched) && launched.ranks > 1) {
    zero_errors_add(
        errors,
        "%d processes were started together, but this program was built without MPI and each of them would "
        "run alone; give -pi fs or -pi tcp, or build with MPI",
        launched.ranks);
  }
  return 0;
}

ZeroComm *zero_comm_create(const char *name) {
  ZeroStart start;
  return zero_comm_start(name, zero_start_from_environment(&start) ? &start : NULL);
}

ZeroComm *zero_comm_start(const char *name, const ZeroStart *start) {
  if (name == NULL) name = getenv("ZERO_COMM");
  if (name != NULL && name[0] == '\0') name = NULL;

  ZeroTransport *transport = calloc(1, sizeof(*transport));
  if (transport == NULL) zero_fatal("no memory for a communicator");
  ZeroComm *comm = &transport->comm;
  comm->size = comm->node_size = 1;
  comm->device = transport->cpu = zero_device_cpu();
  transport->forced = name != NULL;

  ZeroErrors errors = {0};
  // A table that works comes first: the errors of the choice itself are shown through it.
  if (start != NULL) {
    zero_tcp_start(comm, start, &errors);
  } else if (wants_mpi(name, &errors)) {
    zero_mpi_start(comm);
  }
  zero_errors_check(&errors, NULL);
  if (transport->link != NULL) {
    zero_comm_transfer_init(comm);
  } else {
    zero_comm_self_init(comm);
  }
  zero_error_set_comm(comm);

  if (name == NULL) {
    choose_unforced(comm);
  } else {
    choose_forced(comm, name, &errors);
  }
  zero_errors_check(&errors, comm);
  return comm;
}

// Whether the ranks can share the device's memory.
static int device_in_reach(const ZeroComm *comm, ZeroReason *why) {
  if (comm->size == 1 || comm->device->host_memory) return 1;
  snprintf(
      why->text, sizeof why->text,
      "shared memory: transport shm shares the host's, but the model lies in that of device %s; set ZERO_COMM=mpi",
      comm->device->name);
  return 0;
}

// nccl where it was asked for, and where ranks with GPUs of their own did not ask for another.
static void choose_nccl(ZeroComm *comm) {
  ZeroTransport *transport = zero_transport(comm);
  if (zero_comm_nccl_init == NULL || strcmp(comm->name, "nccl") == 0) return;
  if (!transport->wants_nccl && (transport->forced || comm->size == 1 || comm->device->host_memory)) return;
  if (strcmp(comm->name, "shm") == 0 && zero_comm_shm_in_use(comm)) return;
  ZeroReason why;
  if (zero_comm_nccl_possible(comm, &why)) {
    zero_comm_nccl_init(comm);
  } else if (transport->wants_nccl) {
    ZeroErrors errors = {0};
    zero_errors_add(&errors, "ZERO_COMM: %s", why.text);
    zero_errors_check(&errors, comm);
  } else {
    note_fallback(comm, &why);
    if (!link_is(comm, comm->name)) zero_comm_transfer_init(comm);
  }
}

void zero_comm_reserve(ZeroComm *comm, size_t need_bytes) {
  choose_nccl(comm);
  if (strcmp(comm->name, "shm") == 0) {
    ZeroReason why;
    if (!device_in_reach(comm, &why) || !zero_comm_shm_reserve(comm, need_bytes, &why)) {
      if (zero_transport(comm)->forced || zero_comm_shm_in_use(comm)) {
        ZeroErrors errors = {0};
        zero_errors_add(&errors, "%s", why.text);
        zero_errors_check(&errors, comm);
      }
      note_fallback(comm, &why);
      zero_comm_transfer_init(comm);
    }
  }
  if (link_is(comm, comm->name)) zero_comm_transfer_reserve(comm);
}

void zero_comm_destroy(ZeroComm *comm) {
  if (comm != NULL) comm->destroy(comm);
}
