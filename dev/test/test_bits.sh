#!/usr/bin/env bash
# Same bits: state hashes, losses of training and validation and samples do not depend on the number of ranks, the
# ZeRO stage, the transport or the number of threads. Every pair of settings; with --long every combination.
# shellcheck disable=SC2034,SC2054,SC2206 # lib.sh shows why; -e takes commas; numbers need no quotes
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}

token_file train.bin 6000 80
token_file val.bin 430 80 # 13 windows of 32: the last round of validation has fewer rows than ranks

# signature DIR COMMAND…: runs it with -o DIR; all that must be the same goes into DIR.bits.
signature() {
  local dir=$1
  shift
  local code=0
  "$@" -o "$dir" > "$dir.out" 2>&1 || code=$?
  is "exit code of '$*', whose output ends '$(tail -n 3 "$dir.out")'" $code 0 || return 1
  grep -E '^step +[0-9]+ state [0-9a-f]{16}$|^val loss ' "$dir.out" > "$dir.bits"
  sed -n '/^---$/,/^---$/p' "$dir.out" >> "$dir.bits"
  cat "$dir/main.log" >> "$dir.bits"
}

# same DIR REFERENCE
same() {
  why="differs from the run on one rank: $(diff "$2.bits" "$1.bits" | head -n 4 | tr '\n' ' ')"
  cmp -s "$2.bits" "$1.bits"
}

# counts DIR STEPS VALIDATIONS SAMPLES: that the signature has it all, and that hashes and losses move.
counts() {
  is "different hashes" "$(grep -oE 'state [0-9a-f]{16}' "$1.bits" | sort -u | wc -l)" "$2" &&
    is "different losses" "$(grep -oE 'trl:[^ ]*' "$1.bits" | sort -u | wc -l)" "$2" &&
    is "different validation losses" "$(grep '^val loss' "$1.bits" | sort -u | wc -l)" "$3" &&
    is "validation losses in main.log" "$(grep -c 'tel:' "$1.bits")" "$3" &&
    is "samples" "$(grep -c '^---$' "$1.bits")" $((2 * $4)) &&
    is "tokens of samples" "$(grep -oE '<[0-9]+>' "$1.bits" | wc -l)" $((40 * $4))
}

# ---------------------------------------------------------------- ranks, stages, transports, threads
# 12 sequences per step, one per micro-batch.
small=(-e L=2,H=2,C=64,T=32,V=80 -i train.bin -j val.bin -b 1 -t 32 -d 384 -x 4 -l 0.003 -c 0.1 -v 2 -m -1 -s 2 -g 40
  --state-hash 1)

reference() { signature alone ranks_of 1 self 0 1 && counts alone 4 3 2; }

# ranks_of NP COMM STAGE THREADS [ARGUMENTS]
ranks_of() {
  local np=$1 comm=$2 stage=$3 threads=$4
  shift 4
  ranks "$np" "$comm" "${small[@]}" -z "$stage" --threads "$threads" "$@"
}

one_run() { # one_run NP COMM STAGE THREADS
  local dir="run-$1-$2-$3-$4"
  signature "$dir" ranks_of "$1" "$2" "$3" "$4" && same "$dir" alone
}

other_seed() {
  signature seed ranks_of 2 shm 2 1 --seed 7 || return 1
  why="another seed gives the same bits"
  ! cmp -s alone.bits seed.bits
}

test_case "bits: one rank, stage 0, self, 1 thread" reference
for np in 1 2 3 4; do
  for stage in 0 1 2 3; do
    for comm in shm mpi; do
      for threads in 1 2; do
        # In the short form each rank and stage once, such that each pair of any two settings is there.
        if [ "$long" != --long ]; then
          if [ $(((np + stage) % 2)) = 0 ]; then [ $comm = shm ] || continue; else [ $comm = mpi ] || continue; fi
          [ $((1 + (np / 2 + stage / 2) % 2)) = $threads ] || continue
        fi
        test_case "bits: $np ranks, stage $stage, $comm, $threads threads" one_run $np $comm $stage $threads
      done
    done
  done
done
test_case "bits: another seed, other bits" other_seed

# ---------------------------------------------------------------- threads at a shape where a library may split sums
# 2,304 rows and 64 channels: there oneDNN, given all rows of a weight gradient at once, splits them in a way of its
# own for 1, for 2 and for 3 threads.
wide=(-e L=2,H=2,C=64,T=256,V=80 -i train.bin -j val.bin -b 9 -t 256 -x 3 -l 0.003 -v 3 -m 4 -s 3 -g 40 --state-hash 1)

wide_run() { signature "wide-$1" ranks 1 self "${wide[@]}" --threads "$1"; }
wide_reference() { wide_run 1 && counts wide-1 3 2 1; }
wide_same() { wide_run "$1" && same "wide-$1" wide-1; }

test_case "bits: 2,304 rows, 1 thread" wide_reference
for threads in 2 3; do test_case "bits: 2,304 rows, $threads threads" wide_same $threads; done

# ---------------------------------------------------------------- the engine alone, with a model of odd sizes
engine="$root/${BUILD:-build}/test_engine"

engine_hashes() { # engine_hashes NP COMM
  local code=0
  ZERO_COMM=$2 timeout -k 10 $time_limit "$run" "$1" "$engine" --hash > "engine-$1-$2" 2>&1 || code=$?
  is "exit code, the output ends '$(tail -n 2 "engine-$1-$2")'" $code 0 &&
    is "hashes" "$(grep -c state "engine-$1-$2")" 20 &&
    is "different norms" "$(grep -o 'norm [^ ]*' "engine-$1-$2" | sort -u | wc -l)" 5 &&
    is "different hashes" "$(grep -o 'state .*' "engine-$1-$2" | sort -u | wc -l)" 5 || return 1
  why="differs from one rank: $(diff "engine-$1-$2" engine-1-shm | head -n 2 | tr '\n' ' ')"
  cmp -s "engine-$1-$2" engine-1-shm
}

for comm in shm mpi; do
  for np in 1 2 3 4; do test_case "bits: the engine, $np ranks, $comm" engine_hashes $np $comm; done
done

finish
