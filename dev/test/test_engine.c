// The engine at every stage, on any number of ranks, with the transport that ZERO_COMM names: training against
// AdamW in double precision, gathers, initial values, overflow, resuming.
//
// Every rank runs every test; a test counts what is wrong on its rank and all ranks compare the sum at its end, so
// that they pass or fail together and never leave each other waiting. Rank 0 reports.
//
// `test_engine --hash`: prints norm and hash of the state after each step of one global batch of 12 micro-batches,
// for the shell to compare between numbers of ranks and transports (test_bits.sh).
#include "check.h"
#include "fake_model.h"

enum { STAGES = 4, STEPS = 5, GLOBAL_BATCH = 12, TIME_LIMIT_SECONDS = 240 };
static const double LEARNING_RATE = 0.01;

static ZeroComm *comm;
static ZeroDevice *device;
static int wrong; // on this rank, in this test

#define EXPECT(condition)                                                                                    \
  do {                                                                                                       \
    if (!(condition) && wrong++ < 3) {                                                                       \
      fprintf(stderr, "%s:%d: rank %d of %d: %s\n", __FILE__, __LINE__, comm->rank, comm->size, #condition); \
    }                                                                                                        \
  } while (0)

// The sum of one figure over the ranks.
static double over_ranks(double mine) {
  double all[1024], sum = 0.0;
  size_t offsets[1025];
  assert_true(comm->size <= 1024);
  for (int r = 0; r <= comm->size; r++) offsets[r] = (size_t)r;
  comm->control_gather(comm, &mine, all, offsets);
  for (int r = 0; r < comm->size; r++) sum += all[r];
  return sum;
}

static void finish_test(void) {
  double all = over_ranks(wrong);
  wrong = 0;
  assert_true(all == 0.0);
}

static ZeroConfig config_of(int stage) {
  ZeroConfig config;
  zero_config_default(&config);
  config.stage = stage;
  config.weight_decay = 0.1;
  return config;
}

// Weights filled, moments 0.
static ZeroEngine *start(const ZeroConfig *config) {
  ZeroEngine *e = zero_initialize(config, fake_units, FAKE_UNITS, comm, device);
  ZeroKind kind = ZERO_MASTER;
  zero_fill(e, kind, fake_fill, &kind);
  return e;
}

static ZeroStep train_step(ZeroEngine *e, size_t step, int micro_steps) {
  fake_backward(e, comm, step, micro_steps, 0.0f, 0);
  return zero_step(e, (float)LEARNING_RATE);
}

// A whole tensor, on every rank.
static const float *read_everywhere(ZeroEngine *e, ZeroKind kind, int u, int t) {
  static float values[FAKE_LARGEST];
  zero_read(e, kind, u, t, comm->rank == 0 ? values : NULL);
  comm->control_broadcast(comm, values, fake_count(u, t) * sizeof *values);
  return values;
}

// ---------------------------------------------------------------- training

// |found - expected| / |expected| over a tensor.
static double relative_error(const float *found, const double *expected, size_t count) {
  double difference = 0.0, size = 0.0;
  for (size_t i = 0; i < count; i++) {
    difference += pow(found[i] - expected[i], 2.0);
    size += pow(expected[i], 2.0);
  }
  return sqrt(difference / size);
}

// The engine works in fp32 on exact gradient sums: about ten roundings of 2^-24 = 6e-8 per step, which partly cancel.
static void expect_state(ZeroEngine *e, const FakeReference *reference) {
  const double tolerance = 1e-6;
  size_t compared = 0;
  for (int kind = ZERO_MASTER; kind <= ZERO_EXP_AVG_SQ; kind++) {
    for (int u = 0; u < FAKE_UNITS; u++) {
      for (int t = 0; t < fake_units[u].num_tensors; t++) {
        const float *found = read_everywhere(e, (ZeroKind)kind, u, t);
        double error = relative_error(found, reference->state[kind][u][t], fake_count(u, t));
        EXPECT(error < tolerance);
        compared += fake_count(u, t);
      }
    }
  }
  EXPECT(compared == 3 * (size_t)FAKE_PARAMETERS);
}

static FakeReference *new_reference(void) {
  FakeReference *reference = malloc(sizeof *reference);
  assert_non_null(reference);
  fake_reference_start(reference);
  return reference;
}

// Trains at every stage; hashes must move at each step and agree between stages.
static void check_training(int micro_steps, ZeroConfig config) {
  const int micro_batches = micro_steps * comm->size;
  if (config.clip > 0.0)
    config.clip = 4.0 * fake_norm(0, micro_batches); // the odd steps' norms are 16 times as large
  uint64_t first_hashes[STEPS + 1];
  for (int stage = 0; stage < STAGES; stage++) {
    config.stage = stage;
    ZeroEngine *e = start(&config);
    FakeReference *reference = new_reference();
    EXPECT(zero_num_parameters(e) == FAKE_PARAMETERS);
    size_t clipped = 0;
    uint64_t before = zero_state_hash(e);
    for (size_t s = 0; s < STEPS; s++) {
      double norm = fake_norm(s, micro_batches), factor = fake_clip_factor(&config, norm);
      ZeroStep done = train_step(e, s, micro_steps);
      fake_reference_step(reference, &config, s, micro_batches, (float)LEARNING_RATE);
      // Double precision over exact sums: only the order of some 6,560 additions differs.
      EXPECT(fabs(done.norm / norm - 1.0) < 1e-12);
      EXPECT(fabs(done.clipped / factor - 1.0) < 1e-12);
      EXPECT(!done.skipped);
      EXPECT(zero_steps_applied(e) == s + 1);
      clipped += done.clipped < 1.0;
      uint64_t hash = zero_state_hash(e);
      if (stage == 0) first_hashes[s] = hash;
      EXPECT(hash == first_hashes[s] && hash != before);
      before = hash;
    }
    EXPECT(clipped == (config.clip > 0.0 ? STEPS / 2 : 0));
    expect_state(e, reference);
    EXPECT(zero_steps_skipped(e) == 0);
    free(reference);
    zero_destroy(e);
  }
}

static void test_training(void **state) {
  (void)state;
  check_training(1, config_of(0));
  finish_test();
}

static void test_accumulation(void **state) {
  (void)state;
  check_training(3, config_of(0));
  finish_test();
}

static void test_no_clipping_decay_on_all(void **state) {
  (void)state;
  ZeroConfig config = config_of(0);
  config.clip = 0.0;
  config.decay_all = 1;
  config.beta2 = 0.999;
  check_training(2, config);
  finish_test();
}

// Between norm and apply the gradient is the unclipped sum, bit by bit; zero_skip then leaves everything as it was.
static void test_read_gradient(void **state) {
  (void)state;
  const size_t step = 1; // one that clips
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroConfig config = config_of(stage);
    ZeroEngine *e = start(&config);
    uint64_t before = zero_state_hash(e);
    fake_backward(e, comm, step, 2, 0.0f, 0);
    ZeroNorm norm = zero_norm(e);
    EXPECT(norm.norm > config.clip && !norm.overflow);
    size_t differing = 0;
    for (int u = 0; u < FAKE_UNITS; u++) {
      for (int t = 0; t < fake_units[u].num_tensors; t++) {
        const float *found = read_everywhere(e, ZERO_GRADIENT, u, t);
        for (size_t i = 0; i < fake_count(u, t); i++) {
          differing += (double)found[i] != fake_gradient_sum(step, 2 * comm->size, u, t, i);
        }
      }
    }
    EXPECT(differing == 0);
    zero_skip(e);
    EXPECT(zero_state_hash(e) == before);
    EXPECT(zero_steps_applied(e) == 0 && zero_steps_skipped(e) == 1);
    zero_destroy(e);
  }
  finish_test();
}

// A NaN or an infinity on one rank, in one micro-step: all ranks skip, nothing changes, and training goes on as if
// the step had not been.
static void test_overflow(void **state) {
  (void)state;
  const float bad[] = {NAN, INFINITY, -INFINITY};
  for (int stage = 0; stage < STAGES; stage++) {
    for (size_t b = 0; b < sizeof bad / sizeof bad[0]; b++) {
      ZeroConfig config = config_of(stage);
      ZeroEngine *e = start(&config), *without = start(&config);
      train_step(e, 0, 2);
      uint64_t before = zero_state_hash(e);
      fake_backward(e, comm, 1, 2, bad[b], comm->size - 1);
      ZeroStep done = zero_step(e, (float)LEARNING_RATE);
      EXPECT(done.skipped && !isfinite(done.norm));
      EXPECT(zero_state_hash(e) == before);
      EXPECT(zero_steps_applied(e) == 1 && zero_steps_skipped(e) == 1);
      EXPECT(!train_step(e, 2, 2).skipped);
      train_step(without, 0, 2);
      train_step(without, 2, 2);
      EXPECT(zero_state_hash(e) == zero_state_hash(without) && zero_state_hash(e) != before);
      zero_destroy(e);
      zero_destroy(without);
    }
  }
  finish_test();
}

// ---------------------------------------------------------------- state in and out

// Every element is filled on the ranks that keep it, once on each, and read back as it was.
static void test_fill_and_read(void **state) {
  (void)state;
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroConfig config = config_of(stage);
    ZeroEngine *e = zero_initialize(&config, fake_units, FAKE_UNITS, comm, device);
    for (ZeroKind kind = ZERO_MASTER; kind <= ZERO_EXP_AVG_SQ; kind++) zero_fill(e, kind, fake_fill, &kind);
    for (ZeroKind kind = ZERO_MASTER; kind <= ZERO_EXP_AVG_SQ; kind++) {
      size_t differing = 0;
      for (int u = 0; u < FAKE_UNITS; u++) {
        for (int t = 0; t < fake_units[u].num_tensors; t++) {
          const float *found = read_everywhere(e, kind, u, t);
          for (size_t i = 0; i < fake_count(u, t); i++) differing += found[i] != fake_value(kind, u, t, i);
        }
      }
      EXPECT(differing == 0);
    }
    zero_destroy(e);
  }
  finish_test();
}

// ctx: (double) elements that this rank was asked for.
static void count_filled(void *ctx, int u, int t, size_t first, size_t count, float *out) {
  EXPECT(first + count <= fake_count(u, t));
  memset(out, 0, count * sizeof *out);
  *(double *)ctx += (double)count;
}

static void test_who_fills(void **state) {
  (void)state;
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroConfig config = config_of(stage);
    ZeroEngine *e = start(&config);
    double filled = 0.0;
    zero_fill(e, ZERO_EXP_AVG, count_filled, &filled);
    EXPECT(over_ranks(filled) == (double)FAKE_PARAMETERS * (stage == 0 ? comm->size : 1));
    zero_destroy(e);
  }
  finish_test();
}

// What zero_read gave of another engine.
typedef struct {
  float values[3][FAKE_UNITS][FAKE_TENSORS][FAKE_LARGEST];
  ZeroKind kind;
} Saved;

static void fill_from_saved(void *ctx, int u, int t, size_t first, size_t count, float *out) {
  const Saved *saved = ctx;
  memcpy(out, saved->values[saved->kind][u][t] + first, count * sizeof *out);
}

// State carried over from stage to stage: training goes on with the same bits.
static void test_resume(void **state) {
  (void)state;
  Saved *saved = malloc(sizeof *saved);
  assert_non_null(saved);
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroConfig from = config_of(stage), to = config_of((stage + 2) % STAGES);
    ZeroEngine *e = start(&from), *resumed = zero_initialize(&to, fake_units, FAKE_UNITS, comm, device);
    for (size_t s = 0; s < 2; s++) train_step(e, s, 1);
    for (int kind = ZERO_MASTER; kind <= ZERO_EXP_AVG_SQ; kind++) {
      for (int u = 0; u < FAKE_UNITS; u++) {
        for (int t = 0; t < fake_units[u].num_tensors; t++) {
          memcpy(saved->values[kind][u][t], read_everywhere(e, (ZeroKind)kind, u, t),
                 fake_count(u, t) * sizeof(float));
        }
      }
    }
    for (saved->kind = ZERO_MASTER; saved->kind <= ZERO_EXP_AVG_SQ; saved->kind++) {
      zero_fill(resumed, saved->kind, fill_from_saved, saved);
    }
    zero_set_steps(resumed, 2, 7);
    EXPECT(zero_state_hash(resumed) == zero_state_hash(e));
    train_step(e, 2, 1);
    train_step(resumed, 2, 1);
    EXPECT(zero_state_hash(resumed) == zero_state_hash(e));
    EXPECT(zero_steps_applied(resumed) == 3 && zero_steps_skipped(resumed) == 7);
    zero_destroy(e);
    zero_destroy(resumed);
  }
  free(saved);
  finish_test();
}

// ---------------------------------------------------------------- parameters

// Elements of a unit's flat buffer that differ from what rank 0 reads.
static size_t differing_parameters(ZeroEngine *e, int u, const float *flat) {
  size_t differing = 0;
  for (int t = 0; t < fake_units[u].num_tensors; t++) {
    const float *expected = read_everywhere(e, ZERO_MASTER, u, t);
    differing += memcmp(flat + zero_offset(e, u, t), expected, fake_count(u, t) * sizeof(float)) != 0;
  }
  return differing;
}

// All ranks see all parameters, before and after a step, two units at a time.
static void test_gather(void **state) {
  (void)state;
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroConfig config = config_of(stage);
    ZeroEngine *e = start(&config);
    const float *embeddings = zero_get(e, 0);
    EXPECT(embeddings[zero_offset(e, 0, 1) + 114] == fake_value(ZERO_MASTER, 0, 1, 114));
    zero_release(e, 0);
    for (size_t s = 0; s < 3; s++) {
      for (int u = 0; u < FAKE_UNITS; u++) {
        const float *flat = zero_get(e, u);
        EXPECT((uintptr_t)flat % 64 == 0);
        int next = (u + 1) % FAKE_UNITS;
        zero_gather(e, next); // must not disturb this one
        EXPECT(differing_parameters(e, u, flat) == 0);
        EXPECT(differing_parameters(e, next, zero_get(e, next)) == 0);
        EXPECT(differing_parameters(e, u, flat) == 0);
        zero_release(e, u);
        zero_release(e, next);
      }
      train_step(e, s, 1);
    }
    zero_destroy(e);
  }
  finish_test();
}

// Tied tensors: a unit that was got twice is there until it is released twice.
static void test_get_is_counted(void **state) {
  (void)state;
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroConfig config = config_of(stage);
    ZeroEngine *e = start(&config);
    for (int u = 1; u <= 2; u++) {
      const float *flat = zero_get(e, u);
      EXPECT(zero_get(e, u) == flat);
      zero_release(e, u);
      EXPECT(differing_parameters(e, 3, zero_get(e, 3)) == 0);
      zero_release(e, 3);
      EXPECT(differing_parameters(e, u, flat) == 0);
      EXPECT(zero_get(e, u) == flat);
      zero_release(e, u);
      zero_release(e, u);
    }
    zero_destroy(e);
  }
  finish_test();
}

// ---------------------------------------------------------------- sums of losses

// Sizes so different that the order shows.
static double figure(size_t micro_batch) {
  return ldexp((double)fake_draw(5, 0, 0, micro_batch, 1 << 20) / 3.0, (int)(micro_batch * 13 % 47));
}

// Exactly the sum in the order of global micro-batches, where the sum rank by rank is another one.
static void test_sum_ordered(void **state) {
  (void)state;
  enum { MOST = 15 };
  ZeroConfig config = config_of(0);
  ZeroEngine *e = start(&config);
  const size_t ranks = (size_t)comm->size;
  size_t order_matters = 0;
  for (size_t n = 1; n <= MOST; n++) {
    double mine[MOST], expected = 0.0, rank_by_rank = 0.0;
    for (size_t k = 0; k < n; k++) mine[k] = figure(k * ranks + (size_t)comm->rank);
    for (size_t m = 0; m < n * ranks; m++) expected += figure(m);
    for (size_t r = 0; r < ranks; r++) {
      for (size_t k = 0; k < n; k++) rank_by_rank += figure(k * ranks + r);
    }
    EXPECT(zero_sum_ordered(e, mine, (int)n) == expected);
    order_matters += rank_by_rank != expected;
  }
  EXPECT(ranks == 1 || order_matters > 0);
  zero_destroy(e);
  finish_test();
}

// ---------------------------------------------------------------- main

static void print_hashes(void) {
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroConfig config = config_of(stage);
    ZeroEngine *e = start(&config);
    for (size_t s = 0; s < STEPS; s++) {
      ZeroStep done = train_step(e, FAKE_ROUGH_STEPS + s, GLOBAL_BATCH / comm->size);
      unsigned long long hash = zero_state_hash(e);
      if (comm->rank == 0) printf("stage %d step %zu norm %a state %016llx\n", stage, s + 1, done.norm, hash);
    }
    zero_destroy(e);
  }
}

static int run_suite(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_training),
      cmocka_unit_test(test_accumulation),
      cmocka_unit_test(test_no_clipping_decay_on_all),
      cmocka_unit_test(test_read_gradient),
      cmocka_unit_test(test_overflow),
      cmocka_unit_test(test_fill_and_read),
      cmocka_unit_test(test_who_fills),
      cmocka_unit_test(test_resume),
      cmocka_unit_test(test_gather),
      cmocka_unit_test(test_get_is_counted),
      cmocka_unit_test(test_sum_ordered),
  };
  return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}

int main(int argc, char **argv) {
  alarm(TIME_LIMIT_SECONDS); // a deadlock ends here
  comm = zero_comm_create(NULL);
  device = zero_device_cpu();
  int failed = 0;
  if (argc == 2 && strcmp(argv[1], "--hash") == 0) {
    print_hashes();
  } else {
    // Quiet: what is wrong on another rank is on stderr, and the verdict is rank 0's too.
    if (comm->rank != 0 && freopen("/dev/null", "w", stdout) == NULL) return ZERO_EXIT_FAILED;
    if (comm->rank != 0) cmocka_set_message_output(CM_OUTPUT_TAP);
    failed = run_suite();
  }
  zero_device_destroy(device);
  zero_comm_destroy(comm);
  return failed > 0;
}
