// model.safetensors.index.json: which file of several has which tensor.
#include "safetensors_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../zero/memory.h"
#include "../zero/words.h"
#include "json_file.h"

static int compare_tensors(const void *a, const void *b) {
  return strcmp(((const SafeIndexEntry *)a)->tensor, ((const SafeIndexEntry *)b)->tensor);
}

static int compare_files(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// A name in the folder of the index itself: what leads elsewhere is not followed.
static int is_plain_name(const char *file) {
  return file[0] != '\0' && strchr(file, '/') == NULL && strcmp(file, ".") != 0 && strcmp(file, "..") != 0;
}

// place: "-e gpt2/model.safetensors.index.json"
static void read_entries(const cJSON *map, const char *place, SafeIndex *out, ZeroErrors *errors) {
  char name[JSON_NAME_BYTES], found[JSON_NAME_BYTES];
  const cJSON *item;
  cJSON_ArrayForEach(item, map) {
    zero_printable(name, sizeof name, item->string);
    if (!cJSON_IsString(item)) {
      zero_errors_add(errors, "%s: %s: found %s; write the name of the file that it is in", place, name,
                      json_found(item, found));
    } else if (!is_plain_name(item->valuestring)) {
      zero_errors_add(errors, "%s: %s: found the file %s; it must be a plain name in the same folder", place, name,
                      json_found(item, found));
    } else {
      out->entries[out->count++] = (SafeIndexEntry){item->string, item->valuestring};
    }
  }
}

// Each file once.
static void list_files(SafeIndex *out) {
  for (size_t i = 0; i < out->count; i++) out->files[i] = out->entries[i].file;
  qsort(out->files, out->count, sizeof *out->files, compare_files);
  for (size_t i = 0; i < out->count; i++) {
    if (i > 0 && strcmp(out->files[i], out->files[i - 1]) == 0) continue;
    out->files[out->num_files++] = out->files[i];
  }
}

int safetensors_index_read(const char *path, const char *flag, SafeIndex *out, ZeroErrors *errors) {
  const int problems = errors->count;
  memset(out, 0, sizeof *out);
  out->root = json_file_read(path, SAFETENSORS_MAX_HEADER, flag, errors);
  if (out->root == NULL) return -1;
  const size_t room = strlen(flag) + strlen(path) + sizeof " : weight_map";
  char *place = zero_malloc(room, ZERO_MEM_OTHER);
  snprintf(place, room, "%s %s: weight_map", flag, path);
  const cJSON *map = cJSON_GetObjectItemCaseSensitive(out->root, "weight_map");
  const size_t entries = cJSON_IsObject(map) ? (size_t)cJSON_GetArraySize(map) : 0;
  if (entries == 0) {
    zero_errors_add(errors, "%s: found %s, expected {\"NAME\": \"FILE\", …}; copy or download the index again", place,
                    map == NULL           ? "none"
                    : cJSON_IsObject(map) ? "an empty one"
                                          : "something else");
  } else if (json_check_keys(map, place, errors) == 0) {
    out->entries = zero_malloc(entries * sizeof *out->entries, ZERO_MEM_OTHER);
    out->files = zero_malloc(entries * sizeof *out->files, ZERO_MEM_OTHER);
    read_entries(map, place, out, errors);
    qsort(out->entries, out->count, sizeof *out->entries, compare_tensors);
    list_files(out);
    if (out->num_files > SAFETENSORS_MAX_FILES) {
      zero_errors_add(errors, "%s: names %zu files, at most %d can be used; save the model in larger files", place,
                      out->num_files, SAFETENSORS_MAX_FILES);
    }
  }
  zero_free(place);
  return errors->count > problems ? -1 : 0;
}

void safetensors_index_free(SafeIndex *index) {
  zero_free(index->entries);
  zero_free(index->files);
  cJSON_Delete(index->root);
  memset(index, 0, sizeof *index);
}

static const char *last_part(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

// Both lists are sorted by name and go side by side.
void safetensors_index_check(const SafeIndex *index, const SafeTensor *tensors, size_t count, const char *path,
                             const char *flag, ZeroErrors *errors) {
  char name[JSON_NAME_BYTES], file[JSON_NAME_BYTES];
  size_t t = 0;
  for (size_t i = 0; i <= index->count; i++) {
    const SafeIndexEntry *entry = i < index->count ? &index->entries[i] : NULL; // NULL: behind the last
    int order = -1, found = 0;
    for (; t < count && (entry == NULL || (order = strcmp(tensors[t].name, entry->tensor)) <= 0); t++) {
      zero_printable(name, sizeof name, tensors[t].name);
      if (entry == NULL || order < 0) {
        zero_errors_add(errors, "%s %s: %s: is not in weight_map of %s; copy or download both again", flag,
                        tensors[t].path, name, path);
      } else {
        found = 1;
        if (strcmp(last_part(tensors[t].path), entry->file) == 0) continue;
        zero_errors_add(errors, "%s %s: %s: weight_map of %s has it in %s; copy or download both again", flag,
                        tensors[t].path, name, path, zero_printable(file, sizeof file, entry->file));
      }
    }
    if (entry != NULL && !found) {
      zero_errors_add(errors, "%s %s: %s: is not in %s, where weight_map has it; copy or download that file again",
                      flag, path, zero_printable(name, sizeof name, entry->tensor),
                      zero_printable(file, sizeof file, entry->file));
    }
  }
}
