// The transports: sums in rank order bit by bit, gathers, control messages, traffic counts, memory.
//
// Run alone (transport self), under mpirun with any number of ranks (shm and mpi, one after the other), or with
// ZERO_COMM for one transport. Every rank runs every test; a test counts what is wrong on its rank, and all
// ranks compare the sum at its end, so that they pass or fail together and never leave each other waiting.
//
// On the emulator of CUDA (build/emu/test_comm) with ZERO_COMM=nccl and ZERO_EMU_UNIFIED=1, so that the test may give
// operations memory of the host.
//
// `test_comm --errors R`: rank R and those above it report a user error, expected exit code 1 and one line.
// `test_comm --fatal R`: rank R ends the job, expected exit code 2.
#include <mpi.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// After the headers whose types it uses.
#include <cmocka.h>

#include "zero/comm.h"
#include "zero/error.h"

#define MAX_RANKS 16
#define IN_FLIGHT 3
#define TIME_LIMIT_SECONDS 240 // a deadlock ends here

static ZeroComm *comm;     // the transport under test
static ZeroDevice *device; // whose memory it moves, where that is not the CPU's; else NULL
static int wrong;          // on this rank, in this test
static uint64_t random_state;

#define EXPECT(condition)                                                                                       \
  do {                                                                                                          \
    if (!(condition) && wrong++ < 3) {                                                                          \
      fprintf(stderr, "%s:%d: %s, rank %d of %d: %s\n", __FILE__, __LINE__, comm->name, comm->rank, comm->size, \
              #condition);                                                                                      \
    }                                                                                                           \
  } while (0)

static void finish_test(void) {
  int all = wrong;
  if (comm->size > 1) MPI_Allreduce(&wrong, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  wrong = 0;
  assert_int_equal(all, 0);
}

// xorshift64*; the same numbers on all ranks as long as all draw alike.
static uint64_t draw(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 2685821657736338717u;
}

static void random_delay(unsigned microseconds) {
  static uint64_t own_state;
  if (own_state == 0) own_state = (uint64_t)comm->rank + 77;
  uint64_t value = draw(&own_state) >> 33;
  if (value % 3 == 0) usleep((unsigned)(value / 3 % microseconds));
}

// Ranges of ceil(chunks / size) chunks, the last ones shorter or empty.
static void even_bounds(size_t total, size_t chunk, size_t *bounds) {
  size_t chunks = (total + chunk - 1) / chunk, ranks = (size_t)comm->size;
  size_t each = (chunks + ranks - 1) / ranks * chunk;
  for (size_t r = 0; r <= ranks; r++) bounds[r] = r * each < total ? r * each : total;
}

// Any borders, empty ranges in the middle too.
static void random_bounds(size_t total, size_t *bounds) {
  int size = comm->size;
  bounds[0] = 0;
  bounds[size] = total;
  for (int r = 1; r < size; r++) {
    bounds[r] = draw(&random_state) % 3 == 0 ? bounds[r - 1]
                                             : bounds[r - 1] + draw(&random_state) % (total - bounds[r - 1] + 1);
  }
}

// Rank's gradient number `salt` at element i: 24 significant bits and very different sizes, so that the order of
// a sum shows. Scaling by a power of two is exact: a compiler that fuses it into a sum changes nothing.
static float value(int rank, int salt, size_t i) {
  uint64_t state = ((uint64_t)rank + 1) * 1000003u + (uint64_t)salt * 7919u + i * 65537u + 1;
  uint64_t bits = draw(&state) >> 20;
  float size = (float)(bits % (1 << 24)) - (float)(1 << 23);
  return bits & (1 << 25) ? size * 0x1p-20f : size * 0x1p-12f;
}

static void fill(float *full, int rank, int salt, size_t total) {
  for (size_t i = 0; i < total; i++) full[i] = value(rank, salt, i);
}

static float ordered_sum(float before, int overwrite, int salt, size_t i) {
  float sum = overwrite ? value(0, salt, i) : before + value(0, salt, i);
  for (int r = 1; r < comm->size; r++) sum += value(r, salt, i);
  return sum;
}

// What was finished is done, and the host may read it and write again.
static void synchronize(void) {
  comm->device->synchronize(comm->device);
}

static int same_bits(float a, float b) {
  return memcmp(&a, &b, sizeof(a)) == 0;
}

static float *alloc_floats(size_t count) {
  return comm->alloc(comm, count * sizeof(float), ZERO_MEM_GRAD_BUFFERS);
}

// IN_FLIGHT reduces begun before the first is finished; twice: overwriting, then adding.
static void check_reduce(size_t total, const size_t *bounds) {
  size_t first = bounds[comm->rank], own = bounds[comm->rank + 1] - first;
  float *full[IN_FLIGHT], *acc[IN_FLIGHT], *expected = malloc((own + 1) * sizeof(float));
  ZeroReduce reduce[IN_FLIGHT];
  for (int k = 0; k < IN_FLIGHT; k++) {
    full[k] = alloc_floats(total);
    acc[k] = malloc((own + 1) * sizeof(float));
    acc[k][own] = 12345.0f;                             // must stay
    for (size_t i = 0; i < own; i++) acc[k][i] = 1e30f; // must go
  }
  for (int step = 0; step < 2; step++) {
    for (int k = 0; k < IN_FLIGHT; k++) {
      fill(full[k], comm->rank, 10 * step + k, total);
      reduce[k] =
          (ZeroReduce){.full = full[k], .type = ZERO_F32, .bounds = bounds, .acc = acc[k], .overwrite = step == 0};
      comm->reduce_begin(comm, &reduce[k]);
    }
    for (int k = 0; k < IN_FLIGHT; k++) comm->reduce_finish(comm, &reduce[k]);
    for (int k = 0; k < IN_FLIGHT; k++) {
      comm->reduce_reusable(comm, &reduce[k]);
      EXPECT(!reduce[k].active);
    }
    synchronize();
  }
  for (int k = 0; k < IN_FLIGHT; k++) {
    size_t differing = 0;
    for (size_t i = 0; i < own; i++) {
      expected[i] = ordered_sum(ordered_sum(0, 1, k, first + i), 0, 10 + k, first + i);
      differing += !same_bits(expected[i], acc[k][i]);
    }
    EXPECT(differing == 0);
    EXPECT(acc[k][own] == 12345.0f);
    free(acc[k]);
  }
  for (int k = 0; k < IN_FLIGHT; k++) comm->free(comm, full[k]);
  free(expected);
}

static void test_reduce_sizes(void **state) {
  (void)state;
  size_t bounds[MAX_RANKS + 1];
  const size_t totals[] = {0, 1, 5, 64, 1000, 1024, 3 * 1024 + 64, 100001, 6000001};
  for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++) {
    even_bounds(totals[i], 1024, bounds);
    check_reduce(totals[i], bounds);
    even_bounds(totals[i], 1, bounds);
    check_reduce(totals[i], bounds);
  }
  for (int i = 0; i < 20; i++) {
    size_t total = 1 + draw(&random_state) % 5000;
    random_bounds(total, bounds);
    check_reduce(total, bounds);
  }
  finish_test();
}

// The values are such that another order of adding gives other bits: else the test above shows little.
static void test_order_matters(void **state) {
  (void)state;
  int differing = 0;
  for (size_t i = 0; i < 1000; i++) {
    float backwards = 0;
    for (int r = comm->size - 1; r >= 0; r--) backwards += value(r, 1, i);
    differing += !same_bits(backwards, ordered_sum(0, 1, 1, i));
  }
  EXPECT(comm->size < 3 || differing > 50);
  finish_test();
}

// Two buffers in turn, refilled as soon as they are reusable, ranks out of step.
static void test_reduce_reuse(void **state) {
  (void)state;
  enum { TOTAL = 3001, ROUNDS = 400, BUFFERS = 2 };
  size_t bounds[MAX_RANKS + 1];
  even_bounds(TOTAL, 64, bounds);
  size_t first = bounds[comm->rank], own = bounds[comm->rank + 1] - first;
  float *full[BUFFERS];
  for (int b = 0; b < BUFFERS; b++) full[b] = alloc_floats(TOTAL);
  float *acc = calloc(own + 1, sizeof(float)), *expected = calloc(own + 1, sizeof(float));
  ZeroReduce reduce[BUFFERS];
  memset(reduce, 0, sizeof(reduce));
  for (int round = 0; round < ROUNDS + BUFFERS; round++) {
    int b = round % BUFFERS;
    if (reduce[b].active) {
      comm->reduce_finish(comm, &reduce[b]);
      synchronize();
      for (size_t i = 0; i < own; i++)
        expected[i] = ordered_sum(expected[i], (round - BUFFERS) % 5 == 0, round - BUFFERS, first + i);
      EXPECT(memcmp(acc, expected, own * sizeof(float)) == 0);
      random_delay(300);
      comm->reduce_reusable(comm, &reduce[b]);
    }
    if (round >= ROUNDS) continue;
    random_delay(300);
    fill(full[b], comm->rank, round, TOTAL);
    reduce[b] =
        (ZeroReduce){.full = full[b], .type = ZERO_F32, .bounds = bounds, .acc = acc, .overwrite = round % 5 == 0};
    comm->reduce_begin(comm, &reduce[b]);
  }
  for (int b = 0; b < BUFFERS; b++) comm->free(comm, full[b]);
  free(acc);
  free(expected);
  finish_test();
}

static void barrier(void) {
  double mine = comm->rank, all[MAX_RANKS];
  size_t offsets[MAX_RANKS + 1];
  for (size_t r = 0; r <= (size_t)comm->size; r++) offsets[r] = r;
  comm->control_gather(comm, &mine, all, offsets);
  for (int r = 0; r < comm->size; r++) EXPECT(all[r] == r);
}

static size_t wrong_elements(const float *full, int salt, const size_t *bounds) {
  size_t differing = 0;
  for (int r = 0; r < comm->size; r++) {
    for (size_t i = bounds[r]; i < bounds[r + 1]; i++) differing += !same_bits(full[i], value(r, salt, i));
  }
  return differing;
}

// Two units gathered at once, `rounds` times with new values. in_place: the shards lie in the whole buffers.
static void check_gather(size_t total, const size_t *bounds, int in_place, int rounds) {
  enum { UNITS = 2 };
  size_t first = bounds[comm->rank], own = bounds[comm->rank + 1] - first;
  float *full[UNITS], *shard[UNITS];
  ZeroGather gather[UNITS];
  for (int u = 0; u < UNITS; u++) {
    full[u] = in_place ? alloc_floats(total) : malloc((total + 1) * sizeof(float));
    shard[u] = in_place ? full[u] + first : alloc_floats(own);
  }
  for (int round = 0; round < rounds; round++) {
    for (int u = 0; u < UNITS; u++) {
      for (size_t i = 0; i < total && !in_place; i++) full[u][i] = 1e30f;
      for (size_t i = 0; i < own; i++) shard[u][i] = value(comm->rank, 2 * round + u, first + i);
    }
    if (rounds > 1) random_delay(300);
    comm->publish(comm);
    for (int u = 0; u < UNITS; u++) {
      gather[u] = (ZeroGather){
          .shard = shard[u], .full = full[u], .type = ZERO_F32, .bounds = bounds, .wire = ZERO_WIRE_GATHER};
      comm->gather_begin(comm, &gather[u]);
    }
    for (int u = 0; u < UNITS; u++) {
      comm->gather_finish(comm, &gather[u]);
      EXPECT(!gather[u].active);
      synchronize();
      EXPECT(wrong_elements(full[u], 2 * round + u, bounds) == 0);
      if (rounds > 1) random_delay(300);
    }
    barrier();
  }
  for (int u = 0; u < UNITS; u++) {
    comm->free(comm, in_place ? full[u] : shard[u]);
    if (!in_place) free(full[u]);
  }
}

static void test_gather(void **state) {
  (void)state;
  size_t bounds[MAX_RANKS + 1];
  const size_t totals[] = {0, 1, 3 * 1024 + 64, 100001, 3000001};
  for (int in_place = 0; in_place < 2; in_place++) {
    for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++) {
      even_bounds(totals[i], 1024, bounds);
      check_gather(totals[i], bounds, in_place, 1);
    }
    for (int i = 0; i < 20; i++) {
      size_t total = 1 + draw(&random_state) % 5000;
      random_bounds(total, bounds);
      check_gather(total, bounds, in_place, 1);
    }
    even_bounds(1001, 64, bounds);
    check_gather(1001, bounds, in_place, 200);
  }
  finish_test();
}

static void test_traffic(void **state) {
  (void)state;
  enum { TOTAL = 700001 };
  size_t bounds[MAX_RANKS + 1];
  even_bounds(TOTAL, 1024, bounds);
  size_t own = bounds[comm->rank + 1] - bounds[comm->rank], peers = (size_t)comm->size - 1;
  float *full = alloc_floats(TOTAL), *acc = malloc((own + 1) * sizeof(float));
  barrier();
  comm->reset_sent(comm);
  for (int wire = 0; wire < ZERO_WIRE_CATEGORIES; wire++) EXPECT(comm->sent(comm, wire) == 0);

  for (int k = 0; k < 3; k++) {
    ZeroReduce reduce = {.full = full, .type = ZERO_F32, .bounds = bounds, .acc = acc, .overwrite = 1};
    comm->reduce_begin(comm, &reduce);
    comm->reduce_finish(comm, &reduce);
    comm->reduce_reusable(comm, &reduce);
  }
  ZeroGather gather = {.shard = full + bounds[comm->rank], .full = full, .type = ZERO_F32, .bounds = bounds};
  gather.wire = ZERO_WIRE_GATHER;
  comm->publish(comm);
  comm->gather_begin(comm, &gather);
  comm->gather_finish(comm, &gather);
  // Once more from a shard elsewhere: copying one's own range into place is no traffic. Outside a step.
  gather.wire = ZERO_WIRE_OUTSIDE;
  gather.shard = alloc_floats(own);
  comm->publish(comm);
  comm->gather_begin(comm, &gather);
  comm->gather_finish(comm, &gather);
  barrier();
  comm->free(comm, (void *)(uintptr_t)gather.shard);
  EXPECT(comm->sent(comm, ZERO_WIRE_REDUCE) == (comm->size > 1 ? 3 * (TOTAL - own) * 4 : 0));
  EXPECT(comm->sent(comm, ZERO_WIRE_GATHER) == peers * own * 4);
  EXPECT(comm->sent(comm, ZERO_WIRE_OUTSIDE) == peers * own * 4);

  comm->reset_sent(comm);
  double some[3] = {1, 2, 3}, all[3 * MAX_RANKS];
  size_t offsets[MAX_RANKS + 1];
  for (size_t r = 0; r <= (size_t)comm->size; r++) offsets[r] = 3 * r;
  comm->control_gather(comm, some, all, offsets);
  char bytes[100] = {0}, out[100];
  comm->control_broadcast(comm, bytes, sizeof(bytes));
  for (int r = 0; r < comm->size; r++) comm->control_collect(comm, r, bytes, out, 10);
  comm->publish(comm);
  for (size_t r = 0; r <= (size_t)comm->size; r++) offsets[r] = 0;
  comm->control_gather(comm, some, all, offsets); // carries nothing: a barrier alone
  size_t expected = peers * 3 * 8 + (comm->rank == 0 ? peers * 100 : 10);
  EXPECT(comm->sent(comm, ZERO_WIRE_CONTROL) == expected);
  EXPECT(comm->sent(comm, ZERO_WIRE_REDUCE) == 0);
  comm->free(comm, full);
  free(acc);
  finish_test();
}

// Rank r gives counts[r] doubles.
static void check_control_gather(const size_t *counts, int salt) {
  size_t offsets[MAX_RANKS + 1] = {0};
  for (int r = 0; r < comm->size; r++) offsets[r + 1] = offsets[r] + counts[r];
  size_t total = offsets[comm->size], own = counts[comm->rank];
  double *mine = malloc((own + 1) * sizeof(double)), *all = malloc((total + 1) * sizeof(double));
  all[total] = -5.0;
  for (size_t i = 0; i < own; i++) mine[i] = value(comm->rank, salt, i);
  comm->control_gather(comm, mine, all, offsets);
  size_t differing = 0;
  for (int r = 0; r < comm->size; r++) {
    for (size_t i = 0; i < counts[r]; i++) differing += all[offsets[r] + i] != (double)value(r, salt, i);
  }
  EXPECT(differing == 0);
  EXPECT(all[total] == -5.0);
  free(mine);
  free(all);
}

static void test_control(void **state) {
  (void)state;
  size_t counts[MAX_RANKS];
  for (int round = 0; round < 300; round++) {
    for (int r = 0; r < comm->size; r++) {
      uint64_t kind = draw(&random_state) % 20;
      counts[r] = kind == 0 ? 50000 : kind < 5 ? 0 : draw(&random_state) % 40; // 50000: more than one round of shm
    }
    random_delay(200);
    check_control_gather(counts, round);
  }
  enum { BYTES = 300001 }; // more than one round of shm
  unsigned char *data = malloc(BYTES), *out = malloc(BYTES);
  for (int round = 0; round < 20; round++) {
    for (size_t i = 0; i < BYTES; i++) data[i] = comm->rank == 0 ? (unsigned char)(i * 7 + (size_t)round) : 0;
    random_delay(200);
    comm->control_broadcast(comm, data, BYTES);
    size_t differing = 0;
    for (size_t i = 0; i < BYTES; i++) differing += data[i] != (unsigned char)(i * 7 + (size_t)round);
    for (int from = 0; from < comm->size; from++) {
      for (size_t i = 0; i < BYTES; i++) data[i] = (unsigned char)(i * 3 + (size_t)(round + comm->rank));
      memset(out, 0, BYTES);
      comm->control_collect(comm, from, data, comm->rank == 0 ? out : NULL, BYTES);
      for (size_t i = 0; i < BYTES && comm->rank == 0; i++)
        differing += out[i] != (unsigned char)(i * 3 + (size_t)(round + from));
    }
    EXPECT(differing == 0);
  }
  free(data);
  free(out);
  finish_test();
}

static double seconds(void) { // one clock for all ranks of a node
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// What only a barrier gives: nobody is through before the last one has come.
static void test_barrier(void **state) {
  (void)state;
  if (comm->size > 1) {
    for (int round = 0; round < 20; round++) {
      int late = round % comm->size;
      if (comm->rank == late) usleep(3000);
      double arrived = seconds(), left, last;
      barrier();
      left = seconds();
      MPI_Allreduce(&arrived, &last, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
      if (comm->node_size == comm->size) EXPECT(left >= last);
    }
  }
  finish_test();
}

static void test_memory(void **state) {
  (void)state;
  enum { COUNT = 300 };
  size_t before = zero_ledger_now(ZERO_MEM_GRADIENTS), window = zero_ledger_window(), sum = 0;
  char *blocks[COUNT];
  int shared = strcmp(comm->name, "shm") == 0 && comm->size > 1;
  for (int pass = 0; pass < 2; pass++) {
    if (pass == 1) zero_comm_reserve(comm, 50000);
    sum = 0;
    for (int k = 0; k < COUNT; k++) {
      size_t bytes = k % 7 == 0 ? 0 : (size_t)(k * 13 + comm->rank * 5) % 5000; // other sizes on other ranks
      if (k == COUNT / 2) bytes = (size_t)(comm->rank + 1) * 3000000;           // does not fit the window at hand
      blocks[k] = comm->alloc(comm, bytes, ZERO_MEM_GRADIENTS);
      sum += bytes;
      EXPECT(blocks[k] != NULL);
      EXPECT(bytes == 0 || (uintptr_t)blocks[k] % 64 == 0);
      size_t dirty = 0;
      for (size_t i = 0; i < bytes; i++) dirty += blocks[k][i] != 0;
      EXPECT(dirty == 0);
      memset(blocks[k], 0xa5, bytes);
    }
    EXPECT(zero_ledger_now(ZERO_MEM_GRADIENTS) == before + sum);
    EXPECT(zero_ledger_window() == window + (shared ? sum : 0));
    for (int k = 0; k < COUNT; k++) comm->free(comm, blocks[(k * 7) % COUNT]);
    EXPECT(zero_ledger_now(ZERO_MEM_GRADIENTS) == before);
    EXPECT(zero_ledger_window() == window);
  }
  finish_test();
}

// Shared windows lie where they can be made of huge pages, this rank's and its peers', and leave no name behind.
static void test_windows(void **state) {
  const size_t huge_page = (size_t)2 << 20, bytes = (size_t)9 << 20; // no multiple of each other
  const char *name = *state;
  char *block = comm->alloc(comm, bytes, ZERO_MEM_OTHER);
  memset(block, 1, bytes);
  barrier();
  int large = 0, named = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  EXPECT(maps != NULL);
  char line[512];
  while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
    const char *path = strstr(line, "/zero-");
    if (path == NULL) continue;
    char *end;
    const unsigned long long first = strtoull(line, &end, 16), last = strtoull(end + 1, NULL, 16);
    named += strstr(path, " (deleted)") == NULL;
    if (last - first < bytes) continue;
    large++;
    EXPECT(first % huge_page == 0 && last % huge_page == 0);
  }
  if (maps != NULL) EXPECT(fclose(maps) == 0);
  EXPECT(named == 0);
  EXPECT(large == (strcmp(name, "shm") == 0 && comm->size > 1 ? comm->size : 0));
  comm->free(comm, block);
  finish_test();
}

static int setup(void **state) {
  random_state = 42;
  wrong = 0;
  comm = zero_comm_create(*state);
#ifdef ZERO_CUDA
  comm->device = device = zero_device_cuda(comm);
#endif
  zero_comm_reserve(comm, 0);
  EXPECT(*state == NULL || strcmp(comm->name, *state) == 0);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  zero_comm_destroy(comm);
  zero_device_destroy(device);
  device = NULL;
  return 0;
}

// A shm that nobody asked for by name gives way to mpi where the file system is too small.
static void test_fallback(void **state) {
  (void)state;
  EXPECT(strcmp(comm->name, comm->size > 1 ? "shm" : "self") == 0);
  setenv("ZERO_SHM_LIMIT", "20000000", 1);
  zero_comm_reserve(comm, 1000000);
  EXPECT(strcmp(comm->name, comm->size > 1 ? "shm" : "self") == 0);
  zero_comm_reserve(comm, 20000000 / (size_t)comm->size);
  EXPECT(strcmp(comm->name, comm->size > 1 ? "mpi" : "self") == 0);
  size_t bounds[MAX_RANKS + 1];
  even_bounds(5000, 64, bounds);
  check_reduce(5000, bounds);
  check_gather(5000, bounds, 1, 2);
  ZeroComm *first = comm;
  setenv("ZERO_SHM_LIMIT", "100000", 1);
  comm = zero_comm_create(NULL);
  EXPECT(strcmp(comm->name, comm->size > 1 ? "mpi" : "self") == 0);
  barrier();
  unsetenv("ZERO_SHM_LIMIT");
  zero_comm_destroy(comm);
  comm = first;
  finish_test();
}

static int run_tests_of(const char *name) {
  static char title[64];
  void *transport = (void *)(uintptr_t)name;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate_setup_teardown(test_order_matters, setup, teardown, transport),
      cmocka_unit_test_prestate_setup_teardown(test_reduce_sizes, setup, teardown, transport),
      cmocka_unit_test_prestate_setup_teardown(test_reduce_reuse, setup, teardown, transport),
      cmocka_unit_test_prestate_setup_teardown(test_gather, setup, teardown, transport),
      cmocka_unit_test_prestate_setup_teardown(test_traffic, setup, teardown, transport),
      cmocka_unit_test_prestate_setup_teardown(test_control, setup, teardown, transport),
      cmocka_unit_test_prestate_setup_teardown(test_barrier, setup, teardown, transport),
      cmocka_unit_test_prestate_setup_teardown(test_memory, setup, teardown, transport),
      cmocka_unit_test_prestate_setup_teardown(test_windows, setup, teardown, transport),
  };
  snprintf(title, sizeof(title), "comm %s", name);
  return cmocka_run_group_tests_name(title, tests, NULL, NULL);
}

static int run_tests_of_choice(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_fallback, setup, teardown)};
  return cmocka_run_group_tests_name("comm chosen", tests, NULL, NULL);
}

// The modes that end in an error.
static int end_in_error(const char *mode, int rank) {
  comm = zero_comm_create(NULL);
  if (strcmp(mode, "--fatal") == 0) {
    if (comm->rank == rank) zero_fatal("expected to end, on purpose; hint: none");
    barrier();
  } else {
    ZeroErrors errors = {0};
    zero_errors_check(&errors, comm); // no rank has one: goes on
    if (comm->rank >= rank)
      zero_errors_add(&errors, "key 'x': found rank %d, expected less than %d", comm->rank, rank);
    if (comm->rank >= rank) zero_errors_add(&errors, "key 'y': the second of two");
    zero_errors_check(&errors, comm);
  }
  zero_comm_destroy(comm);
  return 0;
}

int main(int argc, char **argv) {
  alarm(TIME_LIMIT_SECONDS);
  if (argc == 3) return end_in_error(argv[1], atoi(argv[2]));

  // MPI starts once per process and several communicators are made: so it is started here.
  const char *forced = getenv("ZERO_COMM");
  int launched = getenv("OMPI_COMM_WORLD_SIZE") != NULL || getenv("PMI_SIZE") != NULL;
  if (forced != NULL && strcmp(forced, "self") != 0) launched = 1; // alone with MPI
  int rank = 0, size = 1;
  if (launched) {
    int provided;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (rank != 0) { // quiet: what is wrong on this rank is on stderr, the verdict is rank 0's too
      if (freopen("/dev/null", "w", stdout) == NULL) return 2;
      cmocka_set_message_output(CM_OUTPUT_TAP);
    }
  }
  int failed = 0;
  if (forced != NULL) {
    failed += run_tests_of(forced);
  } else {
    if (size == 1) failed += run_tests_of("self");
    if (launched) failed += run_tests_of("shm") + run_tests_of("mpi");
    failed += run_tests_of_choice();
  }
  if (launched) MPI_Finalize();
  return failed > 0;
}
