// Rows sorted by a number: radix sort, lowest digit first.
#include "row_sort.h"

enum { SORT_BITS = 8, SORT_BUCKETS = 1 << SORT_BITS };

IndexedRow *sort_rows(IndexedRow *list, IndexedRow *other, size_t count, size_t largest) {
  for (int shift = 0; shift < 32 && largest >> shift != 0; shift += SORT_BITS) {
    size_t next[SORT_BUCKETS + 1] = {0};
    for (size_t i = 0; i < count; i++) next[((list[i].index >> shift) & (SORT_BUCKETS - 1)) + 1]++;
    for (size_t bucket = 0; bucket < SORT_BUCKETS; bucket++) next[bucket + 1] += next[bucket];
    for (size_t i = 0; i < count; i++) other[next[(list[i].index >> shift) & (SORT_BUCKETS - 1)]++] = list[i];
    IndexedRow *sorted = other;
    other = list;
    list = sorted;
  }
  return list;
}
