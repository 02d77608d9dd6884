#!/usr/bin/env bash
# What of dev/gpu_check.sh needs no GPU: the bundle that travels, complete in an empty folder; bad arguments; and that a
# part without a GPU is named as left out. With --long also its build with nvcc.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$root" || exit 1
long=${1:-}

dry_run() {
  local parts=(bundle info ops bert bench)
  [ "$long" = --long ] && parts=()
  nvidia-smi -L > /dev/null 2>&1 && { why="this machine has a GPU"; return 77; }
  [ "$(id -u)" = 0 ] || { why="not root: no chroot for the empty folder"; return 77; }
  dev/gpu_check.sh --dry-run --out "$work/check" "${parts[@]}" > "$work/log" 2>&1
  local code=$?
  is "exit code, after $(grep -m1 FAILED "$work/log")" $code 0 || return 1
  local text
  text=$(cat "$work/check/table.txt")
  for line in 'the bundle in an empty folder, 2 ranks  *ok' 'ops  *left out: no GPU' 'bench  *left out: no GPU' 'train_bert, packed  *ok' \
    'train_bert, padded  *ok' 'train_bert, classify  *ok' 'train_bert, regression  *ok' '  loss  *[0-9.]*, on a CPU [0-9.]*'; do
    why="no line '$line' in the table" && grep -qE "^$line" <<< "$text" || return 1
  done
  why="gpu_check.json is not what it should be" &&
    python3 -c 'import json, sys; sys.exit("bundle" not in json.load(open(sys.argv[1])))' "$work/check/gpu_check.json"
}

small_enough() {
  local megabytes
  megabytes=$(sed -nE 's/.*travel.* ([0-9]+)\.[0-9] MB.*/\1/p; s/.*tree +([0-9]+)\.[0-9] MB.*/\1/p' "$work/check/table.txt" | head -n 1)
  why="no size in the table" && [ -n "$megabytes" ] && why="$megabytes MB" && [ "$megabytes" -lt 60 ]
}

unknown_part() {
  dev/gpu_check.sh --out "$work/other" nonsense > "$work/log" 2>&1
  is "exit code" $? 1 && has "output" "$(cat "$work/log")" "no part 'nonsense'; parts: bundle info"
}

test_case "gpu_check: what needs no GPU" dry_run
test_case "gpu_check: the bundle and the tree under 60 MB" small_enough
test_case "gpu_check: unknown part" unknown_part
finish
