// What the fuzz targets share. Inline because each target is a program of one file.
#ifndef FUZZ_H
#define FUZZ_H

#define _GNU_SOURCE // memfd_create
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

// A file in memory, gone with the process, that readers open by its name; the same one for every input.
static inline const char *fuzz_file(const uint8_t *data, size_t bytes) {
  static char path[64];
  static int file = -1;
  if (file < 0) {
    file = memfd_create("fuzz", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  }
  fuzz_require(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, data, bytes, 0) == (ssize_t)bytes,
               "the file is not written");
  return path;
}

// A file of llm.c: the input's first bytes are the first `given` ints of its header, zeros fill that up, the rest
// follows. An input too short for that is the whole file.
static inline const char *fuzz_file_header(const uint8_t *data, size_t bytes, size_t given) {
  enum { HEADER = 1024, MOST = 1 << 16 };
  static uint8_t file[HEADER + MOST];
  given *= sizeof(int);
  if (bytes < given || bytes - given > MOST) return fuzz_file(data, bytes);
  memset(file, 0, HEADER);
  memcpy(file, data, given);
  memcpy(file + HEADER, data + given, bytes - given);
  return fuzz_file(file, HEADER + bytes - given);
}

// A folder with this one file, the same one for every input of a target; `make fuzz` removes it.
static inline const char *fuzz_folder(const char *name, const uint8_t *data, size_t bytes) {
  static char folder[64], path[128];
  snprintf(folder, sizeof folder, "/dev/shm/zero_c_fuzz_%ld", (long)getpid());
  snprintf(path, sizeof path, "%s/%s", folder, name);
  mkdir(folder, 0700); // it is there from the second input on
  FILE *file = fopen(path, "wb");
  fuzz_require(file != NULL && fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0, "the file is not written");
  return folder;
}

// For token files and models, which give no more.
static inline const char *fuzz_file_llmc(const uint8_t *data, size_t bytes) {
  enum { GIVEN = 8 };
  return fuzz_file_header(data, bytes, GIVEN);
}

#endif
