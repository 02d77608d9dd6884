#!/usr/bin/env bash
# The CUDA sources on the emulator (dev/cudaemu/): every operation against its double-precision reference, in several
# orders of threads; test_gpt2emu against PyTorch's fixtures; the trainer at several stages and ranks. With nvcc also:
# the same sources are compiled for GPUs and linked. Nothing here runs on a GPU.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
build=${BUILD:-build}
cd "$root" || exit 1
orders=(random:3)
[ "$long" = --long ] && orders=(forward reverse random:3 random:11)

made() { # made TARGET…: builds them
  make --no-print-directory -j2 "$@" > "$work/make.log" 2>&1
  why="it does not build: $(grep -E 'error|\*\*\*' "$work/make.log" | head -n 3)"
  [ -x "$1" ]
}

operations() { # operations TEST ORDER
  ZERO_EMU_UNIFIED=1 ZERO_TEST_CUDA=1 ZERO_EMU_ORDER=$2 ZERO_EMU_KERNELS=$work/kernels "$build/emu/$1" > "$work/log" 2>&1
  local code=$?
  why="exit code $code: $(grep -E 'ERROR|error|FAILED' "$work/log" | head -n 3)"
  [ $code = 0 ] && grep -q '^\[  PASSED  \] [1-9]' "$work/log"
}

parity() { # parity COMMAND…
  ZERO_EMU_KERNELS=$work/kernels "$@" > "$work/log" 2>&1
  is "exit code, after $(grep -E 'error|not ok|FAILED' "$work/log" | head -n 3)" $? 0 &&
    has "log" "$(tail -n 1 "$work/log")" " passed, 0 failed"
}

# Every __global__ function of the sources has run at least once.
kernels_executed() {
  local defined executed name missing=
  defined=$(cat llmc/cuda/*.cu llmc/cuda/*.cuh zero/*.cu zero/*.cuh | tr '\n' ' ' |
    grep -oE '__global__ [^;{(]*(__launch_bounds__\([^)]*\))? *[a-z_0-9]+\(' | grep -oE '[a-z_0-9]+\($' | tr -d '(' | sort -u)
  executed=$(sed -E 's/[<(].*//; s/.*[^a-z_0-9]//' "$work/kernels" | sort -u)
  for name in $defined; do grep -qxF "$name" <<< "$executed" || missing="$missing $name"; done
  echo "kernels: $(wc -w <<< "$defined") defined, $(wc -w <<< "$executed") executed"
  is "kernels that never ran" "$missing" "" && why="only $(wc -w <<< "$defined") kernels found" && [ "$(wc -w <<< "$defined")" -gt 10 ]
}

token_file "$work/train.bin" 2000 72
flags=(-e L=2,H=2,C=64,T=32,V=72 -i "$work/train.bin" -b 2 -t 32 -d 256 -x 3 -v 0 -s 3 -g 3 --state-hash 3)
trainer() { # losses within 1e-5 of the CPU's; the same bits at every stage and number of ranks
  local reference= np stage pairs=("1 0" "2 2" "4 3")
  [ "$long" = --long ] && pairs=({1,2,4}" "{0,1,2,3})
  ./train_gpt2 "${flags[@]}" -o "$work/cpu" > /dev/null 2>&1 || return 1
  for pair in "${pairs[@]}"; do
    read -r np stage <<< "$pair"
    ZERO_COMM=mpi ZERO_EMU_KERNELS=$work/kernels scripts/run.sh "$np" ./train_gpt2emu "${flags[@]}" -z "$stage" \
      -o "$work/emu" > "$work/log" 2>&1
    is "exit code, $np ranks, stage $stage: $(grep '^error' "$work/log" | head -n 2)" $? 0 || return 1
    local state
    state=$(grep '^step.*state' "$work/log")
    why="no state hash" && [ -n "$state" ] || return 1
    reference=${reference:-$state}
    is "state on $np ranks at stage $stage" "$state" "$reference" || return 1
    for step in 0 1 2; do
      near "loss of step $step, $np ranks, stage $stage" "$(sed -n "s/^s:$step trl:\([^ ]*\).*/\1/p" "$work/emu/main.log")" \
        "$(sed -n "s/^s:$step trl:\([^ ]*\).*/\1/p" "$work/cpu/main.log")" 1e-5 || return 1
    done
  done
}

# On a machine without a GPU: said before the data is looked for.
no_gpu() {
  why="nvcc not found: nothing was compiled for a GPU"
  command -v nvcc > /dev/null || return 77
  made train_gpt2cu test_gpt2cu || return 1
  why="this machine has a GPU" && ! nvidia-smi > /dev/null 2>&1 || return 77
  for program in train_gpt2cu test_gpt2cu; do
    ./$program > "$work/log" 2>&1
    is "exit code of $program" $? 1 && has "output" "$(cat "$work/log")" "error: no GPU found: " || return 1
  done
}

test_case "cuda: the emulated programs build" made train_gpt2emu test_gpt2emu "$build/emu/test_ops" "$build/emu/test_ops_attention" \
  "$build/emu/test_device"
for order in "${orders[@]}"; do
  for name in test_ops test_ops_attention test_device; do test_case "cuda: $name, order $order" operations $name "$order"; done
done
test_case "cuda: test_gpt2emu" parity ./test_gpt2emu
test_case "cuda: test_gpt2emu on 2 ranks at stage 3" parity env ZERO_COMM=mpi scripts/run.sh 2 ./test_gpt2emu 3
test_case "cuda: trainer, stages and ranks" trainer
test_case "cuda: every kernel ran" kernels_executed
test_case "cuda: compiled by nvcc" no_gpu
finish
