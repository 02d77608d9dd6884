#!/usr/bin/env python3
"""Makes dev/fixtures/gpt2_dropout.fixture: Hugging Face's GPT-2 trained with our masks of dropout.

    python dev/reference/make_dropout_fixture.py [--output DIR]

The model is gpt2_a.bin of make_fixtures.py. README.md beside this file describes the records.
"""

import copy
import os
from unittest import mock

import numpy as np
import torch
from counter_dropout import CounterDropout
from fixtures import FixtureWriter, output_folder
from make_fixtures import SHAPES, forward, forward_backward, make_model
from transformers.models.gpt2 import modeling_gpt2

# The rates are all different, the seed has more than 32 bits, and the sequences are not the first of their step.
RATES = dict(embeddings=0.1, attention=0.2, residual=0.3)
SEED, STEP, FIRST_SAMPLE = 0x123456789ABCDEF, 7, 5
SEQUENCES, LENGTH = 3, 13  # B, T: T is less than the model has positions for, and odd


class Dropped(torch.nn.Module):
    """In place of a Dropout of (B, T, C): our masks at one of our sites."""

    def __init__(self, draws, rate, layer, which):
        super().__init__()
        self.draws, self.rate, self.layer, self.which = draws, rate, layer, which

    def forward(self, x):
        b, t, channels = x.shape
        samples = FIRST_SAMPLE + np.arange(b)
        factors = self.draws.factors(self.rate, self.layer, self.which, 0, samples, np.arange(t), channels)
        return x * torch.from_numpy(factors).to(x.dtype)


def with_dropout(model):
    """A copy with every Dropout replaced, and the function of its attention."""
    draws = CounterDropout(SEED, STEP)
    model = copy.deepcopy(model)
    model.transformer.drop = Dropped(draws, RATES["embeddings"], 0, CounterDropout.HIDDEN_1)
    for layer, block in enumerate(model.transformer.h):
        block.attn.resid_dropout = Dropped(draws, RATES["residual"], 1 + layer, CounterDropout.HIDDEN_1)
        block.mlp.dropout = Dropped(draws, RATES["residual"], 1 + layer, CounterDropout.HIDDEN_2)

    def attention(module, query, key, value, mask, **_):
        weights = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        b, heads, t, _ = weights.shape
        weights = weights.masked_fill(torch.ones(t, t).triu(1).bool(), float("-inf")).softmax(-1)
        samples, layer = FIRST_SAMPLE + np.arange(b), 1 + module.layer_idx
        factors = np.stack(
            [
                draws.factors(RATES["attention"], layer, CounterDropout.ATTENTION, head, samples, np.arange(t), t)
                for head in range(heads)
            ],
            axis=1,
        )
        dropped = weights * torch.from_numpy(factors).to(weights.dtype)
        return (dropped @ value).transpose(1, 2), weights

    return model, attention


def results_of(model, shape, inputs, targets):
    """The loss and the gradients under dropout."""
    dropped, attention = with_dropout(model)
    with mock.patch.object(modeling_gpt2, "eager_attention_forward", side_effect=attention) as called:
        _, loss, gradients = forward_backward(dropped, shape, inputs, targets)
    assert called.call_count == shape.layers, "the library's attention is another function"
    return loss.item(), gradients


def main():
    path = os.path.join(output_folder(__doc__), "gpt2_dropout.fixture")
    shape = SHAPES["gpt2_a"]
    model = make_model(shape)
    generator = torch.Generator().manual_seed(shape.seed + 300)
    tokens = torch.randint(shape.vocab, (SEQUENCES, LENGTH + 1), generator=generator)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    loss, gradients = results_of(model, shape, inputs, targets)
    _, gradients_fp32 = results_of(copy.deepcopy(model).float(), shape, inputs, targets)
    with torch.no_grad():
        plain_loss = forward(model, inputs, targets)[1].item()
    with FixtureWriter(path) as fixture:
        fixture.add("rates", "d", list(RATES.values()))
        fixture.add("numbers", "i", np.array([SEED, STEP, FIRST_SAMPLE], np.uint64).view(np.int32))
        fixture.add("inputs", "i", inputs.numpy())
        fixture.add("targets", "i", targets.numpy())
        fixture.add("plain_loss", "d", plain_loss)
        fixture.add("loss", "d", loss)
        fixture.add_tensors("grad", gradients, gradients_fp32)
    print(f"gpt2_dropout: loss {loss:.6f}, without dropout {plain_loss:.6f}")


if __name__ == "__main__":
    main()
