// GELU and the residual sum, element by element: a thread takes one packet.
#include "types.cuh"

enum { ELEMENTWISE_THREADS = 256 };

// The first element of this thread's packet.
template <int WIDTH>
__device__ __forceinline__ size_t packet_start() {
  return ((size_t)blockIdx.x * ELEMENTWISE_THREADS + threadIdx.x) * WIDTH;
}

static unsigned packet_blocks(size_t count, int width) {
  return grid_blocks(count, (size_t)ELEMENTWISE_THREADS * (size_t)width);
}

static void check_gelu(OpsGelu gelu, const char *where) {
  if (gelu != OPS_GELU && gelu != OPS_GELU_ERF) zero_fatal("%s: expected a form of GELU, found %d", where, (int)gelu);
}

template <typename T, int WIDTH>
__global__ void gelu_forward_kernel(T *out, const T *inp, size_t count, OpsGelu form) {
  size_t at = packet_start<WIDTH>();
  if (at >= count) return;
  Packet<WIDTH> x = load_packet<WIDTH>(inp + at);
#pragma unroll
  for (int i = 0; i < WIDTH; i++) x.value[i] = form == OPS_GELU_ERF ? gelu_erf(x.value[i]) : gelu(x.value[i]);
  store_packet(out + at, x);
}

void gelu_forward(void *out, const void *inp, size_t count, OpsGelu gelu, ZeroType type, ZeroStream stream) {
  check_gelu(gelu, "gelu_forward");
  if (count == 0) return;
  DISPATCH_ROWS(type, count, address_bits(out, inp), T, WIDTH, {
    LAUNCH((gelu_forward_kernel<T, WIDTH>), packet_blocks(count, WIDTH), ELEMENTWISE_THREADS, 0, stream, (T *)out,
           (const T *)inp, count, gelu);
  });
}

template <typename T, int WIDTH>
__global__ void gelu_backward_kernel(T *dinp, const T *dout, const T *inp, size_t count, OpsGelu form) {
  size_t at = packet_start<WIDTH>();
  if (at >= count) return;
  Packet<WIDTH> x = load_packet<WIDTH>(inp + at), dy = load_packet<WIDTH>(dout + at);
#pragma unroll
  for (int i = 0; i < WIDTH; i++) {
    dy.value[i] *= form == OPS_GELU_ERF ? gelu_erf_derivative(x.value[i]) : gelu_derivative(x.value[i]);
  }
  store_packet(dinp + at, dy);
}

void gelu_backward(void *dinp, const void *dout, const void *inp, size_t count, OpsGelu gelu, ZeroType type,
                   ZeroStream stream) {
  check_gelu(gelu, "gelu_backward");
  if (count == 0) return;
  DISPATCH_ROWS(type, count, address_bits(dinp, dout, inp), T, WIDTH, {
    LAUNCH((gelu_backward_kernel<T, WIDTH>), packet_blocks(count, WIDTH), ELEMENTWISE_THREADS, 0, stream, (T *)dinp,
           (const T *)dout, (const T *)inp, count, gelu);
  });
}

template <typename T, int WIDTH>
__global__ void residual_add_kernel(T *out, const T *a, const T *b, size_t count) {
  size_t at = packet_start<WIDTH>();
  if (at >= count) return;
  store_packet(out + at, add_packets(load_packet<WIDTH>(a + at), load_packet<WIDTH>(b + at)));
}

void residual_add(void *out, const void *a, const void *b, size_t count, ZeroType type, ZeroStream stream) {
  if (count == 0) return;
  DISPATCH_ROWS(type, count, address_bits(out, a, b), T, WIDTH, {
    LAUNCH((residual_add_kernel<T, WIDTH>), packet_blocks(count, WIDTH), ELEMENTWISE_THREADS, 0, stream, (T *)out,
           (const T *)a, (const T *)b, count);
  });
}

// Every type has its own instructions here.
const char *ops_type_notice(ZeroType type) {
  (void)type;
  return NULL;
}
