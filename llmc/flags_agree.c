// Have all ranks the same flags?
#include "flags_agree.h"

#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"

enum { TEXT = 64 }; // of a value in a message

static int is_compared(const Flag *flag, const char *const *own, size_t own_count) {
  if (flag->name == NULL) return 0; // a heading
  for (size_t i = 0; i < own_count; i++) {
    if (strcmp(flag->name, own[i]) == 0) return 0;
  }
  return flag->kind == FLAG_INT || flag->kind == FLAG_FLOAT || flag->kind == FLAG_STRING;
}

// As a number that is another one for another value. Of a word: its place among the choices, -1 for none; of a name:
// whether there is one, 1 or 0.
static double value_of(const Flag *flag) {
  if (flag->kind == FLAG_INT) return (double)*(const int64_t *)flag->target;
  if (flag->kind == FLAG_FLOAT) return *(const double *)flag->target;
  const char *word = *(const char *const *)flag->target;
  if (flag->choices == NULL) return word != NULL;
  return word == NULL ? -1.0 : (double)flags_choice(flag->choices, word);
}

static const char *describe(const Flag *flag, double value, char text[TEXT]) {
  if (flag->kind != FLAG_STRING) {
    snprintf(text, TEXT, flag->kind == FLAG_INT ? "%.0f" : "%.10g", value);
    return text;
  }
  if (flag->choices == NULL || value < 0.0) return value > 0.0 ? "one" : "none";
  const char *word = flag->choices;
  for (int i = (int)value; i > 0; i--) word += strcspn(word, "|") + 1;
  snprintf(text, TEXT, "%.*s", (int)strcspn(word, "|"), word);
  return text;
}

void flags_check_same(const Flag *flags, size_t count, const char *const *own, size_t own_count, ZeroComm *comm,
                      ZeroErrors *errors) {
  const size_t ranks = (size_t)comm->size;
  double *mine = zero_malloc(count * sizeof *mine, ZERO_MEM_OTHER);       // (count)
  double *all = zero_malloc(ranks * count * sizeof *all, ZERO_MEM_OTHER); // (ranks, count)
  for (size_t i = 0; i < count; i++) mine[i] = is_compared(&flags[i], own, own_count) ? value_of(&flags[i]) : 0.0;
  zero_comm_gather_each(comm, mine, count, all);
  for (size_t i = 0; i < count; i++) {
    char here[TEXT], there[TEXT];
    if (mine[i] == all[i]) continue;
    zero_errors_add(errors, "%s: rank %d has %s, rank 0 has %s; give all ranks the same flags and files",
                    flags[i].name, comm->rank, describe(&flags[i], mine[i], here),
                    describe(&flags[i], all[i], there));
  }
  zero_free(all);
  zero_free(mine);
}
