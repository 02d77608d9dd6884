// Counts by kind and name, added to a file at the end: lines `KIND NAME COUNT`.
#include "count.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "options.h"
#include "report.h"

static std::map<std::string, size_t> &counts(void) {
  static std::map<std::string, size_t> *all = new std::map<std::string, size_t>; // outlives atexit's turn
  return *all;
}

// In one piece, as several processes may write the same file.
static void write_counts(void) {
  std::string text;
  for (const auto &each : counts()) text += each.first + " " + std::to_string(each.second) + "\n";
  FILE *file = fopen(cudaemu_counts_file(), "a");
  if (file == NULL || fwrite(text.data(), 1, text.size(), file) != text.size() || fclose(file) != 0) {
    cudaemu_fail(NULL, 0, "ZERO_EMU_COUNTS: '%s' cannot be written", cudaemu_counts_file());
  }
}

// Whether counts are wanted, and have begun.
static bool counting(const char *name) {
  static bool begun;
  const char *path = cudaemu_counts_file(), *from = cudaemu_counts_from();
  if (path == NULL || *path == '\0') return false;
  if (from == NULL || strcmp(from, name) == 0) begun = true;
  return begun;
}

void cudaemu_count(const char *kind, const char *name) {
  if (!counting(name)) return;
  if (counts().empty()) atexit(write_counts);
  counts()[std::string(kind) + " " + name]++;
}

void cudaemu_count_wait(const char *call, bool left) {
  cudaemu_count(left ? "wait" : "drain", call);
}
