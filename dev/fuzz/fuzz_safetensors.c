// libFuzzer on safetensors files: what is taken can be found by name and read to its last byte, and its tensors cover
// the data once; what is not has one-line errors.
#include <sys/stat.h>

#include "../../llmc/safetensors.h"
#include "fuzz.h"

enum { LENGTH_BYTES = 8 };

// An input that begins with { is a header, up to a zero byte, and data: the right length is put before it. Others are
// the whole file.
static void write_file(const char *path, const uint8_t *data, size_t bytes) {
  FILE *file = fopen(path, "wb");
  fuzz_require(file != NULL, "the file cannot be opened");
  size_t written = 0, header = 0;
  if (bytes > 0 && data[0] == '{') {
    const uint8_t *end = memchr(data, 0, bytes);
    header = end != NULL ? (size_t)(end - data) : bytes;
    for (int i = 0; i < LENGTH_BYTES; i++) fputc((int)(header >> (8 * i) & 0xff), file);
    written = fwrite(data, 1, header, file);
    if (header < bytes) header++; // the zero byte
  }
  written += fwrite(data + header, 1, bytes - header, file);
  fuzz_require(written + (header > 0 && data[header - 1] == 0) == bytes && fclose(file) == 0,
               "the file is not written");
}

static void check_tensor(const SafeTensors *safe, const SafeTensor *tensor) {
  ZeroType type;
  fuzz_require(safetensors_find(safe, tensor->name) == tensor, "a tensor is not found by its name");
  fuzz_require(tensor->ndim >= 0 && tensor->ndim <= SAFETENSORS_MAX_DIMS, "dimensions");
  fuzz_require(safetensors_equal(tensor, tensor), "a tensor does not equal itself");
  if (!safetensors_float_type(tensor, &type)) return;
  size_t elements = 1;
  for (int d = 0; d < tensor->ndim; d++) elements *= tensor->shape[d];
  fuzz_require(elements * zero_type_size(type) == tensor->bytes, "size and shape");
  float *out = malloc(elements * sizeof *out + 1); // the file is small
  fuzz_require(out != NULL, "no memory for a tensor of a small file");
  safetensors_read(tensor, 0, elements, out);
  free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  static char folder[64], path[128];
  snprintf(folder, sizeof folder, "/dev/shm/zero_c_fuzz_%ld", (long)getpid());
  snprintf(path, sizeof path, "%s/%s", folder, SAFETENSORS_FILE);
  mkdir(folder, 0700); // it is there from the second input on
  write_file(path, data, bytes);
  SafeTensors safe;
  ZeroErrors errors = {NULL, 0};
  const int result = safetensors_open(folder, "-e", &safe, &errors);
  fuzz_require((result == 0) == (errors.count == 0), "the result does not agree with the errors");
  fuzz_check_errors(&errors);
  struct stat info;
  fuzz_require(stat(path, &info) == 0, "the file is gone");
  size_t covered = 0;
  for (size_t i = 0; i < safe.count; i++) {
    check_tensor(&safe, &safe.tensors[i]);
    covered += safe.tensors[i].bytes;
  }
  fuzz_require(result != 0 || covered < (size_t)info.st_size, "tensors have more bytes than the file");
  safetensors_close(&safe);
  return 0;
}
