// A plain matrix product: both sides are packed into tiles of doubles, sums run over k in order, and each result is
// rounded once, to its type. The order of sums depends on nothing but k.
#include "gemm.h"

#include <vector>

#include "include/cudaemu/half_types.h"
#include "report.h"

enum { LANES = 8, ROWS = 8, VECTORS = 2, COLUMNS = VECTORS * LANES }; // of a tile whose sums stay in registers
typedef double Vector __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double))));

size_t gemm_type_size(cudaDataType type) {
  return type == CUDA_R_32F ? 4 : 2;
}

static float load(const void *data, size_t at, cudaDataType type) {
  switch (type) {
    case CUDA_R_32F:
      return ((const float *)data)[at];
    case CUDA_R_16F:
      return cudaemu_half_value(((const unsigned short *)data)[at]);
    case CUDA_R_16BF:
      return cudaemu_bfloat16_value(((const unsigned short *)data)[at]);
  }
  return 0;
}

static void store(void *data, size_t at, cudaDataType type, float value) {
  switch (type) {
    case CUDA_R_32F:
      ((float *)data)[at] = value;
      break;
    case CUDA_R_16F:
      ((unsigned short *)data)[at] = cudaemu_half_bits(value);
      break;
    case CUDA_R_16BF:
      ((unsigned short *)data)[at] = cudaemu_bfloat16_bits(value);
      break;
  }
}

// Tiles of `width` lines (rows of op(A) or columns of op(B)), each (k, width), the last one filled up with zeros.
static std::vector<double> pack(const GemmMatrix *matrix, size_t lines, size_t k, size_t width, int line_is_row) {
  size_t tiles = (lines + width - 1) / width;
  std::vector<double> packed(tiles * k * width, 0.0);
  size_t line_step = matrix->transposed == line_is_row ? matrix->ld : 1;
  size_t k_step = matrix->transposed == line_is_row ? 1 : matrix->ld;
  for (size_t line = 0; line < lines; line++) {
    double *to = packed.data() + line / width * k * width + line % width;
    for (size_t i = 0; i < k; i++) to[i * width] = load(matrix->data, line * line_step + i * k_step, matrix->type);
  }
  return packed;
}

static void multiply_tile(double sums[ROWS][COLUMNS], const double *a, const double *b, size_t k) {
  Vector acc[ROWS][VECTORS] = {};
  for (size_t i = 0; i < k; i++) {
    const Vector *line = (const Vector *)(b + i * COLUMNS);
    for (int r = 0; r < ROWS; r++) {
      for (int v = 0; v < VECTORS; v++) acc[r][v] += a[i * ROWS + (size_t)r] * line[v];
    }
  }
  memcpy(sums, acc, sizeof(acc));
}

// tanh form, arXiv 1606.08415, and its derivative.
#define GELU_FACTOR 0.79788456080286535588 // sqrt(2/pi)
#define GELU_CUBIC 0.044715
static double gelu(double x) {
  return 0.5 * x * (1.0 + tanh(GELU_FACTOR * (x + GELU_CUBIC * x * x * x)));
}
static double gelu_derivative(double x) {
  double t = tanh(GELU_FACTOR * (x + GELU_CUBIC * x * x * x));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_FACTOR * (1.0 + 3.0 * GELU_CUBIC * x * x);
}

static int has(const Gemm *g, int epilogue) {
  return ((int)g->epilogue & epilogue) == epilogue;
}

static double finish(const Gemm *g, size_t row, size_t column, double sum) {
  double value = (double)g->alpha * sum;
  if (g->beta != 0) value += (double)g->beta * load(g->c.data, column * g->c.ld + row, g->c.type);
  if (has(g, CUBLASLT_EPILOGUE_BIAS)) value += load(g->bias, row, g->bias_type);
  size_t aux_at = column * g->aux_ld + row;
  if (has(g, CUBLASLT_EPILOGUE_GELU_AUX)) store(g->aux, aux_at, g->aux_type, (float)value);
  if (has(g, CUBLASLT_EPILOGUE_GELU)) value = gelu(value);
  if (has(g, CUBLASLT_EPILOGUE_DGELU)) value *= gelu_derivative(load(g->aux, aux_at, g->aux_type));
  store(g->d, column * g->d_ld + row, g->d_type, (float)value);
  return value;
}

// bias = sums over k of the lines of a packed side.
static void sum_lines(const Gemm *g, const std::vector<double> &packed, size_t lines, size_t width) {
  for (size_t line = 0; line < lines; line++) {
    double sum = 0;
    for (size_t i = 0; i < g->k; i++) sum += packed[line / width * g->k * width + i * width + line % width];
    store(g->bias, line, g->bias_type, (float)sum);
  }
}

void gemm_run(const Gemm *g) {
  std::vector<double> a = pack(&g->a, g->m, g->k, ROWS, 1), b = pack(&g->b, g->n, g->k, COLUMNS, 0);
  std::vector<double> row_sums(g->m, 0.0);
  for (size_t first_column = 0; first_column < g->n; first_column += COLUMNS) {
    for (size_t first_row = 0; first_row < g->m; first_row += ROWS) {
      double sums[ROWS][COLUMNS];
      multiply_tile(sums, a.data() + first_row * g->k, b.data() + first_column * g->k, g->k);
      for (size_t c = first_column; c < first_column + COLUMNS && c < g->n; c++) {
        for (size_t r = first_row; r < first_row + ROWS && r < g->m; r++) {
          row_sums[r] += finish(g, r, c, sums[r - first_row][c - first_column]);
        }
      }
    }
  }
  if (has(g, CUBLASLT_EPILOGUE_DGELU_BGRAD)) {
    for (size_t r = 0; r < g->m; r++) store(g->bias, r, g->bias_type, (float)row_sums[r]);
  }
  if (has(g, CUBLASLT_EPILOGUE_BGRADA)) sum_lines(g, a, g->m, ROWS);
  if (has(g, CUBLASLT_EPILOGUE_BGRADB)) sum_lines(g, b, g->n, COLUMNS);
}
