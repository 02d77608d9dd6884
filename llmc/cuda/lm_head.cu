// The language-model head: projection, softmax, cross-entropy and their gradients, block of rows by block of rows.
// The logits of a block turn into their own gradient in place and are used up before the next block.
//
// Logits are fp32 in every type. In the half types a row's gradient takes the first half of the row's own memory,
// rounded once, so the products that use it see rows of Vp elements 2 Vp apart. The input gradient sums over the
// vocabulary in one product. dwte sums over blocks in fp32: in place where it is fp32, else, with more than one
// block, in a buffer of 4 Vp C bytes (147 MiB at 50,304 x 768) that is rounded at the end.
// Where a row fits a multiprocessor's shared memory, the softmax reads it from memory once.
//
// What a block costs: three products of 2 rows Vp C FLOPs, and 4 rows Vp bytes written, read once or twice and
// written once more (half as many in the half types) by the softmax, besides what the products read: bytes bound the
// softmax.
#include <math_constants.h>

#include "column_sum.cuh"
#include "convert.cuh"
#include "cublaslt.cuh"

enum {
  // Rows whose logits are in memory at once: 4,096 rows of 50,304 are 786 MiB. With 1,024 dwte, which is read and
  // written for every block, took half of its product's time on an H100. The borders, and so the order in which dwte
  // is summed, depend on nothing else.
  HEAD_BLOCK_ROWS = 4096,
  HEAD_THREADS = 256,       // of a block that reads its row twice
  HEAD_KEPT_THREADS = 1024, // of one that keeps it in shared memory, alone on its multiprocessor
  HEAD_BIAS_ROWS = 512,     // of a slice whose gradients of the bias are summed at once
  SCRATCH_ALIGNMENT = 256
};

static size_t block_rows(size_t N) {
  return N < HEAD_BLOCK_ROWS ? N : (size_t)HEAD_BLOCK_ROWS;
}

// The parts of scratch.
typedef struct {
  float *logits; // (rows, Vp) of a block
  float *dbias;  // (Vp) sums over blocks
  float *slices; // (slices of a block's rows, Vp)
  float *dwte;   // (Vp, C) sums over blocks where they have no other place
  size_t bytes;  // of all together
} Scratch;

static float *take(Scratch *scratch, char *memory, size_t floats) {
  float *part = memory != NULL ? (float *)(memory + scratch->bytes) : NULL;
  scratch->bytes += ceil_div(floats * sizeof(float), (size_t)SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT;
  return part;
}

// With memory NULL only counts bytes.
static Scratch divide_scratch(void *scratch, size_t N, size_t C, size_t Vp, int with_dwte) {
  char *memory = (char *)scratch;
  Scratch parts = {};
  parts.logits = take(&parts, memory, block_rows(N) * Vp);
  parts.dbias = take(&parts, memory, Vp);
  parts.slices = take(&parts, memory, ceil_div(block_rows(N), (size_t)HEAD_BIAS_ROWS) * Vp);
  parts.dwte = with_dwte ? take(&parts, memory, Vp * C) : NULL;
  return parts;
}

// Whether dwte is summed beside its place: its type is too coarse to add to, or no product has it as result.
static int sums_apart(size_t N, ZeroType type, OpsGrad dwte) {
  return dwte.type != ZERO_F32 && (N > HEAD_BLOCK_ROWS || dwte.type != type || dwte.accumulate);
}

size_t lm_head_loss_scratch(size_t N, size_t C, size_t Vp, ZeroType type, ZeroType grad_type) {
  (void)type;
  return divide_scratch(NULL, N, C, Vp, grad_type != ZERO_F32).bytes;
}

// ---------------------------------------------------------------- the fused classifier
// The largest of some numbers and the sum of e^(x - max) over them.
typedef struct {
  float max, sum;
} Softmax;

// Products, and the bias where there is one.
template <int WIDTH, CacheHint HINT = CACHE_KEEP, typename T>
__device__ __forceinline__ Packet<WIDTH> load_logits(const float *x, const T *bias, size_t at) {
  Packet<WIDTH> logits = load_packet<WIDTH, HINT>(x + at);
  if (bias != NULL) logits = add_packets(logits, load_packet<WIDTH>(bias + at));
  return logits;
}

// This thread's part of a row, in one pass: when the maximum grows, the sum so far shrinks accordingly.
template <typename T, int WIDTH, int THREADS>
__device__ __forceinline__ Softmax thread_softmax(const float *x, const T *bias, size_t V) {
  Softmax part = {-CUDART_INF_F, 0.0f};
  for (size_t at = threadIdx.x * WIDTH; at < V; at += THREADS * WIDTH) {
    Packet<WIDTH> logits = load_logits<WIDTH>(x, bias, at);
    float max = part.max;
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
      if (at + i >= V) logits.value[i] = -CUDART_INF_F;
      max = fmaxf(max, logits.value[i]);
    }
    if (max > part.max) part.sum *= expf(part.max - max);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) part.sum += expf(logits.value[i] - max);
    part.max = max;
  }
  return part;
}

template <typename T, int WIDTH, int THREADS>
__device__ __forceinline__ Softmax row_softmax(const float *x, const T *bias, size_t V) {
  Softmax part = thread_softmax<T, WIDTH, THREADS>(x, bias, V), row;
  row.max = block_max<THREADS>(part.max);
  row.sum = block_sum<THREADS>(part.sum * expf(part.max - row.max)); // 0 from a thread without columns
  return row;
}

// The same for a row that is kept: it is read once, and each e^x is worked out once. Afterwards kept holds
// e^(x - max), each thread's columns by itself.
template <typename T, int WIDTH, int THREADS>
__device__ __forceinline__ Softmax kept_softmax(const float *x, const T *bias, float *kept, size_t V) {
  Softmax row = {-CUDART_INF_F, 0.0f};
#pragma unroll 4
  for (unsigned at = threadIdx.x * WIDTH; at < V; at += THREADS * WIDTH) {
    Packet<WIDTH> logits = load_logits<WIDTH, CACHE_STREAM>(x, bias, at);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
      if (at + i >= V) logits.value[i] = -CUDART_INF_F;
      row.max = fmaxf(row.max, logits.value[i]);
    }
    store_packet(kept + at, logits);
  }
  row.max = block_max<THREADS>(row.max);
  const float shift = -row.max * LOG2_E;
#pragma unroll 4
  for (unsigned at = threadIdx.x * WIDTH; at < V; at += THREADS * WIDTH) {
    Packet<WIDTH> e = load_packet<WIDTH>(kept + at);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
      e.value[i] = exp2f(fmaf(e.value[i], LOG2_E, shift));
      row.sum += e.value[i];
    }
    store_packet(kept + at, e);
  }
  row.sum = block_sum<THREADS>(row.sum);
  return row;
}

// The entry with the largest logit, the lowest of equal ones; 0 in a row of NaN. Called once in a block.
template <typename T, int WIDTH, int THREADS>
__device__ __forceinline__ void write_best(int *best, const float *x, const T *bias, size_t V) {
  constexpr int WARPS = THREADS / WARP_LANES;
  SHARED(unsigned, of_warp, [WARPS]);
  float max = -CUDART_INF_F;
  unsigned at_max = UINT_MAX;
  for (size_t at = threadIdx.x * WIDTH; at < V; at += THREADS * WIDTH) {
    Packet<WIDTH> logits = load_logits<WIDTH>(x, bias, at);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
      if (at + i < V && logits.value[i] > max) max = logits.value[i], at_max = (unsigned)(at + i);
    }
  }
  if (block_max<THREADS>(max) != max) at_max = UINT_MAX;
#pragma unroll
  for (int step = WARP_LANES / 2; step > 0; step /= 2) {
    unsigned other = __shfl_xor_sync(FULL_WARP, at_max, step);
    at_max = other < at_max ? other : at_max;
  }
  if (threadIdx.x % WARP_LANES == 0) of_warp[threadIdx.x / WARP_LANES] = at_max;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < WARPS; w++) at_max = of_warp[w] < at_max ? of_warp[w] : at_max;
  *best = at_max < V ? (int)at_max : 0;
}

// grad_scale * (softmax - one-hot) over the row itself, and 0 in the padded columns. In a half type what a thread
// writes lies where others have logits to read, of these columns or of earlier ones: all read, then all write. With a
// kept row all have read before.
template <typename T, int WIDTH, int THREADS>
__device__ __forceinline__ void write_gradient(float *x, const T *bias, const float *kept, Softmax row,
                                               unsigned target, float grad_scale, size_t V, size_t Vp) {
  const float factor = grad_scale / row.sum;
#pragma unroll 2
  for (unsigned first = 0; first < Vp; first += THREADS * WIDTH) {
    const unsigned at = first + threadIdx.x * WIDTH;
    Packet<WIDTH> gradient = zero_packet<WIDTH>();
    if (at < V) {
      Packet<WIDTH> logits = kept != NULL ? load_packet<WIDTH>(kept + at) : load_logits<WIDTH>(x, bias, at);
#pragma unroll
      for (int i = 0; i < WIDTH; i++) {
        float e = kept != NULL ? logits.value[i] : expf(logits.value[i] - row.max);
        if (at + i == target) e -= row.sum; // times 1 / sum: probability - 1
        if (at + i < V) gradient.value[i] = e * factor;
      }
    }
    if (kept == NULL && sizeof(T) < sizeof(float)) __syncthreads();
    if (at < Vp) store_packet(reinterpret_cast<T *>(x) + at, gradient);
  }
}

// One block per row, which KEEPS it in (V) dynamic shared memory or not. A target that is neither in [0, V) nor
// OPS_IGNORE gives the loss NaN: a kernel has no other way to refuse.
template <typename T, int WIDTH, int THREADS, bool KEEPS>
__global__ void __launch_bounds__(THREADS)
    lm_head_classifier_kernel(float *loss, int *best, float *logits, const T *bias, const int *targets,
                              float grad_scale, int gradients, size_t V, size_t Vp) {
  const size_t row = blockIdx.x;
  const int target = targets[row];
  float *x = logits + row * Vp;
  if (best != NULL) write_best<T, WIDTH, THREADS>(best + row, x, bias, V);
  if (target < 0 || (size_t)target >= V) {
    if (threadIdx.x == 0) loss[row] = target == OPS_IGNORE ? 0.0f : CUDART_NAN_F;
    if (!gradients) return;
    for (size_t at = threadIdx.x * WIDTH; at < Vp; at += THREADS * WIDTH) {
      store_packet(reinterpret_cast<T *>(x) + at, zero_packet<WIDTH>());
    }
    return;
  }
  float *kept = NULL;
  if (KEEPS) {
    DYN_SMEM(float, memory);
    kept = memory;
  }
  const float target_logit = bias != NULL ? x[target] + to_float(bias[target]) : x[target];
  Softmax softmax =
      KEEPS ? kept_softmax<T, WIDTH, THREADS>(x, bias, kept, V) : row_softmax<T, WIDTH, THREADS>(x, bias, V);
  if (threadIdx.x == 0) loss[row] = logf(softmax.sum) + (softmax.max - target_logit);
  if (gradients) write_gradient<T, WIDTH, THREADS>(x, bias, kept, softmax, (unsigned)target, grad_scale, V, Vp);
}

// ---------------------------------------------------------------- a block of rows
// What the products of a block use.
typedef struct {
  float *logits;      // (rows, Vp), then their gradient
  const void *hidden; // (rows, C)
  const void *wte;    // (Vp, C)
  const void *bias;   // (Vp) or NULL
  size_t rows, C, Vp;
  ZeroType type;
  ZeroStream stream;
} Block;

static void block_logits(const Block *block) {
  Gemm product = {.m = block->rows,
                  .n = block->Vp,
                  .k = block->C,
                  .a = {block->hidden, block->C, 0},
                  .b = {block->wte, block->C, 1},
                  .bias = NULL,
                  .c = block->logits,
                  .accumulate = 0,
                  .epilogue = GEMM_PLAIN,
                  .pre = NULL,
                  .type = block->type,
                  .out_type = ZERO_F32};
  cublaslt_gemm(&product, block->stream);
}

// Whether a row is long enough that reading it twice costs more than a block that has the multiprocessor to itself,
// and fits into that one's shared memory.
static int keeps_rows(size_t bytes) {
  const size_t reserved = 4 << 10, least = 64 << 10; // reserved: the sums' static arrays and the system's own
  static int most = 0;                               // of this process's GPU
  if (most == 0) {
    int gpu;
    CUDA_CHECK(cudaGetDevice(&gpu));
    CUDA_CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, gpu));
  }
  return bytes >= least && bytes + reserved <= (size_t)most;
}

static void block_loss(const Block *block, float *loss, int *best, const int *targets, float grad_scale,
                       int gradients, size_t V) {
  // Packets of four logits in every type; a half type's gradient is written in packets of 8 bytes.
  enum { LOGITS = PACKET_BYTES / sizeof(float) };
  const unsigned rows = grid_blocks(block->rows, 1);
  const size_t kept_bytes = ceil_div(V, (size_t)LOGITS) * PACKET_BYTES;
  DISPATCH_TYPE(block->type, T, {
    const T *bias = (const T *)block->bias;
    if (!whole_packets<float>(block->Vp, address_bits(block->logits, bias))) {
      LAUNCH((lm_head_classifier_kernel<T, 1, HEAD_THREADS, false>), rows, HEAD_THREADS, 0, block->stream, loss, best,
             block->logits, bias, targets, grad_scale, gradients, V, block->Vp);
    } else if (keeps_rows(kept_bytes)) {
      allow_shared_memory((const void *)lm_head_classifier_kernel<T, LOGITS, HEAD_KEPT_THREADS, true>, kept_bytes);
      LAUNCH((lm_head_classifier_kernel<T, LOGITS, HEAD_KEPT_THREADS, true>), rows, HEAD_KEPT_THREADS, kept_bytes,
             block->stream, loss, best, block->logits, bias, targets, grad_scale, gradients, V, block->Vp);
    } else {
      LAUNCH((lm_head_classifier_kernel<T, LOGITS, HEAD_THREADS, false>), rows, HEAD_THREADS, 0, block->stream, loss,
             best, block->logits, bias, targets, grad_scale, gradients, V, block->Vp);
    }
  });
}

// The rows of the gradient lie as far apart as those of the logits.
static GemmMatrix block_gradient(const Block *block, int transposed) {
  GemmMatrix dlogits = {block->logits, block->Vp * (sizeof(float) / zero_type_size(block->type)), transposed};
  return dlogits;
}

static void block_dhidden(const Block *block, void *dhidden) {
  Gemm product = {.m = block->rows,
                  .n = block->C,
                  .k = block->Vp,
                  .a = block_gradient(block, 0),
                  .b = {block->wte, block->C, 0},
                  .bias = NULL,
                  .c = dhidden,
                  .accumulate = 0,
                  .epilogue = GEMM_PLAIN,
                  .pre = NULL,
                  .type = block->type,
                  .out_type = block->type};
  cublaslt_gemm(&product, block->stream);
}

static void block_dwte(const Block *block, OpsGrad dwte) {
  Gemm product = {.m = block->Vp,
                  .n = block->C,
                  .k = block->rows,
                  .a = block_gradient(block, 1),
                  .b = {block->hidden, block->C, 0},
                  .bias = NULL,
                  .c = dwte.data,
                  .accumulate = dwte.accumulate,
                  .epilogue = GEMM_PLAIN,
                  .pre = NULL,
                  .type = block->type,
                  .out_type = dwte.type};
  cublaslt_gemm(&product, block->stream);
}

// Sums over the rows of a block, in slices.
static void block_dbias(const Block *block, OpsGrad dbias, float *slices) {
  const GemmMatrix dlogits = block_gradient(block, 0);
  const ColumnSlices columns = {dlogits.data, block->rows, block->Vp, dlogits.stride, HEAD_BIAS_ROWS, block->type};
  column_sums_of(dbias, &columns, slices, block->stream);
}

// The real columns of a block's logits, with the bias: a thread takes one of them.
template <typename T>
__global__ void copy_logits_kernel(float *out, const float *logits, const T *bias, size_t rows, size_t V, size_t Vp) {
  const size_t i = (size_t)blockIdx.x * HEAD_THREADS + threadIdx.x, row = i / V, column = i % V;
  if (row < rows) out[i] = load_logits<1>(logits + row * Vp, bias, column).value[0];
}

static void copy_logits(float *logits, const Block *block, size_t V) {
  DISPATCH_TYPE(block->type, T, {
    LAUNCH((copy_logits_kernel<T>), grid_blocks(block->rows * V, HEAD_THREADS), HEAD_THREADS, 0, block->stream,
           logits, block->logits, (const T *)block->bias, block->rows, V, block->Vp);
  });
}

void lm_head_loss(float *loss, void *dhidden, OpsGrad dwte, OpsGrad dbias, float *logits, int *best,
                  const void *hidden, const void *wte, const void *bias, const int *targets, float grad_scale,
                  size_t N, size_t C, size_t V, size_t Vp, ZeroType type, void *scratch, ZeroStream stream) {
  if (V == 0 || V > Vp || N == 0) zero_fatal("lm_head_loss: found %zu rows, %zu entries padded to %zu", N, V, Vp);
  if (dbias.data != NULL && bias == NULL)
    zero_fatal("lm_head_loss: a gradient is wanted of a bias that is not given");
  const int gradients = dhidden != NULL || dwte.data != NULL || dbias.data != NULL;
  const int apart = dwte.data != NULL && sums_apart(N, type, dwte);
  const Scratch parts = divide_scratch(scratch, N, C, Vp, apart);
  OpsGrad dwte_sums = dwte, dbias_sums = {parts.dbias, ZERO_F32, 0};
  if (apart) {
    OpsGrad buffer = {parts.dwte, ZERO_F32, 0};
    dwte_sums = buffer;
  }
  for (size_t first = 0; first < N; first += HEAD_BLOCK_ROWS) {
    size_t at = first * C * zero_type_size(type);
    Block block = {parts.logits, (const char *)hidden + at, wte, bias, block_rows(N - first), C, Vp, type, stream};
    block_logits(&block);
    if (logits != NULL) copy_logits(logits + first * V, &block, V);
    block_loss(&block, loss + first, best != NULL ? best + first : NULL, targets + first, grad_scale, gradients, V);
    if (dhidden != NULL) block_dhidden(&block, (char *)dhidden + at);
    if (dwte.data != NULL) block_dwte(&block, dwte_sums);
    if (dbias.data != NULL) block_dbias(&block, dbias_sums, parts.slices);
    dwte_sums.accumulate = dbias_sums.accumulate = 1; // later blocks add
  }
  if (apart) round_sums(dwte, parts.dwte, Vp * C, stream);
  if (dbias.data != NULL) round_sums(dbias, parts.dbias, Vp, stream);
}

// The logits are written where they belong: no memory on the side.
size_t lm_head_logits_scratch(size_t N, size_t C, size_t Vp, ZeroType type) {
  (void)N;
  (void)C;
  (void)Vp;
  (void)type;
  return 0;
}

void lm_head_logits(float *logits, const void *hidden, const void *wte, size_t N, size_t C, size_t V, size_t Vp,
                    ZeroType type, void *scratch, ZeroStream stream) {
  (void)scratch;
  if (V > Vp) zero_fatal("lm_head_logits: found %zu entries padded to %zu", V, Vp);
  if (N == 0) return;
  Block block = {logits, hidden, wte, NULL, N, C, V, type, stream}; // V rows of wte, as if nothing were padded
  block_logits(&block);
}
