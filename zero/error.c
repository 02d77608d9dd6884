// Errors that end all ranks, and the start-up checks whose errors are shown together.
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "comm.h"

// Longest wait for the failing rank to end the job; after that a rank ends by itself.
#define ABORT_SECONDS 20

// zero_fatal is called from everywhere, also where no communicator is at hand.
static ZeroComm *fatal_comm;
static int fatal_depth;
static char fatal_message[1024];

void zero_error_set_comm(ZeroComm *comm) {
  fatal_comm = comm;
}

const char *zero_error_message(void) {
  return fatal_message;
}

void zero_fatal_at(const char *file, int line, const char *format, ...) {
  if (fatal_depth++ > 0) _exit(ZERO_EXIT_FAILED); // ending the job failed itself: nothing more can be done
  fflush(stdout);
  va_list args;
  va_start(args, format);
  vsnprintf(fatal_message, sizeof(fatal_message), format, args);
  va_end(args);
  // One call, so that the lines of several ranks do not mix.
  fprintf(stderr, "error: rank %d: %s:%d: %s\n", fatal_comm != NULL ? fatal_comm->rank : 0, file, line,
          fatal_message);
  fflush(stderr);
  if (fatal_comm != NULL) fatal_comm->abort(fatal_comm, ZERO_EXIT_FAILED);
  exit(ZERO_EXIT_FAILED);
}

void zero_errors_add(ZeroErrors *errors, const char *format, ...) {
  char **lines = realloc(errors->lines, ((size_t)errors->count + 1) * sizeof(*lines));
  if (lines == NULL) zero_fatal("no memory for an error message");
  errors->lines = lines;
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int length = vsnprintf(NULL, 0, format, args);
  char *text = length < 0 ? NULL : malloc((size_t)length + 1);
  if (text == NULL) zero_fatal("an error message could not be formatted: '%s'", format);
  vsnprintf(text, (size_t)length + 1, format, again);
  va_end(again);
  va_end(args);
  lines[errors->count] = text;
  errors->count++;
}

void zero_errors_clear(ZeroErrors *errors) {
  for (int i = 0; i < errors->count; i++) free(errors->lines[i]);
  free(errors->lines);
  *errors = (ZeroErrors){0};
}

// The lowest rank that has an error; -1: none has.
static int lowest_failing_rank(const ZeroErrors *errors, ZeroComm *comm) {
  if (comm == NULL || comm->size == 1) return errors->count > 0 ? 0 : -1;
  size_t size = (size_t)comm->size;
  double *counts = malloc(size * sizeof(*counts));
  size_t *offsets = malloc((size + 1) * sizeof(*offsets));
  if (counts == NULL || offsets == NULL) zero_fatal("no memory for the start-up checks");
  for (size_t r = 0; r <= size; r++) offsets[r] = r;
  double mine = errors->count;
  comm->control_gather(comm, &mine, counts, offsets);
  int lowest = -1;
  for (size_t r = size; r-- > 0;) {
    if (counts[r] > 0) lowest = (int)r;
  }
  free(counts);
  free(offsets);
  return lowest;
}

void zero_errors_check(ZeroErrors *errors, ZeroComm *comm) {
  int failing = lowest_failing_rank(errors, comm);
  if (failing < 0) {
    zero_errors_clear(errors);
    return;
  }
  fflush(stdout);
  if (comm != NULL && comm->rank != failing) {
    comm->await_end(comm, ABORT_SECONDS); // the failing rank ends this one
    _exit(ZERO_EXIT_USAGE);
  }
  for (int i = 0; i < errors->count; i++) fprintf(stderr, "error: %s\n", errors->lines[i]);
  fflush(stderr);
  zero_errors_clear(errors);
  if (comm != NULL) comm->abort(comm, ZERO_EXIT_USAGE);
  exit(ZERO_EXIT_USAGE);
}
