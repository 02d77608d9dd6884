"""Files of samples for BERT, as llmc/samples.h describes them: one format for pretraining and for classification.

int32 header[256], uint64 offsets[n + 1], uint16 second[n], float32 labels[n] if there are labels, uint16 tokens. Beside
PREFIX_train.bin and PREFIX_val.bin lie PREFIX.vocab.txt and each file's checksum.
"""

import array
import os

import xxhash

from common import UserError, write_files
from formats import SAMPLES_MAGIC, SAMPLES_VERSION, header
from shards import sidecar_line, sidecar_of

MAX_SAMPLES = 2**31 - 1  # the header counts them in an int32
PAIRS = "pairs"  # the kind of SampleFile whose labels say whether B followed A
REGRESSION = 1  # num_labels of a file whose labels are numbers


class SampleFile:
    """kind: None for no labels, PAIRS, REGRESSION or the number of classes."""

    def __init__(self, vocabulary, kind):
        self.vocabulary, self.kind = vocabulary, kind
        self.offsets = array.array("Q", [0])
        self.second = array.array("H")
        self.labels = array.array("f")
        self.tokens = array.array("H")
        self.unknown = 0  # tokens that are [UNK]
        self.longest = 0

    def __len__(self):
        return len(self.second)

    def add(self, tokens, second, label=None):
        """tokens: [CLS] A [SEP] or [CLS] A [SEP] B [SEP]; second: where [SEP] B begins: after the first [SEP]."""
        self.tokens.extend(tokens)
        self.offsets.append(len(self.tokens))
        self.second.append(second)
        if self.kind is not None:
            self.labels.append(label)
        self.unknown += tokens.count(self.vocabulary.unknown)
        self.longest = max(self.longest, len(tokens))

    def add_texts(self, first, second=None, label=None):
        """The tokens of one text or two, array("H"), to which this adds [CLS] and [SEP]."""
        cls, sep = self.vocabulary.cls, self.vocabulary.sep
        tokens = array.array("H", [cls]) + first + array.array("H", [sep])
        border = len(tokens)
        if second is not None:
            tokens += second + array.array("H", [sep])
        self.add(tokens, border, label)

    def pieces(self):
        """The file's bytes, part by part."""
        if len(self) > MAX_SAMPLES:
            raise UserError(
                f"a split has {len(self):,} samples and one file can hold {MAX_SAMPLES:,}; prepare the text in parts, "
                "each with its own --output, and train on all of them with a glob"
            )
        count = len(self.tokens)
        words = self.vocabulary
        begin = header(
            SAMPLES_MAGIC,
            SAMPLES_VERSION,
            len(self),
            self.kind if isinstance(self.kind, int) else 0,
            len(words),
            self.longest,
            words.pad,
            words.cls,
            words.sep,
            words.mask,
            *array.array("i", array.array("I", [count & 0xFFFFFFFF, count >> 32]).tobytes()),
            int(self.kind == PAIRS),
        )
        return [begin, self.offsets, self.second, self.labels, self.tokens]


def write_samples(prefix, splits, vocabulary, labels=None):
    """splits: {"train": SampleFile, "val": …}. labels: the classes' names in the order of their numbers.
    Writes all files at once, or none; says what they hold. Returns the samples' paths."""
    files, paths = {}, []
    for split, samples in splits.items():
        path = f"{prefix}_{split}.bin"
        pieces = samples.pieces()
        digest = xxhash.xxh3_64()
        for piece in pieces:
            digest.update(piece)
        # The sidecar first: a file with its own name then always has the sidecar that belongs to it.
        files[sidecar_of(path)] = [sidecar_line(path, digest.hexdigest())]
        files[path] = pieces
        paths.append(path)
    files[f"{prefix}.vocab.txt"] = [vocabulary.file()]
    if labels is not None:
        files[f"{prefix}.labels.txt"] = ["".join(f"{label}\n" for label in labels).encode()]
    write_files(files)
    print(f"vocabulary  {len(vocabulary):>9,} words    {prefix}.vocab.txt")
    if labels is not None:
        print(f"labels      {len(labels):>9,} classes  {prefix}.labels.txt")
    for path, samples in zip(paths, splits.values()):
        tokens = len(samples.tokens)
        print(
            f"{os.path.basename(path)}: {len(samples):,} samples, {tokens:,} tokens, {tokens / len(samples):.1f} a "
            f"sample, at most {samples.longest}, {100 * samples.unknown / tokens:.3f} % [UNK], "
            f"{os.path.getsize(path):,} bytes"
        )
    return paths
