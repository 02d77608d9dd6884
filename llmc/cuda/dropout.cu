// Dropout by counter (llmc/dropout.h). A thread takes one packet: whole blocks of Philox's words where a packet has
// four channels or more, one of four words where it has a single one.
#include "../dropout.h"

#include "types.cuh"

enum { DROPOUT_THREADS = 256 };

template <typename T, int WIDTH>
__global__ void dropout_kernel(T *out, const T *inp, const int *samples, const int *positions, size_t N, size_t C,
                               DropoutPlan plan) {
  const size_t packets_per_row = C / WIDTH, packet = (size_t)blockIdx.x * DROPOUT_THREADS + threadIdx.x;
  const size_t row = packet / packets_per_row, at = packet % packets_per_row * WIDTH;
  if (row >= N) return;
  const uint32_t position = (uint32_t)positions[row], sample = (uint32_t)samples[row];
  Packet<WIDTH> x = load_packet<WIDTH>(inp + row * C + at);
  uint32_t words[DROPOUT_WORDS];
#pragma unroll
  for (int i = 0; i < WIDTH; i++) {
    if (i % DROPOUT_WORDS == 0) {
      dropout_words(&plan, 0, (uint32_t)((at + i) / DROPOUT_WORDS), position, sample, words);
    }
    const int word = WIDTH == 1 ? (int)(at % DROPOUT_WORDS) : i % DROPOUT_WORDS;
    x.value[i] = dropout_apply(&plan, words[word], x.value[i]);
  }
  store_packet(out + row * C + at, x);
}

void dropout(void *out, const void *inp, const int *samples, const int *positions, size_t N, size_t C,
             const OpsDropout *dropout, ZeroType type, ZeroStream stream) {
  if (N * C == 0) return;
  if (!dropout_is_on(dropout)) {
    if (out == inp) return;
    CUDA_CHECK(
        cudaMemcpyAsync(out, inp, N * C * zero_type_size(type), cudaMemcpyDeviceToDevice, (cudaStream_t)stream));
    return;
  }
  const DropoutPlan plan = dropout_plan(dropout);
  DISPATCH_ROWS(type, C, address_bits(out, inp), T, WIDTH, {
    LAUNCH((dropout_kernel<T, WIDTH>), grid_blocks(N * (C / WIDTH), DROPOUT_THREADS), DROPOUT_THREADS, 0, stream,
           (T *)out, (const T *)inp, samples, positions, N, C, plan);
  });
}
