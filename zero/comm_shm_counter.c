// Counters in shared memory that ranks sleep on, through Linux's futex.
//
// There may be more ranks than cores, and then a rank that spins takes the core from the one it waits for:
// so waiting ends in sleep. A setter makes the system call only if somebody sleeps. Nobody is missed: a waiter
// announces itself before it looks at the value a last time, a setter changes the value before it looks for
// waiters (both sequentially consistent), and the kernel lets a waiter sleep only if the value is still the one
// it saw.
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "comm_shm.h"

#define SPINS_PER_LOOK 32 // looks at the value between two looks at the clock
#define SLEEP_SECONDS 1   // then a sleeper looks again, should a wake-up ever get lost

_Static_assert(sizeof(_Atomic uint32_t) == sizeof(uint32_t), "a futex is a plain 32-bit word");

static int reached(ZeroCounter *counter, uint32_t target) {
  // The difference, so that the counter may run over.
  return (int32_t)(atomic_load(&counter->value) - target) >= 0;
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static long nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000L + now.tv_nsec;
}

static int spin(ZeroCounter *counter, uint32_t target, ZeroSpin how) {
  long start = nanoseconds();
  do {
    for (int i = 0; i < SPINS_PER_LOOK; i++) {
      if (reached(counter, target)) return 1;
      if (how.yields) break;
      relax();
    }
    if (how.yields) sched_yield();
  } while (nanoseconds() - start < how.ns);
  return reached(counter, target);
}

void zero_counter_set(ZeroCounter *counter, uint32_t value) {
  atomic_store(&counter->value, value);
  if (atomic_load(&counter->sleepers) > 0) {
    if (syscall(SYS_futex, &counter->value, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) < 0) {
      zero_fatal("futex wake failed: %s; use ZERO_COMM=mpi", strerror(errno));
    }
  }
}

void zero_counter_wait(ZeroCounter *counter, uint32_t target, ZeroSpin how) {
  if (spin(counter, target, how)) return;
  struct timespec limit = {.tv_sec = SLEEP_SECONDS};
  atomic_fetch_add(&counter->sleepers, 1);
  for (;;) {
    uint32_t seen = atomic_load(&counter->value);
    if ((int32_t)(seen - target) >= 0) break;
    long code = syscall(SYS_futex, &counter->value, FUTEX_WAIT, seen, &limit, NULL, 0);
    if (code < 0 && errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT) {
      zero_fatal("futex wait failed: %s; use ZERO_COMM=mpi", strerror(errno));
    }
  }
  atomic_fetch_sub(&counter->sleepers, 1);
}
