#!/usr/bin/env bash
# TinyStories: a GPT-2 of 16 million parameters (4 layers, 8 heads, 256 channels) learns to tell stories for children.
#
#   python3 data/tinystories.py     # once: 0.93 billion tokens, 1.9 GB (and 8 GB for the texts)
#   scripts/tinystories.sh
#
# Tokens: 14,124 steps of 65,536 (256 sequences of 256) = 0.926 billion, one epoch.
# FLOPs:  (6 N + 6 L C T) per token, N = 16.1 million: 98.2 MFLOP; in all 9.1e16.
# Time:   computed, not measured: 9.1e16 FLOPs / (FLOP/s that train_gpt2 reaches): 10.5 days at 0.1 TFLOP/s (2 cores),
#         25 hours at 1 TFLOP/s, 10 minutes at 150 TFLOP/s. STEPS=1000 takes a fourteenth and already tells stories.
# Disk:   a checkpoint has 0.26 GB; the last two are kept.
# NP, DATA, OUT, STEPS, MICRO_BATCH, and how it restarts: see scripts/recipe.sh.
NP=${NP:-4}
DATA=${DATA:-data/tinystories}
OUT=${OUT:-log_tinystories}
STEPS=${STEPS:-14124}
# shellcheck source=scripts/recipe.sh
. "$(dirname "$0")/recipe.sh"
need_data 'TinyStories_train.bin' 'python3 data/tinystories.py'

train -e L=4,H=8,C=256,T=256,V=50257 \
  -i "$DATA/TinyStories_train.bin" -j "$DATA/TinyStories_val.bin" --tokenizer "$DATA/gpt2_tokenizer.bin" \
  -t 256 -d 65536 -z 2 \
  -l 1e-3 -q 0.1 -u 500 -c 0.1 \
  -v 250 -m 20 -s 1000 -g 200 -n 500 -nk 2 "$@"
