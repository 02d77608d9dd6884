#!/usr/bin/env bash
# Runs that stop and go on, as a user starts them: the state hash and main.log of the uninterrupted run, in every type,
# at every stage, in the middle of an epoch; stopping by a signal; damaged checkpoints; outliers; the configuration file.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
long=${1:-}

token_file train.bin 3000 80
token_file val.bin 400 80
# 93 windows, 8 a step: the epoch ends within step 12, the run goes on into the second.
flags=(-e L=2,H=2,C=64,T=32,V=80 -i train.bin -j val.bin -b 2 -t 32 -x 16 -v 4 -m -1 -s 0 -d 256 -u 3 --state-hash 16)

# resumed TYPE STAGE: stops after step 9 by leaving only that checkpoint, goes on at the same number of ranks.
resumed() {
  local type=$1 stage=$2 whole rest
  rm -rf whole parts
  whole=$("$run" 2 "$train" "${flags[@]}" --dtype "$type" -z "$stage" -o whole | grep '^step.*state') || return 1
  "$run" 2 "$train" "${flags[@]}" --dtype "$type" -z "$stage" -o parts -n 9 > log 2>&1 || return 1
  rm -rf parts/step_00000016
  rest=$("$run" 2 "$train" "${flags[@]}" --dtype "$type" -z "$stage" -o parts -y 1 | grep '^step.*state') || return 1
  why="no state hash" && [ -n "$whole" ] && is "state" "$rest" "$whole" &&
    is "main.log" "$(cat parts/main.log)" "$(cat whole/main.log)" && is "lines" "$(grep -c trl whole/main.log)" 16
}

# elsewhere [ARGUMENTS]: a checkpoint of 2 ranks at stage 1 goes on with 4 ranks at stage 3.
elsewhere() {
  local whole rest
  rm -rf whole parts
  whole=$("$train" "${flags[@]}" "$@" -o whole | grep '^step.*state')
  "$run" 2 "$train" "${flags[@]}" "$@" -z 1 -o parts -n 9 > log 2>&1 || return 1
  rm -rf parts/step_00000016
  rest=$("$run" 4 "$train" "${flags[@]}" "$@" -z 3 -o parts -y 1 | grep '^step.*state') || return 1
  why="no state hash" && [ -n "$whole" ] && is "state" "$rest" "$whole" &&
    is "main.log" "$(cat parts/main.log)" "$(cat whole/main.log)"
}

damaged() {
  rm -rf parts
  "$train" "${flags[@]}" -o parts -n 4 > log 2>&1 || return 1
  truncate -s -100 parts/step_00000016/state.zero
  "$train" "${flags[@]}" -o parts -y 1 > log 2>&1 || return 1
  has "output" "$(cat log)" "resumed from parts/step_00000012/state.zero" || return 1
  has "note" "$(grep note log)" "step_00000016/state.zero" || return 1
  for step in 04 08 12; do rm -rf "parts/step_000000$step"; done
  local before code
  before=$(find parts | sort)
  "$train" "${flags[@]}" -o parts -y 1 > log 2>&1
  code=$?
  is "exit code" $code 1 && has "error" "$(grep '^error: ' log)" "step_00000016/state.zero" &&
    is "files after it" "$(find parts | sort)" "$before"
}

other_shape() {
  rm -rf parts
  "$train" "${flags[@]}" -o parts -n 16 > log 2>&1 || return 1
  "$train" "${flags[@]}" -e L=2,H=2,C=32,T=32,V=80 -o parts -y 1 > log 2>&1
  is "exit code" $? 1 && has "error" "$(grep '^error: ' log)" "state.zero"
}

other_data() { # a run whose data would go on elsewhere
  rm -rf parts
  "$train" "${flags[@]}" -o parts -n 16 > log 2>&1 || return 1
  for change in "-t 16 -d 256" "-i val.bin"; do
    # shellcheck disable=SC2086 # words
    "$train" "${flags[@]}" $change -o parts -y 1 > log 2>&1
    is "exit code with $change" $? 1 && has "error" "$(grep '^error: ' log)" "in another order" || return 1
  done
}

nothing_left() { # -x asks for less than there is; without a checkpoint the old log is moved aside, not emptied
  rm -rf parts
  "$train" "${flags[@]}" -o parts -n 16 > log 2>&1 || return 1
  "$train" "${flags[@]}" -x 4 -o parts -y 1 > log 2>&1 || return 1
  has "output" "$(cat log)" "nothing to do: -x asks for 4 steps, the checkpoint has 16" &&
    has "output" "$(cat log)" "trained 0 steps" || return 1
  rm -rf parts/step_* && cp parts/main.log old.log && printf 's:99 trl:0.12' >> old.log && cp old.log parts/main.log
  "$train" "${flags[@]}" -x 2 -v 0 -o parts -y 1 > log 2>&1 || return 1
  is "the older log" "$(cat parts/main.log.1)" "$(cat old.log)" && is "lines" "$(grep -c trl parts/main.log)" 2
}

# Each rank sees its own folder: rank 0's checkpoints count, and a rank that lacks them says so.
own_folders() {
  rm -rf parts other
  "$train" "${flags[@]}" -o parts -n 16 > log 2>&1 || return 1
  mkdir other
  printf '#!/bin/sh\nif [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then exec "$@" -o other; else exec "$@" -o parts; fi\n' > per_rank
  chmod +x per_rank
  timeout 60 "$run" 2 ./per_rank "$train" "${flags[@]}" -b 1 -d 256 -y 1 > log 2>&1
  is "exit code" $? 1 && has "error" "$(grep '^error: ' log)" "other/step_00000016/state.zero"
}
# own_flags MESSAGE FLAG VALUE: rank 1 alone has the flag; nothing is written.
own_flags() {
  printf '#!/bin/sh\nif [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then exec "$@" %s %s; else exec "$@"; fi\n' "$2" "$3" > per_rank
  chmod +x per_rank
  timeout 60 "$run" 2 ./per_rank "$train" "${flags[@]}" -o none > log 2>&1
  is "exit code" $? 1 && has "error" "$(grep '^error: ' log)" "$1" && is "folder" "$(ls -d none 2> /dev/null)" ""
}
own_configurations() {
  printf '{}' > plain.json
  printf '%s' "$2" > other.json
  local words="${flags[*]}" flags
  # shellcheck disable=SC2206 # words without spaces; a schedule by flags would come before the file's
  flags=(${words/-u 3/} --config plain.json) # of a repeated flag the last one counts
  own_flags "$1" --config other.json
}

# The accumulator is in a half type, the exchange in fp32: the fp32 sums beside it need memory of their own.
half_accumulator() {
  token_file long.bin 5000 80
  printf '{"deterministic": false, "data_types": {"grad_accum_dtype": "bf16"}, "gradient_accumulation_steps": 2,
    "train_micro_batch_size_per_gpu": 3}' > accumulate.json
  "$train" -e L=1,H=2,C=192,T=512,V=3000 -i long.bin -t 512 -x 2 -v 0 -s 0 --config accumulate.json -o accumulate > log 2>&1
  is "exit code" $? 0 || return 1
  "$train" -e L=1,H=2,C=192,T=512,V=3000 -i long.bin -t 512 -x 2 -v 0 -s 0 -b 3 -d 3072 -o whole > log 2>&1
  is "exit code" $? 0 && near "norm" "$(sed -n 's/^s:1 .*norm://p' accumulate/main.log)" "$(sed -n 's/^s:1 .*norm://p' whole/main.log)" 0.01
}

model_file() { # the checkpoint's model.bin starts a run with the loss that the run ended with
  rm -rf parts
  "$train" "${flags[@]}" -o parts -n 16 > log 2>&1 || return 1
  local ended began
  ended=$(grep 'val loss' log | tail -n 1)
  began=$("$train" "${flags[@]}" -e parts/step_00000016/model.bin -x 0 | grep 'val loss' | head -n 1)
  is "validation loss" "$began" "$ended"
}

signal() { # signal NAME HOW
  rm -rf parts
  rm -f log # or the step would be seen of the run before
  local long_run=("${flags[@]}" -x 1000000 -v 0 --log-every 100000 -o parts -n 1000000) code pid
  if [ "$2" = alone ]; then "$train" "${long_run[@]}" > log 2>&1 & else "$run" 2 "$train" "${long_run[@]}" > log 2>&1 & fi
  pid=$!
  for _ in $(seq 100); do
    grep -qs '^step ' log && break
    sleep 0.1
  done
  kill -s "$1" $pid
  wait $pid
  code=$?
  is "exit code, after $(tail -n 1 log)" $code 0 && has "output" "$(cat log)" "stopped by a signal after step" &&
    is "checkpoints" "$(find parts -name state.zero | wc -l)" 1
}

# Ctrl-C on a terminal reaches every process there: the ranks still finish their step and save.
terminal() {
  local long_run=("${flags[@]}" -x 1000000 -v 0 --log-every 100000 -o parts -n 1000000) code pid
  why="script not found (package bsdutils)" && command -v script > /dev/null || return 77
  rm -rf parts log keys
  mkfifo keys
  # A shell ignores SIGINT for what it starts in the background, and so would all below it. exec: the shell between script
  # and run.sh would get the signal too, and where that is dash (no SHELL in the environment) it dies of it.
  timeout 60 perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' script -qefc "exec '$run' 2 '$train' ${long_run[*]}" log < keys > /dev/null 2>&1 &
  pid=$!
  exec 9> keys
  for _ in $(seq 100); do
    grep -qs '^step ' log && break
    sleep 0.1
  done
  printf '\003' >&9
  wait $pid
  code=$?
  exec 9>&-
  is "exit code, after $(tail -n 1 log)" $code 0 && has "output" "$(cat log)" "stopped by a signal after step" &&
    is "checkpoints" "$(find parts -name state.zero | wc -l)" 1
}

overfit() {
  local first last
  "$train" "${flags[@]}" -a 1 -x 60 -l 3e-3 -v 0 -o over > log 2>&1 || return 1
  first=$(sed -n 's/^s:0 trl:\([0-9.]*\).*/\1/p' over/main.log)
  last=$(sed -n 's/^s:59 trl:\([0-9.]*\).*/\1/p' over/main.log)
  why="loss of one batch went from $first to $last" && awk "BEGIN { exit !($last < 0.6 * $first) }"
}

config_file() { # the article's file runs as it stands
  cat > ds.json <<'JSON'
{
  "train_batch_size": 32,
  "gradient_accumulation_steps": 1,
  "zero_optimization": {
    "stage": 0,
    "offload_optimizer": false,
    "offload_param": false,
    "overlap_comm": true
  }
}
JSON
  "$run" 4 "$train" -e L=2,H=2,C=64,T=32,V=80 -i train.bin -t 32 -x 2 -v 0 -s 0 --config ds.json > log 2>&1
  is "exit code" $? 0 && has "run" "$(grep '^run: ' log)" "batch 32 = 8 x 1 x 4" &&
    is "warnings" "$(grep -c 'without effect here' log)" 1
}

fp16_file() { # a scale that overflows: skipped steps, then training
  printf '{"fp16": {"enabled": true, "initial_scale_power": 40, "hysteresis": 1}}' > fp16.json
  "$run" 2 "$train" "${flags[@]}" --config fp16.json -x 30 -v 0 > log 2>&1
  is "exit code" $? 0 && has "first step" "$(grep '^step  *1/' log)" "skipped" &&
    why="the last step is still skipped" && ! grep '^step  *30/' log | grep -q skipped
}

types=(fp32)
[ "$long" = --long ] && types=(fp32 bf16 fp16)
for type in "${types[@]}"; do
  for stage in 0 1 2 3; do test_case "resume: $type, stage $stage" resumed "$type" $stage; done
done
if [ "$long" != --long ]; then
  test_case "resume: bf16, stage 3" resumed bf16 3
  test_case "resume: fp16, stage 2" resumed fp16 2
fi
test_case "resume at other ranks and stage" elsewhere
test_case "resume at other ranks and stage, dropout" elsewhere --dropout 0.1 --attention-dropout 0.1
test_case "resume at other ranks and stage, stochastic rounding" elsewhere --dtype bf16 --stochastic-rounding 1
test_case "damaged checkpoints" damaged
test_case "a checkpoint of another shape" other_shape
test_case "a checkpoint of other data" other_data
test_case "nothing left to do, and no checkpoint" nothing_left
test_case "ranks with folders of their own" own_folders
test_case "ranks with data of their own" own_flags "training sequences, rank 0 has 93" -i val.bin
test_case "--export of one rank" own_flags "--export: rank 1 has one, rank 0 has none" --export exported
test_case "-j of one rank" own_flags "validation sequences, rank 0 has" -j train.bin
test_case "ranks with models of their own" own_flags "rank 1 differs from rank 0 in units of the model" -e L=3,H=2,C=64,T=32,V=80
test_case "ranks with vocabularies of their own" own_flags "rank 1 differs from rank 0 in the shapes of the model" -e L=2,H=2,C=64,T=32,V=200
test_case "ranks with configurations of their own" own_configurations "rank 1 differs from rank 0 in communication_data_type" \
  '{"communication_data_type": "bf16"}'
test_case "ranks with schedulers of their own" own_configurations "as the highest learning rate" \
  '{"scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 0.5}}}'
test_case "grad_accum_dtype bf16, exchange in fp32" half_accumulator
test_case "model.bin of a checkpoint" model_file
test_case "SIGTERM, one rank" signal TERM alone
test_case "SIGINT, one rank" signal INT alone
test_case "SIGTERM, two ranks" signal TERM ranks
test_case "Ctrl-C on a terminal, two ranks" terminal
test_case "one batch again and again" overfit
test_case "--config: the article's file" config_file
test_case "--config: fp16 with overflow" fp16_file
finish
