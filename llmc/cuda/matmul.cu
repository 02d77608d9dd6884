// Linear layers: cuBLASLt does the products, with bias, GELU and GELU's gradient fused into them where it can; bias
// gradients are our own sums over rows.
//
// GELU is fused in the half types where a row of its argument is a multiple of 8 elements and the argument is aligned
// to 16 bytes: cuBLASLt's conditions. Then out comes from the sum before it is rounded to what `pre` keeps, and a
// pass over memory (N OC elements read, N OC written) is saved. In fp32 an own pass follows: next to a product
// without tensor cores it weighs little, and cuBLASLt does not promise a tanh that is as accurate as fp32. The form
// with the error function is always an own pass: cuBLASLt has the one with tanh alone.
//
// Outputs of one channel go another way throughout: one_channel.cu.
#include "../../zero/memory.h"
#include "column_sum.cuh"
#include "convert.cuh"
#include "cublaslt.cuh"
#include "one_channel.cuh"

enum { ONE_CHANNEL = 1 };

// out (N, OC) = inp weight^T + bias; with gelu_of, cuBLASLt's fused GELU of that, which is kept there.
static void linear_forward(void *out, void *gelu_of, const void *inp, const void *weight, const void *bias, size_t N,
                           size_t C, size_t OC, ZeroType type, ZeroStream stream) {
  Gemm product = {.m = N,
                  .n = OC,
                  .k = C,
                  .a = {inp, C, 0},
                  .b = {weight, C, 1},
                  .bias = bias,
                  .c = out,
                  .accumulate = 0,
                  .epilogue = gelu_of != NULL ? GEMM_GELU : GEMM_PLAIN,
                  .pre = gelu_of,
                  .type = type,
                  .out_type = type};
  cublaslt_gemm(&product, stream);
}

void matmul_forward(void *out, void *pre, const void *inp, const void *weight, const void *bias, size_t N, size_t C,
                    size_t OC, OpsGelu gelu, ZeroType type, ZeroStream stream) {
  if ((gelu != OPS_NO_GELU) != (pre != NULL) || pre == out) {
    zero_fatal("matmul_forward: pre is given with GELU and only then, and is not out");
  }
  if (N == 0) return;
  int fused = gelu == OPS_GELU && cublaslt_fuses_gelu(OC, type, pre);
  void *sums = pre != NULL && !fused ? pre : out;
  if (OC == ONE_CHANNEL) {
    one_channel_forward(sums, inp, weight, bias, N, C, type, stream);
  } else {
    linear_forward(sums, fused ? pre : NULL, inp, weight, bias, N, C, OC, type, stream);
  }
  if (pre != NULL && !fused) gelu_forward(out, pre, N * OC, gelu, type, stream);
}

// A product whose result is of another half type than its operands, or of a half type where they are fp32: cuBLASLt
// has none, so it is summed in scratch. So is one that is added to a half type: some of cuBLASLt's kernels round the
// product before they add.
static int sums_apart(ZeroType type, OpsGrad grad) {
  return grad.type != ZERO_F32 && (grad.type != type || grad.accumulate);
}

size_t matmul_backward_scratch(size_t N, size_t C, size_t OC, ZeroType grad_type) {
  size_t bias_bytes = column_sums_scratch(N, OC), weight_bytes = grad_type != ZERO_F32 ? OC * C * sizeof(float) : 0;
  if (OC == ONE_CHANNEL) weight_bytes = one_channel_scratch(N, C);
  return bias_bytes > weight_bytes ? bias_bytes : weight_bytes;
}

// dinp (N, C) = dout weight; with gelu_of, times GELU's slope there, by cuBLASLt.
static void linear_input_gradient(void *dinp, const void *gelu_of, const void *dout, const void *weight, size_t N,
                                  size_t C, size_t OC, ZeroType type, ZeroStream stream) {
  Gemm product = {.m = N,
                  .n = C,
                  .k = OC,
                  .a = {dout, OC, 0},
                  .b = {weight, C, 0},
                  .bias = NULL,
                  .c = dinp,
                  .accumulate = 0,
                  .epilogue = gelu_of != NULL ? GEMM_GELU_GRADIENT : GEMM_PLAIN,
                  .pre = (void *)gelu_of, // only read
                  .type = type,
                  .out_type = type};
  cublaslt_gemm(&product, stream);
}

static void input_gradient(void *dinp, const void *dout, const void *weight, const void *pre, OpsGelu gelu, size_t N,
                           size_t C, size_t OC, ZeroType type, ZeroStream stream) {
  int fused = gelu == OPS_GELU && OC != ONE_CHANNEL && cublaslt_fuses_gelu(C, type, pre);
  if (OC == ONE_CHANNEL) {
    one_channel_input_gradient(dinp, dout, weight, N, C, type, stream);
  } else {
    linear_input_gradient(dinp, fused ? pre : NULL, dout, weight, N, C, OC, type, stream);
  }
  if (pre != NULL && !fused) gelu_backward(dinp, dinp, pre, N * C, gelu, type, stream);
}

// One product over all rows: where cuBLASLt splits that sum, its shape alone decides how.
static void weight_gradient(OpsGrad dweight, const void *dout, const void *inp, size_t N, size_t C, size_t OC,
                            ZeroType type, void *scratch, ZeroStream stream) {
  if (OC == ONE_CHANNEL) {
    one_channel_weight_gradient(dweight, dout, inp, N, C, type, scratch, stream);
    return;
  }
  int apart = sums_apart(type, dweight);
  Gemm product = {.m = OC,
                  .n = C,
                  .k = N,
                  .a = {dout, OC, 1},
                  .b = {inp, C, 0},
                  .bias = NULL,
                  .c = apart ? scratch : dweight.data,
                  .accumulate = !apart && dweight.accumulate,
                  .epilogue = GEMM_PLAIN,
                  .pre = NULL,
                  .type = type,
                  .out_type = apart ? ZERO_F32 : dweight.type};
  cublaslt_gemm(&product, stream);
  if (apart) round_sums(dweight, (const float *)scratch, OC * C, stream);
}

void matmul_backward(void *dinp, OpsGrad dweight, OpsGrad dbias, const void *dout, const void *inp,
                     const void *weight, const void *pre, OpsGelu gelu, size_t N, size_t C, size_t OC, ZeroType type,
                     void *scratch, ZeroStream stream) {
  if ((gelu != OPS_NO_GELU) != (pre != NULL)) zero_fatal("matmul_backward: pre is given with GELU and only then");
  if (N == 0) zero_fatal("matmul_backward: there are no rows");
  if (dinp != NULL) input_gradient(dinp, dout, weight, pre, gelu, N, C, OC, type, stream);
  if (dweight.data != NULL) weight_gradient(dweight, dout, inp, N, C, OC, type, scratch, stream);
  if (dbias.data != NULL) column_sums(dbias, dout, N, OC, type, scratch, stream);
}

// ---------------------------------------------------------------- the yardstick
enum { FILL_THREADS = 256 };

// Numbers in [-1, 1) without a pattern: on zeros a GPU needs less power and runs faster than it ever does in
// training.
template <typename T>
__global__ void fill_kernel(T *out, size_t count) {
  const unsigned multiplier = 2654435761u; // Knuth's multiplicative hash
  size_t i = (size_t)blockIdx.x * FILL_THREADS + threadIdx.x;
  if (i < count) out[i] = from_float<T>((float)(int)((unsigned)(i + 1) * multiplier) * 0x1p-31f);
}

static void *new_operand(size_t count, ZeroType type) {
  void *data;
  CUDA_CHECK(cudaMalloc(&data, count * zero_type_size(type)));
  zero_ledger_add_device(ZERO_MEM_OTHER, count * zero_type_size(type));
  DISPATCH_TYPE(type, T,
                LAUNCH((fill_kernel<T>), grid_blocks(count, FILL_THREADS), FILL_THREADS, 0, NULL, (T *)data, count););
  return data;
}

static void free_operand(void *data, size_t count, ZeroType type) {
  CUDA_CHECK(cudaFree(data));
  zero_ledger_remove_device(ZERO_MEM_OTHER, count * zero_type_size(type));
}

// Seconds that `runs` products take, one right after the other.
static double time_products(const Gemm *product, int runs, cudaEvent_t begin, cudaEvent_t end) {
  const double seconds_per_ms = 1e-3;
  float ms;
  CUDA_CHECK(cudaEventRecord(begin, NULL));
  for (int i = 0; i < runs; i++) cublaslt_gemm(product, NULL);
  CUDA_CHECK(cudaEventRecord(end, NULL));
  CUDA_CHECK(cudaEventSynchronize(end));
  CUDA_CHECK(cudaEventElapsedTime(&ms, begin, end));
  return ms * seconds_per_ms;
}

double matmul_peak(size_t n, size_t k, size_t m, ZeroType type, double seconds) {
  // A product of some microseconds is timed in a row of them, against the events' resolution and the launch.
  const double shortest_row = 1e-3, shortest_product = 1e-6;
  void *a = new_operand(n * k, type), *b = new_operand(k * m, type), *c = new_operand(n * m, type);
  Gemm product = {.m = n,
                  .n = m,
                  .k = k,
                  .a = {a, k, 0},
                  .b = {b, k, 1},
                  .bias = NULL,
                  .c = c,
                  .accumulate = 0,
                  .epilogue = GEMM_PLAIN,
                  .pre = NULL,
                  .type = type,
                  .out_type = type};
  cudaEvent_t begin, end;
  CUDA_CHECK(cudaEventCreate(&begin));
  CUDA_CHECK(cudaEventCreate(&end));
  time_products(&product, 1, begin, end); // finds the algorithm and loads its code
  double best = time_products(&product, 1, begin, end), spent = best;
  int runs = best < shortest_row ? (int)(shortest_row / (best > shortest_product ? best : shortest_product)) : 1;
  while (spent < seconds) {
    double took = time_products(&product, runs, begin, end);
    if (took / runs < best) best = took / runs;
    spent += took;
  }
  CUDA_CHECK(cudaEventDestroy(begin));
  CUDA_CHECK(cudaEventDestroy(end));
  free_operand(a, n * k, type);
  free_operand(b, k * m, type);
  free_operand(c, n * m, type);
  return 2.0 * (double)n * (double)k * (double)m / best;
}
