// The texts beside a BERT: the vocabulary of its tokenizer, a word a line, and the names of its classes.
#include "bert_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "../zero/words.h"
#include "files.h"

enum { MAX_BYTES = 1 << 28, NAME_BYTES = 160 };

// ---------------------------------------------------------------- lines

// Cuts the text into lines; a carriage return before a line's end belongs to that.
static void split_lines(BertLines *lines, size_t bytes) {
  size_t count = lines->text[bytes - 1] != '\n';
  for (size_t i = 0; i < bytes; i++) count += lines->text[i] == '\n';
  lines->lines = zero_malloc(count * sizeof *lines->lines, ZERO_MEM_OTHER);
  char *next = lines->text;
  for (; lines->count < count; lines->count++) {
    char *end = next + strcspn(next, "\n");
    lines->lines[lines->count] = next;
    next = *end == '\n' ? end + 1 : end;
    *end = '\0';
    if (end > lines->lines[lines->count] && end[-1] == '\r') end[-1] = '\0';
  }
}

static int compare(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void check_twice(const BertLines *lines, const char *path, const char *flag, ZeroErrors *errors) {
  char **sorted = zero_malloc(lines->count * sizeof *sorted, ZERO_MEM_OTHER), name[NAME_BYTES];
  memcpy(sorted, lines->lines, lines->count * sizeof *sorted);
  qsort(sorted, lines->count, sizeof *sorted, compare);
  for (size_t i = 1; i < lines->count; i++) {
    if (strcmp(sorted[i - 1], sorted[i]) != 0) continue;
    zero_errors_add(errors, "%s %s: '%s' is there more than once; each line is another one's name", flag, path,
                    zero_printable(name, sizeof name, sorted[i]));
    break;
  }
  zero_free(sorted);
}

int bert_lines_read(const char *path, const char *flag, BertLines *lines, ZeroErrors *errors) {
  const int problems = errors->count;
  size_t bytes = 0;
  memset(lines, 0, sizeof *lines);
  lines->text = file_read_text(path, MAX_BYTES, flag, "prepare the data again (data/README.md)", &bytes, errors);
  if (lines->text == NULL) return -1;
  if (bytes == 0 || memchr(lines->text, '\0', bytes) != NULL) {
    zero_errors_add(errors, "%s %s: %s; give a text with a name a line", flag, path,
                    bytes == 0 ? "is empty" : "has a byte of 0");
    bert_lines_free(lines);
    return -1;
  }
  split_lines(lines, bytes);
  check_twice(lines, path, flag, errors);
  if (errors->count == problems) return 0;
  bert_lines_free(lines);
  return -1;
}

BertLines bert_lines_number(const char *prefix, size_t count) {
  enum { DIGITS = 24 };
  BertLines lines = {.count = count};
  const size_t room = strlen(prefix) + DIGITS;
  lines.text = zero_malloc(count * room, ZERO_MEM_OTHER);
  lines.lines = zero_malloc(count * sizeof *lines.lines, ZERO_MEM_OTHER);
  for (size_t i = 0; i < count; i++) {
    lines.lines[i] = lines.text + i * room;
    snprintf(lines.lines[i], room, "%s%zu", prefix, i);
  }
  return lines;
}

BertLines bert_lines_copy(const BertLines *from) {
  BertLines lines = {.count = from->count};
  size_t bytes = 0;
  for (size_t i = 0; i < from->count; i++) bytes += strlen(from->lines[i]) + 1;
  lines.text = zero_malloc(bytes, ZERO_MEM_OTHER);
  lines.lines = zero_malloc(from->count * sizeof *lines.lines, ZERO_MEM_OTHER);
  char *next = lines.text;
  for (size_t i = 0; i < from->count; i++) {
    const size_t length = strlen(from->lines[i]) + 1;
    lines.lines[i] = memcpy(next, from->lines[i], length);
    next += length;
  }
  return lines;
}

void bert_lines_free(BertLines *lines) {
  zero_free(lines->text);
  zero_free(lines->lines);
  memset(lines, 0, sizeof *lines);
}

size_t bert_lines_differ(const BertLines *a, const BertLines *b) {
  const size_t shorter = a->count < b->count ? a->count : b->count;
  for (size_t i = 0; i < shorter; i++) {
    if (strcmp(a->lines[i], b->lines[i]) != 0) return i;
  }
  return a->count == b->count ? BERT_LINES_SAME : shorter;
}

// ---------------------------------------------------------------- vocabulary

// Special words, [MASK], are in capitals in every vocabulary.
static int has_capital(const char *word) {
  if (word[0] == '[' && word[strlen(word) - 1] == ']') return 0;
  for (; *word != '\0'; word++) {
    if (*word >= 'A' && *word <= 'Z') return 1;
  }
  return 0;
}

int bert_vocab_read(const char *path, const char *flag, size_t V, BertVocab *vocab, ZeroErrors *errors) {
  enum { PAD, UNK, CLS, SEP, MASK, SPECIAL };
  static const char *const special[SPECIAL] = {
      [PAD] = "[PAD]", [UNK] = "[UNK]", [CLS] = "[CLS]", [SEP] = "[SEP]", [MASK] = "[MASK]"};
  const int problems = errors->count;
  size_t found[SPECIAL] = {0}; // its number, counted from 1
  memset(vocab, 0, sizeof *vocab);
  if (bert_lines_read(path, flag, &vocab->words, errors) != 0) return -1;
  if (vocab->words.count > V) {
    zero_errors_add(errors, "%s %s: has %zu words, the model's vocabulary has %zu; they do not belong together", flag,
                    path, vocab->words.count, V);
  }
  for (size_t i = 0; i < vocab->words.count; i++) {
    const char *word = vocab->words.lines[i];
    for (size_t s = 0; s < SPECIAL; s++) {
      if (strcmp(word, special[s]) == 0) found[s] = i + 1;
    }
    vocab->cased |= has_capital(word);
  }
  for (size_t s = 0; s < SPECIAL; s++) {
    if (found[s] == 0) {
      zero_errors_add(errors, "%s %s: has no word %s; give the vocabulary of a BERT", flag, path, special[s]);
    }
  }
  if (errors->count > problems) {
    bert_vocab_free(vocab);
    return -1;
  }
  vocab->pad = found[PAD] - 1;
  vocab->cls = found[CLS] - 1;
  vocab->sep = found[SEP] - 1;
  vocab->mask = found[MASK] - 1;
  return 0;
}

void bert_vocab_free(BertVocab *vocab) {
  bert_lines_free(&vocab->words);
  memset(vocab, 0, sizeof *vocab);
}

// ---------------------------------------------------------------- beside samples

char *bert_text_beside(const char *samples, const char *ending) {
  static const char *const splits[] = {"_train.bin", "_val.bin", "_val_mismatched.bin"};
  const size_t length = strlen(samples);
  size_t prefix = 0;
  for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
    const size_t split = strlen(splits[i]);
    if (length > split && strcmp(samples + length - split, splits[i]) == 0) prefix = length - split;
  }
  if (prefix == 0) return NULL;
  const size_t room = prefix + strlen(ending) + 1;
  char *path = zero_malloc(room, ZERO_MEM_OTHER);
  snprintf(path, room, "%.*s%s", (int)prefix, samples, ending);
  if (access(path, F_OK) == 0) return path;
  zero_free(path);
  return NULL;
}
