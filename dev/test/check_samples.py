#!/usr/bin/env python3
"""Looks at files of samples for BERT without any code of data/: reads every byte, has a WordPiece of its own for ASCII.

check_samples.py show FILE                          a line a sample: label | second text's position | its words
check_samples.py pretrain PREFIX TEXT LENGTH        is it TEXT, whose documents are divided by blank lines?
check_samples.py pairs PREFIX TEXT LENGTH           the same for pairs; sentences of TEXT are lines
check_samples.py verses PREFIX TEXT VAL             the two tasks of verses; VAL: PREFIX of a pretraining
"""

import array
import collections
import functools
import itertools
import re
import struct
import sys

HEADER_BYTES = 1024
EVERY = 20  # so many'th of the training verses is looked for in what is validated on
Sample = collections.namedtuple("Sample", "words second label")


def fail(text):
    sys.exit(f"check_samples.py: {text}")


def read_words(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        return file.read().removesuffix("\n").split("\n")


def read(path, words):
    """The samples of a file; every byte of it must be what the format says."""
    with open(path, "rb") as file:
        data = file.read()
    header = struct.unpack("<256i", data[:HEADER_BYTES])
    magic, version, count, num_labels, vocab, longest, pad, cls, sep, mask, low, high, pairs = header[:13]
    if (magic, version, vocab, pairs in (0, 1)) != (20261128, 1, len(words), True) or any(header[13:]):
        fail(f"{path}: header {header[:16]}")
    if [words[i] for i in (pad, cls, sep, mask)] != ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]:
        fail(f"{path}: special tokens {header[6:10]}")
    num_tokens = (low & 0xFFFFFFFF) + (high << 32)
    labelled = bool(num_labels or pairs)
    at = [HEADER_BYTES]
    for size in (8 * (count + 1), 2 * count, 4 * count * labelled, 2 * num_tokens):
        at.append(at[-1] + size)
    if at[-1] != len(data):
        fail(f"{path}: {len(data)} bytes, by its header {at[-1]}")
    offsets, seconds, labels, tokens = (
        array.array(kind, data[begin:end]) for kind, begin, end in zip("QHfH", at, at[1:])
    )
    samples = []
    for i, second in enumerate(seconds):
        sample = tokens[offsets[i] : offsets[i + 1]]
        ends = [position for position, token in enumerate(sample) if token == sep]
        if sample[0] != cls or sample.count(cls) != 1 or pad in sample or mask in sample:
            fail(f"{path}: sample {i}: {sample}")
        if ends not in ([len(sample) - 1], [second - 1, len(sample) - 1]) or (len(ends) == 1) != (
            second == len(sample)
        ):
            fail(f"{path}: sample {i}: [SEP] at {ends}, second {second}, length {len(sample)}")
        samples.append(Sample([words[token] for token in sample], second, labels[i] if labelled else None))
    if offsets[0] != 0 or longest != max(len(sample.words) for sample in samples):
        fail(f"{path}: first offset {offsets[0]}, longest {longest}")
    return samples


@functools.cache
def pieces(word, words):
    """The longest beginnings, one after the other."""
    found, begin = [], 0
    while begin < len(word):
        for end in range(len(word), begin, -1):
            piece = ("##" if begin else "") + word[begin:end]
            if piece in words:
                break
        else:
            return ["[UNK]"]
        found.append(piece)
        begin = end
    return found


def tokenize(text, words):
    return [piece for word in re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()) for piece in pieces(word, words)]


def documents(path, words):
    """[[the pieces of each line]]"""
    with open(path, encoding="ascii") as file:
        blocks = file.read().split("\n\n")
    return [[tokenize(line, words) for line in block.splitlines() if line] for block in blocks if block.strip()]


def load(prefix):
    words = read_words(f"{prefix}.vocab.txt")
    return words, [read(f"{prefix}_{split}.bin", words) for split in ("train", "val")]


def check_pretrain(prefix, text, length):
    words, splits = load(prefix)
    expected = collections.Counter(tuple(itertools.chain(*lines)) for lines in documents(text, frozenset(words)))
    total = sum(expected.values())
    whole = []
    for samples in splits:
        if any(len(sample.words) > length or sample.label is not None for sample in samples):
            fail("a sample is too long, or has a label")
        stream, part = [], 0
        waiting = {document for document in expected if expected[document]}
        lengths = collections.Counter(map(len, waiting))
        for sample in samples:  # documents follow each other: one ends where its tokens are complete
            stream += sample.words[1:-1]
            if lengths[len(stream)] and expected[tuple(stream)]:
                expected[tuple(stream)] -= 1
                part += 1
                stream = []
        if stream:
            fail(f"{len(stream)} tokens are of no document")
        whole.append(part)
    if sum(whole) != total or total == 0:
        fail(f"{whole} documents of {total}")
    full = sum(len(sample.words) > 0.7 * length for samples in splits for sample in samples)
    print(f"{total} documents: {whole[0]} {whole[1]} | {full / sum(map(len, splits)):.2f} are nearly full")


def check_pairs(prefix, text, length):
    words, splits = load(prefix)
    texts = [" " + " ".join(itertools.chain(*lines)) + " " for lines in documents(text, frozenset(words))]
    homes = []
    for samples in splits:
        home = set()
        for i, sample in enumerate(samples):
            first = " ".join(sample.words[1 : sample.second - 1])
            second = " ".join(sample.words[sample.second : -1])
            if len(sample.words) > length or not first or not second or sample.label not in (0, 1):
                fail(f"sample {i}: {sample}")
            in_first = {n for n, document in enumerate(texts) if f" {first} " in document}
            in_second = {n for n, document in enumerate(texts) if f" {second} " in document}
            joined = {n for n in in_first if f" {first} {second} " in texts[n]}
            home |= in_first if len(in_first) == 1 else set()
            home |= in_second if len(in_second) == 1 else set()
            if (
                sample.label == 1
                and not joined
                or sample.label == 0
                and not (in_first and in_second and (in_first != in_second or len(in_first) > 1))
            ):
                fail(
                    f"sample {i}: label {sample.label}, first in {in_first}, second in {in_second}, joined in {joined}"
                )
        homes.append(home)
    if homes[0] & homes[1] or len(homes[0] | homes[1]) != len(texts):
        fail(f"documents of both splits: {homes[0] & homes[1]}; of any: {len(homes[0] | homes[1])} of {len(texts)}")
    follows = [sum(sample.label for sample in samples) / len(samples) for samples in splits]
    print(f"{sum(map(len, splits))} pairs, {follows[0]:.3f} and {follows[1]:.3f} follow")


def whole_words(sample):
    return " ".join(sample.words[1:-1]).replace(" ##", "").split()


def check_verses(prefix, text, pretrained):
    words, (train, val) = load(f"{prefix}_order")
    bags = []
    for samples in (train, val):
        for verse, shuffled in zip(samples[::2], samples[1::2]):
            if (verse.label, shuffled.label) != (1, 0) or verse.words == shuffled.words:
                fail(f"order: {verse} {shuffled}")
            if sorted(whole_words(verse)) != sorted(whole_words(shuffled)):
                fail(f"order: other words: {verse} {shuffled}")
        bags.append({tuple(sorted(whole_words(verse))) for verse in samples[::2]})
    if bags[0] & bags[1] or any(len(bag) != len(samples) // 2 for bag, samples in zip(bags, (train, val))):
        fail("order: a verse is there twice, or in both splits")
    _, (next_train, next_val) = load(f"{prefix}_next")
    firsts = []
    for samples in (next_train, next_val):
        sides = {
            side: [collections.Counter(tuple(part(s)) for s in samples if s.label == label) for label in (0, 1)]
            for side, part in (
                ("first", lambda s: s.words[1 : s.second - 1]),
                ("second", lambda s: s.words[s.second : -1]),
            )
        }
        for side, (without, with_label) in sides.items():
            if without != with_label or not without:
                fail(f"next: the {side} verses differ between the labels")
        firsts.append(set(sides["first"][0]) | set(sides["second"][0]))
    if firsts[0] & firsts[1]:
        fail("next: verses are in both splits")
    _, (_, seen) = load(pretrained)
    stream = " ".join(" ".join(sample.words[1:-1]) for sample in seen)
    known = sum(" ".join(verse) in stream for verse in firsts[1]) / len(firsts[1])
    some = sorted(firsts[0])[::EVERY]
    other = sum(" ".join(verse) in stream for verse in some) / len(some)
    verses = documents(text, frozenset(words))
    following = {(tuple(a), tuple(b)) for document in verses for a, b in zip(document, document[1:])}
    for sample in next_val:
        pair = (tuple(sample.words[1 : sample.second - 1]), tuple(sample.words[sample.second : -1]))
        if (pair in following) != (sample.label == 1):
            fail(f"next: label {sample.label}: {sample}")
    print(
        f"order {len(train)} {len(val)} next {len(next_train)} {len(next_val)} | validation verses in what pretraining "
        f"validates on: {known:.3f}, training verses: {other:.3f}"
    )


def main():
    command, *rest = sys.argv[1:]
    if command == "show":
        words = read_words(re.sub("_[a-z]+(_mismatched)?.bin$", ".vocab.txt", rest[0]))
        for sample in read(rest[0], words):
            label = "-" if sample.label is None else f"{sample.label:g}"
            print(f"{label} | {sample.second} | {' '.join(sample.words)}")
    elif command == "verses":
        check_verses(*rest)
    else:
        {"pretrain": check_pretrain, "pairs": check_pairs}[command](rest[0], rest[1], int(rest[2]))


if __name__ == "__main__":
    main()
