// Attention as graphs of operations that cuDNN recognises and runs as one kernel each (forward; backward in a few):
// the backend API, cudnn_graph.h. What is asked for, S and its like never in memory:
//   forward   S = scale Q K^T, -inf above the diagonal; M = rowmax S; E = e^(S - M); Z = rowsum E;
//             stats = M + log Z (our log-sum-exp); O = (E / Z) V
//   backward  D = rowsum(dO O); P = e^(masked scale Q K^T - stats); dV = P^T dO; dS = scale P (dO V^T - D);
//             dK = dS^T Q; dQ = dS K
// cuDNN matches the graph's shape as a whole, so the order and kind of the operations below are its frontend's.
// dQ comes straight from the product: a graph with an fp32 sum of dQ beside it would be summed by atomics. Engines
// that cuDNN notes as nondeterministic are passed over as well.
//
// Tensors are (B, NH, T, head) by strides over our packed rows: nothing is copied or transposed.
#include "attention_cudnn_graph.cuh"

enum { RANK = 4 }; // (B, NH, rows, columns)

typedef struct {
  int64_t dim[RANK], stride[RANK];
} Layout;

// ---------------------------------------------------------------- errors
// Puts down the first failure of a graph. A graph that failed is built on without harm: cuDNN refuses NULL.
int cudnn_note(Graph *g, cudnnStatus_t status, const char *what) {
  if (status == CUDNN_STATUS_SUCCESS) return 1;
  if (g->problem[0] == '\0') {
    char words[MESSAGE_BYTES] = "";
    cudnnGetLastErrorString(words, sizeof words);
    snprintf(g->problem, g->problem_bytes, "%s: %s: %s", what, cudnnGetErrorString(status), words);
  }
  return 0;
}

// ---------------------------------------------------------------- descriptors
Descriptor cudnn_create(Graph *g, cudnnBackendDescriptorType_t kind) {
  Descriptor d = NULL;
  if (g->count == MOST_DESCRIPTORS) zero_fatal("cuDNN: a graph needs more than %d descriptors", MOST_DESCRIPTORS);
  if (cudnn_note(g, cudnnBackendCreateDescriptor(kind, &d), "cudnnBackendCreateDescriptor")) g->all[g->count++] = d;
  return d;
}

void cudnn_set(Graph *g, Descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
               int64_t count, const void *values) {
  char what[64];
  snprintf(what, sizeof what, "attribute %d", (int)name);
  cudnn_note(g, cudnnBackendSetAttribute(d, name, type, count, values), what);
}

void cudnn_set_descriptor(Graph *g, Descriptor d, cudnnBackendAttributeName_t name, Descriptor value) {
  cudnn_set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

int cudnn_finalize(Graph *g, Descriptor d, const char *what) {
  return cudnn_note(g, cudnnBackendFinalize(d), what);
}

void cudnn_destroy_graph(Graph *g) {
  while (g->count > 0) cudnnBackendDestroyDescriptor(g->all[--g->count]);
}

// ---------------------------------------------------------------- tensors
static Layout layout(int64_t B, int64_t NH, int64_t rows, int64_t columns, int64_t of_B, int64_t of_NH,
                     int64_t of_row, int64_t of_column) {
  Layout l = {{B, NH, rows, columns}, {of_B, of_NH, of_row, of_column}};
  return l;
}

static Layout transposed(Layout l) {
  return layout(l.dim[0], l.dim[1], l.dim[3], l.dim[2], l.stride[0], l.stride[1], l.stride[3], l.stride[2]);
}

static Descriptor tensor(Graph *g, int64_t uid, cudnnDataType_t type, Layout l, bool is_virtual, bool by_value) {
  Descriptor d = cudnn_create(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const int64_t alignment = CUDNN_ALIGNMENT;
  cudnn_set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
  cudnn_set(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  cudnn_set(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, RANK, l.dim);
  cudnn_set(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, RANK, l.stride);
  cudnn_set(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  cudnn_set(g, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  cudnn_set(g, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
  cudnn_finalize(g, d, "tensor");
  return d;
}

static Descriptor in_memory(Graph *g, int64_t uid, cudnnDataType_t type, Layout l) {
  return tensor(g, uid, type, l, false, false);
}

static Descriptor in_between(Graph *g, cudnnDataType_t type, Layout l) {
  return tensor(g, g->next_virtual++, type, l, true, false);
}

// A float that the host hands over with each call.
static Descriptor scalar(Graph *g, int64_t uid) {
  return tensor(g, uid, CUDNN_DATA_FLOAT, layout(1, 1, 1, 1, 1, 1, 1, 1), false, true);
}

// ---------------------------------------------------------------- operations
static void finish_operation(Graph *g, Descriptor operation, const char *what) {
  if (g->num_operations == MOST_OPERATIONS) zero_fatal("cuDNN: more than %d operations in a graph", MOST_OPERATIONS);
  if (cudnn_finalize(g, operation, what)) g->operations[g->num_operations++] = operation;
}

// y = mode(x, b, select): b and select NULL where the mode has none. axis: of GEN_INDEX, else ignored.
static Descriptor pointwise_to(Graph *g, Descriptor y, cudnnPointwiseMode_t mode, cudnnDataType_t precision,
                               int64_t axis, Descriptor x, Descriptor b, Descriptor select) {
  Descriptor kind = cudnn_create(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  cudnn_set(g, kind, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  cudnn_set(g, kind, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision);
  if (mode == CUDNN_POINTWISE_GEN_INDEX) cudnn_set(g, kind, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
  cudnn_finalize(g, kind, "pointwise");
  Descriptor operation = cudnn_create(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  if (b) cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  if (select) cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, select);
  finish_operation(g, operation, "pointwise operation");
  return y;
}

// The same in fp32 into a tensor that is never in memory.
static Descriptor pointwise(Graph *g, cudnnPointwiseMode_t mode, Layout l, cudnnDataType_t type, Descriptor x,
                            Descriptor b) {
  return pointwise_to(g, in_between(g, type, l), mode, CUDNN_DATA_FLOAT, 0, x, b, NULL);
}

static Descriptor reduce(Graph *g, cudnnReduceTensorOp_t kind, Layout l, Descriptor x) {
  const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
  Descriptor y = in_between(g, CUDNN_DATA_FLOAT, l), reduction = cudnn_create(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  cudnn_set(g, reduction, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &precision);
  cudnn_set(g, reduction, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &kind);
  cudnn_finalize(g, reduction, "reduction");
  Descriptor operation = cudnn_create(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_DESC, reduction);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
  finish_operation(g, operation, "reduction operation");
  return y;
}

static Descriptor multiply(Graph *g, Descriptor c, Descriptor a, Descriptor b) {
  const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
  Descriptor product = cudnn_create(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  cudnn_set(g, product, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &precision);
  cudnn_finalize(g, product, "matmul");
  Descriptor operation = cudnn_create(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_MATMUL_DESC, product);
  finish_operation(g, operation, "matmul operation");
  return c;
}

// x read by other dimensions and strides.
static Descriptor view(Graph *g, cudnnDataType_t type, Layout l, Descriptor x) {
  Descriptor y = in_between(g, type, l), operation = cudnn_create(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
  cudnn_set_descriptor(g, operation, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
  finish_operation(g, operation, "reshape operation");
  return y;
}

// ---------------------------------------------------------------- the graphs
// The layouts of a call: of q, k or v in the packed rows, of out, of the scores, of a figure per row.
typedef struct {
  cudnnDataType_t type;
  Layout packed, out, scores, row;
} Shape;

static Shape shape_of(const Key *key) {
  const int64_t B = (int64_t)key->B, T = (int64_t)key->T, C = (int64_t)key->C, NH = (int64_t)key->NH, head = C / NH;
  Shape s;
  s.type = key->type == ZERO_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
  s.packed = layout(B, NH, T, head, 3 * T * C, head, 3 * C, 1);
  s.out = layout(B, NH, T, head, T * C, head, C, 1);
  s.scores = layout(B, NH, T, T, NH * T * T, T * T, T, 1);
  s.row = layout(B, NH, T, 1, NH * T, T, 1, 1);
  return s;
}

// Scores of keys that a query may not see become -infinity.
static Descriptor mask(Graph *g, Shape s, Descriptor scores) {
  enum { ROW_AXIS = 2, COLUMN_AXIS = 3 };
  Descriptor index[2];
  for (int i = 0; i < 2; i++) {
    index[i] = pointwise_to(g, in_between(g, CUDNN_DATA_INT32, s.scores), CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT,
                            i == 0 ? ROW_AXIS : COLUMN_AXIS, scores, NULL, NULL);
  }
  Descriptor seen = pointwise_to(g, in_between(g, CUDNN_DATA_BOOLEAN, s.scores), CUDNN_POINTWISE_CMP_GE,
                                 CUDNN_DATA_BOOLEAN, 0, index[0], index[1], NULL);
  return pointwise_to(g, in_between(g, CUDNN_DATA_FLOAT, s.scores), CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT,
                      0, scores, scalar(g, UID_MASKED), seen);
}

void cudnn_forward_graph(Graph *g) {
  const cudnnDataType_t fp32 = CUDNN_DATA_FLOAT;
  Shape s = shape_of(&g->key);
  Descriptor q = in_memory(g, UID_Q, s.type, s.packed), k = in_memory(g, UID_K, s.type, transposed(s.packed));
  Descriptor v = in_memory(g, UID_V, s.type, s.packed), out = in_memory(g, UID_O, s.type, s.out);
  Descriptor scores = multiply(g, in_between(g, fp32, s.scores), q, k);
  scores = pointwise(g, CUDNN_POINTWISE_MUL, s.scores, fp32, scores, scalar(g, UID_SCALE));
  scores = mask(g, s, scores);
  Descriptor max = reduce(g, CUDNN_REDUCE_TENSOR_MAX, s.row, scores);
  Descriptor weights = pointwise(g, CUDNN_POINTWISE_SUB, s.scores, fp32, scores, max);
  weights = pointwise(g, CUDNN_POINTWISE_EXP, s.scores, fp32, weights, NULL);
  Descriptor sum = reduce(g, CUDNN_REDUCE_TENSOR_ADD, s.row, weights);
  Descriptor log = pointwise(g, CUDNN_POINTWISE_LOG, s.row, fp32, sum, NULL);
  pointwise_to(g, in_memory(g, UID_STATS, fp32, s.row), CUDNN_POINTWISE_ADD, fp32, 0, max, log, NULL);
  weights = pointwise(g, CUDNN_POINTWISE_DIV, s.scores, s.type, weights, sum);
  multiply(g, out, weights, v);
}

void cudnn_backward_graph(Graph *g) {
  const cudnnDataType_t fp32 = CUDNN_DATA_FLOAT;
  Shape s = shape_of(&g->key);
  Descriptor q = in_memory(g, UID_Q, s.type, s.packed), k = in_memory(g, UID_K, s.type, transposed(s.packed));
  Descriptor v = in_memory(g, UID_V, s.type, transposed(s.packed)), out = in_memory(g, UID_O, s.type, s.out);
  Descriptor dout = in_memory(g, UID_DO, s.type, s.out), scale = scalar(g, UID_SCALE);

  Descriptor delta =
      reduce(g, CUDNN_REDUCE_TENSOR_ADD, s.row, pointwise(g, CUDNN_POINTWISE_MUL, s.out, fp32, dout, out));
  delta = pointwise_to(g, in_memory(g, UID_DELTA, fp32, s.row), CUDNN_POINTWISE_MUL, fp32, 0, delta,
                       scalar(g, UID_ONE), NULL);

  Descriptor weights = multiply(g, in_between(g, fp32, s.scores), q, k);
  weights = pointwise(g, CUDNN_POINTWISE_MUL, s.scores, fp32, weights, scale);
  weights = pointwise(g, CUDNN_POINTWISE_SUB, s.scores, fp32, weights, in_memory(g, UID_STATS, fp32, s.row));
  weights = pointwise(g, CUDNN_POINTWISE_EXP, s.scores, fp32, mask(g, s, weights), NULL);
  multiply(g, in_memory(g, UID_DV, s.type, s.packed), view(g, s.type, transposed(s.scores), weights), dout);

  Descriptor dscores = multiply(g, in_between(g, fp32, s.scores), dout, v);
  dscores = pointwise(g, CUDNN_POINTWISE_SUB, s.scores, fp32, dscores, delta);
  dscores = pointwise(g, CUDNN_POINTWISE_MUL, s.scores, fp32, dscores, weights);
  dscores = pointwise(g, CUDNN_POINTWISE_MUL, s.scores, s.type, dscores, scale);
  multiply(g, in_memory(g, UID_DK, s.type, s.packed), view(g, s.type, transposed(s.scores), dscores), q);
  multiply(g, in_memory(g, UID_DQ, s.type, s.packed), dscores, view(g, s.type, s.packed, k));
}
