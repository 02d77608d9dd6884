"""The masks of llmc/dropout.h, by its formula: which elements dropout drops, by seed, step, site, sample and place."""

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
MASK_32, MASK_64 = 2**32 - 1, 2**64 - 1
HEADS_BITS = 10  # of a site: the lowest bits are attention's head


def philox4x32(counter, key):
    """Philox4x32-10 of arrays: counter (4, …) and two numbers of key; uint32 (4, …)."""
    x = [np.asarray(word, np.uint64) for word in counter]
    key = list(key)
    for _ in range(ROUNDS):
        product = [x[0] * np.uint64(MULTIPLIERS[0]), x[2] * np.uint64(MULTIPLIERS[1])]
        high = [p >> np.uint64(32) for p in product]
        low = [p & np.uint64(MASK_32) for p in product]
        x = [high[1] ^ x[1] ^ np.uint64(key[0]), low[1], high[0] ^ x[3] ^ np.uint64(key[1]), low[0]]
        key = [(k + i) & MASK_32 for k, i in zip(key, INCREMENTS)]
    return np.stack(np.broadcast_arrays(*x)).astype(np.uint32)


def mix(x):
    """splitmix64: one step and its finalizer."""
    x = x + 0x9E3779B97F4A7C15 & MASK_64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK_64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK_64
    return x ^ x >> 31


class CounterDropout:
    """Layer 0: the embeddings; 1 to L: the blocks; L + 1: the head."""

    SITES_PER_LAYER = 4
    ATTENTION, HIDDEN_1, HIDDEN_2 = 0, 1, 2

    def __init__(self, seed, step):
        key = mix(seed) + step & MASK_64
        self.key = (key & MASK_32, key >> 32)

    def factors(self, rate, layer, which, head, samples, positions, elements):
        """0, or 1 / (1 - rate) as the kernels have it, in fp32: (samples, positions, elements) in float64."""
        site = (layer * self.SITES_PER_LAYER + which) << HEADS_BITS | head
        groups = np.arange(-(-elements // 4), dtype=np.uint64)
        samples, positions = np.asarray(samples, np.uint64), np.asarray(positions, np.uint64)
        counter = (groups[None, None, :], positions[None, :, None], samples[:, None, None], np.uint64(site))
        words = np.moveaxis(philox4x32(counter, self.key), 0, -1)
        words = words.reshape(len(samples), len(positions), -1)[:, :, :elements]
        rate = np.float64(np.float32(rate))
        threshold = np.uint32(rate * 2**32)
        scale = np.float32(1 / (1 - rate))
        return np.where(words < threshold, 0.0, np.float64(scale))
