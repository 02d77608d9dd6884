// Places for the plans that a library makes of operations (oneDNN's primitives, cuBLASLt's algorithms, cuDNN's
// plans): one for each key, and the plan that was used longest ago gives its place to a new one. The plans are their
// owner's, in an array of as many entries, each of which begins with its key.
#ifndef LLMC_PLAN_PLACES_H
#define LLMC_PLAN_PLACES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PLAN_PLACES_MOST = 512 };

// All zero: no plan yet.
typedef struct {
  size_t count;                      // places in use
  uint64_t clock;                    // counts look-ups
  uint64_t hashes[PLAN_PLACES_MOST]; // beside the entries, so that a look-up reads few cache lines
  uint64_t last_use[PLAN_PLACES_MOST];
} PlanPlaces;

typedef enum {
  PLAN_KNOWN,   // the entry has this key
  PLAN_NEW,     // the owner makes it, the key with it
  PLAN_REPLACES // the same, after it destroyed the one that is there
} PlanState;

// The place of a key, which counts as used by this. entries: `capacity` of them, at most PLAN_PLACES_MOST,
// entry_bytes each. key: key_bytes, a multiple of 8, all of them significant.
PlanState plan_places_find(PlanPlaces *, size_t capacity, const void *entries, size_t entry_bytes, const void *key,
                           size_t key_bytes, size_t *place);

#ifdef __cplusplus
}
#endif
#endif
