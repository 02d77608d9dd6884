"""The rival: PyTorch's GPT-2 124M, compiled, with SDPA and fused AdamW, in bf16, on the card of this machine.

    dev/gpu/torch_gpt2.py B T STEPS        prints milliseconds per step (median) and tokens per second

Like our trainer: parameters in bf16 with fp32 master weights is not PyTorch's habit; this is nanoGPT's and llm.c's
yardstick, fp32 parameters under bf16 autocast, the vocabulary padded to 50,304.
"""

import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

LAYERS, HEADS, CHANNELS, VOCABULARY = 12, 12, 768, 50304


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS)
        self.qkv, self.proj = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.fc, self.fcproj = nn.Linear(CHANNELS, 4 * CHANNELS), nn.Linear(4 * CHANNELS, CHANNELS)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(b, t, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, c)
        x = x + self.proj(y)
        return x + self.fcproj(F.gelu(self.fc(self.ln2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, longest):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, CHANNELS), nn.Embedding(longest, CHANNELS)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.lnf = nn.LayerNorm(CHANNELS)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.lnf(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))


def main():
    batch, length, steps = (int(x) for x in sys.argv[1:])
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    model = GPT2(length).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    compiled = torch.compile(model)
    tokens = torch.randint(0, 50257, (batch, length + 1), device="cuda")
    times = []
    for _ in range(steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = compiled(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    seconds = sorted(times[steps // 2 :])[(steps - steps // 2) // 2]
    print(f"PyTorch {torch.__version__}: B {batch} T {length}: {seconds * 1e3:.1f} ms, {batch * length / seconds:.0f} tok/s")


if __name__ == "__main__":
    main()
