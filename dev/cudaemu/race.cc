// The objects of the race check.
#include "race.h"

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
