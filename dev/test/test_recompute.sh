#!/usr/bin/env bash
# -r: what backward works out anew instead of keeping it. Activations shrink by the bytes that the README names, written
# out here; weights and moments have the same bits at every level in fp32, on the CPU, over stages and ranks, and on the
# emulator; in the half types losses agree. With --long more ranks, stages and transports.
# shellcheck disable=SC2034,SC2054,SC2206 # lib.sh shows why; -e takes commas; numbers need no quotes
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
token_file train.bin 20000 200
model=L=3,H=2,C=128,T=256,V=200

# ---------------------------------------------------------------- memory
# N = 2 * 256 rows, C = 128, L = 3, in fp32. -r 1: one (N, 4C) for all blocks instead of L, so L - 1 times
# 512 * 512 * 4 bytes less. -r 2: the 2L (N, C) of the blocks' norms lie where the final norm does, so
# 2 * 3 * 512 * 128 * 4 bytes less. -r 3: all but the output of a block in one memory for all blocks: qkv, att, res2 and
# fc_pre, (3 + 1 + 1 + 4) (N, C), so 2 * 9 * 512 * 128 * 4 bytes less, and statistics, in fp32 in every type: a number for
# each row and of the 2 heads, 2 for each of 2 norms, so 2 * 6 * 512 * 4 bytes less.
gelu_bytes=2097152
norm_bytes=1572864
block_bytes=4718592
statistics_bytes=24576

activations() { # activations RECOMPUTE TYPE: as printed, in MiB
  "$train" -e $model -i train.bin -b 2 -t 256 -x 1 -v 0 -s 0 --threads 1 -r "$1" --dtype "$2" > memory.log 2>&1
  awk '$1 == "activations" { print $NF }' memory.log
}

shrinks() { # shrinks TYPE BYTES_OF_TYPE
  local none gelu both blocks
  none=$(activations 0 "$1") gelu=$(activations 1 "$1") both=$(activations 2 "$1") blocks=$(activations 3 "$1")
  why="no activations in the memory table: $(tail -n 2 memory.log)" && [ -n "$none" ] && [ -n "$gelu" ] && [ -n "$both" ] && [ -n "$blocks" ] || return 1
  # Figures are printed to 0.01 MiB: a difference of two is off by at most that.
  near "MiB saved by -r 1, $1" "$none - $gelu" "$gelu_bytes * $2 / 4 / 1048576" "0.01 / ($gelu_bytes * $2 / 4 / 1048576)" &&
    near "MiB saved by -r 2 on top, $1" "$gelu - $both" "$norm_bytes * $2 / 4 / 1048576" \
      "0.01 / ($norm_bytes * $2 / 4 / 1048576)" &&
    near "MiB saved by -r 3 on top, $1" "$both - $blocks" "($block_bytes * $2 / 4 + $statistics_bytes) / 1048576" \
      "0.01 / ($block_bytes * $2 / 4 / 1048576)" &&
    near "MiB that the program says -r 3 saves, $1" "$(sed -n 's/^recompute: whole blocks.* MiB, \([0-9.]*\) MiB less.*/\1/p' memory.log)" \
      "$none - $blocks" "0.02 / ($none - $blocks)"
}

is_the_default() {
  local given
  given=$(activations 1 fp32)
  "$train" -e $model -i train.bin -b 2 -t 256 -x 1 -v 0 -s 0 --threads 1 > memory.log 2>&1
  is "activations without -r" "$(awk '$1 == "activations" { print $NF }' memory.log)" "$given" &&
    has "--help" "$("$train" --help | grep -A1 -e '^ *-r ')" "(default 1)"
}

refused() {
  "$train" -e $model -i train.bin -j train.bin -r 4 > refused.log 2>&1
  is "exit code of -r 4" $? 1 && has "output" "$(cat refused.log)" "error: -r"
}

# ---------------------------------------------------------------- bits and losses
flags=(-e L=2,H=2,C=64,T=32,V=200 -i train.bin -b 2 -t 32 -d 256 -x 4 -v 0 -s 0 --threads 1 --state-hash 2)

states() { # states NP COMM ARGUMENTS: the hashes of a run, and its losses in main.log of the folder out
  local np=$1 comm=$2
  shift 2
  rm -rf out
  ranks "$np" "$comm" "${flags[@]}" -o out "$@" 2>&1 | grep -E '^step .*state|^error'
}

losses() { sed -n 's/^s:[0-9]* trl:\([^ ]*\).*/\1/p' out/main.log; }

same_bits() { # same_bits TYPE, then NP COMM STAGE for a run at each level
  local type=$1 reference r levels=(0 1 2 3)
  [ "$2 $4" = "1 0" ] && levels=(1 2 3) # -r 0 on one rank is the reference
  reference=$(states 1 self --dtype "$type" -r 0)
  is "hashes without recomputing: '$reference'" "$(grep -c 'state [0-9a-f]\{16\}' <<< "$reference")" 2 || return 1
  is "different hashes of the two steps" "$(sort -u <<< "$reference" | wc -l)" 2 || return 1
  for r in "${levels[@]}"; do
    is "state with -r $r, $type, $2 ranks, $3, stage $4" "$(states "$2" "$3" --dtype "$type" -z "$4" -r $r)" "$reference" || return 1
  done
}

# On the emulator. cuBLASLt's GELU, where it is fused, takes the sum before it is rounded to what -r 1 starts from:
# in the half types bits differ, losses by no more than a few roundings (bf16: 2^-8) of a loss of about 5.3.
emulated() {
  make --no-print-directory -C "$root" -j1 train_gpt2emu > make.log 2>&1
  why="it does not build: $(grep -E 'error|\*\*\*' make.log | head -n 3)"
  [ -x "$root/train_gpt2emu" ] || return 1
  train=$root/train_gpt2emu
  flags+=(-d 64) # it is slow: one micro-batch a step
}

emulated_losses() { # emulated_losses TYPE TOLERANCE
  local reference r found count=0 step
  states 1 self --dtype "$1" -r 0 > state.log
  mapfile -t reference < <(losses)
  is "losses of 4 steps, after '$(cat state.log)'" ${#reference[@]} 4 || return 1
  for r in 1 2 3; do
    states 1 self --dtype "$1" -r $r > state.log
    mapfile -t found < <(losses)
    for step in 0 1 2 3; do
      near "loss of step $step with -r $r, $1" "${found[$step]:-0}" "${reference[$step]}" "$2" || return 1
      count=$((count + 1))
    done
  done
  is "losses compared" $count 12
}

test_case "recompute: activations shrink as the formula says, fp32" shrinks fp32 4
test_case "recompute: activations shrink as the formula says, bf16" shrinks bf16 2
test_case "recompute: -r 1 is the default" is_the_default
test_case "recompute: -r 4 is refused" refused
# On the CPU GELU comes from the rounded sum in every type: the half types have the same bits too.
for type in fp32 bf16 fp16; do test_case "recompute: same bits, $type" same_bits $type 1 self 0; done
test_case "recompute: same bits on 2 ranks at stage 3" same_bits fp32 2 shm 3
# Dropout's masks are drawn once more in backward: the flags are given to every run.
with_dropout() { # with_dropout ARGUMENTS OF same_bits
  local plain dropped flags=("${flags[@]}")
  plain=$(states 1 self --dtype "$1")
  flags+=(--dropout 0.2 --attention-dropout 0.1)
  dropped=$(states 1 self --dtype "$1")
  why="dropout changes nothing: $dropped" && [ -n "$dropped" ] && [ "$dropped" != "$plain" ] && same_bits "$@"
}
for type in fp32 bf16 fp16; do test_case "recompute: same bits under dropout, $type" with_dropout $type 1 self 0; done
test_case "recompute: same bits under dropout on 2 ranks at stage 3" with_dropout fp32 2 shm 3
if [ "$long" = --long ]; then
  for np in 2 4; do
    for stage in 0 1 2 3; do
      for comm in shm mpi; do
        test_case "recompute: same bits, $np ranks, $comm, stage $stage" same_bits bf16 $np $comm $stage
      done
    done
  done
fi
test_case "recompute: the emulated trainer builds" emulated
test_case "recompute: same bits on the emulator, fp32" same_bits fp32 1 self 0
test_case "recompute: same bits on the emulator under dropout, fp32" with_dropout fp32 1 self 0
test_case "recompute: losses on the emulator, bf16" emulated_losses bf16 2e-3
if [ "$long" = --long ]; then test_case "recompute: losses on the emulator, fp16" emulated_losses fp16 2e-3; fi
finish
