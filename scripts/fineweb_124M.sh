#!/usr/bin/env bash
# GPT-2 124M on 10 billion tokens of FineWeb, llm.c's recipe.
#
#   python3 data/fineweb.py --version 10B     # once: 20 GB of tokens, 29 GB of downloads (--discard keeps none)
#   scripts/fineweb_124M.sh
#
# Tokens: 18,865 steps of 524,288 (512 sequences of 1,024) = 9.89 billion.
# FLOPs:  (6 N + 6 L C T) per token, N = 124.5 million, L = 12, C = 768, T = 1,024: 803.5 MFLOP; in all 7.95e18.
# Time:   computed, not measured: 7.95e18 FLOPs / (FLOP/s that the trainer reaches). On 8 A100 at half of their
#         312 TFLOP/s in bf16, 1.25 PFLOP/s together: 1.8 hours. A processor at 1 TFLOP/s: 92 days.
# Type:   bf16 on GPUs by itself, fp32 on a processor: give --dtype bf16 there if it has the instructions.
# Memory: model state is 18 bytes per parameter in bf16 (4 of them summed gradients), 2.2 GB in all, divided among
#         the ranks by -z 1, 2, 3 (README).
# Disk:   a checkpoint has about 1.7 GB; the last two are kept.
# NP, DATA, OUT, STEPS, MICRO_BATCH, PROGRAM, and how it restarts: see scripts/recipe.sh. llm.c takes MICRO_BATCH=64 on
# GPUs of 80 GB. A first try on a processor: STEPS=2 NP=2 MICRO_BATCH=1 scripts/fineweb_124M.sh -t 64 -d 128 -n 0
NP=${NP:-8}
DATA=${DATA:-data/fineweb10B}
OUT=${OUT:-log_gpt2_124M}
STEPS=${STEPS:-18865}
# shellcheck source=scripts/recipe.sh
. "$(dirname "$0")/recipe.sh"
need_data 'fineweb_train_*.bin' 'python3 data/fineweb.py --version 10B'

train -e d12 \
  -i "$DATA/fineweb_train_*.bin" -j "$DATA/fineweb_val_*.bin" --tokenizer "$DATA/gpt2_tokenizer.bin" \
  -t 1024 -d 524288 -z 1 \
  -k cosine -l 0.0006 -q 0.0 -u 700 -c 0.1 \
  -v 250 -m 20 -s 20000 -g 144 -n 5000 -nk 2 "$@"
