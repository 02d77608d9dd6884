#!/usr/bin/env python3
"""Makes dev/fixtures/: what PyTorch and Hugging Face's GPT-2 compute for small random models.

    python dev/reference/make_fixtures.py [--output DIR]

README.md beside this file describes the files, their records, and how to install what this needs.
"""

import argparse
import copy
import os
import struct
from collections import namedtuple

import numpy as np
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel

MODEL_MAGIC, MODEL_VERSION = 20240326, 3
DEBUG_STATE_MAGIC, DEBUG_STATE_VERSION = 20240327, 2
HEADER_INTS = 256
VOCAB_MULTIPLE = 128  # the vocabulary is padded to a multiple of it

# llm.c's tensors in the order of its files: (name there, name in Hugging Face, stored as (in, out) there).
OUTER, LAYERED = "transformer.{}", "transformer.h.{{}}.{}"
TENSORS = [
    ("wte", OUTER.format("wte.weight"), False),
    ("wpe", OUTER.format("wpe.weight"), False),
    ("ln1w", LAYERED.format("ln_1.weight"), False),
    ("ln1b", LAYERED.format("ln_1.bias"), False),
    ("qkvw", LAYERED.format("attn.c_attn.weight"), True),
    ("qkvb", LAYERED.format("attn.c_attn.bias"), False),
    ("attprojw", LAYERED.format("attn.c_proj.weight"), True),
    ("attprojb", LAYERED.format("attn.c_proj.bias"), False),
    ("ln2w", LAYERED.format("ln_2.weight"), False),
    ("ln2b", LAYERED.format("ln_2.bias"), False),
    ("fcw", LAYERED.format("mlp.c_fc.weight"), True),
    ("fcb", LAYERED.format("mlp.c_fc.bias"), False),
    ("fcprojw", LAYERED.format("mlp.c_proj.weight"), True),
    ("fcprojb", LAYERED.format("mlp.c_proj.bias"), False),
    ("lnfw", OUTER.format("ln_f.weight"), False),
    ("lnfb", OUTER.format("ln_f.bias"), False),
]

# Standard deviations of the random values; that of the weights is the shape's.
BIAS_STD, NORM_STD = 0.1, 0.2

STEPS = 20
SEQUENCES = 2  # B, of a micro-batch
LEARNING_RATE = 1e-4


class Shape:
    """A model's shape, the length T of the sequences that it is run on, and its weights' deviation."""

    def __init__(self, layers, heads, channels, max_t, vocab, t, weight_std, seed):
        self.layers, self.heads, self.channels = layers, heads, channels
        self.max_t, self.vocab, self.t = max_t, vocab, t
        self.weight_std, self.seed = weight_std, seed
        self.padded_vocab = -(-vocab // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


# Weights of A: so small that some of its steps have a norm below the clipping limit and some above. Of B:
# so large that attention and softmax are far from uniform.
SHAPES = {
    "gpt2_a": Shape(layers=2, heads=2, channels=32, max_t=16, vocab=64, t=16, weight_std=0.08, seed=1),
    "gpt2_b": Shape(layers=1, heads=2, channels=40, max_t=17, vocab=97, t=13, weight_std=0.2, seed=2),
}
TINY = Shape(layers=2, heads=2, channels=16, max_t=8, vocab=50, t=8, weight_std=0.15, seed=3)
TINY_STEPS = 10

# The half types: name in the files, PyTorch's type, loss scale. The scale is a power of two, so that it moves
# no result but for what fp16 cannot represent without it.
HALF_TYPES = [("bf16", torch.bfloat16, 1.0), ("fp16", torch.float16, 1024.0)]


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
    generator = torch.Generator().manual_seed(shape.seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if parameter.ndim == 2:
                parameter.copy_(values * shape.weight_std)
            elif ".ln_" in name and name.endswith(".weight"):
                parameter.copy_(1 + values * NORM_STD)
            else:
                parameter.copy_(values * BIAS_STD)
    return model.double().train()


def random_batches(shape, count, seed):
    """Inputs and targets, each (count, B, T): the targets are the inputs one token later."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(shape.vocab, (count, SEQUENCES, shape.t + 1), generator=generator)
    return tokens[:, :, :-1].contiguous(), tokens[:, :, 1:].contiguous()


def forward(model, inputs, targets):
    """Logits (B, T, V) and the mean loss, both in the model's own type."""
    # Hugging Face's own loss would cast the logits to fp32.
    logits = model(input_ids=inputs, use_cache=False).logits
    return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


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
    parameters = dict(model.named_parameters())
    arrays = {}
    for name, path, transposed in TENSORS:
        layered = "{}" in path
        layers = []
        for layer in range(shape.layers if layered else 1):
            value = value_of(parameters[path.format(layer)]).detach().numpy()
            layers.append(value.T if transposed else value)
        arrays[name] = np.stack(layers) if layered else layers[0]
    padding = np.zeros((shape.padded_vocab - shape.vocab, shape.channels))
    arrays["wte"] = np.concatenate([arrays["wte"], padding])
    return arrays


# ---------------------------------------------------------------- training


def make_optimizer(model, betas, decay, decay_all=False):
    """AdamW with weight decay on the 2-D tensors, or on all."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if decay_all or p.ndim == 2], "weight_decay": decay},
        {"params": [p for p in parameters if not decay_all and p.ndim != 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=betas, eps=1e-8, foreach=False)


def backward(model, inputs, targets, parts):
    """Adds the gradients of the mean loss / parts to the model's; returns that loss."""
    _, loss = forward(model, inputs, targets)
    loss = loss / parts
    loss.backward()
    return loss.item()


class HalfModel:
    """What PyTorch does in a half type without autocast: model.to(type) beside fp32 master weights.

    Its attention and GELU are PyTorch's fused ones, which round less often than the library's own chains of
    operations, and the loss is that of the logits cast to fp32, as the library's own.
    """

    def __init__(self, master, shape, dtype, loss_scale):
        self.master, self.loss_scale = master, loss_scale
        self.model = GPT2LMHeadModel(make_config(shape, activation="gelu_pytorch_tanh", attention="sdpa"))
        self.model.to(dtype).train()
        self.load_master()

    def load_master(self):
        with torch.no_grad():
            for half, master in zip(self.model.parameters(), self.master.parameters(), strict=True):
                half.copy_(master)

    def backward(self, inputs, targets, parts):
        """Adds the unscaled gradients of the mean loss / parts to the master's, in fp32; returns logits and loss."""
        self.model.zero_grad()
        logits = self.model(input_ids=inputs, use_cache=False).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten()) / parts
        (loss * self.loss_scale).backward()
        for half, master in zip(self.model.parameters(), self.master.parameters(), strict=True):
            gradient = half.grad.float() / self.loss_scale
            master.grad = gradient if master.grad is None else master.grad + gradient
        return logits.detach(), loss.item()


def train_step(model, optimizer, inputs, targets, clip, half=None):
    """One update on micro-batches (A, B, T): the mean loss before it, and the norm before clipping.

    half: the HalfModel that runs forward and backward, if it is not the model itself.
    """
    optimizer.zero_grad()
    total = 0.0
    for micro_inputs, micro_targets in zip(inputs, targets):
        parts = len(inputs)  # all micro-batches have as many targets: the mean over the global batch
        if half is None:
            total += backward(model, micro_inputs, micro_targets, parts)
        else:
            total += half.backward(micro_inputs, micro_targets, parts)[1]
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip, foreach=False).item()
    optimizer.step()
    if half is not None:
        half.load_master()
    return total, norm


def train(model, shape, inputs, targets, half=None):
    """20 steps on (20, A, B, T) tokens: losses, norms, and all tensors and moments after them."""
    optimizer = make_optimizer(model, betas=(0.9, 0.95), decay=0.1)
    losses, norms = zip(*(train_step(model, optimizer, x, y, 1.0, half) for x, y in zip(inputs, targets)))
    results = {"loss": np.array(losses), "norm": np.array(norms)}
    results["weight"] = llmc_arrays(model, shape, lambda p: p)
    results["exp_avg"] = llmc_arrays(model, shape, lambda p: optimizer.state[p]["exp_avg"])
    results["exp_avg_sq"] = llmc_arrays(model, shape, lambda p: optimizer.state[p]["exp_avg_sq"])
    return results


# ---------------------------------------------------------------- files


class FixtureWriter:
    """Writes records (name, type, shape, data); README.md describes the format."""

    TYPES = {"f": "<f4", "d": "<f8", "i": "<i4"}

    def __init__(self, path):
        self.file = open(path, "wb")
        self.file.write(b"ZEROFIX1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def add(self, name, kind, array):
        array = np.ascontiguousarray(np.atleast_1d(array), dtype=self.TYPES[kind])
        assert np.isfinite(array).all(), name
        encoded = name.encode("ascii")
        self.file.write(struct.pack("<B", len(encoded)) + encoded)
        self.file.write(struct.pack(f"<cB{array.ndim}Q", kind.encode("ascii"), array.ndim, *array.shape))
        self.file.write(array.tobytes())

    def add_tensors(self, prefix, arrays, arrays_fp32):
        """Every tensor of the float64 run, and how far the fp32 run is from it."""
        for name, array in arrays.items():
            self.add(f"{prefix}/{name}", "f", array)
        slash = prefix.rfind("/") + 1
        self.add_distances(f"{prefix[:slash]}distance/{prefix[slash:]}", arrays, arrays_fp32)

    def add_distances(self, prefix, arrays, others):
        """How far every tensor of a run is from the float64 run, one number per layer."""
        for name, array in arrays.items():
            layered = name not in ("wte", "wpe", "lnfw", "lnfb")
            pairs = list(zip(array, others[name])) if layered else [(array, others[name])]
            self.add(f"{prefix}/{name}", "d", [tensor_distance(name, ours, theirs) for ours, theirs in pairs])


def distance(exact, other):
    """Relative L2."""
    return np.linalg.norm(np.asarray(other, np.float64) - exact) / np.linalg.norm(exact)


def tensor_distance(name, exact, other):
    if name == "qkvb":  # without the keys' part, whose true gradient is zero
        keys = slice(len(exact) // 3, 2 * len(exact) // 3)
        exact, other = np.delete(exact, keys), np.delete(other, keys)
    return distance(exact, other)


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

# Tokens of one batch or training run, and the float64 results by name.
ExactRun = namedtuple("ExactRun", "inputs targets results")


def forward_backward(model, shape, inputs, targets):
    """Logits, loss and the gradients of one batch."""
    model.zero_grad()
    logits, loss = forward(model, inputs, targets)
    loss.backward()
    return logits.detach(), loss.detach(), llmc_arrays(model, shape, lambda p: p.grad)


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
        batch = ExactRun(inputs, targets, {"logits": logits.numpy(), "gradients": gradients})

        runs = {}
        for micro_batches in (1, 4):
            run = f"train{micro_batches}"
            inputs, targets = (
                batches.view(STEPS, micro_batches, SEQUENCES, shape.t)
                for batches in random_batches(shape, STEPS * micro_batches, shape.seed + 200 + micro_batches)
            )
            exact = train(copy.deepcopy(model), shape, inputs, targets)
            runs[run] = ExactRun(inputs, targets, exact)
            fp32 = train(copy.deepcopy(model_fp32), shape, inputs, targets)
            fixture.add(f"{run}/inputs", "i", inputs.numpy())
            fixture.add(f"{run}/targets", "i", targets.numpy())
            for scalar in ("loss", "norm"):
                fixture.add(f"{run}/{scalar}", "d", exact[scalar])
                fixture.add(f"{run}/distance/{scalar}", "d", abs(fp32[scalar] - exact[scalar]) / exact[scalar])
            for kind in ("weight", "exp_avg", "exp_avg_sq"):
                fixture.add_tensors(f"{run}/{kind}", exact[kind], fp32[kind])
            print(
                f"{name} {run}: loss {exact['loss'][0]:.6f} to {exact['loss'][-1]:.6f}, "
                f"norm {exact['norm'].min():.3f} to {exact['norm'].max():.3f}, {sum(exact['norm'] > 1)} steps clipped"
            )
    return model, batch, runs


def check_half_model(model, shape, inputs):
    """Fails if a HalfModel computes another function than GPT-2."""
    exact = HalfModel(model, shape, torch.float64, loss_scale=1.0).model
    check_against_plain_forward(exact, inputs, exact(input_ids=inputs, use_cache=False).logits)


def make_half_fixture(path, shape, model, batch, runs, dtype, loss_scale):
    """How far PyTorch in a half type is from the float64 results."""
    title = os.path.basename(path).removesuffix(".fixture")

    def new_half_model():
        return HalfModel(copy.deepcopy(model).float(), shape, dtype, loss_scale)

    with FixtureWriter(path) as fixture:
        half = new_half_model()
        logits, loss = half.backward(batch.inputs, batch.targets, parts=1)
        gradients = llmc_arrays(half.master, shape, lambda p: p.grad)
        logits_distance = distance(batch.results["logits"], logits.float().numpy())
        fixture.add("loss_scale", "d", loss_scale)
        fixture.add("loss", "d", loss)
        fixture.add("distance/logits", "d", logits_distance)
        fixture.add_distances("distance/grad", batch.results["gradients"], gradients)
        print(f"{title}: loss {loss:.6f}, logits' distance {logits_distance:.2e}")

        for run, exact in runs.items():
            half = new_half_model()
            results = train(half.master, shape, exact.inputs, exact.targets, half)
            rms = np.sqrt(np.mean((results["loss"] - exact.results["loss"]) ** 2))
            fixture.add(f"{run}/loss", "d", results["loss"])
            fixture.add(f"{run}/norm", "d", results["norm"])
            fixture.add(f"{run}/rms", "d", rms)
            print(f"{title} {run}: losses' rms distance {rms:.2e}")


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
            trained = copy.deepcopy(model)
            optimizer = make_optimizer(trained, **options)
            steps = [train_step(trained, optimizer, *batches, clip) for _ in range(TINY_STEPS)]
            fixture.add(name, "d", [step_loss for step_loss, _ in steps])
            print(f"gpt2_tiny {name}: " + " ".join(f"{step_loss:.6f}" for step_loss, _ in steps))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default=os.path.join(here, "..", "fixtures"), help="folder (dev/fixtures)")
    directory = parser.parse_args().output
    os.makedirs(directory, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, shape in SHAPES.items():
        model, batch, runs = make_fixture(directory, name, shape)
        check_half_model(model, shape, batch.inputs)
        for half_name, dtype, loss_scale in HALF_TYPES:
            path = os.path.join(directory, f"{name}_{half_name}.fixture")
            make_half_fixture(path, shape, model, batch, runs, dtype, loss_scale)
    make_tiny(directory)


if __name__ == "__main__":
    main()
