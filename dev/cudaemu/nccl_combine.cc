// NCCL's operations on elements: each result is rounded to the type.
#include "include/cuda_bf16.h"
#include "include/cuda_fp16.h"
#include "nccl_work.h"

template <typename T>
static T combined(T a, T b, ncclRedOp_t op) {
  switch (op) {
    case ncclSum:
      return (T)(a + b);
    case ncclProd:
      return (T)(a * b);
    case ncclMax:
      return a < b ? b : a;
    case ncclMin:
      return b < a ? b : a;
    default:
      cudaemu_nccl_fail("operation %d is not in the emulator", (int)op);
  }
}

template <typename T>
static void combine(char *to, const char *from, size_t count, ncclRedOp_t op) {
  T *a = (T *)to;
  const T *b = (const T *)from;
  for (size_t i = 0; i < count; i++) a[i] = combined(a[i], b[i], op);
}

void cudaemu_nccl_combine(char *to, const char *from, size_t count, ncclDataType_t type, ncclRedOp_t op) {
  switch (type) {
    case ncclInt8:
      return combine<int8_t>(to, from, count, op);
    case ncclUint8:
      return combine<uint8_t>(to, from, count, op);
    case ncclInt32:
      return combine<int32_t>(to, from, count, op);
    case ncclUint32:
      return combine<uint32_t>(to, from, count, op);
    case ncclInt64:
      return combine<int64_t>(to, from, count, op);
    case ncclUint64:
      return combine<uint64_t>(to, from, count, op);
    case ncclFloat16:
      return combine<__half>(to, from, count, op);
    case ncclFloat32:
      return combine<float>(to, from, count, op);
    case ncclFloat64:
      return combine<double>(to, from, count, op);
    case ncclBfloat16:
      return combine<__nv_bfloat16>(to, from, count, op);
    default:
      cudaemu_nccl_fail("type %d is not in the emulator", (int)type);
  }
}
