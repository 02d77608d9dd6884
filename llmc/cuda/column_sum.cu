// Sums over rows: slices of rows first, one block per slice and 32 packets of columns, then the slices' sums by the
// same kernel. It reads the rows once: bytes bound it.
#include "column_sum.cuh"

enum {
  COLUMN_WARPS = 4,
  COLUMN_THREADS = COLUMN_WARPS * WARP_LANES,
  // Slices follow from the rows alone, so that sums do not depend on the GPU: enough blocks to fill one, few enough
  // that the second pass weighs little.
  MIN_SLICE_ROWS = 64,
  MOST_SLICES = 128
};

static size_t slice_rows(size_t rows) {
  size_t slice = ceil_div(rows, (size_t)MOST_SLICES);
  return slice > MIN_SLICE_ROWS ? slice : (size_t)MIN_SLICE_ROWS;
}

size_t column_sums_scratch(size_t rows, size_t columns) {
  return ceil_div(rows, slice_rows(rows)) * columns * sizeof(float);
}

// Block (x, y) sums packet columns [32 x, 32 x + 32) over slice y: warp w takes every fourth row, a lane one packet.
// grad has a row of `columns` for every slice.
template <typename T, int WIDTH>
__global__ void column_sums_kernel(OpsGrad grad, const T *data, size_t rows, size_t columns, size_t stride,
                                   size_t rows_per_slice) {
  SHARED(float, of_warp, [COLUMN_WARPS][WARP_LANES * WIDTH]);
  const int warp = threadIdx.x / WARP_LANES, lane = threadIdx.x % WARP_LANES;
  const size_t at = ((size_t)blockIdx.x * WARP_LANES + lane) * WIDTH;
  const size_t first = blockIdx.y * rows_per_slice;
  const size_t end = first + rows_per_slice < rows ? first + rows_per_slice : rows;
  Packet<WIDTH> sum = zero_packet<WIDTH>();
  if (at < columns) {
#pragma unroll 4
    for (size_t row = first + warp; row < end; row += COLUMN_WARPS) {
      sum = add_packets(sum, load_packet<WIDTH>(data + row * stride + at));
    }
  }
  // Element by element with the lanes side by side: no two lanes meet in a bank.
#pragma unroll
  for (int i = 0; i < WIDTH; i++) of_warp[warp][i * WARP_LANES + lane] = sum.value[i];
  __syncthreads();
  if (warp != 0 || at >= columns) return;
#pragma unroll
  for (int i = 0; i < WIDTH; i++) {
#pragma unroll
    for (int w = 1; w < COLUMN_WARPS; w++) sum.value[i] += of_warp[w][i * WARP_LANES + lane];
  }
  store_gradient(grad, blockIdx.y * columns + at, sum);
}

static void sum_slices(OpsGrad grad, const ColumnSlices *of, ZeroStream stream) {
  const size_t columns = of->columns;
  DISPATCH_ROWS(of->type, columns | of->stride, address_bits(grad.data, of->data), T, WIDTH, {
    dim3 grid(grid_blocks(columns, (size_t)WARP_LANES * WIDTH), (unsigned)ceil_div(of->rows, of->rows_per_slice));
    LAUNCH((column_sums_kernel<T, WIDTH>), grid, COLUMN_THREADS, 0, stream, grad, (const T *)of->data, of->rows,
           columns, of->stride, of->rows_per_slice);
  });
}

void column_sums_of(OpsGrad grad, const ColumnSlices *of, void *scratch, ZeroStream stream) {
  const size_t slices = ceil_div(of->rows, of->rows_per_slice);
  if (slices == 1) {
    sum_slices(grad, of, stream);
    return;
  }
  OpsGrad partials = {scratch, ZERO_F32, 0};
  const ColumnSlices sums = {scratch, slices, of->columns, of->columns, slices, ZERO_F32};
  sum_slices(partials, of, stream);
  sum_slices(grad, &sums, stream);
}

void column_sums(OpsGrad grad, const void *data, size_t rows, size_t columns, ZeroType type, void *scratch,
                 ZeroStream stream) {
  const ColumnSlices all = {data, rows, columns, columns, slice_rows(rows), type};
  column_sums_of(grad, &all, scratch, stream);
}
