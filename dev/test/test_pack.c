// The packed right operand of a product: every element at its place, zeros in the columns that only fill the last
// block. And its transposed left operand.
#include "../../llmc/cpu/pack.h"

#include "check.h"

enum { OTHER = 0x7f7f }; // what packing must leave nothing of

static uint16_t value_at(size_t row, size_t column) {
  return (uint16_t)(row * 251 + column * 3 + 1);
}

static void store(void *data, size_t at, uint16_t value, ZeroType type) {
  if (type == ZERO_BF16) {
    ((uint16_t *)data)[at] = value;
  } else {
    ((float *)data)[at] = value;
  }
}

static double load(const void *data, size_t at, ZeroType type) {
  return type == ZERO_BF16 ? ((const uint16_t *)data)[at] : ((const float *)data)[at];
}

static void check_packed(size_t k, size_t n, int transposed, ZeroType type) {
  const size_t count = pack_bytes(k, n, type) / zero_type_size(type);
  void *b = calloc(k * n, zero_type_size(type)), *packed = malloc(pack_bytes(k, n, type));
  assert_non_null(b);
  assert_non_null(packed);
  for (size_t i = 0; i < count; i++) store(packed, i, OTHER, type);
  for (size_t row = 0; row < k; row++) {
    for (size_t column = 0; column < n; column++) {
      store(b, transposed ? column * k + row : row * n + column, value_at(row, column), type);
    }
  }
  pack_right(packed, (Matrix){b, transposed}, k, n, type);
  // BA16a64b: blocks of 64 columns. BA16a64b2a: of two rows the elements of a column side by side.
  const size_t together = type == ZERO_BF16 ? 2 : 1, columns = count / k;
  assert_int_equal(columns % PACK_COLUMNS, 0);
  for (size_t column = 0; column < columns; column++) {
    for (size_t row = 0; row < k; row++) {
      size_t block = column / PACK_COLUMNS * PACK_COLUMNS * k;
      size_t at =
          block + row / together * together * PACK_COLUMNS + column % PACK_COLUMNS * together + row % together;
      double wanted = column < n ? value_at(row, column) : 0;
      if (load(packed, at, type) != wanted) {
        print_error("%s, k %zu, n %zu, transposed %d: row %zu, column %zu: expected %g, found %g\n",
                    zero_type_name(type), k, n, transposed, row, column, wanted, load(packed, at, type));
        fail();
      }
    }
  }
  free(b);
  free(packed);
}

static void test_packed(void **state) {
  (void)state;
  const size_t shapes[][2] = {{64, 1}, {64, 64}, {64, 65}, {128, 63}, {192, 200}, {768, 384}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    for (int transposed = 0; transposed < 2; transposed++) {
      check_packed(shapes[i][0], shapes[i][1], transposed, ZERO_F32);
      check_packed(shapes[i][0], shapes[i][1], transposed, ZERO_BF16);
    }
  }
}

// Whole tiles, a part of one, columns that no tile takes, and a depth that none does.
static void test_transposed(void **state) {
  (void)state;
  const size_t shapes[][2] = {{64, 64}, {128, 80}, {192, 1}, {64, 203}, {65, 32}, {1, 7}};
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    const size_t k = shapes[i][0], m = shapes[i][1];
    const size_t stride = (k + 31) / 32 * 32 + 32;
    uint16_t *a = malloc(k * m * sizeof *a), *out = zero_malloc(m * stride * sizeof *out, ZERO_MEM_OTHER);
    assert_non_null(a);
    for (size_t j = 0; j < k * m; j++) a[j] = value_at(j / m, j % m);
    for (size_t j = 0; j < m * stride; j++) out[j] = OTHER;
    transpose_left(out, stride, a, m, k);
    for (size_t j = 0; j < m * stride; j++) {
      assert_int_equal(out[j], j % stride < k ? value_at(j % stride, j / stride) : OTHER);
    }
    free(a);
    zero_free(out);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_packed), cmocka_unit_test(test_transposed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
