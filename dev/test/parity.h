// What the tests of parity share: bounds, distances between tensors, and how results are judged.
#ifndef TEST_PARITY_H
#define TEST_PARITY_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../zero/zero.h"
#include "fixture.h"

enum { STEPS = 20, NAME_LENGTH = 256 };
#define STEP_LR 1e-4f

// Bounds of the issue "parity": fp32 against float64 on models of a few thousand parameters.
#define LOGITS_BOUND 1e-4 // largest absolute difference; logits are of order 1
#define LOSS_BOUND 1e-5   // relative
#define TENSOR_BOUND 1e-5 // relative L2 of a gradient tensor
#define STATE_BOUND 1e-5  // relative L2 of weights and moments after 20 steps …
#define STATE_RIVAL 3.0   // … or this many times the distance of PyTorch's own fp32 run, where that is larger
// bf16 and fp16: as multiples of the distance of PyTorch's own run in the type (model.to(type), fp32 master weights)
// from float64. Rounding errors of single small tensors scatter more.
#define HALF_RIVAL 1.5       // logits, and gradient tensors of at least HALF_LARGE elements
#define HALF_RIVAL_SMALL 3.0 // smaller tensors
#define HALF_RMS 3.0         // rms distance of the losses over 20 steps
enum { HALF_LARGE = 1000 };

typedef struct {
  int stage, recompute, steps; // steps: are the 20 steps to be run?
  int passed, failed, skipped;
  ZeroComm *comm;
  ZeroDevice *device;
} Test;

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline void
check(Test *test, int ok, const char *format, ...) {
  char text[2 * NAME_LENGTH];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (ok) {
    test->passed++;
  } else {
    test->failed++;
    printf("FAILED %s\n", text);
  }
}

static inline void *allocate(size_t count, size_t size) {
  return zero_malloc(count * size, ZERO_MEM_OTHER);
}

// ---------------------------------------------------------------- comparing

// ||ours - reference|| / ||reference||, both (count); reference 0: ||ours||.
static inline double relative_l2(const float *ours, const float *reference, size_t count) {
  double difference = 0.0, norm = 0.0;
  for (size_t i = 0; i < count; i++) {
    double d = (double)ours[i] - (double)reference[i];
    difference += d * d;
    norm += (double)reference[i] * (double)reference[i];
  }
  return sqrt(norm > 0.0 ? difference / norm : difference);
}

static inline double l2(const float *values, size_t count) {
  double sum = 0.0;
  for (size_t i = 0; i < count; i++) sum += (double)values[i] * (double)values[i];
  return sqrt(sum);
}

static inline double largest_difference(const float *a, const float *b, size_t count) {
  double most = 0.0;
  for (size_t i = 0; i < count; i++) most = fmax(most, fabs((double)a[i] - (double)b[i]));
  return most;
}

static inline int near(double ours, double reference, double bound) {
  return fabs(ours - reference) <= bound * fabs(reference);
}

// relative_l2 of a tensor (count). key: C for the qkv bias, else 0. The true gradient of its key part is 0 (a shift
// of all keys changes no attention weight), so rounding alone moves it: it is left out here and bounded on its own.
static inline double tensor_distance(const float *ours, const float *reference, size_t count, size_t key) {
  if (key == 0) return relative_l2(ours, reference, count);
  float *both = (float *)allocate(2 * count, sizeof(float));
  memcpy(both, ours, count * sizeof(float));
  memcpy(both + count, reference, count * sizeof(float));
  memset(both + key, 0, key * sizeof(float));
  memset(both + count + key, 0, key * sizeof(float));
  double distance = relative_l2(both, both + count, count);
  zero_free(both);
  return distance;
}

// The gradient of a tensor of one layer, in fp32. qkvw: the gradient of the qkv weights (3C, C) where this is their
// bias, which bounds its key part; else NULL.
static inline void check_gradient_tensor(Test *test, const char *model, const char *tensor, size_t layer,
                                         const float *ours, const float *reference, size_t count, const float *qkvw) {
  size_t C = qkvw ? count / 3 : 0;
  if (qkvw) {
    double key = l2(ours + C, C), bound = TENSOR_BOUND * l2(qkvw + C * C, C * C);
    check(test, key <= bound, "%s gradient of key bias, layer %zu: norm %.2e, bound %.2e", model, layer, key, bound);
  }
  double distance = tensor_distance(ours, reference, count, C);
  check(test, l2(ours, count) > 0.0, "%s gradient %s, layer %zu is 0", model, tensor, layer);
  check(test, distance <= TENSOR_BOUND, "%s gradient %s, layer %zu: distance %.2e, bound %.0e", model, tensor, layer,
        distance, TENSOR_BOUND);
}

// The same in a half type; real: elements without padding; rival: PyTorch's distance.
static inline void check_half_tensor(Test *test, const char *model, const char *type, const char *tensor,
                                     size_t layer, const float *ours, const float *reference, size_t count,
                                     size_t key, size_t real, double rival) {
  double bound = (real >= HALF_LARGE ? HALF_RIVAL : HALF_RIVAL_SMALL) * rival;
  double distance = tensor_distance(ours, reference, count, key);
  check(test, distance <= bound, "%s %s gradient %s, layer %zu: distance %.2e, bound %.2e", model, type, tensor,
        layer, distance, bound);
}

// Weights or moments of a tensor after the steps. initial: the qkv bias before them where these are its weights: its
// key part moves by no more than the learning rate in each step; else NULL.
static inline void check_state_tensor(Test *test, const char *run, const char *what, const char *tensor, size_t layer,
                                      const float *ours, const float *reference, size_t count, size_t key,
                                      const float *initial, double rival) {
  if (initial) {
    double moved = largest_difference(ours + key, initial + key, key), bound = STEPS * (double)STEP_LR;
    check(test, moved <= bound, "%s key bias, layer %zu moved by %.2e, bound %.2e", run, layer, moved, bound);
  }
  double distance = tensor_distance(ours, reference, count, key), bound = fmax(STATE_BOUND, STATE_RIVAL * rival);
  check(test, distance <= bound, "%s %s %s, layer %zu: distance %.2e, bound %.2e", run, what, tensor, layer, distance,
        bound);
}

// The rms distance of the losses (STEPS) of a run in a half type.
static inline void check_half_losses(Test *test, const char *model, const char *type, const char *run,
                                     const double *losses, const double *expected, double rival) {
  double sum = 0.0;
  for (int step = 0; step < STEPS; step++) sum += (losses[step] - expected[step]) * (losses[step] - expected[step]);
  double rms = sqrt(sum / STEPS), bound = HALF_RMS * rival;
  check(test, rms <= bound, "%s %s %s losses: rms distance %.2e, bound %.2e", model, type, run, rms, bound);
}

// Losses and norms (STEPS) of a run in fp32.
static inline void check_steps(Test *test, const char *run, const Fixture *f, const double *losses,
                               const double *norms) {
  const char *const names[] = {"loss", "norm"};
  const double *const ours[] = {losses, norms};
  for (int i = 0; i < 2; i++) {
    char name[NAME_LENGTH];
    snprintf(name, sizeof name, "%s%s", run, names[i]);
    size_t count;
    const double *expected = fixture_f64(f, name, &count);
    check(test, count == STEPS, "%s has %zu steps", name, count);
    for (int step = 0; step < STEPS; step++) {
      check(test, near(ours[i][step], expected[step], LOSS_BOUND), "%s %d is %.9g, expected %.9g", name, step,
            ours[i][step], expected[step]);
    }
  }
}

static inline ZeroConfig base_config(const Test *test) {
  ZeroConfig zero;
  zero_config_default(&zero);
  zero.stage = test->stage;
  return zero;
}

static inline ZeroConfig half_config(const Test *test, ZeroType type, const Fixture *rival) {
  ZeroConfig zero = base_config(test);
  zero.type = zero.wire = type;
  zero.loss_scaling.scale = fixture_f64(rival, "loss_scale", NULL)[0];
  return zero;
}

// Failures of all ranks.
static inline int total_failures(const Test *test) {
  size_t ranks = (size_t)test->comm->size;
  double mine = test->failed, sum = 0.0;
  double *all = (double *)allocate(ranks, sizeof(double));
  size_t *offsets = (size_t *)allocate(ranks + 1, sizeof(size_t));
  for (size_t r = 0; r <= ranks; r++) offsets[r] = r;
  test->comm->control_gather(test->comm, &mine, all, offsets);
  for (size_t r = 0; r < ranks; r++) sum += all[r];
  zero_free(all);
  zero_free(offsets);
  return (int)sum;
}

#endif
