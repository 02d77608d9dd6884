// How the emulator says what it found.
#include "report.h"

#include <signal.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "block.h"
#include "fiber.h"
#include "include/cudaemu/memory_access.h"
#include "include/cudaemu/thread.h"
#include "race.h"
#include "sanitizers.h"

enum { EXIT_FAILED = 2 };

static const CudaemuSite *running;

void cudaemu_report_launch(const CudaemuSite *site) {
  running = site;
}

const CudaemuSite *cudaemu_running_launch(void) {
  return running;
}

static void print_thread(void) {
  const uint3 b = cudaemu_current.block, t = cudaemu_current.thread;
  fprintf(stderr, "kernel '%s', block (%u,%u,%u), thread (%u,%u,%u)", running->kernel, b.x, b.y, b.z, t.x, t.y, t.z);
}

static void print_launch(void) {
  fprintf(stderr, "  launched at %s:%d\n", running->file, running->line);
  cudaemu_block_print_waiting();
}

void cudaemu_fail(const char *file, int line, const char *format, ...) {
  fflush(stdout);
  fprintf(stderr, "error: ");
  if (file != NULL) fprintf(stderr, "%s:%d: ", file, line);
  if (running != NULL) {
    print_thread();
    fprintf(stderr, ": ");
  }
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, "\n");
  if (running != NULL) print_launch();
  fflush(stderr);
  _exit(EXIT_FAILED);
}

// ---------------------------------------------------------------- what the sanitizers and the processor find
// The sanitizers say what and where in the source; these lines say for whom.
static void print_for_sanitizer(void) {
  static int printed;
  if (running == NULL || printed++ > 0) return;
  fprintf(stderr, "error: ");
  print_thread();
  fprintf(stderr, ": see the sanitizer's report\n");
  print_launch();
  fflush(stderr);
}

extern "C" void __asan_on_error(void) {
  print_for_sanitizer();
}
extern "C" void __ubsan_on_report(void) {
  print_for_sanitizer();
}
#ifdef CUDAEMU_TSAN
extern "C" void __tsan_on_report(void *report) {
  (void)report;
  print_for_sanitizer();
}

void cudaemu_report_name_thread(void *race_thread) {
  const uint3 b = cudaemu_current.block, t = cudaemu_current.thread;
  char name[64]; // what TSan keeps
  snprintf(name, sizeof(name), "block (%u,%u,%u), thread (%u,%u,%u)", b.x, b.y, b.z, t.x, t.y, t.z);
  __tsan_set_fiber_name(race_thread, name);
}
#endif
#if !defined(CUDAEMU_ASAN) && !defined(CUDAEMU_TSAN)
static void on_fault(int number, siginfo_t *information, void *context) {
  (void)context;
  if (running == NULL) { // not ours: as if there were no handler
    signal(number, SIG_DFL);
    raise(number);
    return;
  }
  if (number == SIGSEGV && cudaemu_fiber_overflowed(information->si_addr)) {
    cudaemu_fail(NULL, 0, "the thread's stack is full: its local arrays are too large, or it calls itself");
  }
  cudaemu_fail(NULL, 0, "%s at address %p; a build with -fsanitize=address,undefined shows the place",
               number == SIGFPE ? "division by zero" : "memory outside any array, or a misaligned vector,",
               information->si_addr);
}
#endif

void cudaemu_report_faults(void) {
#if !defined(CUDAEMU_ASAN) && !defined(CUDAEMU_TSAN)
  static char stack[1 << 16]; // the thread's own may be full
  stack_t alternative = {};
  alternative.ss_sp = stack;
  alternative.ss_size = sizeof(stack);
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  if (sigaltstack(&alternative, NULL) != 0 || sigaction(SIGSEGV, &action, NULL) != 0 ||
      sigaction(SIGBUS, &action, NULL) != 0 || sigaction(SIGFPE, &action, NULL) != 0) {
    cudaemu_fail(NULL, 0, "the handlers of memory faults cannot be set");
  }
#endif
}

void cudaemu_misaligned(const void *memory, size_t alignment, const char *file, int line) {
  cudaemu_fail(file, line, "misaligned vector access: address %p is not a multiple of %zu", memory, alignment);
}
