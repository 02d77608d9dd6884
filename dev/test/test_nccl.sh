#!/usr/bin/env bash
# The transport nccl on the emulator (dev/cudaemu/): the bits of the transport mpi at every stage and number of ranks, with
# streams that are late in every way the emulator has; the events of zero/comm_nccl.cu removed one by one, each of which
# must show; planted misuse of NCCL; ranks that are killed or stopped. With --long all of it, else a part.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
build=$root/${BUILD:-build}
program=$root/train_gpt2emu
token_file "$work/train.bin" 2000 72
# Shares are equal in no unit but the embeddings, 10240 elements in 10 chunks, on 2 ranks; 4 ranks own whole chunks that
# do not divide, or nothing of the last norm.
flags=(-e L=2,H=2,C=64,T=32,V=72 -i "$work/train.bin" -b 2 -t 32 -d 256 -x 3 -v 0 -s 0 --state-hash 3)

made() { # made TARGET…: builds them
  why="it does not build: $(make --no-print-directory -C "$root" "$@" 2>&1 | grep -E 'error|\*\*\*' | head -n 3)"
  [ -x "$root/$1" ]
}

# train COMM NP PROGRAM ARGUMENTS…: log in `log`, main.log in out/, exit code in $code.
train() {
  local comm=$1 np=$2 binary=$3
  shift 3
  code=0
  ZERO_COMM=$comm timeout -k 10 $time_limit "$run" "$np" "$binary" "${flags[@]}" -o out -y 0 "$@" > log 2>&1 < /dev/null || code=$?
}
result() { grep '^step.*state [0-9a-f]*$' log && cat out/main.log; } # state hash and losses
losses() { sed -n 's/^s:[0-9]* trl:\([^ ]*\).*/\1/p' out/main.log; }

reference() { # what mpi makes of them
  train mpi 2 "$program" -z 2
  is "exit code of mpi: $(grep '^error' log | head -n 2)" $code 0 || return 1
  expected=$(result) expected_losses=$(losses)
  is "state hashes and losses" "$(grep -c . <<< "$expected")" 4
}

same_bits() { # same_bits NP STAGE ARGUMENTS…
  local np=$1 stage=$2
  shift 2
  train nccl "$np" "$program" -z "$stage" "$@"
  is "exit code, $np ranks, stage $stage: $(grep '^error' log | head -n 2)" $code 0 &&
    has "transport" "$(grep '^run:' log)" "comm nccl" &&
    is "state and losses, $np ranks, stage $stage" "$(result)" "$expected" && counted
}

counted() { # what travelled is what the formula says
  local rows
  rows=$(grep -E '^  (reduce-scatter|all-gather) ' log)
  is "rows of traffic" "$(wc -l <<< "$rows")" 2 &&
    is "bytes counted" "$(awk '{ print $1, $4 }' <<< "$rows")" "$(awk '{ print $1, $3 }' <<< "$rows")"
}

any_order() { # any_order NP STAGE ARGUMENTS…: other bits, the same losses
  local np=$1 stage=$2 step=0 loss
  shift 2
  train nccl "$np" "$program" -z "$stage" --deterministic 0 "$@"
  is "exit code, $np ranks, stage $stage: $(grep '^error' log | head -n 2)" $code 0 && counted || return 1
  is "losses, $np ranks, stage $stage" "$(losses | wc -l)" 3 || return 1
  for loss in $(losses); do
    step=$((step + 1))
    near "loss of step $step, $np ranks, stage $stage" "$loss" "$(sed -n ${step}p <<< "$expected_losses")" 1e-5 || return 1
  done
}

# Payload of an all-reduce: 2 (N - 1) size bytes of the wire type, all ranks together. 110336 parameters, no gaps.
all_reduce_traffic() { # all_reduce_traffic DTYPE BYTES
  train nccl 2 "$program" -z 0 --deterministic 0 --dtype "$1"
  is "exit code, $1" $code 0 && counted &&
    is "bytes, $1" "$(awk '/^  (reduce-scatter|all-gather) / { sum += $4 } END { print sum }' log)" "$((2 * 110336 * $2))"
}

# ---------------------------------------------------------------- streams
streams() { # streams MODE NP STAGE ARGUMENTS…
  local mode=$1
  shift
  ZERO_EMU_STREAMS=$mode same_bits "$@"
}

# mutant NAME SED_EXPRESSION: the emulated program with one line of comm_nccl.cu changed.
mutant() {
  local name=$1 compile
  mkdir -p mutant/zero
  sed -E "$2" "$root/zero/comm_nccl.cu" > mutant/zero/comm_nccl.cu
  why="the expression changes $(diff "$root/zero/comm_nccl.cu" mutant/zero/comm_nccl.cu | grep -c '^<') lines, not 1"
  [ "$(diff "$root/zero/comm_nccl.cu" mutant/zero/comm_nccl.cu | grep -c '^<')" = 1 ] || return 1
  read -ra compile <<< "$(mpicc --showme:compile)"
  why="the changed source does not build" # its includes lie beside the original
  "${CXX:-g++}" -x c++ -std=c++17 -O1 -march="${ARCH:-native}" -DZERO_CUDA -DZERO_CUDA_EMULATOR -I"$root/dev/cudaemu/include" \
    -I"$root" -I"$root/zero" -fno-strict-aliasing "${compile[@]}" -c mutant/zero/comm_nccl.cu -o "mutant/$name.o" 2> mutant.log || return 1
  read -ra compile <<< "$(mpicc --showme:link)"
  local objects=()
  mapfile -t objects < <(cd "$build" && find emu/llmc emu/zero emu/dev/cudaemu zero llmc -name '*.o' ! -path 'llmc/cpu/*' \
    ! -name comm_nccl.o ! -name 'test_*' ! -path 'emu/dev/test/*')
  (cd "$build" && "${CXX:-g++}" emu/train_gpt2.o "${objects[@]}" "$work/mutant/$name.o" -o "$work/mutant/$name" "${compile[@]}" \
    -lxxhash -lcjson -lm -ldl -fopenmp) 2> mutant.log
}

# A mutant is caught when in one of the ways its result differs, or it ends in an error.
late_streams=(delayed random:1 random:2 random:3 random:4 random:5 random:6)
caught() { # caught NAME SED_EXPRESSION
  mutant "$1" "$2" || return 1
  local mode stage
  for mode in "${late_streams[@]}"; do
    for stage in 3 2; do
      ZERO_EMU_STREAMS=$mode ZERO_EMU_TIMEOUT=5 train nccl 2 "$work/mutant/$1" -z $stage
      if [ $code != 0 ] || [ "$(result)" != "$expected" ]; then
        echo "# $1: shows with $mode at stage $stage, exit code $code"
        return 0
      fi
    done
  done
  why="every result is right without it"
  return 1
}

# ---------------------------------------------------------------- misuse
# misuse NAME TEXT…: with the bug the job ends with 2 and an error line that has every TEXT; without, well. Calls that do
# not fit are noticed on both sides and the first report ends the job: "rank 1 makes CALL" may be rank 1's own, and where
# the sides have different words TEXT is "ONE|OTHER".
misuse() {
  local name=$1 text
  shift
  ZERO_EMU_TIMEOUT=3 timeout 60 "$run" 2 "$build/emu/test_nccl" "$name" 0 > log 2>&1
  code=$?
  is "exit code without the bug; $(head -n 2 log)" $code 0 && is "sums" "$(grep -c '^rank [01] sum [1-9]' log)" 2 || return 1
  ZERO_EMU_TIMEOUT=3 timeout 60 "$run" 2 "$build/emu/test_nccl" "$name" 1 > log 2>&1
  code=$?
  is "exit code; $(head -n 2 log)" $code 2 || return 1
  grep '^error: rank [01]: NCCL: ' log > report
  for text in "$@"; do
    grep -qF -e "${text//|/$'\n'}" -e "${text/ makes /: NCCL: }" report || has "report" "$(cat report)" "$text" || return 1
  done
}

refused() { # refused PROGRAM TEXT [SETTING…]: exit code 1, one error, nothing written
  local binary=$1 text=$2
  shift 2
  rm -rf out
  code=0
  env "$@" ZERO_COMM=nccl timeout 60 "$run" 2 "$binary" "${flags[@]}" -o out > log 2>&1 || code=$?
  is "exit code" $code 1 && is "errors" "$(grep -c '^error: ' log)" 1 && has "error" "$(cat log)" "$text" &&
    why="something was written" && [ ! -e out ]
}

shared_gpu() { # not asked for by name: mpi, and a line says why
  ZERO_EMU_GPUS=1 train '' 2 "$program"
  is "exit code" $code 0 && has "start" "$(cat log)" "comm mpi" && has "note" "$(cat log)" "ranks 0 and 1 share one" &&
    is "state and losses" "$(result)" "$expected"
}

sharing() { # sharing: NCCL itself refuses ranks that share a GPU, or takes them, to the same bits
  ZERO_EMU_GPUS=1 ZERO_NCCL_SHARE_GPU=1 train nccl 2 "$program" -z 3
  is "exit code" $code 2 && has "error" "$(cat log)" "NCCL: invalid usage (Duplicate GPU detected) in ncclCommInitRankConfig" &&
    has "hint" "$(cat log)" "NCCL_MULTI_RANK_GPU_ENABLE=1" || return 1
  NCCL_MULTI_RANK_GPU_ENABLE=1 ZERO_EMU_GPUS=1 ZERO_NCCL_SHARE_GPU=1 same_bits 2 3 || return 1
  ZERO_EMU_GPUS=1 ZERO_NCCL_SHARE_GPU=yes train nccl 2 "$program" -z 3
  is "exit code with yes" $code 2 && has "error" "$(cat log)" "ZERO_NCCL_SHARE_GPU: 'yes' found"
}

asynchronous_error() {
  ZERO_EMU_NCCL_FAIL=30 train nccl 2 "$program"
  is "exit code" $code 2 && has "error" "$(cat log)" "NCCL: remote process exited" &&
    has "operation" "$(cat log)" "while waiting for reduce-scatter by pieces of"
}

# A rank that is ended or stopped while all train: the others end within 30 s and name what they waited for.
lost_rank() { # lost_rank SIGNAL
  local np=3 launcher victim start
  rm -f log # of the rank that was lost before: its steps say nothing
  ZERO_COMM=nccl "$run" $np "$program" "${flags[@]}" -d 192 -x 100000 -z 3 > log 2>&1 < /dev/null &
  launcher=$!
  for ((i = 0; i < 600; i++)); do
    grep -qs '^step  *2/' log && break
    sleep 0.1
  done
  victim=$(pgrep -f "^$program .*$work/train.bin" | tail -n 1)
  why="no rank is running: $(tail -n 2 log)"
  [ -n "$victim" ] || { kill -TERM "$launcher" && return 1; }
  start=$SECONDS
  kill "-$1" "$victim"
  for ((i = 0; i < 300; i++)); do
    kill -0 "$launcher" 2> /dev/null || break
    sleep 0.1
  done
  if kill -0 "$launcher" 2> /dev/null; then
    why="30 s after SIG$1 ranks are still running: $(tail -n 2 log)"
    kill -CONT "$victim"
    kill -TERM "$launcher"
    sleep 1
    kill -TERM "$launcher" 2> /dev/null
    return 1
  fi
  code=0
  wait "$launcher" || code=$?
  echo "# SIG$1: ended after $((SECONDS - start)) s with exit code $code"
  why="ranks are left: $(pgrep -f "^$program .*$work/train.bin" | tr '\n' ' ')"
  [ -z "$(pgrep -f "^$program .*$work/train.bin")" ] || return 1
  if [ "$1" = KILL ]; then
    is "exit code" $code 137
  else
    is "exit code" $code 2 && has "error" "$(grep '^error' log)" "been stopped by a signal, and this rank waits for it in "
  fi
}

transport() { # transport NP: the tests of all transports
  OMP_NUM_THREADS=1 ZERO_EMU_UNIFIED=1 ZERO_COMM=nccl timeout -k 10 $time_limit "$run" "$1" "$build/emu/test_comm" > log 2>&1
  code=$?
  is "exit code: $(grep -E 'test_comm.c|error' log | head -n 2)" $code 0 && grep -q '^\[  PASSED  \] 9 test' log
}

nvcc_compiles() {
  why="nvcc not found: the test was not compiled by it"
  command -v nvcc > /dev/null || return 77
  local compile
  read -ra compile <<< "$(mpicc --showme:compile)"
  why="nvcc refuses test_nccl.cu: $(nvcc -c -arch=sm_80 -Werror all-warnings -I"$root" "${compile[@]}" \
    "$root/dev/cudaemu/test_nccl.cu" -o nvcc.o 2>&1 | head -n 3)"
  [ "$why" = "nvcc refuses test_nccl.cu: " ]
}

test_case "nccl: the programs build" made train_gpt2emu train_gpt2 "${BUILD:-build}/emu/test_nccl" \
  "${BUILD:-build}/emu/test_comm"
test_case "nccl: test_comm, 3 ranks" transport 3
test_case "nccl: reference by mpi" reference
if [ "$long" = --long ]; then
  for np in 1 2 4; do
    test_case "nccl: test_comm, $np ranks" transport $np
    for stage in 0 1 2 3; do
      test_case "nccl: bits of mpi, $np ranks, stage $stage" same_bits $np $stage
      test_case "nccl: deterministic 0, $np ranks, stage $stage" any_order $np $stage
      for mode in delayed random:1 random:2; do
        test_case "nccl: bits of mpi, $np ranks, stage $stage, streams $mode" streams $mode $np $stage
      done
    done
  done
  test_case "nccl: all-reduce in fp32" all_reduce_traffic fp32 4
  test_case "nccl: all-reduce in bf16" all_reduce_traffic bf16 2
  test_case "nccl: all-reduce in fp16" all_reduce_traffic fp16 2
else
  # Few: each start measures the emulator's peak, which is most of its time.
  test_case "nccl: deterministic 0, 2 ranks, stage 0" any_order 2 0
  test_case "nccl: streams delayed, 2 ranks, stage 3" streams delayed 2 3
fi

# What is removed from comm_nccl.cu, and the sed expression that does it.
mutants="event_before_reduction /start_after_compute\(comm\); \/\/ of a reduction/d
event_before_gather /start_after_compute\(comm\); \/\/ of a gather/d
record_of_reduction /mark_done\(nccl, op\); \/\/ of a reduction/d
record_of_gather /mark_done\(nccl, op\); \/\/ of a gather/d
wait_for_reduction /compute_waits\(comm, op\); \/\/ for a reduction/d
wait_for_gather /compute_waits\(comm, op\); \/\/ for a gather/d
record_before_nccl /cudaEventRecord\(nccl->computed/d
wait_before_nccl /cudaStreamWaitEvent\(nccl->stream/d
settling s/while \(result == ncclInProgress\)/while (0)/
order_of_pieces s/source = 0; source < comm->size; source\+\+/source = comm->size; source-- > 0;/"
[ "$long" = --long ] || mutants=$(grep '^wait_for_reduction ' <<< "$mutants")
while read -r name expression; do
  test_case "nccl: without $name it shows" caught "$name" "$expression"
done <<< "$mutants"

test_case "nccl: count_in_bytes" misuse count_in_bytes "rank 1: NCCL: ncclAllReduce(count 192, " "counts are elements, not bytes"
test_case "nccl: skips_call" misuse skips_call "rank 1 makes ncclAllReduce(count 48, " "rank 0 makes ncclAllGather(count 48"
if [ "$long" = --long ]; then
  test_case "nccl: other_count" misuse other_count "rank 0 makes ncclAllReduce(count 48, " "rank 1 makes ncclAllReduce(count 24, "
  test_case "nccl: wrong_type" misuse wrong_type "rank 0 makes ncclAllReduce(count 48, ncclFloat32" "rank 1 makes ncclAllReduce(count 48, ncclInt32"
  test_case "nccl: host_memory" misuse host_memory "rank 1: NCCL: ncclAllReduce(count 48" "is not the device's memory"
  test_case "nccl: null_pointer" misuse null_pointer "rank 1: NCCL: ncclAllReduce(count 48" "sendbuff is a null pointer"
  test_case "nccl: skips_last_call" misuse skips_last_call "rank 1: NCCL: ncclAllReduce(count 48" "rank 0 did not come within 3 s"
  test_case "nccl: wrong_order" misuse wrong_order "rank 0 makes ncclBroadcast(count 48, ncclFloat32, root 0)" "rank 1 makes ncclAllReduce(count 48"
  test_case "nccl: shorter_message" misuse shorter_message "rank 0 makes ncclSend(count 47" "rank 1 makes ncclRecv(count 48"
  test_case "nccl: receive_without_send" misuse receive_without_send "rank 0 makes no call that belongs to it|rank 1 makes also ncclRecv(count 48"
  test_case "nccl: use_after_destroy" misuse use_after_destroy "ncclAllReduce: the communicator is used after ncclCommDestroy"
  test_case "nccl: an asynchronous error is asked for" asynchronous_error
  test_case "nccl: a killed rank" lost_rank KILL
  test_case "nccl: mpi where ranks share a GPU" shared_gpu
fi
test_case "nccl: a stopped rank" lost_rank STOP
test_case "nccl: refused where ranks share a GPU" refused "$program" "ranks 0 and 1 share one" ZERO_EMU_GPUS=1
test_case "nccl: ranks that share a GPU, as NCCL will have it" sharing
test_case "nccl: refused in a program for the CPU" refused "$root/train_gpt2" "nccl is not in this build"
test_case "nccl: its test compiles with nvcc" nvcc_compiles
finish
