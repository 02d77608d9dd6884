// Attention, forward and backward, in every type, against a plain double-precision reference: causal and not, padded
// and packed sequences, dropout, head sizes and lengths that fill no tile. And that a sequence has the same bits
// wherever its rows are, and dropout the rate and the masks that it should.
#include "check.h"
#include "reference_attention.h"

// ---------------------------------------------------------------- sequences
static int *new_ints(const int *values, size_t count) {
  return values != NULL ? memcpy(new_bytes(count * sizeof(int)), values, count * sizeof(int)) : NULL;
}

// rows: of a packed batch, else 0. Samples are no sequence's number in the batch.
static OpsSequences new_sequences(size_t count, size_t longest, size_t rows, const int *starts, const int *lengths) {
  int *samples = (int *)new_bytes(count * sizeof(int));
  for (size_t b = 0; b < count; b++) samples[b] = 1000 + 7 * (int)b;
  OpsSequences s = {
      count,  longest, starts != NULL ? rows : count * longest, new_ints(starts, count), new_ints(lengths, count),
      samples};
  return s;
}

static void free_sequences(OpsSequences s) {
  synchronize();
  free((void *)s.starts), free((void *)s.lengths), free((void *)s.samples);
}

// Whether each row is in no sequence: (rows).
static unsigned char *new_padding(const OpsSequences *s) {
  unsigned char *padding = memset(new_bytes(s->rows), 1, s->rows);
  for (size_t b = 0; b < s->count; b++) memset(padding + start_of(s, b), 0, length_of(s, b));
  return padding;
}

// ---------------------------------------------------------------- one call of each, into new memory
typedef struct {
  Tensor out, dqkv; // (N, C), (N, 3C)
  float *lse;       // (NH * N)
} Results;

static Results run_attention(Tensor qkv, Tensor dout, const OpsSequences *s, size_t C, size_t NH, int causal,
                             const OpsDropout *d) {
  ZeroType type = qkv.type;
  Results r = {new_tensor(s->rows * C, type), new_tensor(s->rows * 3 * C, type), new_floats(NH * s->rows)};
  void *scratch = new_bytes(attention_forward_scratch(s, C, NH, causal, type));
  attention_forward(r.out.data, r.lse, qkv.data, s, C, NH, causal, d, type, scratch, stream());
  free_scratch(scratch);
  scratch = new_bytes(attention_backward_scratch(s, C, NH, causal, type));
  attention_backward(r.dqkv.data, dout.data, r.out.data, r.lse, qkv.data, s, C, NH, causal, d, type, scratch,
                     stream());
  free_scratch(scratch);
  return r;
}

static void free_results(Results r) {
  free_tensor(r.out), free_tensor(r.dqkv), free(r.lse);
}

// ---------------------------------------------------------------- against the reference
// Random data; what padding holds is NaN, so that whoever reads it shows.
static Tensor new_rows(const OpsSequences *s, size_t width, float scale, uint64_t seed, ZeroType type) {
  Tensor tensor = new_random_tensor(s->rows * width, scale, seed, type);
  unsigned char *padding = new_padding(s);
  for (size_t row = 0; row < s->rows; row++) {
    if (padding[row])
      memset((char *)tensor.data + row * width * zero_type_size(type), 0xff, width * zero_type_size(type));
  }
  free(padding);
  return tensor;
}

// Log-sum-exps of sequences against the reference; those of padding have been left alone.
static void check_lse(float *lse, const double *want, const OpsSequences *s, size_t NH, double tolerance) {
  size_t count = NH * s->rows;
  unsigned char *written = memset(new_bytes(count), 0, count);
  for (size_t b = 0; b < s->count; b++) {
    for (size_t h = 0; h < NH; h++) memset(written + lse_of(s, NH, b, h), 1, length_of(s, b));
  }
  for (size_t i = 0; i < count; i++) {
    if (written[i]) continue;
    assert_true(isnan(lse[i])); // as new_floats left it
    lse[i] = 0;
  }
  free(written);
  if (s->longest > 1) assert_close(lse, want, count, tolerance);
}

static void check_attention_in(ZeroType type, const OpsSequences *s, size_t C, size_t NH, int causal,
                               const OpsDropout *d, float scale) {
  now_comparing("attention of %zu sequences of %zu at most, %s, C %zu NH %zu, %s, causal %d, dropout %g, scale %g",
                s->count, s->longest,
                s->starts != NULL    ? "packed"
                : s->lengths != NULL ? "padded"
                                     : "dense",
                C, NH, zero_type_name(type), causal, d != NULL ? (double)d->rate : 0, (double)scale);
  // fp32 sums of up to 300 terms (test_ops.c says how errors grow); the gradients of q and k are differences
  // dP - D of nearly equal numbers and lose about one more digit. In the half types D comes from the stored, rounded
  // output (as in PyTorch), which is worth as much as one more rounding of the gradients.
  const double tolerance = 2e-6, gradient_tolerance = 4e-6;
  size_t N = s->rows;
  Tensor qkv = new_rows(s, 3 * C, scale, 1, type), dout = new_rows(s, C, 1, 2, type);
  double *want_out = new_doubles(N * C), *want_lse = new_doubles(NH * N), *want_dqkv = new_doubles(N * 3 * C);
  reference_attention(want_out, want_lse, want_dqkv, qkv.f32, dout.f32, s, C, NH, causal, d);
  Results r = run_attention(qkv, dout, s, C, NH, causal, d);
  // Products of halves take rounded weights: those of tensor cores, and the CPU's of bf16 where it has them. cuDNN's
  // and the CPU's backward rounds dS too.
  const int pairs = !on_cuda() && type == ZERO_BF16;
  assert_tensor(r.out, want_out, tolerance, on_cuda() || pairs ? 2 : 1);
  check_lse(r.lse, want_lse, s, NH, tolerance);
  assert_tensor(r.dqkv, want_dqkv, gradient_tolerance, with_cudnn() || pairs ? 3 : 2);
  unsigned char *padding = new_padding(s);
  for (size_t row = 0; row < N; row++) {
    if (!padding[row]) continue;
    assert_zeros(r.out.f32 + row * C, C);
    assert_zeros(r.dqkv.f32 + row * 3 * C, 3 * C);
  }
  free(padding);
  free_tensor(qkv), free_tensor(dout), free_results(r);
  free(want_out), free(want_lse), free(want_dqkv);
}

static void check_sequences(const OpsSequences *s, size_t C, size_t NH, int causal, const OpsDropout *d,
                            float scale) {
  const size_t largest_head_on_cuda = 128;
  if (on_cuda() && C / NH > largest_head_on_cuda) return;
  for (int t = 0; t < TYPES; t++) check_attention_in(every_type[t], s, C, NH, causal, d, scale);
}

typedef struct {
  size_t B, T, C, NH;
} Shape;

static void check_dense(Shape shape, int causal, const OpsDropout *d, float scale) {
  OpsSequences s = new_sequences(shape.B, shape.T, 0, NULL, NULL);
  check_sequences(&s, shape.C, shape.NH, causal, d, scale);
  free_sequences(s);
}

static const Shape shapes[] = {{1, 1, 16, 1},  {2, 13, 40, 2},   {2, 13, 60, 3},  {3, 64, 128, 4},
                               {1, 65, 64, 1}, {2, 130, 100, 1}, {1, 200, 96, 2}, {1, 300, 128, 2},
                               {2, 31, 21, 3}, {1, 127, 192, 1}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };
// Two tiles of queries and of keys in each type, with and without packets.
static const Shape tiny_shapes[] = {{1, 70, 16, 2}, {1, 67, 5, 1}};
enum { TINY_SHAPES = sizeof tiny_shapes / sizeof tiny_shapes[0] };

static void check_shapes(int causal) {
  const Shape *chosen = tiny ? tiny_shapes : shapes;
  for (int i = 0; i < (tiny ? TINY_SHAPES : SHAPES); i++) check_dense(chosen[i], causal, NULL, 1);
}

static void test_causal(void **state) {
  (void)state;
  check_shapes(1);
}

static void test_full(void **state) {
  (void)state;
  check_shapes(0);
}

// Scores of some tens: the running maximum has to move, and most weights are near 0.
static void test_sharp(void **state) {
  (void)state;
  if (tiny) skip();
  check_dense((Shape){1, 200, 64, 1}, 1, NULL, 4);
  check_dense((Shape){1, 200, 64, 1}, 0, NULL, 4);
}

static const OpsDropout some_dropout = {0.1f, 0x123456789abcdefull, 42, 5 << 10};

// Causal and not, with dropout and without; tiny: each of these once, and the other way round where s is packed.
static void check_variants(const OpsSequences *s, size_t C, size_t NH) {
  for (int causal = 0; causal < 2; causal++) {
    for (int drops = 0; drops < 2; drops++) {
      if (tiny && (causal ^ drops) != (s->starts != NULL)) continue;
      check_sequences(s, C, NH, causal, drops ? &some_dropout : NULL, 1);
    }
  }
}

static void check_padded(size_t count, size_t longest, const int *lengths, size_t C, size_t NH) {
  OpsSequences s = new_sequences(count, longest, 0, NULL, lengths);
  check_variants(&s, C, NH);
  free_sequences(s);
}

static void test_padded(void **state) {
  (void)state;
  const int some[] = {13, 1, 70, 0}, longer[] = {64, 129, 200};
  check_padded(4, 70, some, 40, 2);
  if (tiny) return;
  check_padded(3, 200, longer, 64, 1);
}

static void check_packed(size_t count, size_t longest, size_t rows, const int *starts, const int *lengths, size_t C,
                         size_t NH) {
  OpsSequences s = new_sequences(count, longest, rows, starts, lengths);
  check_variants(&s, C, NH);
  free_sequences(s);
}

// Rows before the first sequence, between two and behind the last one; empty sequences there too; none of either.
static void test_packed(void **state) {
  (void)state;
  const int gaps[] = {3, 16, 17, 87, 90}, lengths[] = {13, 1, 70, 0, 5};
  check_packed(5, 70, 99, gaps, lengths, 40, 2);
  if (tiny) return;
  check_packed(5, 130, 99, gaps, lengths, 21, 3); // not in packets; longest is a bound
  const int tight[] = {0, 129, 129, 193}, of_tight[] = {129, 0, 64, 31};
  check_packed(4, 129, 224, tight, of_tight, 64, 1);
  const int equal[] = {0, 40, 80};
  check_packed(3, 40, 120, equal, NULL, 128, 1);
}

// All rows are padding: nothing but zeros, also where there is no sequence at all.
static void test_empty(void **state) {
  (void)state;
  enum { ROWS = 5, C = 8, NH = 2 };
  const int starts[] = {0, 2}, lengths[] = {0, 0};
  for (int t = 0; t < TYPES; t++) {
    for (size_t count = 0; count <= 2; count += 2) {
      OpsSequences s = new_sequences(count, 4, ROWS, starts, lengths);
      Tensor qkv = new_rows(&s, 3 * C, 1, 1, every_type[t]), dout = new_rows(&s, C, 1, 2, every_type[t]);
      Results r = run_attention(qkv, dout, &s, C, NH, 0, &some_dropout);
      read_tensor(r.out), read_tensor(r.dqkv);
      assert_zeros(r.out.f32, r.out.count), assert_zeros(r.dqkv.f32, r.dqkv.count);
      free_tensor(qkv), free_tensor(dout), free_results(r), free_sequences(s);
    }
  }
}

// ---------------------------------------------------------------- where the rows of a sequence are
// What a batch computes for its sequences alone: their rows of out and dqkv and their log-sum-exps, one after the
// other. qkv and dout: the rows of all sequences, likewise, (total, 3C) and (total, C).
static void run_layout(unsigned char *results, const OpsSequences *s, Tensor qkv, Tensor dout, size_t C, size_t NH,
                       int causal, const OpsDropout *d) {
  const size_t size = zero_type_size(qkv.type), row = C * size;
  Tensor qkv_rows = new_tensor(s->rows * 3 * C, qkv.type), dout_rows = new_tensor(s->rows * C, qkv.type);
  for (size_t b = 0, from = 0; b < s->count; from += length_of(s, b), b++) {
    memcpy((char *)qkv_rows.data + start_of(s, b) * 3 * row, (char *)qkv.data + from * 3 * row,
           length_of(s, b) * 3 * row);
    memcpy((char *)dout_rows.data + start_of(s, b) * row, (char *)dout.data + from * row, length_of(s, b) * row);
  }
  Results r = run_attention(qkv_rows, dout_rows, s, C, NH, causal, d);
  for (size_t b = 0; b < s->count; b++) {
    const size_t rows = length_of(s, b);
    memcpy(results, (char *)r.out.data + start_of(s, b) * row, rows * row), results += rows * row;
    memcpy(results, (char *)r.dqkv.data + start_of(s, b) * 3 * row, rows * 3 * row), results += rows * 3 * row;
    for (size_t h = 0; h < NH; h++, results += rows * sizeof(float)) {
      memcpy(results, r.lse + lse_of(s, NH, b, h), rows * sizeof(float));
    }
  }
  free_tensor(qkv_rows), free_tensor(dout_rows), free_results(r);
}

// The same sequences padded, padded more, packed with and without rows between them, and each by itself.
static void check_layouts(ZeroType type, size_t C, size_t NH, int causal, const OpsDropout *d) {
  enum { COUNT = 4, TOTAL = 129 };
  const int lengths[] = {67, 1, 0, 61}, tight[] = {0, 67, 68, 68}, gaps[] = {5, 75, 76, 79};
  OpsSequences layouts[] = {new_sequences(COUNT, 67, 0, NULL, lengths), new_sequences(COUNT, 131, 0, NULL, lengths),
                            new_sequences(COUNT, 67, TOTAL, tight, lengths),
                            new_sequences(COUNT, 100, 150, gaps, lengths)};
  Tensor qkv = new_random_tensor(TOTAL * 3 * C, 1, 1, type), dout = new_random_tensor(TOTAL * C, 1, 2, type);
  const size_t row_bytes = 4 * C * zero_type_size(type) + NH * sizeof(float), bytes = TOTAL * row_bytes;
  unsigned char *first = new_bytes(bytes), *results = new_bytes(bytes);
  for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
    run_layout(i == 0 ? first : results, &layouts[i], qkv, dout, C, NH, causal, d);
    if (i > 0) assert_same_bits(first, results, bytes);
    memset(results, 0xff, bytes);
  }
  for (size_t b = 0, from = 0; b < COUNT; from += (size_t)lengths[b], b++) {
    OpsSequences alone = new_sequences(1, (size_t)lengths[b], 0, NULL, NULL);
    memcpy((int *)alone.samples, layouts[0].samples + b, sizeof(int));
    Tensor its_qkv = qkv, its_dout = dout;
    its_qkv.data = (char *)qkv.data + from * 3 * C * zero_type_size(type);
    its_dout.data = (char *)dout.data + from * C * zero_type_size(type);
    run_layout(results + from * row_bytes, &alone, its_qkv, its_dout, C, NH, causal, d);
    free_sequences(alone);
  }
  assert_same_bits(first, results, bytes);
  for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) free_sequences(layouts[i]);
  free_tensor(qkv), free_tensor(dout), free(first), free(results);
}

static void test_layouts(void **state) {
  (void)state;
  if (tiny) skip();
  for (int t = 0; t < TYPES; t++) {
    for (int causal = 0; causal < 2; causal++) {
      check_layouts(every_type[t], 16, 2, causal, causal ? NULL : &some_dropout);
      check_layouts(every_type[t], 63, 3, causal, &some_dropout); // not in packets
    }
    check_layouts(every_type[t], 128, 1, 0, &some_dropout);
  }
}

// ---------------------------------------------------------------- dropout
static void test_dropout(void **state) {
  (void)state;
  const OpsDropout half = {0.5f, 7, 0, 3}, few = {0.01f, ~0ull, ~0ull, ~0u}, most = {0.9f, 1, 1ull << 40, 0};
  for (int i = 0; tiny && i < TINY_SHAPES; i++) check_dense(tiny_shapes[i], i, &half, 1);
  for (int i = 0; !tiny && i < SHAPES; i++) check_dense(shapes[i], i % 2, i % 4 < 2 ? &some_dropout : &half, 1);
  if (tiny) return;
  check_dense((Shape){2, 130, 64, 2}, 0, &few, 1);
  check_dense((Shape){2, 130, 64, 2}, 1, &most, 1);
  check_dense((Shape){1, 200, 64, 1}, 0, &some_dropout, 4);
}

// Rate 0 is no dropout: the same bits as with NULL.
static void test_rate_of_zero(void **state) {
  (void)state;
  if (tiny) skip();
  enum { B = 2, T = 70, C = 24, NH = 3 };
  const OpsDropout none = {0, 1, 2, 3};
  OpsSequences s = new_sequences(B, T, 0, NULL, NULL), without_samples = ops_dense(B, T);
  for (int t = 0; t < TYPES; t++) {
    Tensor qkv = new_rows(&s, 3 * C, 1, 1, every_type[t]), dout = new_rows(&s, C, 1, 2, every_type[t]);
    Results a = run_attention(qkv, dout, &s, C, NH, 1, &none);
    Results b = run_attention(qkv, dout, &without_samples, C, NH, 1, NULL);
    assert_same_bits(a.out.data, b.out.data, a.out.count * zero_type_size(every_type[t]));
    assert_same_bits(a.dqkv.data, b.dqkv.data, a.dqkv.count * zero_type_size(every_type[t]));
    assert_same_bits(a.lse, b.lse, B * NH * T * sizeof(float));
    free_tensor(qkv), free_tensor(dout), free_results(a), free_results(b);
  }
  free_sequences(s);
}

// Masks seen from outside: all scores are 0, so all weights 1 / T; values are unit vectors, so that row t of out
// holds the weights of query t; dout's rows too, so that row u of dv holds the weights of key u.
enum {
  MASK_T = 128,
  MASK_B = 2,
  MASK_NH = 2,
  MASK_C = MASK_NH * MASK_T,
  MASK_DRAWS = MASK_B * MASK_NH * MASK_T * MASK_T
};

// kept (B, NH, T, T): 1 where query t keeps key u. Forward and backward agree, and what is kept has its factor.
static void draw_masks(unsigned char *kept, ZeroType type, const OpsSequences *s, const OpsDropout *d) {
  float *unit = new_floats(s->rows * 3 * MASK_C);
  memset(unit, 0, s->rows * 3 * MASK_C * sizeof(float));
  Tensor qkv = new_tensor(s->rows * 3 * MASK_C, type), dout = new_tensor(s->rows * MASK_C, type);
  for (size_t row = 0; row < s->rows; row++) {
    for (size_t h = 0; h < MASK_NH; h++) unit[row * MASK_C + h * MASK_T + row % MASK_T] = 1;
  }
  set_tensor(dout, unit);
  memset(unit, 0, s->rows * 3 * MASK_C * sizeof(float));
  for (size_t row = 0; row < s->rows; row++) {
    for (size_t h = 0; h < MASK_NH; h++) unit[row * 3 * MASK_C + 2 * MASK_C + h * MASK_T + row % MASK_T] = 1;
  }
  set_tensor(qkv, unit);
  Results r = run_attention(qkv, dout, s, MASK_C, MASK_NH, 0, d);
  read_tensor(r.out), read_tensor(r.dqkv);
  const double weight = 1 / (MASK_T * (1 - (double)d->rate));
  for (size_t i = 0; i < MASK_DRAWS; i++) {
    const size_t u = i % MASK_T, t = i / MASK_T % MASK_T, h = i / MASK_T / MASK_T % MASK_NH;
    const size_t b = i / MASK_T / MASK_T / MASK_NH;
    const float forward = r.out.f32[(b * MASK_T + t) * MASK_C + h * MASK_T + u];
    const float backward = r.dqkv.f32[(b * MASK_T + u) * 3 * MASK_C + 2 * MASK_C + h * MASK_T + t];
    kept[i] = forward != 0;
    assert_true((backward != 0) == kept[i]);
    if (kept[i]) {
      assert_true(fabs(forward - weight) <= weight * (rounding(type, 1) + 1e-6));
      assert_true(fabs(backward - weight) <= weight * (2 * rounding(type, 1) + 1e-6));
    }
  }
  free(unit), free_tensor(qkv), free_tensor(dout), free_results(r);
}

static void check_within_sigmas(const char *what, size_t found, double probability, double sigmas) {
  const double expected = MASK_DRAWS * probability, sigma = sqrt(expected * (1 - probability));
  if (fabs((double)found - expected) > sigmas * sigma) {
    print_error("%s: %zu of %d, expected %g with sigma %g\n", what, found, MASK_DRAWS, expected, sigma);
    fail();
  }
}

// Masks are those of the formula; the rate is right within 4 sigma, and masks of other seeds, steps, sites, samples
// and heads have no more in common than chance gives them.
static void test_masks(void **state) {
  (void)state;
  if (tiny) skip();
  OpsSequences s = new_sequences(MASK_B, MASK_T, 0, NULL, NULL);
  unsigned char *kept = new_bytes(MASK_DRAWS), *other = new_bytes(MASK_DRAWS);
  const float rates[] = {0.1f, 0.5f};
  for (int i = 0; i < 2; i++) {
    const OpsDropout d = {rates[i], 11, 3, 9 << 10};
    for (int t = 0; t < TYPES; t++) {
      size_t dropped = 0, wrong = 0;
      draw_masks(kept, every_type[t], &s, &d);
      for (size_t at = 0; at < MASK_DRAWS; at++) {
        const size_t u = at % MASK_T, q = at / MASK_T % MASK_T, head = at / MASK_T / MASK_T;
        const double factor = reference_factor(&d, head % MASK_NH, s.samples[head / MASK_NH], q, u);
        wrong += kept[at] != (factor > 0);
        dropped += !kept[at];
      }
      assert_int_equal(wrong, 0);
      check_within_sigmas("dropped", dropped, rates[i], 4);
    }
    const OpsDropout others[] = {{rates[i], 12, 3, 9 << 10}, {rates[i], 11, 4, 9 << 10}, {rates[i], 11, 3, 10 << 10}};
    const double agree = rates[i] * rates[i] + (1 - rates[i]) * (1 - rates[i]);
    for (int variant = 0; variant < 5; variant++) {
      size_t same = 0;
      const size_t head = MASK_T * MASK_T, shift = variant == 3 ? head : variant == 4 ? MASK_NH * head : 0;
      if (variant < 3) draw_masks(other, ZERO_F16, &s, &others[variant]);
      for (size_t at = 0; at < MASK_DRAWS; at++) {
        same += kept[at] == (shift > 0 ? kept : other)[(at + shift) % MASK_DRAWS];
      }
      // Shifted masks are compared twice with each other.
      check_within_sigmas("in common", same, agree, variant < 3 ? 4 : 4 * sqrt(2));
    }
  }
  free(kept), free(other), free_sequences(s);
}

// Scores grow tile by tile up to 600: without the running maximum e^x would overflow, and a wrong rescaling
// would leave the first tiles in the sum. The last key takes all the weight.
static void test_growing_scores(void **state) {
  (void)state;
  enum { T = 200, C = 16 };
  float *qkv = new_floats(T * 3 * C), *out = new_floats(T * C), *lse = new_floats(T);
  memset(qkv, 0, T * 3 * C * sizeof(float));
  for (int t = 0; t < T; t++) {
    qkv[t * 3 * C] = 12; // q . k / sqrt(16) = 3 t
    qkv[t * 3 * C + C] = (float)t;
    qkv[t * 3 * C + 2 * C] = (float)(t + 1);
  }
  const OpsSequences s = ops_dense(1, T);
  void *scratch = new_bytes(attention_forward_scratch(&s, C, 1, 1, ZERO_F32));
  attention_forward(out, lse, qkv, &s, C, 1, 1, NULL, ZERO_F32, scratch, stream());
  synchronize();
  hash_result(out, T * C * sizeof(float)), hash_result(lse, T * sizeof(float));
  for (int t = 0; t < T; t++) {
    double sum = 0, value = 0;
    for (int u = 0; u <= t; u++) sum += exp(3.0 * (u - t)), value += exp(3.0 * (u - t)) * (u + 1);
    assert_true(fabs(lse[t] - (3.0 * t + log(sum))) <= 1e-6 * (3.0 * t + 1));
    assert_true(fabs(out[t * C] - value / sum) <= 1e-6 * (t + 1));
  }
  free(qkv), free(out), free(lse), free_scratch(scratch);
}

// ---------------------------------------------------------------- what callers may not do
typedef struct {
  OpsSequences s;
  size_t NH;
  const OpsDropout *d;
} Misuse;

static void misused(void *context) {
  const Misuse *m = (const Misuse *)context;
  attention_forward(NULL, NULL, NULL, &m->s, 12, m->NH, 0, m->d, ZERO_F32, NULL, stream());
}

static void test_misuse(void **state) {
  (void)state;
  if (tiny) skip();
  const int starts[] = {0, 3}, lengths[] = {4, 2}, negative[] = {-1, 3}, longer[] = {3, 9};
  const OpsDropout certain = {1, 0, 0, 0}, less = {-0.1f, 0, 0, 0};
  Misuse m = {ops_dense(2, 4), 5, NULL};
  check_fatal(misused, &m, "12 in 5", NULL);
  m.NH = 2, m.d = &some_dropout;
  check_fatal(misused, &m, "samples", NULL);
  m.d = &certain;
  check_fatal(misused, &m, "below 1, found 1", NULL);
  m.d = &less;
  check_fatal(misused, &m, "found -0.1", NULL);
  m.d = NULL, m.s.rows = 9;
  check_fatal(misused, &m, "8 rows for 2 sequences of 4, found 9", NULL);
  if (on_cuda()) {
    m.s = ops_dense(65535, 1); // and the rows behind the last one: more than a grid has blocks in y
    check_fatal(misused, &m, "at most 65534 sequences", "found 65535: use a smaller -b", NULL);
    return; // it does not look into the GPU's memory
  }
  m.s.starts = starts, m.s.lengths = lengths;
  check_fatal(misused, &m, "sequence 1 from row 4 on, found it at row 3", NULL);
  m.s.starts = negative;
  check_fatal(misused, &m, "sequence 0 from row 0 on, found it at row -1", NULL);
  m.s.starts = starts, m.s.lengths = longer;
  check_fatal(misused, &m, "at most 4, found 9 in sequence 1", NULL);
  m.s.lengths = negative;
  check_fatal(misused, &m, "at most 4, found -1 in sequence 0", NULL);
  m.s.lengths = NULL, m.s.longest = 3, m.s.rows = 5;
  check_fatal(misused, &m, "sequence 1 within 5 rows, found its end at row 6", NULL);
}

int main(int argc, char **argv) {
  read_arguments(argc, argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_causal),  cmocka_unit_test(test_full),           cmocka_unit_test(test_sharp),
      cmocka_unit_test(test_padded),  cmocka_unit_test(test_packed),         cmocka_unit_test(test_empty),
      cmocka_unit_test(test_layouts), cmocka_unit_test(test_dropout),        cmocka_unit_test(test_rate_of_zero),
      cmocka_unit_test(test_masks),   cmocka_unit_test(test_growing_scores), cmocka_unit_test(test_misuse),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  print_result_hash();
  return failed;
}
