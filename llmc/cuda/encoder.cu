// Token and position embeddings. The tokens' gradient is that of any table (embeddings.cu), the positions' a sum over
// sequences.
#include "types.cuh"

// The element type is called E here: T is the length of a sequence.

enum { ENCODER_THREADS = 128 };

// ---------------------------------------------------------------- forward
// A thread per packet.
template <typename E, int WIDTH>
__global__ void encoder_forward_kernel(E *out, const int *tokens, const E *wte, const E *wpe, size_t rows, size_t T,
                                       size_t C) {
  const size_t packets_per_row = C / WIDTH, packet = (size_t)blockIdx.x * ENCODER_THREADS + threadIdx.x;
  const size_t row = packet / packets_per_row, at = packet % packets_per_row * WIDTH;
  if (row >= rows) return;
  Packet<WIDTH> token = load_packet<WIDTH>(wte + (size_t)tokens[row] * C + at);
  Packet<WIDTH> position = load_packet<WIDTH>(wpe + row % T * C + at);
  store_packet(out + row * C + at, add_packets(token, position));
}

void encoder_forward(void *out, const int *tokens, const void *wte, const void *wpe, size_t B, size_t T, size_t C,
                     ZeroType type, ZeroStream stream) {
  if (B * T == 0) return;
  DISPATCH_ROWS(type, C, address_bits(out, wte, wpe), E, WIDTH, {
    LAUNCH((encoder_forward_kernel<E, WIDTH>), grid_blocks(B * T * (C / WIDTH), ENCODER_THREADS), ENCODER_THREADS, 0,
           stream, (E *)out, tokens, (const E *)wte, (const E *)wpe, B * T, T, C);
  });
}

size_t encoder_backward_scratch(size_t B, size_t T, size_t C) {
  const size_t any_table = 0; // it does not matter how many rows that has
  return embedding_backward_scratch(B * T, C, any_table);
}

// dwpe[position] (+)= the sum of dout's rows at that position, in the order of sequences. A thread per packet.
template <typename E, int WIDTH>
__global__ void sum_position_rows_kernel(OpsGrad dwpe, const E *dout, size_t B, size_t T, size_t C) {
  const size_t at = ((size_t)blockIdx.x * ENCODER_THREADS + threadIdx.x) * WIDTH; // in the (T, C) sums
  if (at >= T * C) return;
  Packet<WIDTH> sum = zero_packet<WIDTH>();
#pragma unroll 8
  for (size_t b = 0; b < B; b++) sum = add_packets(sum, load_packet<WIDTH>(dout + b * T * C + at));
  store_gradient(dwpe, at, sum);
}

static void position_gradient(OpsGrad dwpe, const void *dout, size_t B, size_t T, size_t C, size_t maxT,
                              ZeroType type, ZeroStream stream) {
  if (!dwpe.accumulate) {
    size_t row_bytes = C * zero_type_size(dwpe.type);
    char *rest = (char *)dwpe.data + T * row_bytes;
    CUDA_CHECK(cudaMemsetAsync(rest, 0, (maxT - T) * row_bytes, (cudaStream_t)stream));
  }
  if (T == 0) return;
  DISPATCH_ROWS(type, C, address_bits(dwpe.data, dout), E, WIDTH, {
    LAUNCH((sum_position_rows_kernel<E, WIDTH>), grid_blocks(T * C, ENCODER_THREADS * WIDTH), ENCODER_THREADS, 0,
           stream, dwpe, (const E *)dout, B, T, C);
  });
}

void encoder_backward(OpsGrad dwte, OpsGrad dwpe, const void *dout, const int *tokens, size_t B, size_t T, size_t C,
                      size_t Vp, size_t maxT, ZeroType type, void *scratch, ZeroStream stream) {
  if (maxT < T) zero_fatal("encoder_backward: expected at least %zu positions, found %zu", T, maxT);
  embedding_backward(dwte, dout, tokens, B * T, C, Vp, type, scratch, stream);
  if (dwpe.data != NULL) position_gradient(dwpe, dout, B, T, C, maxT, type, stream);
}
