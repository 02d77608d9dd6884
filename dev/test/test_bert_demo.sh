#!/usr/bin/env bash
# scripts/run_bert_demo.sh from its data to table and plot, with few steps (--long), what it refuses, that it goes on; its
# report on results made up; dev/bench/packing.sh on a few samples (--long).
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
demo="$root/scripts/run_bert_demo.sh"
data="$root/data"

# refuses TEXT COMMAND...: exit code 1, and a line on stderr that begins `error: ` and has the text
refuses() {
  local text=$1 code=0 output
  shift
  output=$("$@" 2>&1 > log < /dev/null) || code=$?
  is "exit code of '$*'" "$code" 1 || return 1
  has "'$*'" "$(grep '^error: ' <<< "$output")" "$text"
}

usage() {
  refuses "DEMO_STEPS: '0' found" env DEMO_STEPS=0 "$demo" && refuses "DEMO_SEEDS: 'x'" env DEMO_SEEDS=x "$demo" &&
    refuses "DEMO_EPOCHS: '-1'" env DEMO_EPOCHS=-1 "$demo" && refuses "DEMO_RANKS: '3' found" env DEMO_RANKS=3 "$demo" &&
    refuses "no PREFIX" "$root/dev/bench/packing.sh"
}

report() {
  local model name seed share
  for model in words:-:0.5 BERT:1:0.7 BERT:2:0.8 BERT:3:0.9; do
    IFS=: read -r name seed share <<< "$model"
    printf 'next\t%s\t%s\t%s\n' "$name" "$seed" "$share"
  done > results.tsv
  printf 's:0 tel:9.1\ns:0 trl:9.0 lr:1 norm:1\ns:1 trl:5.5 lr:1 norm:1\ns:2 tel:5\n' > main.log
  python3 "$data/bert_report.py" results.tsv main.log --plot plot.svg > log || return 1
  has "table" "$(cat log)" "words                   50.0" &&
    has "table" "$(cat log)" "BERT                    80.0 ± 10.0 (70.0 … 90.0)" || return 1
  why="plot.svg is no XML" && python3 -c 'import xml.dom.minidom as x; x.parse("plot.svg")' || return 1
  is "dots in the plot" "$(grep -o '<circle' plot.svg | wc -l)" 6 || return 1 # a validation loss or a seed each
  printf 'next\tBERT\t1\tnan\n' > broken.tsv
  refuses "broken.tsv:1: " python3 "$data/bert_report.py" broken.tsv main.log &&
    refuses "nowhere.tsv: No such file" python3 "$data/bert_report.py" nowhere.tsv main.log &&
    refuses "results.tsv: no losses" python3 "$data/bert_report.py" results.tsv results.tsv
}

# The whole of it, in little, and once more: nothing is done twice.
whole() {
  why="the program bible is not installed (package bible-kjv)"
  command -v bible > /dev/null || return 77
  if ! (cd "$data" && python3 -c 'import environment; environment.make("requirements_baseline.txt")') > log 2>&1; then
    why="data/.venv cannot be made: $(grep -m 1 '^error: ' log)"
    return 77
  fi
  local some="$work/data" # small samples of few words
  python3 "$data/prepare_bert.py" --demo --sentences lines --pairs 1 --train-vocab 1000 --max-length 32 \
    --output "$some/pretraining" > log || return 1
  python3 "$data/verse_tasks.py" --vocab "$some/pretraining.vocab.txt" --max-length 32 --train-samples 64 \
    --val-samples 64 --output "$some/verse" > log || return 1
  local try=(env DEMO_STEPS=4 DEMO_EPOCHS=1 DEMO_SEEDS=2 "DEMO_DATA=$some" "DEMO_OUT=$work/out" "$demo" -m 4)
  "${try[@]}" > first.log 2>&1 || { why=$(tail -n 3 first.log) && return 1; }
  is "rows of the table" "$(grep -cE '^(counts of words|counts of words and pairs|BERT, not pretrained|BERT, pretrained) +[0-9]' first.log)" 4 &&
    is "results" "$(wc -l < out/results.tsv)" 12 && is "fine-tunings" "$(grep -c '^== task .* seed' first.log)" 8 || return 1
  why="no plot" && grep -q '</svg>' out/demo.svg || return 1
  rm out/fine-tuning/next_pretrained_2.log
  cp out/results.tsv results.tsv
  "${try[@]}" > second.log 2>&1 || { why=$(tail -n 3 second.log) && return 1; }
  is "fine-tunings of the second run" "$(grep '^== ' second.log)" "== task next, pretrained, seed 2" &&
    is "results of the second run" "$(cat out/results.tsv)" "$(cat results.tsv)" &&
    refuses "DEMO_OUT: $work/out has results for steps 4" env DEMO_STEPS=5 "DEMO_DATA=$some" "DEMO_OUT=$work/out" "$demo"
}

test_case "bert demo: usage" usage
test_case "bert demo: report" report
if [ "$long" = --long ]; then
  test_case "bert demo: the whole of it" whole
fi
finish
