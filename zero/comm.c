// Creating a communicator: starting MPI where it is needed, choosing the transport, and what all transports
// have in common.
#include "comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm_impl.h"

#define LEGAL_NAMES "self, shm, mpi" // and nccl in programs for GPUs

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

void *zero_comm_device_alloc(ZeroComm *comm, size_t bytes, ZeroMemory category) {
  // Callers may do arithmetic on an empty allocation's pointer and hand it back to free; any byte will do.
  if (bytes == 0) return comm;
  return comm->device->alloc(comm->device, bytes, category);
}

void zero_comm_device_free(ZeroComm *comm, void *ptr) {
  if (ptr != comm) comm->device->free(comm->device, ptr);
}

static void end_all(ZeroComm *comm, int code) {
  ZeroTransport *transport = zero_transport(comm);
  if (transport->world != MPI_COMM_NULL) MPI_Abort(transport->world, code);
  exit(code);
}

// Ends MPI if it was started here.
static void destroy(ZeroComm *comm) {
  ZeroTransport *transport = zero_transport(comm);
  if (transport->close != NULL) transport->close(comm);
  if (transport->world != MPI_COMM_NULL) {
    ZERO_MPI(MPI_Comm_free(&transport->node));
    ZERO_MPI(MPI_Comm_free(&transport->world));
    if (transport->started) ZERO_MPI(MPI_Finalize());
  }
  zero_device_destroy(transport->cpu);
  zero_error_set_comm(NULL);
  free(transport);
}

void zero_comm_take_over(ZeroComm *comm, const char *name, void *impl, void (*close)(ZeroComm *)) {
  ZeroTransport *transport = zero_transport(comm);
  if (transport->close != NULL) transport->close(comm);
  transport->close = close;
  transport->watch = NULL;
  comm->all_reduces = 0;
  comm->name = name;
  comm->impl = impl;
  comm->abort = end_all;
  comm->destroy = destroy;
}

// Whether mpirun, srun or the like started this process.
static int launcher_present(void) {
  static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};
  for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
    if (getenv(variables[i]) != NULL) return 1;
  }
  return 0;
}

static void start_mpi(ZeroTransport *transport) {
  int initialized, finalized;
  ZERO_MPI(MPI_Initialized(&initialized));
  ZERO_MPI(MPI_Finalized(&finalized));
  if (finalized) {
    zero_fatal(
        "a communicator was asked for after MPI had been finalized: MPI starts once per process; keep the "
        "first communicator, or call MPI_Init before and MPI_Finalize after all of them");
  }
  if (!initialized) {
    int provided;
    ZERO_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided));
    if (provided < MPI_THREAD_FUNNELED) {
      zero_fatal(
          "MPI was expected to allow threads (MPI_THREAD_FUNNELED), but offers level %d only; use an MPI "
          "built with thread support",
          provided);
    }
    transport->started = 1;
  }
  ZeroComm *comm = &transport->comm;
  ZERO_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &transport->world));
  ZERO_MPI(MPI_Comm_set_errhandler(transport->world, MPI_ERRORS_RETURN));
  ZERO_MPI(MPI_Comm_rank(transport->world, &comm->rank));
  ZERO_MPI(MPI_Comm_size(transport->world, &comm->size));
  ZERO_MPI(MPI_Comm_split_type(transport->world, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &transport->node));
  ZERO_MPI(MPI_Comm_set_errhandler(transport->node, MPI_ERRORS_RETURN));
  ZERO_MPI(MPI_Comm_rank(transport->node, &comm->node_rank));
  ZERO_MPI(MPI_Comm_size(transport->node, &comm->node_size));
}

// One line on rank 0: shm was not asked for by name and cannot serve.
static void note_fallback(const ZeroComm *comm, const ZeroReason *why) {
  if (comm->rank == 0) fprintf(stderr, "note: using transport mpi: %s\n", why->text);
}

static void choose_unforced(ZeroComm *comm) {
  if (comm->size == 1) {
    zero_comm_self_init(comm);
  } else if (comm->node_size == comm->size) {
    ZeroReason why;
    if (!zero_comm_shm_init(comm, &why)) note_fallback(comm, &why);
  }
}

static void choose_forced(ZeroComm *comm, const char *name, ZeroErrors *errors) {
  if (strcmp(name, "mpi") == 0) return;
  if (strcmp(name, "self") == 0) {
    if (comm->size == 1) {
      zero_comm_self_init(comm);
    } else {
      zero_errors_add(errors,
                      "ZERO_COMM: self serves one rank, but %d were started; use shm or mpi, or start one rank",
                      comm->size);
    }
  } else if (strcmp(name, "shm") == 0) {
    if (comm->node_size == comm->size) {
      ZeroReason why;
      if (!zero_comm_shm_init(comm, &why)) zero_errors_add(errors, "%s", why.text);
    } else {
      zero_errors_add(errors,
                      "ZERO_COMM: shm serves the ranks of one node, but only %d of %d ranks are on rank %d's; "
                      "use mpi",
                      comm->node_size, comm->size, comm->rank);
    }
  } else if (strcmp(name, "nccl") == 0) {
    if (zero_comm_nccl_init != NULL) {
      zero_transport(comm)->wants_nccl = 1; // the device is not known yet; mpi carries what the start needs
    } else {
      zero_errors_add(
          errors,
          "ZERO_COMM: nccl is not in this build: it moves the memory of GPUs, and NCCL must be there when "
          "the program for them is built (make train_gpt2cu); use one of " LEGAL_NAMES);
    }
  } else {
    zero_errors_add(errors, "ZERO_COMM: unknown transport '%s'; use one of " LEGAL_NAMES, name);
  }
}

ZeroComm *zero_comm_create(const char *name) {
  if (name == NULL) name = getenv("ZERO_COMM");
  if (name != NULL && name[0] == '\0') name = NULL;

  ZeroTransport *transport = calloc(1, sizeof(*transport));
  if (transport == NULL) zero_fatal("no memory for a communicator");
  ZeroComm *comm = &transport->comm;
  comm->size = comm->node_size = 1;
  comm->device = transport->cpu = zero_device_cpu();
  transport->world = transport->node = MPI_COMM_NULL;
  transport->forced = name != NULL;

  int initialized;
  ZERO_MPI(MPI_Initialized(&initialized));
  int name_needs_mpi =
      name != NULL && (strcmp(name, "shm") == 0 || strcmp(name, "mpi") == 0 || strcmp(name, "nccl") == 0);
  // A table that works comes first: the errors of the choice itself are shown through it.
  if (initialized || name_needs_mpi || launcher_present()) {
    start_mpi(transport);
    zero_comm_mpi_init(comm);
  } else {
    zero_comm_self_init(comm);
  }
  zero_error_set_comm(comm);

  ZeroErrors errors = {0};
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
    zero_comm_mpi_init(comm);
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
      zero_comm_mpi_init(comm);
    }
  }
  if (strcmp(comm->name, "mpi") == 0) zero_comm_mpi_reserve(comm);
}

void zero_comm_destroy(ZeroComm *comm) {
  if (comm != NULL) comm->destroy(comm);
}
