#!/usr/bin/env python3
"""Makes dev/fixtures/bert_*: what PyTorch and Hugging Face's BERT compute for small random models.

    python dev/reference/make_bert_fixtures.py [--output DIR]

README.md beside this file describes the files, their records, and how to install what this needs.
"""

import contextlib
import copy
import os
from collections import namedtuple
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from counter_dropout import CounterDropout
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
    named_arrays,
    output_folder,
    padded_vocab,
    randomize,
    train,
    write_half_fixture,
)
from transformers import BertConfig, BertForPreTraining, BertForSequenceClassification
from transformers.models.bert import modeling_bert

# Our tensors: (name, names in Hugging Face, stored as (in, out) there).
EMBEDDINGS, LAYER, HEAD = "bert.embeddings.{}", "bert.encoder.layer.{{}}.{}", "cls.predictions.{}"
QKV = [LAYER.format(f"attention.self.{part}.") for part in ("query", "key", "value")]


def both(name, path):
    """Weight and bias of a layer."""
    return [(name + "w", [path + ".weight"], False), (name + "b", [path + ".bias"], False)]


ENCODER = (
    [
        ("wte", [EMBEDDINGS.format("word_embeddings.weight")], False),
        ("wpe", [EMBEDDINGS.format("position_embeddings.weight")], False),
        ("wtype", [EMBEDDINGS.format("token_type_embeddings.weight")], False),
    ]
    + both("lne", EMBEDDINGS.format("LayerNorm"))
    + [("qkvw", [part + "weight" for part in QKV], False), ("qkvb", [part + "bias" for part in QKV], False)]
    + both("attproj", LAYER.format("attention.output.dense"))
    + both("ln1", LAYER.format("attention.output.LayerNorm"))
    + both("fc", LAYER.format("intermediate.dense"))
    + both("fcproj", LAYER.format("output.dense"))
    + both("ln2", LAYER.format("output.LayerNorm"))
)
POOLER = both("pool", "bert.pooler.dense")
MASKED = (
    both("mlm", HEAD.format("transform.dense"))
    + both("mlmln", HEAD.format("transform.LayerNorm"))
    + [("mlmbias", [HEAD.format("bias")], False)]
)
NEXT = both("nsp", "cls.seq_relationship")
CLASSIFIER = both("cls", "classifier")

SEQUENCES = 3  # B, of a micro-batch
TYPES = 2
MASKED_SHARE = 0.3  # of the tokens
IGNORE = -1  # no target here

# Dropout's rates are all different, its seed has more than 32 bits, and the samples are not the first of their step.
DROPOUT = dict(hidden=0.15, attention=0.2, classifier=0.3, seed=0x123456789ABCDEF, step=7, first_sample=5)


class Shape:
    """A model's shape, what it predicts, and its runs of 20 steps by their micro-batches.

    labels 0: masked-LM and next-sentence prediction; 1: regression; more: classification.
    """

    def __init__(self, layers, heads, channels, max_t, vocab, t, weight_std, seed, labels, runs):
        self.layers, self.heads, self.channels = layers, heads, channels
        self.max_t, self.vocab, self.t = max_t, vocab, t
        self.weight_std, self.seed, self.labels, self.runs = weight_std, seed, labels, runs

    def tensors(self):
        return ENCODER + POOLER + (CLASSIFIER if self.labels > 0 else MASKED + NEXT)


A = dict(layers=2, heads=2, channels=16, max_t=16, vocab=120, t=16)
B = dict(layers=1, heads=2, channels=40, max_t=17, vocab=97, t=13)  # odd: heads of 20
SHAPES = {
    "bert_a": Shape(**A, weight_std=0.12, seed=11, labels=0, runs=(1, 4)),
    "bert_b": Shape(**B, weight_std=0.2, seed=12, labels=0, runs=(4,)),
    "bert_classes": Shape(**A, weight_std=0.12, seed=13, labels=3, runs=(1, 4)),
    "bert_values": Shape(**B, weight_std=0.2, seed=14, labels=1, runs=(4,)),
}


# ---------------------------------------------------------------- the model


def new_model(shape, attention):
    config = BertConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.channels,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.channels,
        max_position_embeddings=shape.max_t,
        type_vocab_size=TYPES,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout=0.0,
        num_labels=max(shape.labels, 1),
        attn_implementation=attention,
    )
    return BertForSequenceClassification(config) if shape.labels > 0 else BertForPreTraining(config)


def make_model(shape):
    """A float64 BERT whose values are random fp32 numbers."""
    return randomize(new_model(shape, "eager"), shape.weight_std, shape.seed, lambda name: "LayerNorm" in name)


# tokens, types, targets: (B, T); lengths, classes, values: (B). What lies behind a length is padding: token 0.
# targets: the token to predict, or IGNORE.
MicroBatch = namedtuple("MicroBatch", "tokens types lengths targets classes values")


def random_micro_batch(shape, generator):
    def integers(low, high, size):
        return torch.randint(low, high, size, generator=generator)

    size = (SEQUENCES, shape.t)
    lengths = integers(shape.t // 3, shape.t, (SEQUENCES,))
    lengths[integers(0, SEQUENCES, ())] = shape.t
    position = torch.arange(shape.t)
    real = position < lengths[:, None]
    tokens = torch.where(real, integers(1, shape.vocab, size), 0)
    second = torch.minimum(integers(2, shape.t, (SEQUENCES,)), lengths)
    types = torch.where(real & (position >= second[:, None]), 1, 0)
    masked = torch.rand(size, generator=generator) < MASKED_SHARE
    masked[:, 1] = True  # at least one of each sample
    masked[:, 0] = False  # its first token is never predicted
    targets = torch.where(masked & real, integers(0, shape.vocab, size), IGNORE)
    labels = shape.labels if shape.labels > 1 else 2
    values = torch.randn(SEQUENCES, generator=generator)
    return MicroBatch(tokens, types, lengths, targets, integers(0, labels, (SEQUENCES,)), values)


def attention_mask(batch):
    return (torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]).long()


def forward(model, batch):
    """{"masked_logits": (M, V) of the positions to predict, "label_logits": (B, labels)}, as the model has them."""
    output = model(input_ids=batch.tokens, token_type_ids=batch.types, attention_mask=attention_mask(batch))
    if isinstance(model, BertForSequenceClassification):
        return {"label_logits": output.logits}
    return {
        "masked_logits": output.prediction_logits[batch.targets != IGNORE],
        "label_logits": output.seq_relationship_logits,
    }


def losses(model, batch):
    """The summed losses of a micro-batch by record, in the model's own type but for half types."""
    logits = {name: at_least_fp32(value) for name, value in forward(model, batch).items()}
    labels = logits["label_logits"]
    if labels.shape[1] == 1:
        return {"label_loss": (labels[:, 0] - batch.values.to(labels.dtype)).square().sum()}
    sums = {"label_loss": F.cross_entropy(labels, batch.classes, reduction="sum")}
    if "masked_logits" in logits:
        targets = batch.targets[batch.targets != IGNORE]
        sums["masked_loss"] = F.cross_entropy(logits["masked_logits"], targets, reduction="sum")
    return sums


def loss_of(model, batch, batches):
    """Its part in the mean over all targets of the step, and over all its sequences."""
    sums = losses(model, batch)
    loss = sums["label_loss"] / sum(len(other.tokens) for other in batches)
    if "masked_loss" in sums:
        loss = loss + sums["masked_loss"] / sum((other.targets != IGNORE).sum() for other in batches)
    return loss


def check_against_plain_forward(model, batch):
    """Fails if the library computes another function than BERT, or somewhere in less than float64."""
    p = dict(model.named_parameters())
    channels, heads = model.config.hidden_size, model.config.num_attention_heads
    b, t = batch.tokens.shape

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        rstd = (centred.square().mean(-1, keepdim=True) + 1e-12).rsqrt()
        return centred * rstd * p[name + ".weight"] + p[name + ".bias"]

    def linear(x, name):
        return x @ p[name + ".weight"].T + p[name + ".bias"]

    def gelu(x):
        return x * (1 + torch.erf(x / 2**0.5)) / 2

    table = "bert.embeddings.{}_embeddings.weight"
    x = p[table.format("word")][batch.tokens] + p[table.format("token_type")][batch.types]
    x = norm(x + p[table.format("position")][:t], "bert.embeddings.LayerNorm")
    for layer in range(model.config.num_hidden_layers):
        block = f"bert.encoder.layer.{layer}."
        q, k, v = (
            linear(x, f"{block}attention.self.{part}").view(b, t, heads, channels // heads).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(-1, -2) / (channels // heads) ** 0.5
        scores = scores.masked_fill(attention_mask(batch)[:, None, None, :] == 0, float("-inf"))
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, channels)
        x = norm(x + linear(mixed, block + "attention.output.dense"), block + "attention.output.LayerNorm")
        h = linear(gelu(linear(x, block + "intermediate.dense")), block + "output.dense")
        x = norm(x + h, block + "output.LayerNorm")
    pooled = torch.tanh(linear(x[:, 0], "bert.pooler.dense"))
    logits = forward(model, batch)
    if isinstance(model, BertForSequenceClassification):
        plain = {"label_logits": linear(pooled, "classifier")}
    else:
        h = gelu(linear(x[batch.targets != IGNORE], "cls.predictions.transform.dense"))
        h = norm(h, "cls.predictions.transform.LayerNorm")
        masked = h @ p[table.format("word")].T + p["cls.predictions.bias"]
        plain = {"masked_logits": masked, "label_logits": linear(pooled, "cls.seq_relationship")}
    assert plain.keys() == logits.keys()
    for name, value in plain.items():
        assert torch.allclose(value, logits[name], rtol=1e-12, atol=1e-12), f"{name}: not float64 BERT's"


def arrays_of(shape):
    return lambda model, value_of: named_arrays(model, shape.tensors(), shape.layers, shape.vocab, value_of)


# ---------------------------------------------------------------- dropout by counter


class Dropped(torch.nn.Module):
    """In place of a Dropout: our masks at one of our sites; the inputs are (B, T, C), or (B, C) of first positions."""

    def __init__(self, draws, rate, layer, which):
        super().__init__()
        self.draws, self.rate, self.layer, self.which = draws, rate, layer, which

    def forward(self, x):
        samples = DROPOUT["first_sample"] + np.arange(len(x))
        positions = np.arange(x.shape[1]) if x.ndim == 3 else np.zeros(1, int)
        factors = self.draws.factors(self.rate, self.layer, self.which, 0, samples, positions, x.shape[-1])
        return x * torch.from_numpy(factors).view(x.shape).to(x.dtype)


@contextlib.contextmanager
def with_dropout(model):
    """The model with every Dropout replaced; attention's weights are dropped within its eager function."""
    draws = CounterDropout(DROPOUT["seed"], DROPOUT["step"])
    hidden, head = DROPOUT["hidden"], model.config.num_hidden_layers + 1
    model = copy.deepcopy(model)
    model.bert.embeddings.dropout = Dropped(draws, hidden, 0, CounterDropout.HIDDEN_1)
    for layer, block in enumerate(model.bert.encoder.layer):
        block.attention.output.dropout = Dropped(draws, hidden, 1 + layer, CounterDropout.HIDDEN_1)
        block.output.dropout = Dropped(draws, hidden, 1 + layer, CounterDropout.HIDDEN_2)
    if isinstance(model, BertForSequenceClassification):
        model.dropout = Dropped(draws, DROPOUT["classifier"], head, CounterDropout.HIDDEN_1)

    def attention(module, query, key, value, mask, scaling, **_):
        weights = (query @ key.transpose(2, 3) * scaling + mask).softmax(-1)
        b, heads, t, _ = weights.shape
        samples, rate = DROPOUT["first_sample"] + np.arange(b), DROPOUT["attention"]
        factors = np.stack(
            [
                draws.factors(rate, 1 + module.layer_idx, CounterDropout.ATTENTION, head, samples, np.arange(t), t)
                for head in range(heads)
            ],
            axis=1,
        )
        dropped = weights * torch.from_numpy(factors).to(weights.dtype)
        return (dropped @ value).transpose(1, 2).contiguous(), weights

    with mock.patch.object(modeling_bert, "eager_attention_forward", attention):
        yield model


# ---------------------------------------------------------------- the fixtures


def forward_backward(model, shape, batch, loss=loss_of):
    """Logits, loss and gradients of one batch."""
    model.zero_grad()
    value = loss(model, batch, [batch])
    value.backward()
    gradients = arrays_of(shape)(model, lambda p: torch.zeros_like(p) if p.grad is None else p.grad)
    return logits_of(model, batch), value.item(), gradients


def logits_of(model, batch):
    with torch.no_grad():
        return {name: value.float().numpy() for name, value in forward(model, batch).items()}


def add_batches(fixture, prefix, batches):
    """Micro-batches stacked, or a single one."""
    for field in MicroBatch._fields:
        values = [getattr(batch, field).numpy() for batch in batches]
        kind = "f" if field == "values" else "i"
        fixture.add(prefix + field, kind, np.stack(values) if prefix else values[0])


def masked_loss_of(model, batch, _):
    """Without next-sentence prediction."""
    return losses(model, batch)["masked_loss"] / (batch.targets != IGNORE).sum()


def add_dropout(fixture, shape, model, batch):
    fixture.add("dropout/rates", "d", [DROPOUT[name] for name in ("hidden", "attention", "classifier")])
    numbers = np.array([DROPOUT["seed"], DROPOUT["step"], DROPOUT["first_sample"]], np.uint64)
    fixture.add("dropout/numbers", "i", numbers.view(np.int32))
    results = []
    for exact in (model, copy.deepcopy(model).float()):
        with with_dropout(exact) as dropped:
            results.append(forward_backward(dropped, shape, batch))
    (_, loss, gradients), (_, _, gradients_fp32) = results
    fixture.add("dropout/loss", "d", loss)
    fixture.add_tensors("dropout/grad", gradients, gradients_fp32)
    print(f"    with dropout: loss {loss:.6f}")


def make_fixture(directory, name, shape):
    """Writes the model and its results; returns what the fixtures of the half types need."""
    model = make_model(shape)
    model_fp32 = copy.deepcopy(model).float()
    generator = torch.Generator().manual_seed(shape.seed + 100)
    arrays = arrays_of(shape)
    with FixtureWriter(os.path.join(directory, name + ".fixture")) as fixture:
        sizes = (shape.max_t, TYPES, shape.vocab, padded_vocab(shape.vocab), shape.layers, shape.heads)
        fixture.add("shape", "i", [*sizes, shape.channels, 4 * shape.channels, shape.labels])
        for tensor, array in arrays(model, lambda p: p).items():
            fixture.add(f"weight/{tensor}", "f", array)
        batch = random_micro_batch(shape, generator)
        check_against_plain_forward(model, batch)
        logits, loss, gradients = forward_backward(model, shape, batch)
        logits_fp32, _, gradients_fp32 = forward_backward(model_fp32, shape, batch)
        add_batches(fixture, "", [batch])
        for record, value in logits.items():
            fixture.add(record, "f", value)
            fixture.add(f"distance/{record}", "d", distance(value, logits_fp32[record]))
        for record, value in losses(model, batch).items():
            fixture.add(record, "d", value.item())
        fixture.add("loss", "d", loss)
        fixture.add_tensors("grad", gradients, gradients_fp32)
        deviations = ", ".join(f"{record} {value.std():.3f}" for record, value in logits.items())
        print(f"{name}: loss {loss:.6f}, deviation of {deviations}; lengths {batch.lengths.tolist()}")
        if name == "bert_a":
            _, _, masked_gradients = forward_backward(model, shape, batch, masked_loss_of)
            _, _, masked_gradients_fp32 = forward_backward(model_fp32, shape, batch, masked_loss_of)
            for tensor in ("poolw", "poolb", "nspw", "nspb"):
                assert not masked_gradients.pop(tensor).any(), tensor
            fixture.add_tensors("masked/grad", masked_gradients, masked_gradients_fp32)
        if name in ("bert_a", "bert_values"):
            add_dropout(fixture, shape, model, batch)

        runs = {}
        for micro_batches in shape.runs:
            run = f"train{micro_batches}"
            steps = [[random_micro_batch(shape, generator) for _ in range(micro_batches)] for _ in range(STEPS)]
            exact = train(Exact(copy.deepcopy(model), loss_of), steps, arrays)
            fp32 = train(Exact(copy.deepcopy(model_fp32), loss_of), steps, arrays)
            runs[run] = (steps, exact)
            add_batches(fixture, run + "/", [batch for step in steps for batch in step])
            fixture.add_training(run, exact, fp32)
            describe_training(f"{name} {run}", exact)
    return model, Batch(batch, logits, gradients), runs


def make_half_fixture(path, shape, model, batch, runs, dtype, loss_scale):
    def new_half():
        return Half(new_model(shape, "sdpa"), copy.deepcopy(model).float(), loss_of, dtype, loss_scale)

    write_half_fixture(path, new_half, loss_scale, batch, runs, logits_of, arrays_of(shape))


def main():
    directory = output_folder(__doc__)
    for name, shape in SHAPES.items():
        model, batch, runs = make_fixture(directory, name, shape)
        fused = Half(new_model(shape, "sdpa"), model, loss_of, torch.float64, loss_scale=1.0).model
        check_against_plain_forward(fused, batch.micro_batch)
        for half_name, dtype, loss_scale in HALF_TYPES:
            path = os.path.join(directory, f"{name}_{half_name}.fixture")
            make_half_fixture(path, shape, model, batch, runs, dtype, loss_scale)


if __name__ == "__main__":
    main()
