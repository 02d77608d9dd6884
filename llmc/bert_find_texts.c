// Which texts go along with a run's BERT, and whether they belong together.
#include "bert_find_texts.h"

#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"
#include "../zero/words.h"

enum { SPLITS = 2, NAME_BYTES = 160 };

// A text and where it comes from: "-i", "data/mine.vocab.txt".
typedef struct {
  const char *flag;
  const char *path;
  const BertLines *lines;
} Source;

// ---------------------------------------------------------------- texts that have to be the same

// "'word'", or that there is no such line.
static const char *line_text(const BertLines *lines, size_t at, char text[NAME_BYTES]) {
  char word[NAME_BYTES - sizeof "''"];
  if (at >= lines->count) return "not there";
  snprintf(text, NAME_BYTES, "'%s'", zero_printable(word, sizeof word, lines->lines[at]));
  return text;
}

// One error for the first line in which they differ; what: a line is, with its first number; fix: what to do.
static void check_same(const Source *a, const Source *b, const char *what, size_t first, const char *fix,
                       ZeroErrors *errors) {
  char here[NAME_BYTES], there[NAME_BYTES];
  const size_t at = bert_lines_differ(a->lines, b->lines);
  if (at == BERT_LINES_SAME) return;
  zero_errors_add(errors, "%s %s: %s %zu is %s, in %s it is %s; %s", a->flag, a->path, what, first + at,
                  line_text(a->lines, at, here), b->path, line_text(b->lines, at, there), fix);
}

// ---------------------------------------------------------------- beside the samples

typedef struct {
  const char *flag;
  const SampleLoader *loader; // NULL: none
} Split;

static void splits_of(const BertSources *s, Split splits[SPLITS]) {
  splits[0] = (Split){"-i", s->train};
  splits[1] = (Split){"-j", s->val};
}

// The first text with this ending, to be freed; NULL if there is none. *flag: of its samples.
static char *first_beside(const BertSources *s, const char *ending, const char **flag) {
  Split splits[SPLITS];
  splits_of(s, splits);
  for (size_t k = 0; k < SPLITS; k++) {
    const size_t files = splits[k].loader != NULL ? sample_loader_files(splits[k].loader) : 0;
    for (size_t i = 0; i < files; i++) {
      char *path = bert_text_beside(sample_loader_path(splits[k].loader, i), ending);
      *flag = splits[k].flag;
      if (path != NULL) return path;
    }
  }
  return NULL;
}

// All others have to have what the first one has; says where the first of them does not.
static void check_others(const BertSources *s, const char *ending, const Source *first, ZeroErrors *errors) {
  const int problems = errors->count;
  Split splits[SPLITS];
  splits_of(s, splits);
  for (size_t k = 0; k < SPLITS; k++) {
    const size_t files = splits[k].loader != NULL ? sample_loader_files(splits[k].loader) : 0;
    for (size_t i = 0; i < files && errors->count == problems; i++) {
      char *path = bert_text_beside(sample_loader_path(splits[k].loader, i), ending);
      BertLines lines;
      if (path != NULL && strcmp(path, first->path) != 0 &&
          bert_lines_read(path, splits[k].flag, &lines, errors) == 0) {
        const Source other = {splits[k].flag, path, &lines};
        check_same(&other, first, "line", 1, "give files that were prepared with the same vocabulary and classes",
                   errors);
        bert_lines_free(&lines);
      }
      zero_free(path);
    }
  }
}

// ---------------------------------------------------------------- the vocabulary

// Was it this vocabulary that made the samples? One error for a split.
static void check_header(const Split *split, const BertVocab *vocab, const char *path, ZeroErrors *errors) {
  static const char fix[] = "prepare the data with the vocabulary of the model";
  if (split->loader == NULL) return;
  const SamplesInfo info = sample_loader_info(split->loader);
  const char *samples = sample_loader_path(split->loader, 0);
  const struct {
    const char *word;
    size_t samples, vocab;
  } special[] = {{"[PAD]", (size_t)info.pad, vocab->pad},
                 {"[CLS]", (size_t)info.cls, vocab->cls},
                 {"[SEP]", (size_t)info.sep, vocab->sep},
                 {"[MASK]", (size_t)info.mask, vocab->mask}};
  for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
    if (special[i].samples == special[i].vocab) continue;
    zero_errors_add(errors,
                    "%s %s: its header has %s as token %zu, which is line %zu of a vocabulary; in %s it is %zu; %s",
                    split->flag, samples, special[i].word, special[i].samples, special[i].samples + 1, path,
                    special[i].vocab + 1, fix);
    return;
  }
  if (info.vocab_size == vocab->words.count) return;
  zero_errors_add(errors, "%s %s: was made with a vocabulary of %zu words, %s has %zu; %s", split->flag, samples,
                  info.vocab_size, path, vocab->words.count, fix);
}

static void check_folder(const char *folders, const Source *beside, ZeroErrors *errors) {
  BertLines lines;
  if (bert_lines_read(folders, "-e", &lines, errors) != 0) return;
  const Source folder = {"-e", folders, &lines};
  check_same(&folder, beside, "line", 1, "prepare the data with the vocabulary of the model (--vocab)", errors);
  bert_lines_free(&lines);
}

void bert_find_vocab(const BertSources *s, const BertConfig *config, BertVocab *vocab, ZeroErrors *errors) {
  const char *flag = NULL, *folders = s->weights != NULL ? bert_weights_vocab(s->weights) : NULL;
  char *beside = first_beside(s, BERT_BESIDE_VOCAB, &flag);
  const Source source = {beside != NULL ? flag : "-e", beside != NULL ? beside : folders, &vocab->words};
  Split splits[SPLITS];
  memset(vocab, 0, sizeof *vocab);
  if (source.path != NULL && bert_vocab_read(source.path, source.flag, config->vocab_size, vocab, errors) == 0) {
    const int problems = errors->count;
    if (beside != NULL) check_others(s, BERT_BESIDE_VOCAB, &source, errors);
    if (beside != NULL && folders != NULL) check_folder(folders, &source, errors);
    splits_of(s, splits); // the same difference need not be said twice
    for (size_t k = 0; k < SPLITS && errors->count == problems; k++) {
      check_header(&splits[k], vocab, source.path, errors);
    }
  }
  zero_free(beside);
}

// ---------------------------------------------------------------- classes

static int are_numbers(const BertLines *labels) {
  BertLines numbers = bert_lines_number(BERT_LABEL_PREFIX, labels->count);
  const int same = bert_lines_differ(labels, &numbers) == BERT_LINES_SAME;
  bert_lines_free(&numbers);
  return same;
}

static void check_bytes(const Source *labels, ZeroErrors *errors) {
  size_t bytes = 0;
  for (size_t i = 0; i < labels->lines->count; i++) bytes += strlen(labels->lines->lines[i]);
  if (bytes <= BERT_LABELS_BYTES) return;
  zero_errors_add(errors, "%s %s: its names of classes have %zu bytes together, at most %d can be kept; shorten them",
                  labels->flag, labels->path, bytes, BERT_LABELS_BYTES);
}

void bert_find_labels(const BertSources *s, const BertConfig *config, BertLines *labels, ZeroErrors *errors) {
  const BertLines *folders = s->weights != NULL ? &bert_weights_about(s->weights)->labels : NULL;
  const char *flag = NULL;
  memset(labels, 0, sizeof *labels);
  if (config->num_labels < 2) return; // a number to be predicted has no name
  if (folders != NULL && folders->count != config->num_labels) folders = NULL;
  char *beside = first_beside(s, BERT_BESIDE_LABELS, &flag);
  const Source folder = {"-e", folders != NULL ? bert_weights_folder(s->weights) : NULL, folders};
  const Source source = {flag, beside, labels};
  if (beside == NULL && folders != NULL) {
    *labels = bert_lines_copy(folders);
    check_bytes(&folder, errors);
  } else if (beside != NULL && bert_lines_read(beside, flag, labels, errors) == 0) {
    check_bytes(&source, errors);
    check_others(s, BERT_BESIDE_LABELS, &source, errors);
    if (labels->count != config->num_labels) {
      zero_errors_add(errors,
                      "%s %s: names %zu classes, the samples have %zu; prepare the data again (data/README.md)", flag,
                      beside, labels->count, config->num_labels);
    } else if (folders != NULL && bert_weights_has(s->weights, BERT_CLSW) && !are_numbers(folders)) {
      check_same(
          &folder, &source, "class", 0,
          "the rows of its classifier keep their numbers: prepare the data with --labels in the model's order, "
          "or give a model without classifier",
          errors);
    }
  }
  zero_free(beside);
}
