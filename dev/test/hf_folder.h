// Small folders as Hugging Face's transformers writes them, for the tests of their readers. Each test is a program of
// one file, so functions are inline.
#ifndef TEST_HF_FOLDER_H
#define TEST_HF_FOLDER_H

#include "../../llmc/hf_config.h"
#include "../../llmc/hf_tensors.h"
#include "../../llmc/safetensors.h"
#include "check.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define FILE_AT "-e @/model.safetensors: "
#define CONFIG_AT "-e @/config.json: "

enum { MAX_TENSORS = 80 };
static char model[CHECK_PATH], config_path[CHECK_PATH], problem[CHECK_TEXT];

static inline int setup(void **state) {
  check_setup_dir(state);
  check_path(model, dir, SAFETENSORS_FILE);
  check_path(config_path, dir, HF_CONFIG);
  return 0;
}

typedef struct {
  char names[MAX_TENSORS][HF_NAME];
  SafeTensorPlan plans[MAX_TENSORS];
  int salt[MAX_TENSORS]; // of the values
  size_t count;
} Folder;

static inline void add(Folder *folder, const char *name, int ndim, size_t rows, size_t cols, int salt) {
  const size_t at = folder->count++;
  assert_true(at < MAX_TENSORS);
  snprintf(folder->names[at], sizeof folder->names[at], "%s", name);
  folder->plans[at] = (SafeTensorPlan){folder->names[at], ndim, {rows, cols}};
  folder->salt[at] = salt;
}

static inline SafeTensorPlan *find(Folder *folder, const char *name) {
  for (size_t i = 0; i < folder->count; i++) {
    if (strcmp(folder->names[i], name) == 0) return &folder->plans[i];
  }
  fail_msg("no tensor %s", name);
  return NULL;
}

static inline void drop(Folder *folder, const char *name) {
  strcpy(folder->names[find(folder, name) - folder->plans], "\n"); // write_folder leaves it out
}

// Whole numbers up to 250: exact in all three types.
static inline float stored_value(int salt, size_t i) {
  return (float)(((size_t)salt * 37 + i) % 251);
}

static inline void write_folder(const Folder *folder, ZeroType type, const char *config) {
  SafeTensorPlan plans[MAX_TENSORS];
  int salts[MAX_TENSORS];
  size_t count = 0;
  for (size_t i = 0; i < folder->count; i++) {
    if (folder->names[i][0] == '\n') continue;
    salts[count] = folder->salt[i];
    plans[count++] = folder->plans[i];
  }
  check_write(config_path, config, strlen(config));
  SafeTensorsWriter *writer = safetensors_create(model, type, plans, count);
  for (size_t i = 0; i < count; i++) {
    const size_t elements = plans[i].shape[0] * (plans[i].ndim == 2 ? plans[i].shape[1] : 1);
    for (size_t e = 0; e < elements; e++) {
      const float value = stored_value(salts[i], e);
      safetensors_append(writer, &value, 1);
    }
  }
  if (safetensors_finish(writer, problem, sizeof problem) != 0) fail_msg("%s", problem);
}

// There is exactly this error, where @ stands for the folder. NULL: none. Empties the list.
static inline void check_exactly(ZeroErrors *errors, const char *expected) {
  char line[CHECK_TEXT];
  if (expected == NULL) {
    check_no_error(errors);
    return;
  }
  const size_t before = strcspn(expected, "@");
  assert_int_equal(expected[before], '@');
  snprintf(line, sizeof line, "%.*s%s%s", (int)before, expected, dir, expected + before + 1);
  if (errors->count != 1 || strcmp(errors->lines[0], line) != 0) {
    fail_msg("%d errors, the first: %s\nexpected %s", errors->count, errors->count > 0 ? errors->lines[0] : "", line);
  }
  check_clear(errors);
}

// A config.json in which the value of one key is another one (NULL: the key has another name) gives this error or
// none.
typedef struct {
  const char *key, *from, *to, *expected;
} KeyCase;

static inline void change_key(const char *config, const KeyCase *c, char text[CHECK_TEXT]) {
  char from[CHECK_TEXT];
  snprintf(from, sizeof from, "\"%s\": %s", c->key, c->from);
  const char *at = strstr(config, from);
  if (at == NULL) fail_msg("%s is not in the test's file", from);
  if (c->to != NULL) {
    snprintf(text, CHECK_TEXT, "%.*s\"%s\": %s%s", (int)(at - config), config, c->key, c->to, at + strlen(from));
  } else {
    snprintf(text, CHECK_TEXT, "%.*s\"other\": 0%s", (int)(at - config), config, at + strlen(from));
  }
}

#endif
