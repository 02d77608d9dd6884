// Windows of shared memory: a file of each rank's that all map, and whether the file system behind them has room.
//
// They are not MPI's shared windows, because a window is read as fast as its pages are large: a file that is mapped
// at a multiple of a huge page can be made of huge pages, and what copies it then spends no time on translating
// addresses.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "comm_shm.h"

#define MIB ((unsigned long long)1 << 20)
enum { PAGE = 4096, PATH_BYTES = 512 };
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 // Linux 6.1; headers may be older
#endif

// Where the files are: in memory, if there is such a place.
static const char *backing_directory(void) {
  if (access("/dev/shm", W_OK) == 0) return "/dev/shm";
  const char *directory = getenv("TMPDIR");
  return directory != NULL ? directory : "/tmp";
}

// Bytes of the file of a part.
static size_t file_bytes(size_t bytes) {
  const size_t page = bytes >= ZERO_LARGE_BYTES ? ZERO_HUGE_PAGE : PAGE;
  return (bytes + page - 1) / page * page;
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
  unsigned long long need = file_bytes(bytes);
  ZERO_MPI(MPI_Allreduce(MPI_IN_PLACE, &need, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, node));
  // Only now: a window that was freed before holds its room until the last rank has come here.
  unsigned long long available = bytes_available(directory);
  ZERO_MPI(MPI_Allreduce(MPI_IN_PLACE, &available, 1, MPI_UNSIGNED_LONG_LONG, MPI_MIN, node));
  if (need <= available) return 1;
  snprintf(why->text, sizeof(why->text),
           "shared memory: the file system of %s has %llu bytes left, but transport shm needs %llu for %d ranks; "
           "set ZERO_COMM=mpi, or enlarge it (mount -o remount,size=%lluM %s; docker run --shm-size=%llum)",
           directory, available, need, comm->node_size, need / MIB + 1, directory, need / MIB + 1);
  return 0;
}

// A rank's part in this process: a large one at a multiple of a huge page.
static char *map_part(int fd, const char *path, size_t bytes) {
  const size_t slack = bytes >= ZERO_LARGE_BYTES ? ZERO_HUGE_PAGE : 0;
  char *room = mmap(NULL, bytes + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char *part = MAP_FAILED;
  if (room != MAP_FAILED) {
    const size_t skipped = slack > 0 ? (ZERO_HUGE_PAGE - (uintptr_t)room % ZERO_HUGE_PAGE) % ZERO_HUGE_PAGE : 0;
    part = mmap(room + skipped, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    if (part != MAP_FAILED && skipped > 0) (void)munmap(room, skipped);
    if (part != MAP_FAILED && slack > skipped) (void)munmap(part + bytes, slack - skipped);
  }
  if (part == MAP_FAILED) {
    zero_fatal("shared memory: %zu bytes of %s could not be mapped: %s; set ZERO_COMM=mpi", bytes, path,
               strerror(errno));
  }
  return part;
}

// An empty file for `bytes`, its path in `path` (PATH_BYTES). Its pages come when it has no name any more: a run that
// is killed meanwhile leaves none of them behind.
static int create_file(size_t bytes, char *path) {
  snprintf(path, PATH_BYTES, "%s/zero-%ld-XXXXXX", backing_directory(), (long)getpid());
  const int fd = mkstemp(path);
  if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
    zero_fatal("shared memory: %zu bytes of %s could not be created: %s; set ZERO_COMM=mpi", bytes, path,
               strerror(errno));
  }
  return fd;
}

static int open_file(const char *path, int owner) {
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    zero_fatal(
        "shared memory: %s of rank %d of the node could not be opened: %s; do the ranks share a file system? "
        "Set ZERO_COMM=mpi",
        path, owner, strerror(errno));
  }
  return fd;
}

static void fill(int fd, size_t first, size_t bytes) {
  int code;
  do code = posix_fallocate(fd, (off_t)first, (off_t)bytes);
  while (code == EINTR); // a signal that is taken note of: nothing was filled
  if (code == 0) return;
  zero_fatal("shared memory: no room for %zu bytes in %s: %s; set ZERO_COMM=mpi, or enlarge the file system",
             first + bytes, backing_directory(), strerror(code));
}

// This rank's part gets its pages, near its processor, before anyone touches them: a write to one for which there is
// no room would end the process by a signal. Huge ones are only a request: an older kernel makes none of files, and
// the part serves all the same.
static void fill_part(int fd, char *part, size_t bytes) {
  if (bytes >= ZERO_LARGE_BYTES) {
    for (size_t at = 0; at < bytes; at += ZERO_HUGE_PAGE) fill(fd, at, PAGE); // none is made of nothing
    (void)madvise(part, bytes, MADV_COLLAPSE);
  }
  fill(fd, 0, bytes);
}

// What a rank tells the others of its part.
typedef struct {
  size_t bytes;
  char path[PATH_BYTES];
} File;

ZeroWindow *zero_window_create(ZeroComm *comm, size_t bytes) {
  MPI_Comm node = zero_mpi_node(comm);
  const int ranks = comm->node_size, me = comm->node_rank;
  ZeroWindow *window = calloc(1, sizeof *window + (size_t)ranks * sizeof window->part[0]);
  File *files = calloc((size_t)ranks, sizeof *files);
  int *fd = calloc((size_t)ranks, sizeof *fd);
  if (window == NULL || files == NULL || fd == NULL) zero_fatal("no memory for a shared window of %d ranks", ranks);
  window->bytes = bytes;
  window->ranks = ranks;

  files[me].bytes = file_bytes(bytes);
  fd[me] = create_file(files[me].bytes, files[me].path);
  ZERO_MPI(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, files, sizeof *files, MPI_BYTE, node));
  for (int r = 0; r < ranks; r++) {
    if (r != me) fd[r] = open_file(files[r].path, r);
  }
  ZERO_MPI(MPI_Barrier(node)); // all have opened it; without a name it goes with the last of them
  if (unlink(files[me].path) != 0) zero_fatal("%s could not be removed: %s", files[me].path, strerror(errno));
  for (int r = 0; r < ranks; r++) {
    window->part[r] = (ZeroPart){map_part(fd[r], files[r].path, files[r].bytes), files[r].bytes};
    if (r == me) fill_part(fd[r], window->part[r].base, files[r].bytes);
    (void)close(fd[r]);
  }
  ZERO_MPI(MPI_Barrier(node)); // nobody touches a part before its pages are there
  free(files);
  free(fd);
  return window;
}

// Peers may still read this rank's part: they have mapped it themselves.
void zero_window_free(ZeroWindow *window) {
  for (int r = 0; r < window->ranks; r++) (void)munmap(window->part[r].base, window->part[r].mapped);
  free(window);
}
