// Errors that end all ranks, and the start-up checks whose errors are shown together.
#ifndef ZERO_ERROR_H
#define ZERO_ERROR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ZeroComm;

enum { ZERO_EXIT_OK = 0, ZERO_EXIT_USAGE = 1, ZERO_EXIT_FAILED = 2 };

// From here on zero_fatal ends all ranks of this communicator (NULL: only this process).
void zero_error_set_comm(struct ZeroComm *);

// Prints `error: rank R: FILE:LINE: message` and ends all ranks with exit code 2. The message says what was
// expected, what was found, and a hint.
#define zero_fatal(...) zero_fatal_at(__FILE__, __LINE__, __VA_ARGS__)
#if defined(__GNUC__)
__attribute__((noreturn, format(printf, 3, 4)))
#endif
void zero_fatal_at(const char *file, int line, const char *format, ...);

// What zero_fatal was called with, for those who tell the other ranks; "" before.
const char *zero_error_message(void);

// A list of user errors, each one line without the leading "error: ". Zero-initialise it.
typedef struct {
  char **lines;
  int count;
} ZeroErrors;
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void zero_errors_add(ZeroErrors *, const char *format, ...);
void zero_errors_clear(ZeroErrors *); // frees the list
// Collective. Returns (and frees the list) if no rank has an error. Otherwise the lowest rank that has some
// prints them, one `error: …` line each, and all ranks end with exit code 1.
void zero_errors_check(ZeroErrors *, struct ZeroComm *);

#ifdef __cplusplus
}
#endif
#endif
