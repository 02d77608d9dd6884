#!/usr/bin/env python3
"""FineWeb and FineWeb-Edu: text of the web, GPT-2's tokens, in llm.c's files of 100 million tokens each.

    python3 data/fineweb.py                         # FineWeb's sample of 10 billion tokens -> data/fineweb10B
    python3 data/fineweb.py --edu --version 100B    # 100 billion of FineWeb-Edu            -> data/edu_fineweb100B
    python3 data/fineweb.py --input FOLDER          # take parquet files that are there already

Writes fineweb_val_000000.bin, fineweb_train_000001.bin, ... (with --edu: edu_fineweb_...), each with a checksum beside
it, and gpt2_tokenizer.bin. The next parquet file is downloaded while one is tokenised. A run that was stopped goes on
where it was when the same command is given again.
"""

import functools
import glob
import os
import sys

import environment
from common import UserError, data_set_parser, parse_data_set, run

FOLDERS = {"10B": "sample/10BT", "100B": "sample/100BT"}
SHARD_TOKENS = 10**8
LARGEST_SHARD = 2**31 - 1
COLUMN = "text"


@functools.lru_cache(maxsize=2)
def open_parquet(path):
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except OSError as problem:
        raise UserError(f"--input: {path}: {problem.strerror or problem}; give readable parquet files") from None
    except pyarrow.ArrowException as problem:
        raise UserError(
            f"--input: {path}: not a parquet file, or damaged ({problem}); delete it and get it anew"
        ) from None
    names = file.schema_arrow.names
    if COLUMN not in names:
        raise UserError(
            f"--input: {path}: no column '{COLUMN}', it has {', '.join(names)}; give files of FineWeb's form"
        )
    return file


def count(path):
    return open_parquet(path).num_row_groups


def read(path, batch, file):
    """The texts of a row group."""
    import pyarrow

    try:
        column = open_parquet(path).read_row_group(batch, columns=[COLUMN], use_threads=False)[COLUMN]
    except (OSError, pyarrow.ArrowException) as problem:
        raise UserError(
            f"--input: {path}: row group {batch} is damaged ({problem}); delete it and get it anew"
        ) from None
    return [text for text in column.to_pylist() if text is not None]


def shard(name, tokens, number):
    return f"{name}_{'train' if number else 'val'}_{number:06}.bin", tokens


def local_files(inputs):
    paths = []
    for path in inputs:
        found = sorted(glob.glob(os.path.join(glob.escape(path), "*.parquet"))) if os.path.isdir(path) else [path]
        if not found or not os.path.exists(found[0]):
            raise UserError(f"--input: {path}: no parquet file there; give parquet files or a folder with some")
        paths += found
    return paths


def main():
    parser = data_set_parser(__file__, __doc__, "parquet files or a folder of them", "[edu_]fineweb10B")
    parser.add_argument("--edu", action="store_true", help="FineWeb-Edu instead of FineWeb")
    parser.add_argument("-v", "--version", choices=FOLDERS, default="10B", help="the sample's size in tokens (10B)")
    parser.add_argument(
        "-s",
        "--shard-tokens",
        type=int,
        default=SHARD_TOKENS,
        metavar="N",
        help=f"tokens of a shard ({SHARD_TOKENS:,})",
    )
    parser.add_argument(
        "--discard", action="store_true", help="delete each downloaded file once its tokens are written"
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="the Hugging Face Hub (HF_ENDPOINT or https://huggingface.co)"
    )
    arguments = parse_data_set(parser, sys.argv[1:])
    if not 2 <= arguments.shard_tokens <= LARGEST_SHARD:
        parser.error(f"argument --shard-tokens: {arguments.shard_tokens} found; give 2 to {LARGEST_SHARD:,}")
    if arguments.input and arguments.discard:
        parser.error("argument --discard: found with --input; copies of yours are never deleted, leave --discard out")
    name = "edu_fineweb" if arguments.edu else "fineweb"
    if arguments.output == parser.get_default("output"):
        arguments.output = os.path.join(os.path.dirname(arguments.output), f"{name}{arguments.version}")
    environment.enter()
    from download import RemoteFile
    from hub import list_files
    from manifest import Manifest
    from preparation import Downloads, Split, prepare, report

    folder = FOLDERS[arguments.version]
    settings = {"data set": f"{name} {folder}", "shard tokens": arguments.shard_tokens}
    manifest = Manifest(arguments.output, settings)
    if arguments.input:
        files = local_files(arguments.input)
        manifest.set_sources([{"name": os.path.basename(path), "size": os.path.getsize(path)} for path in files])
    else:
        if manifest.sources is None or "url" not in manifest.sources[0]:
            repository = "HuggingFaceFW/fineweb-edu" if arguments.edu else "HuggingFaceFW/fineweb"
            remote = list_files(arguments.endpoint, repository, folder, ".parquet", arguments.attempts)
            manifest.set_sources([vars(file) for file in remote])
        files = [RemoteFile(**source) for source in manifest.sources]
    split = Split(name, files, functools.partial(shard, name, arguments.shard_tokens), count, read)
    downloads = os.path.join(arguments.output, "parquet")
    paths = prepare([split], manifest, arguments, Downloads(downloads, arguments.attempts, arguments.discard))
    if len(paths) < 2:
        raise UserError(
            f"--shard-tokens: all tokens went into the shard for validation; give fewer than {arguments.shard_tokens:,}"
        )
    report(paths, f"{name}_train_*.bin", f"{name}_val_*.bin", "d12")


if __name__ == "__main__":
    sys.exit(run(main))
