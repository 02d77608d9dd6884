#!/usr/bin/env bash
# The demo: a GPT-2 of 0.8 million parameters learns to write like the King James Bible, on 4 ranks at ZeRO
# stage 2, by nanoGPT's recipe for a CPU (4 layers, 4 heads, 128 channels, 64 characters of context, 12
# sequences a step, 2,000 steps: 1.5 million characters). `make demo` builds what it needs and calls it.
#
#   scripts/run_demo.sh [more flags for ./train_gpt2, as: --seed 2]
#
# DEMO_STEPS: another number of steps. DEMO_RANKS: 1, 2 or 4 ranks; the losses are the same.
set -u -o pipefail
shopt -s lastpipe # a pipe's last command runs in this shell: what it learns stays
cd "$(dirname "$0")/.." || exit 1

steps=${DEMO_STEPS:-2000}
ranks=${DEMO_RANKS:-4}

fail() {
  echo "error: run_demo.sh: $*" >&2
  exit 1
}

# Passes the trainer's lines on and keeps the validation losses.
val_losses=()
keep_losses() {
  local line
  while IFS= read -r line; do
    if [[ $line =~ ^val\ loss\ ([0-9.]+) ]]; then val_losses+=("${BASH_REMATCH[1]}"); fi
    printf '%s\n' "$line"
  done
}

case $steps in
  "" | *[!0-9]* | 0*) fail "DEMO_STEPS: '$steps' found; give a number of steps, 1 or more" ;;
esac
case $ranks in
  1 | 2 | 4) ;;
  *) fail "DEMO_RANKS: '$ranks' found; give 1, 2 or 4, which share 4 micro-batches evenly" ;;
esac
progress_every=$(((steps + 39) / 40)) # about 40 lines of progress
if [ ! -x train_gpt2 ]; then
  fail "./train_gpt2 not found; build it with: make train_gpt2"
fi
for part in train val tokenizer; do
  if [ ! -e "data/demo_$part.bin" ]; then
    python3 data/prepare_text.py --demo || exit
    break
  fi
done
# The tokenizer file's third int32 is the size of the vocabulary.
vocabulary=$(od -An -t d4 -j 8 -N 4 data/demo_tokenizer.bin | tr -d ' ')

# -d: tokens per step, 12 sequences of 64, whatever the ranks.
scripts/run.sh "$ranks" ./train_gpt2 \
  -e "L=4,H=4,C=128,T=64,V=$vocabulary" \
  -i data/demo_train.bin -j data/demo_val.bin --tokenizer data/demo_tokenizer.bin \
  -b 3 -t 64 -d 768 -z 2 -x "$steps" \
  -l 1e-3 -q 0.1 -u 100 -k cosine -c 0.1 --beta1 0.9 --beta2 0.99 --clip 1.0 \
  --log-every "$progress_every" -v "$steps" -m -1 -s "$steps" -g 256 -o log_demo "$@" | keep_losses || exit

# Validation ran before the first step and after the last.
if [ ${#val_losses[@]} -lt 2 ]; then
  fail "${#val_losses[@]} validation losses found, not 2; give no flags that turn validation off"
fi
printf '\nval loss %s before\nval loss %s after\n' "${val_losses[0]}" "${val_losses[-1]}"
