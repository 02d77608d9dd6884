// What the files of test_engine share: how its engines are configured, started and trained.
#ifndef TEST_ENGINE_H
#define TEST_ENGINE_H

#include "fake_model.h"
#include "ranks.h"

enum { STAGES = 4, TYPES = 3, STEPS = 5 };
static const ZeroType types[TYPES] = {ZERO_F32, ZERO_BF16, ZERO_F16};
// The initial loss scale: sums of the largest gradients stay below 65,504, the largest fp16.
enum { SCALE_POWER = 7 };
static const double LEARNING_RATE = 0.01;

extern ZeroDevice *device;

static inline ZeroConfig config_of(int stage) {
  ZeroConfig config;
  zero_config_default(&config);
  config.stage = stage;
  config.weight_decay = 0.1;
  config.loss_scaling.initial_power = SCALE_POWER;
  return config;
}

// Gradients travel in the type too and are summed in fp32.
static inline ZeroConfig config_in(ZeroType type, int stage) {
  ZeroConfig config = config_of(stage);
  config.type = config.wire = type;
  return config;
}

// Weights filled, moments 0.
static inline ZeroEngine *start(const ZeroConfig *config) {
  ZeroEngine *e = zero_initialize(config, fake_units, FAKE_UNITS, comm, device);
  ZeroKind kind = ZERO_MASTER;
  zero_fill(e, kind, fake_fill, &kind);
  return e;
}

static inline ZeroStep train_step(ZeroEngine *e, size_t step, int micro_steps) {
  fake_backward(e, comm, step, micro_steps, 0.0f, 0);
  return zero_step(e, (float)LEARNING_RATE);
}

// Tests of engine_cost.c.
void test_memory(void **state);
void test_traffic(void **state);

#endif
