// Signals that ask a run to stop.
#include "stop.h"

#include <signal.h>
#include <string.h>

#include "../zero/error.h"

// A handler reaches nothing but a global.
static volatile sig_atomic_t requested;

static void note_request(int signal_number) {
  (void)signal_number;
  requested = 1;
}

void stop_catch_signals(void) {
  static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = note_request;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
    if (sigaction(signals[i], &action, NULL) != 0) zero_fatal("signal %d cannot be caught", signals[i]);
  }
}

int stop_requested(void) {
  return requested;
}
