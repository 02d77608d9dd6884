#!/usr/bin/env bash
# Runs of train_bert that stop and go on: by SIGTERM, by SIGKILL after a checkpoint, at other ranks and another stage, in
# both tasks, packed and padded, with dropout on: state hash, main.log and validation of a run that was not interrupted.
# Damaged checkpoints; ranks whose flags differ. Short: some of the interruptions; --long: all.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
long=${1:-}
train="$root/train_bert"
fixtures="$root/dev/fixtures"

# 12 samples a step. The learning rate is constant, so that -x, which is known only when a run was stopped, changes nothing.
flags=(-e "L=2,H=2,C=32,T=19,V=67" -t 19 -b 1 -d $((12 * 19)) -v 4 -m -1 -k constant -u 3 -l 1e-3 -c 0.1 --dropout 0.1
  --attention-dropout 0.1)
mlm=(-i "$fixtures/bert_hf_pairs.bin" -j "$fixtures/bert_hf_pairs.bin" --nsp 1)
classify=(-i "$fixtures/bert_hf_classes.bin" -j "$fixtures/bert_hf_classes.bin" --task classify)

# start NP ARGUMENTS…: in the background, $pid; each of several ranks leaves its process in pid.RANK.
# shellcheck disable=SC2016 # the ranks' shell expands it
start() {
  local np=$1
  shift
  rm -f log pid.*
  if [ "$np" = 1 ]; then
    "$train" "$@" > log 2>&1 < /dev/null &
    pid=$!
    return
  fi
  "$run" "$np" sh -c 'echo $$ > "pid.$OMPI_COMM_WORLD_RANK" && exec "$@"' sh "$train" "$@" > log 2>&1 < /dev/null &
  pid=$!
}

# seen FILE TEXT: waits until the file has it.
seen() {
  local i
  for i in $(seq 400); do
    grep -qsF -- "$2" "$1" && return 0
    sleep 0.05
  done
  why="no '$2' in $1 after ${i}/20 s, but '$(tail -n 1 "$1")'"
  return 1
}

# What has to agree: the last hash and validation of a log.
ending() { grep -E '^step +[0-9]+ state ' "$1" | tail -n 1 && grep '^val loss' "$1" | tail -n 1; }

# goes_on WHAT NP STAGE FLAG…: resumes the run in parts/ for 6 steps more than its newest checkpoint has.
goes_on() {
  local what=$1 np=$2 stage=$3 step
  shift 3
  step=$(find parts -maxdepth 1 -name 'step_*[0-9]' | sort | tail -n 1)
  step=$((10#${step##*_}))
  why="no checkpoint after $what" && [ $step -gt 0 ] || return 1
  local end=$((step + 6))
  ranks 1 self "${flags[@]}" "$@" -x $end --state-hash $end -o whole > whole.log 2>&1 || return 1
  ranks "$np" "$([ "$np" = 1 ] && echo self || echo shm)" "${flags[@]}" "$@" -z "$stage" -x $end --state-hash $end -o parts -y 1 > rest.log 2>&1
  local code=$?
  is "exit code: $(grep '^error' rest.log)" $code 0 && has "output" "$(cat rest.log)" "resumed from parts/step_$(printf %08d $step)/" &&
    is "lines of the ending" "$(ending whole.log | wc -l)" 2 && is "ending after $what" "$(ending rest.log)" "$(ending whole.log)" &&
    is "main.log after $what" "$(cat parts/main.log)" "$(cat whole/main.log)" && is "its lines" "$(grep -c trl parts/main.log)" $end
}

# interrupted SIGNAL NP STAGE NP_THEN STAGE_THEN FLAG…: TERM once training runs, or KILL once there is a checkpoint.
interrupted() {
  local signal=$1 np=$2 stage=$3 np_then=$4 stage_then=$5 code
  shift 5
  rm -rf parts whole
  start "$np" "${flags[@]}" "$@" -z "$stage" -x 1000000 -o parts -n "$([ "$signal" = KILL ] && echo 5 || echo 1000000)"
  if [ "$signal" = KILL ]; then
    seen log "checkpoint parts/step_" || return 1
    kill -s KILL "$(cat pid.$((np - 1)))"
    wait $pid
    code=$?
    why="a run that was killed ended with exit code 0" && [ $code != 0 ] || return 1
  else
    seen log "step     2/" || return 1
    kill -s TERM $pid
    wait $pid
    code=$?
    is "exit code, after $(tail -n 1 log)" $code 0 && has "output" "$(cat log)" "stopped by a signal after step" || return 1
  fi
  goes_on "$signal" "$np_then" "$stage_then" "$@"
}

damaged() {
  rm -rf parts whole
  ranks 1 self "${flags[@]}" "${mlm[@]}" -x 8 -o parts -n 4 > log 2>&1 || return 1
  truncate -s -100 parts/step_00000008/state.zero
  ranks 1 self "${flags[@]}" "${mlm[@]}" -x 8 -o parts -y 1 > log 2>&1 || return 1
  has "output" "$(cat log)" "resumed from parts/step_00000004/state.zero" &&
    has "note" "$(grep note log)" "step_00000008/state.zero" || return 1
  rm -rf parts/step_00000004
  ranks 1 self "${flags[@]}" "${mlm[@]}" -x 8 -o parts -y 1 > log 2>&1
  is "exit code" $? 1 && has "error" "$(grep '^error: ' log)" "step_00000008/state.zero"
}

# Another task's model does not fit a checkpoint.
other_task() {
  rm -rf parts
  ranks 1 self "${flags[@]}" "${classify[@]}" -x 4 -o parts -n 4 > log 2>&1 || return 1
  ranks 1 self "${flags[@]}" "${classify[@]}" --task mlm -x 8 -o parts -y 1 > log 2>&1
  is "exit code" $? 1 && has "error" "$(grep '^error: ' log)" "state.zero"
}

# own_flags MESSAGE FLAG VALUE: rank 1 alone has the flag.
# shellcheck disable=SC2016 # the ranks' shell expands it
own_flags() {
  local message=$1
  shift
  rm -rf none
  timeout 60 "$run" 2 sh -c 'flag=$1 value=$2; shift 2
    if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then exec "$@" "$flag" "$value"; else exec "$@"; fi' sh "$@" \
    "$train" "${flags[@]}" -i "$fixtures/bert_hf_classes.bin" -v 0 -x 2 -o none > log 2>&1
  is "exit code" $? 1 && is "error" "$(grep '^error: ' log)" "error: $message; give all ranks the same flags and files" &&
    is "folder" "$(ls -d none 2> /dev/null)" ""
}

test_case "bert resume: SIGTERM, one rank, masked tokens, packed" interrupted TERM 1 0 1 0 "${mlm[@]}"
test_case "bert resume: SIGKILL, 2 ranks at stage 1, on with 4 at stage 3" interrupted KILL 2 1 4 3 "${mlm[@]}"
test_case "bert resume: SIGKILL, 2 ranks at stage 3, on with one, classes, padded" interrupted KILL 2 3 1 0 "${classify[@]}" --packed 0
if [ "$long" = --long ]; then
  for signal in TERM KILL; do
    for then in "1 0" "2 1" "3 2" "4 3"; do
      for packed in 0 1; do
        # shellcheck disable=SC2086 # words
        test_case "bert resume: SIG$signal, 2 ranks at stage 2, then $then, masked tokens, packed $packed" \
          interrupted $signal 2 2 $then "${mlm[@]}" --packed $packed
        # shellcheck disable=SC2086
        test_case "bert resume: SIG$signal, 4 ranks at stage 3, then $then, classes, packed $packed, bf16" \
          interrupted $signal 4 3 $then "${classify[@]}" --packed $packed --dtype bf16
      done
    done
  done
fi
test_case "bert resume: damaged checkpoints" damaged
test_case "bert resume: a checkpoint of another task" other_task
test_case "bert: --task of one rank" own_flags "--task: rank 1 has classify, rank 0 has mlm" --task classify
test_case "bert: --packed of one rank" own_flags "--packed: rank 1 has 0, rank 0 has 1" --packed 0
test_case "bert: --attention-dropout of one rank" own_flags "--attention-dropout: rank 1 has 0.2, rank 0 has 0.1" --attention-dropout 0.2
test_case "bert: --mask-probability of one rank" own_flags "--mask-probability: rank 1 has 0.3, rank 0 has 0.15" --mask-probability 0.3
finish
