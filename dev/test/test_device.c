// The engine's kernels on a device against plain loops: memory, queued copies, adding pieces, sums of squares, AdamW,
// stochastic rounding, in every type, at odd and even lengths and addresses. Built with ZERO_CUDA for a GPU or the
// emulator, else for the CPU.
#include <math.h>

#include "../../llmc/micro_batches.h"
#include "../../zero/device.h"
#include "../../zero/half.h"
#include "../../zero/stochastic.h"
#include "../../zero/zero.h"
#include "check.h"
#include "result_hash.h"

static ZeroDevice *device;

static const ZeroType types[] = {ZERO_F32, ZERO_BF16, ZERO_F16};
enum { TYPES = sizeof types / sizeof types[0] };
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// ---------------------------------------------------------------- data
// Uniform in [-1, 1], the same on every run (splitmix64).
static float random_value(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return 2.0f * (float)((z ^ (z >> 31)) >> 40) / 16777216.0f - 1.0f;
}

static float read_element(const void *data, size_t i, ZeroType type) {
  return type == ZERO_F32    ? ((const float *)data)[i]
         : type == ZERO_BF16 ? zero_bf16_to_f32(((const uint16_t *)data)[i])
                             : zero_f16_to_f32(((const uint16_t *)data)[i]);
}

static void write_element(void *data, size_t i, float x, ZeroType type) {
  if (type == ZERO_F32) ((float *)data)[i] = x;
  if (type == ZERO_BF16) ((uint16_t *)data)[i] = zero_f32_to_bf16(x);
  if (type == ZERO_F16) ((uint16_t *)data)[i] = zero_f32_to_f16(x);
}

// Random elements on the host; the device gets them from upload, gives them back to download.
static void *random_elements(size_t count, ZeroType type, uint64_t seed) {
  char *data = malloc(count * zero_type_size(type) + 1);
  assert_non_null(data);
  for (size_t i = 0; i < count; i++) write_element(data, i, random_value(&seed), type);
  return data;
}

static void *upload(const void *host, size_t bytes) {
  void *data = device->alloc(device, bytes, ZERO_MEM_OTHER);
  device->from_host(device, data, host, bytes);
  return data;
}

static void *download(void *data, size_t bytes) {
  void *host = malloc(bytes);
  assert_non_null(host);
  device->to_host(device, host, data, bytes);
  hash_result(host, bytes);
  device->free(device, data);
  return host;
}

// ---------------------------------------------------------------- memory
static void test_memory(void **state) {
  (void)state;
  enum { BYTES = 5000 };
  size_t before = zero_ledger_now(ZERO_MEM_ACTIVATIONS);
  assert_null(device->alloc(device, 0, ZERO_MEM_ACTIVATIONS));
  device->free(device, NULL);
  unsigned char *a = device->alloc(device, BYTES, ZERO_MEM_ACTIVATIONS);
  unsigned char *b = device->alloc_host(device, BYTES, ZERO_MEM_ACTIVATIONS);
  assert_int_equal((uintptr_t)a % 64, 0);
  assert_int_equal(zero_ledger_now(ZERO_MEM_ACTIVATIONS), before + 2 * BYTES);
  unsigned char host[BYTES], zeros[BYTES] = {0};
  memset(host, 1, BYTES);
  device->to_host(device, host, a, BYTES);
  assert_memory_equal(host, zeros, BYTES);
  assert_memory_equal(b, zeros, BYTES);

  for (size_t i = 0; i < BYTES; i++) host[i] = (unsigned char)(i * 7);
  device->from_host(device, a, host, BYTES);
  unsigned char *c = device->alloc(device, BYTES, ZERO_MEM_ACTIVATIONS);
  device->copy(device, c + 3, a + 1, BYTES - 3);
  device->to_host(device, b, c, BYTES);
  assert_memory_equal(b, zeros, 3);
  assert_memory_equal(b + 3, host + 1, BYTES - 3);
  device->synchronize(device);
  device->free(device, a), device->free(device, c), device->free_host(device, b);
  assert_int_equal(zero_ledger_now(ZERO_MEM_ACTIVATIONS), before);
}

// The peak stays when memory goes, page-locked memory of the host is not in it, and the driver has given out at least
// what we hold.
static void test_memory_peak(void **state) {
  (void)state;
  enum { BYTES = 3 << 20 };
  size_t start = zero_ledger_device_peak(), start_in_use = device->in_use_peak(device);
  void *a = device->alloc(device, start + BYTES, ZERO_MEM_OTHER);
  void *b = device->alloc_host(device, BYTES, ZERO_MEM_OTHER);
  device->free(device, a);
  device->free_host(device, b);
  size_t held = zero_ledger_device_peak(), in_use = device->in_use_peak(device);
  if (device->host_memory) {
    assert_true(start == 0 && held == 0 && in_use == 0);
  } else {
    assert_int_equal(held, start + BYTES); // nothing else is held between the tests
    assert_true(in_use >= held && in_use >= start_in_use);
  }
}

// ---------------------------------------------------------------- large arrays, which go past the caches
enum { LARGE = (1 << 20) + 19, MOST_PIECES = 3, SKIPS = 17 }; // elements; where an array may begin

// Bits that are numbers, not NaN, in every type.
static void fill_halves(uint16_t *values, size_t count, unsigned seed) {
  for (size_t i = 0; i < count; i++) values[i] = (uint16_t)((i * 2654435761u + seed) % 0x4000u);
}

// Several pieces at once give the bits of one after the other, wherever they lie.
static void test_add_pieces(void **state) {
  (void)state;
  if (device->add_pieces == NULL) skip();
  const size_t counts[] = {1, 1000, LARGE}, skips[] = {0, 1, SKIPS};
  const ZeroType types[][2] = {{ZERO_F32, ZERO_F32}, {ZERO_F32, ZERO_BF16}, {ZERO_BF16, ZERO_BF16}}; // of acc, pieces
  const size_t bytes = (LARGE + SKIPS) * sizeof(float);
  char *once = device->alloc(device, bytes, ZERO_MEM_OTHER), *each = device->alloc(device, bytes, ZERO_MEM_OTHER);
  char *memory = device->alloc(device, MOST_PIECES * bytes, ZERO_MEM_OTHER);
  fill_halves((uint16_t *)memory, MOST_PIECES * bytes / sizeof(uint16_t), 1);
  for (size_t c = 0; c < 3 * 3 * 3 * MOST_PIECES * 2; c++) {
    const size_t count = counts[c % 3], skip_by = skips[c / 3 % 3];
    const ZeroType acc_type = types[c / 9 % 3][0], type = types[c / 9 % 3][1];
    const int num = 1 + (int)(c / 27 % MOST_PIECES), overwrite = (int)(c / (27 * MOST_PIECES));
    const void *pieces[MOST_PIECES];
    char *sum = each + skip_by * zero_type_size(acc_type);
    fill_halves((uint16_t *)once, bytes / sizeof(uint16_t), 2);
    memcpy(each, once, bytes);
    for (int p = 0; p < num; p++) {
      pieces[p] = memory + (size_t)p * bytes + skip_by * zero_type_size(type);
      device->add(device, sum, acc_type, pieces[p], type, count, overwrite && p == 0);
    }
    device->add_pieces(device, once + skip_by * zero_type_size(acc_type), acc_type, pieces, num, type, count,
                       overwrite);
    if (memcmp(once, each, bytes) != 0) {
      fail_msg("%d pieces of %zu %s into %s, skip %zu, overwrite %d: other bits", num, count, zero_type_name(type),
               zero_type_name(acc_type), skip_by, overwrite);
    }
  }
  device->free(device, once), device->free(device, each), device->free(device, memory);
}

static void test_large_copies(void **state) {
  (void)state;
  const size_t bytes = LARGE * sizeof(float), ends[] = {0, 1, SKIPS};
  char *src = zero_malloc(bytes, ZERO_MEM_OTHER), *back = zero_malloc(bytes, ZERO_MEM_OTHER);
  char *from = device->alloc(device, bytes, ZERO_MEM_OTHER), *to = device->alloc(device, bytes, ZERO_MEM_OTHER);
  for (size_t i = 0; i < bytes; i++) src[i] = (char)(1 + i % 101);
  device->from_host(device, from, src, bytes);
  for (size_t c = 0; c < 3 * 3; c++) {
    const size_t at = ends[c % 3], length = bytes - at - ends[c / 3];
    memset(back, 0, bytes);
    device->from_host(device, to, back, bytes);
    device->copy(device, to + at, from + ends[c / 3], length);
    device->to_host(device, back, to, bytes);
    for (size_t i = 0; i < at; i++) assert_int_equal(back[i], 0);
    assert_memory_equal(back + at, src + ends[c / 3], length);
    for (size_t i = at + length; i < bytes; i++) assert_int_equal(back[i], 0);
  }
  device->free(device, from), device->free(device, to);
  zero_free(src), zero_free(back);
}

// ---------------------------------------------------------------- queued copies
// A page-locked place used again and again, each time once an event says that it was fetched.
static void test_queued_copies(void **state) {
  (void)state;
  enum { COUNT = 1000, ROUNDS = 5 };
  const size_t bytes = COUNT * sizeof(float);
  float *slot = device->alloc_host(device, bytes, ZERO_MEM_OTHER);
  float *back = device->alloc_host(device, ROUNDS * bytes, ZERO_MEM_OTHER);
  float *sum = device->alloc(device, bytes, ZERO_MEM_OTHER), *piece = device->alloc(device, bytes, ZERO_MEM_OTHER);
  ZeroEvent fetched = device->event_create(device), arrived = device->event_create(device);
  device->event_wait(device, fetched); // never recorded: no wait
  for (int round = 0; round < ROUNDS; round++) {
    device->event_wait(device, fetched);
    for (int i = 0; i < COUNT; i++) slot[i] = (float)(i + round);
    device->from_host_async(device, piece, slot, bytes);
    device->event_record(device, fetched);
    device->add(device, sum, ZERO_F32, piece, ZERO_F32, COUNT, round == 0);
    device->to_host_async(device, back + round * COUNT, sum, bytes);
  }
  device->event_record(device, arrived);
  device->event_wait(device, arrived);
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < COUNT; i++) {
      assert_true(back[round * COUNT + i] == (float)((round + 1) * i + round * (round + 1) / 2));
    }
  }
  device->event_destroy(device, fetched), device->event_destroy(device, arrived);
  device->free_host(device, slot), device->free_host(device, back);
  device->free(device, sum), device->free(device, piece);
}

// More micro-batches than may be under way: every sum is that of its own tokens, and the device reads the host's
// memory itself where it can.
static void test_micro_batches(void **state) {
  (void)state;
  enum { INTS = 300, ROWS = 250, PENDING = 3, BATCHES = 8 };
  const float third = 1.0f / 3.0f; // as an int's bits: a sum that its order shows in
  double sums[BATCHES], want[BATCHES];
  MicroBatches *m = micro_batches_create(device, INTS, ROWS, PENDING);
  for (int k = 0; k < BATCHES; k++) {
    int *host = micro_batches_fill(m);
    want[k] = 0.0;
    for (int i = 0; i < INTS; i++) {
      const float loss = third * (float)(k * INTS + i + 1);
      memcpy(&host[i], &loss, sizeof loss);
      if (i < ROWS) want[k] += (double)loss;
    }
    sums[k] = -1.0;
    const int *sent = micro_batches_send(m);
    assert_int_equal(sent == host, device->host_memory);
    micro_batches_take_losses(m, (const float *)(const void *)sent, ROWS, &sums[k]);
  }
  micro_batches_finish(m);
  for (int k = 0; k < BATCHES; k++) assert_true(sums[k] == want[k]);
  micro_batches_destroy(m);
}

#ifdef ZERO_CUDA
static float pageable[8];
static void from_pageable(void *data) {
  device->from_host_async(device, data, pageable, sizeof pageable);
}
static void to_pageable(void *data) {
  device->to_host_async(device, pageable, data, sizeof pageable);
}

// CUDA would make such a copy wait without a word. On the emulator: a GPU is lost to the process that check_fatal
// starts.
static void test_pageable_refused(void **state) {
  (void)state;
  if (getenv("ZERO_EMU_UNIFIED") == NULL) skip();
  void *data = device->alloc(device, sizeof pageable, ZERO_MEM_OTHER);
  check_fatal(from_pageable, data, "from_host_async", "not page-locked", NULL);
  check_fatal(to_pageable, data, "to_host_async", "not page-locked", NULL);
  device->free(device, data);
}
#endif

// ---------------------------------------------------------------- add
// One case: elements [skip, skip + count) of the two arrays; those around them stay as they are.
static void check_add(ZeroType acc_type, ZeroType type, size_t skip, size_t count, int overwrite) {
  size_t total = count + 2 * skip, acc_size = zero_type_size(acc_type), size = zero_type_size(type);
  void *acc = random_elements(total, acc_type, 1), *piece = random_elements(total, type, 2);
  void *want = random_elements(total, acc_type, 1);
  for (size_t i = skip; i < skip + count; i++) {
    float x = read_element(piece, i, type);
    write_element(want, i, overwrite ? x : read_element(acc, i, acc_type) + x, acc_type);
  }
  char *device_acc = upload(acc, total * acc_size), *device_piece = upload(piece, total * size);
  device->add(device, device_acc + skip * acc_size, acc_type, device_piece + skip * size, type, count, overwrite);
  void *got = download(device_acc, total * acc_size);
  assert_memory_equal(got, want, total * acc_size);
  device->free(device, device_piece);
  free(acc), free(piece), free(want), free(got);
}

static void test_add(void **state) {
  (void)state;
  static const size_t counts[] = {1, 7, 8, 1000, 4099};
  for (int a = 0; a < TYPES; a++) {
    for (int t = 0; t < TYPES; t++) {
      for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (int overwrite = 0; overwrite < 2; overwrite++) {
          check_add(types[a], types[t], 64, counts[c], overwrite);
          check_add(types[a], types[t], 3, counts[c], overwrite);
        }
      }
    }
  }
}

// ---------------------------------------------------------------- shards
// Two shards of one length, the second at odd addresses, with gaps between their pieces; the first's second and the
// second's last piece hold the same gradients. The first PIECES - 1 count as own.
enum { SHARDS = 2, ELEMENTS = 2602 };
static const ZeroPiece pieces[] = {{0, 1024, 0, 1},    {1088, 100, 0, 0}, {1216, 1, 0, 1},   {1280, 33, 1, 1},
                                   {1344, 1000, 1, 0}, {2500, 100, 1, 1}, {1344, 1000, 0, 1}};
enum { PIECES = sizeof pieces / sizeof pieces[0], OWN = PIECES - 1, TWIN = 1, OTHER_TWIN = 5 };
// Numbers of the shards' first elements: beyond 32 bits and at no multiple of anything but 4.
static const uint64_t first_parameters[SHARDS] = {12, (UINT64_C(1) << 34) - 8};

typedef struct {
  float *master, *exp_avg, *exp_avg_sq; // (SHARDS, ELEMENTS)
  void *grad, *params;
} Model;

static Model new_model(ZeroType grad_type, ZeroType param_type) {
  enum { ALL = SHARDS * ELEMENTS };
  Model model = {random_elements(ALL, ZERO_F32, 4), random_elements(ALL, ZERO_F32, 5),
                 random_elements(ALL, ZERO_F32, 6), random_elements(ALL, grad_type, 7),
                 random_elements(ALL, param_type, 8)};
  for (size_t i = 0; i < ALL; i++) model.exp_avg_sq[i] = fabsf(model.exp_avg_sq[i]);
  size_t size = zero_type_size(grad_type);
  const ZeroPiece *from = &pieces[TWIN], *to = &pieces[OTHER_TWIN];
  memcpy((char *)model.grad + (ELEMENTS + to->first) * size, (char *)model.grad + from->first * size,
         from->count * size);
  return model;
}

static void free_model(Model model) {
  free(model.master), free(model.exp_avg), free(model.exp_avg_sq), free(model.grad), free(model.params);
}

// The model on the device with a list of pieces.
typedef struct {
  ZeroShards kept;
  Model on_device;
  size_t bytes, grad_bytes, param_bytes;
} Kept;

static Kept upload_model(const Model *model, ZeroType grad_type, ZeroType param_type, int with_params,
                         const ZeroPiece *list, size_t count) {
  const size_t all = SHARDS * ELEMENTS;
  Kept k = {.bytes = all * sizeof(float),
            .grad_bytes = all * zero_type_size(grad_type),
            .param_bytes = all * zero_type_size(param_type)};
  k.on_device =
      (Model){upload(model->master, k.bytes), upload(model->exp_avg, k.bytes), upload(model->exp_avg_sq, k.bytes),
              upload(model->grad, k.grad_bytes), upload(model->params, k.param_bytes)};
  ZeroShard shards[SHARDS];
  for (size_t s = 0; s < SHARDS; s++) {
    size_t at = s * ELEMENTS;
    shards[s] = (ZeroShard){k.on_device.master + at,
                            k.on_device.exp_avg + at,
                            k.on_device.exp_avg_sq + at,
                            (char *)k.on_device.grad + at * zero_type_size(grad_type),
                            with_params ? (char *)k.on_device.params + at * zero_type_size(param_type) : NULL,
                            first_parameters[s]};
  }
  k.kept = (ZeroShards){.grad_type = grad_type,
                        .param_type = param_type,
                        .shards = upload(shards, sizeof shards),
                        .pieces = upload(list, count * sizeof *list),
                        .num_pieces = count,
                        .num_own = count < OWN ? count : OWN,
                        .sums = device->alloc(device, count * sizeof(double), ZERO_MEM_OTHER)};
  return k;
}

// Into `model`, whose memory it replaces.
static void download_model(Kept *k, Model *model) {
  device->free(device, (void *)k->kept.shards), device->free(device, (void *)k->kept.pieces);
  device->free(device, k->kept.sums);
  free_model(*model);
  *model = (Model){download(k->on_device.master, k->bytes), download(k->on_device.exp_avg, k->bytes),
                   download(k->on_device.exp_avg_sq, k->bytes), download(k->on_device.grad, k->grad_bytes),
                   download(k->on_device.params, k->param_bytes)};
}

// Element i of piece p in (SHARDS, ELEMENTS), and its number among the model's parameters.
static size_t element(const ZeroPiece *piece, size_t i) {
  return piece->shard * (size_t)ELEMENTS + piece->first + i;
}
static uint64_t parameter(const ZeroPiece *piece, size_t i) {
  return first_parameters[piece->shard] + piece->first + i;
}

// ---------------------------------------------------------------- sums of squares
static void sum_squares(Model *model, ZeroType type, double *sums) {
  Kept k = upload_model(model, type, ZERO_F32, 0, pieces, PIECES);
  sums[OWN] = -1.0;
  device->sum_squares(device, &k.kept, sums);
  assert_true(sums[OWN] == -1.0);
  download_model(&k, model);
  hash_result(sums, OWN * sizeof *sums);
}

static void test_sum_squares(void **state) {
  (void)state;
  for (int t = 0; t < TYPES; t++) {
    Model model = new_model(types[t], ZERO_F32);
    double sums[PIECES];
    sum_squares(&model, types[t], sums);
    for (int p = 0; p < OWN; p++) {
      double want = 0;
      for (size_t i = 0; i < pieces[p].count; i++) {
        double x = read_element(model.grad, element(&pieces[p], i), types[t]);
        want += x * x;
      }
      assert_true(want > 0 && fabs(sums[p] - want) <= 1e-13 * want); // 1,024 roundings of 2^-53
    }
    assert_true(sums[TWIN] == sums[OTHER_TWIN]);
    free_model(model);
  }
}

static void test_overflow(void **state) {
  (void)state;
  for (int t = 0; t < TYPES; t++) {
    Model model = new_model(types[t], ZERO_F32);
    double sums[PIECES];
    write_element(model.grad, 1023, INFINITY, types[t]);
    write_element(model.grad, 1216, NAN, types[t]);
    if (types[t] != ZERO_F16) write_element(model.grad, ELEMENTS + 1290, 1e38f, types[t]); // its square is no fp32
    write_element(model.grad, 1024, INFINITY, types[t]);                                   // in a gap
    sum_squares(&model, types[t], sums);
    assert_true(isinf(sums[0]) && isnan(sums[2]));
    for (int p = 0; p < OWN; p++) assert_true(p == 0 || p == 2 || isfinite(sums[p]));
    free_model(model);
  }
}

// ---------------------------------------------------------------- AdamW
static const ZeroRounding nearest = {0};

static void run_adamw(Model *model, const ZeroAdamW *adamw, const ZeroRounding *rounding, ZeroType grad_type,
                      ZeroType param_type, int with_params, const ZeroPiece *list, size_t count) {
  Kept k = upload_model(model, grad_type, param_type, with_params, list, count);
  device->adamw(device, adamw, rounding, &k.kept);
  download_model(&k, model);
}

// One element in double; optimizer.c has the formulas' source.
static void reference_adamw(const ZeroAdamW *s, double *w, double *m, double *v, double g, int decay) {
  double lambda = decay ? s->weight_decay : 0;
  g *= s->grad_scale;
  if (s->l2) g += lambda * *w;
  if (!s->l2) *w *= 1 - s->lr * lambda;
  *m = s->beta1 * *m + (1 - s->beta1) * g;
  *v = s->beta2 * *v + (1 - s->beta2) * g * g;
  double c1 = s->no_bias_correction ? 1 : 1 - pow(s->beta1, (double)s->step);
  double c2 = s->no_bias_correction ? 1 : 1 - pow(s->beta2, (double)s->step);
  *w -= s->lr * (*m / c1) / (sqrt(*v / c2) + s->eps);
}

// Each result is rounded a few times: 2^-24 of the largest value that takes part.
static void assert_near(float got, double want, double scale) {
  if (!(fabs(got - want) <= 8 * 0x1p-24 * scale)) fail_msg("%.9g where %.9g was expected", (double)got, want);
}

static int in_a_piece(size_t at) {
  for (int p = 0; p < PIECES; p++) {
    if (at >= element(&pieces[p], 0) && at < element(&pieces[p], pieces[p].count)) return 1;
  }
  return 0;
}

// All that no piece has must stay as it was.
static void check_gaps(const Model *old, const Model *new, size_t param_size) {
  size_t gaps = 0;
  for (size_t at = 0; at < SHARDS * ELEMENTS; at++) {
    if (in_a_piece(at)) continue;
    assert_true(new->master[at] == old->master[at] && new->exp_avg[at] == old->exp_avg[at] &&
                new->exp_avg_sq[at] == old->exp_avg_sq[at]);
    assert_memory_equal((char *)new->params + at *param_size, (char *)old->params + at * param_size, param_size);
    gaps++;
  }
  assert_int_equal(gaps, SHARDS * ELEMENTS - (1024 + 100 + 1 + 33 + 1000 + 100 + 1000));
}

static void check_adamw(ZeroAdamW adamw, ZeroType grad_type, ZeroType param_type, int with_params) {
  Model old = new_model(grad_type, param_type), new = new_model(grad_type, param_type);
  run_adamw(&new, &adamw, &nearest, grad_type, param_type, with_params, pieces, PIECES);
  size_t size = zero_type_size(param_type);
  check_gaps(&old, &new, size);
  for (int p = 0; p < PIECES; p++) {
    for (size_t i = 0; i < pieces[p].count; i++) {
      size_t at = element(&pieces[p], i);
      double w = old.master[at], m = old.exp_avg[at], v = old.exp_avg_sq[at];
      reference_adamw(&adamw, &w, &m, &v, read_element(old.grad, at, grad_type), pieces[p].decay);
      assert_near(new.master[at], w, 1 + fabs(w));
      assert_near(new.exp_avg[at], m, 1);
      assert_near(new.exp_avg_sq[at], v, 1);
      assert_true(new.master[at] != old.master[at]);
      float param = read_element(new.params, at, param_type);
      float rounded = 0; // room for an element of any type
      write_element(&rounded, 0, new.master[at], param_type);
      assert_true(param ==
                  read_element(with_params ? (char *)&rounded : (char *)old.params + at * size, 0, param_type));
    }
  }
  free_model(old), free_model(new);
}

static const ZeroAdamW usual = {
    .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .grad_scale = 0.37, .step = 3};

static void test_adamw(void **state) {
  (void)state;
  for (int g = 0; g < TYPES; g++) {
    for (int p = 0; p < TYPES; p++) check_adamw(usual, types[g], types[p], 1);
    check_adamw(usual, types[g], ZERO_BF16, 0);
  }
  ZeroAdamW l2 = usual, uncorrected = usual;
  l2.l2 = 1;
  uncorrected.no_bias_correction = 1;
  check_adamw(l2, ZERO_F32, ZERO_F32, 0);
  check_adamw(uncorrected, ZERO_F32, ZERO_F32, 0);
}

// How the elements are cut into pieces, as the number of ranks does it, must not show in their bits.
static void test_adamw_borders(void **state) {
  (void)state;
  static const ZeroPiece whole[] = {{0, 1024, 0, 1}, {1024, 1024, 0, 1}, {2048, 500, 0, 1}};
  static const ZeroPiece cut[] = {{2048, 500, 0, 1}, {5, 990, 0, 1},     {0, 5, 0, 1},
                                  {995, 29, 0, 1},   {1024, 1023, 0, 1}, {2047, 1, 0, 1}};
  for (int stochastic = 0; stochastic < 2; stochastic++) {
    const ZeroRounding rounding = {stochastic, 7, 3};
    Model a = new_model(ZERO_BF16, ZERO_BF16), b = new_model(ZERO_BF16, ZERO_BF16);
    run_adamw(&a, &usual, &rounding, ZERO_BF16, ZERO_BF16, 1, whole, COUNT_OF(whole));
    run_adamw(&b, &usual, &rounding, ZERO_BF16, ZERO_BF16, 1, cut, COUNT_OF(cut));
    assert_memory_equal(a.master, b.master, ELEMENTS * sizeof(float));
    assert_memory_equal(a.exp_avg, b.exp_avg, ELEMENTS * sizeof(float));
    assert_memory_equal(a.exp_avg_sq, b.exp_avg_sq, ELEMENTS * sizeof(float));
    assert_memory_equal(a.params, b.params, ELEMENTS * sizeof(uint16_t));
    free_model(a), free_model(b);
  }
}

// ---------------------------------------------------------------- stochastic rounding
// The draw of a parameter, as zero/stochastic.h says it.
static uint32_t draw_of(const ZeroRounding *rounding, uint64_t number) {
  const uint32_t key[2] = {(uint32_t)rounding->seed, (uint32_t)(rounding->seed >> 32)};
  const uint32_t counter[4] = {(uint32_t)(number / 4), (uint32_t)(number / 4 >> 32), (uint32_t)rounding->step,
                               0x726f756e};
  uint32_t out[4];
  zero_philox4x32(counter, key, out);
  return out[number % 4];
}

// Every parameter is what the host makes of its master weight and its own draw: the same on every device, packet or
// not.
static void check_rounded(const Model *model, ZeroType type, const ZeroRounding *rounding, size_t *up) {
  for (int p = 0; p < PIECES; p++) {
    for (size_t i = 0; i < pieces[p].count; i++) {
      size_t at = element(&pieces[p], i);
      uint32_t draw = draw_of(rounding, parameter(&pieces[p], i));
      float x = model->master[at];
      uint16_t want = type == ZERO_BF16 ? zero_f32_to_bf16_stochastic(x, draw) : zero_f32_to_f16_stochastic(x, draw);
      assert_int_equal(((const uint16_t *)model->params)[at], want);
      *up += fabsf(read_element(model->params, at, type)) > fabsf(x);
    }
  }
}

static void test_stochastic(void **state) {
  (void)state;
  const size_t elements = 1024 + 100 + 1 + 33 + 1000 + 100 + 1000;
  const ZeroType halves[] = {ZERO_BF16, ZERO_F16};
  for (int t = 0; t < 2; t++) {
    const ZeroRounding rounding = {1, UINT64_C(0x123456789abcdef), 5};
    size_t up = 0;
    Model old = new_model(ZERO_F32, halves[t]), new = new_model(ZERO_F32, halves[t]);
    run_adamw(&new, &usual, &rounding, ZERO_F32, halves[t], 1, pieces, PIECES);
    check_gaps(&old, &new, sizeof(uint16_t));
    check_rounded(&new, halves[t], &rounding, &up);
    assert_true(up > elements / 3 && up < elements * 2 / 3);
    // The same weights alone, as after loading them.
    Kept k = upload_model(&new, ZERO_F32, halves[t], 1, pieces, PIECES);
    const ZeroRounding other = {1, UINT64_C(0x123456789abcdef), 6};
    device->round(device, &other, &k.kept);
    void *before = random_elements(SHARDS * ELEMENTS, halves[t], 8);
    memcpy(before, new.params, SHARDS * ELEMENTS * sizeof(uint16_t));
    download_model(&k, &new);
    check_rounded(&new, halves[t], &other, &up);
    assert_memory_not_equal(before, new.params, SHARDS * ELEMENTS * sizeof(uint16_t));
    k = upload_model(&new, ZERO_F32, halves[t], 1, pieces, PIECES);
    device->round(device, &rounding, &k.kept);
    download_model(&k, &new);
    check_gaps(&old, &(Model){old.master, old.exp_avg, old.exp_avg_sq, old.grad, new.params}, sizeof(uint16_t));
    assert_memory_equal(before, new.params, SHARDS * ELEMENTS * sizeof(uint16_t));
    free(before), free_model(old), free_model(new);
  }
}

// ---------------------------------------------------------------- the step's calls
// The device's table with its calls counted; `real` is what they were.
static ZeroDevice real;
static struct { size_t waits, allocations, sum_squares, adamw; } calls;

static void counted_to_host(ZeroDevice *d, void *host, const void *src, size_t bytes) {
  calls.waits++;
  real.to_host(d, host, src, bytes);
}
static void counted_from_host(ZeroDevice *d, void *dst, const void *host, size_t bytes) {
  calls.waits++;
  real.from_host(d, dst, host, bytes);
}
static void counted_synchronize(ZeroDevice *d) {
  calls.waits++;
  real.synchronize(d);
}
static void *counted_alloc(ZeroDevice *d, size_t bytes, ZeroMemory category) {
  calls.allocations++;
  return real.alloc(d, bytes, category);
}
static void counted_free(ZeroDevice *d, void *ptr) {
  calls.allocations++;
  real.free(d, ptr);
}
static void counted_sum_squares(ZeroDevice *d, const ZeroShards *kept, double *sums) {
  calls.sum_squares++;
  real.sum_squares(d, kept, sums);
}
static void counted_adamw(ZeroDevice *d, const ZeroAdamW *adamw, const ZeroRounding *rounding,
                          const ZeroShards *kept) {
  calls.adamw++;
  real.adamw(d, adamw, rounding, kept);
}

static void count_calls(void) {
  real = *device;
  memset(&calls, 0, sizeof calls);
  device->to_host = counted_to_host;
  device->from_host = counted_from_host;
  device->synchronize = counted_synchronize;
  device->alloc = counted_alloc;
  device->free = counted_free;
  device->sum_squares = counted_sum_squares;
  device->adamw = counted_adamw;
}

static void write_gradients(ZeroEngine *e, const ZeroUnit *units, int num_units) {
  zero_micro_begin(e, 0, 1);
  for (int u = 0; u < num_units; u++) {
    size_t count = units[u].tensors[0].shape[0];
    ZeroGrad grad = zero_grad(e, u);
    void *values = random_elements(count, grad.type, (uint64_t)u);
    device->from_host(device, grad.data, values, count * zero_type_size(grad.type));
    zero_grad_done(e, u);
    free(values);
  }
}

// On one rank norm and AdamW are one call each for all units, the host waits once, for the chunk sums, and nothing is
// allocated on the way.
static void test_step_waits_once(void **state) {
  (void)state;
  static const ZeroTensor tensors[] = {{"a", 1, {3000}, 0}, {"b", 1, {100}, 0}, {"c", 1, {2048}, ZERO_NO_DECAY}};
  static const ZeroUnit units[] = {
      {"first", 1, &tensors[0], ZERO_OWN_BUFFER}, {"second", 1, &tensors[1], 0}, {"third", 1, &tensors[2], 0}};
  enum { UNITS = sizeof units / sizeof units[0], STAGES = 4 };
  assert_int_equal(setenv("ZERO_COMM", "self", 1), 0);
  ZeroComm *comm = zero_comm_create(NULL);
  for (int run = 0; run < STAGES * TYPES * 2; run++) {
    ZeroConfig config;
    zero_config_default(&config);
    config.stage = run % STAGES;
    config.type = config.wire = types[run / STAGES % TYPES];
    config.deterministic = run / STAGES / TYPES;
    config.stochastic_rounding = 1;
    ZeroEngine *e = zero_initialize(&config, units, UNITS, comm, device);
    uint64_t before = zero_state_hash(e);
    write_gradients(e, units, UNITS);
    count_calls();
    ZeroNorm norm = zero_norm(e);
    ZeroStep done = zero_apply(e, 0.1f);
    *device = real;
    assert_true(norm.norm > 0 && !norm.overflow && !done.skipped);
    assert_int_equal(calls.sum_squares, 1);
    assert_int_equal(calls.adamw, 1);
    assert_int_equal(calls.allocations, 0);
    assert_int_equal(calls.waits, device->host_memory ? 0 : 1);
    assert_true(zero_state_hash(e) != before);
    zero_destroy(e);
  }
  zero_comm_destroy(comm);
}

int main(void) {
#ifdef ZERO_CUDA
  device = zero_device_cuda(NULL);
#else
  device = zero_device_cpu();
#endif
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_memory),
      cmocka_unit_test(test_queued_copies),
      cmocka_unit_test(test_micro_batches),
#ifdef ZERO_CUDA
      cmocka_unit_test(test_pageable_refused),
#endif
      cmocka_unit_test(test_add),
      cmocka_unit_test(test_add_pieces),
      cmocka_unit_test(test_large_copies),
      cmocka_unit_test(test_sum_squares),
      cmocka_unit_test(test_overflow),
      cmocka_unit_test(test_adamw),
      cmocka_unit_test(test_adamw_borders),
      cmocka_unit_test(test_stochastic),
      cmocka_unit_test(test_step_waits_once),
      cmocka_unit_test(test_memory_peak),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  print_result_hash();
  zero_device_destroy(device);
  return failed;
}
