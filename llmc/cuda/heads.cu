// What the heads of a model need beside linear layers: the pooler's tanh and a regression's loss. These tensors have
// a row or a number for each sequence: a thread takes one element.
#include "types.cuh"

enum { HEADS_THREADS = 256 };

__device__ __forceinline__ size_t element_number() {
  return (size_t)blockIdx.x * HEADS_THREADS + threadIdx.x;
}

template <typename T>
__global__ void tanh_forward_kernel(T *out, const T *inp, size_t count) {
  size_t i = element_number();
  if (i < count) out[i] = from_float<T>(tanhf(to_float(inp[i])));
}

void tanh_forward(void *out, const void *inp, size_t count, ZeroType type, ZeroStream stream) {
  if (count == 0) return;
  DISPATCH_TYPE(type, T, {
    LAUNCH((tanh_forward_kernel<T>), grid_blocks(count, HEADS_THREADS), HEADS_THREADS, 0, stream, (T *)out,
           (const T *)inp, count);
  });
}

template <typename T>
__global__ void tanh_backward_kernel(T *dinp, const T *dout, const T *out, size_t count) {
  size_t i = element_number();
  if (i >= count) return;
  float y = to_float(out[i]);
  dinp[i] = from_float<T>(to_float(dout[i]) * (1.0f - y * y));
}

void tanh_backward(void *dinp, const void *dout, const void *out, size_t count, ZeroType type, ZeroStream stream) {
  if (count == 0) return;
  DISPATCH_TYPE(type, T, {
    LAUNCH((tanh_backward_kernel<T>), grid_blocks(count, HEADS_THREADS), HEADS_THREADS, 0, stream, (T *)dinp,
           (const T *)dout, (const T *)out, count);
  });
}

template <typename T>
__global__ void squared_error_kernel(float *loss, T *dout, const T *out, const float *targets, float grad_scale,
                                     size_t N) {
  size_t i = element_number();
  if (i >= N) return;
  float error = to_float(out[i]) - targets[i];
  loss[i] = error * error;
  if (dout != NULL) dout[i] = from_float<T>(error * (2.0f * grad_scale));
}

void squared_error(float *loss, void *dout, const void *out, const float *targets, float grad_scale, size_t N,
                   ZeroType type, ZeroStream stream) {
  if (N == 0) return;
  DISPATCH_TYPE(type, T, {
    LAUNCH((squared_error_kernel<T>), grid_blocks(N, HEADS_THREADS), HEADS_THREADS, 0, stream, loss, (T *)dout,
           (const T *)out, targets, grad_scale, N);
  });
}
