// cuBLASLt's descriptors and checks. What the library would refuse is refused here; the work is gemm.cc's.
#include <cstdlib>

#include "count.h"
#include "gemm.h"
#include "memory.h"
#include "report.h"
#include "stream.h"

enum { NUM_ATTRIBUTES = 32, UNSET = -1, WORKSPACE_BYTES = 4096, AUX_LD_MULTIPLE = 8, AUX_ALIGNMENT = 16 };

struct CudaemuLt {
  int unused;
};
// A descriptor, a layout or a preference: numbers and pointers by the attribute's number.
struct CudaemuLtAttributes {
  int64_t value[NUM_ATTRIBUTES];
};
typedef CudaemuLtAttributes Attributes;

const char *cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "unknown status";
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
  return cublasLtGetStatusName(status);
}

size_t cublasLtGetVersion(void) {
  enum { VERSION = 120000 };
  return VERSION;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
  if (handle == NULL) return CUBLAS_STATUS_INVALID_VALUE;
  *handle = new CudaemuLt{0};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

// ---------------------------------------------------------------- attributes
static cublasStatus_t destroy(Attributes *attributes) {
  delete attributes;
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t set(Attributes *attributes, int number, const void *value, size_t bytes, size_t expected) {
  if (attributes == NULL || value == NULL || bytes != expected) return CUBLAS_STATUS_INVALID_VALUE;
  int32_t small;
  if (bytes == sizeof(small)) {
    memcpy(&small, value, bytes);
    attributes->value[number] = small;
  } else {
    memcpy(&attributes->value[number], value, bytes);
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  if (layout == NULL) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = new Attributes{};
  int64_t *value = (*layout)->value;
  value[CUBLASLT_MATRIX_LAYOUT_TYPE] = type;
  value[CUBLASLT_MATRIX_LAYOUT_ROWS] = (int64_t)rows;
  value[CUBLASLT_MATRIX_LAYOUT_COLS] = (int64_t)cols;
  value[CUBLASLT_MATRIX_LAYOUT_LD] = ld;
  value[CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT] = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroy(layout);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                                size_t bytes) {
  bool small = attribute == CUBLASLT_MATRIX_LAYOUT_TYPE || attribute == CUBLASLT_MATRIX_LAYOUT_ORDER ||
               attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
  return set(layout, attribute, value, bytes, small ? sizeof(int32_t) : sizeof(int64_t));
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute_type,
                                        cudaDataType_t scale_type) {
  if (desc == NULL) return CUBLAS_STATUS_INVALID_VALUE;
  *desc = new Attributes{};
  int64_t *value = (*desc)->value;
  value[CUBLASLT_MATMUL_DESC_COMPUTE_TYPE] = compute_type;
  value[CUBLASLT_MATMUL_DESC_SCALE_TYPE] = scale_type;
  value[CUBLASLT_MATMUL_DESC_EPILOGUE] = CUBLASLT_EPILOGUE_DEFAULT;
  value[CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE] = value[CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE] = UNSET;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  return destroy(desc);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
  bool large =
      attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER || attribute == CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE ||
      attribute == CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER || attribute == CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD ||
      attribute == CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE;
  return set(desc, attribute, value, bytes, large ? sizeof(int64_t) : sizeof(int32_t));
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
  if (preference == NULL) return CUBLAS_STATUS_INVALID_VALUE;
  *preference = new Attributes{};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy(preference);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t bytes) {
  bool large = attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
  return set(preference, attribute, value, bytes, large ? sizeof(uint64_t) : sizeof(uint32_t));
}

// ---------------------------------------------------------------- a product from its descriptors
typedef struct {
  Gemm gemm; // of the first batch entry
  int batches;
  int64_t a_step, b_step, c_step, d_step, bias_step, aux_step; // elements from one entry to the next
} Product;

static int64_t of_layout(const Attributes *layout, cublasLtMatrixLayoutAttribute_t attribute) {
  return layout->value[attribute];
}

static bool known_type(int64_t type) {
  return type == CUDA_R_32F || type == CUDA_R_16F || type == CUDA_R_16BF;
}

static cublasStatus_t check_layout(const Attributes *layout, int64_t rows, int64_t columns, int64_t batches) {
  if (of_layout(layout, CUBLASLT_MATRIX_LAYOUT_ORDER) != CUBLASLT_ORDER_COL) return CUBLAS_STATUS_NOT_SUPPORTED;
  bool good = of_layout(layout, CUBLASLT_MATRIX_LAYOUT_ROWS) == rows && rows > 0 && columns > 0 &&
              of_layout(layout, CUBLASLT_MATRIX_LAYOUT_COLS) == columns &&
              of_layout(layout, CUBLASLT_MATRIX_LAYOUT_LD) >= rows &&
              of_layout(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) == batches && batches > 0;
  return good ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static GemmMatrix matrix_of(const Attributes *layout, int64_t operation) {
  return {NULL, (cudaDataType)of_layout(layout, CUBLASLT_MATRIX_LAYOUT_TYPE),
          (size_t)of_layout(layout, CUBLASLT_MATRIX_LAYOUT_LD), operation != CUBLAS_OP_N};
}

// Types, shapes and epilogue; pointers are not looked at.
static cublasStatus_t describe(const Attributes *desc, const Attributes *a, const Attributes *b, const Attributes *c,
                               const Attributes *d, Product *product) {
  if (desc == NULL || a == NULL || b == NULL || c == NULL || d == NULL) return CUBLAS_STATUS_INVALID_VALUE;
  const int64_t *value = desc->value;
  Gemm g = {};
  g.a = matrix_of(a, value[CUBLASLT_MATMUL_DESC_TRANSA]);
  g.b = matrix_of(b, value[CUBLASLT_MATMUL_DESC_TRANSB]);
  g.c = matrix_of(c, CUBLAS_OP_N);
  g.d_type = (cudaDataType)of_layout(d, CUBLASLT_MATRIX_LAYOUT_TYPE);
  g.d_ld = (size_t)of_layout(d, CUBLASLT_MATRIX_LAYOUT_LD);
  g.epilogue = (cublasLtEpilogue_t)value[CUBLASLT_MATMUL_DESC_EPILOGUE];
  int64_t compute = value[CUBLASLT_MATMUL_DESC_COMPUTE_TYPE];
  if (compute < CUBLAS_COMPUTE_32F || compute > CUBLAS_COMPUTE_32F_FAST_TF32 ||
      value[CUBLASLT_MATMUL_DESC_SCALE_TYPE] != CUDA_R_32F || !known_type(g.a.type) || g.a.type != g.b.type ||
      g.c.type != g.d_type || (g.d_type != CUDA_R_32F && g.d_type != g.a.type)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  int64_t m = of_layout(d, CUBLASLT_MATRIX_LAYOUT_ROWS), n = of_layout(d, CUBLASLT_MATRIX_LAYOUT_COLS);
  int64_t k = of_layout(a, g.a.transposed ? CUBLASLT_MATRIX_LAYOUT_ROWS : CUBLASLT_MATRIX_LAYOUT_COLS);
  int64_t batches = of_layout(d, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
  cublasStatus_t statuses[] = {check_layout(a, g.a.transposed ? k : m, g.a.transposed ? m : k, batches),
                               check_layout(b, g.b.transposed ? n : k, g.b.transposed ? k : n, batches),
                               check_layout(c, m, n, batches), check_layout(d, m, n, batches)};
  for (cublasStatus_t status : statuses) {
    if (status != CUBLAS_STATUS_SUCCESS) return status;
  }
  g.m = (size_t)m;
  g.n = (size_t)n;
  g.k = (size_t)k;
  g.bias = (void *)value[CUBLASLT_MATMUL_DESC_BIAS_POINTER];
  g.aux = (void *)value[CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER];
  g.aux_ld = (size_t)value[CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD];
  int64_t bias_type = value[CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE];
  int64_t aux_type = value[CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE];
  g.bias_type = bias_type == UNSET ? g.d_type : (cudaDataType)bias_type;
  g.aux_type = aux_type == UNSET ? g.d_type : (cudaDataType)aux_type;
  if (!known_type(g.bias_type) || g.aux_type != g.d_type) return CUBLAS_STATUS_NOT_SUPPORTED;
  *product = {g,
              (int)batches,
              of_layout(a, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET),
              of_layout(b, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET),
              of_layout(c, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET),
              of_layout(d, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET),
              value[CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE],
              value[CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE]};
  return CUBLAS_STATUS_SUCCESS;
}

// Device memory, aligned to its elements, with room for `lines` lines of `length` elements in each batch entry.
static bool good_memory(const void *memory, cudaDataType type, size_t ld, size_t length, size_t lines, int64_t step,
                        int batches) {
  size_t room = 0, size = gemm_type_size(type);
  if (memory == NULL || (uintptr_t)memory % size != 0 || step < 0) return false;
  if (cudaemu_memory_type(memory, &room) == cudaMemoryTypeUnregistered) return false;
  return room >= ((size_t)step * (size_t)(batches - 1) + (lines - 1) * ld + length) * size;
}

static cublasStatus_t check_epilogue(const Product *product) {
  const Gemm *g = &product->gemm;
  bool needs_bias = true, needs_aux = false;
  size_t bias_length = g->m;
  switch (g->epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_GELU:
      needs_bias = false;
      break;
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_GELU_BIAS:
    case CUBLASLT_EPILOGUE_BGRADA:
      break;
    case CUBLASLT_EPILOGUE_BGRADB:
      bias_length = g->n;
      break;
    case CUBLASLT_EPILOGUE_GELU_AUX:
    case CUBLASLT_EPILOGUE_DGELU:
      needs_bias = false;
      needs_aux = true;
      break;
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
    case CUBLASLT_EPILOGUE_DGELU_BGRAD:
      needs_aux = true;
      break;
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (needs_bias &&
      !good_memory(g->bias, g->bias_type, bias_length, bias_length, 1, product->bias_step, product->batches)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (needs_aux && (g->aux_ld % AUX_LD_MULTIPLE != 0 || g->aux_ld < g->m || (uintptr_t)g->aux % AUX_ALIGNMENT != 0 ||
                    !good_memory(g->aux, g->aux_type, g->aux_ld, g->m, g->n, product->aux_step, product->batches))) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_pointers(const Product *p) {
  const Gemm *g = &p->gemm;
  size_t m = g->m, n = g->n, k = g->k;
  bool good = good_memory(g->a.data, g->a.type, g->a.ld, g->a.transposed ? k : m, g->a.transposed ? m : k, p->a_step,
                          p->batches) &&
              good_memory(g->b.data, g->b.type, g->b.ld, g->b.transposed ? n : k, g->b.transposed ? k : n, p->b_step,
                          p->batches) &&
              (g->beta == 0 || good_memory(g->c.data, g->c.type, g->c.ld, m, n, p->c_step, p->batches)) &&
              good_memory(g->d, g->d_type, g->d_ld, m, n, p->d_step, p->batches);
  return good ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static void *shifted(const void *data, cudaDataType type, int64_t step, int entry) {
  return data == NULL ? NULL : (char *)data + (size_t)step * (size_t)entry * gemm_type_size(type);
}

static void run_product(const Product &p) {
  for (int i = 0; i < p.batches; i++) {
    Gemm g = p.gemm;
    g.a.data = shifted(g.a.data, g.a.type, p.a_step, i);
    g.b.data = shifted(g.b.data, g.b.type, p.b_step, i);
    g.c.data = shifted(g.c.data, g.c.type, p.c_step, i);
    g.d = shifted(g.d, g.d_type, p.d_step, i);
    g.bias = shifted(g.bias, g.bias_type, p.bias_step, i);
    g.aux = shifted(g.aux, g.aux_type, p.aux_step, i);
    gemm_run(&g);
  }
}

static bool adds_bias(cublasLtEpilogue_t epilogue) {
  return epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_BIAS ||
         epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
}

// ---------------------------------------------------------------- what programs call
// One algorithm, which wants a little workspace where it is allowed some: a caller who does not give it is found.
// None for a bias where op(A) has one row or column: there PyTorch's addmm goes around cuBLASLt, as the heuristic
// gave CUBLAS_STATUS_INVALID_VALUE.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a_layout, cublasLtMatrixLayout_t b_layout,
                                              cublasLtMatrixLayout_t c_layout, cublasLtMatrixLayout_t d_layout,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int *returned) {
  if (handle == NULL || preference == NULL || requested < 1 || results == NULL || returned == NULL) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  *returned = 0;
  Product product;
  cublasStatus_t status = describe(desc, a_layout, b_layout, c_layout, d_layout, &product);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (adds_bias(product.gemm.epilogue) && (product.gemm.m == 1 || product.gemm.k == 1)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  uint64_t allowed = (uint64_t)preference->value[CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES];
  cublasLtMatmulHeuristicResult_t result = {};
  result.workspaceSize = allowed < WORKSPACE_BYTES ? 0 : WORKSPACE_BYTES;
  result.algo.data[0] = result.workspaceSize;
  result.state = CUBLAS_STATUS_SUCCESS;
  result.wavesCount = 1;
  results[0] = result;
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  enum { WORKSPACE_ALIGNMENT = 16, NAN_BYTE = 0xff };
  if (handle == NULL || alpha == NULL || beta == NULL) return CUBLAS_STATUS_INVALID_VALUE;
  Product product;
  cublasStatus_t status = describe(desc, a_layout, b_layout, c_layout, d_layout, &product);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  Gemm *g = &product.gemm;
  memcpy(&g->alpha, alpha, sizeof(float));
  memcpy(&g->beta, beta, sizeof(float));
  g->a.data = a;
  g->b.data = b;
  g->c.data = c;
  g->d = d;
  if ((status = check_pointers(&product)) != CUBLAS_STATUS_SUCCESS) return status;
  if ((status = check_epilogue(&product)) != CUBLAS_STATUS_SUCCESS) return status;
  // In place means the same memory in the same layout.
  if (c == d && g->beta != 0 && (g->c.ld != g->d_ld || product.c_step != product.d_step)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  size_t room = 0;
  size_t needed = algo == NULL ? 0 : (size_t)algo->data[0];
  if (workspace_bytes < needed ||
      (needed > 0 && ((uintptr_t)workspace % WORKSPACE_ALIGNMENT != 0 ||
                      cudaemu_memory_type(workspace, &room) != cudaMemoryTypeDevice || room < workspace_bytes))) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  cudaemu_count("launch", "cublasLtMatmul");
  cudaemu_stream_put(stream, [product, workspace, needed] {
    if (needed > 0) memset(workspace, NAN_BYTE, needed); // whoever keeps something there loses it
    run_product(product);
  });
  return CUBLAS_STATUS_SUCCESS;
}
