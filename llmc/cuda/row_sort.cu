// Rows sorted by a number: radix sort, stable.
#include "row_sort.cuh"

#include <assert.h>

#include "types.cuh"

enum { SORT_THREADS = 128, SORT_WARPS = SORT_THREADS / WARP_LANES };

// One pass per digit of the index, lowest first. A block keeps a tile of the list, each of its warps a quarter of
// that; how many rows with a smaller digit, or in an earlier tile or warp with the same one, there are says where a
// row goes.
enum { SORT_BITS = 8, SORT_DIGITS = 1 << SORT_BITS, SORT_TILE = 1024, SORT_SHARE = SORT_TILE / SORT_WARPS };

__device__ __forceinline__ uint32_t listed_row(const uint32_t *list, size_t i) {
  return list == NULL ? (uint32_t)i : list[i]; // the first pass reads the rows as they are
}

// -1 counts as `rows`.
__device__ __forceinline__ uint32_t digit_of(const int *index, uint32_t row, size_t rows, int shift) {
  const uint32_t last = (uint32_t)rows, key = (uint32_t)index[row];
  return (key < last ? key : last) >> shift & (SORT_DIGITS - 1);
}

// counts[digit][tile] = rows of the tile that have the digit.
__global__ void count_digits_kernel(uint32_t *counts, const uint32_t *list, const int *index, size_t N, size_t rows,
                                    int shift) {
  SHARED(uint32_t, count, [SORT_DIGITS]);
  for (int digit = threadIdx.x; digit < SORT_DIGITS; digit += SORT_THREADS) count[digit] = 0;
  __syncthreads();
  const size_t first = (size_t)blockIdx.x * SORT_TILE, end = first + SORT_TILE < N ? first + SORT_TILE : N;
  for (size_t i = first + threadIdx.x; i < end; i += SORT_THREADS) {
    uint32_t row = listed_row(list, i);
    assert(index[row] == -1 || (uint32_t)index[row] < rows);
    atomicAdd(&count[digit_of(index, row, rows, shift)], 1u);
  }
  __syncthreads();
  for (int digit = threadIdx.x; digit < SORT_DIGITS; digit += SORT_THREADS) {
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
  const size_t digit = (size_t)blockIdx.x * SORT_WARPS + threadIdx.x / WARP_LANES;
  uint32_t total = sums_before(counts + digit * tiles, tiles);
  if (threadIdx.x % WARP_LANES == 0) totals[digit] = total;
}

// Moves each row to its place in `sorted`.
__global__ void place_rows_kernel(uint32_t *sorted, const uint32_t *list, const int *index, const uint32_t *before,
                                  const uint32_t *totals, size_t N, size_t rows, int shift) {
  SHARED(uint32_t, start, [SORT_DIGITS]);            // where the digit's rows begin
  SHARED(uint32_t, next, [SORT_WARPS][SORT_DIGITS]); // first the warps' counts, then where their next row goes
  const int warp = threadIdx.x / WARP_LANES, lane = threadIdx.x % WARP_LANES;
  for (int digit = threadIdx.x; digit < SORT_DIGITS; digit += SORT_THREADS) {
    start[digit] = totals[digit];
    for (int w = 0; w < SORT_WARPS; w++) next[w][digit] = 0;
  }
  __syncthreads();
  const size_t first = (size_t)blockIdx.x * SORT_TILE + (size_t)warp * SORT_SHARE;
  const size_t end = first + SORT_SHARE < N ? first + SORT_SHARE : N;
  for (size_t i = first + lane; i < end; i += WARP_LANES) {
    atomicAdd(&next[warp][digit_of(index, listed_row(list, i), rows, shift)], 1u);
  }
  if (warp == 0) sums_before(start, SORT_DIGITS);
  __syncthreads();
  for (int digit = threadIdx.x; digit < SORT_DIGITS; digit += SORT_THREADS) {
    uint32_t place = start[digit] + before[(size_t)digit * gridDim.x + blockIdx.x];
    for (int w = 0; w < SORT_WARPS; w++) {
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
    const uint32_t row = listed_row(list, i), digit = digit_of(index, row, rows, shift);
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

size_t row_sort_scratch(size_t N) {
  return (2 * N + SORT_DIGITS * (ceil_div(N, (size_t)SORT_TILE) + 1)) * sizeof(uint32_t);
}

const uint32_t *sort_rows(void *scratch, const int *index, size_t N, size_t rows, ZeroStream stream) {
  if (N > UINT32_MAX || rows > INT32_MAX) {
    zero_fatal("sort_rows: expected less than 2^32 rows for a table of less than 2^31, found %zu for %zu", N, rows);
  }
  const Sort sort = place_sort(scratch, N);
  const unsigned tiles = grid_blocks(N, SORT_TILE);
  const uint32_t *list = NULL;
  int pass = 0;
  do { // once for a table of one row too: the list is then as the rows are
    uint32_t *sorted = sort.lists[pass % 2];
    const int shift = pass * SORT_BITS;
    LAUNCH(count_digits_kernel, tiles, SORT_THREADS, 0, stream, sort.counts, list, index, N, rows, shift);
    LAUNCH(sum_tiles_kernel, SORT_DIGITS / SORT_WARPS, SORT_THREADS, 0, stream, sort.counts, sort.totals, tiles);
    LAUNCH(place_rows_kernel, tiles, SORT_THREADS, 0, stream, sorted, list, index, sort.counts, sort.totals, N, rows,
           shift);
    list = sorted;
    pass++;
  } while (rows >> (pass * SORT_BITS) != 0);
  return list;
}
