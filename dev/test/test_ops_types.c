// Conversions between fp32 and the half types: zero/half.h against rounding by its definition, for every half there
// is, and the CPU operations' vectors against zero/half.h.
#include "../../llmc/cpu/convert.h"
#include "reference.h"

enum { HALVES = 1 << 16 };

typedef struct {
  ZeroType type;
  int mantissa_bits, smallest_exponent; // normal numbers are at least 2^smallest_exponent
  uint32_t infinity;                    // bits
} Format;

static const Format formats[] = {{ZERO_BF16, 7, -126, 0x7f80}, {ZERO_F16, 10, -14, 0x7c00}};
enum { FORMATS = sizeof formats / sizeof formats[0] };

static float to_f32(uint16_t half, ZeroType type) {
  return type == ZERO_BF16 ? zero_bf16_to_f32(half) : zero_f16_to_f32(half);
}

static uint16_t from_f32(float x, ZeroType type) {
  return type == ZERO_BF16 ? zero_f32_to_bf16(x) : zero_f32_to_f16(x);
}

// The value of a finite half without its sign, from the definition of the format. What lies behind the largest
// finite one, where infinity stands, counts as the next number: rounding to it is overflow.
static double magnitude_by_definition(uint32_t bits, Format f) {
  uint32_t mantissa = bits & ((1u << f.mantissa_bits) - 1);
  int exponent = (int)(bits >> f.mantissa_bits);
  if (exponent == 0) return ldexp(mantissa, f.smallest_exponent - f.mantissa_bits);
  return ldexp(1 + ldexp(mantissa, -f.mantissa_bits), f.smallest_exponent + exponent - 1);
}

static void test_every_half(void **state) {
  (void)state;
  for (int i = 0; i < FORMATS; i++) {
    Format f = formats[i];
    for (uint32_t bits = 0; bits < HALVES; bits++) {
      uint32_t magnitude = bits & 0x7fff;
      float x = to_f32((uint16_t)bits, f.type);
      if (magnitude > f.infinity) {
        assert_true(isnan(x) && isnan(to_f32(from_f32(x, f.type), f.type)));
        continue;
      }
      double want = magnitude == f.infinity ? INFINITY : magnitude_by_definition(magnitude, f);
      assert_true(fabs(x) == want && (signbit(x) != 0) == (bits >> 15 != 0));
      assert_int_equal(from_f32(x, f.type), bits);
    }
  }
}

// Around the middle between two neighbours: just below, the middle itself, which goes to the even one, just above.
static void test_rounding(void **state) {
  (void)state;
  for (int i = 0; i < FORMATS; i++) {
    Format f = formats[i];
    for (uint32_t bits = 0; bits < f.infinity; bits++) {
      double low = magnitude_by_definition(bits, f), high = magnitude_by_definition(bits + 1, f);
      float middle = (float)((low + high) / 2);
      assert_true(middle == (low + high) / 2); // fp32 holds it
      float below = nextafterf(middle, 0), above = nextafterf(middle, INFINITY);
      assert_int_equal(from_f32(middle, f.type), bits % 2 == 0 ? bits : bits + 1);
      assert_int_equal(from_f32(below, f.type), bits);
      assert_int_equal(from_f32(above, f.type), bits + 1);
      assert_int_equal(from_f32(-middle, f.type), 0x8000 | (bits % 2 == 0 ? bits : bits + 1));
    }
    assert_int_equal(from_f32(3.4e38f, f.type), f.type == ZERO_F16 ? f.infinity : 0x7f80);
    assert_int_equal(from_f32(-INFINITY, f.type), 0x8000 | f.infinity);
    assert_int_equal(from_f32(-0.0f, f.type), 0x8000);
    assert_int_equal(from_f32(0x1p-149f, f.type), 0); // fp32's smallest
    assert_true(isnan(to_f32(from_f32(NAN, f.type), f.type)));
    float low_nan = zero_float_from_bits(0xff800001u); // its mark is in bits that no half has
    assert_true(isnan(to_f32(from_f32(low_nan, f.type), f.type)));
  }
}

// The vectors do the same, in whole registers and in what is left over: every half, and fp32 around each.
static void test_vectors(void **state) {
  (void)state;
  for (int i = 0; i < FORMATS; i++) {
    ZeroType type = formats[i].type;
    enum { COUNT = 4 * HALVES + 3 };
    uint16_t *halves = new_bytes(HALVES * sizeof(uint16_t)), *rounded = new_bytes(COUNT * sizeof(uint16_t));
    float *values = new_floats(HALVES), *x = new_floats(COUNT);
    for (uint32_t bits = 0; bits < HALVES; bits++) halves[bits] = (uint16_t)bits;
    convert_to_f32(values, halves, HALVES, type);
    for (uint32_t bits = 0; bits < HALVES; bits++) {
      assert_int_equal(zero_float_bits(values[bits]), zero_float_bits(to_f32((uint16_t)bits, type)));
    }
    uint32_t seed = 1;
    for (size_t k = 0; k < COUNT; k++) { // a half, its middle, just above, and anything
      uint32_t bits = (uint32_t)(k / 4) << 16, low = k % 4 == 0 ? 0 : k % 4 == 1 ? 0x8000u : 0x8001u;
      seed = seed * 1664525u + 1013904223u;
      x[k] = zero_float_from_bits(k % 4 == 3 ? seed : bits | low);
    }
    round_sums((OpsGrad){rounded, type, 0}, x, COUNT);
    for (size_t k = 0; k < COUNT; k++) assert_int_equal(rounded[k], from_f32(x[k], type));
    free(halves), free(rounded), free(values), free(x);
  }
}

// Adding to a gradient rounds the sum of the two, not the summand first.
static void test_accumulate(void **state) {
  (void)state;
  for (int t = 0; t < TYPES; t++) {
    enum { COUNT = 37 };
    Tensor grad = new_gradient(COUNT, every_type[t], 1), want = new_tensor(COUNT, every_type[t]);
    float *sums = new_random(COUNT, 1, 2), *both = new_floats(COUNT);
    for (int i = 0; i < COUNT; i++) both[i] = grad.f32[i] + sums[i];
    set_tensor(want, both);
    round_sums(ops_grad(grad, 1), sums, COUNT);
    assert_memory_equal(grad.data, want.data, COUNT * zero_type_size(every_type[t]));
    free_tensor(grad), free_tensor(want), free(sums), free(both);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_half),
      cmocka_unit_test(test_rounding),
      cmocka_unit_test(test_vectors),
      cmocka_unit_test(test_accumulate),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
