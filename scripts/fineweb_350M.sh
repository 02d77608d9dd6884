#!/usr/bin/env bash
# GPT-2 350M on 31.5 billion tokens of FineWeb, llm.c's recipe.
#
#   python3 data/fineweb.py --version 100B     # once: 200 GB of tokens, 290 GB of downloads (--discard keeps none)
#   scripts/fineweb_350M.sh
#
# Tokens: 60,000 steps of 524,288 (512 sequences of 1,024) = 31.46 billion.
# FLOPs:  (6 N + 6 L C T) per token, N = 354.9 million, L = 24, C = 1,024, T = 1,024: 2,280.2 MFLOP; in all 7.17e19.
# Time:   computed, not measured: 7.17e19 FLOPs / (FLOP/s that the trainer reaches). On 8 A100 at half of their
#         312 TFLOP/s in bf16, 1.25 PFLOP/s together: 16 hours. A processor at 1 TFLOP/s: 2.3 years.
# Type:   bf16 on GPUs by itself, fp32 on a processor: give --dtype bf16 there if it has the instructions.
# Memory: model state is 18 bytes per parameter in bf16 (4 of them summed gradients), 6.4 GB in all, divided among
#         the ranks by -z 1, 2, 3 (README).
# Disk:   a checkpoint has about 5.0 GB; the last two are kept.
# NP, DATA, OUT, STEPS, MICRO_BATCH, PROGRAM, and how it restarts: see scripts/recipe.sh. llm.c takes MICRO_BATCH=64 on
# GPUs of 80 GB. A first try on a processor: STEPS=2 NP=2 MICRO_BATCH=1 scripts/fineweb_350M.sh -t 64 -d 128 -n 0
NP=${NP:-8}
DATA=${DATA:-data/fineweb100B}
OUT=${OUT:-log_gpt2_350M}
STEPS=${STEPS:-60000}
# shellcheck source=scripts/recipe.sh
. "$(dirname "$0")/recipe.sh"
need_data 'fineweb_train_*.bin' 'python3 data/fineweb.py --version 100B'

train -e d24 \
  -i "$DATA/fineweb_train_*.bin" -j "$DATA/fineweb_val_*.bin" --tokenizer "$DATA/gpt2_tokenizer.bin" \
  -t 1024 -d 524288 -z 1 \
  -k cosine -l 0.0003 -q 0.0 -u 700 -c 0.1 \
  -v 250 -m 20 -s 100000 -g 144 -n 2000 -nk 2 "$@"
