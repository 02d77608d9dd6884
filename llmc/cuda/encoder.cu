// Token and position embeddings.
//
// Backward sorts the rows by token (radix sort, stable), so that a token's rows are summed by one warp, in the order
// of rows, and its row of dwte is written once: no float atomics, the same bits every time.
#include <assert.h>

#include "types.cuh"

// The element type is called E here: T is the length of a sequence.

enum { ENCODER_THREADS = 128, ENCODER_WARPS = ENCODER_THREADS / WARP_LANES };

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

// ---------------------------------------------------------------- sorting rows by token
// One pass per digit of the token, lowest first. A block keeps a tile of the list, each of its warps a quarter of
// that; how many rows with a smaller digit, or in an earlier tile or warp with the same one, there are says where a
// row goes.
enum { SORT_BITS = 8, SORT_DIGITS = 1 << SORT_BITS, SORT_TILE = 1024, SORT_SHARE = SORT_TILE / ENCODER_WARPS };

__device__ __forceinline__ uint32_t listed_row(const uint32_t *list, size_t i) {
  return list == NULL ? (uint32_t)i : list[i]; // the first pass reads the rows as they are
}

__device__ __forceinline__ uint32_t digit_of(const int *tokens, uint32_t row, int shift) {
  return (uint32_t)tokens[row] >> shift & (SORT_DIGITS - 1);
}

// counts[digit][tile] = rows of the tile that have the digit.
__global__ void count_digits_kernel(uint32_t *counts, const uint32_t *list, const int *tokens, size_t N, size_t Vp,
                                    int shift) {
  SHARED(uint32_t, count, [SORT_DIGITS]);
  for (int digit = threadIdx.x; digit < SORT_DIGITS; digit += ENCODER_THREADS) count[digit] = 0;
  __syncthreads();
  const size_t first = (size_t)blockIdx.x * SORT_TILE, end = first + SORT_TILE < N ? first + SORT_TILE : N;
  for (size_t i = first + threadIdx.x; i < end; i += ENCODER_THREADS) {
    uint32_t row = listed_row(list, i);
    assert((uint32_t)tokens[row] < Vp); // else the token has no row in dwte
    atomicAdd(&count[digit_of(tokens, row, shift)], 1u);
  }
  __syncthreads();
  for (int digit = threadIdx.x; digit < SORT_DIGITS; digit += ENCODER_THREADS) {
    counts[(size_t)digit * gridDim.x + blockIdx.x] = count[digit];
  }
}

// The sum of the lanes before this one. *total: of all lanes.
__device__ __forceinline__ uint32_t warp_sum_before(uint32_t x, uint32_t *total) {
  const int lane = threadIdx.x % WARP_LANES;
  const uint32_t own = x;
#pragma unroll
  for (int step = 1; step < WARP_LANES; step *= 2) {
    uint32_t before = __shfl_up_sync(FULL_WARP, x, step);
    if (lane >= step) x += before;
  }
  *total = __shfl_sync(FULL_WARP, x, WARP_LANES - 1);
  return x - own;
}

// values[i] becomes the sum of those before it; returns the sum of all. Made by a whole warp.
__device__ __forceinline__ uint32_t sums_before(uint32_t *values, size_t count) {
  uint32_t sum = 0;
  for (size_t first = 0; first < count; first += WARP_LANES) {
    size_t i = first + threadIdx.x % WARP_LANES;
    uint32_t total, before = warp_sum_before(i < count ? values[i] : 0, &total);
    if (i < count) values[i] = sum + before;
    sum += total;
  }
  return sum;
}

// counts[digit][tile] becomes the count in the tiles before it, totals[digit] that in all tiles; a warp per digit.
__global__ void sum_tiles_kernel(uint32_t *counts, uint32_t *totals, size_t tiles) {
  const size_t digit = (size_t)blockIdx.x * ENCODER_WARPS + threadIdx.x / WARP_LANES;
  uint32_t total = sums_before(counts + digit * tiles, tiles);
  if (threadIdx.x % WARP_LANES == 0) totals[digit] = total;
}

// Moves each row to its place in `sorted`.
__global__ void scatter_rows_kernel(uint32_t *sorted, const uint32_t *list, const int *tokens, const uint32_t *before,
                                    const uint32_t *totals, size_t N, int shift) {
  SHARED(uint32_t, start, [SORT_DIGITS]);               // where the digit's rows begin
  SHARED(uint32_t, next, [ENCODER_WARPS][SORT_DIGITS]); // first the warps' counts, then where their next row goes
  const int warp = threadIdx.x / WARP_LANES, lane = threadIdx.x % WARP_LANES;
  for (int digit = threadIdx.x; digit < SORT_DIGITS; digit += ENCODER_THREADS) {
    start[digit] = totals[digit];
    for (int w = 0; w < ENCODER_WARPS; w++) next[w][digit] = 0;
  }
  __syncthreads();
  const size_t first = (size_t)blockIdx.x * SORT_TILE + (size_t)warp * SORT_SHARE;
  const size_t end = first + SORT_SHARE < N ? first + SORT_SHARE : N;
  for (size_t i = first + lane; i < end; i += WARP_LANES) {
    atomicAdd(&next[warp][digit_of(tokens, listed_row(list, i), shift)], 1u);
  }
  if (warp == 0) sums_before(start, SORT_DIGITS);
  __syncthreads();
  for (int digit = threadIdx.x; digit < SORT_DIGITS; digit += ENCODER_THREADS) {
    uint32_t place = start[digit] + before[(size_t)digit * gridDim.x + blockIdx.x];
    for (int w = 0; w < ENCODER_WARPS; w++) {
      uint32_t count = next[w][digit];
      next[w][digit] = place;
      place += count;
    }
  }
  __syncthreads();
  for (size_t round = first; round < end; round += WARP_LANES) {
    const size_t i = round + lane;
    const uint32_t present = __ballot_sync(FULL_WARP, i < end);
    if (i >= end) break; // in the last round alone
    const uint32_t row = listed_row(list, i), digit = digit_of(tokens, row, shift);
    const uint32_t alike = __match_any_sync(present, digit), place = next[warp][digit];
    const int rank = __popc(alike & ((1u << lane) - 1u)); // lanes before this one with the same digit
    sorted[place + rank] = row;
    __syncwarp(present); // all have read their place
    if (rank == 0) next[warp][digit] = place + __popc(alike);
    __syncwarp(present);
  }
}

// What the sort keeps in scratch.
typedef struct {
  uint32_t *lists[2]; // (N) each
  uint32_t *counts;   // (SORT_DIGITS, tiles)
  uint32_t *totals;   // (SORT_DIGITS)
} Sort;

static Sort place_sort(void *scratch, size_t N) {
  uint32_t *words = (uint32_t *)scratch, *counts = words + 2 * N;
  return {{words, words + N}, counts, counts + SORT_DIGITS * ceil_div(N, (size_t)SORT_TILE)};
}

size_t encoder_backward_scratch(size_t B, size_t T, size_t C) {
  (void)C;
  size_t N = B * T;
  return (2 * N + SORT_DIGITS * (ceil_div(N, (size_t)SORT_TILE) + 1)) * sizeof(uint32_t);
}

// Returns the rows sorted by token; among equal tokens they stay in order.
static const uint32_t *sort_by_token(const Sort *sort, const int *tokens, size_t N, size_t Vp, ZeroStream stream) {
  const unsigned tiles = grid_blocks(N, SORT_TILE);
  const uint32_t *list = NULL;
  int pass = 0;
  do { // once for a single token too: the list is then as the rows are
    uint32_t *sorted = sort->lists[pass % 2];
    const int shift = pass * SORT_BITS;
    LAUNCH(count_digits_kernel, tiles, ENCODER_THREADS, 0, stream, sort->counts, list, tokens, N, Vp, shift);
    LAUNCH(sum_tiles_kernel, SORT_DIGITS / ENCODER_WARPS, ENCODER_THREADS, 0, stream, sort->counts, sort->totals,
           tiles);
    LAUNCH(scatter_rows_kernel, tiles, ENCODER_THREADS, 0, stream, sorted, list, tokens, sort->counts, sort->totals,
           N, shift);
    list = sorted;
    pass++;
  } while ((Vp - 1) >> (pass * SORT_BITS) != 0);
  return list;
}

// ---------------------------------------------------------------- backward
// A warp for each place of the sorted list where a token begins, and for 32 packets of its columns; the other warps
// leave at once.
template <typename E, int WIDTH>
__global__ void sum_token_rows_kernel(OpsGrad dwte, const E *dout, const uint32_t *list, const int *tokens, size_t N,
                                      size_t C) {
  const int lane = threadIdx.x % WARP_LANES;
  size_t first = (size_t)blockIdx.x * ENCODER_WARPS + threadIdx.x / WARP_LANES;
  if (first >= N) return;
  const int token = tokens[list[first]];
  if (first > 0 && tokens[list[first - 1]] == token) return;

  const size_t at = ((size_t)blockIdx.y * WARP_LANES + lane) * WIDTH;
  Packet<WIDTH> sum = zero_packet<WIDTH>();
  int rows;
  do { // 32 places at a time: the lanes look at one each
    const size_t i = first + lane;
    const uint32_t row = i < N ? list[i] : 0;
    rows = __popc(__ballot_sync(FULL_WARP, i < N && tokens[row] == token)); // sorted: the first lanes
#pragma unroll 8
    for (int k = 0; k < rows; k++) {
      size_t source = __shfl_sync(FULL_WARP, row, k);
      if (at < C) sum = add_packets(sum, load_packet<WIDTH>(dout + source * C + at));
    }
    first += WARP_LANES;
  } while (rows == WARP_LANES);
  if (at < C) store_gradient(dwte, (size_t)token * C + at, sum);
}

static void token_gradient(OpsGrad dwte, const void *dout, const int *tokens, size_t N, size_t C, size_t Vp,
                           ZeroType type, void *scratch, ZeroStream stream) {
  if (!dwte.accumulate) {
    CUDA_CHECK(cudaMemsetAsync(dwte.data, 0, Vp * C * zero_type_size(dwte.type), (cudaStream_t)stream));
  }
  if (N == 0) return;
  if (N > UINT32_MAX) zero_fatal("encoder_backward: expected less than 2^32 rows, found %zu", N);
  const Sort sort = place_sort(scratch, N);
  const uint32_t *list = sort_by_token(&sort, tokens, N, Vp, stream);
  DISPATCH_ROWS(type, C, address_bits(dwte.data, dout), E, WIDTH, {
    dim3 grid(grid_blocks(N, ENCODER_WARPS), grid_blocks(C, WARP_LANES * WIDTH));
    LAUNCH((sum_token_rows_kernel<E, WIDTH>), grid, ENCODER_THREADS, 0, stream, dwte, (const E *)dout, list, tokens,
           N, C);
  });
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
  if (dwte.data != NULL) token_gradient(dwte, dout, tokens, B * T, C, Vp, type, scratch, stream);
  if (dwpe.data != NULL) position_gradient(dwpe, dout, B, T, C, maxT, type, stream);
}
