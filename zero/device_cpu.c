// The CPU as a device: memory from the ledger, and the engine's kernels with OpenMP over fixed pieces.
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "device.h"
#include "half.h"
#include "optimizer.h"
#include "stochastic.h"

// Elements that are added at a time: what is widened on the way stays in the first-level cache.
enum { ADD_TILE = 2048, THREADED_TILES = 8 };
// Bytes that a cache takes at once; how far ahead it is told of them, in a copy and in a sum of several pieces.
enum { LINE = 64, AHEAD = 16 * LINE, AHEAD_OF_SUMS = 32 * LINE };
// Copies from here on are of more than the second-level cache holds and are not read again soon. Sums, of which AdamW
// is the next reader, leave the caches to the pieces from half of it on.
#define PAST_CACHES ((size_t)4 << 20)
#define SUMS_PAST_CACHES ((size_t)512 << 10)
#define CACHED_SUMS ((size_t)64 << 10) // elements of sums that stay in a core's cache while pieces are added
enum { PIECE_ELEMENTS = 1024 };        // a piece lies in one chunk
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

// A line to where a line begins.
static inline void store_past_caches(char *dst, const void *line) {
#if defined(__AVX512F__)
  _mm512_stream_si512((void *)dst, _mm512_loadu_si512(line)); // from a register: no way through memory
#elif defined(__SSE2__)
  enum { VECTORS = LINE / sizeof(__m128i) };
  __m128i parts[VECTORS];
  memcpy(parts, line, LINE);
  for (int i = 0; i < (int)VECTORS; i++) _mm_stream_si128((__m128i *)dst + i, parts[i]);
#else
  memcpy(dst, line, LINE);
#endif
}

// Before another rank is told that the lines are there.
static inline void finish_past_caches(void) {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Past the caches, so that a line that is overwritten whole is not read first: a third of the traffic of a copy that
// comes from memory and goes there.
static void copy_past_caches(char *dst, const char *src, size_t bytes) {
  const size_t head = (LINE - (uintptr_t)dst % LINE) % LINE, end = head + (bytes - head) / LINE * LINE;
  memcpy(dst, src, head);
  for (size_t at = head; at < end; at += LINE) {
    __builtin_prefetch(src + at + AHEAD, 0, 2); // past the second-level cache some are half as fast
    store_past_caches(dst + at, src + at);
  }
  finish_past_caches();
  memcpy(dst + end, src + end, bytes - end);
}

static void cpu_copy(ZeroDevice *device, void *dst, const void *src, size_t bytes) {
  (void)device;
  if (bytes < PAST_CACHES) {
    memcpy(dst, src, bytes);
  } else {
    copy_past_caches(dst, src, bytes);
  }
}

// The queue is empty whenever a call has returned.
static void cpu_synchronize(ZeroDevice *device) {
  (void)device;
}

static ZeroEvent cpu_event_create(ZeroDevice *device) {
  (void)device;
  return NULL;
}

static void cpu_event_nothing(ZeroDevice *device, ZeroEvent event) {
  (void)device, (void)event;
}

static size_t cpu_in_use_peak(ZeroDevice *device) {
  (void)device;
  return 0;
}

// n elements as fp32.
static void widen(float *restrict out, const void *src, ZeroType type, size_t n) {
  const uint16_t *half = src;
  switch (type) {
    case ZERO_F32:
      memcpy(out, src, n * sizeof(float));
      break;
    case ZERO_BF16:
      for (size_t i = 0; i < n; i++) out[i] = zero_bf16_to_f32(half[i]);
      break;
    case ZERO_F16:
      for (size_t i = 0; i < n; i++) out[i] = zero_f16_to_f32(half[i]);
      break;
  }
}

// n elements rounded to the type.
static void narrow(void *dst, ZeroType type, const float *restrict values, size_t n) {
  uint16_t *half = dst;
  switch (type) {
    case ZERO_F32:
      memcpy(dst, values, n * sizeof(float));
      break;
    case ZERO_BF16:
      for (size_t i = 0; i < n; i++) half[i] = zero_f32_to_bf16(values[i]);
      break;
    case ZERO_F16:
      for (size_t i = 0; i < n; i++) half[i] = zero_f32_to_f16(values[i]);
      break;
  }
}

// One tile: acc = piece or acc += piece. What is fp32 is added where it lies, half types are widened on the side.
static void add_tile(void *acc, ZeroType acc_type, const void *piece, ZeroType type, size_t n, int overwrite) {
  if (acc_type == type && overwrite) {
    memcpy(acc, piece, n * zero_type_size(type));
    return;
  }
  float widened[ADD_TILE], sums[ADD_TILE];
  const float *values = piece;
  if (type != ZERO_F32) {
    widen(widened, piece, type, n);
    values = widened;
  }
  if (overwrite) {
    narrow(acc, acc_type, values, n);
    return;
  }
  float *sum = acc;
  if (acc_type != ZERO_F32) {
    widen(sums, acc, acc_type, n);
    sum = sums;
  }
  for (size_t i = 0; i < n; i++) sum[i] += values[i];
  if (acc_type != ZERO_F32) narrow(acc, acc_type, sums, n);
}

static void cpu_add(ZeroDevice *device, void *acc, ZeroType acc_type, const void *piece, ZeroType type, size_t count,
                    int overwrite) {
  (void)device;
  size_t tiles = (count + ADD_TILE - 1) / ADD_TILE;
  size_t acc_size = zero_type_size(acc_type), size = zero_type_size(type);
#pragma omp parallel for schedule(static) if (tiles > THREADED_TILES)
  for (size_t tile = 0; tile < tiles; tile++) {
    size_t first = tile * ADD_TILE, n = count - first < ADD_TILE ? count - first : ADD_TILE;
    add_tile((char *)acc + first * acc_size, acc_type, (const char *)piece + first * size, type, n, overwrite);
  }
}

typedef float Line __attribute__((vector_size(LINE)));

enum { IN_LINE = LINE / sizeof(float) };

// A stretch of one piece as it is read before the next piece's turn comes: few turns, and sums that stay in
// registers.
enum { STRETCH_LINES = 4, IN_STRETCH = STRETCH_LINES * IN_LINE };

static inline __attribute__((always_inline)) void read_stretch(Line *values, const float *from) {
#pragma GCC unroll 4
  for (int l = 0; l < STRETCH_LINES; l++) {
    memcpy(&values[l], from + l * IN_LINE, LINE);
    const char *line = (const char *)(from + l * IN_LINE);
    __builtin_prefetch(line + AHEAD_OF_SUMS, 0, 2); // into the second-level cache: there are many streams
  }
}

// acc's stretch at element `at` += the pieces', or = it with overwrite. A call for every stretch would take a tenth.
static inline __attribute__((always_inline)) void add_stretch(float *acc, const void *const *pieces, int num_pieces,
                                                              size_t at, int overwrite, const int past_caches) {
  Line sum[STRETCH_LINES], values[STRETCH_LINES];
  read_stretch(sum, (overwrite ? (const float *)pieces[0] : acc) + at);
  for (int p = overwrite ? 1 : 0; p < num_pieces; p++) {
    read_stretch(values, (const float *)pieces[p] + at);
#pragma GCC unroll 4
    for (int l = 0; l < STRETCH_LINES; l++) sum[l] += values[l];
  }
#pragma GCC unroll 4
  for (int l = 0; l < STRETCH_LINES; l++) {
    if (past_caches) {
      store_past_caches((char *)(acc + at + l * IN_LINE), &sum[l]);
    } else {
      memcpy(acc + at + l * IN_LINE, &sum[l], LINE);
    }
  }
}

// Stretches of acc from element `first` on, where a line begins: each piece is read once, acc is written once.
static void add_stretches(float *acc, const void *const *pieces, int num_pieces, size_t first, size_t stretches,
                          int overwrite) {
  const int past_caches = overwrite && stretches * IN_STRETCH * sizeof *acc >= SUMS_PAST_CACHES;
#pragma omp parallel if (stretches * IN_STRETCH > THREADED_TILES * ADD_TILE)
  {
    if (past_caches) {
#pragma omp for schedule(static) nowait
      for (size_t i = 0; i < stretches; i++) add_stretch(acc, pieces, num_pieces, first + i * IN_STRETCH, 1, 1);
      finish_past_caches(); // each thread its own
    } else {
#pragma omp for schedule(static) nowait
      for (size_t i = 0; i < stretches; i++) {
        add_stretch(acc, pieces, num_pieces, first + i * IN_STRETCH, overwrite, 0);
      }
    }
  }
}

static void cpu_add_pieces(ZeroDevice *device, void *acc, ZeroType acc_type, const void *const *pieces,
                           int num_pieces, ZeroType type, size_t count, int overwrite) {
  size_t done = 0;
  if (acc_type == ZERO_F32 && type == ZERO_F32 && count >= IN_LINE) {
    const size_t head = (LINE - (uintptr_t)acc % LINE) % LINE / sizeof(float);
    const size_t stretches = (count - head) / IN_STRETCH;
    for (int p = 0; p < num_pieces; p++) cpu_add(device, acc, acc_type, pieces[p], type, head, overwrite && p == 0);
    add_stretches(acc, pieces, num_pieces, head, stretches, overwrite);
    done = head + stretches * IN_STRETCH;
  }
  // The rest of it, or types that are widened on the way: piece by piece, of sums that stay in the cache.
  const size_t acc_size = zero_type_size(acc_type), size = zero_type_size(type);
  for (size_t at = done, n; at < count; at += n) {
    n = count - at < CACHED_SUMS ? count - at : CACHED_SUMS;
    for (int p = 0; p < num_pieces; p++) {
      cpu_add(device, (char *)acc + at * acc_size, acc_type, (const char *)pieces[p] + at * size, type, n,
              overwrite && p == 0);
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

// The piece's gradient as fp32: where it lies, or through `widened` (PIECE_ELEMENTS).
static const float *piece_gradient(const ZeroShards *kept, const ZeroPiece *piece, float *widened) {
  const void *grad = kept->shards[piece->shard].grad;
  if (kept->grad_type == ZERO_F32) return (const float *)grad + piece->first;
  widen(widened, (const uint16_t *)grad + piece->first, kept->grad_type, piece->count);
  return widened;
}

static void cpu_sum_squares(ZeroDevice *device, const ZeroShards *kept, double *sums) {
  (void)device;
#pragma omp parallel for schedule(static) if (kept->num_own > LANES)
  for (size_t p = 0; p < kept->num_own; p++) {
    float widened[PIECE_ELEMENTS];
    sums[p] = piece_sum_squares(piece_gradient(kept, &kept->pieces[p], widened), kept->pieces[p].count);
  }
}

// n elements, numbered from `parameter` on, rounded stochastically to a half type.
static void narrow_stochastic(void *dst, ZeroType type, const float *restrict values, size_t n, uint64_t parameter,
                              const ZeroRounding *rounding) {
  uint32_t draws[PIECE_ELEMENTS + 2 * ZERO_DRAWS]; // whole blocks around the piece
  const uint64_t first_block = parameter / ZERO_DRAWS;
  const size_t skipped = parameter % ZERO_DRAWS, blocks = (skipped + n + ZERO_DRAWS - 1) / ZERO_DRAWS;
  const uint32_t *draw = draws + skipped;
  uint16_t *restrict half = dst;
#pragma omp simd
  for (size_t b = 0; b < blocks; b++) {
    zero_rounding_draws(rounding->seed, rounding->step, first_block + b, draws + b * ZERO_DRAWS);
  }
  if (type == ZERO_BF16) {
    for (size_t i = 0; i < n; i++) half[i] = zero_f32_to_bf16_stochastic(values[i], draw[i]);
  } else {
    for (size_t i = 0; i < n; i++) half[i] = zero_f32_to_f16_stochastic(values[i], draw[i]);
  }
}

// The piece's parameters from its master weights.
static void round_piece(const ZeroShards *kept, const ZeroPiece *piece, const ZeroRounding *rounding) {
  const ZeroShard *shard = &kept->shards[piece->shard];
  if (shard->params == NULL) return;
  void *params = (char *)shard->params + piece->first * zero_type_size(kept->param_type);
  const float *master = shard->master + piece->first;
  if (rounding->stochastic && kept->param_type != ZERO_F32) {
    narrow_stochastic(params, kept->param_type, master, piece->count, shard->first_parameter + piece->first,
                      rounding);
  } else {
    narrow(params, kept->param_type, master, piece->count);
  }
}

static void cpu_adamw(ZeroDevice *device, const ZeroAdamW *step, const ZeroRounding *rounding,
                      const ZeroShards *kept) {
  (void)device;
  const ZeroAdamWFactors factors = zero_adamw_factors(step);
#pragma omp parallel for schedule(static) if (kept->num_pieces > LANES)
  for (size_t p = 0; p < kept->num_pieces; p++) {
    float widened[PIECE_ELEMENTS];
    const ZeroPiece *piece = &kept->pieces[p];
    const ZeroShard *shard = &kept->shards[piece->shard];
    zero_adamw_piece(&factors, shard->master + piece->first, shard->exp_avg + piece->first,
                     shard->exp_avg_sq + piece->first, piece_gradient(kept, piece, widened), piece->count,
                     piece->decay);
    round_piece(kept, piece, rounding);
  }
}

static void cpu_round(ZeroDevice *device, const ZeroRounding *rounding, const ZeroShards *kept) {
  (void)device;
#pragma omp parallel for schedule(static) if (kept->num_pieces > LANES)
  for (size_t p = 0; p < kept->num_pieces; p++) round_piece(kept, &kept->pieces[p], rounding);
}

static void cpu_destroy(ZeroDevice *device) {
  zero_free(device);
}

ZeroDevice *zero_device_cpu(void) {
  ZeroDevice *device = zero_malloc(sizeof *device, ZERO_MEM_OTHER);
  *device = (ZeroDevice){.name = "cpu",
                         .stream = NULL,
                         .host_memory = 1,
                         .alloc = cpu_alloc,
                         .free = cpu_free,
                         .alloc_host = cpu_alloc,
                         .free_host = cpu_free,
                         .copy = cpu_copy,
                         .to_host = cpu_copy,
                         .from_host = cpu_copy,
                         .to_host_async = cpu_copy,
                         .from_host_async = cpu_copy,
                         .event_create = cpu_event_create,
                         .event_destroy = cpu_event_nothing,
                         .event_record = cpu_event_nothing,
                         .event_wait = cpu_event_nothing,
                         .synchronize = cpu_synchronize,
                         .in_use_peak = cpu_in_use_peak,
                         .add = cpu_add,
                         .add_pieces = cpu_add_pieces,
                         .sum_squares = cpu_sum_squares,
                         .adamw = cpu_adamw,
                         .round = cpu_round,
                         .destroy = cpu_destroy};
  return device;
}

void zero_device_destroy(ZeroDevice *device) {
  if (device != NULL) device->destroy(device);
}
