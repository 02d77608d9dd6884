// Hugging Face's safetensors: reading. Nothing that a file says is believed before it is checked.
#include "safetensors.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../zero/config_json.h"
#include "../zero/half.h"
#include "../zero/memory.h"
#include "../zero/words.h"
#include "files.h"
#include "json_file.h"
#include "safetensors_index.h"

enum {
  LENGTH_BYTES = 8,     // of the header's length
  PIECE_BYTES = 1 << 17 // of half types that are converted, or of data that is compared, at a time
};
static const char AGAIN[] = "copy or download it again";

typedef struct {
  char *path;
  char *place; // "-e gpt2/model.safetensors", for messages
  int fd;
  size_t data, data_bytes; // where the tensors' data begins; how long it is
  cJSON *header;           // owns the tensors' names
} File;

typedef struct SafeTensorsFiles {
  File *files;
  size_t count;
  SafeTensor *tensors;
  char *path;
  SafeIndex index; // all 0 without one
} Files;

// "a" + between + "b", to be freed with zero_free.
static char *join(const char *a, const char *between, const char *b) {
  const size_t room = strlen(a) + strlen(between) + strlen(b) + 1;
  char *text = zero_malloc(room, ZERO_MEM_OTHER);
  snprintf(text, room, "%s%s%s", a, between, b);
  return text;
}

// ---------------------------------------------------------------- one tensor of the header

static const struct {
  const char *name;
  size_t bytes; // of an element
} DTYPES[] = {{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"F64", 8}, {"BOOL", 1}, {"U8", 1},      {"I8", 1},     {"I16", 2},
              {"U16", 2}, {"I32", 4},  {"U32", 4}, {"I64", 8}, {"U64", 8},  {"F8_E4M3", 1}, {"F8_E5M2", 1}};

// Each of these returns 0, or -1 and an error. name: of the tensor, fit to print.

static int read_dtype(const cJSON *item, const File *file, const char *name, SafeTensor *out, ZeroErrors *errors) {
  char found[JSON_NAME_BYTES];
  for (size_t i = 0; cJSON_IsString(item) && i < sizeof DTYPES / sizeof DTYPES[0]; i++) {
    if (strcmp(item->valuestring, DTYPES[i].name) != 0) continue;
    out->dtype = DTYPES[i].name;
    out->bytes = DTYPES[i].bytes; // of one element; read_shape multiplies
    return 0;
  }
  zero_errors_add(errors, "%s: %s: dtype is %s; expected F32, BF16, F16 or another type of the format", file->place,
                  name, item != NULL ? json_found(item, found) : "missing");
  return -1;
}

static int read_shape(const cJSON *item, const File *file, const char *name, SafeTensor *out, ZeroErrors *errors) {
  char found[JSON_NAME_BYTES];
  const cJSON *size;
  int wrong = !cJSON_IsArray(item);
  out->ndim = 0;
  cJSON_ArrayForEach(size, item) {
    if (wrong) break;
    if (out->ndim == SAFETENSORS_MAX_DIMS || !json_whole_number(size, &out->shape[out->ndim])) {
      wrong = 1;
      break;
    }
    const size_t extent = out->shape[out->ndim++];
    if (extent > 0 && out->bytes > SIZE_MAX / extent) {
      zero_errors_add(errors, "%s: %s: shape %s has more bytes than any file; %s", file->place, name,
                      json_found(item, found), AGAIN);
      return -1;
    }
    out->bytes *= extent;
  }
  if (!wrong) return 0;
  zero_errors_add(errors, "%s: %s: shape is %s; expected a list of at most %d whole numbers", file->place, name,
                  item != NULL ? json_found(item, found) : "missing", SAFETENSORS_MAX_DIMS);
  return -1;
}

static int read_offsets(const cJSON *item, const File *file, const char *name, SafeTensor *out, ZeroErrors *errors) {
  char found[JSON_NAME_BYTES];
  size_t begin = 0, end = 0;
  if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != 2 || !json_whole_number(item->child, &begin) ||
      !json_whole_number(item->child->next, &end)) {
    zero_errors_add(errors, "%s: %s: data_offsets is %s; expected two whole numbers", file->place, name,
                    item != NULL ? json_found(item, found) : "missing");
    return -1;
  }
  if (begin > end) {
    zero_errors_add(errors, "%s: %s: data_offsets [%zu, %zu] end before they begin; %s", file->place, name, begin,
                    end, AGAIN);
    return -1;
  }
  if (end > file->data_bytes) {
    zero_errors_add(errors, "%s: %s: data_offsets [%zu, %zu] reach over the end of the file's %zu bytes of data; %s",
                    file->place, name, begin, end, file->data_bytes, AGAIN);
    return -1;
  }
  if (end - begin != out->bytes) {
    zero_errors_add(errors, "%s: %s: data_offsets [%zu, %zu] are %zu bytes, its dtype and shape need %zu; %s",
                    file->place, name, begin, end, end - begin, out->bytes, AGAIN);
    return -1;
  }
  out->offset = file->data + begin;
  return 0;
}

static int read_tensor(const cJSON *item, const File *file, SafeTensor *out, ZeroErrors *errors) {
  char name[JSON_NAME_BYTES], found[JSON_NAME_BYTES];
  zero_printable(name, sizeof name, item->string);
  *out = (SafeTensor){.name = item->string, .path = file->path, .fd = file->fd};
  if (!cJSON_IsObject(item)) {
    zero_errors_add(errors, "%s: %s: found %s; expected {\"dtype\": …, \"shape\": …, \"data_offsets\": …}",
                    file->place, name, json_found(item, found));
    return -1;
  }
  char *place = join(file->place, ": ", name);
  const int doubles = json_check_keys(item, place, errors);
  zero_free(place);
  if (doubles > 0) return -1;
  return read_dtype(cJSON_GetObjectItemCaseSensitive(item, "dtype"), file, name, out, errors) != 0 ||
                 read_shape(cJSON_GetObjectItemCaseSensitive(item, "shape"), file, name, out, errors) != 0 ||
                 read_offsets(cJSON_GetObjectItemCaseSensitive(item, "data_offsets"), file, name, out, errors) != 0
             ? -1
             : 0;
}

// ---------------------------------------------------------------- one file

static const char METADATA[] = "__metadata__";

static void check_metadata(const cJSON *item, const File *file, ZeroErrors *errors) {
  char name[JSON_NAME_BYTES], found[JSON_NAME_BYTES];
  const cJSON *entry;
  if (!cJSON_IsObject(item)) {
    zero_errors_add(errors, "%s: %s: found %s; expected an object of texts", file->place, METADATA,
                    json_found(item, found));
    return;
  }
  char *place = join(file->place, ": ", METADATA);
  json_check_keys(item, place, errors);
  zero_free(place);
  cJSON_ArrayForEach(entry, item) {
    if (cJSON_IsString(entry)) continue;
    zero_errors_add(errors, "%s: %s: '%s' is %s; expected a text", file->place, METADATA,
                    zero_printable(name, sizeof name, entry->string), json_found(entry, found));
  }
}

// In the order of their data; empty ones before what begins where they do.
static int compare_places(const void *a, const void *b) {
  const SafeTensor *x = a, *y = b;
  if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
  return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

// The data are covered from their first byte to their last, each once. Sorts the tensors by place.
static void check_cover(const File *file, SafeTensor *tensors, size_t count, ZeroErrors *errors) {
  char name[JSON_NAME_BYTES], before[JSON_NAME_BYTES] = "the header";
  size_t reached = file->data;
  qsort(tensors, count, sizeof *tensors, compare_places);
  for (size_t i = 0; i < count; i++) {
    zero_printable(name, sizeof name, tensors[i].name);
    if (tensors[i].offset < reached) {
      zero_errors_add(errors, "%s: %s: its data overlaps that of %s by %zu bytes; %s", file->place, name, before,
                      reached - tensors[i].offset, AGAIN);
    } else if (tensors[i].offset > reached) {
      zero_errors_add(errors, "%s: %s: there are %zu bytes of no tensor before its data; %s", file->place, name,
                      tensors[i].offset - reached, AGAIN);
    }
    if (tensors[i].offset + tensors[i].bytes < reached) continue;
    reached = tensors[i].offset + tensors[i].bytes;
    memcpy(before, name, sizeof before);
  }
  const size_t end = file->data + file->data_bytes;
  if (reached < end) {
    zero_errors_add(errors, "%s: there are %zu bytes of no tensor behind %s; %s", file->place, end - reached, before,
                    AGAIN);
  }
}

// The file's tensors. Returns how many.
static size_t read_tensors(const File *file, SafeTensor *tensors, ZeroErrors *errors) {
  const int problems = errors->count;
  size_t count = 0;
  const cJSON *item;
  cJSON_ArrayForEach(item, file->header) {
    if (strcmp(item->string, METADATA) == 0) {
      check_metadata(item, file, errors);
    } else if (read_tensor(item, file, &tensors[count], errors) == 0) {
      count++;
    }
  }
  if (errors->count == problems) check_cover(file, tensors, count, errors);
  return count;
}

// Reads and parses the header. Returns it, or NULL and an error.
static cJSON *read_header(File *file, size_t file_bytes, ZeroErrors *errors) {
  unsigned char length[LENGTH_BYTES];
  uint64_t bytes = 0;
  if (file_bytes < LENGTH_BYTES) {
    zero_errors_add(errors, "%s: has %zu bytes, the length of its header alone needs %d; %s", file->place, file_bytes,
                    LENGTH_BYTES, AGAIN);
    return NULL;
  }
  const char *reason = file_read(file->fd, length, sizeof length, 0);
  for (int i = LENGTH_BYTES - 1; i >= 0; i--) bytes = bytes << 8 | length[i];
  if (reason == NULL && bytes > file_bytes - LENGTH_BYTES) {
    zero_errors_add(errors, "%s: its header of %llu bytes reaches over the end of the file of %zu bytes; %s",
                    file->place, (unsigned long long)bytes, file_bytes, AGAIN);
    return NULL;
  }
  if (reason == NULL && bytes > SAFETENSORS_MAX_HEADER) {
    zero_errors_add(errors, "%s: its header has %llu bytes, at most %d are read; is it a model's file?", file->place,
                    (unsigned long long)bytes, SAFETENSORS_MAX_HEADER);
    return NULL;
  }
  char *text = zero_malloc((size_t)bytes + 1, ZERO_MEM_OTHER);
  if (reason == NULL) reason = file_read(file->fd, text, (size_t)bytes, LENGTH_BYTES);
  cJSON *header = NULL;
  if (reason != NULL) {
    zero_errors_add(errors, "%s: its header cannot be read: %s; %s", file->place, reason, AGAIN);
  } else if (text[0] != '{') {
    zero_errors_add(errors, "%s: its header does not begin with {; is it a safetensors file?", file->place);
  } else {
    char *place = join(file->place, ", ", "header");
    header = zero_json_parse(place, text, (size_t)bytes, errors);
    zero_free(place);
  }
  zero_free(text);
  file->data = LENGTH_BYTES + (size_t)bytes;
  file->data_bytes = file_bytes - file->data;
  return header;
}

static void open_file(File *file, const char *folder, const char *name, const char *flag, ZeroErrors *errors) {
  const char *reason = NULL;
  size_t bytes = 0;
  file->path = join(folder, "/", name);
  file->place = join(flag, " ", file->path);
  file->fd = file_open(file->path, &bytes, &reason);
  if (file->fd < 0) {
    zero_errors_add(errors, "%s: cannot be opened: %s; copy or download the whole folder again", file->place, reason);
    return;
  }
  file->header = read_header(file, bytes, errors);
  if (file->header != NULL) json_check_keys(file->header, file->place, errors);
}

// ---------------------------------------------------------------- all files

static int compare_names(const void *a, const void *b) {
  const SafeTensor *x = a, *y = b;
  const int order = strcmp(x->name, y->name);
  return order != 0 ? order : strcmp(x->path, y->path);
}

static void open_files(const char *folder, const char *flag, SafeTensors *out, ZeroErrors *errors) {
  static const char *const single[] = {SAFETENSORS_FILE};
  Files *all = out->files;
  const int problems = errors->count;
  const char *const *names = single;
  all->path = join(folder, "/", SAFETENSORS_FILE);
  size_t count = 1;
  if (access(all->path, F_OK) != 0) {
    zero_free(all->path);
    all->path = join(folder, "/", SAFETENSORS_INDEX);
    if (access(all->path, F_OK) != 0) {
      zero_errors_add(
          errors, "%s %s: has neither %s nor %s; save the model with transformers' save_pretrained, or convert it",
          flag, folder, SAFETENSORS_FILE, SAFETENSORS_INDEX);
      return;
    }
    if (safetensors_index_read(all->path, flag, &all->index, errors) != 0) return;
    names = all->index.files;
    count = all->index.num_files;
  }
  out->path = all->path;
  all->files = zero_malloc(count * sizeof *all->files, ZERO_MEM_OTHER);
  all->count = count;
  size_t room = 0;
  for (size_t f = 0; f < count; f++) {
    open_file(&all->files[f], folder, names[f], flag, errors);
    if (all->files[f].header != NULL) room += (size_t)cJSON_GetArraySize(all->files[f].header);
  }
  if (errors->count > problems) return;
  all->tensors = zero_malloc((room + 1) * sizeof *all->tensors, ZERO_MEM_OTHER);
  for (size_t f = 0; f < count; f++) {
    out->count += read_tensors(&all->files[f], all->tensors + out->count, errors);
  }
  qsort(all->tensors, out->count, sizeof *all->tensors, compare_names);
  out->tensors = all->tensors;
  if (errors->count == problems && all->index.root != NULL) {
    safetensors_index_check(&all->index, all->tensors, out->count, all->path, flag, errors);
  }
}

int safetensors_open(const char *folder, const char *flag, SafeTensors *out, ZeroErrors *errors) {
  const int problems = errors->count;
  memset(out, 0, sizeof *out);
  out->files = zero_malloc(sizeof *out->files, ZERO_MEM_OTHER);
  open_files(folder, flag, out, errors);
  if (errors->count == problems) return 0;
  safetensors_close(out);
  return -1;
}

void safetensors_close(SafeTensors *safe) {
  Files *all = safe->files;
  memset(safe, 0, sizeof *safe);
  if (all == NULL) return;
  for (size_t f = 0; f < all->count; f++) {
    if (all->files[f].fd >= 0) close(all->files[f].fd);
    cJSON_Delete(all->files[f].header);
    zero_free(all->files[f].path);
    zero_free(all->files[f].place);
  }
  if (all->index.root != NULL) safetensors_index_free(&all->index);
  zero_free(all->files);
  zero_free(all->tensors);
  zero_free(all->path);
  zero_free(all);
}

static int compare_to_name(const void *name, const void *tensor) {
  return strcmp(name, ((const SafeTensor *)tensor)->name);
}

const SafeTensor *safetensors_find(const SafeTensors *safe, const char *name) {
  if (safe->count == 0) return NULL;
  return bsearch(name, safe->tensors, safe->count, sizeof *safe->tensors, compare_to_name);
}

// ---------------------------------------------------------------- the data

int safetensors_float_type(const SafeTensor *tensor, ZeroType *type) {
  *type = strcmp(tensor->dtype, "BF16") == 0 ? ZERO_BF16 : strcmp(tensor->dtype, "F16") == 0 ? ZERO_F16 : ZERO_F32;
  return *type != ZERO_F32 || strcmp(tensor->dtype, "F32") == 0;
}

static void read_bytes(const SafeTensor *tensor, size_t first, void *out, size_t bytes) {
  const char *reason = file_read(tensor->fd, out, bytes, tensor->offset + first);
  if (reason != NULL) {
    zero_fatal("%s: %zu bytes of %s at byte %zu cannot be read: %s; was the file changed?", tensor->path, bytes,
               tensor->name, tensor->offset + first, reason);
  }
}

void safetensors_read(const SafeTensor *tensor, size_t first, size_t count, float *out) {
  ZeroType type;
  if (!safetensors_float_type(tensor, &type)) zero_fatal("%s: %s is no float", tensor->path, tensor->name);
  const size_t element = zero_type_size(type), elements = tensor->bytes / element;
  if (first > elements || count > elements - first) {
    zero_fatal("%s: elements %zu + %zu of %s are outside the tensor of %zu", tensor->path, first, count, tensor->name,
               elements);
  }
  if (type == ZERO_F32) {
    read_bytes(tensor, first * element, out, count * element);
    return;
  }
  uint16_t *piece = zero_malloc(PIECE_BYTES, ZERO_MEM_OTHER);
  const size_t longest = PIECE_BYTES / sizeof *piece;
  for (size_t done = 0; done < count; done += longest) {
    const size_t some = count - done < longest ? count - done : longest;
    read_bytes(tensor, (first + done) * element, piece, some * element);
    for (size_t i = 0; i < some; i++) {
      out[done + i] = type == ZERO_BF16 ? zero_bf16_to_f32(piece[i]) : zero_f16_to_f32(piece[i]);
    }
  }
  zero_free(piece);
}

int safetensors_equal(const SafeTensor *a, const SafeTensor *b) {
  if (strcmp(a->dtype, b->dtype) != 0 || a->bytes != b->bytes) return 0;
  char *mine = zero_malloc(PIECE_BYTES, ZERO_MEM_OTHER), *other = zero_malloc(PIECE_BYTES, ZERO_MEM_OTHER);
  int equal = 1;
  for (size_t done = 0; equal && done < a->bytes; done += PIECE_BYTES) {
    const size_t some = a->bytes - done < PIECE_BYTES ? a->bytes - done : PIECE_BYTES;
    read_bytes(a, done, mine, some);
    read_bytes(b, done, other, some);
    equal = memcmp(mine, other, some) == 0;
  }
  zero_free(mine);
  zero_free(other);
  return equal;
}
