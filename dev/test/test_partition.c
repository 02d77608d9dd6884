// Where each element of a unit lies and who owns it: literal borders, then properties over random units.
#include "check.h"

#include "zero/partition.h"

enum { MOST_RANKS = 9, MOST_PIECES = 512, ROUNDS = 300 };

// Five tensors with a gap after all but the third: they begin at 0, 1024, 1088, 1152 and 1216, and the buffer ends
// at 3264 with 192 elements in its fourth chunk.
static const ZeroTensor TENSORS[] = {
    {"scale", 1, {1000}, ZERO_NO_DECAY}, {"small", 2, {3, 5}, 0},          {"exact", 3, {2, 4, 8}, 0},
    {"single", 1, {1}, ZERO_NO_DECAY},   {"large", 4, {2, 10, 10, 10}, 0},
};
static const ZeroUnit UNIT = {"unit", 5, TENSORS, 0};

static void test_layout(void **state) {
  (void)state;
  const size_t offsets[] = {0, 1024, 1088, 1152, 1216}, counts[] = {1000, 15, 64, 1, 2000};
  ZeroLayout layout;
  zero_layout_create(&layout, &UNIT, 3);
  assert_int_equal(layout.num_tensors, 5);
  for (int t = 0; t < 5; t++) {
    assert_int_equal(layout.offsets[t], offsets[t]);
    assert_int_equal(layout.counts[t], counts[t]);
    assert_string_equal(layout.tensors[t].name, TENSORS[t].name);
    assert_ptr_not_equal(layout.tensors[t].name, TENSORS[t].name); // the caller's description may go away
    assert_int_equal(layout.tensors[t].flags, TENSORS[t].flags);
  }
  assert_int_equal(layout.total, 3264);
  assert_int_equal(layout.real, 3080);
  assert_int_equal(layout.num_chunks, 4);
  zero_layout_destroy(&layout);
}

static void test_bounds(void **state) {
  (void)state;
  const size_t bounds[][7] = {
      {0, 3264},                               // 1 rank
      {0, 2048, 3264},                         // 2
      {0, 2048, 3264, 3264},                   // 3: two chunks each, nothing for the last
      {0, 1024, 2048, 3072, 3264},             // 4: the last chunk is not filled up
      {0, 1024, 2048, 3072, 3264, 3264},       // 5
      {0, 1024, 2048, 3072, 3264, 3264, 3264}, // 6
  };
  for (int ranks = 1; ranks <= 6; ranks++) {
    ZeroLayout layout;
    zero_layout_create(&layout, &UNIT, ranks);
    for (int r = 0; r <= ranks; r++) assert_int_equal(layout.bounds[r], bounds[ranks - 1][r]);
    zero_layout_destroy(&layout);
  }
}

// A unit smaller than a chunk belongs to rank 0; one that fills its chunks exactly has no short one.
static void test_bounds_of_small_units(void **state) {
  (void)state;
  const ZeroTensor tiny = {"tiny", 1, {7}, 0}, full = {"full", 2, {2, 1024}, 0};
  const ZeroUnit units[] = {{"tiny", 1, &tiny, 0}, {"full", 1, &full, 0}};
  const size_t bounds[2][4] = {{0, 64, 64, 64}, {0, 1024, 2048, 2048}};
  for (int u = 0; u < 2; u++) {
    ZeroLayout layout;
    zero_layout_create(&layout, &units[u], 3);
    for (int r = 0; r <= 3; r++) assert_int_equal(layout.bounds[r], bounds[u][r]);
    zero_layout_destroy(&layout);
  }
}

static void check_piece(const ZeroPiece *piece, size_t first, unsigned count, int decay) {
  assert_int_equal(piece->first, first);
  assert_int_equal(piece->count, count);
  assert_int_equal(piece->decay, decay);
}

static void test_pieces(void **state) {
  (void)state;
  ZeroLayout layout;
  zero_layout_create(&layout, &UNIT, 2);
  ZeroPiece pieces[MOST_PIECES];
  assert_int_equal(zero_layout_pieces(&layout, 0, 3264, NULL), 7);
  assert_int_equal(zero_layout_pieces(&layout, 0, 3264, pieces), 7);
  check_piece(&pieces[0], 0, 1000, 0);
  check_piece(&pieces[1], 1024, 15, 1);
  check_piece(&pieces[2], 1088, 64, 1);
  check_piece(&pieces[3], 1152, 1, 0);
  check_piece(&pieces[4], 1216, 832, 1); // up to the chunk border at 2048
  check_piece(&pieces[5], 2048, 1024, 1);
  check_piece(&pieces[6], 3072, 144, 1); // up to the end of the last tensor, not of the buffer
  // Counted from the start of the range.
  assert_int_equal(zero_layout_pieces(&layout, 2048, 3264, pieces), 2);
  check_piece(&pieces[0], 0, 1024, 1);
  check_piece(&pieces[1], 1024, 144, 1);
  assert_int_equal(zero_layout_pieces(&layout, 3264, 3264, pieces), 0);
  zero_layout_destroy(&layout);
}

static void test_overlap(void **state) {
  (void)state;
  ZeroLayout layout;
  zero_layout_create(&layout, &UNIT, 1);
  size_t first = 77;
  assert_int_equal(zero_layout_overlap(&layout, 0, 0, 1024, &first), 1000);
  assert_int_equal(first, 0);
  assert_int_equal(zero_layout_overlap(&layout, 4, 2048, 3072, &first), 1024);
  assert_int_equal(first, 832);
  assert_int_equal(zero_layout_overlap(&layout, 4, 3072, 3264, &first), 144);
  assert_int_equal(first, 1856);
  assert_int_equal(zero_layout_overlap(&layout, 0, 1024, 2048, &first), 0);
  assert_int_equal(zero_layout_overlap(&layout, 4, 0, 1024, &first), 0);
  assert_int_equal(zero_layout_overlap(&layout, 0, 1000, 1024, &first), 0); // a gap alone
  assert_int_equal(zero_layout_overlap(&layout, 1, 1030, 1030, &first), 0);
  zero_layout_destroy(&layout);
}

// ---------------------------------------------------------------- properties

static size_t draw(uint64_t *random, size_t below) {
  *random = *random * 6364136223846793005u + 1442695040888963407u;
  return (size_t)(*random >> 33) % below;
}

// 1 to 6 tensors; sizes around the borders of alignment and chunks more often than chance would.
static int draw_tensors(uint64_t *random, ZeroTensor *tensors) {
  const size_t borders[] = {1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049};
  const int num_tensors = 1 + (int)draw(random, 6);
  for (int t = 0; t < num_tensors; t++) {
    size_t count =
        draw(random, 2) ? borders[draw(random, sizeof borders / sizeof borders[0])] : 1 + draw(random, 5000);
    tensors[t] = (ZeroTensor){"tensor", 1, {count}, draw(random, 2) ? (unsigned)ZERO_NO_DECAY : 0u};
  }
  return num_tensors;
}

// The pieces of all ranks, one after the other, with `first` in the flat buffer.
static size_t pieces_of_all_ranks(const ZeroLayout *layout, int ranks, ZeroPiece *pieces) {
  size_t num = 0;
  for (int r = 0; r < ranks; r++) {
    size_t lo = layout->bounds[r], hi = layout->bounds[r + 1];
    assert_true(lo <= hi);
    assert_true(lo % ZERO_CHUNK == 0 || lo == layout->total);
    size_t count = zero_layout_pieces(layout, lo, hi, NULL);
    assert_true(num + count <= MOST_PIECES);
    assert_int_equal(zero_layout_pieces(layout, lo, hi, pieces + num), count);
    for (size_t p = num; p < num + count; p++) {
      assert_true(pieces[p].first + pieces[p].count <= hi - lo);
      pieces[p].first += lo;
    }
    num += count;
  }
  return num;
}

// One by one, the pieces are the tensors' elements, each once, with the tensor's own flag and in one chunk each.
static void check_coverage(const ZeroLayout *layout, const ZeroPiece *pieces, size_t num) {
  size_t p = 0;
  for (int t = 0; t < layout->num_tensors; t++) {
    size_t at = layout->offsets[t], end = at + layout->counts[t];
    assert_int_equal(at % ZERO_ALIGN, 0);
    for (; at < end; p++) {
      assert_true(p < num);
      assert_int_equal(pieces[p].first, at);
      assert_true(pieces[p].count > 0 && pieces[p].count <= ZERO_CHUNK);
      assert_int_equal(at / ZERO_CHUNK, (at + pieces[p].count - 1) / ZERO_CHUNK);
      assert_int_equal(pieces[p].decay, !(layout->tensors[t].flags & ZERO_NO_DECAY));
      at += pieces[p].count;
    }
    assert_int_equal(at, end);
  }
  assert_int_equal(p, num);
}

static void test_random_units(void **state) {
  (void)state;
  uint64_t random = 20240520;
  size_t empty_ranges = 0, short_chunks = 0;
  for (int round = 0; round < ROUNDS; round++) {
    ZeroTensor tensors[6];
    const ZeroUnit unit = {"random", draw_tensors(&random, tensors), tensors, 0};
    static ZeroPiece alone[MOST_PIECES], pieces[MOST_PIECES];
    size_t num_alone = 0;
    for (int ranks = 1; ranks <= MOST_RANKS; ranks++) {
      ZeroLayout layout;
      zero_layout_create(&layout, &unit, ranks);
      assert_int_equal(layout.bounds[0], 0);
      assert_int_equal(layout.bounds[ranks], layout.total);
      empty_ranges += layout.bounds[ranks - 1] == layout.total;
      short_chunks += layout.total % ZERO_CHUNK != 0;
      size_t num = pieces_of_all_ranks(&layout, ranks, pieces);
      check_coverage(&layout, pieces, num);
      if (ranks == 1) {
        num_alone = num;
        memcpy(alone, pieces, num * sizeof *pieces);
      }
      assert_int_equal(num, num_alone);
      for (size_t p = 0; p < num; p++) check_piece(&pieces[p], alone[p].first, alone[p].count, alone[p].decay);
      zero_layout_destroy(&layout);
    }
  }
  assert_true(empty_ranges > ROUNDS && short_chunks > ROUNDS); // both kinds were among them
}

static void create_bad(void *tensor) {
  const ZeroUnit unit = {"odd one", 1, tensor, 0};
  ZeroLayout layout;
  zero_layout_create(&layout, &unit, 1);
}

static void test_bad_dimensions(void **state) {
  (void)state;
  ZeroTensor none = {"flat", 0, {1}, 0}, many = {"deep", 5, {1, 1, 1, 1}, 0};
  check_fatal(create_bad, &none, "odd one", "flat", "0 dimensions", NULL);
  check_fatal(create_bad, &many, "odd one", "deep", "5 dimensions", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_layout),
      cmocka_unit_test(test_bounds),
      cmocka_unit_test(test_bounds_of_small_units),
      cmocka_unit_test(test_pieces),
      cmocka_unit_test(test_overlap),
      cmocka_unit_test(test_random_units),
      cmocka_unit_test(test_bad_dimensions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
