"""The rival: a GPT-2 in PyTorch with the shapes of train_gpt2, on the CPU. Started by bench.py, which sends requests.

    torch_gpt2.py MODEL            MODEL: {"layers":, "heads":, "channels":, "longest":, "vocabulary":, "threads":}

Reads one request a line, {"batch":, "length":, "accumulation":, "dtype":, "compiled":, "steps":}, and answers each by
one line, {"seconds": [of each step], "loss":, "parameters":} or {"error":}. One micro-step
before, which compiles, is not in the list.
With `--processes RANK RANKS FILE` it is one of several that meet at FILE (gloo); requests have "method" too: ddp,
zero1 (ZeroRedundancyOptimizer), fsdp2 (FSDP that shards gradients and optimizer), fsdp3 (parameters too).

As llm.c and nanoGPT train: fp32 parameters, for bf16 under autocast, SDPA, AdamW (fused), the norm clipped to 1. The
vocabulary is padded as in train_gpt2.
"""

import contextlib
import json
import os
import sys
import time
import warnings

import torch
import torch.nn as nn
import torch.nn.functional as F

CORPUS = 1 << 16  # random tokens, from which batches are cut as nanoGPT does


class Block(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.fc, self.fcproj = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.proj(y)
        return x + self.fcproj(F.gelu(self.fc(self.ln2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, model):
        super().__init__()
        channels = model["channels"]
        padded = (model["vocabulary"] + 127) // 128 * 128
        self.wte, self.wpe = nn.Embedding(padded, channels), nn.Embedding(model["longest"], channels)
        self.blocks = nn.ModuleList(Block(channels, model["heads"]) for _ in range(model["layers"]))
        self.lnf = nn.LayerNorm(channels)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.lnf(x), self.wte.weight)
        return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.view(-1))


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True)


class Trainer:
    """One model and optimizer, run eagerly and compiled."""

    def __init__(self, model):
        self.description = model
        torch.manual_seed(0)
        self.corpus = torch.randint(0, model["vocabulary"], (CORPUS,))
        self.ready = set()

    def prepare(self, _request):
        self.model = GPT2(self.description)
        self.called = {False: self.model, True: torch.compile(self.model, dynamic=False)}
        self.optimizer = adamw(self.model.parameters())

    def micro_step(self, _last):
        return contextlib.nullcontext()

    def clip(self):
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)

    def batch(self, size, length):
        at = torch.randint(CORPUS - length - 1, (size,)).tolist()
        rows = torch.stack([self.corpus[i : i + length + 1] for i in at])
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    def step(self, request):
        total = 0.0
        autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=request["dtype"] == "bf16")
        for i in range(request["accumulation"]):
            tokens, targets = self.batch(request["batch"], request["length"])
            with self.micro_step(i + 1 == request["accumulation"]):
                with autocast:
                    loss = self.called[request["compiled"]](tokens, targets) / request["accumulation"]
                loss.backward()
            total += loss.item()
        self.clip()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def run(self, request):
        setting = json.dumps({name: value for name, value in request.items() if name != "steps"})
        if not self.ready:
            self.prepare(request)
        if setting not in self.ready:
            self.step({**request, "accumulation": 1})
            self.ready.add(setting)
        seconds, loss = [], 0.0
        for _ in range(request["steps"]):
            start = time.perf_counter()
            loss = self.step(request)
            seconds.append(time.perf_counter() - start)
        parameters = sum(p.numel() for p in self.model.parameters())
        return {"seconds": seconds, "loss": loss, "parameters": parameters}


class Processes(Trainer):
    """One of several processes; a model for each method in turn, as memory has room for one."""

    method = None

    def prepare(self, request):
        self.method = request["method"]
        torch.manual_seed(0)
        model = GPT2(self.description)
        self.optimizer = None
        if self.method in ("ddp", "zero1"):
            self.model = nn.parallel.DistributedDataParallel(model)
        else:
            self.model = self.sharded(model, reshard=self.method == "fsdp3")
        if self.method == "zero1":
            from torch.distributed.optim import ZeroRedundancyOptimizer

            self.optimizer = ZeroRedundancyOptimizer(
                self.model.parameters(), torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True
            )
        else:
            self.optimizer = adamw(self.model.parameters())
        self.called = {False: self.model}

    @staticmethod
    def sharded(model, reshard):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
        for block in model.blocks:
            fully_shard(block, mesh=mesh, reshard_after_forward=reshard)
        return fully_shard(model, mesh=mesh, reshard_after_forward=reshard)

    def micro_step(self, last):
        if self.method in ("ddp", "zero1") and not last:
            return self.model.no_sync()
        return contextlib.nullcontext()

    def run(self, request):
        if request["method"] != self.method:
            self.model = self.called = self.optimizer = None  # gives its memory back before the next one
            self.ready.clear()
        result = super().run(request)
        torch.distributed.barrier()
        return result


def requests(rank):
    """Those that come in, on every process alike."""
    while True:
        line = [sys.stdin.readline() if rank == 0 else None]
        if torch.distributed.is_initialized():
            torch.distributed.broadcast_object_list(line, src=0)
        if not line[0]:
            return
        yield json.loads(line[0])


def main():
    warnings.filterwarnings("ignore")
    model = json.loads(sys.argv[1])
    torch.set_num_threads(model["threads"])
    rank = 0
    if sys.argv[2:3] == ["--processes"]:
        rank, ranks, place = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
        torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=ranks)
        trainer = Processes(model)
    else:
        trainer = Trainer(model)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not belong to the answers
    for request in requests(rank):
        try:
            answer = trainer.run(request)
        except Exception as problem:  # reported, and the next request may do
            answer = {"error": f"{type(problem).__name__}: {problem}".splitlines()[0]}
        if rank == 0:
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
