#!/usr/bin/env python3
"""Tiny Shakespeare: 1 MB of plays, GPT-2's tokens, in llm.c's files. A few seconds.

    python3 data/tiny_shakespeare.py                        # download it
    python3 data/tiny_shakespeare.py --input input.txt      # take a copy of it, or any text

Writes tiny_shakespeare_val.bin (the first 32,768 tokens) and tiny_shakespeare_train.bin (305,260), each with a checksum
beside it, and gpt2_tokenizer.bin. A paragraph with the blank line after it is a document, as in llm.c.
"""

import os
import sys

import environment
from common import UserError, data_set_parser, parse_data_set, run

URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
NAME = "tiny_shakespeare"
VAL_TOKENS = 32768


def count(path):
    return 1


def read(path, batch, file):
    """Sections of the text, each with the blank line after it, but the last."""
    try:
        with open(path, encoding="utf-8-sig") as text:  # some editors begin a text with a mark
            sections = text.read().split("\n\n")
    except OSError as problem:
        raise UserError(f"--input: {path}: {problem.strerror}; give a readable text file") from None
    except UnicodeDecodeError as problem:
        raise UserError(f"--input: {path}: not UTF-8 at byte {problem.start:,}; convert it to UTF-8") from None
    return [section + "\n\n" for section in sections[:-1]] + sections[-1:]


def shard(number):
    return (f"{NAME}_val.bin", VAL_TOKENS) if number == 0 else (f"{NAME}_train.bin", None)


def main():
    parser = data_set_parser(__file__, __doc__, "the text, instead of downloading it", "tinyshakespeare")
    parser.add_argument("--url", default=URL, help="where the text is downloaded from")
    parser.add_argument("--sha256", default=SHA256, metavar="HEX", help="its checksum (the original's)")
    arguments = parse_data_set(parser, sys.argv[1:])
    if arguments.input and len(arguments.input) > 1:
        parser.error(f"argument --input: {len(arguments.input)} files found; give one")
    environment.enter()
    from download import RemoteFile, fetch, sha256_of
    from manifest import Manifest
    from preparation import Split, prepare, report

    manifest = Manifest(arguments.output, {"data set": NAME})
    if arguments.input:
        path = arguments.input[0]
    else:
        remote = RemoteFile(f"{NAME}.txt", arguments.url, sha256=arguments.sha256)
        path = fetch(remote, arguments.output, arguments.attempts)
    if not os.path.isfile(path):
        raise UserError(f"--input: {path}: no such file; give a text file")
    try:
        source = {"name": os.path.basename(path), "size": os.path.getsize(path), "sha256": sha256_of(path)}
    except OSError as problem:
        raise UserError(f"--input: {path}: {problem.strerror}; give a readable text file") from None
    manifest.set_sources([source])
    paths = prepare([Split(NAME, [path], shard, count, read)], manifest, arguments)
    if len(paths) < 2:
        raise UserError(f"--input: {path}: the text has {VAL_TOKENS:,} tokens or fewer, all for validation; give more")
    report(paths, f"{NAME}_train.bin", f"{NAME}_val.bin", "d12")


if __name__ == "__main__":
    sys.exit(run(main))
