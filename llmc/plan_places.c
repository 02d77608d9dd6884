// Places for the plans of a library's operations.
#include "plan_places.h"

#include <string.h>

static uint64_t hash_key(const void *key, size_t bytes) { // FNV-1a over 64-bit words
  const uint64_t offset = 14695981039346656037ull, prime = 1099511628211ull;
  const char *from = key;
  uint64_t hash = offset, word;
  for (size_t i = 0; i < bytes; i += sizeof word) {
    memcpy(&word, from + i, sizeof word);
    hash = (hash ^ word) * prime;
  }
  return hash;
}

static size_t oldest(const PlanPlaces *p) {
  size_t place = 0;
  for (size_t i = 1; i < p->count; i++) {
    if (p->last_use[i] < p->last_use[place]) place = i;
  }
  return place;
}

PlanState plan_places_find(PlanPlaces *p, size_t capacity, const void *entries, size_t entry_bytes, const void *key,
                           size_t key_bytes, size_t *place) {
  const uint64_t hash = hash_key(key, key_bytes);
  const char *first = entries;
  PlanState state = PLAN_KNOWN;
  size_t i = 0;
  while (i < p->count && !(p->hashes[i] == hash && memcmp(first + i * entry_bytes, key, key_bytes) == 0)) i++;
  if (i == p->count && i < capacity) {
    state = PLAN_NEW;
    p->count++;
  } else if (i == p->count) {
    state = PLAN_REPLACES;
    i = oldest(p);
  }
  p->hashes[i] = hash;
  p->last_use[i] = ++p->clock;
  *place = i;
  return state;
}
