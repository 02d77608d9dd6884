#!/usr/bin/env python3
"""Makes dev/fixtures/hf_*: GPT-2 folders as transformers writes them, and the loss that it computes for each.

    python dev/reference/make_hf_fixtures.py [--output DIR]

README.md beside this file describes them, and how to install what this needs.
"""

import copy
import os
import shutil

import torch
from fixtures import output_folder
from hf_loss import mean_loss, write_tokens
from make_fixtures import Shape, make_model
from transformers import AutoModelForCausalLM

# Odd on purpose: heads of 10, a vocabulary and positions that are no multiples of anything.
SHAPE = Shape(layers=2, heads=3, channels=30, max_t=19, vocab=131, t=19, weight_std=0.2, seed=7)
WINDOWS = 11
SHARD_SIZE = "30KB"

# Folder, type, shards, and whether it is saved as GPT2Model: without a head and without "transformer." in its names.
FOLDERS = [
    ("hf_fp32", torch.float32, False, False),
    ("hf_fp32_sharded", torch.float32, True, False),
    ("hf_bf16", torch.bfloat16, False, True),
    ("hf_fp16", torch.float16, False, False),
    ("hf_fp16_sharded", torch.float16, True, True),
]


def main():
    directory = output_folder(__doc__)
    generator = torch.Generator().manual_seed(SHAPE.seed + 100)
    tokens = torch.randint(SHAPE.vocab, (WINDOWS * SHAPE.t + 1,), generator=generator).numpy()
    write_tokens(os.path.join(directory, "hf_tokens.bin"), tokens)
    model = make_model(SHAPE)

    lines = []
    for name, dtype, sharded, headless in FOLDERS:
        folder = os.path.join(directory, name)
        shutil.rmtree(folder, ignore_errors=True)
        typed = copy.deepcopy(model).to(dtype)
        options = {"max_shard_size": SHARD_SIZE} if sharded else {}
        (typed.transformer if headless else typed).save_pretrained(folder, **options)
        generation = os.path.join(folder, "generation_config.json")  # says nothing about the weights
        if os.path.exists(generation):
            os.remove(generation)

        # What the files say, not what was to be saved.
        stored = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        if any(p.dtype != dtype for p in stored.parameters()):
            raise SystemExit(f"error: {name}: not all parameters are {dtype}")
        exact = mean_loss(copy.deepcopy(stored).double(), tokens, SHAPE.t)
        single = mean_loss(stored.float(), tokens, SHAPE.t)
        lines.append(f"{name} {exact:.9f} {single:.9f}")
        print(lines[-1])
    with open(os.path.join(directory, "hf_losses.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
