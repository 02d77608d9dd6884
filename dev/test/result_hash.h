// A hash over every result that a test compares, in the order of comparisons: two runs that print the same line
// computed the same bits.
#ifndef TEST_RESULT_HASH_H
#define TEST_RESULT_HASH_H

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

typedef struct {
  XXH3_state_t *hash; // of all results so far; NULL: none yet
  size_t results, bytes;
} ResultHash;

static ResultHash result_hash;

static inline void hash_result(const void *data, size_t bytes) {
  if (result_hash.hash == NULL) {
    result_hash.hash = XXH3_createState();
    if (result_hash.hash == NULL || XXH3_64bits_reset(result_hash.hash) == XXH_ERROR) abort();
  }
  if (XXH3_64bits_update(result_hash.hash, data, bytes) == XXH_ERROR) abort();
  result_hash.results++;
  result_hash.bytes += bytes;
}

// `results: N, M bytes, hash H`
static inline void print_result_hash(void) {
  uint64_t hash = result_hash.hash != NULL ? XXH3_64bits_digest(result_hash.hash) : 0;
  printf("results: %zu, %zu bytes, hash %016" PRIx64 "\n", result_hash.results, result_hash.bytes, hash);
  XXH3_freeState(result_hash.hash);
  result_hash.hash = NULL;
}

#endif
