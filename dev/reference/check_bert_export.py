#!/usr/bin/env python3
"""Loads folders that train_bert --export wrote with transformers, and compares the loss on samples with ours.

    python dev/reference/check_bert_export.py --samples FILE [--seed N] FOLDER=LOSS...

LOSS is what train_bert printed for the folder with --dtype fp32 and that seed, which masking is keyed by. Weights are
taken as they are stored and computed with in fp32. Prints one line per folder; exit code 1 if any differs by more than
1e-5, or does not load whole, or its decoder and embedding are not one tensor, or its tokenizer is not that of its
vocab.txt and of the samples.
"""

import argparse
import os
import sys

import torch
import transformers
from bert_samples import mean_loss, read_samples
from export_check import check_all, loading_problems, loss_problems, types_of
from transformers import AutoConfig, AutoTokenizer


def check_tokenizer(folder, model, samples):
    """The problems of the folder's tokenizer: words as in vocab.txt, special tokens as in the samples."""
    with open(os.path.join(folder, "vocab.txt"), encoding="utf-8", newline="\n") as file:
        words = file.read().removesuffix("\n").split("\n")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    problems = []
    if tokenizer.convert_ids_to_tokens(range(len(words))) != words or len(tokenizer) != len(words):
        problems.append("the tokenizer's words are not those of vocab.txt")
    special = tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id
    if special != (samples.pad, samples.cls, samples.sep, samples.mask):
        problems.append(f"special tokens {special}")
    if model.config.pad_token_id != samples.pad:
        problems.append(f"pad_token_id {model.config.pad_token_id}")
    # An ordinary word comes back as itself, one in capitals as the vocabulary has it.
    word = next(w for w in words if w.isascii() and w.isalpha())
    cased = any(c.isupper() for w in words if not w.startswith("[") for c in w)
    encoded = tokenizer(word)["input_ids"]
    if encoded != [samples.cls, words.index(word), samples.sep]:
        problems.append(f"'{word}' becomes {encoded}")
    if not cased and tokenizer(word.upper())["input_ids"] != encoded:
        problems.append(f"'{word.upper()}' is not made small")
    return problems


def check(folder, expected, samples, seed):
    """The problems of one folder."""
    architecture = AutoConfig.from_pretrained(folder).architectures[0]
    stored, info = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
    problems, types = loading_problems(stored, info), types_of(stored)
    if hasattr(stored, "cls"):
        decoder = stored.cls.predictions.decoder
        if decoder.weight.data_ptr() != stored.bert.embeddings.word_embeddings.weight.data_ptr():
            problems.append("the decoder is not tied to the embedding")
        if decoder.bias.data_ptr() != stored.cls.predictions.bias.data_ptr():
            problems.append("the decoder's bias is not cls.predictions.bias")
    if os.path.exists(os.path.join(folder, "vocab.txt")):
        problems += check_tokenizer(folder, stored, samples)
    loss = mean_loss(stored.float().eval(), samples, seed)
    return problems + loss_problems(folder, f"{architecture}, {types}", loss, expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", required=True, help="file of samples")
    parser.add_argument("--seed", type=int, default=0, help="that masking is keyed by (0)")
    parser.add_argument("folders", nargs="+", metavar="FOLDER=LOSS")
    options = parser.parse_args()
    torch.set_num_threads(1)
    samples = read_samples(options.samples)
    return check_all(options.folders, lambda folder, loss: check(folder, loss, samples, options.seed))


if __name__ == "__main__":
    sys.exit(main())
