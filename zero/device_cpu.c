// The CPU as a device: memory from the ledger, and the engine's kernels with OpenMP over fixed pieces.
#include <math.h>
#include <string.h>

#include "device.h"
#include "error.h"
#include "optimizer.h"

// Elements that one thread adds at a time: large enough to hide the loop's cost, small enough to share work.
enum { ADD_TILE = 16384 };
// Sums run in this many independent lanes, so that the compiler may use vectors and the order is still fixed.
enum { LANES = 16 };

size_t zero_type_size(ZeroType type) {
  return type == ZERO_F32 ? sizeof(float) : sizeof(unsigned short);
}

const char *zero_type_name(ZeroType type) {
  switch (type) {
    case ZERO_F32:
      return "fp32";
    case ZERO_BF16:
      return "bf16";
    case ZERO_F16:
      return "fp16";
  }
  return "unknown type";
}

static void *cpu_alloc(ZeroDevice *device, size_t bytes, ZeroMemory category) {
  (void)device;
  return zero_malloc(bytes, category);
}

static void cpu_free(ZeroDevice *device, void *ptr) {
  (void)device;
  zero_free(ptr);
}

static void cpu_copy(ZeroDevice *device, void *dst, const void *src, size_t bytes) {
  (void)device;
  memcpy(dst, src, bytes);
}

static void cpu_add(ZeroDevice *device, float *acc, const void *piece, ZeroType type, size_t count, int overwrite) {
  (void)device;
  if (type != ZERO_F32) zero_fatal("add: type %s, expected fp32", zero_type_name(type));
  const float *src = piece;
  size_t tiles = (count + ADD_TILE - 1) / ADD_TILE;
#pragma omp parallel for schedule(static) if (tiles > 1)
  for (size_t tile = 0; tile < tiles; tile++) {
    size_t first = tile * ADD_TILE, end = first + ADD_TILE < count ? first + ADD_TILE : count;
    if (overwrite) {
      memcpy(acc + first, src + first, (end - first) * sizeof(float));
    } else {
      for (size_t i = first; i < end; i++) acc[i] += src[i];
    }
  }
}

// Sum of squares of one piece: LANES partial sums, then the tail, then the lanes in order.
static double piece_sum_squares(const float *grad, size_t count) { // (count)
  double lane[LANES] = {0};
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    for (size_t j = 0; j < LANES; j++) lane[j] += (double)grad[i + j] * (double)grad[i + j];
  }
  for (size_t j = 0; i + j < count; j++) lane[j] += (double)grad[i + j] * (double)grad[i + j];
  double sum = 0.0;
  for (size_t j = 0; j < LANES; j++) sum += lane[j];
  return sum;
}

static void cpu_sum_squares(ZeroDevice *device, const float *grad, const ZeroPiece *pieces, size_t num_pieces,
                            double *sums) {
  (void)device;
#pragma omp parallel for schedule(static) if (num_pieces > LANES)
  for (size_t p = 0; p < num_pieces; p++) sums[p] = piece_sum_squares(grad + pieces[p].first, pieces[p].count);
}

static void cpu_adamw(ZeroDevice *device, const ZeroAdamW *step, float *master, float *exp_avg, float *exp_avg_sq,
                      const float *grad, const ZeroPiece *pieces, size_t num_pieces) {
  (void)device;
  const ZeroAdamWFactors factors = zero_adamw_factors(step);
#pragma omp parallel for schedule(static) if (num_pieces > LANES)
  for (size_t p = 0; p < num_pieces; p++) {
    size_t first = pieces[p].first;
    zero_adamw_piece(&factors, master + first, exp_avg + first, exp_avg_sq + first, grad + first, pieces[p].count,
                     pieces[p].decay);
  }
}

ZeroDevice *zero_device_cpu(void) {
  ZeroDevice *device = zero_malloc(sizeof *device, ZERO_MEM_OTHER);
  *device = (ZeroDevice){.name = "cpu",
                         .stream = NULL,
                         .alloc = cpu_alloc,
                         .free = cpu_free,
                         .copy = cpu_copy,
                         .add = cpu_add,
                         .sum_squares = cpu_sum_squares,
                         .adamw = cpu_adamw};
  return device;
}

void zero_device_destroy(ZeroDevice *device) {
  zero_free(device);
}
