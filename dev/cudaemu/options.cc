// The emulator's settings, from the environment.
#include "options.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "report.h"

static const char random_prefix[] = "random:";

// The index of the variable's value among `first`, `second` and random:SEED; 0 where it is not set.
static int choice(const char *name, const char *first, const char *second, uint64_t *seed) {
  const char *value = getenv(name);
  if (value == NULL || *value == '\0' || strcmp(value, first) == 0) return 0;
  if (strcmp(value, second) == 0) return 1;
  size_t prefix = strlen(random_prefix);
  char *end = NULL;
  if (strncmp(value, random_prefix, prefix) == 0) *seed = strtoull(value + prefix, &end, 10);
  if (end == NULL || end == value + prefix || *end != '\0') {
    cudaemu_fail(NULL, 0, "%s: '%s' found; it is one of %s, %s, %sSEED", name, value, first, second, random_prefix);
  }
  return 2;
}

CudaemuOrder cudaemu_order(uint64_t *seed) {
  static const CudaemuOrder orders[] = {CUDAEMU_FORWARD, CUDAEMU_REVERSE, CUDAEMU_RANDOM};
  return orders[choice("ZERO_EMU_ORDER", "forward", "reverse", seed)];
}

CudaemuTiming cudaemu_timing(uint64_t *seed) {
  static const CudaemuTiming timings[] = {CUDAEMU_AT_ISSUE, CUDAEMU_DELAYED, CUDAEMU_AT_RANDOM};
  return timings[choice("ZERO_EMU_STREAMS", "issue", "delayed", seed)];
}

int cudaemu_float_atomics_forbidden(void) {
  const char *value = getenv("ZERO_EMU_NO_FLOAT_ATOMICS");
  return value != NULL && strcmp(value, "1") == 0;
}

const char *cudaemu_kernels_file(void) {
  return getenv("ZERO_EMU_KERNELS");
}

const char *cudaemu_counts_file(void) {
  return getenv("ZERO_EMU_COUNTS");
}

const char *cudaemu_counts_from(void) {
  return getenv("ZERO_EMU_COUNTS_FROM");
}

// The variable's value, a number of `unit`, or `built_in` where it is not set.
static uint64_t number(const char *name, const char *unit, uint64_t built_in) {
  const char *value = getenv(name);
  if (value == NULL) return built_in;
  char *end;
  uint64_t found = strtoull(value, &end, 10);
  if (end == value || *end != '\0') cudaemu_fail(NULL, 0, "%s: '%s' found; it is a number of %s", name, value, unit);
  return found;
}

size_t cudaemu_memory_bytes(void) {
  return number("ZERO_EMU_MEMORY", "bytes", (uint64_t)16 << 30);
}

int cudaemu_gpus(void) {
  int gpus = (int)number("ZERO_EMU_GPUS", "devices", number("OMPI_COMM_WORLD_LOCAL_SIZE", "ranks", 1));
  if (gpus < 1) cudaemu_fail(NULL, 0, "ZERO_EMU_GPUS: '%s' found; it is 1 or more", getenv("ZERO_EMU_GPUS"));
  return gpus;
}

double cudaemu_nccl_timeout(void) {
  return (double)number("ZERO_EMU_TIMEOUT", "seconds", 60);
}

uint64_t cudaemu_nccl_failing_call(void) {
  return number("ZERO_EMU_NCCL_FAIL", "a call, counted from 1,", 0);
}

int cudaemu_unified_memory(void) {
  const char *value = getenv("ZERO_EMU_UNIFIED");
  return value != NULL && strcmp(value, "1") == 0;
}

// ---------------------------------------------------------------- a barrier that is left out
static const char *left_out_value; // FILE:LINE; NULL: none
static size_t left_out_file_length, left_out_times;
static int left_out_line;

static void print_left_out(void) {
  fprintf(stderr, "left out: %s, %zu times\n", left_out_value, left_out_times);
}

static int read_left_out(void) {
  const char *name = "ZERO_EMU_LEAVE_OUT", *value = getenv(name);
  if (value == NULL || *value == '\0') return 1;
  const char *colon = strrchr(value, ':');
  char *end = NULL;
  if (colon != NULL) left_out_line = (int)strtol(colon + 1, &end, 10);
  if (end == NULL || *end != '\0' || left_out_line < 1) {
    cudaemu_fail(NULL, 0, "%s: '%s' found; it is FILE:LINE, as the compiler names the file", name, value);
  }
  left_out_value = value;
  left_out_file_length = (size_t)(colon - value);
  atexit(print_left_out);
  return 1;
}

int cudaemu_left_out(const char *file, int line) {
  static const int is_read = read_left_out();
  (void)is_read;
  if (line != left_out_line || strncmp(file, left_out_value, left_out_file_length) != 0) return 0;
  if (file[left_out_file_length] != '\0') return 0;
  left_out_times++;
  return 1;
}

uint64_t cudaemu_seed(uint64_t seed) {
  return seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du; // any odd pair that keeps small seeds apart
}

uint32_t cudaemu_random(uint64_t *state, uint32_t count) {
  if (*state == 0) *state = 1;
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return (uint32_t)(((*state >> 32) * count) >> 32);
}
