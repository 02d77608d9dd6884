// The emulator's own test: what each primitive computes, with answers known beforehand. Compiles with nvcc too, where
// the same answers hold.
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../zero/cuda_launch.h"

enum { THREADS = 96, LANES = 32, ANSWERS = 32 };
#define ALL_LANES 0xffffffffu

static int passed, failed;

static void check(const char *name, int good) {
  printf("%s %s\n", good ? "ok" : "not ok", name);
  *(good ? &passed : &failed) += 1;
}

// ---------------------------------------------------------------- threads, warps, atomics
// Each thread sets answer[a] to 0 if its answer a is wrong.
#define EXPECT(a, condition) \
  if (!(condition)) answer[a] = 0

__global__ void warp_answers(int *answer) {
  int lane = (int)threadIdx.x % LANES;
  EXPECT(0, __shfl_sync(ALL_LANES, lane, 5) == 5);
  EXPECT(1, __shfl_xor_sync(ALL_LANES, (double)lane, 3) == (lane ^ 3));
  EXPECT(2, __shfl_down_sync(ALL_LANES, lane, 4, 8) == (lane % 8 < 4 ? lane + 4 : lane));
  EXPECT(3, __shfl_up_sync(ALL_LANES, (float)lane, 1) == (float)(lane == 0 ? 0 : lane - 1));
  EXPECT(4, __shfl_sync(ALL_LANES, lane, 1, 16) == (lane & 16) + 1);
  EXPECT(5, __ballot_sync(ALL_LANES, lane % 2) == 0xaaaaaaaau);
  EXPECT(6, __any_sync(ALL_LANES, lane == 7) && !__any_sync(ALL_LANES, lane > 31));
  EXPECT(7, __all_sync(ALL_LANES, lane < 32) && !__all_sync(ALL_LANES, lane != 7));
  EXPECT(8, __match_any_sync(ALL_LANES, lane / 4) == 0xfu << (lane / 4 * 4));
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  EXPECT(9, __reduce_add_sync(ALL_LANES, lane) == 496 && __reduce_min_sync(ALL_LANES, lane - 9) == -9);
#endif
  if (lane < 16) EXPECT(10, __shfl_xor_sync(0x0000ffffu, lane, 8) == (lane ^ 8));
  __syncwarp();
  EXPECT(11, (int)blockDim.x == THREADS && gridDim.y == 2 && blockIdx.y < 2 && warpSize == 32);
  EXPECT(12, __syncthreads_count(threadIdx.x < 40) == 40);
  EXPECT(13, __syncthreads_or(threadIdx.x == 95) && !__syncthreads_or(0));
  EXPECT(14, __syncthreads_and(threadIdx.x < 96) && !__syncthreads_and(threadIdx.x != 3));
}

__global__ void atomics(int *counts, float *sum) {
  SHARED(int, local, [1]);
  if (threadIdx.x == 0) local[0] = 0;
  __syncthreads();
  atomicAdd(&local[0], 1);
  atomicAdd(&counts[0], 1);
  atomicMax(&counts[1], (int)threadIdx.x);
  atomicMin(&counts[2], -(int)threadIdx.x);
  atomicOr((unsigned *)&counts[3], 1u << threadIdx.x % LANES);
  atomicInc((unsigned *)&counts[4], 4u);
  int old = counts[5], seen;
  do {
    seen = old;
    old = atomicCAS(&counts[5], seen, seen + 2);
  } while (old != seen);
  atomicAdd(sum, 0.5f);
  __syncthreads();
  if (threadIdx.x == 0) counts[6 + blockIdx.x] = local[0];
}

__global__ void arithmetic_answers(int *answer) {
  EXPECT(0, max(1.5f, 2.75f) == 2.75f && min(1.5, 2.75) == 1.5 && max(-3, 2) == 2 && min(3u, 2u) == 2u);
  EXPECT(1, max((size_t)5, (size_t)7) == 7 && abs(-2.5f) == 2.5f && abs(-3) == 3);
  EXPECT(2, fabsf(rsqrtf(4.0f) - 0.5f) < 1e-6f && fabsf(__expf(1.0f) - 2.7182817f) < 1e-5f);
  EXPECT(3, __popc(0xf0f0u) == 8 && __clz(1) == 31 && __ffs(8) == 4 && __brev(1u) == 0x80000000u);
  EXPECT(4, __umulhi(0x80000000u, 6u) == 3u && __byte_perm(0x33221100u, 0x77665544u, 0x7410u) == 0x77441100u);
  EXPECT(5, __float_as_uint(1.0f) == 0x3f800000u && __uint_as_float(0xbf800000u) == -1.0f);
  EXPECT(6, __bfloat16_as_ushort(__float2bfloat16_rn(1.00390625f)) == 0x3f80u); // 1 + 2^-8: a tie, to even
  EXPECT(7, __bfloat16_as_ushort(__float2bfloat16_rn(1.01171875f)) == 0x3f82u); // 1 + 3 * 2^-8: a tie, to even
  EXPECT(8, __half_as_ushort(__float2half_rn(65519.0f)) == 0x7bffu &&
                __half_as_ushort(__float2half_rn(65520.0f)) == 0x7c00u);
  EXPECT(9, __half_as_ushort(__float2half_rn(5.9604645e-8f)) == 1u &&
                __half_as_ushort(__float2half_rn(2.9802322e-8f)) == 0u);
  EXPECT(10, __half2float(__ushort_as_half(0x3555u)) == 0.333251953125f &&
                 __bfloat162float(__ushort_as_bfloat16(0xc040u)) == -3.0f);
  float2 pair = __bfloat1622float2(__floats2bfloat162_rn(1.5f, -2.0f));
  EXPECT(11, pair.x == 1.5f && pair.y == -2.0f && __high2float(__floats2half2_rn(1.0f, 4.0f)) == 4.0f);
  EXPECT(12, isnan(__half2float(__float2half_rn(NAN))) && isnan(__bfloat162float(__float2bfloat16_rn(NAN))));
}

// Every half value survives the way to fp32 and back.
__global__ void round_trips(int *answer) {
  unsigned short bits = (unsigned short)(blockIdx.x * blockDim.x + threadIdx.x);
  float b = __bfloat162float(__ushort_as_bfloat16(bits)), h = __half2float(__ushort_as_half(bits));
  EXPECT(0, isnan(b) || __bfloat16_as_ushort(__float2bfloat16_rn(b)) == bits);
  EXPECT(1, isnan(h) || __half_as_ushort(__float2half_rn(h)) == bits);
}

static void check_answers(const char *name, void (*launch)(int *), int count) {
  int host[ANSWERS], *answer;
  for (int i = 0; i < ANSWERS; i++) host[i] = 1;
  CUDA_CHECK(cudaMalloc(&answer, sizeof(host)));
  CUDA_CHECK(cudaMemcpy(answer, host, sizeof(host), cudaMemcpyHostToDevice));
  launch(answer);
  CUDA_CHECK(cudaMemcpy(host, answer, sizeof(host), cudaMemcpyDeviceToHost));
  CUDA_CHECK(cudaFree(answer));
  for (int i = 0; i < count; i++) {
    char text[64];
    snprintf(text, sizeof(text), "%s, answer %d", name, i);
    check(text, host[i]);
  }
}

static void launch_warp(int *answer) {
  LAUNCH(warp_answers, dim3(2, 2), THREADS, 0, NULL, answer);
}
static void launch_arithmetic(int *answer) {
  LAUNCH(arithmetic_answers, 1, 1, 0, NULL, answer);
}
static void launch_round_trips(int *answer) {
  LAUNCH(round_trips, 512, 128, 0, NULL, answer);
}

static void test_atomics(void) {
  int host[8] = {0}, *counts;
  float host_sum = 0, *sum;
  CUDA_CHECK(cudaMalloc(&counts, sizeof(host)));
  CUDA_CHECK(cudaMalloc(&sum, sizeof(host_sum)));
  CUDA_CHECK(cudaMemset(counts, 0, sizeof(host)));
  CUDA_CHECK(cudaMemset(sum, 0, sizeof(host_sum)));
  LAUNCH(atomics, 2, THREADS, 0, NULL, counts, sum);
  CUDA_CHECK(cudaMemcpy(host, counts, sizeof(host), cudaMemcpyDeviceToHost));
  CUDA_CHECK(cudaMemcpy(&host_sum, sum, sizeof(host_sum), cudaMemcpyDeviceToHost));
  const int expected[8] = {192, 95, -95, -1, 192 % 5, 384, 96, 96};
  check("atomics on integers", memcmp(host, expected, sizeof(host)) == 0);
  check("atomicAdd on float", host_sum == 96.0f);
  CUDA_CHECK(cudaFree(counts));
  CUDA_CHECK(cudaFree(sum));
}

// ---------------------------------------------------------------- tensor cores, whose PTX only a GPU has
#ifdef ZERO_CUDA_EMULATOR
enum { MMA_M = 16, MMA_N = 8, MMA_K = 16 };

// d = a * b + c with a loaded by ldmatrix, a (16, 16) and b (16, 8) row-major.
__global__ void mma_product(float *d, const __nv_bfloat16 *a, const __nv_bfloat16 *b) {
  SHARED(__nv_bfloat16, tile_a, [MMA_M][MMA_K]);
  SHARED(__nv_bfloat16, tile_b, [MMA_K][MMA_N]);
  int lane = (int)threadIdx.x;
  for (int i = lane; i < MMA_M * MMA_K; i += LANES) tile_a[i / MMA_K][i % MMA_K] = a[i];
  for (int i = lane; i < MMA_K * MMA_N; i += LANES) tile_b[i / MMA_N][i % MMA_N] = b[i];
  __syncwarp();
  uint32_t fragment_a[4], fragment_b[2];
  cudaemu_ldmatrix(fragment_a, 4, 0, &tile_a[lane % 16][lane / 16 * 8]);
  cudaemu_ldmatrix(fragment_b, 2, 1, &tile_b[lane % 16][0]);
  float sums[4] = {1, 1, 1, 1};
  cudaemu_mma_m16n8k16_bf16(sums, fragment_a, fragment_b, sums);
  for (int r = 0; r < 4; r++) d[(lane / 4 + 8 * (r / 2)) * MMA_N + 2 * (lane % 4) + r % 2] = sums[r];
}

static void test_mma(void) {
  __nv_bfloat16 host_a[MMA_M * MMA_K], host_b[MMA_K * MMA_N], *a, *b;
  float host_d[MMA_M * MMA_N], *d;
  for (int i = 0; i < MMA_M * MMA_K; i++) host_a[i] = __float2bfloat16((float)(i * 7 % 13 - 6));
  for (int i = 0; i < MMA_K * MMA_N; i++) host_b[i] = __float2bfloat16((float)(i * 5 % 11 - 5));
  CUDA_CHECK(cudaMalloc(&a, sizeof(host_a)));
  CUDA_CHECK(cudaMalloc(&b, sizeof(host_b)));
  CUDA_CHECK(cudaMalloc(&d, sizeof(host_d)));
  CUDA_CHECK(cudaMemcpy(a, host_a, sizeof(host_a), cudaMemcpyHostToDevice));
  CUDA_CHECK(cudaMemcpy(b, host_b, sizeof(host_b), cudaMemcpyHostToDevice));
  LAUNCH(mma_product, 1, LANES, 0, NULL, d, a, b);
  CUDA_CHECK(cudaMemcpy(host_d, d, sizeof(host_d), cudaMemcpyDeviceToHost));
  int good = 1;
  for (int i = 0; i < MMA_M * MMA_N; i++) {
    float sum = 1;
    for (int k = 0; k < MMA_K; k++)
      sum += (float)host_a[i / MMA_N * MMA_K + k] * (float)host_b[k * MMA_N + i % MMA_N];
    good = good && sum == host_d[i];
  }
  check("mma m16n8k16 and ldmatrix", good);
  CUDA_CHECK(cudaFree(a));
  CUDA_CHECK(cudaFree(b));
  CUDA_CHECK(cudaFree(d));
}
#endif

// ---------------------------------------------------------------- cuBLASLt, against sums in double
enum { M = 24, N = 19, K = 33, BATCHES = 2, MAX_ELEMENTS = BATCHES * 40 * 40 };

static float random_float(void) {
  static unsigned state = 1;
  state = state * 1664525u + 1013904223u;
  return (float)(int)(state >> 8 & 255) / 64.0f - 2.0f; // exact in each type
}

static int known_good(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS;
}

static double reference_gelu(double x) {
  return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

// One product with these transposes and this epilogue in fp32, in two batch entries, beta 0.5.
static void test_product(int trans_a, int trans_b, cublasLtEpilogue_t epilogue, const char *name) {
  static float host[5][MAX_ELEMENTS]; // a, b, d, bias, aux
  float *device[5], before[MAX_ELEMENTS], aux_before[MAX_ELEMENTS];
  const int64_t lda = 36, ldb = 37, ldd = 25, ld_aux = 24, step = 40 * 40;
  for (int i = 0; i < 5; i++) {
    for (int j = 0; j < MAX_ELEMENTS; j++) host[i][j] = random_float();
    CUDA_CHECK(cudaMalloc(&device[i], sizeof(host[i])));
    CUDA_CHECK(cudaMemcpy(device[i], host[i], sizeof(host[i]), cudaMemcpyHostToDevice));
  }
  memcpy(before, host[2], sizeof(before));
  memcpy(aux_before, host[4], sizeof(aux_before));

  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t layout[3];
  cublasLtMatmulPreference_t preference;
  cublasLtMatmulHeuristicResult_t found;
  int count = 0, batches = BATCHES;
  cublasOperation_t op_a = trans_a ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  int good = known_good(cublasLtCreate(&handle)) &&
             known_good(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
#define SET(attribute, value) \
  good = good &&              \
         known_good(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_##attribute, &(value), sizeof(value)))
  SET(TRANSA, op_a);
  SET(TRANSB, op_b);
  SET(EPILOGUE, epilogue);
  SET(BIAS_POINTER, device[3]);
  SET(BIAS_BATCH_STRIDE, step);
  if (epilogue & 128) {
    SET(EPILOGUE_AUX_POINTER, device[4]);
    SET(EPILOGUE_AUX_LD, ld_aux);
    SET(EPILOGUE_AUX_BATCH_STRIDE, step);
  }
  good = good &&
         known_good(cublasLtMatrixLayoutCreate(&layout[0], CUDA_R_32F, trans_a ? K : M, trans_a ? M : K, lda)) &&
         known_good(cublasLtMatrixLayoutCreate(&layout[1], CUDA_R_32F, trans_b ? N : K, trans_b ? K : N, ldb)) &&
         known_good(cublasLtMatrixLayoutCreate(&layout[2], CUDA_R_32F, M, N, ldd));
  for (int i = 0; i < 3; i++) {
    good = good &&
           known_good(cublasLtMatrixLayoutSetAttribute(layout[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batches,
                                                       sizeof(batches))) &&
           known_good(cublasLtMatrixLayoutSetAttribute(layout[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step,
                                                       sizeof(step)));
  }
  float alpha = 0.25f, beta = 0.5f;
  good = good && known_good(cublasLtMatmulPreferenceCreate(&preference)) &&
         known_good(cublasLtMatmulAlgoGetHeuristic(handle, desc, layout[0], layout[1], layout[2], layout[2],
                                                   preference, 1, &found, &count)) &&
         count == 1 &&
         known_good(cublasLtMatmul(handle, desc, &alpha, device[0], layout[0], device[1], layout[1], &beta, device[2],
                                   layout[2], device[2], layout[2], &found.algo, NULL, 0, NULL));
  for (int i = 0; i < 5; i++) CUDA_CHECK(cudaMemcpy(host[i], device[i], sizeof(host[i]), cudaMemcpyDeviceToHost));

  double worst = 0, bias_sum[BATCHES][M] = {{0}};
  for (int e = 0; e < BATCHES; e++) {
    for (int n = 0; n < N; n++) {
      for (int m = 0; m < M; m++) {
        double sum = 0;
        for (int k = 0; k < K; k++) {
          sum += (double)host[0][e * step + (trans_a ? m * lda + k : k * lda + m)] *
                 (double)host[1][e * step + (trans_b ? k * ldb + n : n * ldb + k)];
        }
        double value = 0.25 * sum + 0.5 * (double)before[e * step + n * ldd + m];
        if (epilogue & CUBLASLT_EPILOGUE_BIAS) value += (double)host[3][e * step + m];
        if (epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
          worst = fmax(worst, fabs(value - (double)host[4][e * step + n * ld_aux + m]));
        if (epilogue & CUBLASLT_EPILOGUE_GELU) value = reference_gelu(value);
        if ((epilogue & CUBLASLT_EPILOGUE_DGELU) == CUBLASLT_EPILOGUE_DGELU) {
          double x = (double)aux_before[e * step + n * ld_aux + m], h = 1e-5;
          value *= (reference_gelu(x + h) - reference_gelu(x - h)) / (2 * h);
        }
        bias_sum[e][m] += value;
        worst = fmax(worst, fabs(value - (double)host[2][e * step + n * ldd + m]));
      }
    }
    if (epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD) {
      for (int m = 0; m < M; m++) worst = fmax(worst, fabs(bias_sum[e][m] - (double)host[3][e * step + m]));
    }
    if (epilogue == CUBLASLT_EPILOGUE_BGRADB) {
      for (int n = 0; n < N; n++) {
        double sum = 0;
        for (int k = 0; k < K; k++) sum += (double)host[1][e * step + (trans_b ? k * ldb + n : n * ldb + k)];
        worst = fmax(worst, fabs(sum - (double)host[3][e * step + n]));
      }
    }
  }
  check(name, good && worst < 1e-4); // values up to some tens in fp32
  // A leading dimension that is too small must be refused.
  int64_t small = M - 1;
  good = known_good(cublasLtMatrixLayoutSetAttribute(layout[2], CUBLASLT_MATRIX_LAYOUT_LD, &small, sizeof(small)));
  check("cublasLtMatmul refuses a small leading dimension",
        good && !known_good(cublasLtMatmul(handle, desc, &alpha, device[0], layout[0], device[1], layout[1], &beta,
                                           device[2], layout[2], device[2], layout[2], &found.algo, NULL, 0, NULL)));
  cublasLtMatmulPreferenceDestroy(preference);
  for (int i = 0; i < 3; i++) cublasLtMatrixLayoutDestroy(layout[i]);
  cublasLtMatmulDescDestroy(desc);
  cublasLtDestroy(handle);
  for (int i = 0; i < 5; i++) CUDA_CHECK(cudaFree(device[i]));
}

#ifdef ZERO_CUDA_EMULATOR
// Whether the heuristic has an algorithm for an (m, k) times (k, n) product in fp32.
static cublasStatus_t heuristic_of(uint64_t m, uint64_t n, uint64_t k, cublasLtEpilogue_t epilogue) {
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t desc;
  cublasLtMatrixLayout_t a, b, d;
  cublasLtMatmulPreference_t preference;
  cublasLtMatmulHeuristicResult_t found;
  int count = 0;
  check("cuBLASLt's descriptors", known_good(cublasLtCreate(&handle)) &&
                                      known_good(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F)) &&
                                      known_good(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                                                &epilogue, sizeof epilogue)) &&
                                      known_good(cublasLtMatrixLayoutCreate(&a, CUDA_R_32F, m, k, (int64_t)m)) &&
                                      known_good(cublasLtMatrixLayoutCreate(&b, CUDA_R_32F, k, n, (int64_t)k)) &&
                                      known_good(cublasLtMatrixLayoutCreate(&d, CUDA_R_32F, m, n, (int64_t)m)) &&
                                      known_good(cublasLtMatmulPreferenceCreate(&preference)));
  cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, d, d, preference, 1, &found, &count);
  cublasLtMatmulPreferenceDestroy(preference);
  cublasLtMatrixLayoutDestroy(a);
  cublasLtMatrixLayoutDestroy(b);
  cublasLtMatrixLayoutDestroy(d);
  cublasLtMatmulDescDestroy(desc);
  cublasLtDestroy(handle);
  return status;
}

static void test_one_row_or_column(void) {
  check("a bias and a matrix A of one row are refused",
        heuristic_of(1, N, K, CUBLASLT_EPILOGUE_BIAS) == CUBLAS_STATUS_INVALID_VALUE);
  check("a bias and a matrix A of one column are refused",
        heuristic_of(M, N, 1, CUBLASLT_EPILOGUE_GELU_AUX_BIAS) == CUBLAS_STATUS_INVALID_VALUE);
  check("a bias and a matrix B of one column are not", known_good(heuristic_of(M, 1, K, CUBLASLT_EPILOGUE_BIAS)));
  check("one row and column without a bias are not", known_good(heuristic_of(1, 1, 1, CUBLASLT_EPILOGUE_DEFAULT)));
}
#endif

int main(void) {
  check_answers("warps and barriers", launch_warp, 15);
  check_answers("arithmetic and half types", launch_arithmetic, 13);
  check_answers("round trips of half types", launch_round_trips, 2);
  test_atomics();
#ifdef ZERO_CUDA_EMULATOR
  test_mma();
#endif
  for (int transposes = 0; transposes < 4; transposes++) {
    test_product(transposes / 2, transposes % 2, CUBLASLT_EPILOGUE_BIAS, "cublasLtMatmul with a bias");
  }
  test_product(1, 0, CUBLASLT_EPILOGUE_DEFAULT, "cublasLtMatmul");
  test_product(1, 0, CUBLASLT_EPILOGUE_GELU_AUX_BIAS, "cublasLtMatmul with bias, GELU and its input");
  test_product(0, 0, CUBLASLT_EPILOGUE_DGELU_BGRAD, "cublasLtMatmul with GELU's and the bias's gradient");
  test_product(0, 1, CUBLASLT_EPILOGUE_BGRADB, "cublasLtMatmul with the bias's gradient from B");
#ifdef ZERO_CUDA_EMULATOR
  test_one_row_or_column();
#endif
  printf("%d passed, %d failed, 0 skipped\n", passed, failed);
  return failed > 0;
}
