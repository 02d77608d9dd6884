// Tensor cores: one multiply-add of small matrices by a warp, and the loads that bring matrices of 8 x 8 into the
// registers it wants. Under nvcc the instructions themselves; on the emulator functions that follow the same layout.
//
// Registers of lane 4 g + t (PTX ISA, "Matrix Fragments for mma.m16n8k16"; pairs lie in one register, the lower
// column or row in the lower half):
//   a (16 x 16)   a[0] row g,     columns 2t, 2t + 1    a[1] row g + 8, columns 2t, 2t + 1
//                 a[2] row g,     columns 2t + 8, 2t + 9    a[3] row g + 8, columns 2t + 8, 2t + 9
//   b (16 x 8)    b[0] rows 2t, 2t + 1, column g            b[1] rows 2t + 8, 2t + 9, column g
//   c (16 x 8)    c[0], c[1] row g, columns 2t, 2t + 1      c[2], c[3] row g + 8, columns 2t, 2t + 1
// So two c side by side, rounded, are an a: a product's result is the left operand of the next without leaving the
// registers.
#ifndef LLMC_CUDA_MMA_CUH
#define LLMC_CUDA_MMA_CUH

#include "types.cuh"

enum { MMA_M = 16, MMA_N = 8, MMA_K = 16 };

// c += a * b with fp32 sums. All 32 lanes take part. T, which only chooses the type: __nv_bfloat16 or __half.
template <typename T>
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// Four 8 x 8 matrices: row i of matrix j begins at the address that lane 8 j + i gives, 16 bytes in shared memory and
// aligned to 16. Lane 4 g + t gets row g, columns 2t and 2t + 1 of matrix j in r[j].
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void *row);

// The same, each matrix transposed: lane 4 g + t gets rows 2t and 2t + 1 of column g.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void *row);

#ifdef ZERO_CUDA_EMULATOR

template <>
__device__ __forceinline__ void mma<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  cudaemu_mma_m16n8k16_bf16(c, a, b, c);
}
template <>
__device__ __forceinline__ void mma<__half>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  cudaemu_mma_m16n8k16_f16(c, a, b, c);
}
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void *row) {
  cudaemu_ldmatrix(r, 4, 0, row);
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void *row) {
  cudaemu_ldmatrix(r, 4, 1, row);
}

#else

#define MMA_INSTRUCTION(type)                                                         \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                 \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

template <>
__device__ __forceinline__ void mma<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MMA_INSTRUCTION("bf16");
}
template <>
__device__ __forceinline__ void mma<__half>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MMA_INSTRUCTION("f16");
}
#undef MMA_INSTRUCTION

// "memory": what was stored to shared memory before stays before.
#define LOAD_MATRICES(form)                                                     \
  asm volatile("ldmatrix.sync.aligned.m8n8.x4." form " {%0, %1, %2, %3}, [%4];" \
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                 \
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))      \
               : "memory")

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void *row) {
  LOAD_MATRICES("shared.b16");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void *row) {
  LOAD_MATRICES("trans.shared.b16");
}
#undef LOAD_MATRICES

#endif

// Two numbers rounded into one register, `low` in the lower half.
template <typename T>
__device__ __forceinline__ uint32_t pack_pair(float low, float high) {
  T pair[2] = {from_float<T>(low), from_float<T>(high)};
  uint32_t word;
  memcpy(&word, pair, sizeof word);
  return word;
}

#endif
