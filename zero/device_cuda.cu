// An NVIDIA GPU as a device: memory in the ledger, one stream, and the engine's kernels. Every sum has an order of
// its own, so that the bits are the same on every run.
#include <sched.h>

#include "comm.h"
#include "cuda_element.cuh"
#include "cuda_launch.h"
#include "optimizer.h"
#include "stochastic.h"

// What the ledger needs to know of an allocation when it goes.
typedef struct Allocation {
  void *ptr;
  size_t bytes;
  ZeroMemory category;
  int on_device; // 0: page-locked memory of the host
  struct Allocation *next;
} Allocation;

typedef struct {
  ZeroDevice device; // first: every ZeroDevice * of this file is a CudaDevice *
  Allocation *allocations;
  size_t in_use_peak; // bytes of the GPU's memory that the driver had given out, to whomever
} CudaDevice;

static CudaDevice *cuda_device(ZeroDevice *device) {
  return (CudaDevice *)device;
}

static cudaStream_t stream_of(const ZeroDevice *device) {
  return (cudaStream_t)device->stream;
}

// ---------------------------------------------------------------- memory
// What cudaMemGetInfo says is the whole GPU's: other processes and the driver's own memory are in it.
static void sample_in_use(CudaDevice *cuda) {
  size_t left, all;
  CUDA_CHECK(cudaMemGetInfo(&left, &all));
  if (all - left > cuda->in_use_peak) cuda->in_use_peak = all - left;
}

static void remember(ZeroDevice *device, void *ptr, size_t bytes, ZeroMemory category, int on_device) {
  CudaDevice *cuda = cuda_device(device);
  Allocation *allocation = (Allocation *)zero_malloc(sizeof *allocation, ZERO_MEM_OTHER);
  *allocation = {ptr, bytes, category, on_device, cuda->allocations};
  cuda->allocations = allocation;
  if (!on_device) {
    zero_ledger_add(category, bytes, 0);
    return;
  }
  const size_t before = zero_ledger_device_peak();
  zero_ledger_add_device(category, bytes);
  if (zero_ledger_device_peak() > before) sample_in_use(cuda);
}

static void forget(ZeroDevice *device, void *ptr) {
  Allocation **link = &cuda_device(device)->allocations;
  while (*link != NULL && (*link)->ptr != ptr) link = &(*link)->next;
  Allocation *allocation = *link;
  if (allocation == NULL) zero_fatal("a pointer from the device was expected, but %p is none: freed twice?", ptr);
  if (allocation->on_device) {
    zero_ledger_remove_device(allocation->category, allocation->bytes);
  } else {
    zero_ledger_remove(allocation->category, allocation->bytes, 0);
  }
  *link = allocation->next;
  zero_free(allocation);
}

static size_t cuda_in_use_peak(ZeroDevice *device) {
  sample_in_use(cuda_device(device));
  return cuda_device(device)->in_use_peak;
}

static void *cuda_alloc(ZeroDevice *device, size_t bytes, ZeroMemory category) {
  if (bytes == 0) return NULL;
  void *ptr;
  if (cudaMalloc(&ptr, bytes) != cudaSuccess) {
    size_t left = 0, all = 0;
    CUDA_CHECK(cudaMemGetInfo(&left, &all));
    zero_fatal(
        "no GPU memory: %zu bytes for '%s' (which holds %zu) could not be allocated, %zu of %zu are free; use a "
        "smaller "
        "batch or model, a higher ZeRO stage, or more GPUs",
        bytes, zero_ledger_name(category), zero_ledger_now(category), left, all);
  }
  CUDA_CHECK(cudaMemsetAsync(ptr, 0, bytes, stream_of(device)));
  remember(device, ptr, bytes, category, 1);
  return ptr;
}

static void cuda_free(ZeroDevice *device, void *ptr) {
  if (ptr == NULL) return;
  forget(device, ptr);
  device->synchronize(device); // queued work may still use it
  CUDA_CHECK(cudaFree(ptr));
}

// Page-locked: copies run at the bus's speed.
static void *cuda_alloc_host(ZeroDevice *device, size_t bytes, ZeroMemory category) {
  if (bytes == 0) return NULL;
  void *ptr;
  if (cudaMallocHost(&ptr, bytes) != cudaSuccess) {
    zero_fatal("no page-locked memory: %zu bytes for '%s' could not be allocated; see ulimit -l, or use fewer ranks",
               bytes, zero_ledger_name(category));
  }
  memset(ptr, 0, bytes);
  remember(device, ptr, bytes, category, 0);
  return ptr;
}

static void cuda_free_host(ZeroDevice *device, void *ptr) {
  if (ptr == NULL) return;
  forget(device, ptr);
  CUDA_CHECK(cudaFreeHost(ptr));
}

static void cuda_copy(ZeroDevice *device, void *dst, const void *src, size_t bytes) {
  CUDA_CHECK(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream_of(device)));
}

// ---------------------------------------------------------------- waiting
// Asks until the answer is no longer that work is under way; the transport looks after its peers in between.
template <typename Ask>
static void wait_watching(ZeroDevice *device, Ask ask) {
  cudaError_t state;
  while ((state = ask()) == cudaErrorNotReady) {
    device->while_waiting(device->waiting_for);
    sched_yield();
  }
  CUDA_CHECK(state);
}

static void cuda_synchronize(ZeroDevice *device) {
  const cudaStream_t stream = stream_of(device);
  if (device->while_waiting == NULL) {
    CUDA_CHECK(cudaStreamSynchronize(stream));
  } else {
    wait_watching(device, [stream] { return cudaStreamQuery(stream); });
  }
}

static ZeroEvent cuda_event_create(ZeroDevice *) {
  cudaEvent_t event;
  CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return (ZeroEvent)event;
}

static void cuda_event_destroy(ZeroDevice *, ZeroEvent event) {
  CUDA_CHECK(cudaEventDestroy((cudaEvent_t)event));
}

static void cuda_event_record(ZeroDevice *device, ZeroEvent event) {
  CUDA_CHECK(cudaEventRecord((cudaEvent_t)event, stream_of(device)));
}

static void cuda_event_wait(ZeroDevice *device, ZeroEvent handle) {
  const cudaEvent_t event = (cudaEvent_t)handle;
  if (device->while_waiting == NULL) {
    CUDA_CHECK(cudaEventSynchronize(event));
  } else {
    wait_watching(device, [event] { return cudaEventQuery(event); });
  }
}

// ---------------------------------------------------------------- copies between host and device
// CUDA would copy from and to other memory too, but make the host wait for it without a word.
static void check_page_locked(const void *host, const char *call) {
  cudaPointerAttributes attributes;
  CUDA_CHECK(cudaPointerGetAttributes(&attributes, host));
  if (attributes.type != cudaMemoryTypeHost) {
    zero_fatal("%s: %p is not page-locked memory of the host: take it from alloc_host", call, host);
  }
}

static void cuda_to_host_async(ZeroDevice *device, void *host, const void *src, size_t bytes) {
  check_page_locked(host, "to_host_async");
  CUDA_CHECK(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, stream_of(device)));
}

static void cuda_from_host_async(ZeroDevice *device, void *dst, const void *host, size_t bytes) {
  check_page_locked(host, "from_host_async");
  CUDA_CHECK(cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, stream_of(device)));
}

static void cuda_to_host(ZeroDevice *device, void *host, const void *src, size_t bytes) {
  CUDA_CHECK(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, stream_of(device)));
  cuda_synchronize(device);
}

static void cuda_from_host(ZeroDevice *device, void *dst, const void *host, size_t bytes) {
  CUDA_CHECK(cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, stream_of(device)));
  cuda_synchronize(device);
}

// ---------------------------------------------------------------- adding pieces
enum { ADD_THREADS = 256, ADD_WIDTH = 8 };

template <int WIDTH>
__device__ __forceinline__ void add_packet(void *acc, ZeroType acc_type, const void *piece, ZeroType type, size_t at,
                                           int overwrite) {
  Packet<WIDTH> sum = load_packet_as<WIDTH>(type, piece, at);
  if (!overwrite) sum = add_packets(load_packet_as<WIDTH>(acc_type, acc, at), sum);
  store_packet_as(acc_type, acc, at, sum);
}

// A thread per packet; the last one takes what is left, element by element.
template <int WIDTH>
__global__ void add_kernel(void *acc, ZeroType acc_type, const void *piece, ZeroType type, size_t count,
                           int overwrite) {
  size_t at = ((size_t)blockIdx.x * ADD_THREADS + threadIdx.x) * WIDTH;
  if (at + WIDTH <= count) {
    add_packet<WIDTH>(acc, acc_type, piece, type, at, overwrite);
  } else {
    for (; at < count; at++) add_packet<1>(acc, acc_type, piece, type, at, overwrite);
  }
}

static void cuda_add(ZeroDevice *device, void *acc, ZeroType acc_type, const void *piece, ZeroType type, size_t count,
                     int overwrite) {
  if (count == 0) return;
  if (acc_type == type && overwrite) {
    cuda_copy(device, acc, piece, count * zero_type_size(type));
  } else if (address_bits(acc, piece) % PACKET_BYTES == 0) {
    LAUNCH(add_kernel<ADD_WIDTH>, grid_blocks(count, ADD_THREADS * ADD_WIDTH), ADD_THREADS, 0, device->stream, acc,
           acc_type, piece, type, count, overwrite);
  } else {
    LAUNCH(add_kernel<1>, grid_blocks(count, ADD_THREADS), ADD_THREADS, 0, device->stream, acc, acc_type, piece, type,
           count, overwrite);
  }
}

// ---------------------------------------------------------------- sums of squares
enum { SUM_THREADS = 128, SUM_WARPS = SUM_THREADS / WARP_LANES };

// A warp per piece: each lane takes every 32nd element, then the lanes' sums are folded.
__global__ void sum_squares_kernel(ZeroShards kept) {
  const size_t p = (size_t)blockIdx.x * SUM_WARPS + threadIdx.x / WARP_LANES;
  if (p >= kept.num_own) return;
  const ZeroPiece piece = kept.pieces[p];
  const void *grad = kept.shards[piece.shard].grad;
  double sum = 0.0;
#pragma unroll 8
  for (unsigned i = threadIdx.x % WARP_LANES; i < piece.count; i += WARP_LANES) {
    double x = load_packet_as<1>(kept.grad_type, grad, piece.first + i).value[0];
    sum = fma(x, x, sum);
  }
#pragma unroll
  for (int step = WARP_LANES / 2; step > 0; step /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, step);
  if (threadIdx.x % WARP_LANES == 0) kept.sums[p] = sum;
}

static void cuda_sum_squares(ZeroDevice *device, const ZeroShards *kept, double *sums) {
  if (kept->num_own == 0) return;
  LAUNCH(sum_squares_kernel, grid_blocks(kept->num_own, SUM_WARPS), SUM_THREADS, 0, device->stream, *kept);
  device->to_host(device, sums, kept->sums, kept->num_own * sizeof(double));
}

// ---------------------------------------------------------------- rounding
enum { PIECE_THREADS = 128, PIECE_WIDTH = 4 }; // of a block that works on a piece; elements of a packet

// WIDTH parameters from `at` on, whose first is number `parameter` of the model.
template <int WIDTH>
__device__ __forceinline__ void store_stochastic(ZeroType type, void *params, size_t at, const Packet<WIDTH> &w,
                                                 uint64_t parameter, const ZeroRounding &rounding) {
  uint32_t draws[ZERO_DRAWS];
  zero_rounding_draws(rounding.seed, rounding.step, parameter / ZERO_DRAWS, draws);
  uint16_t half[WIDTH];
#pragma unroll
  for (int i = 0; i < WIDTH; i++) {
    const uint32_t draw = draws[WIDTH == ZERO_DRAWS ? i : parameter % ZERO_DRAWS];
    half[i] = type == ZERO_BF16 ? zero_f32_to_bf16_stochastic(w.value[i], draw)
                                : zero_f32_to_f16_stochastic(w.value[i], draw);
  }
  typedef typename PacketWords<uint16_t, WIDTH>::type Whole; // one access
  Whole word;
  memcpy(&word, half, sizeof word);
  *reinterpret_cast<Whole *>(static_cast<uint16_t *>(params) + at) = word;
}

template <int WIDTH>
__device__ __forceinline__ void store_rounded(const ZeroShards &kept, const ZeroShard &shard, size_t at,
                                              const Packet<WIDTH> &w, const ZeroRounding &rounding) {
  static_assert(WIDTH == 1 || WIDTH == ZERO_DRAWS, "a packet is one element or one block of numbers");
  if (shard.params == NULL) return;
  if (rounding.stochastic && kept.param_type != ZERO_F32) {
    store_stochastic(kept.param_type, shard.params, at, w, shard.first_parameter + at, rounding);
  } else {
    store_packet_as(kept.param_type, shard.params, at, w);
  }
}

// Elements of the piece that may be worked on in packets: all whole ones, where every address allows it.
__device__ __forceinline__ unsigned packed_elements(const ZeroShard &shard, const ZeroPiece &piece) {
  const uintptr_t addresses = (uintptr_t)shard.master | (uintptr_t)shard.exp_avg | (uintptr_t)shard.exp_avg_sq |
                              (uintptr_t)shard.grad | (uintptr_t)shard.params;
  const int whole = addresses % PACKET_BYTES == 0 && (piece.first | shard.first_parameter) % PIECE_WIDTH == 0;
  return whole ? piece.count - piece.count % PIECE_WIDTH : 0;
}

// A block per piece.
__global__ void round_kernel(ZeroShards kept, ZeroRounding rounding) {
  const ZeroPiece piece = kept.pieces[blockIdx.x];
  const ZeroShard shard = kept.shards[piece.shard];
  const unsigned packed = packed_elements(shard, piece);
  for (unsigned i = threadIdx.x * PIECE_WIDTH; i < packed; i += PIECE_THREADS * PIECE_WIDTH) {
    const Packet<PIECE_WIDTH> w = load_packet<PIECE_WIDTH>(shard.master + piece.first + i);
    store_rounded(kept, shard, piece.first + i, w, rounding);
  }
  for (unsigned i = packed + threadIdx.x; i < piece.count; i += PIECE_THREADS) {
    store_rounded(kept, shard, piece.first + i, load_packet<1>(shard.master + piece.first + i), rounding);
  }
}

static void cuda_round(ZeroDevice *device, const ZeroRounding *rounding, const ZeroShards *kept) {
  if (kept->num_pieces == 0) return;
  LAUNCH(round_kernel, grid_blocks(kept->num_pieces, 1), PIECE_THREADS, 0, device->stream, *kept, *rounding);
}

// ---------------------------------------------------------------- AdamW
// All that a step works on; optimizer.c has the formulas.
typedef struct {
  ZeroAdamWFactors factors;
  ZeroRounding rounding;
  ZeroShards kept;
} AdamWStep;

// Fused multiply-adds are written out, so that an element's bits do not depend on the packet that it lies in.
template <int WIDTH>
__device__ __forceinline__ void adamw_packet(const AdamWStep &step, const ZeroShard &shard, size_t at, int decay) {
  const ZeroAdamWFactors &f = step.factors;
  const float keep = decay ? f.keep_decay : 1.0f, l2 = decay ? f.l2 : 0.0f;
  Packet<WIDTH> w = load_packet<WIDTH>(shard.master + at), m = load_packet<WIDTH>(shard.exp_avg + at);
  Packet<WIDTH> v = load_packet<WIDTH>(shard.exp_avg_sq + at),
                g = load_packet_as<WIDTH>(step.kept.grad_type, shard.grad, at);
#pragma unroll
  for (int i = 0; i < WIDTH; i++) {
    float gradient = fmaf(g.value[i], f.grad_scale, l2 * w.value[i]);
    m.value[i] = fmaf(f.one_minus_beta1, gradient - m.value[i], m.value[i]);
    v.value[i] = fmaf(f.beta2, v.value[i], f.one_minus_beta2 * (gradient * gradient));
    float change = f.rate * m.value[i] / fmaf(sqrtf(v.value[i]), f.root, f.eps);
    w.value[i] = fmaf(keep, w.value[i], -change);
  }
  store_packet(shard.exp_avg + at, m);
  store_packet(shard.exp_avg_sq + at, v);
  store_packet(shard.master + at, w);
  store_rounded(step.kept, shard, at, w, step.rounding);
}

// A block per piece, of whatever shard.
__global__ void adamw_kernel(AdamWStep step) {
  const ZeroPiece piece = step.kept.pieces[blockIdx.x];
  const ZeroShard shard = step.kept.shards[piece.shard];
  const unsigned packed = packed_elements(shard, piece);
  for (unsigned i = threadIdx.x * PIECE_WIDTH; i < packed; i += PIECE_THREADS * PIECE_WIDTH) {
    adamw_packet<PIECE_WIDTH>(step, shard, piece.first + i, piece.decay);
  }
  for (unsigned i = packed + threadIdx.x; i < piece.count; i += PIECE_THREADS) {
    adamw_packet<1>(step, shard, piece.first + i, piece.decay);
  }
}

static void cuda_adamw(ZeroDevice *device, const ZeroAdamW *adamw, const ZeroRounding *rounding,
                       const ZeroShards *kept) {
  if (kept->num_pieces == 0) return;
  const AdamWStep step = {zero_adamw_factors(adamw), *rounding, *kept};
  LAUNCH(adamw_kernel, grid_blocks(kept->num_pieces, 1), PIECE_THREADS, 0, device->stream, step);
}

// ---------------------------------------------------------------- the device's life
static void cuda_destroy(ZeroDevice *device) {
  CudaDevice *cuda = cuda_device(device);
  if (cuda->allocations != NULL) {
    zero_fatal("the device is destroyed while '%s' still holds %zu bytes of it: free them first",
               zero_ledger_name(cuda->allocations->category), cuda->allocations->bytes);
  }
  CUDA_CHECK(cudaStreamDestroy(stream_of(device)));
  zero_free(cuda);
}

ZeroDevice *zero_device_cuda(ZeroComm *comm) {
  int gpus = 0;
  const cudaError_t found = cudaGetDeviceCount(&gpus);
  ZeroErrors errors = {};
  if (found != cudaSuccess || gpus == 0) {
    zero_errors_add(&errors,
                    "no GPU found: %s; run on a machine with an NVIDIA GPU and its driver (nvidia-smi lists them, "
                    "CUDA_VISIBLE_DEVICES can hide them), or use the program that is built for the CPU",
                    found != cudaSuccess ? cudaGetErrorString(found) : "the driver lists none");
  }
  zero_errors_check(&errors, comm);
  CUDA_CHECK(cudaSetDevice(comm != NULL ? comm->node_rank % gpus : 0));

  CudaDevice *cuda = (CudaDevice *)zero_malloc(sizeof *cuda, ZERO_MEM_OTHER);
  cudaStream_t stream;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  ZeroDevice *device = &cuda->device;
  device->name = "cuda";
  device->stream = (ZeroStream)stream;
  device->alloc = cuda_alloc;
  device->free = cuda_free;
  device->alloc_host = cuda_alloc_host;
  device->free_host = cuda_free_host;
  device->copy = cuda_copy;
  device->to_host = cuda_to_host;
  device->from_host = cuda_from_host;
  device->to_host_async = cuda_to_host_async;
  device->from_host_async = cuda_from_host_async;
  device->event_create = cuda_event_create;
  device->event_destroy = cuda_event_destroy;
  device->event_record = cuda_event_record;
  device->event_wait = cuda_event_wait;
  device->synchronize = cuda_synchronize;
  device->in_use_peak = cuda_in_use_peak;
  device->add = cuda_add;
  device->sum_squares = cuda_sum_squares;
  device->adamw = cuda_adamw;
  device->round = cuda_round;
  device->destroy = cuda_destroy;
  return device;
}
