// Embeddings that name token, position and type of every row, and the gradient of any table of embeddings (GPT-2's
// tokens too: encoder.cu).
//
// Backward sorts the rows by index and cuts the sorted list at fixed places, every SLICE_ROWS rows, and between
// indices. Each part is summed by one warp in the order of rows; an index that has several parts gets their sums
// added in order by another kernel: no float atomics, the same bits every time, and a table of two rows takes more
// than two warps.
#include "row_sort.cuh"
#include "types.cuh"

// The element type is called E here.

enum { EMBED_THREADS = 128, EMBED_WARPS = EMBED_THREADS / WARP_LANES, SLICE_ROWS = 128 };

// ---------------------------------------------------------------- forward
typedef struct {
  const int *tokens, *positions, *types; // (N) each
} Indices;

// A thread per packet.
template <typename E, int WIDTH>
__global__ void embeddings_forward_kernel(E *out, Indices indices, const E *wte, const E *wpe, const E *wtype,
                                          size_t N, size_t C) {
  const size_t packets_per_row = C / WIDTH, packet = (size_t)blockIdx.x * EMBED_THREADS + threadIdx.x;
  const size_t row = packet / packets_per_row, at = packet % packets_per_row * WIDTH;
  if (row >= N) return;
  Packet<WIDTH> token = load_packet<WIDTH>(wte + (size_t)indices.tokens[row] * C + at);
  Packet<WIDTH> position = load_packet<WIDTH>(wpe + (size_t)indices.positions[row] * C + at);
  Packet<WIDTH> kind = load_packet<WIDTH>(wtype + (size_t)indices.types[row] * C + at);
  store_packet(out + row * C + at, add_packets(add_packets(token, position), kind));
}

void embeddings_forward(void *out, const int *tokens, const int *positions, const int *types, const void *wte,
                        const void *wpe, const void *wtype, size_t N, size_t C, ZeroType type, ZeroStream stream) {
  if (N == 0) return;
  const Indices indices = {tokens, positions, types};
  DISPATCH_ROWS(type, C, address_bits(out, wte, wpe, wtype), E, WIDTH, {
    LAUNCH((embeddings_forward_kernel<E, WIDTH>), grid_blocks(N * (C / WIDTH), EMBED_THREADS), EMBED_THREADS, 0,
           stream, (E *)out, indices, (const E *)wte, (const E *)wpe, (const E *)wtype, N, C);
  });
}

// ---------------------------------------------------------------- backward
// The rows in the order of their indices, and the sums of parts that are not all of their index: (slices, 2, C). At
// most two such parts begin in a slice: one goes on from the slice before, one goes on into the next.
typedef struct {
  const uint32_t *list;
  const int *index;
  float *sums;
  size_t N;
} Parts;

static size_t aligned(size_t bytes) {
  const size_t alignment = 256;
  return ceil_div(bytes, alignment) * alignment;
}

size_t embedding_backward_scratch(size_t N, size_t C, size_t rows) {
  (void)rows;
  return aligned(row_sort_scratch(N)) + ceil_div(N, (size_t)SLICE_ROWS) * 2 * C * sizeof(float);
}

__device__ __forceinline__ int index_at(const Parts &parts, size_t place) {
  return parts.index[parts.list[place]];
}

// A warp for each place of the sorted list where a part begins, and for 32 packets of its columns; the other warps
// leave at once.
template <typename E, int WIDTH>
__global__ void sum_parts_kernel(OpsGrad dtable, Parts parts, const E *dout, size_t C) {
  const int lane = threadIdx.x % WARP_LANES;
  const size_t first = (size_t)blockIdx.x * EMBED_WARPS + threadIdx.x / WARP_LANES;
  if (first >= parts.N) return;
  const int index = index_at(parts, first);
  const int goes_on = first > 0 && index_at(parts, first - 1) == index;
  if (index < 0 || (goes_on && first % SLICE_ROWS != 0)) return;

  const size_t slice = first / SLICE_ROWS, slice_end = (slice + 1) * SLICE_ROWS;
  const size_t end = slice_end < parts.N ? slice_end : parts.N;
  const size_t at = ((size_t)blockIdx.y * WARP_LANES + lane) * WIDTH;
  Packet<WIDTH> sum = zero_packet<WIDTH>();
  size_t place = first;
  int rows;
  do { // 32 places at a time: the lanes look at one each
    const size_t i = place + lane;
    const uint32_t row = i < end ? parts.list[i] : 0;
    rows = __popc(__ballot_sync(FULL_WARP, i < end && parts.index[row] == index)); // sorted: the first lanes
#pragma unroll 8
    for (int k = 0; k < rows; k++) {
      size_t source = __shfl_sync(FULL_WARP, row, k);
      if (at < C) sum = add_packets(sum, load_packet<WIDTH>(dout + source * C + at));
    }
    place += rows;
  } while (rows == WARP_LANES);
  if (at >= C) return;
  if (goes_on || (place == slice_end && place < parts.N && index_at(parts, place) == index)) {
    store_packet(parts.sums + (2 * slice + !goes_on) * C + at, sum);
  } else {
    store_gradient(dtable, (size_t)index * C + at, sum);
  }
}

// The first slice that does not begin with the index, which `known` does: by halves, as the list is sorted.
__device__ __forceinline__ size_t end_of_index(const Parts &parts, int index, size_t known) {
  size_t end = ceil_div(parts.N, (size_t)SLICE_ROWS);
  while (end - known > 1) {
    const size_t middle = known + (end - known) / 2;
    if (index_at(parts, middle * SLICE_ROWS) == index) {
      known = middle;
    } else {
      end = middle;
    }
  }
  return end;
}

// A block for each slice after which an index goes on that began in it, and for some columns; the others leave. The
// end is found before anything is added, so that no load waits for another one.
template <int WIDTH>
__global__ void add_parts_kernel(OpsGrad dtable, Parts parts, size_t C) {
  const size_t at = ((size_t)blockIdx.y * EMBED_THREADS + threadIdx.x) * WIDTH;
  const size_t slice = blockIdx.x, second = slice + 1; // a slice that the index goes on in
  if (second * SLICE_ROWS >= parts.N || at >= C) return;
  const int index = index_at(parts, second * SLICE_ROWS);
  if (index < 0 || index_at(parts, second * SLICE_ROWS - 1) != index) return;
  if (slice > 0 && index_at(parts, slice * SLICE_ROWS - 1) == index) return;
  const size_t end = end_of_index(parts, index, second);
  Packet<WIDTH> sum = load_packet<WIDTH>(parts.sums + (2 * slice + 1) * C + at);
#pragma unroll 8
  for (size_t next = second; next < end; next++) {
    sum = add_packets(sum, load_packet<WIDTH>(parts.sums + 2 * next * C + at));
  }
  store_gradient(dtable, (size_t)index * C + at, sum);
}

void embedding_backward(OpsGrad dtable, const void *dout, const int *index, size_t N, size_t C, size_t rows,
                        ZeroType type, void *scratch, ZeroStream stream) {
  if (dtable.data == NULL) return;
  if (!dtable.accumulate) {
    CUDA_CHECK(cudaMemsetAsync(dtable.data, 0, rows * C * zero_type_size(dtable.type), (cudaStream_t)stream));
  }
  if (N == 0) return;
  float *sums = (float *)((char *)scratch + aligned(row_sort_scratch(N)));
  const Parts parts = {sort_rows(scratch, index, N, rows, stream), index, sums, N};
  DISPATCH_ROWS(type, C, address_bits(dtable.data, dout, sums), E, WIDTH, {
    dim3 grid(grid_blocks(N, EMBED_WARPS), grid_blocks(C, WARP_LANES * WIDTH));
    LAUNCH((sum_parts_kernel<E, WIDTH>), grid, EMBED_THREADS, 0, stream, dtable, parts, (const E *)dout, C);
  });
  if (N <= SLICE_ROWS) return;
  DISPATCH_WIDTH(whole_packets<float>(C, address_bits(dtable.data, sums)), float, WIDTH, {
    dim3 grid(grid_blocks(N, SLICE_ROWS), grid_blocks(C, EMBED_THREADS * WIDTH));
    LAUNCH((add_parts_kernel<WIDTH>), grid, EMBED_THREADS, 0, stream, dtable, parts, C);
  });
}
