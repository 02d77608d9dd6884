// Windows of shared memory, and whether the file system behind them has room.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "comm_shm.h"

#define MIB ((unsigned long long)1 << 20)
// What MPI adds to a window for itself and for rounding to pages: generous.
#define MPI_MARGIN (1 * MIB)

// Where Open MPI puts the files behind shared windows.
static const char *backing_directory(void) {
  const char *directory = getenv("OMPI_MCA_osc_sm_backing_directory");
  if (directory != NULL) return directory;
  if (access("/dev/shm", W_OK) == 0) return "/dev/shm";
  directory = getenv("OMPI_MCA_orte_top_session_dir");
  if (directory == NULL) directory = getenv("TMPDIR");
  return directory != NULL ? directory : "/tmp";
}

// Bytes that can still be written there. ZERO_SHM_LIMIT (bytes) makes it look smaller: to try out what happens
// on machines, containers mostly, where it is small.
static unsigned long long bytes_available(const char *directory) {
  struct statvfs system;
  if (statvfs(directory, &system) != 0) return 0;
  unsigned long long available = (unsigned long long)system.f_bavail * system.f_frsize;
  const char *limit = getenv("ZERO_SHM_LIMIT");
  if (limit != NULL && strtoull(limit, NULL, 10) < available) available = strtoull(limit, NULL, 10);
  return available;
}

int zero_window_fits(ZeroComm *comm, size_t bytes, ZeroReason *why) {
  MPI_Comm node = zero_mpi_node(comm);
  const char *directory = backing_directory();
  unsigned long long need = bytes, available = bytes_available(directory);
  ZERO_MPI(MPI_Allreduce(MPI_IN_PLACE, &need, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, node));
  ZERO_MPI(MPI_Allreduce(MPI_IN_PLACE, &available, 1, MPI_UNSIGNED_LONG_LONG, MPI_MIN, node));
  need += MPI_MARGIN;
  if (need <= available) return 1;
  snprintf(why->text, sizeof(why->text),
           "shared memory: the file system of %s has %llu bytes left, but transport shm needs %llu for %d ranks; "
           "set ZERO_COMM=mpi, or enlarge it (mount -o remount,size=%lluM %s; docker run --shm-size=%llum)",
           directory, available, need, comm->node_size, need / MIB + 1, directory, need / MIB + 1);
  return 0;
}

ZeroWindow *zero_window_create(ZeroComm *comm, size_t bytes) {
  MPI_Comm node = zero_mpi_node(comm);
  size_t ranks = (size_t)comm->node_size;
  ZeroWindow *window = calloc(1, sizeof(*window) + ranks * sizeof(window->base[0]));
  if (window == NULL) zero_fatal("no memory for a shared window of %d ranks", comm->node_size);
  window->bytes = bytes;

  // Each rank's part may begin on a page of its own, near its processor.
  MPI_Info info;
  ZERO_MPI(MPI_Info_create(&info));
  ZERO_MPI(MPI_Info_set(info, "alloc_shared_noncontig", "true"));
  void *own;
  ZERO_MPI(MPI_Win_allocate_shared((MPI_Aint)(bytes + ZERO_CACHE_LINE), 1, info, node, &own, &window->win));
  ZERO_MPI(MPI_Info_free(&info));
  ZERO_MPI(MPI_Win_set_errhandler(window->win, MPI_ERRORS_RETURN));
  for (int r = 0; r < comm->node_size; r++) {
    MPI_Aint size;
    int unit;
    ZERO_MPI(MPI_Win_shared_query(window->win, r, &size, &unit, &window->base[r]));
    // Mappings begin on a page, so all processes move a part's beginning by the same distance.
    window->base[r] += (ZERO_CACHE_LINE - (uintptr_t)window->base[r] % ZERO_CACHE_LINE) % ZERO_CACHE_LINE;
  }
  // Ordinary loads and stores are allowed within an access epoch, which lasts as long as the window.
  ZERO_MPI(MPI_Win_lock_all(MPI_MODE_NOCHECK, window->win));
  return window;
}

void zero_window_free(ZeroWindow *window) {
  ZERO_MPI(MPI_Win_unlock_all(window->win));
  ZERO_MPI(MPI_Win_free(&window->win));
  free(window);
}
