// libFuzzer on model.safetensors.index.json beside two sound files: what is taken names exactly their tensors; what
// is not has one-line errors, and no file outside the folder is opened.
#include <sys/stat.h>

#include "../../llmc/safetensors.h"
#include "fuzz.h"

static char folder[64];

static void write_file(const char *name, const void *data, size_t bytes) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  fuzz_require(file != NULL && fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0, "the file is not written");
}

// One tensor of two floats.
static void write_tensor(const char *file, const char *tensor) {
  char bytes[128] = {0};
  const int header = snprintf(bytes + 8, sizeof bytes - 8,
                              "{\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", tensor);
  bytes[0] = (char)header;
  write_file(file, bytes, 8 + (size_t)header + 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  if (folder[0] == '\0') {
    snprintf(folder, sizeof folder, "/dev/shm/zero_c_fuzz_index_%ld", (long)getpid());
    mkdir(folder, 0700);
    write_tensor("a", "x");
    write_tensor("b", "y");
  }
  write_file(SAFETENSORS_INDEX, data, bytes);
  SafeTensors safe;
  ZeroErrors errors = {NULL, 0};
  const int result = safetensors_open(folder, "-e", &safe, &errors);
  fuzz_require((result == 0) == (errors.count == 0), "the result does not agree with the errors");
  fuzz_check_errors(&errors);
  for (size_t i = 0; i < safe.count; i++) {
    const SafeTensor *tensor = &safe.tensors[i];
    const char *file = strrchr(tensor->path, '/') + 1;
    fuzz_require(strncmp(tensor->path, folder, strlen(folder)) == 0, "a file of another folder");
    fuzz_require(strcmp(tensor->name, strcmp(file, "a") == 0 ? "x" : "y") == 0, "a tensor of another file");
    float values[2];
    safetensors_read(tensor, 0, 2, values);
  }
  fuzz_require(result != 0 || safe.count > 0, "an empty model");
  safetensors_close(&safe);
  return 0;
}
