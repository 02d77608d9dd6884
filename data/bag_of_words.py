#!/usr/bin/env python3
"""What a classifier that knows no word order reaches: logistic regression over the counts of words.

    python3 data/bag_of_words.py data/verse_order                  # PREFIX_train.bin and PREFIX_val.bin
    python3 data/bag_of_words.py data/verse_order --ngrams 2       # pairs of neighbouring words, too

Reads the files of samples that train_bert reads, so both have the same split and the same text; word pieces are put
together to words again. The words of a second text count apart from those of the first. The strength of the penalty is
chosen on a tenth of the training samples. Prints the accuracy on the validation split as its last line.
"""

import argparse
import os
import sys

import environment
from common import Parser, UserError, run
from formats import HEADER_BYTES, HEADER_INTS, SAMPLES_MAGIC, SAMPLES_VERSION

PENALTIES = (0.01, 0.1, 1.0, 10.0)  # scikit-learn's C: the larger, the freer
HELD_OUT = 10  # every so many'th two samples choose the penalty
ITERATIONS = 2000
CONTINUES = "##"


def parse_arguments(argv):
    parser = Parser(
        prog=os.path.basename(__file__), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prefix", metavar="PREFIX", help="of PREFIX_train.bin, PREFIX_val.bin and PREFIX.vocab.txt")
    parser.add_argument("--ngrams", type=int, default=1, metavar="N", help="count sequences of up to N words (1)")
    arguments = parser.parse_args(argv)
    if arguments.ngrams < 1:
        parser.error(f"argument --ngrams: {arguments.ngrams} found; give 1 or more")
    return arguments


def read_words(path):
    try:
        with open(path, encoding="utf-8") as file:
            return [line.rstrip("\n") for line in file]
    except OSError as problem:
        raise UserError(f"{path}: {problem.strerror}; prepare the data first") from None
    except UnicodeDecodeError as problem:
        raise UserError(f"{path}: not UTF-8 at byte {problem.start:,}; prepare the data anew") from None


def read_samples(path, words):
    """(texts, labels): each text is the sample's words, from the second text with the mark `2:` before each."""
    import numpy as np

    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as problem:
        raise UserError(f"{path}: {problem.strerror}; prepare the data first") from None
    if len(content) < HEADER_BYTES:
        raise UserError(f"{path}: not a file of samples; give the prefix of one")
    header = np.frombuffer(content, np.int32, HEADER_INTS)
    if tuple(header[:2]) != (SAMPLES_MAGIC, SAMPLES_VERSION):
        raise UserError(f"{path}: not a file of samples; give the prefix of one")
    if header[3] < 2:
        raise UserError(f"{path}: has no classes; give samples for classification")
    if header[4] != len(words):
        raise UserError(
            f"{path}: made with a vocabulary of {header[4]:,} words, PREFIX.vocab.txt has {len(words):,}; prepare the "
            "data anew"
        )
    count, num_tokens = int(header[2]), int(header[10:12].view(np.uint64)[0])
    sizes = ((np.uint64, count + 1), (np.uint16, count), (np.float32, count), (np.uint16, num_tokens))
    expected = HEADER_BYTES + sum(np.dtype(kind).itemsize * number for kind, number in sizes)
    if count < 1 or len(content) != expected:
        raise UserError(
            f"{path}: damaged: {len(content):,} bytes found, {expected:,} expected for {count:,} samples; prepare the "
            "data anew"
        )
    parts, at = [], HEADER_BYTES
    for kind, number in sizes:
        parts.append(np.frombuffer(content, kind, number, at))
        at += parts[-1].nbytes
    offsets, seconds, labels, tokens = parts
    whole = offsets[0] == 0 and offsets[-1] == num_tokens and (offsets[:-1] < offsets[1:]).all()
    if not (whole and tokens.max() < len(words) and labels.min() >= 0 and labels.max() < header[3]):
        raise UserError(f"{path}: damaged: an offset, a token or a label is out of range; prepare the data anew")
    special = set(header[6:9].tolist())
    texts = []
    for begin, end, second in zip(offsets[:-1].tolist(), offsets[1:].tolist(), seconds.tolist()):
        text = []
        for position, token in enumerate(tokens[begin:end].tolist()):
            piece = words[token]
            if token in special:
                continue
            if piece.startswith(CONTINUES) and text:
                text[-1] += piece.removeprefix(CONTINUES)
            else:
                text.append(("2:" if position >= second else "") + piece)
        texts.append(text)
    return texts, labels.astype(int)


def read_prefix(prefix):
    """(texts, labels) of the training split, and of the validation split; with enough to choose a penalty by."""
    import numpy as np

    words = read_words(f"{prefix}.vocab.txt")
    (train, labels), val = (read_samples(f"{prefix}_{split}.bin", words) for split in ("train", "val"))
    classes = len(np.unique(labels[~held_out(labels)]))
    if classes < 2:
        raise UserError(
            f"{prefix}_train.bin: {len(labels):,} samples; without those that choose the penalty they are of {classes} "
            "classes, two or more are needed: give more samples"
        )
    return (train, labels), val


def held_out(labels):
    """Which samples of the training split choose the penalty: (samples) bool."""
    import numpy as np

    return (np.arange(len(labels)) // 2) % HELD_OUT == 0  # samples may come in twos of the same words


def best_penalty(counts, labels):
    """The penalty whose model is right most often on samples of the training split that it was not made from."""
    import numpy as np

    held = held_out(labels)
    results = [(fit(counts[~held], labels[~held], penalty).score(counts[held], labels[held])) for penalty in PENALTIES]
    return PENALTIES[int(np.argmax(results))]


def fit(counts, labels, penalty):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=penalty, max_iter=ITERATIONS).fit(counts, labels)


def main():
    arguments = parse_arguments(sys.argv[1:])
    environment.enter("requirements_baseline.txt")
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    (train, train_labels), (val, val_labels) = read_prefix(arguments.prefix)
    vectorizer = CountVectorizer(analyzer=lambda text: ngrams(text, arguments.ngrams))
    counts = vectorizer.fit_transform(train)
    penalty = best_penalty(counts, train_labels)
    model = fit(counts, train_labels, penalty)
    common = np.bincount(val_labels).max() / len(val_labels)
    print(f"bag of words: {counts.shape[1]:,} features of {len(train):,} samples, C {penalty:g}")
    print(f"train accuracy {model.score(counts, train_labels):.4f} | most frequent label {common:.4f}")
    print(f"val accuracy {model.score(vectorizer.transform(val), val_labels):.4f} | {len(val):,} samples")


def ngrams(text, longest):
    return [" ".join(text[i : i + n]) for n in range(1, longest + 1) for i in range(len(text) - n + 1)]


if __name__ == "__main__":
    sys.exit(run(main))
