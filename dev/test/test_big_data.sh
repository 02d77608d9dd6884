#!/usr/bin/env bash
# Training on a token set of 2 shards and 3.2 GB, one shard over 2 GiB: what the loader costs, and the same bits for 1
# and 2 ranks with windows of both shards in a step. Only in the long form: it needs the disk and half a minute.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
python="$root/data/.venv/bin/python3"
vocabulary=4096
first_tokens=1100000000 second_tokens=500000000
needed_mb=4000

if [ "${1:-}" != --long ]; then
  echo "skip big data: only in the long form (--long)"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
if [ "$(df -m --output=avail . | tail -n 1)" -lt $needed_mb ]; then
  echo "skip big data: $work has not $needed_mb MB of room"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
if ! python3 "$root/data/environment.py" > log 2>&1; then
  echo "skip big data: data/.venv cannot be made: $(grep -m 1 '^error: ' log)"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi

# big NP ARGUMENTS: 12 steps of 16 windows, the same for any number of ranks
big() {
  ranks "$1" shm -e L=4,H=4,C=256,T=256,V=$vocabulary -i "$work/big_*.bin" -j "$work/val_*.bin" -b 4 -d 4096 -x 12 -v 12 -m -1 \
    -s 0 --state-hash 1 "${@:2}"
}

make_files() {
  "$python" "$root/dev/test/make_tokens.py" $vocabulary big_1.bin $first_tokens big_2.bin $second_tokens \
    val_1.bin 2561 val_2.bin 2600 || return 1
  is "bytes" "$(stat -c %s big_1.bin big_2.bin | xargs)" "$((1024 + 2 * first_tokens)) $((1024 + 2 * second_tokens))"
}

# opens_both NP OUTPUT: trains, and sees every rank hold both shards open: its windows came from both.
opens_both() {
  local np=$1 output=$2 job pid shard ranks_seen tries=0
  big "$np" > "$output" 2>&1 &
  job=$!
  : > opened
  while kill -0 $job 2> /dev/null && [ $((tries += 1)) -lt 3000 ]; do
    for pid in $(pgrep -f "^$train .*$work/big_"); do
      for shard in big_1.bin big_2.bin; do
        find "/proc/$pid/fd" -lname "$work/$shard" -printf "$pid $shard\n" -quit 2> /dev/null >> opened
      done
    done
    sleep 0.02
  done
  wait $job || { why=$(tail -n 3 "$output") && return 1; }
  ranks_seen=$(sort -u opened | cut -d' ' -f1 | uniq -c | awk '$1 == 2' | wc -l)
  is "ranks that read from both shards" "$ranks_seen" "$np"
}

same_bits() {
  opens_both 1 one && opens_both 2 two || return 1
  grep -E '^(step .* state|val loss)' one | grep -v tok/s > bits_one
  grep -E '^(step .* state|val loss)' two | grep -v tok/s > bits_two
  is "steps and validations with figures" "$(wc -l < bits_one)" 14 &&
    is "different ones" "$(sort -u bits_one | wc -l)" 14 &&
    has "validation" "$(cat bits_one)" "| 20 windows" || return 1
  why="1 and 2 ranks differ: $(diff bits_one bits_two | head -n 2 | xargs)"
  cmp -s bits_one bits_two || return 1
  has "output" "$(cat two)" "data: -i: 2 of 2 shards agree with their checksums, 3200.0 MB read in"
}

# The share of the steps' time that went into reading, first with the files in memory, then from the disk: without the
# checksums, at whose check all would be read, and with the second shard put out of the page cache.
loader_share() {
  local share
  for state in warm cold; do
    if [ $state = cold ]; then
      rm big_1.bin.xxh3 big_2.bin.xxh3
      sync big_1.bin big_2.bin
      for shard in big_1.bin big_2.bin; do dd of=$shard oflag=nocache conv=notrunc,fdatasync count=0 status=none; done
    fi
    big 2 > log 2>&1 || { why=$(tail -n 3 log) && return 1; }
    share=$(sed -nE 's/^trained 12 steps in .* s, ([0-9.]+) % of it reading data$/\1/p' log)
    echo "# $state: $(grep '^trained' log)"
    why="$state: the loader took '$share' % of a step, expected less than 1"
    awk "BEGIN { exit !(\"$share\" != \"\" && $share < 1) }" || return 1
  done
}

test_case "big data: make 3.2 GB of shards" make_files
test_case "big data: same bits for 1 and 2 ranks" same_bits
test_case "big data: the loader's share of a step" loader_share

finish
