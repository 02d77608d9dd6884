// What a start without MPI is told by the environment.
#include "comm_start.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

int zero_start_launcher_present(void) {
  static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};
  for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
    if (getenv(variables[i]) != NULL) return 1;
  }
  return 0;
}

// The whole of a variable as a number from 0 to INT_MAX, or -1.
static int number_in(const char *variable) {
  const char *text = getenv(variable);
  if (text == NULL || text[0] < '0' || text[0] > '9') return -1;
  char *end;
  const long number = strtol(text, &end, 10);
  return *end == '\0' && number <= INT_MAX ? (int)number : -1;
}

int zero_start_launched(ZeroStart *start) {
  static const char *const variables[][2] = {{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                             {"PMI_RANK", "PMI_SIZE"},
                                             {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};
  for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
    const int rank = number_in(variables[i][0]), ranks = number_in(variables[i][1]);
    if (rank < 0 || ranks <= rank) continue;
    *start = (ZeroStart){.ranks = ranks, .rank = rank};
    return 1;
  }
  return 0;
}

double zero_start_seconds(const char *variable, double built_in) {
  const char *value = getenv(variable);
  if (value == NULL || value[0] == '\0') return built_in;
  char *end;
  const double found = strtod(value, &end);
  if (end == value || *end != '\0' || !(found > 0)) {
    zero_fatal("%s: '%s' found; it is a number of seconds above 0", variable, value);
  }
  return found;
}

int zero_start_from_environment(ZeroStart *start) {
  static const char TCP[] = "tcp:", FS[] = "fs:";
  const char *where = getenv("ZERO_START");
  if (where == NULL || where[0] == '\0') return 0;
  ZeroErrors errors = {0};
  if (getenv("ZERO_RANK") != NULL || getenv("ZERO_RANKS") != NULL) {
    *start = (ZeroStart){.ranks = number_in("ZERO_RANKS"), .rank = number_in("ZERO_RANK")};
    if (start->rank < 0 || start->ranks <= start->rank) {
      zero_errors_add(
          &errors, "ZERO_RANK, ZERO_RANKS: '%s' and '%s' found; ZERO_RANK is a number from 0 to ZERO_RANKS - 1",
          getenv("ZERO_RANK") ? getenv("ZERO_RANK") : "", getenv("ZERO_RANKS") ? getenv("ZERO_RANKS") : "");
    }
  } else if (!zero_start_launched(start)) {
    zero_errors_add(&errors, "ZERO_START: set, but not which rank this is; set ZERO_RANK and ZERO_RANKS too");
  }
  if (strncmp(where, TCP, strlen(TCP)) == 0 && where[strlen(TCP)] != '\0') {
    start->server = where + strlen(TCP);
  } else if (strncmp(where, FS, strlen(FS)) == 0 && where[strlen(FS)] != '\0') {
    start->folder = where + strlen(FS);
  } else {
    zero_errors_add(&errors, "ZERO_START: '%s' found; give tcp:HOST:PORT or fs:FOLDER", where);
  }
  zero_errors_check(&errors, NULL);
  return 1;
}
