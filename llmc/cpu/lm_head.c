// The language-model head: projection, softmax, cross-entropy and their gradients, block of rows by block of
// rows. The logits of a block turn into their own gradient in place and are used up before the next block.
//
// A block's logits lie in slices of the vocabulary, each slice (rows, columns) and dense. The input gradient,
// which sums over the vocabulary, then goes slice by slice, which oneDNN does faster; and it never gets a
// matrix with gaps between its rows, where it would split that sum by the number of threads.
//
// In the half types logits, softmax and loss are fp32. A slice of their gradient is rounded to the type once, and
// both products take that. The input gradient's slices are summed in fp32 and rounded once. So is dwte where there
// is more than one block and it is not fp32 itself: that takes a (Vp, C) buffer of fp32, 4 Vp C bytes (147 MiB at
// 50,304 x 768). The ways without it cost more: keeping the rounded gradient of every row needs 2 N Vp bytes, which
// grows with the batch, and computing the logits anew, slice by slice, is a third more work.
#include <math.h>

#include "column_sum.h"
#include "convert.h"
#include "element.h"
#include "pack.h"
#include "parallel.h"
#include "product.h"

enum {
  // Rows whose logits are in memory at once: 1,024 rows of 50,304 are 196 MiB. The borders, and so the order in
  // which dwte is summed, depend on nothing else.
  HEAD_BLOCK_ROWS = 1024,
  HEAD_SLICE_COLUMNS = 3200, // the widest slice
  // Columns whose e^x are summed in fp32 before the sum goes on in double: keeps the loss accurate.
  HEAD_SUM_COLUMNS = 1024
};

// The logits of a block. Slice s begins at data + s * width * rows and holds columns [s * width, …).
typedef struct {
  float *data;
  size_t rows, V, Vp, width;
} Block;

// Slices of about equal width, so that the last one is not a splinter, and such as pack.h takes.
static size_t slice_width(size_t Vp) {
  size_t slices = divide_up(Vp, HEAD_SLICE_COLUMNS);
  return min_size(round_up(divide_up(Vp, slices), PACK_DEPTH), Vp);
}

// One slice: its first column, how many it has, and how many of these are of the real vocabulary.
typedef struct {
  size_t first, columns, real;
  float *data; // (rows, columns)
} Slice;

static Slice slice_at(const Block *block, size_t first) {
  size_t columns = min_size(block->width, block->Vp - first);
  size_t real = block->V > first ? min_size(columns, block->V - first) : 0;
  return (Slice){first, columns, real, block->data + first * block->rows};
}

// The parts of scratch, each NULL where it is not needed.
typedef struct {
  float *logits;  // (rows, Vp) of a block
  void *dlogits;  // (rows, width) of one slice, in the half type
  float *dhidden; // (rows, C) sums over slices
  float *dwte;    // (Vp, C) sums over blocks
  float *dbias;   // (Vp) sums over blocks
  float *columns; // (tiles of rows, width) sums of one slice's columns
  size_t bytes;   // of all together
} Scratch;

static void *take(Scratch *scratch, char *memory, size_t bytes) {
  const size_t align = 64;
  void *part = memory != NULL ? memory + scratch->bytes : NULL;
  scratch->bytes += round_up(bytes, align);
  return part;
}

// With memory NULL only counts bytes.
static Scratch divide_scratch(char *memory, size_t N, size_t C, size_t Vp, ZeroType type, ZeroType grad_type) {
  size_t rows = min_size(N, HEAD_BLOCK_ROWS);
  Scratch scratch = {0};
  scratch.logits = take(&scratch, memory, rows * Vp * sizeof(float));
  if (type != ZERO_F32) {
    scratch.dlogits = take(&scratch, memory, rows * slice_width(Vp) * zero_type_size(type));
    scratch.dhidden = take(&scratch, memory, rows * C * sizeof(float));
  }
  if (grad_type != ZERO_F32 && N > HEAD_BLOCK_ROWS) scratch.dwte = take(&scratch, memory, Vp * C * sizeof(float));
  scratch.dbias = take(&scratch, memory, Vp * sizeof(float));
  scratch.columns = take(&scratch, memory, row_tiles(rows) * slice_width(Vp) * sizeof(float));
  return scratch;
}

size_t lm_head_loss_scratch(size_t N, size_t C, size_t Vp, ZeroType type, ZeroType grad_type) {
  return divide_scratch(NULL, N, C, Vp, type, grad_type).bytes;
}

static float piece_max(const float *x, size_t count, float max) {
  Vec largest = vec_set(max);
  size_t at = 0;
  for (; at + VEC_WIDTH <= count; at += VEC_WIDTH) largest = vec_max(largest, vec_load(x + at));
  max = vec_max_lane(largest);
  for (; at < count; at++) max = x[at] > max ? x[at] : max;
  return max;
}

// x[i] = e^(x[i] - max); returns their sum.
static double piece_exp(float *x, size_t count, float max) {
  double total = 0;
  for (size_t first = 0; first < count; first += HEAD_SUM_COLUMNS) {
    size_t end = min_size(first + HEAD_SUM_COLUMNS, count);
    Vec sum = {0};
    for (size_t at = first; at < end; at += VEC_WIDTH) {
      size_t n = vec_count(end - at);
      Vec e = vec_exp(vec_load_n(x + at, n) - max);
      if (n < VEC_WIDTH) e = vec_select(vec_lanes() < (int)n, e, vec_set(0));
      vec_store_n(x + at, e, n);
      sum += e;
    }
    total += vec_sum(sum);
  }
  return total;
}

static void piece_scale(float *x, size_t count, float factor) {
  for (size_t at = 0; at < count; at += VEC_WIDTH) {
    size_t n = vec_count(count - at);
    vec_store_n(x + at, vec_load_n(x + at, n) * factor, n);
  }
}

static float *logit_of(const Block *block, size_t row, size_t column) {
  Slice slice = slice_at(block, column / block->width * block->width);
  return slice.data + row * slice.columns + (column - slice.first);
}

static void copy_row(float *logits, const Block *block, size_t row) {
  for (size_t first = 0; first < block->V; first += block->width) {
    Slice slice = slice_at(block, first);
    memcpy(logits + first, slice.data + row * slice.columns, slice.real * sizeof(float));
  }
}

// The first of the largest.
static int row_best(const Block *block, size_t row) {
  float max = -INFINITY;
  size_t best = 0;
  for (size_t first = 0; first < block->V; first += block->width) {
    Slice slice = slice_at(block, first);
    const float *x = slice.data + row * slice.columns;
    float largest = piece_max(x, slice.real, max);
    if (!(largest > max)) continue;
    size_t at = 0;
    while (x[at] != largest) at++;
    max = largest;
    best = first + at;
  }
  return (int)best;
}

// Turns a row's logits into e^(logit - max), writes the sum of these and returns the loss.
static float row_loss(const Block *block, size_t row, size_t target, double *sum) {
  float max = -INFINITY, target_logit = *logit_of(block, row, target);
  for (size_t first = 0; first < block->V; first += block->width) {
    Slice slice = slice_at(block, first);
    max = piece_max(slice.data + row * slice.columns, slice.real, max);
  }
  *sum = 0;
  for (size_t first = 0; first < block->V; first += block->width) {
    Slice slice = slice_at(block, first);
    *sum += piece_exp(slice.data + row * slice.columns, slice.real, max);
  }
  return (float)(log(*sum) + ((double)max - target_logit));
}

// After row_loss: grad_scale * (softmax - one-hot), and 0 in the padded columns.
static void row_gradient(const Block *block, size_t row, size_t target, double sum, float grad_scale) {
  *logit_of(block, row, target) -= (float)sum; // e^(x - max) - sum, times 1 / sum: probability - 1
  float factor = (float)(grad_scale / sum);
  for (size_t first = 0; first < block->Vp; first += block->width) {
    Slice slice = slice_at(block, first);
    float *x = slice.data + row * slice.columns;
    piece_scale(x, slice.real, factor);
    memset(x + slice.real, 0, (slice.columns - slice.real) * sizeof(float));
  }
}

// The gradient of a row whose target is to be ignored.
static void row_zero(const Block *block, size_t row) {
  for (size_t first = 0; first < block->Vp; first += block->width) {
    Slice slice = slice_at(block, first);
    memset(slice.data + row * slice.columns, 0, slice.columns * sizeof(float));
  }
}

static void check_targets(const int *targets, size_t N, size_t V) {
  for (size_t n = 0; n < N; n++) {
    if (targets[n] != OPS_IGNORE && (targets[n] < 0 || (size_t)targets[n] >= V)) {
      zero_fatal("lm_head_loss: expected a target below %zu or OPS_IGNORE, found %d in row %zu", V, targets[n], n);
    }
  }
}

// Loss of every row of a block, and with `gradients` the logits become their gradient.
static void block_loss(const Block *block, float *loss, float *logits, int *best, const int *targets, int gradients,
                       float grad_scale) {
#pragma omp parallel for schedule(dynamic, 4) if (worth_threads(block->rows * block->Vp))
  for (size_t row = 0; row < block->rows; row++) {
    if (logits != NULL) copy_row(logits + row * block->V, block, row);
    if (best != NULL) best[row] = row_best(block, row);
    if (targets[row] == OPS_IGNORE) {
      loss[row] = 0;
      if (gradients) row_zero(block, row);
      continue;
    }
    double sum;
    loss[row] = row_loss(block, row, (size_t)targets[row], &sum);
    if (gradients) row_gradient(block, row, (size_t)targets[row], sum, grad_scale);
  }
}

// What the three products of a block use, with the block's rows of hidden and dhidden.
typedef struct {
  const char *hidden; // (rows, C)
  const char *wte;    // (Vp, C)
  const char *bias;   // (Vp) or NULL
  OpsGrad dhidden;    // (rows, C): sums over slices; accumulate is not used
  OpsGrad dwte;       // (Vp, C); accumulate: something is there already
  OpsGrad dbias;      // (Vp); accumulate: the same
  void *dlogits;      // (rows, width) or NULL: a slice's gradient rounded to the type
  float *columns;     // (tiles of rows, width)
  size_t C;
  ZeroType type;
} Head;

static void block_logits(const Block *block, const Head *head) {
  size_t row_bytes = head->C * zero_type_size(head->type);
  for (size_t first = 0; first < block->Vp; first += block->width) {
    Slice slice = slice_at(block, first);
    matrix_product(&(Matmul){.m = block->rows,
                             .n = slice.columns,
                             .k = head->C,
                             .a = {head->hidden, 0},
                             .b = {head->wte + first * row_bytes, 1},
                             .bias = head->bias != NULL ? head->bias + first * zero_type_size(head->type) : NULL,
                             .c = slice.data,
                             .type = head->type,
                             .out_type = ZERO_F32});
  }
}

// dhidden = dlogits * wte, dwte (+)= dlogits^T * hidden, dbias (+)= column sums of dlogits
static void block_gradients(const Block *block, const Head *head) {
  size_t row_bytes = head->C * zero_type_size(head->type);
  for (size_t first = 0; first < block->Vp; first += block->width) {
    Slice slice = slice_at(block, first);
    const void *dlogits = slice.data;
    if (head->dbias.data != NULL) {
      OpsGrad columns = head->dbias;
      columns.data = (char *)columns.data + first * zero_type_size(columns.type);
      column_sums(columns, slice.data, block->rows, slice.columns, ZERO_F32, head->columns);
    }
    if (head->dlogits != NULL) {
      round_sums((OpsGrad){head->dlogits, head->type, 0}, slice.data, block->rows * slice.columns);
      dlogits = head->dlogits;
    }
    if (head->dhidden.data != NULL) {
      matrix_product(&(Matmul){.m = block->rows,
                               .n = head->C,
                               .k = slice.columns,
                               .a = {dlogits, 0},
                               .b = {head->wte + first * row_bytes, 0},
                               .c = head->dhidden.data,
                               .accumulate = first > 0,
                               .type = head->type,
                               .out_type = head->dhidden.type});
    }
    if (head->dwte.data != NULL) {
      matrix_product(&(Matmul){.m = slice.columns,
                               .n = head->C,
                               .k = block->rows,
                               .a = {dlogits, 1},
                               .b = {head->hidden, 0},
                               .c = (char *)head->dwte.data + first * head->C * zero_type_size(head->dwte.type),
                               .accumulate = head->dwte.accumulate,
                               .type = head->type,
                               .out_type = head->dwte.type});
    }
  }
}

void lm_head_loss(float *loss, void *dhidden, OpsGrad dwte, OpsGrad dbias, float *logits, int *best,
                  const void *hidden, const void *wte, const void *bias, const int *targets, float grad_scale,
                  size_t N, size_t C, size_t V, size_t Vp, ZeroType type, void *scratch, ZeroStream stream) {
  (void)stream;
  if (V == 0 || V > Vp || N == 0) zero_fatal("lm_head_loss: found %zu rows, %zu entries padded to %zu", N, V, Vp);
  if (dbias.data != NULL && bias == NULL)
    zero_fatal("lm_head_loss: a gradient is wanted of a bias that is not given");
  check_targets(targets, N, V);
  int gradients = dhidden != NULL || dwte.data != NULL || dbias.data != NULL;
  ZeroType grad_type = dwte.data != NULL ? dwte.type : ZERO_F32;
  Scratch parts = divide_scratch(scratch, N, C, Vp, type, grad_type);
  OpsGrad dwte_sums = parts.dwte != NULL ? (OpsGrad){parts.dwte, ZERO_F32, 0} : dwte;
  OpsGrad dbias_sums = {dbias.data != NULL ? parts.dbias : NULL, ZERO_F32, 0};
  for (size_t first = 0; first < N; first += HEAD_BLOCK_ROWS) {
    size_t rows = min_size(HEAD_BLOCK_ROWS, N - first), at = first * C * zero_type_size(type);
    OpsGrad dhidden_rows = {dhidden != NULL ? (char *)dhidden + at : NULL, type, 0}, dhidden_sums = dhidden_rows;
    if (dhidden != NULL && parts.dhidden != NULL) dhidden_sums = (OpsGrad){parts.dhidden, ZERO_F32, 0};
    Block block = {parts.logits, rows, V, Vp, slice_width(Vp)};
    Head head = {(const char *)hidden + at,
                 wte,
                 bias,
                 dhidden_sums,
                 dwte_sums,
                 dbias_sums,
                 parts.dlogits,
                 parts.columns,
                 C,
                 type};
    block_logits(&block, &head);
    block_loss(&block, loss + first, logits != NULL ? logits + first * V : NULL, best != NULL ? best + first : NULL,
               targets + first, gradients, grad_scale);
    if (gradients) block_gradients(&block, &head);
    if (dhidden_sums.data != dhidden_rows.data) round_sums(dhidden_rows, dhidden_sums.data, rows * C);
    dwte_sums.accumulate = dbias_sums.accumulate = 1; // later blocks add
  }
  if (parts.dwte != NULL) round_sums(dwte, parts.dwte, Vp * C);
  if (dbias.data != NULL) round_sums(dbias, parts.dbias, Vp);
}

// The logits are written where they belong: no memory on the side.
size_t lm_head_logits_scratch(size_t N, size_t C, size_t Vp, ZeroType type) {
  (void)N;
  (void)C;
  (void)Vp;
  (void)type;
  return 0;
}

void lm_head_logits(float *logits, const void *hidden, const void *wte, size_t N, size_t C, size_t V, size_t Vp,
                    ZeroType type, void *scratch, ZeroStream stream) {
  (void)scratch;
  (void)stream;
  if (V > Vp) zero_fatal("lm_head_logits: found %zu entries padded to %zu", V, Vp);
  if (N == 0) return;
  matrix_product(&(Matmul){
      .m = N, .n = V, .k = C, .a = {hidden, 0}, .b = {wte, 1}, .c = logits, .type = type, .out_type = ZERO_F32});
}
