#!/usr/bin/env bash
# The tests under ASan and UBSan; `make sanitize` builds them into $BUILD.
#   BUILD=build-asan dev/test/run_sanitized.sh NAME…    these unit tests, on one rank
#   BUILD=build-asan dev/test/run_sanitized.sh all      every unit test, test_gpt2, test_bert, the ranks' tests on 2 ranks,
#                                                       and the trainer: checkpoint, resume, all types
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
build=$root/$BUILD
cd "$root" || exit 1 # test_gpt2 finds its fixtures from here
export LSAN_OPTIONS=suppressions=$root/dev/lsan.txt:print_suppressions=0 OMP_NUM_THREADS=2
log=$work/log

# clean COMMAND…: ends with 0 and without a report. Its own tests are not counted again.
clean() {
  "$@" > "$log" 2>&1
  local code=$?
  why="exit code $code: $(grep -aE 'ERROR|runtime error|FAILED|^error' "$log" | head -n 3)"
  if [ $code != 0 ] || grep -qaE 'ERROR: (Address|Leak)Sanitizer|runtime error' "$log"; then
    tail -n 30 "$log" >&2
    return 1
  fi
}

unit_test() {
  case $1 in
    # Its processes end on purpose with everything in their hands: not leaks.
    test_misuse) clean env ASAN_OPTIONS=detect_leaks=0 "$build/$1" ;;
    *) clean "$build/$1" ;;
  esac
}

# Whole call stacks, slower: Open MPI unloads its plug-ins at the end, and a leak is known by the callers that stay.
with_mpi() {
  OMP_NUM_THREADS=1 ZERO_COMM=$1 ASAN_OPTIONS=fast_unwind_on_malloc=0 clean "$run" 2 "${@:2}"
}

on_two_ranks() { with_mpi "$1" "$build/$2"; }

trainer() { # trainer COMM TYPE STAGE
  local flags=(-e L=2,H=2,C=64,T=32,V=80 -i "$work/train.bin" -j "$work/val.bin" -b 2 -t 32 -d 256 -x 6 -v 3 -m -1 -s 6 -g 8
    --dtype "$2" -z "$3" -o "$work/out" --state-hash 3)
  rm -rf "$work/out"
  with_mpi "$1" "$build/train_gpt2" "${flags[@]}" -n 3 && rm -r "$work/out/step_00000006" &&
    with_mpi "$1" "$build/train_gpt2" "${flags[@]}" -y 1 && has "output" "$(cat "$log")" "resumed from"
}

if [ "$*" != all ]; then
  for name in "$@"; do test_case "$name" unit_test "$name"; done
  finish
  exit
fi
token_file "$work/train.bin" 3000 80
token_file "$work/val.bin" 400 80
for program in "$build"/test_*; do
  [ -x "$program" ] && [[ "$(basename "$program")" != test_@(gpt2|bert) ]] || continue
  test_case "$(basename "$program")" unit_test "$(basename "$program")"
done
test_case "test_gpt2" clean "$build/test_gpt2"
test_case "test_bert" clean "$build/test_bert"
for comm in shm mpi; do
  for name in test_comm test_engine test_checkpoint test_unit_order test_predictions test_gpt2 test_bert; do
    test_case "$name on 2 ranks, $comm" on_two_ranks $comm $name
  done
done
test_case "trainer, fp32, stage 0" trainer shm fp32 0
test_case "trainer, bf16, stage 3" trainer shm bf16 3
test_case "trainer, fp16, stage 2" trainer mpi fp16 2
finish
