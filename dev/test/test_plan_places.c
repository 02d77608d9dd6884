// Places of plans: each key keeps its own, and the one that was used longest ago gives way.
#include "../../llmc/plan_places.h"

#include "check.h"

typedef struct {
  struct {
    uint64_t m, n;
  } key;
  int plan;
} Entry;

enum { CAPACITY = 3 };

typedef struct {
  PlanPlaces places;
  Entry entries[CAPACITY];
} Table;

static PlanState find(Table *t, uint64_t m, uint64_t n, size_t *place) {
  const Entry wanted = {.key = {m, n}};
  const PlanState state =
      plan_places_find(&t->places, CAPACITY, t->entries, sizeof t->entries[0], &wanted.key, sizeof wanted.key, place);
  if (state != PLAN_KNOWN) t->entries[*place].key = wanted.key;
  return state;
}

static void test_known(void **state) {
  (void)state;
  static Table t;
  size_t first, second, again;
  assert_int_equal(find(&t, 1, 2, &first), PLAN_NEW);
  assert_int_equal(find(&t, 2, 1, &second), PLAN_NEW); // the same words, another order
  assert_int_not_equal(first, second);
  assert_int_equal(find(&t, 1, 2, &again), PLAN_KNOWN);
  assert_int_equal(again, first);
  assert_int_equal(t.places.count, 2);
}

static void test_oldest_gives_way(void **state) {
  (void)state;
  static Table t;
  size_t place, of_two;
  for (uint64_t m = 1; m <= CAPACITY; m++) assert_int_equal(find(&t, m, 0, m == 2 ? &of_two : &place), PLAN_NEW);
  assert_int_equal(find(&t, 1, 0, &place), PLAN_KNOWN); // 2 is the oldest now
  assert_int_equal(find(&t, 4, 0, &place), PLAN_REPLACES);
  assert_int_equal(place, of_two);
  assert_int_equal(find(&t, 1, 0, &place), PLAN_KNOWN);
  assert_int_equal(find(&t, 3, 0, &place), PLAN_KNOWN);
  assert_int_equal(find(&t, 4, 0, &place), PLAN_KNOWN);
  assert_int_equal(find(&t, 2, 0, &place), PLAN_REPLACES);
  assert_int_equal(t.places.count, CAPACITY);
}

// The hash alone decides nothing.
static void test_equal_hashes(void **state) {
  (void)state;
  static Table t;
  size_t first, second;
  assert_int_equal(find(&t, 7, 7, &first), PLAN_NEW);
  t.entries[first].key.m = 8; // as a key of the same hash would have it
  assert_int_equal(find(&t, 7, 7, &second), PLAN_NEW);
  assert_int_not_equal(first, second);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known),
      cmocka_unit_test(test_oldest_gives_way),
      cmocka_unit_test(test_equal_hashes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
