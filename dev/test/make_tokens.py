#!/usr/bin/env python3
"""Token shards of any size, with checksums, quickly: for tests of large data sets.

    data/.venv/bin/python3 dev/test/make_tokens.py VOCABULARY PATH TOKENS [PATH TOKENS]...

A token follows from the one before it and a little noise, so that there is something to learn; the noise goes on from
shard to shard.
"""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../data"))
from shards import ShardWriter

PIECE = 1 << 24  # tokens


def main():
    vocabulary, files = int(sys.argv[1]), sys.argv[2:]
    rng = np.random.default_rng(20240520)
    last = 0
    for path, tokens in zip(files[::2], files[1::2]):
        shard = ShardWriter(path)
        while shard.tokens < int(tokens):
            count = min(PIECE, int(tokens) - shard.tokens)
            steps = rng.integers(1, 4, count, dtype=np.uint8)
            piece = (last + np.cumsum(steps, dtype=np.uint32)) % vocabulary
            last = int(piece[-1])
            shard.append(piece.astype(np.uint16))
        shard.finish()


if __name__ == "__main__":
    main()
