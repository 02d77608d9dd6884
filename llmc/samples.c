// Files of samples for BERT: their checks at start, and reading one sample.
#include "samples.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "files.h"

// Places in the header.
enum {
  AT_VERSION = 1,
  AT_SAMPLES,
  AT_LABELS,
  AT_VOCAB,
  AT_LONGEST,
  AT_PAD,
  AT_CLS,
  AT_SEP,
  AT_MASK,
  AT_TOKENS_LOW,
  AT_TOKENS_HIGH,
  AT_PAIRS
};

enum {
  MAX_VOCAB = UINT16_MAX + 1,
  MAX_LENGTH = UINT16_MAX, // `second` may be the length
  SPECIALS = 4,
  SCAN_SAMPLES = 1 << 13, // whose offsets, types and labels are read at once when a file is scanned
  SCAN_TOKENS = 1 << 17,  // tokens per read: 256 KiB
  PROBLEM_BYTES = 512
};
_Static_assert(SCAN_TOKENS >= MAX_LENGTH, "a read holds every sample");

#define AGAIN "copy or prepare it anew"

typedef struct {
  const char *path; // belongs to the files
  SamplesInfo info; // of this file
} SampleFile;

struct Samples {
  ShardFiles files;
  SampleFile *parts; // (num_parts)
  size_t num_parts;
  SamplesInfo info; // of all
  size_t T;
  uint16_t *buffer; // (T)
  ShardsVerified verified;
};

static int has_labels(const SamplesInfo *info) {
  return info->num_labels > 0 || info->pairs;
}

// ---------------------------------------------------------------------------------------------------
// Where things are, in bytes

static size_t offsets_at(size_t n) {
  return LLMC_HEADER_BYTES + n * sizeof(uint64_t);
}
static size_t second_at(const SamplesInfo *info, size_t n) {
  return offsets_at(info->num_samples + 1) + n * sizeof(uint16_t);
}
static size_t label_at(const SamplesInfo *info, size_t n) {
  return second_at(info, info->num_samples) + n * sizeof(float);
}
static size_t token_at(const SamplesInfo *info, size_t token) {
  return label_at(info, has_labels(info) ? info->num_samples : 0) + token * sizeof(uint16_t);
}

// ---------------------------------------------------------------------------------------------------
// Checks of one header

// Returns 0 and *info, or -1 and the problem.
static int parse_header(const int header[LLMC_HEADER_INTS], SamplesInfo *info, char problem[PROBLEM_BYTES]) {
  static const char *const names[SPECIALS] = {"[PAD]", "[CLS]", "[SEP]", "[MASK]"};
  const int *special = header + AT_PAD;
  if (header[AT_VERSION] != SAMPLES_VERSION) {
    snprintf(problem, PROBLEM_BYTES, "file of samples of version %d, expected %d; prepare the data anew",
             header[AT_VERSION], SAMPLES_VERSION);
    return -1;
  }
  const struct {
    const char *what;
    int at, least, most;
  } fields[] = {{"samples", AT_SAMPLES, 1, INT32_MAX},
                {"classes", AT_LABELS, 0, SAMPLES_MAX_LABELS},
                {"words in the vocabulary", AT_VOCAB, SPECIALS, MAX_VOCAB},
                {"tokens in the longest sample", AT_LONGEST, 1, MAX_LENGTH},
                {"as the mark of sentence pairs", AT_PAIRS, 0, 1}};
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    const int value = header[fields[i].at];
    if (value >= fields[i].least && value <= fields[i].most) continue;
    snprintf(problem, PROBLEM_BYTES, "its header says %d %s, expected %d to %d; " AGAIN, value, fields[i].what,
             fields[i].least, fields[i].most);
    return -1;
  }
  for (int i = 0; i < SPECIALS; i++) {
    if (special[i] < 0 || special[i] >= header[AT_VOCAB]) {
      snprintf(problem, PROBLEM_BYTES, "its header says that %s is token %d, its vocabulary has %d; " AGAIN, names[i],
               special[i], header[AT_VOCAB]);
      return -1;
    }
    for (int k = 0; k < i; k++) {
      if (special[k] != special[i]) continue;
      snprintf(problem, PROBLEM_BYTES, "its header says that %s and %s are both token %d; " AGAIN, names[k], names[i],
               special[i]);
      return -1;
    }
  }
  if (header[AT_PAIRS] && header[AT_LABELS] != 0) {
    snprintf(problem, PROBLEM_BYTES,
             "its header says sentence pairs for pretraining and %d classes, where one of them excludes the other; "
             "prepare it anew",
             header[AT_LABELS]);
    return -1;
  }
  info->num_samples = (size_t)header[AT_SAMPLES];
  info->num_labels = (size_t)header[AT_LABELS];
  info->vocab_size = (size_t)header[AT_VOCAB];
  info->longest = (size_t)header[AT_LONGEST];
  info->pairs = header[AT_PAIRS];
  info->num_tokens = (size_t)(uint32_t)header[AT_TOKENS_HIGH] << 32 | (uint32_t)header[AT_TOKENS_LOW];
  info->pad = header[AT_PAD];
  info->cls = header[AT_CLS];
  info->sep = header[AT_SEP];
  info->mask = header[AT_MASK];
  return 0;
}

// The file's size against its header. Returns 0, or -1 and the problem.
static int check_size(const SamplesInfo *info, size_t size, char problem[PROBLEM_BYTES]) {
  const size_t before = token_at(info, 0);
  const int fits = size >= before && (size - before) / sizeof(uint16_t) >= info->num_tokens;
  if (fits && size == token_at(info, info->num_tokens)) return 0;
  snprintf(problem, PROBLEM_BYTES,
           "file is %s than its header says: %zu samples of %zu tokens together need %zu bytes and 2 a token, it has "
           "%zu bytes; " AGAIN,
           fits ? "longer" : "shorter", info->num_samples, info->num_tokens, before, size);
  return -1;
}

// ---------------------------------------------------------------------------------------------------
// Checks of one sample. Each returns 0, or -1 and the problem.

// A sample's entries: tokens from `begin` to `end` of the file.
typedef struct {
  uint64_t begin, end;
  uint16_t second;
  float label;
} Entry;

static int check_entry(const SamplesInfo *info, size_t n, const Entry *e, char problem[PROBLEM_BYTES]) {
  if (e->end <= e->begin || e->end > info->num_tokens) {
    snprintf(problem, PROBLEM_BYTES, "sample %zu goes from token %llu to %llu of %zu: offsets have to ascend; " AGAIN,
             n, (unsigned long long)e->begin, (unsigned long long)e->end, info->num_tokens);
    return -1;
  }
  const size_t length = (size_t)(e->end - e->begin);
  if (length > info->longest) {
    snprintf(problem, PROBLEM_BYTES, "sample %zu has %zu tokens, the header says %zu for the longest; " AGAIN, n,
             length, info->longest);
    return -1;
  }
  if (e->second < 1 || e->second > length) {
    snprintf(problem, PROBLEM_BYTES,
             "sample %zu has its second text at position %d, expected 1 to its length of %zu; " AGAIN, n, e->second,
             length);
    return -1;
  }
  if (!has_labels(info)) return 0;
  if (info->num_labels == 1) {
    if (isfinite(e->label)) return 0;
    snprintf(problem, PROBLEM_BYTES,
             "sample %zu has the label %f, expected a number; look for it in what was prepared", n, (double)e->label);
    return -1;
  }
  const size_t classes = info->pairs ? 2 : info->num_labels;
  if (e->label >= 0.0f && e->label < (float)classes && e->label == floorf(e->label)) return 0; // false for NaN too
  snprintf(problem, PROBLEM_BYTES, "sample %zu has the label %g, expected a whole number from 0 to %zu; " AGAIN, n,
           (double)e->label, classes - 1);
  return -1;
}

static int check_tokens(const SamplesInfo *info, size_t n, const uint16_t *tokens, size_t length, size_t second,
                        char problem[PROBLEM_BYTES]) {
  for (size_t t = 0; t < length; t++) {
    if (tokens[t] < info->vocab_size) continue;
    snprintf(problem, PROBLEM_BYTES,
             "token %u at position %zu of sample %zu is outside the vocabulary of %zu that its header names; " AGAIN,
             tokens[t], t, n, info->vocab_size);
    return -1;
  }
  if (tokens[0] != info->cls || tokens[second - 1] != info->sep || tokens[length - 1] != info->sep) {
    snprintf(problem, PROBLEM_BYTES, "sample %zu is not [CLS] text [SEP] or [CLS] text [SEP] text [SEP]; " AGAIN, n);
    return -1;
  }
  return 0;
}

// ---------------------------------------------------------------------------------------------------
// One file at start

// Memory for the entries of SCAN_SAMPLES samples and for their tokens.
typedef struct {
  uint64_t offsets[SCAN_SAMPLES + 1];
  uint16_t second[SCAN_SAMPLES];
  float labels[SCAN_SAMPLES];
  uint16_t tokens[SCAN_TOKENS];
} Scan;

// Reads [offset, offset + bytes). Returns 0, or -1 and the problem.
static int read_range(int fd, void *dst, size_t bytes, size_t offset, char problem[PROBLEM_BYTES]) {
  const char *reason = file_read(fd, dst, bytes, offset);
  if (reason == NULL) return 0;
  snprintf(problem, PROBLEM_BYTES, "cannot be read at byte %zu: %s; check the file", offset, reason);
  return -1;
}

// The entries of samples first … first + count - 1. Returns 0, or -1 and the problem.
static int read_entries(int fd, const SamplesInfo *info, size_t first, size_t count, uint64_t *offsets, // (count + 1)
                        uint16_t *second, float *labels,                                                // (count)
                        char problem[PROBLEM_BYTES]) {
  if (read_range(fd, offsets, (count + 1) * sizeof *offsets, offsets_at(first), problem) != 0) return -1;
  if (read_range(fd, second, count * sizeof *second, second_at(info, first), problem) != 0) return -1;
  if (!has_labels(info)) return 0;
  return read_range(fd, labels, count * sizeof *labels, label_at(info, first), problem);
}

// The tokens of `count` samples whose entries were read and are right, as many samples at once as fit.
static int scan_tokens(int fd, const SamplesInfo *info, Scan *scan, size_t first, size_t count,
                       char problem[PROBLEM_BYTES]) {
  for (size_t i = 0; i < count;) {
    const uint64_t begin = scan->offsets[i];
    size_t end = i + 1;
    while (end < count && scan->offsets[end + 1] - begin <= SCAN_TOKENS) end++;
    const size_t tokens = (size_t)(scan->offsets[end] - begin);
    if (read_range(fd, scan->tokens, tokens * sizeof(uint16_t), token_at(info, (size_t)begin), problem) != 0)
      return -1;
    for (; i < end; i++) {
      const size_t at = (size_t)(scan->offsets[i] - begin),
                   length = (size_t)(scan->offsets[i + 1] - scan->offsets[i]);
      if (check_tokens(info, first + i, scan->tokens + at, length, scan->second[i], problem) != 0) return -1;
    }
  }
  return 0;
}

// All entries of a file, and all its tokens if `tokens`; settles info->two_texts. Returns 0, or -1 and the problem.
static int scan_file(int fd, SamplesInfo *info, int tokens, Scan *scan, char problem[PROBLEM_BYTES]) {
  size_t longest = 0;
  uint64_t end = 0; // of the sample before
  for (size_t first = 0; first < info->num_samples; first += SCAN_SAMPLES) {
    const size_t left = info->num_samples - first, count = left < SCAN_SAMPLES ? left : SCAN_SAMPLES;
    if (read_entries(fd, info, first, count, scan->offsets, scan->second, scan->labels, problem) != 0) return -1;
    if (scan->offsets[0] != end) {
      snprintf(problem, PROBLEM_BYTES, "sample %zu begins at token %llu, expected %llu; " AGAIN, first,
               (unsigned long long)scan->offsets[0], (unsigned long long)end);
      return -1;
    }
    for (size_t i = 0; i < count; i++) {
      const Entry entry = {scan->offsets[i], scan->offsets[i + 1], scan->second[i], scan->labels[i]};
      if (check_entry(info, first + i, &entry, problem) != 0) return -1;
      if (entry.end - entry.begin > longest) longest = (size_t)(entry.end - entry.begin);
      if (entry.second < entry.end - entry.begin) info->two_texts = 1;
    }
    end = scan->offsets[count];
    if (tokens && scan_tokens(fd, info, scan, first, count, problem) != 0) return -1;
  }
  if (end == info->num_tokens && longest == info->longest) return 0;
  snprintf(problem, PROBLEM_BYTES,
           "its samples have %llu tokens, the longest %zu, where the header says %zu and %zu; " AGAIN,
           (unsigned long long)end, longest, info->num_tokens, info->longest);
  return -1;
}

// Do the samples suit the run? Returns 0, or -1 and the problem.
static int check_run(const SamplesInfo *info, size_t T, size_t vocab, char problem[PROBLEM_BYTES]) {
  if (info->longest > T) {
    snprintf(
        problem, PROBLEM_BYTES,
        "its longest sample has %zu tokens, -t is %zu; prepare the data again with --max-length %zu or smaller, or "
        "give a larger -t",
        info->longest, T, T);
    return -1;
  }
  if (info->vocab_size > vocab) {
    snprintf(
        problem, PROBLEM_BYTES,
        "its vocabulary has %zu words, the model's %zu; give the V of the tokenizer that made the data (-e …,V=…), "
        "or data made for this model",
        info->vocab_size, vocab);
    return -1;
  }
  return 0;
}

// Everything about one file but its place among the others. tokens: of every sample too.
static int check_file(SampleFile *file, size_t T, size_t vocab, int tokens, Scan *scan, char problem[PROBLEM_BYTES]) {
  int header[LLMC_HEADER_INTS];
  size_t size = 0;
  int fd = file_open_llmc(file->path, SAMPLES_MAGIC, "a file of samples for BERT",
                          "give files of samples, as the scripts in data/ write them for BERT", header, &size,
                          problem, PROBLEM_BYTES);
  if (fd < 0) return -1;
  int status = parse_header(header, &file->info, problem);
  if (status == 0) status = check_size(&file->info, size, problem);
  if (status == 0) status = check_run(&file->info, T, vocab, problem);
  if (status == 0) status = scan_file(fd, &file->info, tokens, scan, problem);
  close(fd);
  return status;
}

// ---------------------------------------------------------------------------------------------------
// All files at start

// Files of one glob are one data set: made alike. Returns 0, or -1 and the problem.
static int check_alike(const SamplesInfo *first, const SamplesInfo *other, const char *first_path,
                       char problem[PROBLEM_BYTES]) {
  const struct {
    const char *what;
    size_t first, other;
  } figures[] = {{"classes", first->num_labels, other->num_labels},
                 {"as the mark of sentence pairs", (size_t)first->pairs, (size_t)other->pairs},
                 {"words in the vocabulary", first->vocab_size, other->vocab_size},
                 {"as [PAD]", (size_t)first->pad, (size_t)other->pad},
                 {"as [CLS]", (size_t)first->cls, (size_t)other->cls},
                 {"as [SEP]", (size_t)first->sep, (size_t)other->sep},
                 {"as [MASK]", (size_t)first->mask, (size_t)other->mask}};
  for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
    if (figures[i].first == figures[i].other) continue;
    snprintf(problem, PROBLEM_BYTES, "has %zu %s where %s has %zu; give files that were prepared together",
             figures[i].other, figures[i].what, first_path, figures[i].first);
    return -1;
  }
  return 0;
}

static void open_files(Samples *s, const char *flag, size_t vocab, ZeroErrors *errors) {
  char problem[PROBLEM_BYTES];
  s->num_parts = shard_files_count(&s->files);
  s->parts = zero_malloc(s->num_parts * sizeof *s->parts, ZERO_MEM_OTHER);
  Scan *scan = zero_malloc(sizeof *scan, ZERO_MEM_OTHER);
  for (size_t i = 0; i < s->num_parts; i++) {
    SampleFile *file = &s->parts[i];
    file->path = shard_files_path(&s->files, i);
    if (check_file(file, s->T, vocab, i == 0, scan, problem) != 0 ||
        (i > 0 && check_alike(&s->parts[0].info, &file->info, s->parts[0].path, problem) != 0)) {
      zero_errors_add(errors, "%s %s: %s", flag, file->path, problem);
      continue;
    }
    shard_files_add(&s->files, file->info.num_samples);
    const SamplesInfo sum = s->info;
    s->info = file->info;
    s->info.num_samples += sum.num_samples;
    s->info.num_tokens += sum.num_tokens;
    if (sum.longest > s->info.longest) s->info.longest = sum.longest;
    if (sum.two_texts) s->info.two_texts = 1;
  }
  zero_free(scan);
  if (s->info.num_samples > UINT32_MAX) {
    zero_errors_add(errors, "%s: %zu samples, at most %u can be told apart in masking; give fewer files", flag,
                    s->info.num_samples, UINT32_MAX);
  }
}

Samples *samples_open(const char *pattern, const char *flag, size_t T, size_t vocab, ZeroErrors *errors) {
  Samples *s = zero_malloc(sizeof *s, ZERO_MEM_OTHER);
  s->T = T;
  s->buffer = zero_malloc(T * sizeof *s->buffer, ZERO_MEM_OTHER);
  const int problems = errors->count;
  if (shard_files_find(&s->files, pattern, flag, errors) == 0) open_files(s, flag, vocab, errors);
  if (errors->count == problems) return s;
  samples_close(s);
  return NULL;
}

void samples_verify(Samples *s, const char *flag, int rank, int ranks, ZeroErrors *errors) {
  s->verified = shard_files_verify(&s->files, flag, rank, ranks, errors);
}
ShardsVerified samples_verified(const Samples *s) {
  return s->verified;
}
size_t samples_files(const Samples *s) {
  return s->num_parts;
}
const char *samples_path(const Samples *s, size_t file) {
  return s->parts[file].path;
}
SamplesInfo samples_info(const Samples *s) {
  return s->info;
}

void samples_close(Samples *s) {
  if (s == NULL) return;
  shard_files_close(&s->files);
  zero_free(s->parts);
  zero_free(s->buffer);
  zero_free(s);
}

// ---------------------------------------------------------------------------------------------------
// One sample

// Sample n of a file into the buffer (T), checked again: the file may have changed. Returns 0, or -1 and the problem.
static int read_sample(Samples *s, size_t file, size_t n, Sample *sample, char problem[PROBLEM_BYTES]) {
  const SamplesInfo *info = &s->parts[file].info;
  const int fd = shard_files_fd(&s->files, file);
  uint64_t offsets[2];
  uint16_t second = 0;
  float label = 0.0f;
  if (read_entries(fd, info, n, 1, offsets, &second, &label, problem) != 0) return -1;
  const Entry entry = {offsets[0], offsets[1], second, label};
  if (check_entry(info, n, &entry, problem) != 0) return -1;
  sample->length = (size_t)(entry.end - entry.begin);
  if (second < sample->length && !info->two_texts) { // the model may have one type only
    snprintf(problem, PROBLEM_BYTES, "sample %zu has a second text, which no sample had at the start; " AGAIN, n);
    return -1;
  }
  sample->second = second;
  sample->label = label;
  if (read_range(fd, s->buffer, sample->length * sizeof(uint16_t), token_at(info, (size_t)entry.begin), problem) !=
      0) {
    return -1;
  }
  return check_tokens(info, n, s->buffer, sample->length, second, problem);
}

Sample samples_read(Samples *s, size_t n, int *tokens) {
  if (n >= s->info.num_samples) zero_fatal("sample %zu asked for, the data has %zu", n, s->info.num_samples);
  const ShardPlace place = shard_files_place(&s->files, n);
  char problem[PROBLEM_BYTES];
  Sample sample;
  if (read_sample(s, place.shard, place.item, &sample, problem) != 0) {
    zero_fatal("%s: %s", s->parts[place.shard].path, problem);
  }
  for (size_t t = 0; t < sample.length; t++) tokens[t] = s->buffer[t];
  return sample;
}
