#!/usr/bin/env python3
"""Makes dev/fixtures/: what PyTorch and Hugging Face's GPT-2 compute for small random models.

    python dev/reference/make_fixtures.py [--output DIR]

README.md beside this file describes the files, their records, and how to install what this needs.
"""

import copy
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F
from fixtures import (
    HALF_TYPES,
    STEPS,
    Batch,
    Exact,
    FixtureWriter,
    Half,
    at_least_fp32,
    describe_training,
    distance,
    make_optimizer,
    named_arrays,
    output_folder,
    padded_vocab,
    randomize,
    train,
    train_step,
    write_half_fixture,
)
from transformers import GPT2Config, GPT2LMHeadModel

MODEL_MAGIC, MODEL_VERSION = 20240326, 3
DEBUG_STATE_MAGIC, DEBUG_STATE_VERSION = 20240327, 2
HEADER_INTS = 256

# llm.c's tensors in the order of its files: (name there, name in Hugging Face, stored as (in, out) there).
OUTER, LAYERED = "transformer.{}", "transformer.h.{{}}.{}"
TENSORS = [
    ("wte", [OUTER.format("wte.weight")], False),
    ("wpe", [OUTER.format("wpe.weight")], False),
    ("ln1w", [LAYERED.format("ln_1.weight")], False),
    ("ln1b", [LAYERED.format("ln_1.bias")], False),
    ("qkvw", [LAYERED.format("attn.c_attn.weight")], True),
    ("qkvb", [LAYERED.format("attn.c_attn.bias")], False),
    ("attprojw", [LAYERED.format("attn.c_proj.weight")], True),
    ("attprojb", [LAYERED.format("attn.c_proj.bias")], False),
    ("ln2w", [LAYERED.format("ln_2.weight")], False),
    ("ln2b", [LAYERED.format("ln_2.bias")], False),
    ("fcw", [LAYERED.format("mlp.c_fc.weight")], True),
    ("fcb", [LAYERED.format("mlp.c_fc.bias")], False),
    ("fcprojw", [LAYERED.format("mlp.c_proj.weight")], True),
    ("fcprojb", [LAYERED.format("mlp.c_proj.bias")], False),
    ("lnfw", [OUTER.format("ln_f.weight")], False),
    ("lnfb", [OUTER.format("ln_f.bias")], False),
]

SEQUENCES = 2  # B, of a micro-batch


class Shape:
    """A model's shape, the length T of the sequences that it is run on, and its weights' deviation."""

    def __init__(self, layers, heads, channels, max_t, vocab, t, weight_std, seed):
        self.layers, self.heads, self.channels = layers, heads, channels
        self.max_t, self.vocab, self.t = max_t, vocab, t
        self.weight_std, self.seed = weight_std, seed
        self.padded_vocab = padded_vocab(vocab)


# Weights of A: so small that some of its steps have a norm below the clipping limit and some above. Of B:
# so large that attention and softmax are far from uniform.
SHAPES = {
    "gpt2_a": Shape(layers=2, heads=2, channels=32, max_t=16, vocab=64, t=16, weight_std=0.08, seed=1),
    "gpt2_b": Shape(layers=1, heads=2, channels=40, max_t=17, vocab=97, t=13, weight_std=0.2, seed=2),
}
TINY = Shape(layers=2, heads=2, channels=16, max_t=8, vocab=50, t=8, weight_std=0.15, seed=3)
TINY_STEPS = 10


# ---------------------------------------------------------------- the model


def make_config(shape, activation, attention):
    return GPT2Config(
        vocab_size=shape.vocab,
        n_positions=shape.max_t,
        n_embd=shape.channels,
        n_layer=shape.layers,
        n_head=shape.heads,
        activation_function=activation,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation=attention,
    )


def make_model(shape):
    """A float64 GPT-2 whose values are random fp32 numbers."""
    model = GPT2LMHeadModel(make_config(shape, activation="gelu_new", attention="eager"))
    return randomize(model, shape.weight_std, shape.seed, lambda name: ".ln_" in name)


def random_batches(shape, count, seed):
    """Inputs and targets, each (count, B, T): the targets are the inputs one token later."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(shape.vocab, (count, SEQUENCES, shape.t + 1), generator=generator)
    return tokens[:, :, :-1].contiguous(), tokens[:, :, 1:].contiguous()


def forward(model, inputs, targets):
    """Logits (B, T, V) in the model's own type, and the mean loss."""
    # Hugging Face's own loss would cast the logits of any type to fp32.
    logits = model(input_ids=inputs, use_cache=False).logits
    return logits, F.cross_entropy(at_least_fp32(logits).flatten(0, 1), targets.flatten())


def loss_of(model, micro_batch, micro_batches):
    # All micro-batches have as many targets.
    return forward(model, *micro_batch)[1] / len(micro_batches)


def check_against_plain_forward(model, inputs, logits):
    """Fails if the library computes another function than GPT-2, or somewhere in less than float64."""
    p = dict(model.named_parameters())
    channels, heads = model.config.n_embd, model.config.n_head
    b, t = inputs.shape

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        rstd = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        return centred * rstd * p[name + ".weight"] + p[name + ".bias"]

    def linear(x, name):
        return x @ p[name + ".weight"] + p[name + ".bias"]

    x = p["transformer.wte.weight"][inputs] + p["transformer.wpe.weight"][:t]
    for layer in range(model.config.n_layer):
        block = f"transformer.h.{layer}."
        q, k, v = (
            part.view(b, t, heads, channels // heads).transpose(1, 2)
            for part in linear(norm(x, block + "ln_1"), block + "attn.c_attn").split(channels, dim=-1)
        )
        scores = q @ k.transpose(-1, -2) / (channels // heads) ** 0.5
        scores = scores.masked_fill(torch.ones(t, t).triu(1).bool(), float("-inf"))
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, channels)
        x = x + linear(mixed, block + "attn.c_proj")
        h = linear(norm(x, block + "ln_2"), block + "mlp.c_fc")
        h = 0.5 * h * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (h + 0.044715 * h**3)))
        x = x + linear(h, block + "mlp.c_proj")
    plain = norm(x, "transformer.ln_f") @ p["transformer.wte.weight"].T
    assert torch.allclose(plain, logits, rtol=1e-12, atol=1e-12), "the library's forward pass is not float64 GPT-2"


def llmc_arrays(model, shape, value_of):
    """{llm.c's name: array in llm.c's shape} of value_of(parameter), for every tensor of the model."""
    return named_arrays(model, TENSORS, shape.layers, shape.vocab, value_of)


def arrays_of(shape):
    return lambda model, value_of: llmc_arrays(model, shape, value_of)


# ---------------------------------------------------------------- files


def header(*values):
    return np.array(values + (0,) * (HEADER_INTS - len(values)), dtype="<i4").tobytes()


def all_tensors(arrays):
    return b"".join(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes() for name, _, _ in TENSORS)


def write_model(path, shape, arrays):
    sizes = (shape.max_t, shape.vocab, shape.layers, shape.heads, shape.channels, shape.padded_vocab)
    with open(path, "wb") as file:
        file.write(header(MODEL_MAGIC, MODEL_VERSION, *sizes) + all_tensors(arrays))


def write_debug_state(path, shape, inputs, targets, logits, loss, gradients):
    with open(path, "wb") as file:
        file.write(header(DEBUG_STATE_MAGIC, DEBUG_STATE_VERSION, SEQUENCES, shape.t))
        file.write(inputs.numpy().astype("<i4").tobytes() + targets.numpy().astype("<i4").tobytes())
        file.write(logits.detach().numpy().astype("<f4").tobytes() + struct.pack("<f", loss.item()))
        file.write(all_tensors(gradients))


# ---------------------------------------------------------------- the fixtures


def forward_backward(model, shape, inputs, targets):
    """Logits, loss and the gradients of one batch."""
    model.zero_grad()
    logits, loss = forward(model, inputs, targets)
    loss.backward()
    return logits.detach(), loss.detach(), llmc_arrays(model, shape, lambda p: p.grad)


def logits_of(model, micro_batch):
    return {"logits": forward(model, *micro_batch)[0].detach().float().numpy()}


def make_fixture(directory, name, shape):
    """Writes the model and its fixture; returns what the fixtures of the half types need."""
    model = make_model(shape)
    model_fp32 = copy.deepcopy(model).float()
    write_model(os.path.join(directory, name + ".bin"), shape, llmc_arrays(model, shape, lambda p: p))

    with FixtureWriter(os.path.join(directory, name + ".fixture")) as fixture:
        inputs, targets = (batches[0] for batches in random_batches(shape, 1, shape.seed + 100))
        logits, loss, gradients = forward_backward(model, shape, inputs, targets)
        check_against_plain_forward(model, inputs, logits)
        logits_fp32, _, gradients_fp32 = forward_backward(model_fp32, shape, inputs, targets)
        fixture.add("inputs", "i", inputs.numpy())
        fixture.add("targets", "i", targets.numpy())
        fixture.add("logits", "f", logits.numpy())
        fixture.add("loss", "d", loss.item())
        fixture.add("distance/logits", "d", distance(logits.numpy(), logits_fp32.numpy()))
        fixture.add_tensors("grad", gradients, gradients_fp32)
        print(f"{name}: loss {loss.item():.6f}, logits' deviation {logits.std():.3f}")
        batch = Batch((inputs, targets), {"logits": logits.numpy()}, gradients)

        runs = {}
        for micro_batches in (1, 4):
            run = f"train{micro_batches}"
            inputs, targets = (
                batches.view(STEPS, micro_batches, SEQUENCES, shape.t)
                for batches in random_batches(shape, STEPS * micro_batches, shape.seed + 200 + micro_batches)
            )
            steps = [list(zip(*step)) for step in zip(inputs, targets)]
            exact = train(Exact(copy.deepcopy(model), loss_of), steps, arrays_of(shape))
            runs[run] = (steps, exact)
            fp32 = train(Exact(copy.deepcopy(model_fp32), loss_of), steps, arrays_of(shape))
            fixture.add(f"{run}/inputs", "i", inputs.numpy())
            fixture.add(f"{run}/targets", "i", targets.numpy())
            fixture.add_training(run, exact, fp32)
            describe_training(f"{name} {run}", exact)
    return model, batch, runs


def fused_model(shape):
    """A model of which a half type is made."""
    return GPT2LMHeadModel(make_config(shape, activation="gelu_pytorch_tanh", attention="sdpa"))


def check_fused_model(model, shape, inputs):
    """Fails if it computes another function than GPT-2."""
    exact = Half(fused_model(shape), model, loss_of, torch.float64, loss_scale=1.0).model
    check_against_plain_forward(exact, inputs, exact(input_ids=inputs, use_cache=False).logits)


def make_half_fixture(path, shape, model, batch, runs, dtype, loss_scale):
    def new_half():
        return Half(fused_model(shape), copy.deepcopy(model).float(), loss_of, dtype, loss_scale)

    write_half_fixture(path, new_half, loss_scale, batch, runs, logits_of, arrays_of(shape))


def make_tiny(directory):
    """A pair of files as llm.c's test_gpt2 reads them, and the losses of its two settings."""
    model = make_model(TINY)
    batches = random_batches(TINY, 1, TINY.seed + 100)
    inputs, targets = batches[0][0], batches[1][0]
    logits, loss, gradients = forward_backward(model, TINY, inputs, targets)
    path = os.path.join(directory, "gpt2_tiny")
    write_model(path + ".bin", TINY, llmc_arrays(model, TINY, lambda p: p))
    write_debug_state(path + "_debug_state.bin", TINY, inputs, targets, logits, loss, gradients)

    settings = {
        "losses": (dict(betas=(0.9, 0.999), decay=0.01, decay_all=True), float("inf")),
        "losses_clip": (dict(betas=(0.9, 0.95), decay=0.0), 1.0),
    }
    with FixtureWriter(path + ".fixture") as fixture:
        for name, (options, clip) in settings.items():
            run = Exact(copy.deepcopy(model), loss_of)
            optimizer = make_optimizer(run.master, **options)
            steps = [train_step(run, optimizer, [(inputs, targets)], clip) for _ in range(TINY_STEPS)]
            fixture.add(name, "d", [step_loss for step_loss, _ in steps])
            print(f"gpt2_tiny {name}: " + " ".join(f"{step_loss:.6f}" for step_loss, _ in steps))


def main():
    directory = output_folder(__doc__)
    for name, shape in SHAPES.items():
        model, batch, runs = make_fixture(directory, name, shape)
        check_fused_model(model, shape, batch.micro_batch[0])
        for half_name, dtype, loss_scale in HALF_TYPES:
            path = os.path.join(directory, f"{name}_{half_name}.fixture")
            make_half_fixture(path, shape, model, batch, runs, dtype, loss_scale)
    make_tiny(directory)


if __name__ == "__main__":
    main()
