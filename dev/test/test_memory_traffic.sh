#!/usr/bin/env bash
# Memory and traffic of a GPT-2 of 29,227,776 parameters in fp32 with deterministic reductions, against formulas
# that are written out here. With --long: ranks 1, 2, 4 x stages 0 to 3 x shm, mpi x accumulation 1, 3.
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

# Bytes by DESIGN's table for fp32: parameters, gradients, optimizer.
parameters() { [ "$2" = 3 ] && echo "4.0 * $psi / $1" || echo "4.0 * $psi"; } # NP STAGE
gradients() {
  case $2 in
    0) echo "4.0 * $psi" ;;
    1) echo "(4.0 * $psi + 4.0 * $psi / $1)" ;;
    *) echo "4.0 * $psi / $1" ;;
  esac
}
optimizer() { [ "$2" = 0 ] && echo "8.0 * $psi" || echo "8.0 * $psi / $1"; }
grad_buffers() { [ "$2" = 1 ] && echo 0 || echo "4.0 * $in_flight"; }
gather_buffers() { [ "$2" = 3 ] && [ "$1" != 1 ] && echo "4.0 * $in_flight" || echo 0; }
state() { echo "($(parameters "$@") + $(gradients "$@") + $(optimizer "$@"))"; }
everything() { echo "($(state "$@") + $(grad_buffers "$@") + $(gather_buffers "$@"))"; }

# The ZeRO paper's table 1, carried over to fp32: 4, 4 and 8 bytes.
paper() {
  case $2 in
    0) echo "16.0 * $psi" ;;
    1) echo "(8.0 * $psi + 8.0 * $psi / $1)" ;;
    2) echo "(4.0 * $psi + 12.0 * $psi / $1)" ;;
    3) echo "16.0 * $psi / $1" ;;
  esac
}

# Shards end at chunks of 1,024 elements: within a percent of the formulas. The formulas as printed: to the digit,
# but for a share that is rounded up to an element.
check_memory() { # FILE NP STAGE
  local row allocated=0 formula=1
  for row in parameters gradients optimizer grad_buffers gather_buffers; do
    near "allocated ${row/_/ }" "$MIB * $(cell "$1" "$(label $row)" $allocated)" "$($row "$2" "$3")" 0.01 &&
      near "formula for ${row/_/ }" "$MIB * $(cell "$1" "$(label $row)" $formula)" "$($row "$2" "$3")" 0.001 || return 1
  done
  near "allocated model state" "$MIB * $(cell "$1" "= model state" $allocated)" "$(state "$2" "$3")" 0.01 &&
    near "the paper's model state" "$MIB * $(cell "$1" "= model state" 2)" "$(paper "$2" "$3")" 0.001
}
label() {
  case $1 in
    grad_buffers) echo "gradient buffers" ;;
    gather_buffers) echo "gather buffers" ;;
    *) echo "$1" ;;
  esac
}

# Bytes that all ranks send in a step, to the byte. A reduce-scatter and an all-gather of n elements are (NP - 1) n.
check_traffic() { # FILE NP STAGE MICRO_STEPS
  local others=$(($2 - 1)) gathered
  local reduce=$((4 * $4 * others * psi))
  case $3 in
    0 | 1 | 2) gathered=$psi ;; # sums at stage 0, parameters at 1 and 2
    3) gathered=$(($4 * (psi + backward))) ;;
  esac
  is "counted bytes of reduce-scatters" "$(cell "$1" reduce-scatter 0)" $reduce &&
    is "counted bytes of all-gathers" "$(cell "$1" all-gather 0)" $((4 * others * gathered)) &&
    is "formula for reduce-scatters" "$(cell "$1" reduce-scatter 1)" $reduce &&
    is "formula for all-gathers" "$(cell "$1" all-gather 1)" $((4 * others * gathered))
}

measure() { # measure NP COMM STAGE MICRO_STEPS: into a file of its own, once
  local code=0 file="run-$1-$2-$3-$4"
  ranks "$1" "$2" -e L=16,H=6,C=384,T=128,V=2000 -i train.bin -b 1 -t 128 -d $((128 * $1 * $4)) -x $steps -z "$3" \
    --threads 1 -v 0 -s 0 > "$file" 2>&1 || code=$?
  is "exit code, the output ends '$(tail -n 3 "$file")'" $code 0 &&
    has "output" "$(grep '^run: ' "$file")" "run: $1 ranks x 1 threads | stage $3 | comm $2 | fp32 | deterministic 1 |" &&
    has "output" "$(grep '^model: ' "$file")" "$psi parameters" &&
    is "steps" "$(grep -c '^step ' "$file")" $steps
}

one_run() { # NP COMM STAGE MICRO_STEPS
  measure "$@" && check_memory "run-$1-$2-$3-$4" "$1" "$3" && check_traffic "run-$1-$2-$3-$4" "$1" "$3" "$4"
}

peak() { sed -nE "s/^peak memory of a rank's process:? ([0-9.]+) MiB.*/\1/p" "$1"; }

# What the process itself saw fall from stage 0 to stage 3.
peak_falls() { # NP COMM MICRO_STEPS
  local from to
  from=$(peak "run-$1-$2-0-$3") to=$(peak "run-$1-$2-3-$3")
  why="no peaks were printed"
  [ -n "$from" ] && [ -n "$to" ] || return 1
  near "peak of $from MiB at stage 0, $to at stage 3; the fall" "$MIB * ($from - $to)" \
    "$(everything "$1" 0) - $(everything "$1" 3)" 0.1
}

if [ "$long" = --long ]; then
  runs=$(for np in 1 2 4; do for comm in shm mpi; do for stage in 0 1 2 3; do for steps_of in 1 3; do
    echo "$np $comm $stage $steps_of"
  done; done; done; done)
  falls=$(for np in 2 4; do for comm in shm mpi; do for steps_of in 1 3; do echo "$np $comm $steps_of"; done; done; done)
else
  runs="1 self 0 1
2 shm 0 1
2 shm 3 1
2 mpi 1 3
2 mpi 3 3
4 shm 2 1
4 mpi 0 1
4 mpi 3 1"
  falls="2 shm 1
4 mpi 1"
fi
test_case "memory, traffic: the test's own figures" own_figures
while read -r np comm stage micro_steps; do
  test_case "memory, traffic: $np ranks, $comm, stage $stage, accumulation $micro_steps" \
    one_run "$np" "$comm" "$stage" "$micro_steps"
done <<< "$runs"
while read -r np comm micro_steps; do
  test_case "peak falls from stage 0 to 3: $np ranks, $comm, accumulation $micro_steps" \
    peak_falls "$np" "$comm" "$micro_steps"
done <<< "$falls"

finish
