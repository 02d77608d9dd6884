// dim3, uint3 and the short vectors, with CUDA's alignments: a vector at an address that is not a multiple of its
// size faults on a GPU, and here is found by -fsanitize=alignment and by the functions of memory_access.h.
#ifndef CUDAEMU_VECTOR_TYPES_H
#define CUDAEMU_VECTOR_TYPES_H

#define CUDAEMU_VECTOR2(name, type, bytes)         \
  struct alignas(bytes) name {                     \
    type x, y;                                     \
  };                                               \
  static inline name make_##name(type x, type y) { \
    return {x, y};                                 \
  }
#define CUDAEMU_VECTOR3(name, type)                        \
  struct name {                                            \
    type x, y, z;                                          \
  };                                                       \
  static inline name make_##name(type x, type y, type z) { \
    return {x, y, z};                                      \
  }
#define CUDAEMU_VECTOR4(name, type, bytes)                         \
  struct alignas(bytes) name {                                     \
    type x, y, z, w;                                               \
  };                                                               \
  static inline name make_##name(type x, type y, type z, type w) { \
    return {x, y, z, w};                                           \
  }

CUDAEMU_VECTOR2(char2, signed char, 2)
CUDAEMU_VECTOR2(uchar2, unsigned char, 2)
CUDAEMU_VECTOR2(short2, short, 4)
CUDAEMU_VECTOR2(ushort2, unsigned short, 4)
CUDAEMU_VECTOR2(int2, int, 8)
CUDAEMU_VECTOR2(uint2, unsigned, 8)
CUDAEMU_VECTOR2(float2, float, 8)
CUDAEMU_VECTOR2(longlong2, long long, 16)
CUDAEMU_VECTOR2(ulonglong2, unsigned long long, 16)
CUDAEMU_VECTOR2(double2, double, 16)
CUDAEMU_VECTOR3(int3, int)
CUDAEMU_VECTOR3(uint3, unsigned)
CUDAEMU_VECTOR3(float3, float)
CUDAEMU_VECTOR4(char4, signed char, 4)
CUDAEMU_VECTOR4(uchar4, unsigned char, 4)
CUDAEMU_VECTOR4(short4, short, 8)
CUDAEMU_VECTOR4(ushort4, unsigned short, 8)
CUDAEMU_VECTOR4(int4, int, 16)
CUDAEMU_VECTOR4(uint4, unsigned, 16)
CUDAEMU_VECTOR4(float4, float, 16)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

#endif
