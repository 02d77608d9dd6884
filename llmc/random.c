// Random numbers that depend on a key and a counter alone.
#include "random.h"

#include <math.h>

#include "../zero/philox.h"

// ---------------------------------------------------------------------------------------------------
// Normal numbers. Element e of a tensor is lane e % 4 of block e / 4.

enum { BLOCK = 4 };

static void normal_block(uint64_t seed, uint32_t tensor, size_t block, double normals[BLOCK]) {
  const double scale = 0x1p-32; // 32-bit integers to [0, 1)
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  const uint32_t counter[4] = {(uint32_t)block, (uint32_t)((uint64_t)block >> 32), tensor, 0};
  uint32_t bits[4];
  zero_philox4x32(counter, key, bits);
  for (int pair = 0; pair < BLOCK; pair += 2) {
    const double radius = sqrt(-2.0 * log((bits[pair] + 1.0) * scale)); // (0, 1]: the logarithm is finite
    const double angle = 2.0 * M_PI * bits[pair + 1] * scale;
    normals[pair] = radius * cos(angle);
    normals[pair + 1] = radius * sin(angle);
  }
}

void random_normal(uint64_t seed, uint32_t tensor, size_t first, size_t count, float std, float *out) {
  if (count == 0) return;
  const size_t end = first + count;
  const size_t first_block = first / BLOCK, last_block = (end - 1) / BLOCK;
#pragma omp parallel for schedule(static)
  for (size_t block = first_block; block <= last_block; block++) {
    double normals[BLOCK];
    normal_block(seed, tensor, block, normals);
    for (size_t lane = 0; lane < BLOCK; lane++) {
      const size_t element = block * BLOCK + lane;
      if (element >= first && element < end) out[element - first] = (float)(std * normals[lane]);
    }
  }
}

// ---------------------------------------------------------------------------------------------------
// xorshift64* (Vigna 2016), as llm.c's sampler uses it.

float random_uniform(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  const uint32_t bits = (uint32_t)((*state * UINT64_C(0x2545F4914F6CDD1D)) >> 32);
  return (float)(bits >> 8) * 0x1p-24f; // 24 bits: every value is a float below 1
}
