// Gradients of models that are cut into units in unusual ways: a single unit, and units that are done in another
// order from micro-step to micro-step. On one rank or several (ZERO_COMM).
#include "../../zero/zero.h"
#include "check.h"

enum { ELEMENTS = 100, STEPS = 3, MICRO_STEPS = 2, MOST_UNITS = 3 };
static const float MICRO_GRADIENT[MICRO_STEPS] = {1.0f, 10.0f};

static ZeroComm *comm;
static ZeroDevice *device;

// Every rank alike. order: of the units in each micro-step.
static void check_sums(int stage, int num_units, int order[MICRO_STEPS][MOST_UNITS]) {
  const ZeroTensor weight = {"weight", 1, {ELEMENTS}, 0};
  ZeroUnit units[MOST_UNITS];
  for (int u = 0; u < num_units; u++) units[u] = (ZeroUnit){"unit", 1, &weight, 0};
  ZeroConfig config;
  zero_config_default(&config);
  config.stage = stage;
  ZeroEngine *e = zero_initialize(&config, units, num_units, comm, device);
  for (int s = 0; s < STEPS; s++) {
    for (int k = 0; k < MICRO_STEPS; k++) {
      zero_micro_begin(e, k, k + 1 == MICRO_STEPS);
      for (int j = 0; j < num_units; j++) {
        int u = order[k][j];
        float *gradient = zero_grad(e, u).data;
        for (int i = 0; i < ELEMENTS; i++) gradient[i] = MICRO_GRADIENT[k] * (float)(u + 1);
        zero_grad_done(e, u);
      }
    }
    zero_norm(e);
    for (int u = 0; u < num_units; u++) {
      float sum[ELEMENTS];
      zero_read(e, ZERO_GRADIENT, u, 0, comm->rank == 0 ? sum : NULL);
      if (comm->rank != 0) continue;
      const float expected = (MICRO_GRADIENT[0] + MICRO_GRADIENT[1]) * (float)((u + 1) * comm->size);
      for (int i = 0; i < ELEMENTS; i++) assert_true(sum[i] == expected);
    }
    zero_apply(e, 0.0f);
  }
  zero_destroy(e);
}

static void test_single_unit(void **state) {
  (void)state;
  int order[MICRO_STEPS][MOST_UNITS] = {{0}, {0}};
  for (int stage = 0; stage <= 3; stage++) check_sums(stage, 1, order);
}

static void test_changing_order(void **state) {
  (void)state;
  int two[MICRO_STEPS][MOST_UNITS] = {{0, 1}, {1, 0}};
  int three[MICRO_STEPS][MOST_UNITS] = {{2, 1, 0}, {0, 2, 1}};
  for (int stage = 0; stage <= 3; stage++) {
    check_sums(stage, 2, two);
    check_sums(stage, 3, three);
  }
}

int main(void) {
  enum { TIME_LIMIT_SECONDS = 60 };
  alarm(TIME_LIMIT_SECONDS); // a deadlock ends here
  comm = zero_comm_create(NULL);
  device = zero_device_cpu();
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_single_unit), cmocka_unit_test(test_changing_order)};
  if (comm->rank != 0 && freopen("/dev/null", "w", stdout) == NULL) return ZERO_EXIT_FAILED;
  if (comm->rank != 0) cmocka_set_message_output(CM_OUTPUT_TAP);
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  zero_comm_destroy(comm);
  zero_device_destroy(device);
  return failed > 0;
}
