// JSON files that other programs wrote: read whole, within a limit, and what cJSON does not check.
#include "json_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../zero/config_json.h"
#include "../zero/memory.h"
#include "../zero/words.h"
#include "files.h"

#define LARGEST_WHOLE 9007199254740992.0 // 2^53: cJSON keeps numbers as double

cJSON *json_file_read(const char *path, size_t limit, const char *flag, ZeroErrors *errors) {
  size_t bytes = 0;
  char *text = file_read_text(path, limit, flag, "give a folder that has this file", &bytes, errors);
  if (text == NULL) return NULL;
  const size_t room = strlen(flag) + strlen(path) + 2;
  char *place = zero_malloc(room, ZERO_MEM_OTHER);
  snprintf(place, room, "%s %s", flag, path);
  cJSON *root = zero_json_parse(place, text, bytes, errors);
  zero_free(text);
  if (root != NULL && json_check_keys(root, place, errors) > 0) {
    cJSON_Delete(root);
    root = NULL;
  }
  zero_free(place);
  return root;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int json_check_keys(const cJSON *object, const char *place, ZeroErrors *errors) {
  const size_t count = (size_t)cJSON_GetArraySize(object);
  if (count < 2) return 0;
  const char **names = zero_malloc(count * sizeof *names, ZERO_MEM_OTHER);
  size_t n = 0;
  const cJSON *item;
  cJSON_ArrayForEach(item, object) names[n++] = item->string;
  qsort(names, n, sizeof *names, compare_names);
  int doubles = 0;
  for (size_t i = 1; i < n; i++) {
    const int again = strcmp(names[i], names[i - 1]) == 0;
    if (!again || (i > 1 && strcmp(names[i], names[i - 2]) == 0)) continue; // said once, however often it is there
    char name[JSON_NAME_BYTES];
    zero_errors_add(errors, "%s: '%s' is there more than once; keep one of them", place,
                    zero_printable(name, sizeof name, names[i]));
    doubles++;
  }
  zero_free(names);
  return doubles;
}

int json_whole_number(const cJSON *item, size_t *value) {
  if (!cJSON_IsNumber(item)) return 0;
  const double number = item->valuedouble;
  if (!(number >= 0.0 && number <= LARGEST_WHOLE) || number != (double)(size_t)number) return 0;
  *value = (size_t)number;
  return 1;
}

const char *json_found(const cJSON *item, char text[JSON_NAME_BYTES]) {
  char *printed = cJSON_PrintUnformatted(item);
  zero_printable(text, JSON_NAME_BYTES, printed != NULL ? printed : "?");
  cJSON_free(printed);
  return text;
}
