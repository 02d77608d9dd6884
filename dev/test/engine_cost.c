// What the engine costs, a part of test_engine: memory by the ledger and bytes sent, against the formulas of
// DESIGN.md written out here, with every stage, type, wire type, accumulation type and kind of reduction.
#include "engine.h"

// The elements that this rank owns, all units.
static size_t owned_by_me(void) {
  size_t sum = 0;
  for (int u = 0; u < FAKE_UNITS; u++) sum += fake_owned(u, comm->rank, comm->size);
  return sum;
}

// Calls check with every stage, type, wire type, accumulation type and kind of reduction.
static void every_configuration(void (*check)(const ZeroConfig *)) {
  for (int run = 0; run < STAGES * TYPES * TYPES * TYPES * 2; run++) {
    ZeroConfig config = config_of(run % STAGES);
    config.type = types[run / STAGES % TYPES];
    config.wire = types[run / STAGES / TYPES % TYPES];
    config.accumulate = types[run / STAGES / TYPES / TYPES % TYPES];
    config.deterministic = run / STAGES / TYPES / TYPES / TYPES;
    check(&config);
  }
}

// The table of DESIGN.md, section 4, for a model of `all` elements, of which this rank has `own`, and buffers of
// `in_flight` elements.
static ZeroMemoryFormula literal_memory(const ZeroConfig *c, size_t all, size_t own, size_t in_flight) {
  const size_t p = c->type == ZERO_F32 ? 4 : 2, w = c->wire == ZERO_F32 ? 4 : 2,
               a = c->accumulate == ZERO_F32 ? 4 : 2;
  const size_t state = c->type == ZERO_F32 ? 8 : 12;
  const size_t gather = comm->size == 1 ? 0 : p * in_flight;
  switch (c->stage) {
    case 0:
      return (ZeroMemoryFormula){p * all, a * all, state * all,
                                 !c->deterministic && c->wire == c->accumulate ? 0 : w * in_flight, 0};
    case 1:
      if (c->deterministic) return (ZeroMemoryFormula){p * all, w * all + a * own, state * own, 0, 0};
      return (ZeroMemoryFormula){p * all, a * all, state * own, c->wire == c->accumulate ? 0 : w * in_flight, 0};
    case 2:
      return (ZeroMemoryFormula){p * all, a * own, state * own, w * in_flight, 0};
    default:
      return (ZeroMemoryFormula){p * own, a * own, state * own, w * in_flight, gather};
  }
}

static int same_memory(const ZeroMemoryFormula *a, const ZeroMemoryFormula *b) {
  return a->parameters == b->parameters && a->gradients == b->gradients && a->optimizer == b->optimizer &&
         a->grad_buffers == b->grad_buffers && a->gather_buffers == b->gather_buffers;
}

static void ledger(size_t held[ZERO_MEM_COMM]) {
  for (int c = 0; c < ZERO_MEM_COMM; c++) held[c] = zero_ledger_now((ZeroMemory)c);
}

// Allocated: the lengths of the flat buffers. By formula: real elements, shares rounded up. Afterwards nothing is
// left.
static void check_memory(const ZeroConfig *config) {
  const size_t largest = 3000 + 100, embeddings = 851 + 115, ranks = (size_t)comm->size;
  const size_t share = (FAKE_PARAMETERS + ranks - 1) / ranks;
  size_t before[ZERO_MEM_COMM], with[ZERO_MEM_COMM], left[ZERO_MEM_COMM];
  ledger(before);
  ZeroEngine *e = zero_initialize(config, fake_units, FAKE_UNITS, comm, device);
  ledger(with);
  ZeroMemoryFormula allocated = {with[ZERO_MEM_PARAMETERS] - before[ZERO_MEM_PARAMETERS],
                                 with[ZERO_MEM_GRADIENTS] - before[ZERO_MEM_GRADIENTS],
                                 with[ZERO_MEM_OPTIMIZER] - before[ZERO_MEM_OPTIMIZER],
                                 with[ZERO_MEM_GRAD_BUFFERS] - before[ZERO_MEM_GRAD_BUFFERS],
                                 with[ZERO_MEM_GATHER_BUFFERS] - before[ZERO_MEM_GATHER_BUFFERS]};
  ZeroMemoryFormula expected =
      literal_memory(config, FAKE_TOTAL, owned_by_me(), FAKE_EMBEDDINGS + 2 * FAKE_LARGEST_BLOCK);
  EXPECT(same_memory(&allocated, &expected));
  ZeroMemoryFormula formula;
  zero_memory_formula(e, &formula);
  expected = literal_memory(config, FAKE_PARAMETERS, share, embeddings + 2 * largest);
  EXPECT(same_memory(&formula, &expected));
  zero_destroy(e);
  ledger(left);
  EXPECT(memcmp(left, before, sizeof left) == 0);
}

void test_memory(void **state) {
  (void)state;
  EXPECT(over_ranks((double)owned_by_me()) == FAKE_TOTAL);
  every_configuration(check_memory);
  finish_test();
}

// Bytes over all ranks, by the exact count of DESIGN.md, section 4, after two steps of three micro-steps; and a third
// step that is skipped, which reduces, but publishes nothing.
static void check_traffic(const ZeroConfig *c) {
  enum { MICRO_STEPS = 3, APPLIED = 2, ATTEMPTED = 3 };
  const double p = c->type == ZERO_F32 ? 4 : 2, w = c->wire == ZERO_F32 ? 4 : 2,
               a = c->accumulate == ZERO_F32 ? 4 : 2;
  ZeroEngine *e = start(c);
  for (size_t s = 0; s < APPLIED; s++) train_step(e, 0, MICRO_STEPS);
  fake_backward(e, comm, 0, MICRO_STEPS, NAN, 0);
  EXPECT(zero_step(e, (float)LEARNING_RATE).skipped);
  ZeroTraffic counted, formula;
  zero_traffic_counted(e, &counted);
  zero_traffic_formula(e, &formula);
  EXPECT(counted.reduce == formula.reduce && counted.gather == formula.gather);
  int local = !c->deterministic && c->stage <= 1;
  double once = (comm->size - 1.0) * FAKE_TOTAL, embeddings = (comm->size - 1.0) * FAKE_EMBEDDINGS;
  double gathered = c->stage == 0   ? ATTEMPTED * a * once // sums
                    : c->stage <= 2 ? APPLIED * p * once
                                    : ATTEMPTED * MICRO_STEPS * p * (2.0 * once - embeddings);
  EXPECT(over_ranks((double)counted.reduce) == ATTEMPTED * (local ? 1 : MICRO_STEPS) * w * once);
  EXPECT(over_ranks((double)counted.gather) == gathered);
  zero_destroy(e);
}

void test_traffic(void **state) {
  (void)state;
  every_configuration(check_traffic);
  finish_test();
}
