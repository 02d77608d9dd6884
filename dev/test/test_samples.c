// Files of samples: what is read, the order in which training takes it, and every message about bad data.
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "../../llmc/dataloader.h"
#include "../../llmc/sample_loader.h"
#include "sample_file.h"

enum { T = 24, SEED = 42 };

static SampleFileText file; // large

static Samples *open_pattern(const char *name, size_t longest, size_t vocab, ZeroErrors *errors) {
  char pattern[CHECK_PATH];
  check_path(pattern, dir, name);
  return samples_open(pattern, "-i", longest, vocab, errors);
}

static void write_file(const char *name) {
  char path[CHECK_PATH];
  check_path(path, dir, name);
  sample_file_write(&file, path);
}

// `count` samples of different lengths, the longest of T tokens, every third with a second text.
static void make_samples(size_t count, int num_labels, int pairs) {
  sample_file_begin(&file, num_labels, pairs);
  for (size_t n = 0; n < count; n++) {
    const size_t b = n % 3 == 2 ? 1 + n % 5 : 0, a = n == 1 ? T - 2 : (7 * n) % 15;
    sample_file_add(&file, a, b, num_labels == 1 ? 0.25f * (float)n : (float)(n % (pairs ? 2 : 3)));
  }
}

static void check_sample(Samples *samples, size_t n, const SampleFileText *f, size_t in_file) {
  int tokens[T];
  const Sample sample = samples_read(samples, n, tokens);
  assert_int_equal(sample.length, f->offsets[in_file + 1] - f->offsets[in_file]);
  assert_int_equal(sample.second, f->second[in_file]);
  for (size_t t = 0; t < sample.length; t++) assert_int_equal(tokens[t], f->tokens[f->offsets[in_file] + t]);
}

static void test_samples_of_several_files(void **state) {
  (void)state;
  make_samples(7, 3, 0);
  write_file("b.bin");
  make_samples(5, 3, 0);
  write_file("a.bin");
  ZeroErrors errors = {0};
  Samples *samples = open_pattern("*.bin", T, TEST_VOCAB, &errors);
  check_no_error(&errors);
  assert_int_equal(samples_files(samples), 2);
  check_contains(samples_path(samples, 0), "/a.bin");
  check_contains(samples_path(samples, 1), "/b.bin");
  const SamplesInfo info = samples_info(samples);
  assert_int_equal(info.num_samples, 12);
  assert_int_equal(info.num_labels, 3);
  assert_int_equal(info.pairs, 0);
  assert_int_equal(info.longest, T);
  assert_int_equal(info.vocab_size, TEST_VOCAB);
  assert_int_equal(info.pad, TEST_PAD);
  assert_int_equal(info.cls, TEST_CLS);
  assert_int_equal(info.sep, TEST_SEP);
  assert_int_equal(info.mask, TEST_MASK);
  const size_t tokens = file.offsets[5];
  for (size_t n = 0; n < 5; n++) check_sample(samples, n, &file, n);
  make_samples(7, 3, 0);
  assert_int_equal(info.num_tokens, tokens + file.offsets[7]);
  for (size_t n = 0; n < 7; n++) check_sample(samples, 5 + n, &file, n);
  int text[T];
  for (size_t n = 0; n < 7; n++) assert_float_equal(samples_read(samples, 5 + n, text).label, (float)(n % 3), 0);
  samples_close(samples);
}

static void test_labels(void **state) {
  (void)state;
  static const struct { int num_labels, pairs; } kinds[] = {{0, 0}, {1, 0}, {3, 0}, {0, 1}};
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
    make_samples(9, kinds[k].num_labels, kinds[k].pairs);
    write_file("a.bin");
    ZeroErrors errors = {0};
    Samples *samples = open_pattern("a.bin", T, TEST_VOCAB, &errors);
    check_no_error(&errors);
    assert_int_equal(samples_info(samples).pairs, kinds[k].pairs);
    for (size_t n = 0; n < 9; n++) {
      int tokens[T];
      const float expected = k == 0 ? 0.0f : file.labels[n];
      assert_float_equal(samples_read(samples, n, tokens).label, expected, 0);
      check_sample(samples, n, &file, n);
    }
    samples_close(samples);
  }
}

// More samples and tokens than one read of the scan takes.
static void test_large_file(void **state) {
  (void)state;
  enum { SAMPLES = 70000, WORDS = 8 };
  const size_t length = WORDS + 2;
  const size_t entries = (SAMPLES + 1) * sizeof(uint64_t) + SAMPLES * sizeof(uint16_t);
  sample_file_begin(&file, 0, 0);
  sample_file_add(&file, WORDS, 0, 0);
  file.header[H_SAMPLES] = SAMPLES;
  file.header[H_LOW] = (int32_t)(SAMPLES * length);
  const size_t bytes = sizeof file.header + entries + SAMPLES * length * sizeof(uint16_t);
  unsigned char *data = malloc(bytes), *at = data;
  assert_non_null(data);
  memcpy(at, file.header, sizeof file.header);
  at += sizeof file.header;
  for (uint64_t n = 0; n <= SAMPLES; n++, at += sizeof n) {
    const uint64_t offset = n * length;
    memcpy(at, &offset, sizeof offset);
  }
  for (size_t n = 0; n < SAMPLES; n++, at += sizeof(uint16_t)) memcpy(at, file.second, sizeof(uint16_t));
  for (size_t n = 0; n < SAMPLES; n++, at += length * sizeof(uint16_t))
    memcpy(at, file.tokens, length * sizeof(uint16_t));
  assert_ptr_equal(at, data + bytes);
  char path[CHECK_PATH];
  check_path(path, dir, "large.bin");
  check_write(path, data, bytes);
  ZeroErrors errors = {0};
  Samples *samples = open_pattern("large.bin", T, TEST_VOCAB, &errors);
  check_no_error(&errors);
  assert_int_equal(samples_info(samples).num_samples, SAMPLES);
  check_sample(samples, SAMPLES - 1, &file, 0);
  samples_close(samples);

  // a bad token and a bad offset far behind the first piece
  data[bytes - 3] = 0xff;
  check_write(path, data, bytes);
  assert_null(open_pattern("large.bin", T, TEST_VOCAB, &errors));
  check_one_error(&errors, "sample 69999", "position 8", "vocabulary of 100", NULL);
  data[sizeof file.header + 8 * 65536] ^= 1;
  check_write(path, data, bytes);
  assert_null(open_pattern("large.bin", T, TEST_VOCAB, &errors));
  check_one_error(&errors, "sample 65535 has 11 tokens", "the header says 10", NULL);
  free(data);
}

// ---------------------------------------------------------------------------------------------------
// Order

static void test_train_order(void **state) {
  (void)state;
  enum { SAMPLES = 37 };
  make_samples(SAMPLES, 0, 0);
  write_file("a.bin");
  char path[CHECK_PATH];
  check_path(path, dir, "a.bin");
  ZeroErrors errors = {0};
  SampleLoader *loader = sample_loader_open(path, "-i", T, TEST_VOCAB, SEED, &errors);
  check_no_error(&errors);
  assert_int_equal(sample_loader_seed(loader), SEED);
  assert_int_equal(sample_loader_files(loader), 1);
  size_t moved = 0;
  for (size_t epoch = 0; epoch < 3; epoch++) {
    int seen[SAMPLES] = {0};
    for (size_t i = 0; i < SAMPLES; i++) {
      const SamplePick pick = sample_loader_pick(loader, epoch * SAMPLES + i);
      assert_int_equal(pick.epoch, epoch);
      assert_int_equal(pick.number, dataloader_permute(i, SAMPLES, SEED, epoch));
      assert_int_equal(seen[pick.number]++, 0);
      moved += pick.number != i;
      int tokens[T];
      assert_int_equal(sample_loader_read(loader, pick.number, tokens).length,
                       file.offsets[pick.number + 1] - file.offsets[pick.number]);
    }
  }
  assert_true(moved > 3 * SAMPLES / 2);
  assert_true(sample_loader_seconds(loader) > 0);
  sample_loader_close(loader);
}

// ---------------------------------------------------------------------------------------------------
// Bad files

// The file as it is now in memory is refused with these texts.
static void expect_problem(const char *text1, const char *text2) {
  ZeroErrors errors = {0};
  write_file("bad.bin");
  assert_null(open_pattern("bad.bin", T, TEST_VOCAB, &errors));
  check_one_error(&errors, "-i ", dir, "bad.bin: ", text1, text2, NULL);
}

static void expect_bad_header(int at, int value, const char *text1, const char *text2) {
  make_samples(6, 0, 0);
  file.header[at] = value;
  expect_problem(text1, text2);
}

static void test_bad_headers(void **state) {
  (void)state;
  expect_bad_header(H_MAGIC, 20240520, "begins with 20240520", "20261128");
  expect_bad_header(H_VERSION, 2, "version 2, expected 1", "anew");
  expect_bad_header(H_SAMPLES, 0, "says 0 samples", "anew");
  expect_bad_header(H_SAMPLES, -3, "says -3 samples", "anew");
  expect_bad_header(H_LABELS, -1, "says -1 classes", "anew");
  expect_bad_header(H_LABELS, SAMPLES_MAX_LABELS + 1, "says 65537 classes", "0 to 65536");
  expect_bad_header(H_VOCAB, 3, "says 3 words in the vocabulary", "4 to 65536");
  expect_bad_header(H_VOCAB, 65537, "says 65537 words", "4 to 65536");
  expect_bad_header(H_LONGEST, 0, "says 0 tokens in the longest sample", "1 to 65535");
  expect_bad_header(H_LONGEST, 65536, "says 65536 tokens in the longest", "1 to 65535");
  expect_bad_header(H_PAIRS, 2, "says 2 as the mark of sentence pairs", "0 to 1");
  expect_bad_header(H_PAD, -1, "[PAD] is token -1", "has 100");
  expect_bad_header(H_CLS, 100, "[CLS] is token 100", "has 100");
  expect_bad_header(H_SEP, TEST_CLS, "[CLS] and [SEP] are both token 2", "anew");
  expect_bad_header(H_MASK, TEST_PAD, "[PAD] and [MASK] are both token 0", "anew");
  make_samples(6, 3, 0);
  file.header[H_PAIRS] = 1;
  expect_problem("sentence pairs for pretraining and 3 classes", "anew");
}

// Sizes that only an overflow would make right are among them.
static void test_bad_sizes(void **state) {
  (void)state;
  static const int tokens[][2] = {{-1, -1}, {0, INT32_MIN}, {1 << 30, 0}};
  for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
    make_samples(6, 0, 0);
    file.header[H_LOW] = tokens[i][0];
    file.header[H_HIGH] = tokens[i][1];
    expect_problem("shorter than its header says", "anew");
  }
  expect_bad_header(H_SAMPLES, INT32_MAX, "shorter than its header says", "2147483647 samples");
  expect_bad_header(H_SAMPLES, 5, "longer than its header says", "5 samples");
  char path[CHECK_PATH], text[64];
  check_path(path, dir, "size.bin");
  make_samples(6, 3, 0);
  const size_t whole = sample_file_bytes(&file);
  const size_t cuts[] = {0, 3, 1023, 1024, 1030, whole - 1, whole + 1, whole + 2};
  for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
    ZeroErrors errors = {0};
    sample_file_write_bytes(&file, path, cuts[i]);
    assert_null(open_pattern("size.bin", T, TEST_VOCAB, &errors));
    snprintf(text, sizeof text, "has %zu bytes", cuts[i]);
    check_one_error(&errors, "size.bin: ", text,
                    cuts[i] < 1024    ? "fewer than the header"
                    : cuts[i] < whole ? "shorter than its header"
                                      : "longer than",
                    NULL);
  }
  ZeroErrors errors = {0};
  assert_null(open_pattern("none*.bin", T, TEST_VOCAB, &errors));
  check_one_error(&errors, "none*.bin", "no such file", NULL);
  check_path(path, dir, "folder.bin");
  assert_int_equal(mkdir(path, 0777), 0);
  assert_null(open_pattern("folder.bin", T, TEST_VOCAB, &errors));
  check_one_error(&errors, "folder.bin", "is a directory", NULL);
}

static void test_bad_entries(void **state) {
  (void)state;
  make_samples(6, 0, 0);
  file.offsets[3] = file.offsets[2];
  expect_problem("sample 2 goes from token", "offsets have to ascend");
  make_samples(6, 0, 0);
  file.offsets[3] = file.offsets[2] - 1;
  expect_problem("sample 2 goes from token", "offsets have to ascend");
  make_samples(6, 0, 0);
  file.offsets[2] = 1 << 20;
  expect_problem("sample 1 goes from token 2 to 1048576 of", "offsets have to ascend");
  make_samples(6, 0, 0);
  file.offsets[0] = 1;
  expect_problem("sample 0 begins at token 1, expected 0", "anew");
  make_samples(6, 0, 0);
  file.header[H_LONGEST] = T - 1;
  expect_problem("sample 1 has 24 tokens, the header says 23 for the longest", "anew");
  make_samples(1, 0, 0);
  file.header[H_LONGEST] = T;
  expect_problem("the longest 2, where the header says 2 and 24", "anew");
  make_samples(6, 0, 0);
  file.second[4] = 0;
  expect_problem("sample 4 has its second text at position 0", "anew");
  make_samples(6, 0, 0);
  file.second[1] = T + 1;
  expect_problem("sample 1 has its second text at position 25, expected 1 to its length of 24", "anew");
}

// The last offset ends before the tokens do.
static void test_tokens_left_over(void **state) {
  (void)state;
  make_samples(6, 0, 0);
  char path[CHECK_PATH];
  check_path(path, dir, "left.bin");
  file.header[H_LOW] += 4;
  sample_file_write_bytes(&file, path, sample_file_bytes(&file) + 8);
  ZeroErrors errors = {0};
  assert_null(open_pattern("left.bin", T, TEST_VOCAB, &errors));
  check_one_error(&errors, "left.bin: its samples have ", "where the header says", NULL);
}

static void test_bad_labels(void **state) {
  (void)state;
  static const struct {
    int num_labels, pairs;
    float label;
    const char *text1, *text2;
  } cases[] = {{1, 0, NAN, "sample 4 has the label nan", "expected a number"},
               {1, 0, -INFINITY, "sample 4 has the label -inf", "expected a number"},
               {3, 0, NAN, "sample 4 has the label nan", "from 0 to 2"},
               {3, 0, 3.0f, "sample 4 has the label 3", "from 0 to 2"},
               {3, 0, -1.0f, "sample 4 has the label -1", "from 0 to 2"},
               {3, 0, 0.5f, "sample 4 has the label 0.5", "from 0 to 2"},
               {2, 0, 2.0f, "sample 4 has the label 2", "from 0 to 1"},
               {0, 1, 2.0f, "sample 4 has the label 2", "from 0 to 1"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    make_samples(6, cases[i].num_labels, cases[i].pairs);
    if (cases[i].num_labels == 2) {
      for (size_t n = 0; n < 6; n++) file.labels[n] = (float)(n % 2);
    }
    file.labels[4] = cases[i].label;
    expect_problem(cases[i].text1, cases[i].text2);
  }
}

static void test_bad_tokens(void **state) {
  (void)state;
  make_samples(6, 0, 0);
  file.tokens[file.offsets[3] + 4] = TEST_VOCAB;
  expect_problem("token 100 at position 4 of sample 3", "vocabulary of 100");
  make_samples(6, 0, 0);
  file.tokens[file.offsets[3]] = TEST_SEP;
  expect_problem("sample 3 is not [CLS] text [SEP]", "anew");
  make_samples(6, 0, 0);
  file.tokens[file.offsets[4] - 1] = TEST_CLS;
  expect_problem("sample 3 is not [CLS] text [SEP]", "anew");
  make_samples(6, 0, 0);
  file.tokens[file.offsets[6] - 1] = TEST_CLS; // of its second text
  expect_problem("sample 5 is not [CLS] text [SEP]", "anew");
  make_samples(6, 0, 0);
  file.second[5]++;
  expect_problem("sample 5 is not [CLS] text [SEP]", "anew");
}

static void test_data_for_another_run(void **state) {
  (void)state;
  make_samples(6, 0, 0);
  write_file("a.bin");
  ZeroErrors errors = {0};
  assert_null(open_pattern("a.bin", T - 1, TEST_VOCAB, &errors));
  check_one_error(&errors, "longest sample has 24 tokens, -t is 23", "--max-length 23 or smaller", NULL);
  assert_null(open_pattern("a.bin", T, TEST_VOCAB - 1, &errors));
  check_one_error(&errors, "vocabulary has 100 words, the model's 99", "V=", NULL);
  Samples *samples = open_pattern("a.bin", 10 * T, 10 * TEST_VOCAB, &errors); // more room does no harm
  check_no_error(&errors);
  samples_close(samples);
}

// Files that were not prepared together, in each of what they share; all bad files are named.
static void test_files_that_differ(void **state) {
  (void)state;
  static const struct {
    int at, value;
    const char *text;
  } cases[] = {{H_LABELS, 4, "has 4 classes where "}, {H_VOCAB, 101, "has 101 words in the vocabulary where "},
               {H_PAD, 50, "has 50 as [PAD] where "}, {H_CLS, 50, "has 50 as [CLS] where "},
               {H_SEP, 50, "has 50 as [SEP] where "}, {H_MASK, 50, "has 50 as [MASK] where "}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    make_samples(6, 3, 0);
    write_file("a.bin");
    file.header[cases[i].at] = cases[i].value;
    write_file("b.bin");
    write_file("c.bin");
    ZeroErrors errors = {0};
    assert_null(open_pattern("[abc].bin", T, TEST_VOCAB + 1, &errors));
    assert_int_equal(errors.count, 2);
    check_contains(errors.lines[0], "b.bin: has ");
    check_contains(errors.lines[0], cases[i].text);
    check_contains(errors.lines[0], "a.bin has ");
    check_contains(errors.lines[1], "c.bin: has ");
    check_clear(&errors);
  }
  make_samples(6, 0, 0);
  write_file("a.bin");
  make_samples(6, 0, 1);
  write_file("b.bin");
  ZeroErrors errors = {0};
  assert_null(open_pattern("[ab].bin", T, TEST_VOCAB, &errors));
  check_one_error(&errors, "b.bin: has 1 as the mark of sentence pairs where ", "a.bin has 0", NULL);
}

// ---------------------------------------------------------------------------------------------------
// Checksums; files that change while they are used

static void test_checksums(void **state) {
  (void)state;
  make_samples(6, 0, 0);
  write_file("a.bin");
  write_file("b.bin");
  char path[CHECK_PATH], sidecar[CHECK_PATH], line[64], data[CHECK_TEXT];
  check_path(path, dir, "b.bin");
  check_read(path, data);
  check_path(sidecar, dir, "b.bin.xxh3");
  snprintf(line, sizeof line, "XXH3_%016llx  b.bin\n",
           (unsigned long long)XXH3_64bits(data, sample_file_bytes(&file)));
  check_write(sidecar, line, strlen(line));
  for (int spoilt = 0; spoilt < 2; spoilt++) {
    ZeroErrors errors = {0};
    if (spoilt) {
      file.tokens[1] ^= 1;
      write_file("b.bin");
    }
    Samples *samples = open_pattern("[ab].bin", T, TEST_VOCAB, &errors);
    check_no_error(&errors);
    samples_verify(samples, "-i", 0, 2, &errors); // b.bin is rank 1's
    check_no_error(&errors);
    samples_verify(samples, "-i", 1, 2, &errors);
    assert_int_equal(samples_verified(samples).shards, 1);
    assert_int_equal(samples_verified(samples).bytes, sample_file_bytes(&file));
    if (spoilt) {
      check_one_error(&errors, "-i ", "b.bin: its XXH3-64 is ", "anew", NULL);
    } else {
      check_no_error(&errors);
    }
    samples_close(samples);
  }
}

// Is there a second text in any sample of any file? The model needs two types of tokens then.
static void test_two_texts(void **state) {
  (void)state;
  static const struct {
    size_t second_in_a, second_in_b; // so many samples have a second text
    int expected;
  } cases[] = {{0, 0, 0}, {1, 0, 1}, {0, 1, 1}, {6, 6, 1}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const size_t with[] = {cases[i].second_in_a, cases[i].second_in_b};
    ZeroErrors errors = {0};
    for (size_t k = 0; k < 2; k++) {
      sample_file_begin(&file, 0, 0);
      for (size_t n = 0; n < 6; n++) sample_file_add(&file, 4, n + with[k] >= 6 ? 3 : 0, 0.0f);
      write_file(k == 0 ? "a.bin" : "b.bin");
    }
    Samples *samples = open_pattern("[ab].bin", T, TEST_VOCAB, &errors);
    check_no_error(&errors);
    assert_int_equal(samples_info(samples).two_texts, cases[i].expected);
    samples_close(samples);
  }
}

static void read_last(void *samples) {
  int tokens[T];
  samples_read(samples, samples_info(samples).num_samples - 1, tokens);
}

static void read_past_the_end(void *samples) {
  int tokens[T];
  samples_read(samples, samples_info(samples).num_samples, tokens);
}

// The second file's tokens are not scanned at the start, and it changes after that.
static void test_failures_while_running(void **state) {
  (void)state;
  make_samples(6, 3, 0);
  write_file("a.bin");
  file.tokens[file.offsets[5] + 1] = 999;
  write_file("b.bin");
  ZeroErrors errors = {0};
  Samples *samples = open_pattern("[ab].bin", T, TEST_VOCAB, &errors);
  check_no_error(&errors);
  check_fatal(read_last, samples, "b.bin: token 999 at position 1 of sample 5", NULL);
  check_fatal(read_past_the_end, samples, "sample 12 asked for, the data has 12", NULL);
  file.offsets[6] = file.offsets[5] + T + 9; // longer than the buffer
  write_file("b.bin");
  check_fatal(read_last, samples, "b.bin: sample 5 ", NULL);
  make_samples(6, 3, 0);
  file.labels[5] = NAN;
  write_file("b.bin");
  check_fatal(read_last, samples, "b.bin: sample 5 has the label nan", NULL);
  char path[CHECK_PATH];
  check_path(path, dir, "b.bin");
  file.labels[5] = 0.0f;
  sample_file_write_bytes(&file, path, sample_file_bytes(&file) - 4);
  check_fatal(read_last, samples, "b.bin: cannot be read at byte", "the file ends there", NULL);
  samples_close(samples);
  // a second text where there was none
  sample_file_begin(&file, 0, 0);
  for (size_t n = 0; n < 6; n++) sample_file_add(&file, 4, 0, 0.0f);
  write_file("b.bin");
  samples = open_pattern("b.bin", T, TEST_VOCAB, &errors);
  check_no_error(&errors);
  file.second[5] = 3;
  write_file("b.bin");
  check_fatal(read_last, samples, "b.bin: sample 5 has a second text, which no sample had at the start", NULL);
  samples_close(samples);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_samples_of_several_files, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_labels, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_large_file, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_train_order, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bad_headers, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bad_sizes, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bad_entries, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_tokens_left_over, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bad_labels, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bad_tokens, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_data_for_another_run, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_files_that_differ, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_two_texts, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_checksums, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_failures_while_running, check_setup_dir, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("samples", tests, NULL, NULL);
}
