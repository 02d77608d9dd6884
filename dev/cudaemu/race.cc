// The objects of the race check.
#include "race.h"

// TSan gives a thread's number to a later one, and takes what the earlier one did for the later one's own doing: no
// race between the two is found. So numbers come back late, and because the count is a prime not to the same thread
// of a block of 2^n threads.
void race_end_thread(void *thread) {
#ifdef CUDAEMU_TSAN
  enum { KEPT = 1021 };
  static void *ended[KEPT];
  static size_t next;
  if (ended[next] != nullptr) __tsan_destroy_fiber(ended[next]);
  ended[next] = thread;
  next = (next + 1) % KEPT;
#else
  (void)thread;
#endif
}

char *race_new_objects(size_t count) {
#ifdef CUDAEMU_TSAN
  enum { OBJECTS = 1 << 20 };
  static char objects[(size_t)OBJECTS * RACE_OBJECT_BYTES];
  static size_t used;
  if (used + count > OBJECTS) used = 0;
  char *first = objects + used * RACE_OBJECT_BYTES;
  used += count;
  return first;
#else
  (void)count;
  return nullptr;
#endif
}
