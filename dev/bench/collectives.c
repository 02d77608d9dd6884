// The transport shm against Open MPI's own collectives, and the bandwidth of memory that bounds both.
//
//   scripts/run.sh NP build/bench_collectives ROUNDS COPY_MIB THREADS [MIB...]
//
// Prints `copy NP THREADS GB/s`: bytes read and written per second while every rank copies COPY_MIB from one place to
// another, the median of ROUNDS. Then for each MIB, the size of the whole unit (fp32), one line of each kind, the
// medians of ROUNDS in which a copy, ours, a copy and Open MPI's take turns. copied-MB is what the two copies of the
// same round, the one just before and the one just after, would have moved on average while ours ran: a virtual
// machine's cores move, and its bandwidth with them, within seconds, so that a bound of another second would say
// nothing.
//
//   reduce_scatter NP MIB ours-ms mpi-ms copied-MB        gather NP MIB ours-ms mpi-ms copied-MB
//
// Every result is compared with what it must be, ours and Open MPI's: sums of small whole numbers are exact.
#include <mpi.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llmc/launch.h"
#include "zero/comm.h"
#include "zero/error.h"
#include "zero/memory.h"

#define MIB ((size_t)1 << 20)
// Of each kind and round: calls are repeated to make up so much, so that the first one, after a copy that has left
// nothing of the unit in a cache, weighs little.
static const size_t BYTES_OF_ROUND = 128 * MIB;
enum { VALUES = 61 }; // different numbers of a buffer, from 0
enum { FIGURES = 3 }; // of a round: ours, Open MPI's, what was copied

typedef struct {
  ZeroComm *comm;
  size_t total;         // fp32 elements of the unit, a multiple of the number of ranks
  size_t *bounds;       // (ranks + 1)
  float *shared;        // (total) in memory from comm->alloc
  float *own, *mpi_own; // (total / ranks) the sums
  float *mpi_full;      // (total)
} Buffers;

static const char USAGE[] = "usage: bench_collectives ROUNDS COPY_MIB THREADS [MIB...]";

static size_t positive(const char *text) {
  char *end;
  const long long value = strtoll(text, &end, 10);
  if (*end != '\0' || value < 1) {
    zero_fatal("bench_collectives: '%s' found; give a whole number of 1 or more; %s", text, USAGE);
  }
  return (size_t)value;
}

static void check_mpi(int code, const char *call) {
  if (code != MPI_SUCCESS) zero_fatal("%s failed with code %d", call, code);
}
#define CHECK_MPI(call) check_mpi((call), #call)

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, by_value);
  return (values[(count - 1) / 2] + values[count / 2]) / 2.0;
}

static void barrier(const ZeroComm *comm) {
  if (comm->size > 1) CHECK_MPI(MPI_Barrier(MPI_COMM_WORLD));
}

// ---------------------------------------------------------------- the bandwidth of memory

typedef struct {
  size_t bytes;
  char *from, *to; // (bytes)
} Copy;

static Copy copy_create(size_t bytes) {
  Copy copy = {.bytes = bytes, .from = zero_malloc(bytes, ZERO_MEM_OTHER), .to = zero_malloc(bytes, ZERO_MEM_OTHER)};
  memset(copy.from, 1, bytes);
  return copy;
}

static void copy_destroy(const Copy *copy) {
  if (memcmp(copy->from, copy->to, copy->bytes) != 0) zero_fatal("the copy is not what was copied");
  zero_free(copy->from);
  zero_free(copy->to);
}

// Bytes that all ranks read and write per second.
static double copy_once(const ZeroComm *comm, const Copy *copy) {
  barrier(comm);
  const double start = omp_get_wtime();
#pragma omp parallel
  {
    const size_t thread = (size_t)omp_get_thread_num(), threads = (size_t)omp_get_num_threads();
    const size_t first = copy->bytes * thread / threads, end = copy->bytes * (thread + 1) / threads;
    comm->device->copy(comm->device, copy->to + first, copy->from + first, end - first);
  }
  barrier(comm);
  return 2.0 * (double)copy->bytes * (double)comm->size / (omp_get_wtime() - start);
}

// The median of `rounds`, after one that does not count.
static double copy_bandwidth(const ZeroComm *comm, const Copy *copy, size_t rounds, double *found) { // found (rounds)
  (void)copy_once(comm, copy);
  for (size_t round = 0; round < rounds; round++) found[round] = copy_once(comm, copy);
  return median(found, rounds);
}

// ---------------------------------------------------------------- the collectives

static float value(int rank, size_t i) {
  return (float)((i + (size_t)rank) % VALUES);
}

static void fill(const Buffers *b) {
  for (size_t i = 0; i < b->total; i++) b->shared[i] = b->mpi_full[i] = value(b->comm->rank, i);
}

static void check_sums(const Buffers *b, const float *sums, const char *whose) {
  const size_t first = b->bounds[b->comm->rank], end = b->bounds[b->comm->rank + 1];
  for (size_t i = first; i < end; i++) {
    float expected = 0.0f;
    for (int r = 0; r < b->comm->size; r++) expected += value(r, i);
    if (sums[i - first] != expected) {
      zero_fatal("%s reduce-scatter of %zu elements: element %zu is %g, not %g", whose, b->total, i,
                 (double)sums[i - first], (double)expected);
    }
  }
}

// Leaves of a buffer its rank's own range.
static void forget_peers(const Buffers *b, float *full) {
  const size_t first = b->bounds[b->comm->rank], end = b->bounds[b->comm->rank + 1];
  memset(full, 0, first * sizeof *full);
  memset(full + end, 0, (b->total - end) * sizeof *full);
}

static void check_gathered(const Buffers *b, const float *full, const char *whose) {
  for (int r = 0; r < b->comm->size; r++) {
    for (size_t i = b->bounds[r]; i < b->bounds[r + 1]; i++) {
      if (full[i] != value(r, i)) {
        zero_fatal("%s all-gather of %zu elements: element %zu is %g, not %g", whose, b->total, i, (double)full[i],
                   (double)value(r, i));
      }
    }
  }
}

static void our_reduce(Buffers *b) {
  ZeroReduce reduce = {
      .full = b->shared, .type = ZERO_F32, .bounds = b->bounds, .acc = b->own, .acc_type = ZERO_F32, .overwrite = 1};
  b->comm->reduce_begin(b->comm, &reduce);
  b->comm->reduce_finish(b->comm, &reduce);
  b->comm->reduce_reusable(b->comm, &reduce);
}

static void mpi_reduce(Buffers *b) {
  const int each = (int)(b->total / (size_t)b->comm->size);
  CHECK_MPI(MPI_Reduce_scatter_block(b->mpi_full, b->mpi_own, each, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD));
}

static void our_gather(Buffers *b) {
  ZeroGather gather = {.shard = b->shared + b->bounds[b->comm->rank],
                       .full = b->shared,
                       .type = ZERO_F32,
                       .bounds = b->bounds,
                       .wire = ZERO_WIRE_GATHER};
  b->comm->publish(b->comm);
  b->comm->gather_begin(b->comm, &gather);
  b->comm->gather_finish(b->comm, &gather);
}

static void mpi_gather(Buffers *b) {
  const int each = (int)(b->total / (size_t)b->comm->size);
  CHECK_MPI(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, b->mpi_full, each, MPI_FLOAT, MPI_COMM_WORLD));
}

// Seconds of one call, the slowest rank's.
static double time_calls(Buffers *b, void (*call)(Buffers *), size_t times) {
  barrier(b->comm);
  const double start = omp_get_wtime();
  for (size_t i = 0; i < times; i++) call(b);
  barrier(b->comm);
  return (omp_get_wtime() - start) / (double)times;
}

// All three in turns; one call of each before, whose results are what is checked.
static void compare(Buffers *b, const char *kind, void (*ours)(Buffers *), void (*mpi)(Buffers *), size_t bytes,
                    const Copy *copy, size_t rounds, double *found) { // found (FIGURES, rounds)
  const size_t times = (BYTES_OF_ROUND + bytes - 1) / bytes;
  double *our_seconds = found, *mpi_seconds = found + rounds, *copied = found + 2 * rounds;
  for (size_t round = 0; round < rounds; round++) {
    const double before = copy_once(b->comm, copy);
    our_seconds[round] = time_calls(b, ours, times);
    const double after = copy_once(b->comm, copy);
    mpi_seconds[round] = time_calls(b, mpi, times);
    copied[round] = (before + after) / 2.0 * our_seconds[round];
  }
  if (b->comm->rank != 0) return;
  printf("%s %d %zu %.4f %.4f %.4f\n", kind, b->comm->size, bytes / MIB, 1e3 * median(our_seconds, rounds),
         1e3 * median(mpi_seconds, rounds), 1e-6 * median(copied, rounds));
  fflush(stdout);
}

static void run_size(ZeroComm *comm, size_t bytes, const Copy *copy, size_t rounds, double *found) {
  const size_t ranks = (size_t)comm->size, each = bytes / sizeof(float) / ranks;
  Buffers b = {.comm = comm, .total = each * ranks};
  b.bounds = zero_malloc((ranks + 1) * sizeof *b.bounds, ZERO_MEM_OTHER);
  for (size_t r = 0; r <= ranks; r++) b.bounds[r] = r * each;
  b.shared = comm->alloc(comm, b.total * sizeof(float), ZERO_MEM_OTHER);
  b.mpi_full = zero_malloc(b.total * sizeof(float), ZERO_MEM_OTHER);
  b.own = zero_malloc(each * sizeof(float), ZERO_MEM_OTHER);
  b.mpi_own = zero_malloc(each * sizeof(float), ZERO_MEM_OTHER);

  fill(&b);
  our_reduce(&b);
  mpi_reduce(&b);
  check_sums(&b, b.own, "our");
  check_sums(&b, b.mpi_own, "MPI's");
  compare(&b, "reduce_scatter", our_reduce, mpi_reduce, bytes, copy, rounds, found);

  barrier(comm);
  forget_peers(&b, b.shared);
  forget_peers(&b, b.mpi_full);
  our_gather(&b);
  mpi_gather(&b);
  check_gathered(&b, b.shared, "our");
  check_gathered(&b, b.mpi_full, "MPI's");
  compare(&b, "gather", our_gather, mpi_gather, bytes, copy, rounds, found);

  zero_free(b.bounds);
  zero_free(b.mpi_full);
  zero_free(b.own);
  zero_free(b.mpi_own);
  comm->free(comm, b.shared);
}

int main(int argc, char **argv) {
  const int first_size = 4;
  if (argc < first_size) zero_fatal("bench_collectives: %d arguments found; %s", argc - 1, USAGE);
  const size_t rounds = positive(argv[1]), copied = positive(argv[2]) * MIB;
  double share; // more ranks than cores are measured too
  const int threads = launch_threads((int)positive(argv[3]), 1, argv, &share);
  ZeroComm *comm = zero_comm_create(NULL);
  double *found = zero_malloc(FIGURES * rounds * sizeof *found, ZERO_MEM_OTHER);
  const Copy copy = copy_create(copied);
  const double bandwidth = copy_bandwidth(comm, &copy, rounds, found);
  if (comm->rank == 0) printf("copy %d %d %.3f\n", comm->size, threads, 1e-9 * bandwidth);
  if (argc > first_size) {
    if (comm->size == 1) zero_fatal("bench_collectives: one rank has no peers; start it by scripts/run.sh 2 …");
    if (strcmp(comm->name, "shm") != 0) {
      zero_fatal("bench_collectives: transport %s found where shm was expected; is ZERO_COMM set?", comm->name);
    }
  }
  for (int i = first_size; i < argc; i++) run_size(comm, positive(argv[i]) * MIB, &copy, rounds, found);
  copy_destroy(&copy);
  zero_free(found);
  zero_comm_destroy(comm);
  return 0;
}
