#!/usr/bin/env bash
# The CUDA emulator (dev/cudaemu/): its primitives give known answers in every order, and each planted bug is found and
# reported with kernel, block, thread and place, while the same kernel without the bug passes. With --long every kernel
# without its bug runs in every build, not only in the one that finds the bug.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
emulator=$root/dev/cudaemu
cxx=${CXX:-g++}
flags=(-std=c++17 -g -march="${ARCH:-native}" -DZERO_CUDA_EMULATOR -I"$emulator/include" -I"$root" -fno-strict-aliasing
  -Wall -Wextra -Werror -Wno-unknown-pragmas)
no_aslr=() # TSan of g++ 12 does not know where Linux of today puts memory
if setarch "$(uname -m)" -R true 2> /dev/null; then no_aslr=(setarch "$(uname -m)" -R); fi

# build DIR EMULATOR_FLAGS KERNEL_FLAGS: both tests in DIR.
build() {
  local dir=$1 emulator_flags kernel_flags source objects=()
  read -ra emulator_flags <<< "$2"
  read -ra kernel_flags <<< "$3"
  mkdir -p "$dir"
  for source in "$emulator"/*.cc; do
    [[ $(basename "$source") == nccl*.cc ]] && continue # needs MPI; dev/test/test_nccl.sh tests it
    objects+=("$dir/$(basename "$source" .cc).o")
    "$cxx" "${flags[@]}" "${emulator_flags[@]}" -c "$source" -o "${objects[-1]}" &
    [ $((${#objects[@]} % 2)) = 1 ] || wait
  done
  "${CC:-gcc}" -g -I"$root" -c "$root/zero/error.c" -o "$dir/error.o" && objects+=("$dir/error.o") || return 1
  wait
  for source in test_primitives test_bugs; do
    "$cxx" -x c++ "${flags[@]}" "${kernel_flags[@]}" -c "$emulator/$source.cu" -o "$dir/$source.object" &&
      "$cxx" "${kernel_flags[@]}" "$dir/$source.object" "${objects[@]}" -ldl -o "$dir/$source" || return 1
  done
}

builds() {
  why="the compiler's messages are above"
  local checks="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
  # g++ then calls a function before each access, where written.cc stands.
  local calls="--param asan-instrumentation-with-call-threshold=0"
  build plain -O3 -O2 && build asan "-O2 $checks" "-O1 $checks $calls" &&
    build tsan "-O2 -DCUDAEMU_TSAN" "-O1 -fsanitize=thread"
}

nvcc_compiles() {
  why="nvcc not found: the tests were not compiled by it"
  command -v nvcc > /dev/null || return 77
  local source
  for source in test_primitives test_bugs; do
    why="nvcc refuses $source.cu: $(nvcc -c -arch=sm_80 -Werror all-warnings -I"$root" "$emulator/$source.cu" \
      -o nvcc.o 2>&1 | head -n 3)"
    [ "$why" = "nvcc refuses $source.cu: " ] || return 1
  done
}

primitives() { # primitives BUILD ORDER
  why="exit code or answers: $(ZERO_EMU_ORDER=$2 "$1/test_primitives" 2>&1 | grep -v '^ok' | head -n 5)"
  [[ $why =~ ^"exit code or answers: "[1-9][0-9]+" passed, 0 failed, 0 skipped"$ ]]
}

# Every kernel of the tests' source was launched, and the list names no other.
kernels_listed() {
  rm -f kernels && ZERO_EMU_KERNELS=kernels plain/test_primitives > /dev/null || return 1
  grep -oE '^__global__ void [a-z_]+' "$emulator/test_primitives.cu" | awk '{ print $3 }' | sort > defined
  is "kernels that ran" "$(sort kernels | tr '\n' ' ')" "$(tr '\n' ' ' < defined)"
}

settings_checked() {
  local code=0
  ZERO_EMU_ORDER=sideways plain/test_bugs deadlock 0 > out 2>&1 || code=$?
  is "exit code" $code 2 && has "message" "$(cat out)" "ZERO_EMU_ORDER: 'sideways' found"
}

# run_bug BUILD NAME 0|1 [SETTING…]: output in `out`, exit code in $code.
run_bug() {
  local build=$1 name=$2 bug=$3
  shift 3
  local before=()
  [ "$build" = tsan ] && before=("${no_aslr[@]}")
  code=0
  env TSAN_OPTIONS=halt_on_error=1 "$@" timeout 120 "${before[@]}" "$build/test_bugs" "$name" "$bug" > out 2>&1 || code=$?
}

without_bug() { # BUILD NAME [SETTING…]: no report, the same result in each order
  local first='' order build=$1 name=$2
  shift 2
  for order in forward reverse random:1 random:2; do
    run_bug "$build" "$name" 0 ZERO_EMU_ORDER=$order "$@"
    is "exit code in order $order; output: $(head -n 3 out)" $code 0 || return 1
    [ -n "$first" ] || first=$(cat out)
    is "result in order $order" "$(cat out)" "$first" || return 1
  done
}

# found BUILD NAME TEXT [SETTING…]: reported with TEXT, kernel, block, thread and a line of the source.
found() {
  local build=$1 name=$2 text=$3
  shift 3
  run_bug "$build" "$name" 1 "$@"
  why="exit code 0: $(head -n 3 out)"
  [ $code != 0 ] || return 1
  has "report" "$(cat out)" "$text" || return 1
  why="no place in test_bugs.cu, or no kernel, block and thread: $(head -n 8 out)"
  grep -qE 'test_bugs\.cu:[0-9]+' out &&
    grep -qE "^error: .*kernel '[a-zA-Z_<>]+', block \([0-9]+,[0-9]+,[0-9]+\), thread \([0-9]+,[0-9]+,[0-9]+\)" out
}

# The kernel without its bug, whose barrier the emulator passes over, has the bug.
left_out() {
  local line
  line=$(grep -n -A 3 '^__global__ void missing_barrier(' "$emulator/test_bugs.cu" | sed -n 's/^\([0-9]*\)-.*__syncthreads.*/\1/p')
  why="no barrier in missing_barrier" && [ -n "$line" ] || return 1
  run_bug tsan missing_barrier 0 ZERO_EMU_LEAVE_OUT="$emulator/test_bugs.cu:$line"
  why="exit code 0" && [ $code != 0 ] && has "report" "$(cat out)" "data race" || return 1
  run_bug plain missing_barrier 0 ZERO_EMU_LEAVE_OUT="$emulator/test_bugs.cu:$line"
  is "exit code" $code 0 && has "count" "$(cat out)" "test_bugs.cu:$line, 192 times" || return 1
  run_bug tsan missing_barrier 0 ZERO_EMU_LEAVE_OUT="$emulator/test_bugs.cu:$((line + 1))"
  is "exit code where another line is left out" $code 0 && has "count" "$(cat out)" ", 0 times"
}

no_place() {
  run_bug plain missing_barrier 0 ZERO_EMU_LEAVE_OUT=test_bugs.cu
  is "exit code" $code 2 && has "message" "$(cat out)" "ZERO_EMU_LEAVE_OUT: 'test_bugs.cu' found"
}

refused() { # NAME TEXT: a launch that cannot be; no block has begun
  run_bug plain "$1" 1
  is "exit code" $code 2 && has "report" "$(cat out)" "$2" && has "place" "$(cat out)" "test_bugs.cu:"
}

# The bug changes what is computed.
shows_in_values() { # NAME [SETTING…]
  local name=$1 right
  shift
  run_bug plain "$name" 0 "$@"
  right=$(awk '{ print $3 }' out)
  run_bug plain "$name" 1 "$@"
  why="with and without the bug the values are '$right'"
  [ $code = 0 ] && [ -n "$right" ] && [ "$(awk '{ print $3 }' out)" != "$right" ]
}

# slot_reused waits for the copy before the second one without its bug, and never with it. The tail is main's.
counted() {
  local tail='copy cudaMemcpyAsync 3
copy cudaMemsetAsync 2
drain cudaDeviceSynchronize 1
drain cudaFree 1'
  rm -f counts && run_bug plain slot_reused 0 ZERO_EMU_STREAMS=delayed ZERO_EMU_COUNTS=counts
  is "exit code" "$code" 0 && is "counts" "$(cat counts)" "$tail
drain cudaMemcpyAsync 1
drain cudaStreamSynchronize 1" || return 1
  rm -f counts && run_bug plain slot_reused 1 ZERO_EMU_STREAMS=delayed ZERO_EMU_COUNTS=counts
  is "exit code" "$code" 0 && is "counts with the bug" "$(cat counts)" "$tail
drain cudaMemcpyAsync 1" || return 1
  rm -f counts && run_bug plain missing_event 0 ZERO_EMU_STREAMS=delayed ZERO_EMU_COUNTS=counts ZERO_EMU_COUNTS_FROM=copy
  is "exit code" "$code" 0 && is "counts from a kernel on" "$(cat counts)" "copy cudaMemcpyAsync 1
drain cudaMemcpyAsync 1
drain cudaStreamSynchronize 1
launch copy 1"
}

test_case "emulator: builds, plain, with ASan and UBSan, with TSan" builds
test_case "emulator: its tests compile with nvcc" nvcc_compiles
for order in forward reverse random:1 random:2; do
  test_case "emulator: primitives, $order" primitives plain $order
done
test_case "emulator: primitives under ASan and UBSan" primitives asan forward
test_case "emulator: kernels that ran are listed" kernels_listed
test_case "emulator: a setting that is none is refused" settings_checked

# name, build that finds it, text of the report
bugs="divergent_barrier plain divergent barrier
deadlock plain deadlock
lane_not_in_mask plain __shfl_xor_sync
mask_names_ended_lane plain __shfl_xor_sync
read_outside_mask plain reads lane 16, which is not in mask
misaligned_hint plain misaligned vector access
out_of_global asan heap-buffer-overflow
out_of_static asan use-after-poison
out_of_dynamic asan AddressSanitizer
out_of_local asan insufficient space
uninitialised_shared asan uninitialised shared memory is read
misaligned asan misaligned address
missing_barrier tsan data race
matrices_missing_barrier asan uninitialised shared memory is read
matrices_missing_barrier tsan data race
write_after_read tsan data race
shuffle_as_barrier tsan data race
race_of_blocks tsan data race
last_block tsan data race
missing_event tsan data race"
while read -r name build text; do
  test_case "emulator: $name is found" found "$build" "$name" "$text"
  # What has no bug takes the race check seconds: in the short form, of one kernel.
  [ "$build" != tsan ] || [ "$name" = missing_barrier ] || [ "$long" = --long ] || continue
  test_case "emulator: without $name no report" without_bug "$build" "$name"
done <<< "$bugs"
fixed_order=ZERO_EMU_NO_FLOAT_ATOMICS=1
test_case "emulator: float_atomics is found" found plain float_atomics "order of the sum must be fixed" $fixed_order
test_case "emulator: without float_atomics no report" without_bug plain float_atomics $fixed_order
test_case "emulator: too_large_block is refused" refused too_large_block "a block of (1025,1,1) threads"
test_case "emulator: too_much_shared is refused" refused too_much_shared "49153 bytes of dynamic shared memory"
test_case "emulator: host_pointer is refused" refused host_pointer "argument 2"
test_case "emulator: out_of_dynamic is found without a sanitizer" \
  has "report" "$(plain/test_bugs out_of_dynamic 1 2>&1)" "kernel 'out_of_dynamic', block (0,0,0), thread (63,0,0)"
test_case "emulator: missing_barrier shows in values" \
  shows_in_values missing_barrier ZERO_EMU_ORDER=reverse
test_case "emulator: missing_event shows in values where streams are delayed" \
  shows_in_values missing_event ZERO_EMU_STREAMS=delayed
test_case "emulator: without missing_event no report where streams are delayed" \
  without_bug plain missing_event ZERO_EMU_STREAMS=delayed
for name in slot_reused read_too_early; do
  test_case "emulator: $name shows in values where streams are delayed" shows_in_values $name ZERO_EMU_STREAMS=delayed
  test_case "emulator: without $name no report where streams are delayed" \
    without_bug plain $name ZERO_EMU_STREAMS=delayed
done
test_case "emulator: waits and launches are counted" counted
test_case "emulator: a barrier that is left out is missed" left_out
test_case "emulator: a place that is none is refused" no_place

if [ "$long" = --long ]; then
  for build in plain asan tsan; do
    while read -r name _; do
      test_case "emulator: without $name no report, $build" without_bug $build "$name"
    done <<< "$bugs"
  done
fi
finish
