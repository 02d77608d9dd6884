#!/usr/bin/env bash
# What packing and the head at masked positions save when bert-mini trains on samples of different lengths, dropout on.
#
#   dev/bench/packing.sh PREFIX...    prefixes of samples in pairs or alone: data/bert_demo/verse_order, …
#
# 1. tokens/s (padding not counted) of --packed 1 and of --packed 0, by turns, median of 5 runs each; their losses are
#    the same.
# 2. The time of a step whose head computes the masked 15 % of the tokens, and of one where it computes all of them
#    (--mask-probability 1), by turns, median of 5.
#
# Exit code 1 if packing is not 1.5 times as fast or the losses differ.
# Variables: RUNS (5), STEPS of a run (10; the first 2 are not counted), LENGTH of a padded sample (64), RANKS (1).
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

runs=${RUNS:-5}
steps=${STEPS:-10}
length=${LENGTH:-64}
ranks=${RANKS:-1}
unmeasured=2     # steps in which oneDNN makes its plans
needed=1.5       # times as many tokens/s
tolerance=1e-5   # of a loss
micro=16         # samples of a micro-batch
batch=32         # samples of a step

fail() {
  echo "error: packing.sh: $*" >&2
  exit 1
}

[ $# -gt 0 ] || fail "no PREFIX; give data/bert_demo/verse_order after scripts/run_bert_demo.sh has prepared it"
[ -x train_bert ] || fail "./train_bert not found; build it with: make train_bert"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# train PREFIX FLAGS...: a line `LOSS MS TOKENS_PER_SECOND` for each step
train() {
  local prefix=$1 words
  shift
  words=$(wc -l < "$prefix.vocab.txt") || exit
  rm -rf "$work/out"
  scripts/run.sh "$ranks" ./train_bert --task mlm -e "L=4,H=4,C=256,T=$length,V=$words" -i "${prefix}_train.bin" \
    -t "$length" -b $((micro / ranks)) -d $((batch * length)) -x "$steps" -v 0 -l 1e-4 --dropout 0.1 --attention-dropout 0.1 \
    -o "$work/out" "$@" > "$work/log" || exit
  # The log has more figures of a loss than the line of a step.
  sed -nE 's/^step .* ([0-9.]+) ms \| ([0-9]+) tok.*/\1 \2/p' "$work/log" |
    paste -d ' ' <(sed -nE 's/.* trl:([0-9.]+) .*/\1/p' "$work/out/main.log") - > "$work/steps"
  [ "$(grep -cE '^[0-9.]+ [0-9.]+ [0-9]+$' "$work/steps")" = "$steps" ] || fail "$prefix: no $steps steps in the trainer's output"
  cat "$work/steps"
}

# figures NAME: of standard input's steps adds the tokens/s to NAME.speeds and the ms of a step to NAME.times
figures() {
  tee "$work/$1.losses" | tail -n +$((unmeasured + 1)) |
    awk '{ ms += $2; tokens += $2 * $3 } END { if (ms <= 0) exit 1; print tokens / ms, ms / NR }' > "$work/figures" || exit
  cut -d ' ' -f 1 "$work/figures" >> "$work/$1.speeds"
  cut -d ' ' -f 2 "$work/figures" >> "$work/$1.times"
}

median() { sort -g "$work/$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

bad=0
for prefix in "$@"; do
  rm -rf "${work:?}"/*
  for _ in $(seq "$runs"); do
    for packed in 0 1; do train "$prefix" --packed $packed | figures packed_$packed || exit; done
    train "$prefix" --mask-probability 1 | figures whole_head || exit
  done
  difference=$(paste -d ' ' "$work/packed_0.losses" "$work/packed_1.losses" | awk '
    { d = ($1 - $4) / $1; if (d < 0) d = -d; if (d > most) most = d; n++ } END { if (n == 0) exit 1; print most + 0 }') ||
    fail "$prefix: no losses to compare"
  awk -v name="$prefix" -v padded="$(median packed_0.speeds)" -v packed="$(median packed_1.speeds)" -v d="$difference" \
    -v needed=$needed -v tolerance=$tolerance -v step="$(median packed_1.times)" -v whole="$(median whole_head.times)" 'BEGIN {
      printf "%s\n  packed %.0f tok/s | padded %.0f tok/s | %.2f times | largest difference of a loss %.1e of it\n",
        name, packed, padded, packed / padded, d
      printf "  a step with the head at the masked tokens %.1f ms | at all tokens %.1f ms | saved %.1f ms, %.0f %%\n",
        step, whole, whole - step, 100 * (whole - step) / whole
      exit !(packed >= needed * padded && d <= tolerance && whole > step) }' || bad=1
done
[ $bad = 0 ] || fail "not $needed times as fast, losses that differ by more than $tolerance, or a head that saves nothing"
