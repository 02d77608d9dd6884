// Threads and cores of one rank.
#define _GNU_SOURCE // sched.h: affinity of any number of processors
#include "launch.h"

#include <errno.h>
#include <limits.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_CPUS = 8192 }; // the kernel's own limit is 8192

// Tells the program that it has executed itself: "PID THREADS SHARE". A process started by it has another PID.
static const char GUARD[] = "ZERO_LAUNCHED";

typedef struct {
  int launched;   // by mpirun or srun?
  int rank, size; // on this node
} Node;

typedef struct {
  int cpus[MAX_CPUS]; // their numbers, ascending
  int count;
} Cores;

// ---------------------------------------------------------------------------------------------------
// Who is on this node

// The number that an environment variable begins with, or -1: Slurm's "4(x2)" is 4.
static int env_number(const char *name) {
  const char *text = getenv(name);
  if (text == NULL || text[0] < '0' || text[0] > '9') return -1;
  const long number = strtol(text, NULL, 10);
  return number <= MAX_CPUS ? (int)number : -1;
}

static Node find_node(int ranks_here) {
  static const char *const variables[][2] = {
      {"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"}, // Open MPI
      {"MPI_LOCALRANKID", "MPI_LOCALNRANKS"},                       // MPICH, Intel MPI
      {"SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"},               // srun
  };
  for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
    const int rank = env_number(variables[i][0]), size = env_number(variables[i][1]);
    if (rank >= 0 && size > rank) return (Node){.launched = 1, .rank = rank, .size = size};
  }
  return (Node){.launched = 0, .rank = 0, .size = ranks_here};
}

// ---------------------------------------------------------------------------------------------------
// Affinity

static int set_affinity(const int *cpus, int count) {
  cpu_set_t *set = CPU_ALLOC(MAX_CPUS);
  if (set == NULL) return -1;
  const size_t bytes = CPU_ALLOC_SIZE(MAX_CPUS);
  CPU_ZERO_S(bytes, set);
  for (int i = 0; i < count; i++) CPU_SET_S((size_t)cpus[i], bytes, set);
  const int status = sched_setaffinity(0, bytes, set);
  CPU_FREE(set);
  return status;
}

static void get_affinity(Cores *cores) {
  cores->count = 0;
  cpu_set_t *set = CPU_ALLOC(MAX_CPUS);
  const size_t bytes = CPU_ALLOC_SIZE(MAX_CPUS);
  if (set != NULL && sched_getaffinity(0, bytes, set) == 0) {
    for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
      if (CPU_ISSET_S((size_t)cpu, bytes, set)) cores->cpus[cores->count++] = cpu;
    }
  }
  if (set != NULL) CPU_FREE(set);
  if (cores->count == 0) cores->cpus[cores->count++] = 0; // unknown: the one that we run on
}

// Asks for every processor there could be; the kernel leaves those that the container allows.
static void widen_affinity(void) {
  int all[MAX_CPUS];
  for (int cpu = 0; cpu < MAX_CPUS; cpu++) all[cpu] = cpu;
  if (set_affinity(all, MAX_CPUS) != 0) {
    fprintf(stderr, "notice: the launcher's core binding cannot be widened: %s\n", strerror(errno));
  }
}

// ---------------------------------------------------------------------------------------------------
// What OpenMP reads when it is loaded

static int user_places_threads(void) {
  return getenv("OMP_PLACES") != NULL || getenv("GOMP_CPU_AFFINITY") != NULL;
}

// Sets a variable that the user did not set. Returns 1 if it did.
static int set_default(const char *name, const char *value) {
  if (getenv(name) != NULL) return 0;
  return setenv(name, value, 1) == 0;
}

// Returns only if it fails: then OpenMP goes on with the settings that it was loaded with, slower but right.
static void execute_again(int threads, double share, char **argv) {
  char guard[64];
  snprintf(guard, sizeof guard, "%ld %d %.17g", (long)getpid(), threads, share);
  // By its own path rather than /proc/self/exe, whose name, exe, is what ps and pkill would then see.
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length > 0 && setenv(GUARD, guard, 1) == 0) {
    path[length] = '\0';
    execv(path, argv);
  }
  fprintf(stderr, "notice: the program cannot execute itself to set up its threads: %s\n", strerror(errno));
}

// The number of threads that the first execution chose, with their share of the cores, or 0 if this is the first.
static int threads_of_first_execution(double *share) {
  const char *guard = getenv(GUARD);
  long pid = 0;
  int threads = 0;
  if (guard == NULL || sscanf(guard, "%ld %d %lf", &pid, &threads, share) != 3 || pid != (long)getpid()) return 0;
  return threads;
}

// share: of launch_threads.
static void prepare(const Node *node, const Cores *cores, int threads, double share, char **argv) {
  const int fits = share == 1.0;
  if (node->launched && fits && !user_places_threads()) {
    // This rank's own cores. On failure it shares all of them, which is slower but right.
    if (set_affinity(cores->cpus + node->rank * threads, threads) != 0) {
      fprintf(stderr, "notice: rank %d of this node cannot be bound to its cores: %s\n", node->rank, strerror(errno));
    }
  }
  if (threads == 1) return;     // nothing of what follows matters to one thread
  int changed = node->launched; // the affinity that OpenMP was loaded with is no longer true
  if (!fits) {
    changed |= set_default("OMP_WAIT_POLICY", "passive");
  } else if (!user_places_threads() && (node->launched || threads == cores->count)) {
    // Without a launcher only where the program takes every core: bound to some, two such programs
    // started side by side would sit on the same ones.
    changed |= set_default("OMP_PROC_BIND", "true");
  }
  if (changed) execute_again(threads, share, argv);
}

int launch_threads(int threads, int ranks_here, char **argv, double *share) {
  const int chosen = threads_of_first_execution(share);
  if (chosen > 0) {
    threads = chosen;
  } else {
    const Node node = find_node(ranks_here);
    if (node.launched) widen_affinity();
    Cores cores;
    get_affinity(&cores);
    if (threads <= 0) threads = cores.count >= node.size ? cores.count / node.size : 1;
    const double wanted = (double)node.size * threads;
    *share = wanted > cores.count ? cores.count / wanted : 1.0;
    prepare(&node, &cores, threads, *share, argv);
  }
  omp_set_num_threads(threads);
  return threads;
}
