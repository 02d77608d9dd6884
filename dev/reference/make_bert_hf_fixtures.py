#!/usr/bin/env python3
"""Makes dev/fixtures/bert_hf_*: BERT folders as transformers writes them, and the loss that it computes for each.

    python dev/reference/make_bert_hf_fixtures.py [--output DIR]

README.md beside this file describes them, and how to install what this needs.
"""

import copy
import os
import shutil
from collections import namedtuple

import numpy as np
import torch
from bert_samples import Samples, mean_loss, read_samples, write_samples
from fixtures import output_folder, randomize
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    BertConfig,
)

# Odd on purpose: heads of 6, a vocabulary and positions that are no multiples of anything.
LAYERS, HEADS, CHANNELS, POSITIONS, VOCAB = 2, 3, 18, 19, 67
PAD, UNK, CLS, SEP, MASK, FIRST_WORD = range(6)
WEIGHT_STD, SEED = 0.3, 21
SAMPLES, SHORTEST = 23, 5
SHARD_SIZE = "15KB"
MASKING_SEED = 5

# loader: the class to save it as and to compute with. headless: saved without heads, without "bert." in its names.
Folder = namedtuple("Folder", "name loader dtype labels samples sharded headless", defaults=(False, False))
FOLDERS = [
    Folder("bert_hf_pretraining", AutoModelForPreTraining, torch.float32, 0, "pairs"),
    Folder("bert_hf_masked", AutoModelForMaskedLM, torch.bfloat16, 0, "pairs", sharded=True),
    Folder("bert_hf_classes", AutoModelForSequenceClassification, torch.float16, 3, "classes"),
    Folder("bert_hf_values", AutoModelForSequenceClassification, torch.float32, 1, "values"),
    Folder("bert_hf_encoder", AutoModelForPreTraining, torch.float32, 0, None, headless=True),
]
CLASS_NAMES = ["a class", "another", "a third"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# As files were written in 2018.
OLD_NAMES = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}


def make_samples(kind, generator):
    """Texts of random words, of every length; pairs have a second text."""
    tokens, second, labels = [], [], []
    for number in range(SAMPLES):
        length = SHORTEST + number % (POSITIONS - SHORTEST + 1)
        sample = generator.integers(FIRST_WORD, VOCAB, length)
        sample[0], sample[-1] = CLS, SEP
        middle = int(generator.integers(2, length - 1)) if kind == "pairs" else None
        if middle is not None:
            sample[middle] = SEP
        tokens.append(sample)
        second.append(length if middle is None else middle + 1)
        labels.append({"pairs": number % 2, "classes": number % 3, "values": generator.normal()}[kind])
    return Samples({"pairs": 0, "classes": 3, "values": 1}[kind], kind == "pairs", VOCAB, PAD, CLS, SEP, MASK, tokens,
                   second, labels)  # fmt: skip


def make_vocabulary():
    """Words of two letters behind the special ones: "aa", "ab", ..."""
    letters = "abcdefgh"
    words = SPECIAL + [a + b for a in letters for b in letters]
    return "".join(f"{word}\n" for word in words[:VOCAB])


def make_model(folder):
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=CHANNELS,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * CHANNELS,
        max_position_embeddings=POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout=0.0,
    )
    if folder.labels > 1:
        config.id2label, config.label2id = dict(enumerate(CLASS_NAMES)), {n: i for i, n in enumerate(CLASS_NAMES)}
    elif folder.labels == 1:
        config.num_labels, config.problem_type = 1, "regression"
    return randomize(folder.loader.from_config(config), WEIGHT_STD, SEED, lambda name: "LayerNorm" in name)


def rename(path):
    """LayerNorm's tensors of a file under the names that they had first."""
    with open(path, "rb") as file:
        data = file.read()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].decode()
    for new, old in OLD_NAMES.items():
        header = header.replace(new, old)
    header = header.encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + data[8 + length :])


def main():
    directory = output_folder(__doc__)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generator = np.random.default_rng(SEED)
    for kind in ("pairs", "classes", "values"):
        write_samples(os.path.join(directory, f"bert_hf_{kind}.bin"), make_samples(kind, generator))
    with open(os.path.join(directory, "bert_hf.vocab.txt"), "w") as file:
        file.write(make_vocabulary())

    lines = []
    for folder in FOLDERS:
        path = os.path.join(directory, folder.name)
        shutil.rmtree(path, ignore_errors=True)
        typed = make_model(folder).to(folder.dtype)
        options = {"max_shard_size": SHARD_SIZE} if folder.sharded else {}
        (typed.bert if folder.headless else typed).save_pretrained(path, **options)
        if folder.headless:
            rename(os.path.join(path, "model.safetensors"))
        if folder.samples is None:
            continue
        # What the files say, not what was to be saved.
        stored = folder.loader.from_pretrained(path, dtype=folder.dtype).eval()
        if any(p.dtype != folder.dtype for p in stored.parameters()):
            raise SystemExit(f"error: {folder.name}: not all parameters are {folder.dtype}")
        samples = read_samples(os.path.join(directory, f"bert_hf_{folder.samples}.bin"))
        exact = mean_loss(copy.deepcopy(stored).double(), samples, MASKING_SEED)
        single = mean_loss(stored.float(), samples, MASKING_SEED)
        lines.append(f"{folder.name} {folder.samples} {exact:.9f} {single:.9f}")
        print(lines[-1])
    with open(os.path.join(directory, "bert_hf_losses.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
