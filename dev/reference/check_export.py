#!/usr/bin/env python3
"""Loads folders that train_gpt2 --export wrote with transformers, and compares the loss on a token file with ours.

    python dev/reference/check_export.py --tokens FILE --length T FOLDER=LOSS... [--sharded DIR]

LOSS is what train_gpt2 printed for the folder with --dtype fp32. Weights are taken as they are stored and computed
with in fp32. Prints one line per folder; exit code 1 if any differs by more than 1e-5, or does not load whole, or its
head and embedding are not one tensor. --sharded: writes each folder anew, in several files, as DIR/NAME_sharded.
"""

import argparse
import os
import sys

import torch
from export_check import check_all, loading_problems, loss_problems, types_of
from hf_loss import mean_loss, read_tokens
from transformers import AutoModelForCausalLM

FILES = 3  # at least, of a folder that is written anew


def check(folder, expected, tokens, length, sharded):
    """The problems of one folder."""
    stored, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    problems, types = loading_problems(stored, info), types_of(stored)
    if stored.lm_head.weight.data_ptr() != stored.transformer.wte.weight.data_ptr():
        problems.append("the head is not tied to the embedding")
    if sharded:
        size = sum(p.numel() * p.element_size() for p in stored.parameters())
        name = os.path.basename(os.path.normpath(folder)) + "_sharded"
        stored.save_pretrained(os.path.join(sharded, name), max_shard_size=size // FILES)
    loss = mean_loss(stored.float().eval(), tokens, length)
    return problems + loss_problems(folder, types, loss, expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", required=True, help="token file in llm.c's format")
    parser.add_argument("--length", required=True, type=int, help="tokens of a sequence (-t)")
    parser.add_argument("--sharded", help="folder for copies in several files")
    parser.add_argument("folders", nargs="+", metavar="FOLDER=LOSS")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokens = read_tokens(options.tokens)
    return check_all(options.folders, lambda folder, loss: check(folder, loss, tokens, options.length, options.sharded))


if __name__ == "__main__":
    sys.exit(main())
