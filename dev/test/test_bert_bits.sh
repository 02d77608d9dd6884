#!/usr/bin/env bash
# The same bits for BERT: state hash, training losses and validation of 1 to 4 ranks at every stage, with accumulation and
# dropout on, packed and padded, on both transports; and packed against padded. Short: one row for each number of ranks,
# stage and transport; --long: all.
# shellcheck disable=SC2086 # flags are split at spaces
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
train="$root/train_bert"
pairs=$root/dev/fixtures/bert_hf_pairs.bin classes=$root/dev/fixtures/bert_hf_classes.bin
# 12 samples a step, of 5 to 19 tokens: 6 micro-batches of 2, or 4 of 3 where there are 4 ranks or 2
base="-e L=2,H=2,C=32,T=19,V=67 -t 19 -x 4 -v 2 -m -1 -l 1e-3 -c 0.1 --dropout 0.1 --attention-dropout 0.1 --state-hash 1"

mlm() { echo "-i $pairs -j $pairs --task mlm --nsp 1"; }
classify() { echo "-i $classes -j $classes --task classify"; }

# What must agree, of a run's output: hashes, and losses without times.
signature() { sed -nE 's/^(step +[0-9]+ state .*)$/\1/p; s/^(val loss .*)$/\1/p; s/^step +([0-9]+\/[0-9]+ \| loss [^|]*\| norm [^|]*)\|.*/\1/p' "$1"; }

declare -A reference
row() { # row TASK PACKED MICRO RANKS COMM STAGE [RECOMPUTE]
  local key="$1 $2 $3" flags
  flags="$base $($1) --packed $2 -b $3 -d $((12 * 19))"
  ranks "$4" "$5" $flags -z "$6" -r "${7:-1}" > log || return 1
  is "lines that are compared" "$(signature log | wc -l)" 11 && is "different hashes" "$(grep -cE '^step [0-9]+ state ' log)" 4 || return 1
  is "hashes that moved" "$(sed -nE 's/^step [0-9]+ state //p' log | sort -u | wc -l)" 4 || return 1
  reference[$key]=${reference[$key]:-$(signature log)}
  is "hashes and losses" "$(signature log)" "${reference[$key]}"
}

# Dropout draws the same for a sample wherever its rows are, so the losses agree but for rounding.
packed_is_padded() {
  local task packed losses=()
  for task in mlm classify; do
    for packed in 0 1; do
      ranks 1 self $base $($task) --packed $packed -b 3 -d $((12 * 19)) > log || return 1
      losses[packed]=$(sed -nE 's/^step +[0-9]+\/[0-9]+ \| loss ([0-9.]*).*/\1/p' log | tr '\n' ' ')
    done
    why="$task: padded ${losses[0]}, packed ${losses[1]}"
    awk -v a="${losses[0]}" -v b="${losses[1]}" 'BEGIN {
      n = split(a, x, " "); if (n != 4 || split(b, y, " ") != 4) exit 1
      for (i = 1; i <= n; i++) if ((x[i] - y[i]) ^ 2 > (1e-5 * x[i]) ^ 2) exit 1 }' || return 1
  done
}

no_norms() {
  ranks 1 self $base $(mlm) -b 3 -d $((12 * 19)) -r 2 > log 2>&1
  is "exit code of -r 2" $? 1 && has "output" "$(cat log)" "error: -r: found 2"
}

# Without dropout the losses are others: it is on.
dropout_counts() {
  local with without
  ranks 1 self $base $(mlm) -b 3 -d $((12 * 19)) > log && with=$(signature log) || return 1
  ranks 1 self $base $(mlm) -b 3 -d $((12 * 19)) --dropout 0 --attention-dropout 0 > log && without=$(signature log) || return 1
  why="the same with and without dropout" && [ "$with" != "$without" ]
}

cd "$work" || exit 1
if [ "$long" = --long ]; then
  for task in mlm classify; do
    for packed in 1 0; do
      for micro in 1 3; do
        for n in 1 2 3 4; do
          [ $((12 % (micro * n))) = 0 ] || continue
          for stage in 0 1 2 3; do
            test_case "bert bits: $task, packed $packed, micro-batches of $micro, $n ranks, stage $stage, -r 3" \
              row $task $packed $micro $n shm $stage 3
            for comm in shm mpi; do
              test_case "bert bits: $task, packed $packed, micro-batches of $micro, $n ranks, $comm, stage $stage" \
                row $task $packed $micro $n $comm $stage
            done
          done
        done
      done
    done
  done
else
  for test in "mlm 1 1 1 self 0" "mlm 1 1 2 shm 1" "mlm 1 1 3 mpi 2" "mlm 1 1 4 shm 3" "mlm 0 3 1 self 0" "mlm 0 3 2 mpi 3" \
    "mlm 0 3 4 shm 2" "classify 1 3 1 self 0" "classify 1 3 2 shm 2" "classify 1 3 4 mpi 3" "classify 0 1 1 mpi 1" \
    "classify 0 1 3 shm 3" "mlm 1 1 1 self 0 0" "mlm 1 1 2 shm 3 3" "classify 0 1 1 self 0 3"; do
    test_case "bert bits: $test" row $test
  done
fi
test_case "bert bits: -r 2 is refused" no_norms
test_case "bert bits: packed and padded give the same losses" packed_is_padded
test_case "bert bits: dropout is on" dropout_counts
finish
