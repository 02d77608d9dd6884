#!/usr/bin/env bash
# Ranks that start without mpirun, by -pi fs and -pi tcp: the state hash of mpi; files that a killed run left; wrong numbers
# of ranks, ranks that are there twice or not at all; a rank that is killed or stopped; strangers at the door; a program
# that was built without MPI. On the emulator NCCL is started that way too.
# shellcheck disable=SC2206 # numbers need no quotes
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
token_file train.bin 2000 72
mkdir -p folder
flags=(-e L=1,H=2,C=32,T=32,V=72 -i "$work/train.bin" -b 1 -t 32 -d 128 -x 3 -v 0 -s 0 --state-hash 3 --threads 1)
fs=(-pi fs -pf "$work/folder")
port=$((20000 + $$ % 10000))
tcp=(-pi tcp -ps "127.0.0.1:$port")
port_2=$((port + 10000))

# Each rank R has its output in log.R and, when it has ended, its exit code in code.R and its process in pid.R.
program=$train
start_rank() { # start_rank R ARGUMENTS…: in the background
  local rank=$1
  shift
  rm -f "code.$rank"
  : > "log.$rank"
  # shellcheck disable=SC2094
  { timeout -k 5 60 "$program" "$@" -pr "$rank" > "log.$rank" 2>&1 < /dev/null & echo $! > "pid.$rank"; wait $!; echo $? > "code.$rank"; } 2> /dev/null &
}

start_ranks() { # start_ranks NP ARGUMENTS…: rank 0 last, so that the others look for it
  local np=$1 rank
  shift
  for ((rank = np - 1; rank >= 0; rank--)); do start_rank $rank "$@" -pn "$np"; done
}

ended() { # ended SECONDS RANK…: they have ended, each within so many seconds
  local until=$((SECONDS + $1)) rank
  shift
  for rank in "$@"; do
    while [ ! -s "code.$rank" ]; do
      why="rank $rank is still running: $(tail -n 1 "log.$rank")"
      [ $SECONDS -lt $until ] || return 1
      sleep 0.05
    done
  done
}

codes() { # codes CODE RANK…: those of all of them
  local expected=$1 rank
  shift
  for rank in "$@"; do
    is "exit code of rank $rank: $(tail -n 1 "log.$rank")" "$(cat "code.$rank")" "$expected" || return 1
  done
}

state() { grep '^step.*state [0-9a-f]*$' "$1"; }

same_state() { # same_state NP STAGE ARGUMENTS…
  local np=$1 stage=$2
  shift 2
  start_ranks "$np" "${flags[@]}" -z "$stage" "$@"
  local all=($(seq 0 $((np - 1))))
  ended 30 "${all[@]}" && codes 0 "${all[@]}" && is "state, $np ranks" "$(state log.0)" "$expected" &&
    is "files that are left" "$(ls folder)" "" || return 1
  [ "$np" = 1 ] || has "transport" "$(grep '^run:' log.0)" "run: $np ranks x 1 threads | stage $stage | comm tcp"
}

reference() {
  ranks 2 mpi "${flags[@]}" -z 2 > log
  local code=$?
  is "exit code of mpi" $code 0 || return 1
  expected=$(state log)
  is "hashes" "$(grep -c . <<< "$expected")" 1
}

environment() { # any program, by ZERO_START, under mpirun and alone
  ZERO_COMM=tcp ZERO_START=fs:$work/folder timeout 60 "$run" 3 "$train" "${flags[@]}" -d 96 > log 2>&1 < /dev/null
  local code=$?
  is "exit code" $code 0 && has "transport" "$(grep '^run:' log)" "3 ranks x 1 threads | stage 0 | comm tcp" || return 1
  ZERO_COMM=tcp timeout 60 "$train" "${flags[@]}" > log 2>&1
  code=$?
  is "exit code without ZERO_START" $code 1 && has "error" "$(cat log)" "ZERO_START=fs:FOLDER"
}

stale_file() { # one that rank 0 of a killed run left, with nobody at its address
  start_rank 0 "${flags[@]}" "${fs[@]}" -pn 2
  for ((i = 0; i < 100; i++)); do [ -s folder/zero_c_start ] && break; sleep 0.05; done
  kill -KILL "$(pgrep -P "$(cat pid.0)")"
  ended 10 0 && why="the killed rank 0 left no file" && [ -s folder/zero_c_start ] || return 1
  start_rank 1 "${flags[@]}" "${fs[@]}" -pn 2
  sleep 0.5 # it has read that by now
  start_rank 0 "${flags[@]}" "${fs[@]}" -pn 2
  ended 20 0 1 && codes 0 0 1 && is "state" "$(state log.0)" "$expected"
}

nodes() { # each rank on a node of its own, as far as they are told; and a file that is cut off
  echo 'zero.c start 1' > folder/zero_c_start
  same_state 2 1 "${fs[@]}" -pg 1
}

# The file of a rank 0 that is still waiting. Who asks for another run is not let in; and when that other run's rank 0 comes,
# the first one ends, and a rank that it had let in looks again.
another_run() {
  start_rank 0 "${flags[@]}" "${fs[@]}" -pn 2
  for ((i = 0; i < 100; i++)); do [ -s folder/zero_c_start ] && break; sleep 0.05; done
  sed 's/^token [0-9a-f]*/token 0123456789abcdef/' folder/zero_c_start > folder/changed
  mv folder/changed folder/zero_c_start
  ZERO_START_TIMEOUT=1 start_rank 1 "${flags[@]}" "${fs[@]}" -pn 2
  ended 20 0 1 && codes 1 0 1 && has "rank 1" "$(cat log.1)" "no rank 0 was found through the file" &&
    has "rank 0" "$(cat log.0)" "another run started in the same folder" || return 1
  rm folder/zero_c_start
  local three=("${flags[@]}" "${fs[@]}" -d 96 -pn 3)
  start_rank 0 "${three[@]}"
  start_rank 1 "${three[@]}"
  sleep 0.7 # they wait for rank 2
  local old file
  old=$(cat pid.0) file=$(cat folder/zero_c_start)
  start_rank 0 "${three[@]}"
  for ((i = 0; i < 100; i++)); do [ "$(cat folder/zero_c_start)" != "$file" ] && break; sleep 0.05; done
  start_rank 2 "${three[@]}"
  ended 20 1 2 && codes 0 1 2 && why="the first rank 0 is still there" && ! kill -0 "$old" 2> /dev/null
}

wrong_number() { # of ranks, on rank 1, which has to wait for rank 0
  start_rank 1 "${flags[@]}" "${tcp[@]}" -pn 2
  sleep 0.3
  start_rank 0 "${flags[@]}" "${tcp[@]}" -pn 3
  ended 20 0 1 && codes 1 0 1 && has "rank 0" "$(cat log.0)" "rank 1 (process " &&
    has "rank 0" "$(cat log.0)" "was started as one of 2 ranks, rank 0 as one of 3; give all the same -pn" &&
    has "rank 1" "$(cat log.1)" "rank 1: rank 0 refuses the start: rank 1 (process "
}

strangers() { # at the door: one who says nothing, and one who says something else
  local where=(-pi tcp -ps "localhost:$port_2")
  start_rank 0 "${flags[@]}" "${where[@]}" -pn 2
  why="rank 0 does not listen"
  for ((i = 0; i < 100; i++)); do exec 7<> "/dev/tcp/127.0.0.1/$port_2" && break; sleep 0.05; done 2> /dev/null
  exec 8<> "/dev/tcp/127.0.0.1/$port_2" || return 1
  head -c 500 /dev/zero >&8
  start_rank 1 "${flags[@]}" "${where[@]}" -pn 2
  ended 20 0 1
  local code=$?
  exec 7>&- 8>&-
  is "ended" $code 0 && codes 0 0 1 && is "state" "$(state log.0)" "$expected"
}

twice() { # two processes with one rank; who wins is not settled, but all three end, and all say it
  start_rank 1 "${flags[@]}" "${fs[@]}" -pn 3
  rm -f code.2
  { timeout 60 "$train" "${flags[@]}" "${fs[@]}" -pn 3 -pr 1 > log.2 2>&1 < /dev/null; echo $? > code.2; } &
  start_rank 0 "${flags[@]}" "${fs[@]}" -pn 3
  ended 20 0 1 2 && codes 1 0 1 2 || return 1
  for rank in 0 1 2; do has "log of $rank" "$(cat log.$rank)" "rank 1 was started twice: process " || return 1; done
}

missing_rank() {
  ZERO_START_TIMEOUT=1 start_rank 0 "${flags[@]}" "${fs[@]}" -pn 4
  start_rank 2 "${flags[@]}" "${fs[@]}" -pn 4
  ended 20 0 2 && codes 1 0 2 && has "rank 0" "$(cat log.0)" "2 of 4 ranks did not come within 1 s: rank 1, 3; start them" &&
    has "rank 2" "$(cat log.2)" "rank 2: rank 0 refuses the start: 2 of 4 ranks did not come" && is "files" "$(ls folder)" ""
}

missing_rank_0() {
  ZERO_START_TIMEOUT=1 start_rank 1 "${flags[@]}" "${fs[@]}" -pn 2
  ZERO_START_TIMEOUT=1 start_rank 2 "${flags[@]}" "${tcp[@]}" -pn 3
  ended 20 1 2 && codes 1 1 2 && has "fs" "$(cat log.1)" "no rank 0 was found through the file $work/folder/zero_c_start within 1 s: No such file" &&
    has "tcp" "$(cat log.2)" "rank 0 was not reached at 127.0.0.1:$port within 1 s: connecting to 127.0.0.1:$port: Connection refused"
}

refused() { # refused ERRORS TEXT ARGUMENTS…: exit code 1, so many errors, one of them with the text
  local errors=$1 text=$2 code=0
  shift 2
  timeout 20 "$program" "${flags[@]}" -o refused "$@" > log 2>&1 < /dev/null || code=$?
  is "exit code of $*" $code 1 && is "errors of $*" "$(grep -c '^error: ' log)" "$errors" && has "errors of $*" "$(cat log)" "$text" &&
    why="$*: something was written" && [ ! -e refused ]
}

bad_flags() {
  refused 1 "-pf: not given; -pi fs needs a folder" -pi fs -pn 2 -pr 0 &&
    refused 1 "-ps: not given; -pi tcp needs HOST:PORT" -pi tcp -pn 2 -pr 0 &&
    refused 2 "-ps: goes with -pi tcp, but this run starts by -pi fs" -pi fs -ps a:1 -pn 2 -pr 0 &&
    refused 1 "-pf: goes with -pi fs, but this run starts by -pi mpi" -pf folder &&
    refused 1 "-pn: not given" "${fs[@]}" && refused 1 "-pr: not given; each of the 3 processes" "${fs[@]}" -pn 3 &&
    refused 1 "-pr: found 2, but -pn says 2 processes; give a number from 0 to 1" "${fs[@]}" -pn 2 -pr 2 &&
    refused 1 "-pr: 'x' is not a whole number" "${fs[@]}" -pn 2 -pr x &&
    refused 2 "-b: 'x' is not a whole number" "${fs[@]}" -pn 2 -pr 2 -b x &&
    refused 1 "-pi: 'smoke' is not known; give one of mpi|tcp|fs" -pi smoke -pf folder &&
    refused 1 "-pn: found 2, but 1 ranks were started" -pn 2 &&
    refused 1 "'a:b' is no address; give HOST:PORT" -pi tcp -ps a:b -pn 2 -pr 0 &&
    ZERO_COMM=mpi refused 1 "mpi was asked for, but the ranks were started without MPI" "${fs[@]}" -pn 1 &&
    refused 1 "cannot be written: No such file or directory" -pi fs -pf nowhere -pn 2 -pr 0
}

errors_of_one() { # a mistake in other flags of one rank is that rank's error and ends all
  start_rank 1 "${flags[@]}" "${fs[@]}" -d 96 -pn 3 --dtype fp17
  start_rank 2 "${flags[@]}" "${fs[@]}" -d 96 -pn 3
  start_rank 0 "${flags[@]}" "${fs[@]}" -d 96 -pn 3
  ended 15 0 1 2 && codes 1 0 1 2 && is "errors" "$(cat log.0 log.1 log.2 | grep -c '^error: ')" 1 &&
    has "rank 1" "$(cat log.1)" "fp17"
}

lost_rank() { # lost_rank SIGNAL CODE TEXT: rank 1 of three gets it; the others end within 30 s and name it
  local began
  start_ranks 3 "${flags[@]}" "${fs[@]}" -d 96 -x 100000 -z 3
  for ((i = 0; i < 200; i++)); do grep -q '^step  *2/' log.0 && break; sleep 0.05; done
  began=$SECONDS
  kill "-$1" "$(pgrep -P "$(cat pid.1)")"
  ended 30 0 2 && codes 2 0 2 && has "rank 0" "$(cat log.0)" "$3" && has "rank 2" "$(cat log.2)" "$3" || return 1
  echo "# SIG$1: the others ended after $((SECONDS - began)) s"
  kill -CONT "$(pgrep -P "$(cat pid.1)")" 2> /dev/null
  ended 10 1 && codes "$2" 1
}

# ---------------------------------------------------------------- without MPI
# In a folder of its own, with no mpicc to be found. In the short form what does not name MPI is not compiled again.
built() {
  local build="$root/${BUILD:-build}"
  mkdir -p bin built && printf '#!/bin/sh\nexit 1\n' > bin/mpicc && chmod +x bin/mpicc
  if [ "$long" != --long ]; then
    why="$build has no objects" && cp -a "$build"/{zero,llmc,train_gpt2.o,packages} built/ && rm built/zero/comm*.o || return 1
  fi
  why="it does not build: $(PATH="$work/bin:$PATH" make --no-print-directory -C "$root" USE_MPI=0 BUILD="$work/built" \
    "$work/built/train_gpt2" 2>&1 | grep -E 'error|\*\*\*' | head -n 3)"
  program=$work/built/train_gpt2
  [ -x "$program" ] && why="ldd has nothing to say" && ldd "$program" | grep -q libdnnl || return 1
  is "libraries of MPI" "$(ldd "$program" | grep -ciE 'libmpi|open-(rte|pal)')" 0
}

without_mpi() {
  same_state 2 3 "${fs[@]}" || return 1
  "$program" "${flags[@]}" > log 2>&1 < /dev/null
  local code=$?
  is "exit code alone" $code 0 && is "state alone" "$(state log)" "$expected" &&
    refused 1 "-pn: 2 processes, but this program was built without MPI" -pn 2 &&
    refused 1 "-pi: this program was built without MPI; give tcp or fs" -pi mpi &&
    ZERO_COMM=shm refused 1 "shm needs MPI, and this program was built without it" &&
    OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 refused 1 "2 processes were started together, but this program was built without MPI"
}

# ---------------------------------------------------------------- NCCL, on the emulator
emulated() { # emulated NP WAY…: as the emulator's NCCL needs mpirun, each rank starts as a shell would start it
  local np=$1 code
  shift
  why="it does not build: $(make --no-print-directory -C "$root" train_gpt2emu 2>&1 | grep -E 'error|\*\*\*' | head -n 3)"
  [ -x "$root/train_gpt2emu" ] || return 1
  # shellcheck disable=SC2016 # the ranks' shells expand it
  timeout 100 "$run" "$np" sh -c 'exec "$@" -pn "$OMPI_COMM_WORLD_SIZE" -pr "$OMPI_COMM_WORLD_RANK"' sh "$root/train_gpt2emu" \
    "${flags[@]}" -z 2 "$@" > log 2>&1 < /dev/null
  code=$?
  is "exit code: $(grep '^error' log | head -n 1)" $code 0 && has "transport" "$(grep '^run:' log)" "comm nccl" || return 1
  is "hashes" "$(state log | wc -l)" 1 && state log >> emulated
}

same_emulated() {
  ZERO_COMM=mpi timeout 100 "$run" 2 "$root/train_gpt2emu" "${flags[@]}" -z 2 > log 2>&1 < /dev/null
  local code=$?
  is "exit code of mpi" $code 0 && why="no run with nccl" && [ -s emulated ] &&
    is "states" "$(sort -u emulated)" "$(state log)"
}

# One rank of a program that has NCCL but no MPI: nothing carries messages, and none are needed.
emulated_alone() {
  local emulator="$root/${BUILD:-build}/emu" code objects links
  mapfile -t objects < <(find "$emulator"/{llmc,zero,dev/cudaemu} built/{zero,llmc} -name '*.o' ! -name 'test_*' ! -path 'built/llmc/cpu/*')
  read -ra links <<< "$(mpicc --showme:link)" # the emulator's NCCL needs it
  why="it does not link: $("${CXX:-g++}" "$emulator/train_gpt2.o" "${objects[@]}" -o alone "${links[@]}" -lxxhash -lcjson -lm \
    -ldl -fopenmp 2>&1 | head -n 3)"
  [ -x alone ] || return 1
  is "objects of zero/ that know MPI" "$(find built/zero -name 'comm_mpi*.o' -o -name 'comm_shm*.o')" "" || return 1
  ZERO_COMM=nccl timeout 100 ./alone "${flags[@]}" -z 2 > log 2>&1 < /dev/null
  code=$?
  is "exit code: $(grep '^error' log | head -n 1)" $code 0 && has "transport" "$(grep '^run:' log)" "comm nccl" &&
    why="no run with nccl" && [ -s emulated ] && is "state" "$(state log)" "$(sort -u emulated)"
}

test_case "startup: reference by mpi" reference
for np in 1 2 4; do
  test_case "startup: -pi fs, $np ranks, the state of mpi" same_state $np 3 "${fs[@]}"
  test_case "startup: -pi tcp, $np ranks, the state of mpi" same_state $np 0 "${tcp[@]}"
done
test_case "startup: -pg" nodes
test_case "startup: by the environment" environment
test_case "startup: a file that a killed run left" stale_file
test_case "startup: a file of another run" another_run
test_case "startup: wrong -pn on one rank" wrong_number
test_case "startup: strangers at rank 0's port" strangers
test_case "startup: two ranks with one number" twice
test_case "startup: a rank is missing" missing_rank
test_case "startup: rank 0 is missing" missing_rank_0
test_case "startup: flags that do not go together" bad_flags
test_case "startup: one rank's mistake" errors_of_one
test_case "startup: a killed rank" lost_rank KILL 137 "rank 1 has closed its connections"
[ "$long" = --long ] && test_case "startup: a stopped rank" lost_rank STOP 2 "has been stopped by a signal, and this rank waits for it in "
test_case "startup: the build without MPI" built
test_case "startup: training without MPI" without_mpi
program=$train
test_case "startup: nccl by -pi fs, 2 ranks" emulated 2 "${fs[@]}"
if [ "$long" = --long ]; then
  test_case "startup: nccl by -pi tcp, 4 ranks" emulated 4 "${tcp[@]}"
fi
test_case "startup: nccl, the state of mpi" same_emulated
test_case "startup: nccl, one rank without MPI" emulated_alone
finish
