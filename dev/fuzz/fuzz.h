// What the fuzz targets share. Inline because each target is a program of one file.
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../zero/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

// Ends the run, for libFuzzer to keep the input.
static inline void fuzz_require(int condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "fuzz: %s\n", what);
  abort();
}

// Every problem is one line. Empties the list.
static inline void fuzz_check_errors(ZeroErrors *errors) {
  for (int i = 0; i < errors->count; i++) {
    fuzz_require(strchr(errors->lines[i], '\n') == NULL, "an error of several lines");
    free(errors->lines[i]);
  }
  free(errors->lines);
  memset(errors, 0, sizeof *errors);
}

// A file in memory that readers open by its name, the same one for every input of this process.
static inline const char *fuzz_file(const uint8_t *data, size_t bytes) {
  static char path[64];
  snprintf(path, sizeof path, "/dev/shm/zero_c_fuzz_%ld.bin", (long)getpid());
  FILE *file = fopen(path, "wb");
  fuzz_require(file != NULL && fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0, "the file is not written");
  return path;
}

// A file of llm.c: the input's first bytes are the beginning of its header, zeros fill that up, the rest follows. An
// input too short for that is the whole file.
static inline const char *fuzz_file_llmc(const uint8_t *data, size_t bytes) {
  enum { HEADER = 1024, GIVEN = 8 * sizeof(int), MOST = 1 << 16 };
  static uint8_t file[HEADER + MOST];
  if (bytes < GIVEN || bytes - GIVEN > MOST) return fuzz_file(data, bytes);
  memset(file, 0, HEADER);
  memcpy(file, data, GIVEN);
  memcpy(file + HEADER, data + GIVEN, bytes - GIVEN);
  return fuzz_file(file, HEADER + bytes - GIVEN);
}

#endif
