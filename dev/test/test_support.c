// Random numbers, sampling, the log and the tokenizer.
#include <math.h>
#include <omp.h>
#include <signal.h>
#include <sys/resource.h>

#include "../../llmc/logger.h"
#include "../../llmc/random.h"
#include "../../llmc/sampler.h"
#include "../../llmc/tokenizer.h"
#include "../../zero/philox.h"
#include "check.h"

// ---------------------------------------------------------------------------------------------------
// Random numbers

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
static void test_philox_known_answers(void **state) {
  (void)state;
  static const struct {
    uint32_t counter[4], key[2], out[4];
  } known[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    uint32_t out[4];
    zero_philox4x32(known[i].counter, known[i].key, out);
    assert_memory_equal(out, known[i].out, sizeof out);
  }
}

// Element 4 b + lane by Box-Muller from the four numbers of (b, tensor) under the seed.
static double reference_normal(uint64_t seed, uint32_t tensor, uint64_t element) {
  const uint64_t block = element / 4;
  const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), tensor, 0};
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  uint32_t bits[4];
  zero_philox4x32(counter, key, bits);
  const size_t pair = element % 4 / 2 * 2;
  const double u = (bits[pair] + 1.0) / 4294967296.0, angle = 2 * M_PI * (bits[pair + 1] / 4294967296.0);
  return sqrt(-2 * log(u)) * (element % 2 == 0 ? cos(angle) : sin(angle));
}

static void test_normal_values(void **state) {
  (void)state;
  // also behind 2^34 elements, where the block number passes 32 bits
  const uint64_t starts[] = {0, 3, (UINT64_C(1) << 34) - 5};
  for (size_t k = 0; k < 3; k++) {
    float out[10];
    random_normal(UINT64_C(0x123456789abcdef), 5, starts[k], 10, 0.02f, out);
    for (size_t i = 0; i < 10; i++) {
      const double expected = 0.02 * reference_normal(UINT64_C(0x123456789abcdef), 5, starts[k] + i);
      if (fabs(out[i] - expected) > 1e-7 * fabs(expected)) fail_msg("%zu: %.9g, expected %.9g", i, out[i], expected);
    }
  }
}

static void test_normal_is_the_same_however_cut(void **state) {
  (void)state;
  enum { N = 1003 };
  float whole[N], piece[N + 1];
  omp_set_num_threads(2);
  random_normal(42, 1, 0, N, 1.0f, whole);
  for (int threads = 1; threads <= 3; threads++) {
    omp_set_num_threads(threads);
    for (size_t cut = 1; cut < N; cut += 1 + cut / 2) {
      piece[N] = -99.0f;
      random_normal(42, 1, 0, cut, 1.0f, piece);
      random_normal(42, 1, cut, N - cut, 1.0f, piece + cut);
      assert_memory_equal(piece, whole, sizeof whole);
      assert_true(piece[N] == -99.0f); // nothing behind the range
    }
  }
  // nothing in front of a range that begins within a block of four
  piece[2] = -99.0f;
  random_normal(42, 1, 3, 9, 1.0f, piece + 3);
  assert_true(piece[2] == -99.0f);
  assert_memory_equal(piece + 3, whole + 3, 9 * sizeof *piece);
  piece[0] = -99.0f;
  random_normal(42, 1, 7, 0, 1.0f, piece);
  assert_true(piece[0] == -99.0f);
  random_normal(42, 2, 0, N, 1.0f, piece);
  assert_memory_not_equal(piece, whole, sizeof whole);
  random_normal(42 + (UINT64_C(1) << 32), 1, 0, N, 1.0f, piece);
  assert_memory_not_equal(piece, whole, sizeof whole);
}

// Moments of a million numbers, each within 5 standard deviations of its estimate.
static void test_normal_distribution(void **state) {
  (void)state;
  enum { N = 1000000 };
  float *x = malloc(N * sizeof *x);
  assert_non_null(x);
  random_normal(1337, 0, 0, N, 2.0f, x);
  double sum = 0, squares = 0, cubes = 0, neighbours = 0, inside = 0;
  for (size_t i = 0; i < N; i++) {
    const double z = x[i] / 2.0;
    sum += z;
    squares += z * z;
    cubes += z * z * z;
    inside += fabs(z) < 1;
    if (i > 0) neighbours += z * x[i - 1] / 2.0;
  }
  free(x);
  assert_true(fabs(sum / N) < 5e-3);
  assert_true(fabs(squares / N - 1) < 5 * sqrt(2.0) * 1e-3);
  assert_true(fabs(cubes / N) < 5 * sqrt(15.0) * 1e-3);
  assert_true(fabs(neighbours / N) < 5e-3);
  assert_true(fabs(inside / N - 0.682689) < 5 * 0.466e-3);
}

// The first numbers of xorshift64* from seed 1337, by an independent program.
static void test_uniform(void **state) {
  (void)state;
  static const int expected[] = {0x3af612, 0x30c5ce, 0x4f94dc, 0xe714b1};
  uint64_t rng = 1337;
  for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
    assert_true(random_uniform(&rng) == (float)expected[i] / 16777216.0f);
  }
  double sum = 0;
  for (int i = 0; i < 100000; i++) {
    const float u = random_uniform(&rng);
    assert_true(u >= 0.0f && u < 1.0f);
    sum += u;
  }
  assert_true(fabs(sum / 100000 - 0.5) < 5 * 0.289 / sqrt(100000.0));
}

// ---------------------------------------------------------------------------------------------------
// Sampling

static void test_sampler(void **state) {
  (void)state;
  // probabilities .1 .2 .3 .4, shifted far out of exp's range
  const float shifts[] = {0.0f, 500.0f, -500.0f};
  for (size_t k = 0; k < 3; k++) {
    float logits[4];
    for (int i = 0; i < 4; i++) logits[i] = logf(0.1f * (float)(i + 1)) + shifts[k];
    assert_int_equal(sample_softmax(logits, 4, 0.0f), 0);
    assert_int_equal(sample_softmax(logits, 4, 0.099f), 0);
    assert_int_equal(sample_softmax(logits, 4, 0.101f), 1);
    assert_int_equal(sample_softmax(logits, 4, 0.299f), 1);
    assert_int_equal(sample_softmax(logits, 4, 0.301f), 2);
    assert_int_equal(sample_softmax(logits, 4, 0.599f), 2);
    assert_int_equal(sample_softmax(logits, 4, 0.601f), 3);
    assert_int_equal(sample_softmax(logits, 4, 1.0f - 0x1p-24f), 3);
  }
  // a token that cannot come never comes
  const float masked[3] = {-INFINITY, 0.0f, -INFINITY};
  assert_int_equal(sample_softmax(masked, 3, 0.0f), 1);
  assert_int_equal(sample_softmax(masked, 3, 1.0f - 0x1p-24f), 1);
}

// ---------------------------------------------------------------------------------------------------
// The log

static void expect_log(const char *name, const char *expected) {
  char path[CHECK_PATH], text[CHECK_TEXT];
  check_path(path, dir, name);
  check_read(path, text);
  assert_string_equal(text, expected);
}

static void test_log_lines(void **state) {
  (void)state;
  char text[CHECK_TEXT], path[CHECK_PATH];
  Logger *logger = logger_open(dir);
  logger_val(logger, 0, 4.26268);
  logger_train(logger, 19, 2.34567809, 0.0003, 0.5432);
  // on disk before it is closed: a killed run keeps its lines
  check_path(path, dir, "main.log");
  check_read(path, text);
  assert_string_equal(text, "s:0 tel:4.26268\ns:19 trl:2.34567809 lr:0.0003 norm:0.5432\n");
  logger_val(logger, 20, 1.0 / 3);
  logger_close(logger);
  check_read(path, text);
  assert_string_equal(text, "s:0 tel:4.26268\ns:19 trl:2.34567809 lr:0.0003 norm:0.5432\ns:20 tel:0.333333333\n");
}

static void test_old_logs_move_aside(void **state) {
  (void)state;
  for (size_t run = 1; run <= 3; run++) {
    Logger *logger = logger_open(dir);
    logger_val(logger, run, 1.5);
    logger_close(logger);
  }
  expect_log("main.log", "s:3 tel:1.5\n");
  expect_log("main.log.1", "s:1 tel:1.5\n");
  expect_log("main.log.2", "s:2 tel:1.5\n");
}

static void test_no_logger(void **state) {
  (void)state;
  logger_train(NULL, 0, 1, 1, 1);
  logger_val(NULL, 0, 1);
  logger_close(NULL);
}

static void open_logger(void *path) {
  logger_open(path);
}

// As on a full disk: the file may not grow past 16 bytes.
static void write_past_the_limit(void *path) {
  Logger *logger = logger_open(path);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit limit = {16, 16};
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return;
  for (size_t step = 0; step < 3; step++) logger_val(logger, step, 1.5);
}

static void test_log_failures(void **state) {
  (void)state;
  char path[CHECK_PATH], below[CHECK_PATH];
  check_path(path, dir, "file");
  check_write(path, "x", 1);
  check_path(below, path, "log");
  check_fatal(open_logger, below, below, "main.log", "Not a directory", NULL);
  check_fatal(write_past_the_limit, dir, dir, "main.log", "cannot be written", "disk full", NULL);
}

// ---------------------------------------------------------------------------------------------------
// Tokenizer

enum { TOKENIZER_MAGIC = 20240328, HEADER_BYTES = 1024 };

static void write_tokenizer(const char *path, int magic, int version, int vocab, int eot, const char *body,
                            size_t bytes) {
  char data[HEADER_BYTES + 256] = {0};
  const int32_t header[4] = {magic, version, vocab, eot};
  memcpy(data, header, sizeof header);
  memcpy(data + HEADER_BYTES, body, bytes);
  check_write(path, data, HEADER_BYTES + bytes);
}

static const char BODY[] = "\1a\3\xe2\x82\xac\0\2\n\0"; // "a", the euro sign, nothing, newline and a zero byte
enum { BODY_BYTES = sizeof BODY - 1, BODY_TOKENS = 4 };

static void test_tokenizer(void **state) {
  (void)state;
  char path[CHECK_PATH];
  check_path(path, dir, "tokenizer.bin");
  write_tokenizer(path, TOKENIZER_MAGIC, 2, BODY_TOKENS, 2, BODY, BODY_BYTES);
  ZeroErrors errors = {0};
  Tokenizer *tokenizer = tokenizer_open(path, "--tokenizer", &errors);
  check_no_error(&errors);
  assert_int_equal(tokenizer_size(tokenizer), 4);
  assert_int_equal(tokenizer_eot(tokenizer), 2);
  size_t length = 0;
  assert_memory_equal(tokenizer_decode(tokenizer, 0, &length), "a", 1);
  assert_int_equal(length, 1);
  assert_memory_equal(tokenizer_decode(tokenizer, 1, &length), "\xe2\x82\xac", 3);
  assert_int_equal(length, 3);
  assert_memory_equal(tokenizer_decode(tokenizer, 3, &length), "\n\0", 2);
  assert_int_equal(length, 2);
  assert_null(tokenizer_decode(tokenizer, 2, &length));
  assert_null(tokenizer_decode(tokenizer, 4, &length));
  assert_null(tokenizer_decode(tokenizer, -1, &length));
  assert_int_equal(length, 0);
  tokenizer_close(tokenizer);

  write_tokenizer(path, TOKENIZER_MAGIC, 2, BODY_TOKENS, -1, BODY, BODY_BYTES); // no end-of-text
  tokenizer = tokenizer_open(path, "--tokenizer", &errors);
  check_no_error(&errors);
  assert_int_equal(tokenizer_eot(tokenizer), -1);
  tokenizer_close(tokenizer);
}

static void expect_bad_tokenizer(int magic, int version, int vocab, int eot, size_t bytes, const char *text) {
  char path[CHECK_PATH];
  check_path(path, dir, "bad.bin");
  write_tokenizer(path, magic, version, vocab, eot, BODY, bytes);
  ZeroErrors errors = {0};
  assert_null(tokenizer_open(path, "--tokenizer", &errors));
  check_one_error(&errors, "--tokenizer ", path, text, NULL);
}

static void test_bad_tokenizers(void **state) {
  (void)state;
  expect_bad_tokenizer(20240520, 2, 4, 0, BODY_BYTES, "begins with 20240520");
  expect_bad_tokenizer(TOKENIZER_MAGIC, 1, 4, 0, BODY_BYTES, "version 1, expected 2");
  expect_bad_tokenizer(TOKENIZER_MAGIC, 2, 0, 0, BODY_BYTES, "header says 0 tokens");
  expect_bad_tokenizer(TOKENIZER_MAGIC, 2, -5, 0, BODY_BYTES, "header says -5 tokens");
  expect_bad_tokenizer(TOKENIZER_MAGIC, 2, 2000000000, 0, BODY_BYTES, "header says 2000000000 tokens");
  expect_bad_tokenizer(TOKENIZER_MAGIC, 2, 4, 4, BODY_BYTES, "end-of-text is token 4");
  expect_bad_tokenizer(TOKENIZER_MAGIC, 2, 4, -2, BODY_BYTES, "end-of-text is token -2");
  expect_bad_tokenizer(TOKENIZER_MAGIC, 2, 4, 0, BODY_BYTES - 1, "truncated: it ends in token 3 of 4");
  expect_bad_tokenizer(TOKENIZER_MAGIC, 2, 4, 0, BODY_BYTES - 3, "truncated: it ends in token 3 of 4");
  expect_bad_tokenizer(TOKENIZER_MAGIC, 2, 3, 0, BODY_BYTES, "3 bytes follow the last of its 3 tokens");
  char path[CHECK_PATH];
  check_path(path, dir, "none.bin");
  ZeroErrors errors = {0};
  assert_null(tokenizer_open(path, "--tokenizer", &errors));
  check_one_error(&errors, "--tokenizer ", path, "No such file", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_philox_known_answers),
      cmocka_unit_test(test_normal_values),
      cmocka_unit_test(test_normal_is_the_same_however_cut),
      cmocka_unit_test(test_normal_distribution),
      cmocka_unit_test(test_uniform),
      cmocka_unit_test(test_sampler),
      cmocka_unit_test_setup_teardown(test_log_lines, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_old_logs_move_aside, check_setup_dir, check_teardown_dir),
      cmocka_unit_test(test_no_logger),
      cmocka_unit_test_setup_teardown(test_log_failures, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_tokenizer, check_setup_dir, check_teardown_dir),
      cmocka_unit_test_setup_teardown(test_bad_tokenizers, check_setup_dir, check_teardown_dir),
  };
  return cmocka_run_group_tests_name("support", tests, NULL, NULL);
}
