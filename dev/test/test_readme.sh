#!/usr/bin/env bash
# The documents' own examples: the trainer of zero/README.md compiles as written there and has one state on one rank
# and on two; the same-bits command of README.md prints the same hashes on one rank and on four.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

own_trainer() {
  sed -n '/^```c$/,/^```$/p' "$root/zero/README.md" | grep -v '^```' | sed -n '/^\/\/ linear\.c/,$p' > linear.c
  ln -s "$root/zero" zero
  why="zero/README.md has no example linear.c" && [ -s linear.c ] || return 1
  local build
  build=$(grep -m 1 '^mpicc .* linear\.c ' "$root/zero/README.md")
  why="the documented command failed: $build" && eval "$build" > log 2>&1 || return 1
  local one two
  one=$(ZERO_COMM=self ./linear | grep -oE 'state [0-9a-f]+')
  two=$("$run" 2 ./linear | grep -oE 'state [0-9a-f]+')
  why="the example prints no state" && [ -n "$one" ] && is "state on 2 ranks" "$two" "$one"
}

same_bits() {
  local flags one four
  flags=$(sed -n 's/^F="\(.*\)"$/\1/p' "$root/README.md")
  why="README.md has no same-bits command" && [ -n "$flags" ] || return 1
  token_file train.bin 20000 72
  # shellcheck disable=SC2086 # the flags are words of a command line
  one=$("$train" $flags -i train.bin | grep '^step.*state')
  # shellcheck disable=SC2086
  four=$("$run" 4 "$train" $flags -i train.bin -z 3 | grep '^step.*state')
  is "number of hashes" "$(grep -c state <<< "$one")" 2 && is "hashes of 4 ranks" "$four" "$one"
}

test_case "zero/README.md: a trainer of one's own" own_trainer
test_case "README.md: the same bits" same_bits
finish
