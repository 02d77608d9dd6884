#!/usr/bin/env bash
# Checkpoints of the engine go from any number of ranks, stage and transport to any other: the files are the same
# bytes, and training goes on with the bits of the run that was not stopped.
# shellcheck disable=SC2034 # lib.sh shows why
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
program="$root/${BUILD:-build}/test_checkpoint"
types=(fp32 bf16 fp16)

# program_on NP COMM ARGUMENTS
program_on() {
  local np=$1
  OMP_NUM_THREADS=1 ZERO_COMM=$2 timeout -k 10 $time_limit "$run" "$np" "$program" "${@:3}" < /dev/null
}

# saves NP COMM STAGE TYPE: file and output for the others to compare with
saves() {
  program_on "$1" "$2" --save "save-$1-$4.bin" "$3" "$4" > "save-$1-$4.out" || return 1
  is "different states" "$(grep -oE 'state [0-9a-f]{16}' "save-$1-$4.out" | sort -u | wc -l)" 4 || return 1
  why="differs from what one rank wrote"
  cmp -s "save-$1-$4.bin" "save-1-$4.bin" && cmp -s "save-$1-$4.out" "save-1-$4.out"
}

# loads NP COMM STAGE TYPE SAVED_BY: after the two steps before the checkpoint come those of the uninterrupted run
loads() {
  program_on "$1" "$2" --load "save-$5-$4.bin" "$3" "$4" > load.out || return 1
  why="differs from the uninterrupted run: $(tail -n 2 "save-1-$4.out" | diff - load.out | tr '\n' ' ')"
  is "steps" "$(wc -l < load.out)" 2 && tail -n 2 "save-1-$4.out" | cmp -s - load.out
}

for type in 0 1 2; do
  for np in 1 2 3 4; do
    comm=$([ $((np % 2)) = 0 ] && echo shm || echo mpi)
    test_case "${types[type]}: saved by $np ranks, stage $((4 - np))" saves $np "$comm" $((4 - np)) $type
    to=$((1 + (np + type) % 4))
    test_case "${types[type]}: goes on with $to ranks, stage $((to - 1))" loads $to shm $((to - 1)) $type $np
  done
done

cut_off() { # a file that is cut off ends all ranks with exit code 1 and one line
  head -c 50000 save-1-0.bin > cut.bin
  local code=0
  program_on 2 shm --load cut.bin 3 0 > cut.out 2> cut.err || code=$?
  is "exit code" $code 1 && is "errors" "$(grep -c '^error: ' cut.err)" 1 && has "error" "$(cat cut.err)" "cut.bin: has 50000 bytes"
}
test_case "a checkpoint that was cut off" cut_off
finish
