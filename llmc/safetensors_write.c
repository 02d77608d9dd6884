// Hugging Face's safetensors: writing, tensor after tensor as values come.
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../zero/half.h"
#include "../zero/memory.h"
#include "files.h"
#include "safetensors.h"

enum {
  LENGTH_BYTES = 8,
  ALIGNMENT = 8,             // of the data, by spaces at the end of the header
  CONVERT_ELEMENTS = 1 << 16 // of half types, per write
};

struct SafeTensorsWriter {
  int fd;
  char *path;
  ZeroType type;
  uint16_t *half;          // (CONVERT_ELEMENTS)
  int error;               // errno of what failed, 0: nothing has; after that nothing more is written
  size_t planned, written; // bytes
};

static void write_bytes(SafeTensorsWriter *writer, const void *data, size_t bytes) {
  if (writer->error == 0) writer->error = file_write(writer->fd, data, bytes, &writer->written);
}

// ---------------------------------------------------------------- the header

// cJSON's functions say by 0 or NULL that there is no memory.
static void require(int done) {
  if (!done) zero_fatal("no memory for the header of a safetensors file");
}

static void add_numbers(cJSON *tensor, const char *key, const size_t *numbers, int count) {
  cJSON *list = cJSON_AddArrayToObject(tensor, key);
  require(list != NULL);
  for (int i = 0; i < count; i++) require(cJSON_AddItemToArray(list, cJSON_CreateNumber((double)numbers[i])));
}

// Adds one tensor, whose data begins at `begin`. Returns where it ends.
static size_t add_tensor(cJSON *root, ZeroType type, const SafeTensorPlan *plan, size_t begin) {
  static const char *const dtypes[] = {[ZERO_F32] = "F32", [ZERO_BF16] = "BF16", [ZERO_F16] = "F16"};
  size_t offsets[2] = {begin, zero_type_size(type)};
  for (int d = 0; d < plan->ndim; d++) offsets[1] *= plan->shape[d];
  offsets[1] += begin;
  cJSON *tensor = cJSON_AddObjectToObject(root, plan->name);
  require(tensor != NULL && cJSON_AddStringToObject(tensor, "dtype", dtypes[type]) != NULL);
  add_numbers(tensor, "shape", plan->shape, plan->ndim);
  add_numbers(tensor, "data_offsets", offsets, 2);
  return offsets[1];
}

static void write_header(SafeTensorsWriter *writer, const SafeTensorPlan *tensors, size_t count) {
  static const char spaces[ALIGNMENT] = "        ";
  cJSON *root = cJSON_CreateObject();
  cJSON *metadata = cJSON_AddObjectToObject(root, "__metadata__");
  require(cJSON_AddStringToObject(metadata, "format", "pt") != NULL); // without it transformers refuses the file
  size_t data = 0;
  for (size_t i = 0; i < count; i++) data = add_tensor(root, writer->type, &tensors[i], data);
  char *text = cJSON_PrintUnformatted(root);
  require(text != NULL);
  const size_t bytes = strlen(text), padding = (ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT;
  unsigned char length[LENGTH_BYTES];
  for (int i = 0; i < LENGTH_BYTES; i++) length[i] = (unsigned char)((bytes + padding) >> (8 * i) & 0xff);
  writer->planned = sizeof length + bytes + padding + data;
  write_bytes(writer, length, sizeof length);
  write_bytes(writer, text, bytes);
  write_bytes(writer, spaces, padding);
  cJSON_free(text);
  cJSON_Delete(root);
}

// ---------------------------------------------------------------- the file

SafeTensorsWriter *safetensors_create(const char *path, ZeroType type, const SafeTensorPlan *tensors, size_t count) {
  SafeTensorsWriter *writer = zero_malloc(sizeof *writer, ZERO_MEM_OTHER);
  writer->type = type;
  writer->half = zero_malloc(CONVERT_ELEMENTS * sizeof *writer->half, ZERO_MEM_OTHER);
  writer->path = zero_malloc(strlen(path) + 1, ZERO_MEM_OTHER);
  strcpy(writer->path, path);
  writer->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (writer->fd < 0) writer->error = errno;
  write_header(writer, tensors, count);
  return writer;
}

void safetensors_append(SafeTensorsWriter *writer, const float *values, size_t count) {
  if (writer->type == ZERO_F32) {
    write_bytes(writer, values, count * sizeof *values);
    return;
  }
  for (size_t done = 0; done < count; done += CONVERT_ELEMENTS) {
    const size_t some = count - done < CONVERT_ELEMENTS ? count - done : CONVERT_ELEMENTS;
    for (size_t i = 0; i < some; i++) {
      const float value = values[done + i];
      writer->half[i] = writer->type == ZERO_BF16 ? zero_f32_to_bf16(value) : zero_f32_to_f16(value);
    }
    write_bytes(writer, writer->half, some * sizeof *writer->half);
  }
}

int safetensors_finish(SafeTensorsWriter *writer, char *problem, size_t problem_bytes) {
  if (writer->error == 0 && writer->written != writer->planned) {
    zero_fatal("%s: %zu bytes were given of the %zu that its header announces", writer->path, writer->written,
               writer->planned);
  }
  if (writer->error == 0 && fsync(writer->fd) != 0) writer->error = errno;
  if (writer->fd >= 0 && close(writer->fd) != 0 && writer->error == 0) writer->error = errno;
  const int error = writer->error;
  if (error != 0) {
    snprintf(problem, problem_bytes, "%s: cannot be written, at byte %zu: %s; make room or give another folder",
             writer->path, writer->written, strerror(error));
    if (writer->fd >= 0) unlink(writer->path);
  }
  zero_free(writer->half);
  zero_free(writer->path);
  zero_free(writer);
  return error == 0 ? 0 : -1;
}
