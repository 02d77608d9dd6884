// Wrong uses of the engine: each ends the program with exit code 2 and a message that names the call, and the unit
// where there is one. Alone each runs in a child process. `test_misuse NAME` makes one in this process, under
// mpirun too (test_cli.sh; test_calls.sh for those that only a build with ZERO_CHECK_CALLS sees).
#include "check.h"
#include "fake_model.h"

static ZeroEngine *engine_on(ZeroComm *comm, int stage) {
  ZeroConfig config;
  zero_config_default(&config);
  config.stage = stage;
  return zero_initialize(&config, fake_units, FAKE_UNITS, comm, zero_device_cpu());
}

static ZeroEngine *engine_at(int stage) {
  return engine_on(zero_comm_create(NULL), stage);
}

static void release_without_get(void *unused) {
  (void)unused;
  zero_release(engine_at(3), 2);
}

static void release_twice(void *unused) {
  (void)unused;
  ZeroEngine *e = engine_at(3);
  zero_get(e, 1);
  zero_release(e, 1);
  zero_release(e, 1);
}

static void done_without_grad(void *unused) {
  (void)unused;
  ZeroEngine *e = engine_at(2);
  zero_micro_begin(e, 0, 1);
  zero_grad_done(e, 3);
}

static void done_twice(void *unused) {
  (void)unused;
  ZeroEngine *e = engine_at(1);
  zero_micro_begin(e, 0, 1);
  zero_grad(e, 1);
  zero_grad_done(e, 1);
  zero_grad_done(e, 1);
}

static void missing_done(void *unused) {
  (void)unused;
  ZeroEngine *e = engine_at(2);
  zero_micro_begin(e, 0, 1);
  for (int u = 0; u < FAKE_UNITS; u++) {
    zero_grad(e, u);
    if (u != 2) zero_grad_done(e, u); // this one stays open
  }
  zero_norm(e);
}

static void done_in_one_of_two(void *unused) {
  (void)unused;
  ZeroEngine *e = engine_at(0);
  for (int k = 0; k < 2; k++) {
    zero_micro_begin(e, k, k == 1);
    for (int u = 0; u < FAKE_UNITS; u++) {
      if (k == 1 && u == 1) continue;
      zero_grad(e, u);
      zero_grad_done(e, u);
    }
  }
  zero_step(e, 0.1f);
}

static void three_gradients_open(void *unused) {
  (void)unused;
  ZeroEngine *e = engine_at(2);
  zero_micro_begin(e, 0, 1);
  for (int u = 1; u < FAKE_UNITS; u++) zero_grad(e, u);
}

// Stage 3 on several ranks only: one rank gathers nothing.
static void three_units_gathered(void *unused) {
  (void)unused;
  ZeroEngine *e = engine_at(3);
  for (int u = 1; u < FAKE_UNITS; u++) zero_get(e, u);
}

static void norm_without_micro_begin(void *unused) {
  (void)unused;
  zero_norm(engine_at(0));
}

static void apply_without_norm(void *unused) {
  (void)unused;
  zero_apply(engine_at(0), 0.1f);
}

static void skip_without_norm(void *unused) {
  (void)unused;
  zero_skip(engine_at(0));
}

static void wrong_micro_step(void *unused) {
  (void)unused;
  ZeroEngine *e = engine_at(0);
  zero_micro_begin(e, 0, 0);
  zero_micro_begin(e, 2, 1);
}

static void read_gradient_too_early(void *unused) {
  (void)unused;
  float values[FAKE_LARGEST];
  zero_read(engine_at(0), ZERO_GRADIENT, 0, 0, values);
}

static void fill_gradient(void *unused) {
  (void)unused;
  ZeroKind kind = ZERO_GRADIENT;
  zero_fill(engine_at(0), kind, fake_fill, &kind);
}

// The smallest loss scale, and gradients that overflow even so.
static void overflow_at_smallest_scale(void *unused) {
  (void)unused;
  ZeroConfig config;
  zero_config_default(&config);
  config.type = config.wire = ZERO_F16;
  config.loss_scaling.initial_power = 1;
  config.loss_scaling.hysteresis = 1;
  ZeroComm *comm = zero_comm_create(NULL);
  ZeroEngine *e = zero_initialize(&config, fake_units, FAKE_UNITS, comm, zero_device_cpu());
  for (size_t s = 0; s < 2; s++) {
    fake_backward(e, comm, s, 1, INFINITY, 0);
    zero_step(e, 0.1f);
  }
}

// ---------------------------------------------------------------- ranks that differ

static void another_call(void *unused) {
  (void)unused;
  ZeroComm *comm = zero_comm_create(NULL);
  ZeroEngine *e = engine_on(comm, 3);
  zero_get(e, 1);
  if (comm->rank == 1) {
    zero_release(e, 1);
  } else {
    zero_gather(e, 2);
  }
}

static void another_unit(void *unused) {
  (void)unused;
  ZeroComm *comm = zero_comm_create(NULL);
  ZeroEngine *e = engine_on(comm, 3);
  zero_get(e, comm->rank == 1 ? 1 : 2);
}

static void skipped_call(void *unused) {
  (void)unused;
  ZeroComm *comm = zero_comm_create(NULL);
  ZeroEngine *e = engine_on(comm, 2);
  zero_micro_begin(e, 0, 1);
  for (int u = FAKE_UNITS - 1; u >= 0; u--) {
    zero_grad(e, u);
    if (comm->rank != 1 || u != 2) zero_grad_done(e, u);
  }
}

// One rank makes a step more than the others.
static void another_end(void *unused) {
  (void)unused;
  ZeroComm *comm = zero_comm_create(NULL);
  ZeroEngine *e = engine_on(comm, 1);
  for (size_t s = 0; s < (comm->rank == 1 ? 2 : 1); s++) {
    fake_backward(e, comm, s, 1, 0.0f, 0);
    zero_step(e, 0.1f);
  }
  zero_destroy(e);
}

static const struct {
  const char *name;
  void (*call)(void *);
  const char *call_named, *unit_named; // in the message; NULL: nothing is wrong with it on one rank
} misuses[] = {
    {"release_without_get", release_without_get, "zero_release without zero_get", "second block"},
    {"release_twice", release_twice, "zero_release without zero_get", "first block"},
    {"done_without_grad", done_without_grad, "zero_grad_done without zero_grad", "final norm"},
    {"done_twice", done_twice, "zero_grad_done without zero_grad", "first block"},
    {"missing_done", missing_done, "call zero_grad_done", "second block"},
    {"done_in_one_of_two", done_in_one_of_two, "1 of 2 micro-steps; call zero_grad_done", "first block"},
    {"three_gradients_open", three_gradients_open, "call zero_grad_done first", "final norm"},
    {"norm_without_micro_begin", norm_without_micro_begin, "zero_norm without zero_micro_begin", ""},
    {"apply_without_norm", apply_without_norm, "zero_apply without zero_norm", ""},
    {"skip_without_norm", skip_without_norm, "zero_skip without zero_norm", ""},
    {"wrong_micro_step", wrong_micro_step, "zero_micro_begin: step 2, expected 1", ""},
    {"read_gradient_too_early", read_gradient_too_early, "zero_read: gradients can be read between", ""},
    {"fill_gradient", fill_gradient, "zero_fill: gradients", ""},
    {"overflow_at_smallest_scale", overflow_at_smallest_scale, "Current loss scale already at minimum", "scale 1"},
    {"three_units_gathered", three_units_gathered, NULL, NULL},
    {"another_call", another_call, NULL, NULL},
    {"another_unit", another_unit, NULL, NULL},
    {"skipped_call", skipped_call, NULL, NULL},
    {"another_end", another_end, NULL, NULL},
};
enum { MISUSES = sizeof misuses / sizeof misuses[0] };

static void test_misuse(void **state) {
  size_t i = *(size_t *)*state;
  check_fatal(misuses[i].call, NULL, misuses[i].call_named, misuses[i].unit_named, NULL);
}

int main(int argc, char **argv) {
  struct CMUnitTest tests[MISUSES];
  size_t numbers[MISUSES], num_alone = 0;
  for (size_t i = 0; i < MISUSES; i++) {
    if (argc == 2 && strcmp(misuses[i].name, argv[1]) == 0) misuses[i].call(NULL);
    if (!misuses[i].call_named) continue;
    numbers[num_alone] = i;
    tests[num_alone] = (struct CMUnitTest){misuses[i].name, test_misuse, NULL, NULL, &numbers[num_alone]};
    num_alone++;
  }
  if (argc == 2) return ZERO_EXIT_OK; // not known, or it went unnoticed
  return _cmocka_run_group_tests("misuse", tests, num_alone, NULL, NULL);
}
