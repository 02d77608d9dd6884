"""What the scripts that make fixtures share: training as zero.c trains, distances between runs, and the files.

A model's `loss_of(model, micro_batch, micro_batches)` is the part of one micro-batch in the mean loss over all of a
step's micro-batches, so that the parts add up to it.
"""

import argparse
import os
import struct
from collections import namedtuple

import numpy as np
import torch

VOCAB_MULTIPLE = 128  # the vocabulary is padded to a multiple of it

# Standard deviations of the random values; that of the weights is the shape's.
BIAS_STD, NORM_STD = 0.1, 0.2

STEPS = 20
LEARNING_RATE = 1e-4
STATE_KINDS = ("weight", "exp_avg", "exp_avg_sq")

# The half types: name in the files, PyTorch's type, loss scale. The scale is a power of two, so that it moves
# no result but for what fp16 cannot represent without it.
HALF_TYPES = [("bf16", torch.bfloat16, 1.0), ("fp16", torch.float16, 1024.0)]


# ---------------------------------------------------------------- models


def padded_vocab(vocab):
    return -(-vocab // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def randomize(model, weight_std, seed, is_norm):
    """The model in float64, every value a random fp32 number; is_norm(name): does it belong to a LayerNorm?"""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if parameter.ndim == 2:
                parameter.copy_(values * weight_std)
            elif is_norm(name) and name.endswith(".weight"):
                parameter.copy_(1 + values * NORM_STD)
            else:
                parameter.copy_(values * BIAS_STD)
    return model.double().train()


def at_least_fp32(logits):
    """Logits for the loss: as the library's own, which is never computed in a half type."""
    return logits if logits.dtype == torch.float64 else logits.float()


class Exact:
    """Forward and backward in the model's own type."""

    def __init__(self, model, loss_of):
        self.master, self.loss_of = model, loss_of

    def backward(self, micro_batch, micro_batches):
        """Adds the micro-batch's gradients to the master's; returns its part of the loss."""
        loss = self.loss_of(self.master, micro_batch, micro_batches)
        loss.backward()
        return loss.item()

    def updated(self):
        """To be called after each update of the master's weights."""


class Half:
    """What PyTorch does in a half type without autocast: model.to(type) beside fp32 master weights.

    model: of the library's fused attention and GELU, which round less often than its own chains of operations.
    """

    def __init__(self, model, master, loss_of, dtype, loss_scale):
        self.model, self.master, self.loss_of, self.loss_scale = model.to(dtype).train(), master, loss_of, loss_scale
        self.updated()

    def updated(self):
        with torch.no_grad():
            for half, master in zip(self.model.parameters(), self.master.parameters(), strict=True):
                half.copy_(master)

    def backward(self, micro_batch, micro_batches):
        self.model.zero_grad()
        loss = self.loss_of(self.model, micro_batch, micro_batches)
        (loss * self.loss_scale).backward()
        for half, master in zip(self.model.parameters(), self.master.parameters(), strict=True):
            gradient = half.grad.float() / self.loss_scale
            master.grad = gradient if master.grad is None else master.grad + gradient
        return loss.item()


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


def train_step(run, optimizer, micro_batches, clip):
    """One update: the mean loss before it, and the norm before clipping."""
    optimizer.zero_grad()
    total = sum(run.backward(micro_batch, micro_batches) for micro_batch in micro_batches)
    norm = torch.nn.utils.clip_grad_norm_(run.master.parameters(), clip, foreach=False).item()
    optimizer.step()
    run.updated()
    return total, norm


def train(run, steps, arrays_of):
    """A step for each list of micro-batches: losses, norms, and all tensors and moments after them.

    arrays_of(model, value_of): the arrays of value_of(parameter), by our names.
    """
    optimizer = make_optimizer(run.master, betas=(0.9, 0.95), decay=0.1)
    losses, norms = zip(*(train_step(run, optimizer, micro_batches, 1.0) for micro_batches in steps))
    results = {"loss": np.array(losses), "norm": np.array(norms)}
    results["weight"] = arrays_of(run.master, lambda p: p)
    results["exp_avg"] = arrays_of(run.master, lambda p: optimizer.state[p]["exp_avg"])
    results["exp_avg_sq"] = arrays_of(run.master, lambda p: optimizer.state[p]["exp_avg_sq"])
    return results


def named_arrays(model, tensors, layers, vocab, value_of):
    """{our name: array in our shape} of value_of(parameter), for every tensor of the model.

    tensors: (our name, the model's names, is it stored as (in, out) there?); several names are put one after the
    other, a {} in them stands for the layer. Arrays of `vocab` rows named in PADDED get rows of zeros.
    """
    parameters = dict(model.named_parameters())
    arrays = {}
    for name, paths, transposed in tensors:
        layered = "{}" in paths[0]
        stack = []
        for layer in range(layers if layered else 1):
            parts = [value_of(parameters[path.format(layer)]).detach().numpy() for path in paths]
            value = np.concatenate(parts) if len(parts) > 1 else parts[0]
            stack.append(value.T if transposed else value)
        arrays[name] = np.stack(stack) if layered else stack[0]
        if name in PADDED:
            padding = np.zeros((padded_vocab(vocab) - vocab,) + arrays[name].shape[1:])
            arrays[name] = np.concatenate([arrays[name], padding])
    return arrays


PADDED = ("wte", "mlmbias")
# Arrays whose first dimension is the layer.
LAYERED = "ln1w ln1b qkvw qkvb attprojw attprojb ln2w ln2b fcw fcb fcprojw fcprojb".split()


# ---------------------------------------------------------------- distances


def distance(exact, other):
    """Relative L2."""
    return np.linalg.norm(np.asarray(other, np.float64) - exact) / np.linalg.norm(exact)


def tensor_distance(name, exact, other):
    if name == "qkvb":  # without the keys' part, whose true gradient is zero
        keys = slice(len(exact) // 3, 2 * len(exact) // 3)
        exact, other = np.delete(exact, keys), np.delete(other, keys)
    return distance(exact, other)


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
            pairs = list(zip(array, others[name])) if name in LAYERED else [(array, others[name])]
            self.add(f"{prefix}/{name}", "d", [tensor_distance(name, ours, theirs) for ours, theirs in pairs])

    def add_training(self, run, exact, fp32):
        """The results of a float64 run (train), and how far the fp32 run is from them."""
        for scalar in ("loss", "norm"):
            self.add(f"{run}/{scalar}", "d", exact[scalar])
            self.add(f"{run}/distance/{scalar}", "d", abs(fp32[scalar] - exact[scalar]) / exact[scalar])
        for kind in STATE_KINDS:
            self.add_tensors(f"{run}/{kind}", exact[kind], fp32[kind])

    def add_half_training(self, run, half, exact):
        """The losses of a run in a half type, and their rms distance, which is returned, from the float64 run."""
        rms = np.sqrt(np.mean((half["loss"] - exact["loss"]) ** 2))
        self.add(f"{run}/loss", "d", half["loss"])
        self.add(f"{run}/norm", "d", half["norm"])
        self.add(f"{run}/rms", "d", rms)
        return rms


# ---------------------------------------------------------------- a half type beside the float64 results

# One micro-batch, its float64 logits {record: array}, and its float64 gradients by our names.
Batch = namedtuple("Batch", "micro_batch logits gradients")


def write_half_fixture(path, new_half, loss_scale, batch, runs, logits_of, arrays_of):
    """How far PyTorch in a half type is from the float64 results.

    new_half(): a Half with the initial weights; runs: {name: (steps, float64 results)}; logits_of(model, micro_batch):
    as batch.logits.
    """
    title = os.path.basename(path).removesuffix(".fixture")
    with FixtureWriter(path) as fixture:
        half = new_half()
        loss = half.backward(batch.micro_batch, [batch.micro_batch])
        gradients = arrays_of(half.master, lambda p: p.grad)
        with torch.no_grad():
            logits = logits_of(half.model, batch.micro_batch)
        fixture.add("loss_scale", "d", loss_scale)
        fixture.add("loss", "d", loss)
        for name, exact in batch.logits.items():
            fixture.add(f"distance/{name}", "d", distance(exact, logits[name]))
        fixture.add_distances("distance/grad", batch.gradients, gradients)
        distances = " ".join(f"{name} {distance(exact, logits[name]):.2e}" for name, exact in batch.logits.items())
        print(f"{title}: loss {loss:.6f}, distance of {distances}")
        for run, (steps, exact) in runs.items():
            results = train(new_half(), steps, arrays_of)
            rms = fixture.add_half_training(run, results, exact)
            print(f"{title} {run}: losses' rms distance {rms:.2e}")


def describe_training(title, exact):
    print(
        f"{title}: loss {exact['loss'][0]:.6f} to {exact['loss'][-1]:.6f}, "
        f"norm {exact['norm'].min():.3f} to {exact['norm'].max():.3f}, {sum(exact['norm'] > 1)} steps clipped"
    )


def output_folder(description):
    """The folder that the command line asks for, made. From here on PyTorch gives the same bits every time."""
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default=os.path.join(here, "..", "fixtures"), help="folder (dev/fixtures)")
    directory = parser.parse_args().output
    os.makedirs(directory, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return directory
