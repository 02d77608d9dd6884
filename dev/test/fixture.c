// The reader of fixtures: the whole file in memory, its records found by name. Every length in the file is
// checked against what is left of it before it is used.
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "ZEROFIX1"

enum { MAGIC_BYTES = 8, MAX_DIMS = 8, EXIT_BROKEN = 2 };

typedef struct {
  char name[UINT8_MAX + 1];
  char type; // 'f', 'd', 'i'
  size_t count;
  void *data;
} Record;

struct Fixture {
  char *path;
  Record *records;
  size_t num_records;
};

// The bytes of the file that are not read yet.
typedef struct {
  const char *path;
  const unsigned char *at;
  size_t left;
} Cursor;

_Noreturn static void fail(const char *path, const char *name, const char *problem) {
  fprintf(stderr, "error: %s: %s%s%s; make it anew with dev/reference/make_fixtures.py\n", path, name,
          *name ? ": " : "", problem);
  exit(EXIT_BROKEN);
}

static void *allocate(const char *path, size_t bytes) {
  void *memory = malloc(bytes > 0 ? bytes : 1);
  if (memory == NULL) {
    fail(path, "", "out of memory");
  }
  return memory;
}

static void take(Cursor *cursor, void *out, size_t bytes, const char *name) {
  if (bytes > cursor->left) {
    fail(cursor->path, name, "the file ends within a record");
  }
  memcpy(out, cursor->at, bytes);
  cursor->at += bytes;
  cursor->left -= bytes;
}

static size_t element_size(const Cursor *cursor, const Record *record) {
  switch (record->type) {
    case 'f':
      return sizeof(float);
    case 'd':
      return sizeof(double);
    case 'i':
      return sizeof(int32_t);
    default:
      fail(cursor->path, record->name, "unknown element type");
  }
}

static void read_record(Cursor *cursor, Record *record) {
  uint8_t length = 0, dims = 0;
  take(cursor, &length, sizeof length, "");
  take(cursor, record->name, length, "");
  record->name[length] = '\0';
  take(cursor, &record->type, sizeof record->type, record->name);
  take(cursor, &dims, sizeof dims, record->name);
  if (dims > MAX_DIMS) {
    fail(cursor->path, record->name, "too many dimensions");
  }
  const size_t size = element_size(cursor, record);
  record->count = 1;
  for (int i = 0; i < dims; i++) {
    uint64_t dim = 0;
    take(cursor, &dim, sizeof dim, record->name);
    // An empty record would make a test pass that compares nothing.
    if (dim == 0 || dim > cursor->left / size / record->count) {
      fail(cursor->path, record->name, "a dimension is zero or larger than the file");
    }
    record->count *= (size_t)dim;
  }
  record->data = allocate(cursor->path, record->count * size);
  take(cursor, record->data, record->count * size, record->name);
}

static unsigned char *read_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    fail(path, "", "cannot be opened");
  }
  if (fseek(file, 0, SEEK_END) != 0) {
    fail(path, "", "cannot be read");
  }
  const long end = ftell(file);
  if (end < 0 || fseek(file, 0, SEEK_SET) != 0) {
    fail(path, "", "cannot be read");
  }
  *bytes = (size_t)end;
  unsigned char *contents = allocate(path, *bytes);
  if (fread(contents, 1, *bytes, file) != *bytes) {
    fail(path, "", "cannot be read");
  }
  if (fclose(file) != 0) {
    fail(path, "", "cannot be closed");
  }
  return contents;
}

Fixture *fixture_open(const char *path) {
  size_t bytes = 0;
  unsigned char *contents = read_file(path, &bytes);
  if (bytes < MAGIC_BYTES || memcmp(contents, MAGIC, MAGIC_BYTES) != 0) {
    fail(path, "", "not a fixture");
  }

  Fixture *fixture = allocate(path, sizeof *fixture);
  fixture->path = allocate(path, strlen(path) + 1);
  strcpy(fixture->path, path);
  fixture->records = NULL;
  fixture->num_records = 0;
  Cursor cursor = {path, contents + MAGIC_BYTES, bytes - MAGIC_BYTES};
  while (cursor.left > 0) {
    Record *records = realloc(fixture->records, (fixture->num_records + 1) * sizeof *records);
    if (records == NULL) {
      fail(path, "", "out of memory");
    }
    fixture->records = records;
    read_record(&cursor, &records[fixture->num_records]);
    fixture->num_records++;
  }
  free(contents);
  return fixture;
}

static const void *find(const Fixture *fixture, const char *name, char type, size_t *count) {
  for (size_t i = 0; i < fixture->num_records; i++) {
    const Record *record = &fixture->records[i];
    if (strcmp(record->name, name) != 0) {
      continue;
    }
    if (record->type != type) {
      fail(fixture->path, name, "the record has another element type");
    }
    if (count != NULL) {
      *count = record->count;
    }
    return record->data;
  }
  fail(fixture->path, name, "no such record");
}

const float *fixture_f32(const Fixture *fixture, const char *name, size_t *count) {
  return find(fixture, name, 'f', count);
}

const double *fixture_f64(const Fixture *fixture, const char *name, size_t *count) {
  return find(fixture, name, 'd', count);
}

const int32_t *fixture_i32(const Fixture *fixture, const char *name, size_t *count) {
  return find(fixture, name, 'i', count);
}

size_t fixture_records(const Fixture *fixture) {
  return fixture->num_records;
}

void fixture_close(Fixture *fixture) {
  if (fixture == NULL) {
    return;
  }
  for (size_t i = 0; i < fixture->num_records; i++) {
    free(fixture->records[i].data);
  }
  free(fixture->records);
  free(fixture->path);
  free(fixture);
}
