#!/usr/bin/env bash
# Same bits, in fp32, bf16 and fp16: state hashes, losses of training and validation, loss scales and samples do not
# depend on the number of ranks, the ZeRO stage, the transport or the number of threads, with dropout too. Every pair of settings in fp32
# and a few in the half types; with --long every combination.
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
  {
    grep -E '^step +[0-9]+ state [0-9a-f]{16}$|^val loss ' "$dir.out"
    sed -nE 's|^(step +[0-9]+)/.*( scale .*)|\1\2|p' "$dir.out"
    sed -n '/^---$/,/^---$/p' "$dir.out"
    cat "$dir/main.log"
  } > "$dir.bits"
}

# same DIR REFERENCE
same() {
  why="differs from the run on one rank: $(diff "$2.bits" "$1.bits" | head -n 4 | tr '\n' ' ')"
  cmp -s "$2.bits" "$1.bits"
}

# hashes_move DIR: one hash a step, another one after each applied step and the same after each skipped one.
hashes_move() {
  why="$(awk '/^step .* loss / { steps++; skipped = / skipped$/ }
    /^step .* state / {
      if (++hashes != steps) print "a step has no hash, or two"
      if (hashes > 1 && skipped != ($4 == hash)) print "step " $2 (skipped ? ", skipped, moved" : " left") " the hash"
      hash = $4
    }
    END { if (hashes != steps) print "a step has no hash"; if (hashes < 3) print hashes " hashes" }' "$1.out")"
  [ -z "$why" ]
}

# counts DIR STEPS VALIDATIONS SAMPLES: that the signature has it all, and that hashes and losses move.
counts() {
  hashes_move "$1" &&
    is "hashes" "$(grep -cE 'state [0-9a-f]{16}' "$1.bits")" "$2" &&
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

# In fp16 the scale begins where gradients overflow and soon grows back to it: the first and a later step are skipped.
cat > fp16.json << 'END'
{"fp16": {"enabled": true, "initial_scale_power": 21, "hysteresis": 1, "loss_scale_window": 2}}
END
declare -A type_flags=([fp32]="" [bf16]="--dtype bf16" [fp16]="--config fp16.json -x 5 -v 5 -s 5")

# of_type TYPE NP COMM STAGE THREADS [ARGUMENTS]
of_type() {
  local flags=(${type_flags[$1]}) np=$2 comm=$3 stage=$4 threads=$5
  shift 5
  ranks "$np" "$comm" "${small[@]}" -z "$stage" --threads "$threads" "${flags[@]}" "$@"
}

reference() { # TYPE
  signature "alone-$1" of_type "$1" 1 self 0 1 || return 1
  [ "$1" = fp16 ] || { counts "alone-$1" 4 3 2; return; }
  counts "alone-$1" 5 2 1 && is "scales" "$(grep -c ' scale ' "alone-$1.bits")" 5 || return 1
  why="no overflow after the first step, or fewer than three applied steps: $(grep ' scale ' "alone-$1.bits" | tr '\n' ' ')"
  grep -qE '^step +[2-9] scale .* skipped' "alone-$1.bits" && [ "$(grep -cE ' scale [^ ]*$' "alone-$1.bits")" -ge 3 ]
}

one_run() { # TYPE NP COMM STAGE THREADS
  local dir="run-$1-$2-$3-$4-$5"
  signature "$dir" of_type "$@" && same "$dir" "alone-$1"
}

types_differ() {
  why="two types give the same bits"
  ! cmp -s alone-fp32.bits alone-bf16.bits && ! cmp -s alone-bf16.bits alone-fp16.bits
}

other_seed() {
  signature seed of_type fp32 2 shm 2 1 --seed 7 || return 1
  why="another seed gives the same bits"
  ! cmp -s alone-fp32.bits seed.bits
}

for type in fp32 bf16 fp16; do test_case "bits: $type, one rank, stage 0, self, 1 thread" reference $type; done
test_case "bits: three types, three results" types_differ
for np in 1 2 3 4; do
  for stage in 0 1 2 3; do
    for comm in shm mpi; do
      for threads in 1 2; do
        # In the short form each rank and stage once, such that each pair of any two settings is there.
        if [ "$long" != --long ]; then
          if [ $(((np + stage) % 2)) = 0 ]; then [ $comm = shm ] || continue; else [ $comm = mpi ] || continue; fi
          [ $((1 + (np / 2 + stage / 2) % 2)) = $threads ] || continue
        fi
        test_case "bits: fp32, $np ranks, stage $stage, $comm, $threads threads" one_run fp32 $np $comm $stage $threads
      done
    done
  done
done
if [ "$long" = --long ]; then
  half_runs=$(for np in 1 2 3 4; do for comm in shm mpi; do for stage in 0 1 2 3; do for threads in 1 2; do
    echo "$np $comm $stage $threads"
  done; done; done; done)
else
  half_runs="2 shm 0 2
2 mpi 1 1
4 mpi 2 1
3 shm 3 1"
fi
for type in bf16 fp16; do
  while read -r np comm stage threads; do
    test_case "bits: $type, $np ranks, stage $stage, $comm, $threads threads" \
      one_run $type "$np" "$comm" "$stage" "$threads"
  done <<< "$half_runs"
done
test_case "bits: another seed, other bits" other_seed

# ---------------------------------------------------------------- stochastic rounding
stochastic_run() { # TYPE NP COMM STAGE THREADS
  local dir="stochastic-$1-$2-$3-$4-$5"
  signature "$dir" of_type "$@" --stochastic-rounding 1 && same "$dir" "stochastic-$1-1-self-0-1"
}
stochastic_reference() { # TYPE
  stochastic_run "$1" 1 self 0 1 && hashes_move "stochastic-$1-1-self-0-1" || return 1
  why="stochastic rounding gives the bits of rounding to nearest"
  ! cmp -s "alone-$1.bits" "stochastic-$1-1-self-0-1.bits"
}
no_stochastic_fp32() {
  signature fp32-stochastic of_type fp32 1 self 0 1 --stochastic-rounding 1 && same fp32-stochastic alone-fp32 &&
    has "output" "$(cat fp32-stochastic.out)" "note: stochastic rounding has no effect in fp32"
}
for type in bf16 fp16; do
  test_case "bits: $type, stochastic rounding, one rank" stochastic_reference $type
  while read -r np comm stage threads; do
    test_case "bits: $type, stochastic rounding, $np ranks, stage $stage, $comm, $threads threads" \
      stochastic_run $type "$np" "$comm" "$stage" "$threads"
  done <<< "1 self 0 2
$half_runs"
done
test_case "bits: stochastic rounding changes nothing in fp32" no_stochastic_fp32

# ---------------------------------------------------------------- dropout
# The 12 sequences of a step in micro-batches of 1, 2 or 3: a sequence's mask is the same in each, its sums are not.
dropout_run() { # TYPE MICRO NP COMM STAGE THREADS
  local type=$1 micro=$2 dir
  shift 2
  dir="dropout-$type-$micro-$1-$2-$3-$4"
  signature "$dir" of_type "$type" "$@" --dropout 0.1 --attention-dropout 0.2 -b "$micro" && same "$dir" "dropout-$type-$micro-1-self-0-1"
}
dropout_reference() { # TYPE MICRO: validation and samples are without dropout, so before the first step nothing differs
  dropout_run "$1" "$2" 1 self 0 1 && hashes_move "dropout-$1-$2-1-self-0-1" || return 1
  why="dropout gives the bits of a run without"
  ! cmp -s "alone-$1.bits" "dropout-$1-$2-1-self-0-1.bits" || return 1
  is "first validation loss" "$(grep -m 1 '^val loss' "dropout-$1-$2-1-self-0-1.bits")" "$(grep -m 1 '^val loss' "alone-$1.bits")"
}
# The masks are the same, so the losses are, but for the order of sums.
dropout_micro_batches() {
  local micro step
  for micro in 2 3; do
    for step in 0 1 2 3; do
      near "loss of step $step in micro-batches of $micro" "$(dropout_loss $micro $step)" "$(dropout_loss 1 $step)" 1e-5 || return 1
    done
  done
}
dropout_loss() { sed -n "s/^s:$2 trl:\([0-9.]*\).*/\1/p" "dropout-fp32-$1-1-self-0-1/main.log"; }

for micro in 1 2 3; do test_case "bits: dropout, fp32, micro-batches of $micro, one rank" dropout_reference fp32 $micro; done
test_case "bits: dropout, the same losses in micro-batches of 1, 2, 3" dropout_micro_batches
dropout_runs="fp32 1 2 shm 3 2
fp32 3 4 mpi 0 1
fp32 2 2 mpi 1 1"
if [ "$long" = --long ]; then
  dropout_runs=$(for micro in 1 2 3; do for np in 1 2 3 4; do
    [ $((12 % (micro * np))) = 0 ] || continue
    for comm in shm mpi; do for stage in 0 1 2 3; do echo "fp32 $micro $np $comm $stage 1"; done; done
  done; done)
  for type in bf16 fp16; do
    test_case "bits: dropout, $type, one rank" dropout_reference $type 1
    dropout_runs+=$'\n'"$type 1 2 shm 3 2"$'\n'"$type 1 4 mpi 2 1"
  done
fi
while read -r type micro np comm stage threads; do
  test_case "bits: dropout, $type, micro-batches of $micro, $np ranks, stage $stage, $comm, $threads threads" \
    dropout_run "$type" "$micro" "$np" "$comm" "$stage" "$threads"
done <<< "$dropout_runs"

# ---------------------------------------------------------------- threads at a shape where a library may split sums
# 2,304 rows and 64 channels: there oneDNN, given all rows of a weight gradient at once, splits them in a way of its
# own for 1, for 2 and for 3 threads.
wide=(-e L=2,H=2,C=64,T=256,V=80 -i train.bin -j val.bin -b 9 -t 256 -x 3 -l 0.003 -v 3 -m 4 -s 3 -g 40 --state-hash 1)

wide_run() { signature "wide-$1-$2" ranks 1 self "${wide[@]}" --dtype "$1" --threads "$2"; } # TYPE THREADS
wide_reference() { wide_run "$1" 1 && counts "wide-$1-1" 3 2 1; }
wide_same() { wide_run "$1" "$2" && same "wide-$1-$2" "wide-$1-1"; }

for type in fp32 bf16 fp16; do
  test_case "bits: $type, 2,304 rows, 1 thread" wide_reference $type
  for threads in 2 3; do test_case "bits: $type, 2,304 rows, $threads threads" wide_same $type $threads; done
done

# ------------------------------------------- the engine alone, with a model of odd sizes: 3 types, 4 stages, 5 steps
engine="$root/${BUILD:-build}/test_engine"

engine_hashes() { # engine_hashes NP COMM
  local code=0
  ZERO_COMM=$2 timeout -k 10 $time_limit "$run" "$1" "$engine" --hash > "engine-$1-$2" 2>&1 || code=$?
  is "exit code, the output ends '$(tail -n 2 "engine-$1-$2")'" $code 0 &&
    is "hashes" "$(grep -c state "engine-$1-$2")" $((3 * 4 * 5)) &&
    is "different norms" "$(grep -o 'norm [^ ]*' "engine-$1-$2" | sort -u | wc -l)" 15 &&
    is "skipped steps" "$(grep -c 'fp16 .* step 3 skipped norm inf' "engine-$1-$2")" 4 &&
    is "different hashes" "$(grep -o 'state .*' "engine-$1-$2" | sort -u | wc -l)" 14 || return 1
  why="differs from one rank: $(diff "engine-$1-$2" engine-1-shm | head -n 2 | tr '\n' ' ')"
  cmp -s "engine-$1-$2" engine-1-shm
}

for comm in shm mpi; do
  for np in 1 2 3 4; do test_case "bits: the engine, $np ranks, $comm" engine_hashes $np $comm; done
done

finish
