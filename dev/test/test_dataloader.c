// Token shards: windows, order, permutation, files over 2 GiB, and every message about bad data.
#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "../../llmc/dataloader.h"
#include "check.h"

enum { HEADER_BYTES = 1024, MAGIC = 20240520 };

// A shard that claims `claimed` tokens and holds start, start + 1, … (count of them).
static void write_shard(const char *name, int magic, int version, size_t claimed, size_t count, int start) {
  const size_t bytes = HEADER_BYTES + 2 * count;
  unsigned char *data = calloc(1, bytes);
  assert_non_null(data);
  const int32_t header[3] = {magic, version, (int32_t)(uint32_t)claimed};
  memcpy(data, header, sizeof header);
  for (size_t i = 0; i < count; i++) {
    const uint16_t token = (uint16_t)(start + (int)i);
    memcpy(data + HEADER_BYTES + 2 * i, &token, sizeof token);
  }
  char path[CHECK_PATH];
  check_path(path, dir, name);
  check_write(path, data, bytes);
  free(data);
}

static DataLoader *open_pattern(const char *name, size_t T, size_t vocab, ZeroErrors *errors) {
  char pattern[CHECK_PATH];
  check_path(pattern, dir, name);
  return dataloader_open(pattern, "-i", T, vocab, 42, errors);
}

static void check_window(const int *inputs, const int *targets, size_t T, int start) {
  for (size_t t = 0; t < T; t++) {
    assert_int_equal(inputs[t], start + (int)t);
    assert_int_equal(targets[t], start + (int)t + 1);
  }
}

// Shards in name order; the second is too short for a window; the tail of each is left out.
static void test_windows_in_file_order(void **state) {
  (void)state;
  write_shard("c.bin", MAGIC, 1, 9, 9, 500);
  write_shard("a.bin", MAGIC, 1, 12, 12, 100);
  write_shard("b.bin", MAGIC, 1, 4, 4, 300);
  ZeroErrors errors = {0};
  DataLoader *loader = open_pattern("*.bin", 4, 1000, &errors);
  check_no_error(&errors);
  assert_int_equal(dataloader_shards(loader), 3);
  assert_int_equal(dataloader_tokens(loader), 25);
  // 12 tokens: windows 0-4 and 4-8 (8-12 lacks the last target); 9 tokens: both fit exactly
  const int starts[] = {100, 104, 500, 504};
  assert_int_equal(dataloader_windows(loader), 4);
  for (size_t w = 0; w < 4; w++) {
    int inputs[4], targets[4];
    dataloader_window(loader, w, inputs, targets);
    check_window(inputs, targets, 4, starts[w]);
  }
  dataloader_close(loader);
}

// More shards than descriptors are kept open, visited twice.
static void test_many_shards(void **state) {
  (void)state;
  enum { SHARDS = 150, T = 3 };
  for (int s = 0; s < SHARDS; s++) {
    char name[32];
    snprintf(name, sizeof name, "shard_%06d.bin", s);
    write_shard(name, MAGIC, 1, T + 1, T + 1, 10 * s);
  }
  ZeroErrors errors = {0};
  DataLoader *loader = open_pattern("shard_*.bin", T, 65536, &errors);
  check_no_error(&errors);
  assert_int_equal(dataloader_windows(loader), SHARDS);
  for (size_t i = 0; i < 2 * SHARDS; i++) {
    int inputs[T], targets[T];
    const size_t w = i * 7 % SHARDS;
    dataloader_window(loader, w, inputs, targets);
    check_window(inputs, targets, T, 10 * (int)w);
  }
  int open_files = 0;
  for (int fd = 3; fd < 1024; fd++) open_files += fcntl(fd, F_GETFD) >= 0;
  assert_in_range(open_files, 1, 80);
  dataloader_close(loader);
}

// Each epoch takes each window once; epochs and seeds differ.
static void test_train_order(void **state) {
  (void)state;
  enum { WINDOWS = 97, T = 2 };
  write_shard("train.bin", MAGIC, 1, WINDOWS * T + 1, WINDOWS * T + 1, 0);
  ZeroErrors errors = {0};
  DataLoader *loader = open_pattern("train.bin", T, 1000, &errors);
  check_no_error(&errors);
  int moved = 0, differ = 0, first_epoch[WINDOWS];
  for (size_t epoch = 0; epoch < 3; epoch++) {
    int seen[WINDOWS] = {0};
    for (size_t i = 0; i < WINDOWS; i++) {
      int inputs[T], targets[T];
      dataloader_train_window(loader, epoch * WINDOWS + i, inputs, targets);
      const int w = inputs[0] / T;
      check_window(inputs, targets, T, w * T);
      assert_int_equal(w, dataloader_permute(i, WINDOWS, 42, epoch));
      assert_int_equal(seen[w]++, 0);
      moved += w != (int)i;
      if (epoch == 0) first_epoch[i] = w;
      if (epoch == 1) differ += w != first_epoch[i];
    }
  }
  assert_true(moved > 3 * WINDOWS / 2);
  assert_true(differ > WINDOWS / 2);
  dataloader_close(loader);
}

static void test_permutation_is_a_bijection(void **state) {
  (void)state;
  const size_t sizes[] = {1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 1000, 4096, 4097, 100003};
  for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
    const size_t n = sizes[k];
    for (uint64_t seed = 0; seed < 3; seed++) {
      for (uint64_t epoch = 0; epoch < 2; epoch++) {
        unsigned char *seen = calloc(n, 1);
        assert_non_null(seen);
        for (size_t i = 0; i < n; i++) {
          const size_t w = dataloader_permute(i, n, seed, epoch);
          assert_true(w < n);
          assert_int_equal(seen[w]++, 0);
        }
        free(seen);
      }
    }
  }
}

// Neither seed nor epoch may leave an order alone, in any of their 64 bits.
static void test_permutation_depends_on_seed_and_epoch(void **state) {
  (void)state;
  enum { N = 1000 };
  for (unsigned bit = 0; bit < 64; bit++) {
    int by_seed = 0, by_epoch = 0;
    for (size_t i = 0; i < N; i++) {
      const size_t w = dataloader_permute(i, N, 42, 0);
      by_seed += w == dataloader_permute(i, N, 42 ^ UINT64_C(1) << bit, 0);
      by_epoch += w == dataloader_permute(i, N, 42, UINT64_C(1) << bit);
    }
    // two random orders agree in one place on average
    assert_in_range(by_seed, 0, 12);
    assert_in_range(by_epoch, 0, 12);
  }
}

// Mean and neighbours as of a random order: sum of i * p(i) is within 5 standard deviations of its mean.
static void test_permutation_looks_random(void **state) {
  (void)state;
  enum { N = 20000 };
  double sum = 0, steps = 0;
  size_t before = dataloader_permute(0, N, 7, 3);
  for (size_t i = 1; i < N; i++) {
    const size_t w = dataloader_permute(i, N, 7, 3);
    sum += (double)i * (double)w;
    steps += w > before ? (double)(w - before) : (double)(before - w);
    before = w;
  }
  const double n = N, mean = n * (n - 1) * (n - 1) / 4, deviation = n * n * n / 12 / 141.4; // / sqrt(n - 1)
  assert_true(sum > mean - 5 * deviation && sum < mean + 5 * deviation);
  assert_true(steps / n > 0.32 * n && steps / n < 0.35 * n); // n / 3
}

// 2^31 + 100 tokens, 4 GiB: offsets and the count pass the range of int32.
static void test_shard_over_2_gib(void **state) {
  (void)state;
  enum { T = 8 };
  const size_t tokens = ((size_t)1 << 31) + 100;
  write_shard("a_small.bin", MAGIC, 1, T + 1, T + 1, 0);
  write_shard("b_large.bin", MAGIC, 1, tokens, 0, 0);
  char path[CHECK_PATH];
  check_path(path, dir, "b_large.bin");
  int fd = open(path, O_WRONLY);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, (off_t)(HEADER_BYTES + 2 * tokens)), 0); // sparse
  const size_t last_window = (tokens - 1) / T - 1;
  for (size_t t = 0; t <= T; t++) {
    const uint16_t token = (uint16_t)(700 + t);
    const off_t offset = (off_t)(HEADER_BYTES + 2 * (last_window * T + t));
    assert_int_equal(pwrite(fd, &token, sizeof token, offset), sizeof token);
  }
  close(fd);

  ZeroErrors errors = {0};
  DataLoader *loader = open_pattern("*.bin", T, 1000, &errors);
  check_no_error(&errors);
  assert_int_equal(dataloader_tokens(loader), tokens + T + 1);
  assert_int_equal(dataloader_windows(loader), 1 + last_window + 1);
  int inputs[T], targets[T];
  dataloader_window(loader, 1 + last_window, inputs, targets);
  check_window(inputs, targets, T, 700);
  dataloader_window(loader, last_window, inputs, targets);
  assert_int_equal(inputs[0], 0);
  assert_int_equal(targets[T - 1], 700);
  dataloader_close(loader);
}

static void expect_problem(const char *pattern, size_t T, const char *text1, const char *text2) {
  ZeroErrors errors = {0};
  assert_null(open_pattern(pattern, T, 256, &errors));
  check_one_error(&errors, "-i ", dir, text1, text2, NULL);
}

static void test_bad_files(void **state) {
  (void)state;
  expect_problem("none_*.bin", 4, "none_*.bin", "no such file");
  write_shard("magic.bin", 20240326, 1, 9, 9, 0);
  expect_problem("magic.bin", 4, "begins with 20240326", "20240520");
  write_shard("version.bin", MAGIC, 7, 9, 9, 0);
  expect_problem("version.bin", 4, "version 7", "expected 1");
  write_shard("short.bin", MAGIC, 1, 9, 8, 0);
  expect_problem("short.bin", 4, "shorter than its header says: 9 tokens need 1042 bytes", "it has 1040");
  write_shard("long.bin", MAGIC, 1, 9, 10, 0);
  expect_problem("long.bin", 4, "longer than its header says: 9 tokens need 1042 bytes", "it has 1044");
  char path[CHECK_PATH];
  check_path(path, dir, "cut.bin");
  check_write(path, "abc", 3);
  expect_problem("cut.bin", 4, "cut.bin: has 3 bytes", "header");
  check_path(path, dir, "folder.bin");
  assert_int_equal(mkdir(path, 0777), 0);
  expect_problem("folder.bin", 4, "folder.bin", "is a directory");
  write_shard("few.bin", MAGIC, 1, 9, 9, 0);
  expect_problem("few.bin", 9, "-t 9", "the longest has 9");
  write_shard("empty.bin", MAGIC, 1, 0, 0, 0);
  expect_problem("empty.bin", 4, "-t 4", "the longest has 0");
  write_shard("vocab.bin", MAGIC, 1, 300, 300, 0);
  expect_problem("vocab.bin", 4, "token 256 at position 256", "vocabulary of 256");
}

// A second bad shard is a second line; -j is named where -j was given.
static void test_all_bad_shards_are_named(void **state) {
  (void)state;
  write_shard("x1.bin", MAGIC, 1, 9, 8, 0);
  write_shard("x2.bin", MAGIC, 1, 9, 9, 0);
  write_shard("x3.bin", MAGIC, 2, 9, 9, 0);
  char pattern[CHECK_PATH];
  check_path(pattern, dir, "x*.bin");
  ZeroErrors errors = {0};
  assert_null(dataloader_open(pattern, "-j", 4, 256, 0, &errors));
  assert_int_equal(errors.count, 2);
  check_contains(errors.lines[0], "-j ");
  check_contains(errors.lines[0], "x1.bin");
  check_contains(errors.lines[1], "x3.bin");
  check_clear(&errors);
}

// The scan's own reads: a bad token far behind the first piece.
static void test_scan_reaches_the_end(void **state) {
  (void)state;
  enum { TOKENS = 1300000 };
  write_shard("scan.bin", MAGIC, 1, TOKENS, 0, 0);
  char path[CHECK_PATH];
  check_path(path, dir, "scan.bin");
  int fd = open(path, O_WRONLY);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, HEADER_BYTES + 2 * TOKENS), 0);
  const uint16_t token = 999;
  assert_int_equal(pwrite(fd, &token, sizeof token, HEADER_BYTES + 2 * 1234567), sizeof token);
  close(fd);
  expect_problem("scan.bin", 4, "token 999", "position 1234567");
}

// The checksum of write_sidecar's file, by the one-shot function: the product streams.
static void write_sidecar(const char *name) {
  char path[CHECK_PATH], sidecar[CHECK_PATH], line[128];
  check_path(path, dir, name);
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  assert_int_equal(fseek(file, 0, SEEK_END), 0);
  const size_t bytes = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(bytes);
  assert_non_null(data);
  assert_int_equal(fread(data, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
  snprintf(line, sizeof line, "XXH3_%016llx  %s\n", (unsigned long long)XXH3_64bits(data, bytes), name);
  free(data);
  assert_true(snprintf(sidecar, sizeof sidecar, "%s.xxh3", path) < CHECK_PATH);
  check_write(sidecar, line, strlen(line));
}

static void change_byte(const char *name, long offset) {
  char path[CHECK_PATH];
  check_path(path, dir, name);
  int fd = open(path, O_RDWR);
  unsigned char byte = 0;
  assert_int_equal(pread(fd, &byte, 1, offset), 1);
  byte ^= 1;
  assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
  close(fd);
}

// Ranks share the shards; a shard without a checksum is left alone; the larger one needs several reads.
static void test_checksums(void **state) {
  (void)state;
  enum { LONG = 5000000 };
  write_shard("a.bin", MAGIC, 1, 9, 9, 0);
  write_shard("b.bin", MAGIC, 1, 9, 9, 0);
  write_shard("c.bin", MAGIC, 1, LONG, LONG, 0);
  write_sidecar("a.bin");
  write_sidecar("c.bin");
  ZeroErrors errors = {0};
  DataLoader *loader = open_pattern("*.bin", 4, 65536, &errors);
  check_no_error(&errors);
  assert_int_equal(dataloader_verified(loader).shards, 0);
  dataloader_verify(loader, "-i", 0, 1, &errors);
  check_no_error(&errors);
  assert_int_equal(dataloader_verified(loader).shards, 2);
  assert_int_equal(dataloader_verified(loader).bytes, 2 * HEADER_BYTES + 18 + 2 * LONG);
  dataloader_close(loader);

  change_byte("c.bin", HEADER_BYTES + 2 * LONG - 1);
  for (int rank = 0; rank < 2; rank++) { // shards 0 and 2 belong to rank 0 of 2, shard 1 to rank 1
    loader = open_pattern("*.bin", 4, 65536, &errors);
    dataloader_verify(loader, "-i", rank, 2, &errors);
    assert_int_equal(errors.count, rank == 0);
    assert_int_equal(dataloader_verified(loader).shards, 2);
    if (rank == 0)
      check_one_error(&errors, "-i ", "c.bin: its XXH3-64 is ", "c.bin.xxh3 says ", "prepare it anew", NULL);
    dataloader_close(loader);
  }
}

static void test_bad_checksums(void **state) {
  (void)state;
  const char *lines[] = {"",
                         "XXH3_0123456789abcde  a.bin\n",
                         "XXH3_0123456789abcdef0  a.bin\n",
                         "0123456789abcdef  a.bin\n",
                         "XXH3_0123456789ABCDEF  a.bin\n",
                         "XXH3_0123456789abcdef"};
  write_shard("a.bin", MAGIC, 1, 9, 9, 0);
  char sidecar[CHECK_PATH];
  check_path(sidecar, dir, "a.bin.xxh3");
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    check_write(sidecar, lines[i], strlen(lines[i]));
    ZeroErrors errors = {0};
    DataLoader *loader = open_pattern("a.bin", 4, 256, &errors);
    dataloader_verify(loader, "-j", 0, 1, &errors);
    check_one_error(&errors, "-j ", "a.bin: the checksum cannot be read", "delete ", "a.bin.xxh3", NULL);
    dataloader_close(loader);
  }
}

static void read_last_window(void *loader) {
  int inputs[4], targets[4];
  dataloader_window(loader, dataloader_windows(loader) - 1, inputs, targets);
}

static void read_past_the_end(void *loader) {
  int inputs[4], targets[4];
  dataloader_window(loader, dataloader_windows(loader), inputs, targets);
}

static void test_failures_while_running(void **state) {
  (void)state;
  write_shard("a.bin", MAGIC, 1, 9, 9, 0);
  write_shard("b.bin", MAGIC, 1, 9, 9, 250); // not scanned at start; tokens 256 … from position 6
  ZeroErrors errors = {0};
  DataLoader *loader = open_pattern("[ab].bin", 4, 256, &errors);
  check_no_error(&errors);
  check_fatal(read_last_window, loader, "b.bin", "token 256 at position 6", "vocabulary of 256", NULL);
  check_fatal(read_past_the_end, loader, "window 4", "has 4", NULL);
  char path[CHECK_PATH];
  check_path(path, dir, "b.bin");
  assert_int_equal(truncate(path, HEADER_BYTES + 10), 0);
  check_fatal(read_last_window, loader, "b.bin", "byte 1032", "the file ends there", NULL);
  assert_int_equal(unlink(path), 0);
  check_fatal(read_last_window, loader, "b.bin", "cannot be opened again", NULL);
  dataloader_close(loader);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_windows_in_file_order, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_many_shards, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_train_order, check_setup_dir, check_teardown_dir),
      cmocka_unit_test(test_permutation_is_a_bijection),
      cmocka_unit_test(test_permutation_depends_on_seed_and_epoch),
      cmocka_unit_test(test_permutation_looks_random),
      cmocka_unit_test_setup_teardown(test_shard_over_2_gib, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bad_files, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_all_bad_shards_are_named, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_scan_reaches_the_end, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_checksums, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bad_checksums, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_failures_while_running, check_setup_dir, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("dataloader", tests, NULL, NULL);
}
