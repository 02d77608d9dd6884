// Where the numbers live: memory, streams and the few kernels that the engine itself needs.
//
// A ZeroDevice is a table of functions, so that one program can hold two of them (a GPU for the
// model, the CPU for an offloaded optimizer). device_cpu.c fills the table for the CPU, device_cuda.cu for an NVIDIA
// GPU. Models may use this header for memory and streams; it knows nothing of them.
#ifndef ZERO_DEVICE_H
#define ZERO_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "memory.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ZeroComm;

// Element types, chosen at run time. Sums are always taken in fp32 or wider.
typedef enum { ZERO_F32, ZERO_BF16, ZERO_F16 } ZeroType;

// Bytes of one element; the type's name as users write it (fp32, bf16, fp16).
size_t zero_type_size(ZeroType type);
const char *zero_type_name(ZeroType type);

// An ordered queue of work. The CPU has one implicit queue: NULL.
typedef struct ZeroStreamImpl *ZeroStream;

// A point in a device's queue that the host can wait for. The CPU, which is never behind, has none: NULL.
typedef struct ZeroEventImpl *ZeroEvent;

// Hyperparameters of one AdamW step. Decoupled weight decay: Loshchilov & Hutter, arXiv 1711.05101,
// algorithm 2; bias correction as in PyTorch's torch.optim.AdamW.
typedef struct {
  int l2;                 // 1: Adam's L2 penalty, weight_decay * w added to the gradient, instead of AdamW's decay
  int no_bias_correction; // 1: the moments are used as they are
  double lr, beta1, beta2, eps, weight_decay; // double: 1 - 0.999f is off by 1e-5 of itself
  double grad_scale; // multiplies the accumulated gradient first: clipping and unscaling in one factor
  size_t step;       // number of this applied step, from 1
} ZeroAdamW;

// How fp32 weights become parameters in a half type. Stochastically: up or down with the probabilities that make the
// mean the weight itself (zero/stochastic.h), drawn by (seed, step, parameter) and nothing else.
typedef struct {
  int stochastic; // 0: to nearest, ties to even
  uint64_t seed;
  size_t step; // applied steps that made these weights
} ZeroRounding;

// What a rank keeps of one unit. Pointers are of the device's memory, each to the first kept element.
typedef struct {
  float *master, *exp_avg, *exp_avg_sq;
  const void *grad;         // in ZeroShards.grad_type
  void *params;             // in ZeroShards.param_type; NULL: the master weights are the parameters
  uint64_t first_parameter; // number of the first kept element among all elements of the model, gaps included
} ZeroShard;

// A run of elements that lies in one chunk and one tensor: what the norm and AdamW work on, so that neither
// reads the gaps between tensors and neither depends on where a shard ends.
typedef struct {
  size_t first;   // element, counted from the start of the shard
  unsigned count; // at most ZERO_CHUNK
  unsigned shard; // which one, in ZeroShards.shards
  int decay;      // weight decay applies
} ZeroPiece;

// All that a rank keeps: the norm and AdamW each go over it in one call. The arrays lie in the device's memory.
typedef struct {
  ZeroType grad_type, param_type;
  const ZeroShard *shards;
  // (num_pieces) in any order, but those whose gradients this rank alone has the sums of come first: num_own.
  const ZeroPiece *pieces;
  size_t num_pieces, num_own;
  double *sums; // (num_own) scratch, for sum_squares
} ZeroShards;

typedef struct ZeroDevice ZeroDevice;
struct ZeroDevice {
  const char *name; // "cpu", "cuda"
  // Where the work below is queued, in order. What it says of memory holds for the device's own unless it names the
  // host.
  ZeroStream stream;
  int host_memory; // 1: the device's memory is the host's, so that the host and the transports may read and write it

  // Called with `waiting_for` again and again while the host waits for queued work: a transport whose work is part of
  // it looks after its peers there. NULL: the host waits undisturbed.
  void (*while_waiting)(struct ZeroComm *);
  struct ZeroComm *waiting_for;

  // Memory, entered in the ledger under `category`; aligned to 64 bytes or more, zeroed.
  // Does not return on failure. `bytes` 0 gives NULL.
  void *(*alloc)(ZeroDevice *, size_t bytes, ZeroMemory category);
  void (*free)(ZeroDevice *, void *ptr);
  // The same of the host's memory, in the way that the device reaches it fastest.
  void *(*alloc_host)(ZeroDevice *, size_t bytes, ZeroMemory category);
  void (*free_host)(ZeroDevice *, void *ptr);
  // dst = src, bytes; the two do not overlap.
  void (*copy)(ZeroDevice *, void *dst, const void *src, size_t bytes);
  // The same between the host and the device, after the work queued so far; they return when it is done.
  void (*to_host)(ZeroDevice *, void *host, const void *src, size_t bytes);
  void (*from_host)(ZeroDevice *, void *dst, const void *host, size_t bytes);
  // The same, queued: they return at once. The host's side must be memory of alloc_host, and belongs to the copy
  // until an event recorded after it has been waited for, or synchronize: not to be written, nor, of to_host_async,
  // read.
  void (*to_host_async)(ZeroDevice *, void *host, const void *src, size_t bytes);
  void (*from_host_async)(ZeroDevice *, void *dst, const void *host, size_t bytes);
  // Events. event_record: the event stands behind everything queued so far, wherever it stood before. event_wait
  // returns when the device has got there; at once for an event that was never recorded.
  ZeroEvent (*event_create)(ZeroDevice *);
  void (*event_destroy)(ZeroDevice *, ZeroEvent);
  void (*event_record)(ZeroDevice *, ZeroEvent);
  void (*event_wait)(ZeroDevice *, ZeroEvent);
  // Returns when everything queued so far is done.
  void (*synchronize)(ZeroDevice *);
  // The most bytes that were in use on the device, by all processes and the driver itself, as seen at each new peak
  // of what this process holds and now. The host's memory: 0, zero_process_peak tells of it.
  size_t (*in_use_peak)(ZeroDevice *);

  // acc = piece (overwrite != 0) or acc += piece, in fp32, rounded once to acc's type.
  void (*add)(ZeroDevice *, void *acc, ZeroType acc_type, const void *piece, ZeroType type, size_t count,
              int overwrite);
  // The same of several pieces, one after the other, num_pieces >= 1; overwrite: acc = the first one. Of the host's
  // memory alone: NULL elsewhere.
  void (*add_pieces)(ZeroDevice *, void *acc, ZeroType acc_type, const void *const *pieces, int num_pieces,
                     ZeroType type, size_t count, int overwrite);
  // sums[i], on the host, = sum of squares of the gradient of own piece i (num_own), in double, in an order that
  // depends on its length alone. Infinite or NaN exactly when an element is. Waits for the work queued so far.
  void (*sum_squares)(ZeroDevice *, const ZeroShards *, double *sums);
  // AdamW on all pieces, in place; the new weights also go to the parameters, rounded.
  void (*adamw)(ZeroDevice *, const ZeroAdamW *, const ZeroRounding *, const ZeroShards *);
  // Parameters = master weights, rounded, on all pieces; nothing where a shard has no parameters of its own.
  void (*round)(ZeroDevice *, const ZeroRounding *, const ZeroShards *);

  void (*destroy)(ZeroDevice *);
};

// The CPU: OpenMP over fixed tiles, as many threads as OpenMP is set to.
ZeroDevice *zero_device_cpu(void);
// The GPU of this rank: the ranks of a node take its GPUs in turn. Collective; without a GPU it ends all ranks with a
// line on what to do and exit code 1. comm NULL: one rank without a communicator.
ZeroDevice *zero_device_cuda(struct ZeroComm *comm);
// After the engine and the communicator that use it.
void zero_device_destroy(ZeroDevice *);

#ifdef __cplusplus
}
#endif
#endif
