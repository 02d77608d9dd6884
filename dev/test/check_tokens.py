#!/usr/bin/env python3
"""Are these shards the GPT-2 tokens of these texts, each with the end-of-text token before it?

    TIKTOKEN_CACHE_DIR=FOLDER data/.venv/bin/python3 dev/test/check_tokens.py VOCABULARY TEXTS.json SHARD...

Two independent answers are compared with the shards: tiktoken.get_encoding("gpt2") as it is published, and byte-pair
encoding written plainly here. tiktoken wants OpenAI's vocab.bpe and encoder.json; they are made anew from the ranks of
VOCABULARY, and tiktoken itself checks that their SHA-256 are those of the originals.
"""

import base64
import hashlib
import json
import os
import sys

import numpy as np
import regex
import tiktoken

ADDRESS = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"  # tiktoken's key for its cache
END_OF_TEXT = 50256
HEADER_BYTES = 1024
# As OpenAI's encoder.py of GPT-2 has it; tiktoken's is written in another way.
PATTERN = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")


def read_ranks(path):
    with open(path, "rb") as file:
        return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, file)}


def merge(parts, ranks, below=END_OF_TEXT):
    """Joins the pair of lowest rank, again and again, as long as that is below `below`."""
    while len(parts) > 1:
        rank, i = min((ranks.get(parts[i] + parts[i + 1], below), i) for i in range(len(parts) - 1))
        if rank >= below:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def encode_plainly(text, ranks):
    pieces = [piece.encode() for piece in PATTERN.findall(text)]
    return [ranks[part] for piece in pieces for part in merge([bytes([byte]) for byte in piece], ranks)]


def cached(name):
    """Where tiktoken keeps a file that it downloaded."""
    return os.path.join(os.environ["TIKTOKEN_CACHE_DIR"], hashlib.sha1((ADDRESS + name).encode()).hexdigest())


def make_files(ranks):
    """OpenAI's two files of GPT-2's vocabulary, put where tiktoken keeps downloads."""
    os.makedirs(os.environ["TIKTOKEN_CACHE_DIR"])
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    character = {byte: chr(byte) for byte in visible}
    for byte in range(256):
        character.setdefault(byte, chr(256 + len(character) - len(visible)))
    words = {token: "".join(map(character.get, token)) for token in sorted(ranks, key=ranks.get)}
    merges = ["#version: 0.2"]
    for token, rank in ranks.items():
        if rank >= 256:
            left, right = merge([bytes([byte]) for byte in token], ranks, below=rank)
            merges.append(f"{words[left]} {words[right]}")
    files = {
        "vocab.bpe": "\n".join(merges) + "\n",
        "encoder.json": json.dumps(
            {**{word: ranks[token] for token, word in words.items()}, "<|endoftext|>": END_OF_TEXT}
        ),
    }
    for name, content in files.items():
        with open(cached(name), "w", encoding="utf-8") as file:
            file.write(content)


def main():
    vocabulary, texts, *shards = sys.argv[1:]
    ranks = read_ranks(vocabulary)
    with open(texts, encoding="utf-8") as file:
        texts = json.load(file)
    found = np.concatenate([np.fromfile(shard, dtype=np.uint16, offset=HEADER_BYTES) for shard in shards])
    if not os.path.exists(cached("vocab.bpe")):
        make_files(ranks)
    encoding = tiktoken.get_encoding("gpt2")
    for name, encode in [
        ("tiktoken", encoding.encode_ordinary),
        ("plain BPE", lambda text: encode_plainly(text, ranks)),
    ]:
        expected = np.array([token for text in texts for token in [END_OF_TEXT, *encode(text)]], dtype=np.uint16)
        if len(found) != len(expected) or (found != expected).any():
            at = int(np.argmin(found[: len(expected)] == expected[: len(found)]))
            sys.exit(f"{name}: {len(expected)} tokens expected, {len(found)} found; the first that differs is {at}")
        print(f"{name}: {len(texts)} texts, {len(expected)} tokens are equal")


if __name__ == "__main__":
    main()
