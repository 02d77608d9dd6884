// The engine at every stage, in every type, on any number of ranks, with the transport that ZERO_COMM names: training
// against AdamW in double precision, gathers, initial values, overflow, loss scale, resuming; memory and traffic in
// engine_cost.c. Rank 0 reports.
//
// `test_engine --hash`: prints norm and hash of the state after each step of one global batch of 12 micro-batches, in
// each type, for the shell to compare between numbers of ranks and transports (test_bits.sh, test_calls.sh).
#include "../../zero/stochastic.h"

#include "engine.h"

enum { GLOBAL_BATCH = 12, TIME_LIMIT_SECONDS = 240 };

ZeroComm *comm;
int wrong;
ZeroDevice *device;

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

// What the engine must make of each step's gradients.
static FakeGradients *new_gradients(const ZeroConfig *config, size_t steps, int micro_steps) {
  FakeGradients *gradients = malloc(steps * sizeof *gradients);
  assert_non_null(gradients);
  float scale = config->type == ZERO_F16 ? ldexpf(1.0f, SCALE_POWER) : 1.0f;
  for (size_t s = 0; s < steps; s++) fake_gradients(&gradients[s], config, s, micro_steps, comm->size, scale);
  return gradients;
}

// Elements of the summed, unscaled gradient that are not exactly the expected ones.
static size_t differing_gradients(ZeroEngine *e, const FakeGradients *expected) {
  size_t differing = 0;
  for (int u = 0; u < FAKE_UNITS; u++) {
    for (int t = 0; t < fake_units[u].num_tensors; t++) {
      const float *found = read_everywhere(e, ZERO_GRADIENT, u, t);
      for (size_t i = 0; i < fake_count(u, t); i++) differing += (double)found[i] != expected->sum[u][t][i];
    }
  }
  return differing;
}

// Elements of a unit's flat buffer that are not what rank 0 reads of the master weights, rounded to the type.
static size_t differing_parameters(ZeroEngine *e, ZeroType type, int u, const void *flat) {
  size_t differing = 0;
  for (int t = 0; t < fake_units[u].num_tensors; t++) {
    const float *master = read_everywhere(e, ZERO_MASTER, u, t);
    size_t offset = zero_offset(e, u, t);
    for (size_t i = 0; i < fake_count(u, t); i++) {
      differing += fake_load(flat, type, offset + i) != fake_rounded(type, master[i]);
    }
  }
  return differing;
}

static void expect_parameters(ZeroEngine *e, ZeroType type) {
  for (int u = 0; u < FAKE_UNITS; u++) {
    EXPECT(differing_parameters(e, type, u, zero_get(e, u)) == 0);
    zero_release(e, u);
  }
}

// One engine's training. Hashes must move at each step and be those of the other engines that add the same numbers in
// the same order; hashes[0] is 0 before the first of them.
static void check_training_of(ZeroConfig config, size_t steps, int micro_steps, const FakeGradients *gradients,
                              uint64_t *hashes) {
  ZeroEngine *e = start(&config);
  FakeReference *reference = hashes[0] == 0 ? new_reference() : NULL; // the others' state is the same by its hash
  EXPECT(zero_num_parameters(e) == FAKE_PARAMETERS);
  expect_parameters(e, config.type);
  size_t clipped = 0;
  uint64_t before = zero_state_hash(e);
  for (size_t s = 0; s < steps; s++) {
    double norm = fake_norm(&gradients[s]), factor = fake_clip_factor(&config, norm);
    fake_backward(e, comm, s, micro_steps, 0.0f, 0);
    ZeroNorm found = zero_norm(e);
    // Double precision over exact sums: only the order of some 6,560 additions differs.
    EXPECT(fabs(found.norm / norm - 1.0) < 1e-12 && !found.overflow);
    if (s == steps - 1) EXPECT(differing_gradients(e, &gradients[s]) == 0);
    ZeroStep done = zero_apply(e, (float)LEARNING_RATE);
    EXPECT(done.norm == found.norm && fabs(done.clipped / factor - 1.0) < 1e-12);
    EXPECT(!done.skipped && zero_steps_applied(e) == s + 1);
    if (reference) fake_reference_step(reference, &config, &gradients[s], (float)LEARNING_RATE);
    clipped += done.clipped < 1.0;
    uint64_t hash = zero_state_hash(e);
    if (reference) hashes[s] = hash;
    EXPECT(hash == hashes[s] && hash != before);
    before = hash;
  }
  EXPECT(clipped == (config.clip > 0.0 ? steps / 2 : 0));
  EXPECT(zero_steps_skipped(e) == 0);
  if (reference) expect_state(e, reference);
  expect_parameters(e, config.type);
  free(reference);
  zero_destroy(e);
}

// Trains at every stage, reducing at every micro-step or, at stages 0 and 1 without `deterministic`, accumulating on
// each rank.
static void check_training(size_t steps, int micro_steps, ZeroConfig config) {
  for (int local = 0; local <= 1; local++) {
    config.stage = 0;
    config.deterministic = !local;
    FakeGradients *gradients = new_gradients(&config, steps, micro_steps);
    // The odd steps' norms are 16 times as large.
    if (config.clip > 0.0) config.clip = 4.0 * fake_norm(&gradients[0]);
    uint64_t hashes[STEPS] = {0};
    for (config.stage = 0; config.stage < STAGES; config.stage++) {
      for (config.deterministic = 0; config.deterministic <= 1; config.deterministic++) {
        if (local != (!config.deterministic && config.stage <= 1)) continue;
        check_training_of(config, steps, micro_steps, gradients, hashes);
      }
    }
    free(gradients);
  }
}

static void test_training(void **state) {
  (void)state;
  check_training(STEPS, 1, config_of(0));
  finish_test();
}

static void test_accumulation(void **state) {
  (void)state;
  check_training(STEPS, 3, config_of(0));
  finish_test();
}

static void test_no_clipping_decay_on_all(void **state) {
  (void)state;
  ZeroConfig config = config_of(0);
  config.clip = 0.0;
  config.decay_all = 1;
  config.beta2 = 0.999;
  check_training(STEPS, 2, config);
  finish_test();
}

// Compute type x wire type x accumulation type. Sums are exact in fp32 and rounded in a known order to a half type,
// so that the expected gradients are the engine's to the bit.
static void test_types(void **state) {
  (void)state;
  for (int type = 0; type < TYPES; type++) {
    for (int wire = 0; wire < TYPES; wire++) {
      for (int accumulate = 0; accumulate < TYPES; accumulate++) {
        ZeroConfig config = config_of(0);
        config.type = types[type];
        config.wire = types[wire];
        config.accumulate = types[accumulate];
        check_training(2, 2, config);
      }
    }
  }
  finish_test();
}

// Between norm and apply the gradient is the unclipped, unscaled sum, bit by bit; zero_skip then leaves everything as
// it was.
static void test_read_gradient(void **state) {
  (void)state;
  const size_t step = 1; // one that clips
  for (int type = 0; type < TYPES; type++) {
    for (int stage = 0; stage < STAGES; stage++) {
      ZeroConfig config = config_in(types[type], stage);
      FakeGradients *gradients = new_gradients(&config, step + 1, 2);
      ZeroEngine *e = start(&config);
      uint64_t before = zero_state_hash(e);
      fake_backward(e, comm, step, 2, 0.0f, 0);
      ZeroNorm norm = zero_norm(e);
      EXPECT(norm.norm > config.clip && !norm.overflow);
      EXPECT(differing_gradients(e, &gradients[step]) == 0);
      zero_skip(e);
      EXPECT(zero_state_hash(e) == before);
      EXPECT(zero_steps_applied(e) == 0 && zero_steps_skipped(e) == 1);
      zero_destroy(e);
      free(gradients);
    }
  }
  finish_test();
}

// ---------------------------------------------------------------- overflow and loss scale

// A NaN or an infinity on one rank, in one micro-step: all ranks skip, nothing changes but fp16's loss scale, and
// training goes on as if the step had not been.
static void check_overflow(const ZeroConfig *config, float bad) {
  ZeroEngine *e = start(config), *without = start(config);
  train_step(e, 0, 2);
  uint64_t before = zero_state_hash(e);
  float scale = zero_loss_scale(e);
  EXPECT(scale == (config->type == ZERO_F16 ? ldexpf(1.0f, SCALE_POWER) : 1.0f));
  fake_backward(e, comm, 1, 2, bad, comm->size - 1);
  ZeroStep done = zero_step(e, (float)LEARNING_RATE);
  EXPECT(done.skipped && !isfinite(done.norm) && done.scale == scale);
  EXPECT(zero_loss_scale(e) == (config->type == ZERO_F16 ? scale / 2.0f : 1.0f));
  EXPECT(zero_state_hash(e) == before);
  EXPECT(zero_steps_applied(e) == 1 && zero_steps_skipped(e) == 1);
  expect_parameters(e, config->type);
  EXPECT(!train_step(e, 2, 2).skipped);
  train_step(without, 0, 2);
  train_step(without, 2, 2);
  EXPECT(zero_state_hash(e) == zero_state_hash(without) && zero_state_hash(e) != before);
  zero_destroy(e);
  zero_destroy(without);
}

static void test_overflow(void **state) {
  (void)state;
  const float bad[] = {NAN, INFINITY, -INFINITY};
  for (int type = 0; type < TYPES; type++) {
    for (int stage = 0; stage < STAGES; stage++) {
      for (int deterministic = stage <= 1 ? 0 : 1; deterministic <= 1; deterministic++) {
        ZeroConfig config = config_in(types[type], stage);
        config.deterministic = deterministic;
        config.loss_scaling.hysteresis = 1;
        check_overflow(&config, bad[(type + stage) % 3]);
      }
    }
  }
  finish_test();
}

// A scale that is far too large: the ranks halve it together until the gradients fit, and the step that is then
// applied is the one of a run that began with a scale that fits.
static void test_scale_is_found(void **state) {
  (void)state;
  enum { TOO_LARGE = 24, FITS = 15 }; // the largest gradient: 5,000 * 2^-12, below 65,504 if scaled by 2^15
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroConfig config = config_in(ZERO_F16, stage), small = config;
    config.loss_scaling.initial_power = TOO_LARGE;
    config.loss_scaling.hysteresis = 1;
    ZeroEngine *e = start(&config), *fitting = start(&small);
    int attempts = 1;
    for (; attempts < 50 && train_step(e, 0, 1).skipped; attempts++) EXPECT(zero_steps_applied(e) == 0);
    EXPECT(attempts == 1 + TOO_LARGE - FITS);
    EXPECT(zero_loss_scale(e) == ldexpf(1.0f, FITS));
    EXPECT(zero_steps_skipped(e) == TOO_LARGE - FITS && zero_steps_applied(e) == 1);
    train_step(fitting, 0, 1);
    EXPECT(zero_state_hash(e) == zero_state_hash(fitting));
    zero_destroy(e);
    zero_destroy(fitting);
  }
  finish_test();
}

// The step after which the scale grows applies the same update as a run whose scale does not grow, and so does the
// next one, whose backward used the larger scale. Scales and sums are exact, so that all bits must agree.
static void test_growth(void **state) {
  (void)state;
  const float used[STEPS] = {128, 128, 128, 256, 256}, after[STEPS] = {128, 128, 256, 256, 512};
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroConfig config = config_in(ZERO_F16, stage), steady = config;
    config.loss_scaling.window = 2;
    ZeroEngine *e = start(&config), *same = start(&steady);
    for (size_t s = 0; s < STEPS; s++) {
      EXPECT(zero_loss_scale(e) == used[s] && zero_loss_scale(same) == used[0]);
      ZeroStep done = train_step(e, s, 1), expected = train_step(same, s, 1);
      EXPECT(done.scale == used[s] && expected.scale == used[0] && zero_loss_scale(e) == after[s]);
      EXPECT(done.norm == expected.norm && done.clipped == expected.clipped && !done.skipped);
      EXPECT(zero_state_hash(e) == zero_state_hash(same));
    }
    zero_destroy(e);
    zero_destroy(same);
  }
  finish_test();
}

// ---------------------------------------------------------------- stochastic rounding

// What parameter `number` of the model, gaps included, must be after step `step`.
static float stochastic_parameter(ZeroType type, float master, uint64_t seed, size_t step, uint64_t number) {
  uint32_t draws[4];
  zero_rounding_draws(seed, step, number / 4, draws);
  uint32_t draw = draws[number % 4];
  return type == ZERO_BF16 ? zero_bf16_to_f32(zero_f32_to_bf16_stochastic(master, draw))
                           : zero_f16_to_f32(zero_f32_to_f16_stochastic(master, draw));
}

// Elements of all units that are not the master weights rounded by (seed, step, number); in *stochastic those that
// are not the nearest.
static size_t differing_stochastic(ZeroEngine *e, ZeroType type, uint64_t seed, size_t step, size_t *stochastic) {
  size_t differing = 0, unit_first = 0;
  for (int u = 0; u < FAKE_UNITS; u++) {
    const void *flat = zero_get(e, u);
    *stochastic += differing_parameters(e, type, u, flat);
    for (int t = 0; t < fake_units[u].num_tensors; t++) {
      const float *master = read_everywhere(e, ZERO_MASTER, u, t);
      size_t offset = zero_offset(e, u, t);
      for (size_t i = 0; i < fake_count(u, t); i++) {
        float expected = stochastic_parameter(type, master[i], seed, step, unit_first + offset + i);
        differing += fake_load(flat, type, offset + i) != expected;
      }
    }
    zero_release(e, u);
    unit_first += fake_totals[u];
  }
  return differing;
}

// The draws of every parameter are its own and the step's on any number of ranks, at every stage: after steps, after
// a skipped one, and in an engine that takes over state and steps.
static void check_stochastic(ZeroConfig config, ZeroConfig nearest) {
  ZeroEngine *e = start(&config), *plain = start(&nearest);
  expect_parameters(e, config.type); // what no step has changed is rounded to nearest
  for (size_t s = 0; s < 3; s++) {
    size_t stochastic = 0;
    train_step(e, s, 1), train_step(plain, s, 1);
    EXPECT(differing_stochastic(e, config.type, config.seed, s + 1, &stochastic) == 0);
    EXPECT(stochastic > FAKE_PARAMETERS / 5);             // a value goes the other way a quarter of the time
    EXPECT(zero_state_hash(e) == zero_state_hash(plain)); // gradients that do not ask for the parameters
  }
  fake_backward(e, comm, 3, 1, NAN, 0);
  EXPECT(zero_step(e, (float)LEARNING_RATE).skipped);
  size_t stochastic = 0, others = 0;
  EXPECT(differing_stochastic(e, config.type, config.seed, 3, &stochastic) == 0 && stochastic > 0);
  EXPECT(differing_stochastic(e, config.type, config.seed + 1, 3, &stochastic) > FAKE_PARAMETERS / 4);
  EXPECT(differing_stochastic(e, config.type, config.seed, 2, &stochastic) > FAKE_PARAMETERS / 4);
  zero_set_steps(e, 2, 0);
  EXPECT(differing_stochastic(e, config.type, config.seed, 2, &others) == 0 && others > 0);
  zero_destroy(e);
  zero_destroy(plain);
}

static void test_stochastic_rounding(void **state) {
  (void)state;
  for (int type = 1; type < TYPES; type++) {
    for (int run = 0; run < 2 * STAGES; run++) {
      ZeroConfig config = config_in(types[type], run % STAGES), nearest;
      config.deterministic = run / STAGES;
      nearest = config;
      config.stochastic_rounding = 1;
      config.seed = 0x123456789abu;
      check_stochastic(config, nearest);
    }
  }
  finish_test();
}

// ---------------------------------------------------------------- state in and out

// Every element is filled on the ranks that keep it, once on each, and read back as it was.
static void test_fill_and_read(void **state) {
  (void)state;
  for (int run = 0; run < STAGES * TYPES; run++) {
    ZeroConfig config = config_in(types[run / STAGES], run % STAGES);
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
    expect_parameters(e, config.type);
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

// State carried over from stage to stage: training goes on with the same bits, in fp16 with the same loss scale,
// which grows at every step here.
static void test_resume(void **state) {
  (void)state;
  Saved *saved = malloc(sizeof *saved);
  assert_non_null(saved);
  for (int run = 0; run < STAGES * TYPES; run++) {
    int stage = run % STAGES;
    ZeroConfig from = config_in(types[run / STAGES], stage), to = from;
    from.loss_scaling.window = 1;
    from.stochastic_rounding = to.stochastic_rounding = run / STAGES == 1; // in bf16
    from.seed = to.seed = 5;
    to.stage = (stage + 2) % STAGES;
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
    ZeroLossScaler scaler = zero_scaler(e);
    zero_set_scaler(resumed, &scaler);
    EXPECT(zero_loss_scale(e) == (from.type == ZERO_F16 ? ldexpf(1.0f, SCALE_POWER + 1) : 1.0f));
    EXPECT(zero_loss_scale(resumed) == zero_loss_scale(e));
    EXPECT(zero_state_hash(resumed) == zero_state_hash(e));
    if (from.stochastic_rounding) {
      size_t stochastic = 0;
      EXPECT(differing_stochastic(resumed, from.type, from.seed, 2, &stochastic) == 0 && stochastic > 0);
    }
    train_step(e, 2, 1);
    train_step(resumed, 2, 1);
    EXPECT(zero_state_hash(resumed) == zero_state_hash(e));
    EXPECT(zero_loss_scale(resumed) == zero_loss_scale(e));
    EXPECT(zero_steps_applied(resumed) == 3 && zero_steps_skipped(resumed) == 7);
    zero_destroy(e);
    zero_destroy(resumed);
  }
  free(saved);
  finish_test();
}

// ---------------------------------------------------------------- parameters

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
        EXPECT(differing_parameters(e, ZERO_F32, u, flat) == 0);
        EXPECT(differing_parameters(e, ZERO_F32, next, zero_get(e, next)) == 0);
        EXPECT(differing_parameters(e, ZERO_F32, u, flat) == 0);
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
      EXPECT(differing_parameters(e, ZERO_F32, 3, zero_get(e, 3)) == 0);
      zero_release(e, 3);
      EXPECT(differing_parameters(e, ZERO_F32, u, flat) == 0);
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
    double both[2 * MOST], sums[2] = {0.0, 0.0}; // (2, n), the second kind the first one's negative
    for (size_t k = 0; k < 2 * n; k++) both[k] = k < n ? mine[k] : -mine[k - n];
    zero_sums_ordered(e, both, 2, (int)n, sums);
    EXPECT(sums[0] == expected && sums[1] == -expected);
    order_matters += rank_by_rank != expected;
  }
  EXPECT(ranks == 1 || order_matters > 0);
  zero_destroy(e);
  finish_test();
}

// ---------------------------------------------------------------- main

// The third step of fp16 overflows on one rank and is skipped.
static void print_hashes(void) {
  const size_t overflowing = 2;
  for (int run = 0; run < STAGES * TYPES; run++) {
    ZeroConfig config = config_in(types[run / STAGES], run % STAGES);
    ZeroEngine *e = start(&config);
    for (size_t s = 0; s < STEPS; s++) {
      float bad = config.type == ZERO_F16 && s == overflowing ? INFINITY : 0.0f;
      fake_backward(e, comm, FAKE_ROUGH_STEPS + s, GLOBAL_BATCH / comm->size, bad, comm->size - 1);
      ZeroStep done = zero_step(e, (float)LEARNING_RATE);
      unsigned long long hash = zero_state_hash(e);
      if (comm->rank == 0) {
        printf("%s stage %d step %zu %s norm %a state %016llx\n", zero_type_name(config.type), config.stage, s + 1,
               done.skipped ? "skipped" : "applied", done.norm, hash);
      }
    }
    zero_destroy(e);
  }
}

static int run_suite(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_training),
      cmocka_unit_test(test_accumulation),
      cmocka_unit_test(test_no_clipping_decay_on_all),
      cmocka_unit_test(test_types),
      cmocka_unit_test(test_read_gradient),
      cmocka_unit_test(test_overflow),
      cmocka_unit_test(test_scale_is_found),
      cmocka_unit_test(test_growth),
      cmocka_unit_test(test_stochastic_rounding),
      cmocka_unit_test(test_fill_and_read),
      cmocka_unit_test(test_who_fills),
      cmocka_unit_test(test_resume),
      cmocka_unit_test(test_gather),
      cmocka_unit_test(test_get_is_counted),
      cmocka_unit_test(test_sum_ordered),
      cmocka_unit_test(test_memory),
      cmocka_unit_test(test_traffic),
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
  zero_comm_destroy(comm);
  zero_device_destroy(device);
  return failed > 0;
}
