// Attention as cuDNN's graphs of operations, and the descriptors that they are made of. A graph that failed anywhere
// has a problem and is built on without harm: cuDNN refuses NULL.
#ifndef LLMC_CUDA_ATTENTION_CUDNN_GRAPH_CUH
#define LLMC_CUDA_ATTENTION_CUDNN_GRAPH_CUH

#include <cudnn.h>

#include "attention_cudnn.h"

typedef cudnnBackendDescriptor_t Descriptor;

// The tensors of the graphs that memory holds; the others count on from UID_FIRST_VIRTUAL.
enum {
  UID_Q = 1,
  UID_K,
  UID_V,
  UID_O,
  UID_STATS,
  UID_DO,
  UID_DQ,
  UID_DK,
  UID_DV,
  UID_DELTA,
  UID_SCALE,
  UID_MASKED,
  UID_ONE
};
enum { UID_FIRST_VIRTUAL = 100, MOST_BOUND = UID_ONE };
// Of a graph; backward has 20 operations and three descriptors for most of them.
enum { MOST_OPERATIONS = 32, MOST_DESCRIPTORS = 128 };
enum { MESSAGE_BYTES = 1024 };

// What a plan depends on. All members have one size: no padding to compare.
typedef struct {
  uint64_t type, B, T, C, NH, backward;
} Key;

typedef struct {
  Key key;
  Descriptor all[MOST_DESCRIPTORS], operations[MOST_OPERATIONS];
  size_t count, num_operations;
  int64_t next_virtual;
  char *problem; // where the first failure is put down, or empty
  size_t problem_bytes;
} Graph;

// Puts down the first failure of a graph; whether the call went well.
int cudnn_note(Graph *g, cudnnStatus_t status, const char *what);
// A descriptor that the graph owns; its attributes; its end of preparation.
Descriptor cudnn_create(Graph *g, cudnnBackendDescriptorType_t kind);
void cudnn_set(Graph *g, Descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
               int64_t count, const void *values);
void cudnn_set_descriptor(Graph *g, Descriptor d, cudnnBackendAttributeName_t name, Descriptor value);
int cudnn_finalize(Graph *g, Descriptor d, const char *what);
void cudnn_destroy_graph(Graph *g);

// The operations of what g->key says.
void cudnn_forward_graph(Graph *g);
void cudnn_backward_graph(Graph *g);

#endif
