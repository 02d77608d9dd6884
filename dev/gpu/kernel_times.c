// What a GPU program spends its time on, kernel by kernel: loaded into any CUDA program by
//   CUDA_INJECTION64_PATH=…/libkernel_times.so KERNEL_TIMES_SKIP=1000 ./train_gpt2cu …
// it records every kernel's start and end through CUPTI and prints a table at the end: calls, milliseconds, share,
// and what of the whole span the GPU was idle. KERNEL_TIMES_SKIP: kernels at the start that do not count.
#include <cupti.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int InitializeInjection(void);

enum { BUFFER_BYTES = 8 << 20, BUFFER_ALIGNMENT = 8, NAME_BYTES = 120, MOST_NAMES = 512 };

typedef struct {
  char name[NAME_BYTES];
  size_t calls;
  double ns;
} Line;

static struct {
  Line lines[MOST_NAMES];
  size_t count, seen, skip;
  uint64_t first_ns, last_ns;
  double busy_ns;
} times;

static void check(CUptiResult result, const char *call) {
  if (result == CUPTI_SUCCESS) return;
  const char *text = "";
  cuptiGetResultString(result, &text);
  fprintf(stderr, "error: kernel_times: %s: %s\n", call, text);
  exit(2);
}

static void add(const char *name, uint64_t start, uint64_t end) {
  if (times.seen++ < times.skip) return;
  if (times.first_ns == 0 || start < times.first_ns) times.first_ns = start;
  if (end > times.last_ns) times.last_ns = end;
  times.busy_ns += (double)(end - start);
  size_t i = 0;
  while (i < times.count && strncmp(times.lines[i].name, name, NAME_BYTES - 1) != 0) i++;
  if (i == MOST_NAMES) return;
  if (i == times.count) {
    snprintf(times.lines[i].name, NAME_BYTES, "%s", name);
    times.count++;
  }
  times.lines[i].calls++;
  times.lines[i].ns += (double)(end - start);
}

static void CUPTIAPI give_buffer(uint8_t **buffer, size_t *bytes, size_t *records) {
  *buffer = aligned_alloc(BUFFER_ALIGNMENT, BUFFER_BYTES);
  *bytes = *buffer != NULL ? BUFFER_BYTES : 0;
  *records = 0;
}

static void CUPTIAPI take_buffer(CUcontext context, uint32_t stream, uint8_t *buffer, size_t bytes, size_t valid) {
  (void)context, (void)stream, (void)bytes;
  CUpti_Activity *record = NULL;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const CUpti_ActivityKernel10 *kernel = (const CUpti_ActivityKernel10 *)record;
      add(kernel->name, kernel->start, kernel->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const CUpti_ActivityMemcpy6 *copy = (const CUpti_ActivityMemcpy6 *)record;
      add("(copy)", copy->start, copy->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const CUpti_ActivityMemset4 *set = (const CUpti_ActivityMemset4 *)record;
      add("(memset)", set->start, set->end);
    }
  }
  free(buffer);
}

static int slower(const void *a, const void *b) {
  const double x = ((const Line *)a)->ns, y = ((const Line *)b)->ns;
  return x < y ? 1 : x > y ? -1 : 0;
}

static void print(void) {
  check(cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "cuptiActivityFlushAll");
  const double ms = 1e-6, us = 1e-3, span = (double)(times.last_ns - times.first_ns);
  qsort(times.lines, times.count, sizeof *times.lines, slower);
  fprintf(stderr,
          "counted %zu\nkernels: %.2f ms in all, %.2f ms of them busy\n     ms      %%  calls  us/call  kernel\n",
          times.seen, span * ms, times.busy_ns * ms);
  for (size_t i = 0; i < times.count; i++) {
    const Line *line = &times.lines[i];
    fprintf(stderr, "%8.3f %5.1f %6zu %8.1f  %s\n", line->ns * ms, 100 * line->ns / times.busy_ns, line->calls,
            line->ns * us / (double)line->calls, line->name);
  }
}

int InitializeInjection(void) {
  const char *skip = getenv("KERNEL_TIMES_SKIP");
  times.skip = skip != NULL ? strtoull(skip, NULL, 10) : 0;
  check(cuptiActivityRegisterCallbacks(give_buffer, take_buffer), "cuptiActivityRegisterCallbacks");
  check(cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL), "cuptiActivityEnable");
  check(cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY), "cuptiActivityEnable");
  check(cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMSET), "cuptiActivityEnable");
  atexit(print);
  return 1;
}
