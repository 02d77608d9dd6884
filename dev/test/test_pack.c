// The packed right operand of a product: every element at its place, zeros in the columns that only fill the last
// block.
#include "../../llmc/cpu/pack.h"

#include "check.h"

enum { OTHER = 0x7f7f }; // what packing must leave nothing of

static uint16_t value_at(size_t row, size_t column) {
  return (uint16_t)(row * 251 + column * 3 + 1);
}

static void check_packed(size_t k, size_t n, int transposed) {
  uint16_t *b = calloc(k * n, sizeof *b), *packed = malloc(pack_bytes(k, n));
  assert_non_null(b);
  assert_non_null(packed);
  const size_t count = pack_bytes(k, n) / sizeof *packed;
  for (size_t i = 0; i < count; i++) packed[i] = OTHER;
  for (size_t row = 0; row < k; row++) {
    for (size_t column = 0; column < n; column++) {
      b[transposed ? column * k + row : row * n + column] = value_at(row, column);
    }
  }
  pack_right(packed, (Matrix){b, transposed}, k, n);
  // BA16a64b2a: blocks of 64 columns; of two rows the elements of a column side by side.
  size_t columns = count / k;
  assert_int_equal(columns % PACK_COLUMNS, 0);
  for (size_t column = 0; column < columns; column++) {
    for (size_t row = 0; row < k; row++) {
      size_t block = column / PACK_COLUMNS * PACK_COLUMNS * k;
      size_t at = block + row / 2 * 2 * PACK_COLUMNS + column % PACK_COLUMNS * 2 + row % 2;
      uint16_t wanted = column < n ? value_at(row, column) : 0;
      if (packed[at] != wanted) {
        print_error("k %zu, n %zu, transposed %d: row %zu, column %zu: expected %d, found %d\n", k, n, transposed,
                    row, column, wanted, packed[at]);
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
    check_packed(shapes[i][0], shapes[i][1], 0);
    check_packed(shapes[i][0], shapes[i][1], 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_packed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
