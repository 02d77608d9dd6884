#!/usr/bin/env bash
# Memory and traffic of a GPT-2 of 29,227,776 parameters in fp32 and bf16, with deterministic reductions and without,
# against formulas that are written out here. With --long: ranks 1, 2, 4 x stages 0 to 3 x shm, mpi x accumulation 1, 3
# x both types x deterministic 1, 0.
# shellcheck disable=SC2034,SC2054,SC2206 # lib.sh shows why; -e takes commas; numbers need no quotes
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}

# -e L=16,H=6,C=384,T=128,V=2000, the vocabulary padded to 2,048. Every tensor is a multiple of 64 long, so that
# alignment adds nothing: these are also the lengths of the flat buffers.
embeddings=835584      # 2048*384 + 128*384
block=1774464          # 12*384*384 + 13*384
norm=768               # 2*384
psi=29227776           # embeddings + 16 block + norm
in_flight=4384512      # embeddings + 2 block: gradient buffers U, gather buffers G
backward=$((psi - embeddings)) # gathered again in backward at stage 3
steps=2
token_file train.bin 4000 2000

own_figures() {
  is "parameters" $psi $((embeddings + 16 * block + norm)) && is "in flight" $in_flight $((embeddings + 2 * block))
}

# cell FILE ROW COLUMN: a figure of a table; the columns are counted from the right.
cell() { grep -E "^  $2 " "$1" | awk -v column="$3" '{ print $(NF - column) }'; }
MIB=1048576.0

# A run is NP COMM STAGE MICRO_STEPS TYPE DETERMINISTIC; the figures below take one as their arguments.
# Bytes by DESIGN's table: parameters, gradients, optimizer.
size() { [ "$5" = fp32 ] && echo 4 || echo 2; } # of an element, computed with or sent
parameters() { [ "$3" = 3 ] && echo "$(size "$@") * $psi / $1" || echo "$(size "$@") * $psi"; }
gradients() {
  case "$3 $6" in
    "0 0" | "0 1" | "1 0") echo "4.0 * $psi" ;;
    "1 1") echo "($(size "$@") * $psi + 4.0 * $psi / $1)" ;;
    *) echo "4.0 * $psi / $1" ;;
  esac
}
optimizer() {
  local bytes=12.0
  [ "$5" = fp32 ] && bytes=8.0
  [ "$3" = 0 ] && echo "$bytes * $psi" || echo "$bytes * $psi / $1"
}
grad_buffers() {
  case "$3 $6 $5" in
    "1 1 "* | "0 0 fp32" | "1 0 fp32") echo 0 ;;
    *) echo "$(size "$@") * $in_flight" ;;
  esac
}
gather_buffers() { [ "$3" = 3 ] && [ "$1" != 1 ] && echo "$(size "$@") * $in_flight" || echo 0; }
state() { echo "($(parameters "$@") + $(gradients "$@") + $(optimizer "$@"))"; }
everything() { echo "($(state "$@") + $(grad_buffers "$@") + $(gather_buffers "$@"))"; }

# The ZeRO paper's table 1, where parameters, gradients and optimizer take 2, 2 and 12 bytes; carried over to fp32: 4, 4
# and 8.
paper() {
  case "$3 $5" in
    "0 "*) echo "16.0 * $psi" ;;
    "1 fp32") echo "(8.0 * $psi + 8.0 * $psi / $1)" ;;
    "1 bf16") echo "(4.0 * $psi + 12.0 * $psi / $1)" ;;
    "2 fp32") echo "(4.0 * $psi + 12.0 * $psi / $1)" ;;
    "2 bf16") echo "(2.0 * $psi + 14.0 * $psi / $1)" ;;
    "3 "*) echo "16.0 * $psi / $1" ;;
  esac
}

# Shards end at chunks of 1,024 elements: within a percent of the formulas. The formulas as printed: to the digit,
# but for a share that is rounded up to an element.
check_memory() { # FILE RUN
  local file=$1 row allocated=0 formula=1
  shift
  for row in parameters gradients optimizer grad_buffers gather_buffers; do
    near "allocated ${row/_/ }" "$MIB * $(cell "$file" "$(label $row)" $allocated)" "$($row "$@")" 0.01 &&
      near "formula for ${row/_/ }" "$MIB * $(cell "$file" "$(label $row)" $formula)" "$($row "$@")" 0.001 || return 1
  done
  near "allocated model state" "$MIB * $(cell "$file" "= model state" $allocated)" "$(state "$@")" 0.01 &&
    near "the paper's model state" "$MIB * $(cell "$file" "= model state" 2)" "$(paper "$@")" 0.001
}
label() {
  case $1 in
    grad_buffers) echo "gradient buffers" ;;
    gather_buffers) echo "gather buffers" ;;
    *) echo "$1" ;;
  esac
}

# Bytes that all ranks send in a step, to the byte. A reduce-scatter and an all-gather of n elements are (NP - 1) n.
check_traffic() { # FILE RUN
  local file=$1 others=$(($2 - 1)) stage=$4 micro_steps=$5 reduced gathered
  shift
  local element
  element=$(size "$@")
  case "$stage $6" in
    "0 0" | "1 0") reduced=$((element * psi)) ;;
    *) reduced=$((element * micro_steps * psi)) ;;
  esac
  case $stage in
    0) gathered=$((4 * psi)) ;; # sums
    1 | 2) gathered=$((element * psi)) ;;
    3) gathered=$((element * micro_steps * (psi + backward))) ;;
  esac
  is "counted bytes of reduce-scatters" "$(cell "$file" reduce-scatter 0)" $((others * reduced)) &&
    is "counted bytes of all-gathers" "$(cell "$file" all-gather 0)" $((others * gathered)) &&
    is "formula for reduce-scatters" "$(cell "$file" reduce-scatter 1)" $((others * reduced)) &&
    is "formula for all-gathers" "$(cell "$file" all-gather 1)" $((others * gathered))
}

file_of() { local IFS=-; echo "run-$*"; }

measure() { # measure RUN: into a file of its own, once
  local code=0 file
  file=$(file_of "$@")
  ranks "$1" "$2" -e L=16,H=6,C=384,T=128,V=2000 -i train.bin -b 1 -t 128 -d $((128 * $1 * $4)) -x $steps -z "$3" \
    --dtype "$5" --deterministic "$6" --threads 1 -v 0 -s 0 > "$file" 2>&1 || code=$?
  is "exit code, the output ends '$(tail -n 3 "$file")'" $code 0 &&
    has "output" "$(grep '^run: ' "$file")" "run: $1 ranks x 1 threads | stage $3 | comm $2 | $5 | deterministic $6 |" &&
    has "output" "$(grep '^model: ' "$file")" "$psi parameters" &&
    is "steps" "$(grep -c '^step ' "$file")" $steps
}

one_run() { # RUN
  local file
  file=$(file_of "$@")
  measure "$@" && check_memory "$file" "$@" && check_traffic "$file" "$@"
}

peak() { sed -nE "s/^peak memory of a rank's process:? ([0-9.]+) MiB.*/\1/p" "$1"; }

# What the process itself saw fall from stage 0 to stage 3.
peak_falls() { # NP COMM MICRO_STEPS TYPE DETERMINISTIC
  local from to
  from=$(peak "$(file_of "$1" "$2" 0 "$3" "$4" "$5")") to=$(peak "$(file_of "$1" "$2" 3 "$3" "$4" "$5")")
  why="no peaks were printed"
  [ -n "$from" ] && [ -n "$to" ] || return 1
  near "peak of $from MiB at stage 0, $to at stage 3; the fall" "$MIB * ($from - $to)" \
    "$(everything "$1" "$2" 0 "$3" "$4" "$5") - $(everything "$1" "$2" 3 "$3" "$4" "$5")" 0.1
}

# every LIST…: all combinations of a word from each list, one to a line.
every() {
  local word line
  [ $# -gt 0 ] || { echo; return; }
  for word in $1; do
    while read -r line; do echo "$word $line"; done <<< "$(every "${@:2}")"
  done
}

if [ "$long" = --long ]; then
  runs=$(every "1 2 4" "shm mpi" "0 1 2 3" "1 3" "fp32 bf16" "1 0")
  falls=$(every "2 4" "shm mpi" "1 3" "fp32 bf16" "1 0")
else
  runs="1 self 0 1 fp32 1
1 self 1 3 bf16 0
2 shm 0 1 fp32 1
2 shm 3 1 fp32 1
2 mpi 1 3 fp32 1
4 shm 2 1 fp32 1
4 mpi 0 1 fp32 1
4 mpi 3 1 fp32 1
2 shm 0 3 fp32 0
2 mpi 1 3 fp32 0
2 shm 3 3 bf16 0
2 shm 2 1 bf16 1"
  falls="2 shm 1 fp32 1
4 mpi 1 fp32 1"
fi
test_case "memory, traffic: the test's own figures" own_figures
while read -r np comm stage micro_steps type deterministic; do
  test_case "memory, traffic: $np ranks, $comm, stage $stage, accumulation $micro_steps, $type, deterministic $deterministic" \
    one_run "$np" "$comm" "$stage" "$micro_steps" "$type" "$deterministic"
done <<< "$runs"
while read -r np comm micro_steps type deterministic; do
  test_case "peak falls from stage 0 to 3: $np ranks, $comm, accumulation $micro_steps, $type, deterministic $deterministic" \
    peak_falls "$np" "$comm" "$micro_steps" "$type" "$deterministic"
done <<< "$falls"

finish
