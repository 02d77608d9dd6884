// Files of samples for tests: made in memory, where a test may spoil them, then written. Inline because each test is
// a program of one file.
#ifndef TEST_SAMPLE_FILE_H
#define TEST_SAMPLE_FILE_H

#include <stdint.h>

#include "../../llmc/samples.h"
#include "check.h"

enum { TEST_PAD, TEST_UNK, TEST_CLS, TEST_SEP, TEST_MASK, TEST_FIRST_WORD, TEST_VOCAB = 100 };
enum { SAMPLE_FILE_MAX = 5000, SAMPLE_FILE_TOKENS = 1 << 18, SAMPLE_FILE_HEADER = 256 };
// Places in the header.
enum {
  H_MAGIC,
  H_VERSION,
  H_SAMPLES,
  H_LABELS,
  H_VOCAB,
  H_LONGEST,
  H_PAD,
  H_CLS,
  H_SEP,
  H_MASK,
  H_LOW,
  H_HIGH,
  H_PAIRS
};

typedef struct {
  int32_t header[SAMPLE_FILE_HEADER];
  uint64_t offsets[SAMPLE_FILE_MAX + 1];
  uint16_t second[SAMPLE_FILE_MAX];
  float labels[SAMPLE_FILE_MAX];
  uint16_t tokens[SAMPLE_FILE_TOKENS];
  size_t samples; // the header's may be spoiled
} SampleFileText;

static inline void sample_file_begin(SampleFileText *f, int num_labels, int pairs) {
  memset(f, 0, sizeof *f);
  const int32_t header[] = {SAMPLES_MAGIC, SAMPLES_VERSION, 0,         num_labels, TEST_VOCAB, 0,    TEST_PAD,
                            TEST_CLS,      TEST_SEP,        TEST_MASK, 0,          0,          pairs};
  memcpy(f->header, header, sizeof header);
}

// Word i of sample n: some of the vocabulary, no special one.
static inline uint16_t sample_file_word(size_t n, size_t i) {
  return (uint16_t)(TEST_FIRST_WORD + (31 * n + 17 * i + i * i) % (TEST_VOCAB - TEST_FIRST_WORD));
}

// [CLS] a words [SEP], and where b > 0 b words [SEP].
static inline void sample_file_add(SampleFileText *f, size_t a, size_t b, float label) {
  const size_t n = f->samples++;
  uint64_t at = f->offsets[n];
  const uint64_t begin = at;
  assert_true(f->samples <= SAMPLE_FILE_MAX && begin + a + b + 3 <= SAMPLE_FILE_TOKENS);
  f->tokens[at++] = TEST_CLS;
  for (size_t i = 0; i < a; i++) f->tokens[at++] = sample_file_word(n, i);
  f->tokens[at++] = TEST_SEP;
  f->second[n] = (uint16_t)(at - begin);
  for (size_t i = 0; i < b; i++) f->tokens[at++] = sample_file_word(n, a + i);
  if (b > 0) f->tokens[at++] = TEST_SEP;
  f->labels[n] = label;
  f->offsets[n + 1] = at;
  f->header[H_SAMPLES] = (int32_t)f->samples;
  f->header[H_LOW] = (int32_t)at;
  if (f->header[H_LONGEST] < (int32_t)(at - begin)) f->header[H_LONGEST] = (int32_t)(at - begin);
}

// Of the whole file.
static inline size_t sample_file_bytes(const SampleFileText *f) {
  const int labels = f->header[H_LABELS] != 0 || f->header[H_PAIRS] != 0;
  return sizeof f->header + (f->samples + 1) * sizeof(uint64_t) +
         f->samples * (sizeof(uint16_t) + (labels ? sizeof(float) : 0)) + f->offsets[f->samples] * sizeof(uint16_t);
}

static inline void sample_file_write_bytes(const SampleFileText *f, const char *path, size_t bytes) {
  const int labels = f->header[H_LABELS] != 0 || f->header[H_PAIRS] != 0;
  unsigned char *data = calloc(1, sample_file_bytes(f) + bytes);
  assert_non_null(data);
  unsigned char *at = data;
  const struct {
    const void *from;
    size_t bytes;
  } parts[] = {{f->header, sizeof f->header},
               {f->offsets, (f->samples + 1) * sizeof(uint64_t)},
               {f->second, f->samples * sizeof(uint16_t)},
               {f->labels, labels ? f->samples * sizeof(float) : 0},
               {f->tokens, f->offsets[f->samples] * sizeof(uint16_t)}};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    memcpy(at, parts[i].from, parts[i].bytes);
    at += parts[i].bytes;
  }
  check_write(path, data, bytes);
  free(data);
}

static inline void sample_file_write(const SampleFileText *f, const char *path) {
  sample_file_write_bytes(f, path, sample_file_bytes(f));
}

#endif
