"""What make_hf_fixtures.py and check_export.py share: llm.c's token files, and transformers' loss on one."""

import sys

import numpy as np
import torch
import torch.nn.functional as F

TOKENS_MAGIC, TOKENS_VERSION = 20240520, 1
HEADER_INTS = 256


def write_tokens(path, tokens):
    header = np.zeros(HEADER_INTS, dtype="<i4")
    header[:3] = TOKENS_MAGIC, TOKENS_VERSION, len(tokens)
    with open(path, "wb") as file:
        file.write(header.tobytes() + np.asarray(tokens, dtype="<u2").tobytes())


def read_tokens(path):
    with open(path, "rb") as file:
        data = file.read()
    header = np.frombuffer(data, dtype="<i4", count=HEADER_INTS)
    if tuple(header[:2]) != (TOKENS_MAGIC, TOKENS_VERSION):
        sys.exit(f"error: {path}: begins with {header[0]} {header[1]}; give a token file of llm.c")
    return np.frombuffer(data, dtype="<u2", offset=HEADER_INTS * 4)[: header[2]].astype(np.int64)


def windows(tokens, length):
    """All windows of length + 1 tokens with stride length, as our validation takes them: inputs and targets."""
    count = (len(tokens) - 1) // length
    tokens = torch.tensor(tokens[: count * length + 1])
    return tokens[:-1].reshape(count, length), tokens[1:].reshape(count, length)


def mean_loss(model, tokens, length):
    """Mean cross-entropy over all targets, in the model's own type; the sum of a window's is in float64."""
    inputs, targets = windows(tokens, length)
    total = 0.0
    with torch.no_grad():
        for row, target in zip(inputs, targets):
            logits = model(input_ids=row[None], use_cache=False).logits[0]
            total += F.cross_entropy(logits, target, reduction="none").double().sum().item()
    return total / targets.numel()
