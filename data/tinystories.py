#!/usr/bin/env python3
"""TinyStories: short stories for small models, GPT-2's tokens, in llm.c's files. 0.9 billion tokens.

    python3 data/tinystories.py                                            # download it: 1.6 GB
    python3 data/tinystories.py --input TinyStories_all_data.tar.gz        # take a copy of it
    python3 data/tinystories.py --input FOLDER                             # or of its data00.json, data01.json, ...

Writes TinyStories_val.bin (the stories of the first file) and TinyStories_train.bin (of the others), each with a
checksum beside it, and gpt2_tokenizer.bin. As in llm.c the stories of a file are shuffled; the files keep their order.
A run that was stopped goes on where it was when the same command is given again.
"""

import functools
import glob
import json
import os
import random
import shutil
import sys
import tarfile
import zlib

import environment
from common import UserError, data_set_parser, parse_data_set, run

REPOSITORY, ARCHIVE = "roneneldan/TinyStories", "TinyStories_all_data.tar.gz"
UNPACKED = "TinyStories_all_data"
ORIGIN = "archive.txt"  # in that folder: which archive its files are of
COPY_BYTES = 1 << 20
SHUFFLE_SEED = 1337  # + the file's number, as in llm.c
NAME = "TinyStories"


def count(path):
    return 1


def read(path, batch, file):
    """The stories of a JSON file, in a random order that depends on the file's number in its split."""
    try:
        with open(path, encoding="utf-8-sig") as text:  # some editors begin a text with a mark
            stories = [entry["story"].strip() for entry in json.load(text)]
    except OSError as problem:
        raise UserError(f"--input: {path}: {problem.strerror}; give readable files") from None
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise UserError(
            f"--input: {path}: not a list of stories in JSON ({type(problem).__name__}: {problem}); "
            "delete it and get it anew"
        ) from None
    random.Random(SHUFFLE_SEED + file).shuffle(stories)
    return stories


def shard(split, number):
    return f"{NAME}_{split}.bin", None


def describe(archive):
    return f"{os.path.basename(archive)}, {os.path.getsize(archive):,} bytes"


def check_origin(archive, folder, given):
    """Ends with a message if the folder was unpacked from another archive. given: by --input."""
    try:
        with open(os.path.join(folder, ORIGIN), encoding="utf-8") as file:
            found = file.read().strip()
    except FileNotFoundError:
        if not given:
            return  # it was put there by hand
        found = "an archive that is not known"
    # An archive that was deleted since is known by its name.
    expected = describe(archive) if os.path.exists(archive) else f"{os.path.basename(archive)}, "
    if not found.startswith(expected):
        raise UserError(
            f"--output: {folder}: was unpacked from {found}, not from {expected.rstrip(', ')}; give another --output, "
            "or delete that folder, or give it itself by --input"
        )


def unpack(archive, folder):
    """The JSON files of the archive, in a folder that has its name only when all are there."""
    unfinished = f"{folder}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    print(f"unpack {archive}", flush=True)
    try:
        os.makedirs(unfinished)
        with tarfile.open(archive) as tar:
            for member in tar:
                name = os.path.basename(member.name)  # whatever path the archive says
                if member.isfile() and name.endswith(".json") and not name.startswith("."):
                    with tar.extractfile(member) as source, open(os.path.join(unfinished, name), "wb") as target:
                        shutil.copyfileobj(source, target)
            # tarfile takes a damaged header for the end; the checksum is compared at the end of all bytes.
            while tar.fileobj.read(COPY_BYTES):
                pass
        with open(os.path.join(unfinished, ORIGIN), "w", encoding="utf-8") as file:
            file.write(f"{describe(archive)}\n")
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno is not None:
            raise UserError(f"--output: {unfinished}: {problem.strerror}; the disk must have room for 8 GB") from None
        raise UserError(f"--input: {archive}: damaged ({problem}); delete it and get it anew") from None
    os.rename(unfinished, folder)


def find_json(arguments, fetch, list_files):
    """The paths of the JSON files, downloaded and unpacked if they are not there."""
    folder = os.path.join(arguments.output, UNPACKED)
    archive = arguments.input[0] if arguments.input else os.path.join(arguments.output, ARCHIVE)
    if arguments.input and os.path.isdir(archive):
        folder = archive
    elif os.path.isdir(folder):
        check_origin(archive, folder, bool(arguments.input))
    else:
        if not os.path.exists(archive):
            if arguments.input:
                raise UserError(f"--input: {archive}: no such file; give {ARCHIVE}, or a folder with its JSON files")
            remote = list_files(arguments.endpoint, REPOSITORY, "", ARCHIVE, arguments.attempts)[0]
            fetch(remote, arguments.output, arguments.attempts)
        unpack(archive, folder)
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*.json")))
    if len(paths) < 2:
        raise UserError(
            f"--input: {folder}: {len(paths)} JSON files found; one for validation and one or more to train on"
        )
    return paths


def main():
    parser = data_set_parser(__file__, __doc__, f"{ARCHIVE}, or the folder of its JSON files", "tinystories")
    parser.add_argument(
        "--endpoint", metavar="URL", help="the Hugging Face Hub (HF_ENDPOINT or https://huggingface.co)"
    )
    arguments = parse_data_set(parser, sys.argv[1:])
    if arguments.input and len(arguments.input) > 1:
        parser.error(f"argument --input: {len(arguments.input)} paths found; give one")
    environment.enter()
    from download import fetch
    from hub import list_files
    from manifest import Manifest
    from preparation import Split, prepare, report

    manifest = Manifest(arguments.output, {"data set": NAME})
    paths = find_json(arguments, fetch, list_files)
    manifest.set_sources([{"name": os.path.basename(path), "size": os.path.getsize(path)} for path in paths])
    splits = [
        Split("val", paths[:1], functools.partial(shard, "val"), count, read),
        Split("train", paths[1:], functools.partial(shard, "train"), count, read),
    ]
    report(prepare(splits, manifest, arguments), f"{NAME}_train.bin", f"{NAME}_val.bin", "d12")


if __name__ == "__main__":
    sys.exit(run(main))
