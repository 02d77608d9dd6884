// Micro-batches for BERT: padded and packed ones hold the same, whoever makes them and however the samples are cut
// into batches; the look-ahead; counts of rows; short last batches; labels.
#include "../../llmc/bert_batch.h"

#include <limits.h>

#include "../../llmc/masking.h"
#include "sample_file.h"

enum { T = 32, B = 4, SAMPLES = 210, SEED = 7 };

static SampleFileText file; // large

// Lengths from 4 to T, pairs among them. num_labels, pairs: as in the header.
static SampleLoader *open_samples(int num_labels, int pairs) {
  char path[CHECK_PATH];
  check_path(path, dir, "a.bin");
  sample_file_begin(&file, num_labels, pairs);
  for (size_t n = 0; n < SAMPLES; n++) {
    const size_t b = n % 3 == 2 ? 1 + n % 7 : 0, a = n == 6 ? T - 2 : 2 + (11 * n) % 17;
    sample_file_add(&file, a, b, num_labels == 1 ? 0.5f * (float)n : (float)(n % (pairs ? 2 : 3)));
  }
  sample_file_write(&file, path);
  ZeroErrors errors = {0};
  SampleLoader *loader = sample_loader_open(path, "-i", T, TEST_VOCAB, SEED, &errors);
  check_no_error(&errors);
  return loader;
}

static BertBatchShape shape_of(size_t batch, int packed, int masked) {
  const BertBatchShape shape = {batch, T, packed, masked, MASKING_PROBABILITY};
  return shape;
}

static size_t first_row(const BertBatch *batch, size_t slot) {
  return batch->parts.starts ? (size_t)batch->parts.starts[slot] : slot * batch->parts.longest;
}

// ---------------------------------------------------------------------------------------------------
// What every batch keeps to

// Which sample each row belongs to, or -1; each at most one.
static void check_rows(const BertBatch *batch, int owner[]) {
  size_t used = 0, end = 0;
  for (size_t n = 0; n < batch->N; n++) owner[n] = -1;
  for (size_t slot = 0; slot < batch->parts.count; slot++) {
    const size_t row = first_row(batch, slot), length = (size_t)batch->parts.lengths[slot];
    assert_true(row >= end && row + length <= batch->N && length <= batch->parts.longest);
    end = row + length;
    used += length;
    assert_int_equal(batch->first_rows[slot], length > 0 ? (int)row : -1);
    for (size_t t = 0; t < length; t++) {
      owner[row + t] = (int)slot;
      assert_int_equal(batch->positions[row + t], t);
      assert_int_equal(batch->row_samples[row + t], batch->parts.samples[slot]);
    }
  }
  assert_int_equal(batch->tokens_used, used);
  for (size_t n = 0; n < batch->N; n++) {
    if (owner[n] >= 0) continue;
    assert_int_equal(batch->tokens[n], TEST_PAD);
    assert_int_equal(batch->types[n], 0);
    assert_int_equal(batch->row_samples[n], 0);
    assert_int_equal(batch->positions[n], batch->shape.packed ? 0 : n % T);
  }
}

// Targets come first, ascending, in rows that belong to a sample; then padding.
static void check_targets(const BertBatch *batch, const int owner[]) {
  for (size_t m = 0; m < batch->M; m++) {
    if (m >= batch->targets) {
      assert_int_equal(batch->masked_rows[m], -1);
      assert_int_equal(batch->masked_targets[m], OPS_IGNORE);
      continue;
    }
    const int row = batch->masked_rows[m];
    assert_true(row >= 0 && (size_t)row < batch->N && owner[row] >= 0);
    assert_true(m == 0 || row > batch->masked_rows[m - 1]);
    assert_in_range(batch->masked_targets[m], TEST_FIRST_WORD, TEST_VOCAB - 1);
  }
}

static void check_shape(const BertBatch *batch) {
  const BertBatchShape *shape = &batch->shape;
  assert_int_equal(batch->parts.rows, batch->N);
  assert_int_equal(batch->parts.count, shape->B);
  assert_int_equal(batch->N % bert_batch_row_multiple(shape), 0);
  assert_in_range(batch->N, 1, bert_batch_max_rows(shape));
  if (shape->packed) {
    assert_non_null(batch->parts.starts);
    assert_true(batch->N < batch->tokens_used + bert_batch_row_multiple(shape) || batch->tokens_used == 0);
  } else {
    assert_null(batch->parts.starts);
    assert_int_equal(batch->N, shape->B * T);
    assert_int_equal(batch->parts.longest, T);
  }
  if (!shape->masked) {
    assert_int_equal(batch->M, 0);
    assert_int_equal(batch->targets, 0);
    return;
  }
  assert_int_equal(batch->M % bert_batch_masked_multiple(shape), 0);
  assert_in_range(batch->M, bert_batch_masked_multiple(shape), bert_batch_max_masked(shape));
  assert_true(batch->M >= batch->targets);
}

static void check_batch(const BertBatch *batch) {
  int *owner = malloc(batch->N * sizeof *owner);
  assert_non_null(owner);
  check_shape(batch);
  check_rows(batch, owner);
  check_targets(batch, owner);
  free(owner);
}

// ---------------------------------------------------------------------------------------------------
// One sample of a batch, wherever its rows are

typedef struct {
  size_t number, length, targets;
  int tokens[T], types[T], target_at[T], target[T];
  int in_step, class_label;
  float value;
} Seen;

static void see(const BertBatch *batch, size_t slot, Seen *seen) {
  memset(seen, 0, sizeof *seen);
  const size_t row = first_row(batch, slot), length = (size_t)batch->parts.lengths[slot];
  seen->number = batch->numbers[slot];
  seen->length = length;
  seen->in_step = batch->parts.samples[slot];
  seen->class_label = batch->label_classes[slot];
  seen->value = batch->label_values[slot];
  memcpy(seen->tokens, batch->tokens + row, length * sizeof(int));
  memcpy(seen->types, batch->types + row, length * sizeof(int));
  for (size_t m = 0; m < batch->targets; m++) {
    const size_t at = (size_t)batch->masked_rows[m];
    if (at < row || at >= row + length) continue;
    seen->target_at[seen->targets] = (int)(at - row);
    seen->target[seen->targets++] = batch->masked_targets[m];
  }
}

static void check_seen_equal(const Seen *a, const Seen *b) {
  assert_memory_equal(a, b, sizeof *a);
}

// With the targets put back it is the file's sample, and its types are right.
static void check_against_file(const Seen *seen) {
  const uint16_t *text = file.tokens + file.offsets[seen->number];
  assert_int_equal(seen->length, file.offsets[seen->number + 1] - file.offsets[seen->number]);
  int tokens[T];
  memcpy(tokens, seen->tokens, sizeof tokens);
  for (size_t i = 0; i < seen->targets; i++) tokens[seen->target_at[i]] = seen->target[i];
  for (size_t t = 0; t < seen->length; t++) {
    assert_int_equal(tokens[t], text[t]);
    assert_int_equal(seen->types[t], t >= file.second[seen->number]);
  }
}

// ---------------------------------------------------------------------------------------------------
// Tests

// Global batches of 8 samples in two epochs, cut into micro-batches of 1, 2, 4 and 8, padded and packed, by 1 to 4
// "ranks" that take micro-batches in turn, each with a loader and memory of its own: every sample is the same.
static void test_same_samples_however_cut(void **state) {
  (void)state;
  enum { GLOBAL = 8, STEPS = 2 * SAMPLES / GLOBAL + 1, MAX_RANKS = 4 };
  static Seen expected[STEPS][GLOBAL];
  size_t compared = 0, masked_differently = 0;
  int first = 1;
  for (size_t batch = 1; batch <= GLOBAL; batch *= 2) {
    for (int packed = 0; packed < 2; packed++) {
      const size_t micro_batches = GLOBAL / batch, ranks = micro_batches < MAX_RANKS ? micro_batches : MAX_RANKS;
      SampleLoader *loaders[MAX_RANKS];
      BertBatches *batches[MAX_RANKS];
      for (size_t r = 0; r < ranks; r++) {
        loaders[r] = open_samples(3, 0);
        batches[r] = bert_batches_create(loaders[r], shape_of(batch, packed, 1));
      }
      for (size_t step = 0; step < STEPS; step++) {
        for (size_t micro = 0; micro < micro_batches; micro++) {
          const size_t in_step = micro * batch;
          const BertBatch *b = bert_batches_train(batches[micro % ranks], step * GLOBAL + in_step, in_step);
          check_batch(b);
          assert_int_equal(b->real, batch);
          for (size_t slot = 0; slot < batch; slot++) {
            Seen seen;
            see(b, slot, &seen);
            assert_int_equal(seen.in_step, in_step + slot);
            check_against_file(&seen);
            if (first) {
              expected[step][in_step + slot] = seen;
            } else {
              check_seen_equal(&seen, &expected[step][in_step + slot]);
              compared++;
            }
          }
        }
      }
      for (size_t r = 0; r < ranks; r++) {
        bert_batches_free(batches[r]);
        sample_loader_close(loaders[r]);
      }
      first = 0;
    }
  }
  assert_int_equal(compared, 7 * STEPS * GLOBAL);
  // the second epoch has the same samples with other masks
  const Seen *flat = expected[0];
  for (size_t i = 0; i < SAMPLES; i++) {
    for (size_t k = SAMPLES; k < 2 * SAMPLES; k++) {
      if (flat[i].number == flat[k].number) {
        masked_differently += memcmp(flat[i].tokens, flat[k].tokens, sizeof flat[i].tokens) != 0 ||
                              memcmp(flat[i].target_at, flat[k].target_at, sizeof flat[i].target_at) != 0;
      }
    }
  }
  assert_in_range(masked_differently, SAMPLES * 9 / 10, SAMPLES);
}

static void test_look_ahead(void **state) {
  (void)state;
  SampleLoader *loader = open_samples(0, 0);
  for (int packed = 0; packed < 2; packed++) {
    BertBatches *batches = bert_batches_create(loader, shape_of(B, packed, 1));
    size_t sum = 0, tokens = 0;
    for (size_t first = 0; first < 3 * SAMPLES; first += B) {
      const size_t ahead = bert_batches_train_targets(batches, first);
      const size_t later = bert_batches_train_targets(batches, first + B); // several may be asked for before
      const BertBatch *batch = bert_batches_train(batches, first, 0);
      assert_int_equal(batch->targets, ahead);
      assert_in_range(ahead, B, batch->tokens_used); // at least one of each sample
      assert_int_equal(bert_batches_train(batches, first + B, 0)->targets, later);
      sum += ahead;
      tokens += batch->tokens_used;
    }
    assert_in_range(100 * sum / tokens, 12, 18); // 15 % of the words, and at least one of each sample
    bert_batches_free(batches);
    BertBatches *plain = bert_batches_create(loader, shape_of(B, packed, 0));
    assert_int_equal(bert_batches_train_targets(plain, 0), 0);
    check_batch(bert_batches_train(plain, 0, 0));
    bert_batches_free(plain);
  }
  sample_loader_close(loader);
}

// Few numbers of rows occur, whatever the batch's size; masked rows too.
static void test_few_row_counts(void **state) {
  (void)state;
  SampleLoader *loader = open_samples(0, 0);
  static const size_t sizes[] = {1, 3, 8, 40, 100};
  for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
    const BertBatchShape shape = shape_of(sizes[k], 1, 1);
    BertBatches *batches = bert_batches_create(loader, shape);
    const size_t rows = bert_batch_row_multiple(&shape), masked = bert_batch_masked_multiple(&shape);
    assert_int_equal(rows % BERT_ROW_MULTIPLE, 0);
    assert_int_equal(masked % BERT_ROW_MULTIPLE, 0);
    assert_in_range(bert_batch_max_rows(&shape) / rows, 1, BERT_ROW_COUNTS);
    assert_true(bert_batch_max_rows(&shape) >= sizes[k] * T && bert_batch_max_masked(&shape) >= sizes[k] * T);
    int seen[BERT_ROW_COUNTS + 1] = {0}, different = 0;
    for (size_t i = 0; i < 50; i++) {
      const BertBatch *batch = bert_batches_train(batches, i * sizes[k], 0);
      check_batch(batch);
      different += seen[batch->N / rows]++ == 0;
    }
    assert_in_range(different, 1, 5); // lengths average out
    bert_batches_free(batches);
  }
  sample_loader_close(loader);
}

// Validation in file order, the last batch short, then batches without a sample; the same masks each time and for
// every cut.
static void test_validation(void **state) {
  (void)state;
  enum { END = SAMPLES - 3 }; // -m may end it anywhere
  SampleLoader *loader = open_samples(3, 0);
  static Seen expected[SAMPLES];
  for (size_t batch = 1; batch <= 16; batch *= 4) {
    for (int packed = 0; packed < 2; packed++) {
      BertBatches *batches = bert_batches_create(loader, shape_of(batch, packed, 1));
      size_t seen_samples = 0, short_batches = 0;
      for (size_t first = 0; first < END + 2 * batch; first += batch) {
        const BertBatch *b = bert_batches_validate(batches, first, END);
        check_batch(b);
        assert_int_equal(b->real, first >= END ? 0 : END - first < batch ? END - first : batch);
        short_batches += b->real < batch;
        if (b->real == 0) assert_int_equal(b->targets, 0);
        for (size_t slot = 0; slot < batch; slot++) {
          if (slot >= b->real) {
            assert_int_equal(b->parts.lengths[slot], 0);
            assert_int_equal(b->first_rows[slot], -1);
            assert_int_equal(b->label_classes[slot], OPS_IGNORE);
            assert_float_equal(b->label_values[slot], 0, 0);
            continue;
          }
          Seen seen;
          see(b, slot, &seen);
          seen.in_step = 0;
          assert_int_equal(seen.number, first + slot);
          assert_true(seen.targets > 0);
          check_against_file(&seen);
          if (batch == 1 && !packed) {
            expected[first + slot] = seen;
          } else {
            check_seen_equal(&seen, &expected[first + slot]);
          }
          seen_samples++;
        }
      }
      assert_int_equal(seen_samples, END);
      assert_in_range(short_batches, 1, 3);
      bert_batches_free(batches);
    }
  }
  sample_loader_close(loader);
}

static void test_labels(void **state) {
  (void)state;
  static const struct { int num_labels, pairs; } kinds[] = {{0, 0}, {1, 0}, {3, 0}, {0, 1}};
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
    SampleLoader *loader = open_samples(kinds[k].num_labels, kinds[k].pairs);
    BertBatches *batches = bert_batches_create(loader, shape_of(B, 1, 0));
    for (size_t first = 0; first < SAMPLES; first += B) {
      const BertBatch *batch = bert_batches_validate(batches, first, SAMPLES);
      for (size_t slot = 0; slot < batch->real; slot++) {
        const size_t n = first + slot;
        const int expected[] = {OPS_IGNORE, OPS_IGNORE, (int)(n % 3), n % 2 == 0}; // pairs: 0 where B follows
        assert_int_equal(batch->label_classes[slot], expected[k]);
        assert_float_equal(batch->label_values[slot], k == 0 ? 0.0f : file.labels[n], 0);
      }
    }
    bert_batches_free(batches);
    sample_loader_close(loader);
  }
}

// A copy of the block elsewhere gives the same batch.
static void test_copy(void **state) {
  (void)state;
  SampleLoader *loader = open_samples(3, 0);
  for (int packed = 0; packed < 2; packed++) {
    const BertBatchShape shape = shape_of(B, packed, 1);
    BertBatches *batches = bert_batches_create(loader, shape);
    const BertBatch *batch = bert_batches_train(batches, 17, 12);
    Seen expected[B], seen;
    for (size_t slot = 0; slot < B; slot++) see(batch, slot, &expected[slot]);
    void *copy = malloc(bert_batch_bytes(&shape));
    assert_non_null(copy);
    memcpy(copy, bert_batch_block(batch), bert_batch_bytes(&shape));
    BertBatch on = bert_batch_on(batch, copy);
    memset((void *)bert_batch_block(batch), 0xee, bert_batch_bytes(&shape)); // a pointer left behind would show
    check_batch(&on);
    for (size_t slot = 0; slot < B; slot++) {
      see(&on, slot, &seen);
      check_seen_equal(&seen, &expected[slot]);
      check_against_file(&seen);
    }
    free(copy);
    bert_batches_free(batches);
  }
  sample_loader_close(loader);
}

static void create_too_large(void *loader) {
  bert_batches_create(loader, shape_of((size_t)1 << 30, 1, 1));
}

// At the border of what an int counts; masked rows are padded more than others.
static void test_fits(void **state) {
  (void)state;
  const size_t most = (size_t)INT_MAX / T;
  BertBatchShape shape = shape_of(most, 0, 0);
  assert_true(bert_batch_fits(&shape));
  shape.B = most + 1;
  assert_false(bert_batch_fits(&shape));
  shape = shape_of(most, 1, 0);
  assert_false(bert_batch_fits(&shape)); // rounded up
  shape = shape_of(most, 0, 1);
  assert_false(bert_batch_fits(&shape));
  shape = shape_of(most / 2, 1, 1);
  assert_true(bert_batch_fits(&shape));
}

static void test_too_large(void **state) {
  (void)state;
  SampleLoader *loader = open_samples(0, 0);
  check_fatal(create_too_large, loader, "1073741824 samples of 32 tokens", "smaller -b", NULL);
  sample_loader_close(loader);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_same_samples_however_cut, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_look_ahead, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_few_row_counts, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_validation, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_labels, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_copy, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_fits, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_too_large, check_setup_dir, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("bert_batch", tests, NULL, NULL);
}
