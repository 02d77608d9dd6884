// The cache of cuBLASLt's descriptors and algorithms.
//
// cuBLASLt thinks in columns. A matrix that lies in memory row by row is, read column by column, its own transpose:
// so c = a b is asked for as c^T = b^T a^T. Its A is our b, its B our a, its (rows, columns) our (n, m); a leading
// dimension is our stride, and since both sides are transposed already, CUBLAS_OP_T is asked for exactly where ours
// says `transposed`. Its bias runs along rows, which are our columns.
//
// The algorithm is the first that cuBLASLt's heuristic names, from shape, types and alignments alone. Nothing is
// timed: the fastest of several may change from run to run, and with it the order of sums. A split of k may reduce
// its parts only in fp32 (CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE): in a half type each part would be rounded. fp32 is
// CUBLAS_COMPUTE_32F, that is fp32 throughout and not TF32.
#include "cublaslt.cuh"

#include <cublasLt.h>
#include <stdint.h>
#include <string.h>

#include "../../zero/memory.h"
#include "../plan_places.h"
#include "launch.h"

// What NVIDIA recommends for Hopper; older GPUs need less.
static const size_t WORKSPACE_BYTES = (size_t)32 << 20;
// Wide enough for every kernel of cuBLASLt: it moves at most so many bytes at once.
enum { MOST_ALIGNMENT = 16 };
// GELU's second matrix: cuBLASLt wants a leading dimension that is a multiple of this.
enum { PRE_STRIDE_MULTIPLE = 8 };
// A packed BERT has a batch of one of 16 numbers of rows N (BERT_ROW_COUNTS) and at each 12 products in its blocks (4
// layers forward, their input's and their weight's gradients), and as many numbers of masked rows M with 6 in the
// head (a layer's 3, the vocabulary's 3): up to 16 (12 + 6) = 288, besides the pooler's, and in evaluation the
// forward ones of its own batch. A GPT-2 has about 20. More than this many at once only cost their creation again.
enum { CACHE_ENTRIES = 512 };

// What makes two products use the same algorithm. All members have one size: no padding to compare.
typedef struct {
  uint64_t m, n, k;
  uint64_t a_stride, b_stride, a_transposed, b_transposed;
  uint64_t type, out_type, bias, epilogue;
  uint64_t a_alignment, b_alignment, c_alignment, bias_alignment, pre_alignment;
} Key;

typedef struct {
  Key key;
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, c;
  cublasLtMatmulAlgo_t algorithm;
} Entry;

// The process's handle, workspace and entries. The operations have no context of their own to hold them.
static struct {
  cublasLtHandle_t handle;
  void *workspace;
  ZeroStream stream; // whose products use the workspace now
  PlanPlaces places;
  Entry entries[CACHE_ENTRIES];
} cache;

static void check_status(cublasStatus_t status, const char *call, const Key *key) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  zero_fatal("cuBLASLt: %s gave status %d for m %llu, n %llu, k %llu in %s with results in %s", call, (int)status,
             (unsigned long long)key->m, (unsigned long long)key->n, (unsigned long long)key->k,
             zero_type_name((ZeroType)key->type), zero_type_name((ZeroType)key->out_type));
}

#define CHECK(key, call) check_status(call, #call, key)

static cudaDataType_t data_type(uint64_t type) {
  switch (type) {
    case ZERO_F32:
      return CUDA_R_32F;
    case ZERO_BF16:
      return CUDA_R_16BF;
    case ZERO_F16:
      return CUDA_R_16F;
    default:
      zero_fatal("cuBLASLt: expected fp32, bf16 or fp16, found type %d", (int)type);
  }
}

// The largest power of two that divides the address, as far as it matters; 0 for NULL.
static uint64_t alignment(const void *p) {
  uint64_t address = (uint64_t)(uintptr_t)p, lowest = address & (~address + 1);
  return lowest < MOST_ALIGNMENT ? lowest : (uint64_t)MOST_ALIGNMENT;
}

// ---------------------------------------------------------------- an entry
static void set_attribute(Entry *entry, cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes) {
  CHECK(&entry->key, cublasLtMatmulDescSetAttribute(entry->operation, attribute, value, bytes));
}

#define SET(entry, attribute, value) set_attribute(entry, CUBLASLT_MATMUL_DESC_##attribute, &(value), sizeof(value))

// Pointers are part of the operation, not of the call. The heuristic reads their alignment from them.
static void set_pointers(Entry *entry, const Gemm *gemm) {
  if (gemm->bias != NULL) SET(entry, BIAS_POINTER, gemm->bias);
  if (gemm->epilogue != GEMM_PLAIN) SET(entry, EPILOGUE_AUX_POINTER, gemm->pre);
}

static cublasLtEpilogue_t epilogue_of(const Key *key) {
  switch (key->epilogue) {
    case GEMM_GELU:
      return key->bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    case GEMM_GELU_GRADIENT:
      return CUBLASLT_EPILOGUE_DGELU;
    default:
      return key->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  }
}

static void create_operation(Entry *entry, const Gemm *gemm) {
  const Key *key = &entry->key;
  CHECK(key, cublasLtMatmulDescCreate(&entry->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const cublasOperation_t op_a = key->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t op_b = key->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasLtEpilogue_t epilogue = epilogue_of(key);
  SET(entry, TRANSA, op_a);
  SET(entry, TRANSB, op_b);
  SET(entry, EPILOGUE, epilogue);
  if (key->epilogue != GEMM_PLAIN) {
    const int64_t stride = (int64_t)key->n;
    SET(entry, EPILOGUE_AUX_LD, stride);
  }
  set_pointers(entry, gemm);
}

// A (rows, columns) operand as it is stored.
static cublasLtMatrixLayout_t create_layout(const Key *key, uint64_t type, uint64_t rows, uint64_t columns,
                                            uint64_t stride) {
  cublasLtMatrixLayout_t layout;
  CHECK(key, cublasLtMatrixLayoutCreate(&layout, data_type(type), columns, rows, (int64_t)stride));
  return layout;
}

static void create_layouts(Entry *entry) {
  const Key *key = &entry->key;
  uint64_t a_rows = key->a_transposed ? key->k : key->m, a_columns = key->a_transposed ? key->m : key->k;
  uint64_t b_rows = key->b_transposed ? key->n : key->k, b_columns = key->b_transposed ? key->k : key->n;
  entry->a = create_layout(key, key->type, a_rows, a_columns, key->a_stride);
  entry->b = create_layout(key, key->type, b_rows, b_columns, key->b_stride);
  entry->c = create_layout(key, key->out_type, key->m, key->n, key->n);
}

static void prefer(const Key *key, cublasLtMatmulPreference_t preference,
                   cublasLtMatmulPreferenceAttributes_t attribute, const void *value, size_t bytes) {
  CHECK(key, cublasLtMatmulPreferenceSetAttribute(preference, attribute, value, bytes));
}

#define PREFER(key, preference, attribute, value) \
  prefer(key, preference, CUBLASLT_MATMUL_PREF_##attribute, &(value), sizeof(value))

static void choose_algorithm(Entry *entry) {
  const Key *key = &entry->key;
  cublasLtMatmulPreference_t preference;
  CHECK(key, cublasLtMatmulPreferenceCreate(&preference));
  const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  const uint32_t a_bytes = (uint32_t)key->b_alignment, b_bytes = (uint32_t)key->a_alignment;
  const uint32_t c_bytes = (uint32_t)key->c_alignment;
  PREFER(key, preference, MAX_WORKSPACE_BYTES, WORKSPACE_BYTES);
  PREFER(key, preference, REDUCTION_SCHEME_MASK, reduction);
  PREFER(key, preference, MIN_ALIGNMENT_A_BYTES, a_bytes);
  PREFER(key, preference, MIN_ALIGNMENT_B_BYTES, b_bytes);
  PREFER(key, preference, MIN_ALIGNMENT_C_BYTES, c_bytes);
  PREFER(key, preference, MIN_ALIGNMENT_D_BYTES, c_bytes);

  cublasLtMatmulHeuristicResult_t result;
  memset(&result, 0, sizeof result);
  int found = 0;
  cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(cache.handle, entry->operation, entry->b, entry->a, entry->c,
                                                         entry->c, preference, 1, &result, &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && found == 0)) {
    zero_fatal(
        "cuBLASLt has no algorithm for m %llu, n %llu, k %llu, strides %llu and %llu, transposed %llu and %llu, "
        "epilogue %d, %s with results in %s, alignments %llu, %llu and %llu: sizes that are multiples of %d have one",
        (unsigned long long)key->m, (unsigned long long)key->n, (unsigned long long)key->k,
        (unsigned long long)key->a_stride, (unsigned long long)key->b_stride, (unsigned long long)key->a_transposed,
        (unsigned long long)key->b_transposed, (int)epilogue_of(key), zero_type_name((ZeroType)key->type),
        zero_type_name((ZeroType)key->out_type), (unsigned long long)key->a_alignment,
        (unsigned long long)key->b_alignment, (unsigned long long)key->c_alignment, PRE_STRIDE_MULTIPLE);
  }
  check_status(status, "cublasLtMatmulAlgoGetHeuristic", key);
  entry->algorithm = result.algo;
  CHECK(key, cublasLtMatmulPreferenceDestroy(preference));
}

static void destroy_entry(Entry *entry) {
  CHECK(&entry->key, cublasLtMatrixLayoutDestroy(entry->a));
  CHECK(&entry->key, cublasLtMatrixLayoutDestroy(entry->b));
  CHECK(&entry->key, cublasLtMatrixLayoutDestroy(entry->c));
  CHECK(&entry->key, cublasLtMatmulDescDestroy(entry->operation));
}

// ---------------------------------------------------------------- the cache
static void open_library(const Key *key) {
  CHECK(key, cublasLtCreate(&cache.handle));
  CUDA_CHECK(cudaMalloc(&cache.workspace, WORKSPACE_BYTES));
  zero_ledger_add_device(ZERO_MEM_OTHER, WORKSPACE_BYTES);
}

static Entry *find_entry(const Key *key, const Gemm *gemm) {
  size_t place;
  const PlanState state = plan_places_find(&cache.places, CACHE_ENTRIES, cache.entries, sizeof cache.entries[0], key,
                                           sizeof *key, &place);
  Entry *entry = &cache.entries[place];
  if (state == PLAN_KNOWN) {
    set_pointers(entry, gemm);
    return entry;
  }
  if (cache.handle == NULL) open_library(key);
  if (state == PLAN_REPLACES) destroy_entry(entry);
  entry->key = *key;
  create_operation(entry, gemm);
  create_layouts(entry);
  choose_algorithm(entry);
  return entry;
}

int cublaslt_fuses_gelu(size_t n, ZeroType type, const void *pre) {
  return type != ZERO_F32 && n % PRE_STRIDE_MULTIPLE == 0 && alignment(pre) == MOST_ALIGNMENT;
}

void cublaslt_gemm(const Gemm *gemm, ZeroStream stream) {
  Key key = {
      gemm->m,
      gemm->n,
      gemm->k,
      gemm->a.stride,
      gemm->b.stride,
      gemm->a.transposed != 0,
      gemm->b.transposed != 0,
      (uint64_t)gemm->type,
      (uint64_t)gemm->out_type,
      gemm->bias != NULL,
      (uint64_t)gemm->epilogue,
      alignment(gemm->a.data),
      alignment(gemm->b.data),
      alignment(gemm->c),
      alignment(gemm->bias),
      alignment(gemm->pre),
  };
  Entry *entry = find_entry(&key, gemm);
  if (stream != cache.stream) { // the workspace is in use there
    CUDA_CHECK(cudaDeviceSynchronize());
    cache.stream = stream;
  }
  const float one = 1.0f, beta = gemm->accumulate ? 1.0f : 0.0f;
  CHECK(&key, cublasLtMatmul(cache.handle, entry->operation, &one, gemm->b.data, entry->b, gemm->a.data, entry->a,
                             &beta, gemm->c, entry->c, gemm->c, entry->c, &entry->algorithm, cache.workspace,
                             WORKSPACE_BYTES, (cudaStream_t)stream));
}
