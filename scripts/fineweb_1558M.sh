#!/usr/bin/env bash
# GPT-2 1558M on 33.6 billion tokens of FineWeb-Edu, llm.c's recipe.
#
#   python3 data/fineweb.py --edu --version 100B     # once: 200 GB of tokens, 290 GB of downloads (--discard keeps none)
#   scripts/fineweb_1558M.sh
#
# Tokens: 32,000 steps of 1,048,576 (1,024 sequences of 1,024) = 33.55 billion.
# FLOPs:  (6 N + 6 L C T) per token, N = 1,557.7 million, L = 48, C = 1,600, T = 1,024: 9,818.0 MFLOP; in all 3.29e20.
# Time:   computed, not measured: 3.29e20 FLOPs / (FLOP/s that the trainer reaches). On 8 A100 at half of their
#         312 TFLOP/s in bf16, 1.25 PFLOP/s together: 3.1 days. A processor at 1 TFLOP/s: 10 years.
# Type:   bf16 on GPUs by itself, fp32 on a processor: give --dtype bf16 there if it has the instructions.
# Memory: model state is 18 bytes per parameter in bf16 (4 of them summed gradients), 28.0 GB in all, divided among
#         the ranks by -z 1, 2, 3 (README).
# Disk:   a checkpoint has about 21.8 GB; the last two are kept.
# NP, DATA, OUT, STEPS, MICRO_BATCH, PROGRAM, and how it restarts: see scripts/recipe.sh. llm.c takes MICRO_BATCH=16 on
# GPUs of 80 GB. A first try on a processor: STEPS=2 NP=2 MICRO_BATCH=1 scripts/fineweb_1558M.sh -t 64 -d 128 -n 0
NP=${NP:-8}
DATA=${DATA:-data/edu_fineweb100B}
OUT=${OUT:-log_gpt2_1558M}
STEPS=${STEPS:-32000}
# shellcheck source=scripts/recipe.sh
. "$(dirname "$0")/recipe.sh"
need_data 'edu_fineweb_train_*.bin' 'python3 data/fineweb.py --edu --version 100B'

train -e d48 \
  -i "$DATA/edu_fineweb_train_*.bin" -j "$DATA/edu_fineweb_val_*.bin" --tokenizer "$DATA/gpt2_tokenizer.bin" \
  -t 1024 -d 1048576 -z 1 \
  -k cosine -l 0.0006 -q 0.1 -u 700 -c 0.1 \
  -v 250 -m 20 -s 300000 -g 384 -n 2000 -nk 2 "$@"
