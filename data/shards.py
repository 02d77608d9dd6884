"""Token shards on their way to disk, and their sidecars.

A shard is NAME.part until it is whole, and NAME.bin afterwards. Its sidecar NAME.bin.xxh3 holds the XXH3-64 of the
whole file, as `xxhsum -H3` prints it, so `xxhsum -c *.xxh3` checks a folder; train_gpt2 checks it when it starts.
"""

import os
import re

import numpy as np
import xxhash

from common import UserError, write_files
from formats import HEADER_BYTES, HEADER_INTS, TOKENS_MAGIC, TOKENS_VERSION, tokens_header

HASH_PIECE_BYTES = 1 << 22
TOKEN_BYTES = 2


def hash_of(path):
    digest = xxhash.xxh3_64()
    with open(path, "rb") as file:
        while piece := file.read(HASH_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def sidecar_of(path):
    return f"{path}.xxh3"


def sidecar_line(path, value):
    """What the sidecar holds; value: the XXH3-64 in hexadecimal."""
    return f"XXH3_{value}  {os.path.basename(path)}\n".encode()


def write_sidecar(path, value):
    write_files({sidecar_of(path): [sidecar_line(path, value)]})


def is_valid(path):
    """Is there a shard with a sidecar that its bytes confirm?"""
    try:
        with open(sidecar_of(path), encoding="ascii", errors="replace") as file:
            match = re.match("XXH3_([0-9a-f]{16})  ", file.read())
        return match is not None and hash_of(path) == match.group(1)
    except OSError:
        return False


def count_tokens(path):
    """The number of tokens by the shard's header."""
    with open(path, "rb") as file:
        values = np.frombuffer(file.read(HEADER_BYTES), dtype=np.int32)
    if len(values) < HEADER_INTS or values[0] != TOKENS_MAGIC or values[1] != TOKENS_VERSION:
        raise UserError(f"{path}: this is not a token file; move it away and run the same command again")
    return int(values[2])


def part_tokens(path):
    """How many tokens the unfinished shard of this path holds."""
    part = f"{path}.part"
    return max(0, os.path.getsize(part) - HEADER_BYTES) // TOKEN_BYTES if os.path.exists(part) else 0


class ShardWriter:
    """Writes a shard, from the start or after so many tokens that its .part holds already."""

    def __init__(self, path, tokens=0):
        self.path, self.part, self.tokens = path, f"{path}.part", tokens
        self.file = open(self.part, "r+b" if tokens else "wb")
        self.file.truncate(HEADER_BYTES + tokens * TOKEN_BYTES)
        self.file.seek(0, os.SEEK_END)

    def append(self, tokens):
        """tokens: uint16 (n)"""
        self.file.write(tokens.tobytes())
        self.tokens += len(tokens)

    def sync(self):
        """All that was appended is on the disk when this returns."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def finish(self):
        self.file.seek(0)
        self.file.write(tokens_header(self.tokens))
        self.sync()
        self.file.close()
        # The sidecar first: a shard with its own name then always has the sidecar that belongs to it.
        write_sidecar(self.path, hash_of(self.part))
        os.replace(self.part, self.path)


class KeptShard:
    """Stands for a shard that is there, whole and checked: takes its tokens and writes nothing."""

    def __init__(self, path):
        self.path, self.tokens = path, 0

    def append(self, tokens):
        self.tokens += len(tokens)

    def sync(self):
        pass

    def finish(self):
        found = count_tokens(self.path)
        if found != self.tokens:
            raise UserError(
                f"{self.path}: has {found:,} tokens, but the data gives it {self.tokens:,}: it was made from other "
                "data; move it away and run the same command again"
            )
