// Reads the reference results of dev/fixtures/*.fixture (format: dev/reference/README.md).
// All problems, a missing record or one of another type too, print an error and end the program with
// exit code 2: a test that has nothing to compare with must not pass.
#ifndef TEST_FIXTURE_H
#define TEST_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Fixture Fixture;

Fixture *fixture_open(const char *path);
// The record's data and, unless count is NULL, its number of elements. Valid until fixture_close.
const float *fixture_f32(const Fixture *, const char *name, size_t *count);
const double *fixture_f64(const Fixture *, const char *name, size_t *count);
const int32_t *fixture_i32(const Fixture *, const char *name, size_t *count);
size_t fixture_records(const Fixture *);
void fixture_close(Fixture *);

#ifdef __cplusplus
}
#endif
#endif
