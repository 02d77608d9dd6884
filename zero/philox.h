// Philox4x32-10: random numbers that depend on a counter and a key alone (Salmon, Moraes, Dror, Shaw, "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011), so that any rank, thread or kernel can draw any of them by itself.
#ifndef ZERO_PHILOX_H
#define ZERO_PHILOX_H

#include <stdint.h>

#include "host_device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ZERO_PHILOX_ROUNDS 10
#define ZERO_PHILOX_M0 0xD2511F53u // multipliers
#define ZERO_PHILOX_M1 0xCD9E8D57u
#define ZERO_PHILOX_W0 0x9E3779B9u // increments of the key
#define ZERO_PHILOX_W1 0xBB67AE85u

// Four 32-bit numbers for this counter and key.
ZERO_HOST_DEVICE static inline void zero_philox4x32(const uint32_t counter[4], const uint32_t key[2],
                                                    uint32_t out[4]) {
  uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < ZERO_PHILOX_ROUNDS; round++) {
    const uint64_t product0 = (uint64_t)ZERO_PHILOX_M0 * x0;
    const uint64_t product1 = (uint64_t)ZERO_PHILOX_M1 * x2;
    x0 = (uint32_t)(product1 >> 32) ^ x1 ^ k0;
    x1 = (uint32_t)product1;
    x2 = (uint32_t)(product0 >> 32) ^ x3 ^ k1;
    x3 = (uint32_t)product0;
    k0 += ZERO_PHILOX_W0;
    k1 += ZERO_PHILOX_W1;
  }
  out[0] = x0;
  out[1] = x1;
  out[2] = x2;
  out[3] = x3;
}

#ifdef __cplusplus
}
#endif
#endif
