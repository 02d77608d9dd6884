// Typed memory on the GPU: the element types behind templates, packets of up to 128 bits a load, and the choice of
// the type at run time. Kernels compute in fp32: they see elements as packets of floats, whatever the memory holds.
//
// A row of C elements is read in packets of full_packet<T>() elements where C is a multiple of that and the addresses
// allow it, else element by element: kernels take the width as a template argument, DISPATCH_ROWS chooses it.
#ifndef ZERO_CUDA_ELEMENT_CUH
#define ZERO_CUDA_ELEMENT_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "device.h"
#include "error.h"

enum { WARP_LANES = 32 };
#define FULL_WARP 0xffffffffu

template <typename Size>
__host__ __device__ constexpr Size ceil_div(Size a, Size b) {
  return (a + b - 1) / b;
}

// ---------------------------------------------------------------- one element
__device__ __forceinline__ float to_float(float x) {
  return x;
}
__device__ __forceinline__ float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ __forceinline__ float to_float(__half x) {
  return __half2float(x);
}

// To nearest, ties to even; too large becomes infinite, NaN stays NaN.
template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

// ---------------------------------------------------------------- packets
// WIDTH elements of any type, as fp32 in registers. Aligned in memory to their own size, at most 16 bytes.
template <int WIDTH>
struct Packet {
  float value[WIDTH];
};

// Elements of a 128-bit access.
enum { PACKET_BYTES = 16 };
template <typename T>
__host__ __device__ constexpr int full_packet() {
  return PACKET_BYTES / (int)sizeof(T);
}

// What one access moves.
template <int BYTES>
struct Word;
template <>
struct Word<2> {
  typedef unsigned short type;
};
template <>
struct Word<4> {
  typedef unsigned int type;
};
template <>
struct Word<8> {
  typedef uint2 type;
};
template <>
struct Word<16> {
  typedef uint4 type;
};
template <typename T, int WIDTH>
struct PacketWords {
  enum { BYTES = WIDTH * (int)sizeof(T), WORD_BYTES = BYTES < PACKET_BYTES ? BYTES : PACKET_BYTES };
  typedef typename Word<WORD_BYTES>::type type;
  enum { COUNT = BYTES / WORD_BYTES };
};

// STREAM: it is read or written once, so the caches need not keep it.
enum CacheHint { CACHE_KEEP, CACHE_STREAM };

template <int WIDTH, CacheHint HINT = CACHE_KEEP, typename T>
__device__ __forceinline__ Packet<WIDTH> load_packet(const T *from) {
  typedef PacketWords<T, WIDTH> Words;
  const typename Words::type *words = reinterpret_cast<const typename Words::type *>(from);
  T elements[WIDTH];
#pragma unroll
  for (int w = 0; w < Words::COUNT; w++) {
    typename Words::type word = HINT == CACHE_STREAM ? __ldcs(words + w) : words[w];
    memcpy(reinterpret_cast<char *>(elements) + w * sizeof word, &word, sizeof word);
  }
  Packet<WIDTH> packet;
#pragma unroll
  for (int i = 0; i < WIDTH; i++) packet.value[i] = to_float(elements[i]);
  return packet;
}

template <CacheHint HINT = CACHE_KEEP, int WIDTH, typename T>
__device__ __forceinline__ void store_packet(T *to, const Packet<WIDTH> &packet) {
  typedef PacketWords<T, WIDTH> Words;
  typename Words::type *words = reinterpret_cast<typename Words::type *>(to);
  T elements[WIDTH];
#pragma unroll
  for (int i = 0; i < WIDTH; i++) elements[i] = from_float<T>(packet.value[i]);
#pragma unroll
  for (int w = 0; w < Words::COUNT; w++) {
    typename Words::type word;
    memcpy(&word, reinterpret_cast<const char *>(elements) + w * sizeof word, sizeof word);
    if (HINT == CACHE_STREAM) {
      __stcs(words + w, word);
    } else {
      words[w] = word;
    }
  }
}

template <int WIDTH>
__device__ __forceinline__ Packet<WIDTH> zero_packet() {
  Packet<WIDTH> packet;
#pragma unroll
  for (int i = 0; i < WIDTH; i++) packet.value[i] = 0.0f;
  return packet;
}

template <int WIDTH>
__device__ __forceinline__ Packet<WIDTH> add_packets(const Packet<WIDTH> &a, const Packet<WIDTH> &b) {
  Packet<WIDTH> sum;
#pragma unroll
  for (int i = 0; i < WIDTH; i++) sum.value[i] = a.value[i] + b.value[i];
  return sum;
}

// As above, for memory whose type is known at run time only: gradients, which have a type of their own. `at` is a
// multiple of WIDTH. The branch is the same for a whole grid and costs less than as many templates again.
template <int WIDTH>
__device__ __forceinline__ Packet<WIDTH> load_packet_as(ZeroType type, const void *data, size_t at) {
  switch (type) {
    case ZERO_BF16:
      return load_packet<WIDTH>(static_cast<const __nv_bfloat16 *>(data) + at);
    case ZERO_F16:
      return load_packet<WIDTH>(static_cast<const __half *>(data) + at);
    default:
      return load_packet<WIDTH>(static_cast<const float *>(data) + at);
  }
}

template <int WIDTH>
__device__ __forceinline__ void store_packet_as(ZeroType type, void *data, size_t at, const Packet<WIDTH> &packet) {
  switch (type) {
    case ZERO_BF16:
      store_packet(static_cast<__nv_bfloat16 *>(data) + at, packet);
      break;
    case ZERO_F16:
      store_packet(static_cast<__half *>(data) + at, packet);
      break;
    default:
      store_packet(static_cast<float *>(data) + at, packet);
      break;
  }
}

// ---------------------------------------------------------------- the type at run time
__attribute__((noreturn)) static inline void element_type_unknown(ZeroType type, const char *where) {
  zero_fatal("%s: expected fp32, bf16 or fp16, found type %d", where, (int)type);
}

// Runs the statements with T as the element's C++ type:  DISPATCH_TYPE(type, T, LAUNCH(copy<T>, …););
#define DISPATCH_TYPE(type, T, ...)           \
  do {                                        \
    switch (type) {                           \
      case ZERO_F32: {                        \
        typedef float T;                      \
        __VA_ARGS__                           \
        break;                                \
      }                                       \
      case ZERO_BF16: {                       \
        typedef __nv_bfloat16 T;              \
        __VA_ARGS__                           \
        break;                                \
      }                                       \
      case ZERO_F16: {                        \
        typedef __half T;                     \
        __VA_ARGS__                           \
        break;                                \
      }                                       \
      default:                                \
        element_type_unknown(type, __func__); \
    }                                         \
  } while (0)

// The same with WIDTH as the elements of a packet: a full one where rows of C elements allow it and `addresses`, the
// address_bits of everything that is read or written in packets; else 1.
//   DISPATCH_ROWS(type, C, address_bits(out, inp), T, WIDTH, LAUNCH((norm<T, WIDTH>), …););
#define DISPATCH_ROWS(type, C, addresses, T, WIDTH, ...) \
  DISPATCH_TYPE(type, T, DISPATCH_WIDTH((whole_packets<T>((C), (addresses))), T, WIDTH, __VA_ARGS__))

#define DISPATCH_WIDTH(whole, T, WIDTH, ...) \
  if (whole) {                               \
    constexpr int WIDTH = full_packet<T>();  \
    __VA_ARGS__                              \
  } else {                                   \
    constexpr int WIDTH = 1;                 \
    __VA_ARGS__                              \
  }

template <typename T>
static inline int whole_packets(size_t C, uintptr_t addresses) {
  return C % full_packet<T>() == 0 && addresses % PACKET_BYTES == 0;
}

// Addresses or-ed together: a multiple of a power of two exactly if every one is.
static inline uintptr_t address_bits(const void *p) {
  return (uintptr_t)p;
}
template <typename... More>
static inline uintptr_t address_bits(const void *p, More... more) {
  return (uintptr_t)p | address_bits(more...);
}

// Blocks for so much work, each taking `per_block` of it.
static inline unsigned grid_blocks(size_t work, size_t per_block) {
  size_t blocks = ceil_div(work, per_block), most = INT_MAX; // gridDim.x
  if (blocks > most)
    zero_fatal("expected at most %zu blocks, found %zu: too large a batch for one GPU", most, blocks);
  return (unsigned)blocks;
}

#endif
