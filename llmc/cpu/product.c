// Which products go through fp32, and who makes them.
//
// oneDNN multiplies fp32, and bf16 where the processor has vectors for it; on a matrix unit bf16 is multiplied by
// unit_product.h. All else is converted to fp32, multiplied and rounded once: fp16 always, bf16 on older processors, and
// results of another type than the operands'. The memory for that is held from call to call and grows to what the
// largest product needs: the right operand whole, of the left one and of the result PRODUCT_SLICE_ROWS rows (all of
// them where a is transposed, since its rows then are not the result's).
#include "product.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "../../zero/memory.h"
#include "convert.h"
#include "matrix_unit.h"
#include "parallel.h"
#include "unit_product.h"

typedef enum { BUFFER_A, BUFFER_B, BUFFER_BIAS, BUFFER_C, BUFFERS } Buffer;

// The operations have no context of their own to hold this.
static struct {
  float *data[BUFFERS];
  size_t count[BUFFERS];
} held;

static float *hold(Buffer buffer, size_t count) {
  if (held.count[buffer] < count) {
    zero_free(held.data[buffer]);
    held.data[buffer] = zero_malloc(count * sizeof(float), ZERO_MEM_ACTIVATIONS);
    held.count[buffer] = count;
  }
  return held.data[buffer];
}

void matrix_product_release(void) {
  for (int buffer = 0; buffer < BUFFERS; buffer++) {
    zero_free(held.data[buffer]);
    held.data[buffer] = NULL;
    held.count[buffer] = 0;
  }
  onednn_release();
  unit_product_release();
}

// Whether operands of this type must become fp32 first.
static int goes_through_f32(ZeroType type) {
  return type == ZERO_F16 || (type == ZERO_BF16 && !onednn_has_bf16());
}

// Whether the processor has a matrix unit that the program is not built for.
static int leaves_unit_idle(void) {
#if defined(__x86_64__)
  enum { FEATURES = 7, AMX_BF16 = 22 }; // leaf, bit of EDX: Intel's manual, volume 2, CPUID
  unsigned a, b, c, d = 0;
  return !MATRIX_UNIT && __get_cpuid_count(FEATURES, 0, &a, &b, &c, &d) && (d >> AMX_BF16 & 1u);
#else
  return 0;
#endif
}

const char *ops_type_notice(ZeroType type) {
  if (type == ZERO_BF16 && leaves_unit_idle()) {
    return "bf16: built without the processor's matrix unit (AMX); `make ARCH=native` uses it, and is faster";
  }
  if (!goes_through_f32(type)) return NULL;
  return type == ZERO_F16 ? "fp16: matrix products go through fp32 on the CPU, and so are no faster"
                          : "bf16: matrix products go through fp32, since this processor lacks AVX512_BF16 or "
                            "ONEDNN_MAX_CPU_ISA forbids it";
}

static const void *operand(Buffer buffer, const void *data, size_t count, ZeroType type) {
  if (!goes_through_f32(type)) return data;
  float *converted = hold(buffer, count);
  convert_to_f32(converted, data, count, type);
  return converted;
}

static void multiply(const Matmul *matmul) {
  if (matmul->type == ZERO_BF16 && onednn_has_matrix_unit()) {
    unit_product(matmul);
  } else {
    onednn_matmul(matmul);
  }
}

// Rows [first, first + rows) of the result; `converted` is the product as oneDNN takes it, all but its rows.
static void product_rows(const Matmul *product, size_t first, size_t rows, const Matmul *converted) {
  Matmul part = *converted;
  size_t a_at = product->a.transposed ? 0 : first * product->k, c_at = first * product->n;
  part.m = rows;
  part.a.data = operand(BUFFER_A, (const char *)product->a.data + a_at * zero_type_size(product->type),
                        rows * product->k, product->type);
  void *c = (char *)product->c + c_at * zero_type_size(product->out_type);
  if (product->out_type == ZERO_F32) {
    part.c = c;
    multiply(&part);
    return;
  }
  part.c = hold(BUFFER_C, rows * product->n);
  part.accumulate = 0;
  multiply(&part);
  round_sums((OpsGrad){c, product->out_type, product->accumulate}, part.c, rows * product->n);
}

void matrix_product(const Matmul *product) {
  int convert = goes_through_f32(product->type);
  if (!convert && (product->out_type == product->type || product->out_type == ZERO_F32)) {
    multiply(product);
    return;
  }
  Matmul converted = *product;
  if (convert) converted.type = ZERO_F32;
  converted.out_type = ZERO_F32;
  converted.b.data = operand(BUFFER_B, product->b.data, product->k * product->n, product->type);
  if (product->bias != NULL) converted.bias = operand(BUFFER_BIAS, product->bias, product->n, product->type);
  size_t step = product->a.transposed ? product->m : PRODUCT_SLICE_ROWS;
  for (size_t first = 0; first < product->m; first += step) {
    product_rows(product, first, min_size(step, product->m - first), &converted);
  }
}
