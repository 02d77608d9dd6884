#!/usr/bin/env bash
# The call checker of debug builds: an engine built with -DZERO_CHECK_CALLS computes the same bits, and ends the job
# with both ranks' calls named when one rank makes another call, a call for another unit, or leaves one out.
# shellcheck disable=SC2034,SC2086 # lib.sh shows why; EXTRA is several flags
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
build=$(cd "$root" && realpath "${BUILD:-build}")
checked=$build/check_calls # a build folder of its own: the engine and two of its tests
time_limit=15
export OMP_NUM_THREADS=1

build_checked() {
  local objects=() name parts
  for name in "$root"/zero/*.c; do objects+=("$checked/zero/$(basename "$name" .c).o"); done
  for name in test_engine test_misuse; do
    parts=("$checked/dev/test/$name.o")
    [ $name = test_engine ] && parts+=("$checked/dev/test/engine_cost.o")
    make -C "$root" BUILD="$checked" EXTRA="${EXTRA:-} -DZERO_CHECK_CALLS" "${objects[@]}" "${parts[@]}" > make.out 2>&1 &&
      mpicc "${parts[@]}" "${objects[@]}" -o "$checked/$name" -lcmocka -lxxhash -lcjson -lm -fopenmp \
        ${EXTRA:-} >> make.out 2>&1
    local code=$?
    is "exit code of the build, whose output ends '$(tail -n 5 make.out)'" $code 0 || return 1
  done
}

# The control messages of the checker disturb nothing.
same_bits() { # NP COMM
  local code=0 name
  for name in "$build" "$checked"; do
    ZERO_COMM=$2 timeout -k 5 60 "$run" "$1" "$name/test_engine" --hash > "$(basename "$name").out" 2>&1 || code=$?
    is "exit code, the output ends '$(tail -n 2 "$(basename "$name").out")'" $code 0 || return 1
  done
  is "hashes" "$(grep -c ' state ' check_calls.out)" 60 || return 1
  why="differs from the engine without the checker"
  cmp -s "$(basename "$build").out" check_calls.out
}

# differs NP COMM MISUSE CALL OTHER_CALL: rank 1 makes OTHER_CALL where the others make CALL.
differs() {
  local code=0 start=$SECONDS
  ZERO_COMM=$2 timeout -k 5 $time_limit "$run" "$1" "$checked/test_misuse" "$3" > out 2>&1 || code=$?
  is "exit code, the output ends '$(tail -n 2 out)'" $code 2 &&
    has "output" "$(cat out)" "the ranks' calls differ: " &&
    has "output" "$(cat out)" "rank 0 makes $4" && has "output" "$(cat out)" "rank 1 makes $5" || return 1
  why="it took $((SECONDS - start)) s"
  [ $((SECONDS - start)) -le $time_limit ]
}

test_case "calls: the engine with the checker is built" build_checked
for comm in shm mpi; do
  test_case "calls: same bits, 3 ranks, $comm" same_bits 3 $comm
  for np in 2 4; do
    test_case "calls: another call, $np ranks, $comm" differs $np $comm another_call \
      "zero_gather of unit second block" "zero_release of unit first block"
    test_case "calls: another unit, $np ranks, $comm" differs $np $comm another_unit \
      "zero_get of unit second block" "zero_get of unit first block"
    test_case "calls: a skipped call, $np ranks, $comm" differs $np $comm skipped_call \
      "zero_grad_done of unit second block" "zero_grad of unit first block"
    test_case "calls: a step more, $np ranks, $comm" differs $np $comm another_end "zero_destroy" "zero_micro_begin"
  done
done
finish
