"""What the scripts about BERT's folders share: files of samples (llmc/samples.h), our masking of them, and
transformers' loss on them."""

import struct
import sys
from collections import namedtuple

import numpy as np
import torch
import torch.nn.functional as F
from counter_dropout import philox4x32

MAGIC, VERSION = 20261128, 1
HEADER_INTS = 256
IGNORE = -100  # transformers' label of what is not predicted

# llmc/masking.c
MASKING_STREAM = 0x4D41534B
MASK_PROBABILITY, SHARE_MASK, SHARE_RANDOM = 0.15, 0.8, 0.1

Samples = namedtuple("Samples", "num_labels pairs vocab pad cls sep mask tokens second labels")


def write_samples(path, samples):
    """tokens: a list of lists; second: the position of the second text, the length where there is none."""
    count = sum(map(len, samples.tokens))
    longest = max(map(len, samples.tokens))
    header = np.zeros(HEADER_INTS, dtype="<i4")
    header[:13] = (MAGIC, VERSION, len(samples.tokens), samples.num_labels, samples.vocab, longest, samples.pad,
                   samples.cls, samples.sep, samples.mask, count & 0x7FFFFFFF, 0, int(samples.pairs))  # fmt: skip
    offsets = np.cumsum([0] + [len(tokens) for tokens in samples.tokens])
    with open(path, "wb") as file:
        file.write(header.tobytes() + offsets.astype("<u8").tobytes() + np.asarray(samples.second, "<u2").tobytes())
        if samples.num_labels or samples.pairs:
            file.write(np.asarray(samples.labels, "<f4").tobytes())
        file.write(np.concatenate(samples.tokens).astype("<u2").tobytes())


def read_samples(path):
    with open(path, "rb") as file:
        data = file.read()
    header = struct.unpack(f"<{HEADER_INTS}i", data[: HEADER_INTS * 4])
    if header[:2] != (MAGIC, VERSION):
        sys.exit(f"error: {path}: begins with {header[0]} {header[1]}; give a file of samples")
    count, num_labels, vocab, _, pad, cls, sep, mask, _, _, pairs = header[2:13]
    at = HEADER_INTS * 4
    offsets = np.frombuffer(data, "<u8", count + 1, at).astype(int)
    at += offsets.nbytes
    second = np.frombuffer(data, "<u2", count, at).astype(int)
    at += 2 * count
    labels = np.zeros(count, np.float32)
    if num_labels or pairs:
        labels = np.frombuffer(data, "<f4", count, at)
        at += 4 * count
    tokens = np.frombuffer(data, "<u2", offsets[-1], at).astype(np.int64)
    tokens = [tokens[begin:end] for begin, end in zip(offsets, offsets[1:])]
    return Samples(num_labels, pairs, vocab, pad, cls, sep, mask, tokens, second, labels)


def masked(samples, number, seed, epoch=0):
    """The tokens of a sample as masked-language modelling shows them, and what is to be predicted of them."""
    tokens = samples.tokens[number].copy()
    ordinary = ~np.isin(tokens, (samples.pad, samples.cls, samples.sep, samples.mask))
    targets = np.full(len(tokens), IGNORE)
    if not ordinary.any():
        return tokens, targets
    positions = np.arange(len(tokens), dtype=np.uint64)
    counter = (positions | np.uint64(epoch >> 32 << 16), number, epoch & 0xFFFFFFFF, MASKING_STREAM)
    choose, action, other, _ = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    chosen = ordinary & (choose / 2**32 < MASK_PROBABILITY)
    if not chosen.any():
        chosen[np.where(ordinary, choose.astype(np.int64), 2**32).argmin()] = True
    targets[chosen] = tokens[chosen]
    share = action / 2**32
    tokens[chosen & (share < SHARE_MASK)] = samples.mask
    replaced = chosen & (share >= SHARE_MASK) & (share < SHARE_MASK + SHARE_RANDOM)
    tokens[replaced] = (other.astype(np.uint64) * np.uint64(samples.vocab) >> np.uint64(32))[replaced]
    return tokens, targets


def sample_inputs(samples, number, tokens):
    types = (np.arange(len(tokens)) >= samples.second[number]).astype(np.int64)
    return {"input_ids": torch.tensor(tokens)[None], "token_type_ids": torch.tensor(types)[None]}


def mean_loss(model, samples, seed):
    """What the model's head predicts: masked tokens, and with a next-sentence head their loss and that one's, each the
    mean over all of the file; classes; or a number, whose square error it is. Logits in the model's own type; sums are
    in float64."""
    architecture = type(model).__name__
    total, targets, next_total = 0.0, 0, 0.0
    with torch.no_grad():
        for number, tokens in enumerate(samples.tokens):
            if architecture == "BertForSequenceClassification":
                logits = model(**sample_inputs(samples, number, tokens)).logits[0]
                if len(logits) == 1:
                    total += (logits[0].double().item() - float(samples.labels[number])) ** 2
                else:
                    total += F.cross_entropy(logits, torch.tensor(int(samples.labels[number]))).double().item()
                targets += 1
                continue
            shown, wanted = masked(samples, number, seed)
            out = model(**sample_inputs(samples, number, shown))
            logits = out.logits[0] if architecture == "BertForMaskedLM" else out.prediction_logits[0]
            wanted = torch.tensor(wanted)
            losses = F.cross_entropy(logits, wanted, reduction="none", ignore_index=IGNORE)
            total += losses.double().sum().item()
            targets += int((wanted != IGNORE).sum())
            if architecture == "BertForPreTraining":
                label = torch.tensor(1 - int(samples.labels[number]))  # transformers counts 0 as "follows"
                next_total += F.cross_entropy(out.seq_relationship_logits[0], label).double().item()
    return total / targets + next_total / len(samples.tokens)
