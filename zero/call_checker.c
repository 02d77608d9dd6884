// Debug builds (make EXTRA=-DZERO_CHECK_CALLS): every engine call is compared over the ranks before it runs. Ranks
// that make different calls would otherwise wait for each other for ever, or add up what does not belong together.
#include "engine.h"

#ifdef ZERO_CHECK_CALLS

// The calls by name, to say what another rank did, and whether their argument is a unit.
static const struct {
  const char *name;
  int of_unit;
} calls[] = {
    {"zero_fill", 0},      {"zero_read", 1},         {"zero_state_hash", 0}, {"zero_micro_begin", 0},
    {"zero_gather", 1},    {"zero_get", 1},          {"zero_release", 1},    {"zero_grad", 1},
    {"zero_grad_done", 1}, {"zero_sums_ordered", 0}, {"zero_norm", 0},       {"zero_apply", 0},
    {"zero_skip", 0},      {"zero_destroy", 0},      {"zero_save", 0},       {"zero_load", 0},
};
enum { NUM_CALLS = sizeof calls / sizeof calls[0], ARGUMENTS = 1 << 20, TEXT = 256 };

// A call as a number that a double holds exactly: a hash of its name in front of its argument.
static double encode(const char *call, int argument) {
  unsigned hash = 5381; // djb2, a hash of 32 bits
  for (const char *c = call; *c; c++) hash = hash * 33u + (unsigned char)*c;
  return (double)hash * ARGUMENTS + (double)argument;
}

// The call as a text, from its number.
static void describe(const ZeroEngine *e, double code, char text[TEXT]) {
  for (int c = 0; c < NUM_CALLS; c++) {
    double argument = code - encode(calls[c].name, 0);
    if (argument < 0.0 || argument >= ARGUMENTS) continue;
    if (calls[c].of_unit && argument < e->num_units) {
      snprintf(text, TEXT, "%s of unit %s", calls[c].name, e->units[(int)argument].name);
    } else {
      snprintf(text, TEXT, "%s(%.0f)", calls[c].name, argument);
    }
    return;
  }
  snprintf(text, TEXT, "a call that is none of the engine's");
}

void zero_check_call(ZeroEngine *e, const char *call, int argument) {
  size_t ranks = (size_t)e->comm->size;
  if (ranks == 1) return;
  double mine = encode(call, argument), all[ranks];
  size_t offsets[ranks + 1];
  for (size_t r = 0; r <= ranks; r++) offsets[r] = r;
  e->comm->control_gather(e->comm, &mine, all, offsets);
  for (size_t r = 0; r < ranks; r++) {
    if (all[r] == mine) continue;
    char here[TEXT], there[TEXT];
    describe(e, mine, here);
    describe(e, all[r], there);
    zero_fatal(
        "the ranks' calls differ: rank %d makes %s, rank %zu makes %s; every rank must make the same calls in "
        "the same order",
        e->comm->rank, here, r, there);
  }
}
#endif
