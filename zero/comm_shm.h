// The parts of the shared-memory transport: counters that ranks sleep on, and windows that they share.
// Nothing outside comm_shm*.c includes this.
#ifndef ZERO_COMM_SHM_H
#define ZERO_COMM_SHM_H

#include <stdatomic.h>

#include "comm_mpi.h"

#define ZERO_CACHE_LINE 64

// A number in shared memory that only grows (modulo 2^32), on a cache line of its own. One rank at a time sets
// it; any rank may wait until it has reached a value.
typedef struct {
  _Alignas(ZERO_CACHE_LINE) _Atomic uint32_t value;
  _Atomic uint32_t sleepers; // ranks that set must wake
} ZeroCounter;

// How long to look again and again before sleeping; yields: offering the core to others between two looks.
typedef struct {
  long ns;
  int yields;
} ZeroSpin;

// What was written before set is seen after the wait that it ends. Waiting spins, then sleeps.
void zero_counter_set(ZeroCounter *counter, uint32_t value);
void zero_counter_wait(ZeroCounter *counter, uint32_t target, ZeroSpin how);

// Where a rank's part of a window is in this process.
typedef struct {
  char *base;
  size_t mapped; // bytes: whole pages
} ZeroPart;

// A window: on each rank one contiguous part, which all ranks can address.
typedef struct ZeroWindow {
  size_t bytes, used; // this rank's part; allocations take it from the front
  int allocations;    // those not freed yet; the last one to go takes the window with it
  struct ZeroWindow *next;
  int ranks;
  ZeroPart part[]; // (ranks)
} ZeroWindow;

// Collective. Whether the shared-memory file system has room for `bytes` of this rank and what the others
// ask for. Returns 1, or 0 with the reason, on all ranks.
int zero_window_fits(ZeroComm *comm, size_t bytes, ZeroReason *why);
// Collective. `bytes` may differ from rank to rank. All of them are 0.
ZeroWindow *zero_window_create(ZeroComm *comm, size_t bytes);
void zero_window_free(ZeroWindow *window);

#endif
