#!/usr/bin/env bash
# The CUDA sources on the emulator (dev/cudaemu/): every operation against its double-precision reference, in four orders
# of threads with the same bits in each; test_gpt2emu and test_bertemu against PyTorch's fixtures; the trainer at several stages and ranks
# with the CPU's losses, on the demo's text with the demo's model too. With --long also: the operations under ASan and
# UBSan, and at tiny shapes under the race check. With nvcc: the same sources are compiled for GPUs and linked. Nothing
# here runs on a GPU.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
build=${BUILD:-build}
cd "$root" || exit 1
# Order of threads and blocks, and when streams do their work.
orders=("forward issue" "reverse issue" "random:3 random:5" "random:11 delayed")
no_aslr=() # TSan of g++ 12 does not know where Linux of today puts memory
if setarch "$(uname -m)" -R true 2> /dev/null; then no_aslr=(setarch "$(uname -m)" -R); fi

made() { # made TARGET…: builds them
  make --no-print-directory -j2 "$@" > "$work/make.log" 2>&1
  local code=$?
  why="it does not build: $(grep -E 'error|\*\*\*' "$work/make.log" | head -n 3)"
  [ $code = 0 ]
}

on_emulator() { # on_emulator COMMAND…: a test of operations passes, without a sanitizer's report
  ZERO_EMU_UNIFIED=1 ZERO_TEST_CUDA=1 "$@" > "$work/log" 2>&1
  local code=$?
  why="exit code $code: $(grep -aE 'ERROR|WARNING|error|FAILED' "$work/log" | head -n 3)"
  [ $code = 0 ] && ! grep -qaE 'Sanitizer|runtime error' "$work/log" && grep -q '^\[  PASSED  \] [1-9]' "$work/log"
}

# The tests of operations in every order, two at a time: a log, an exit code and the kernels of each.
run_operations() { # run_operations TEST…
  local name order at threads streams
  for name in "$@"; do
    for order in "${orders[@]}"; do
      read -r threads streams <<< "$order"
      at=$work/$name.$threads.$streams
      while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
      {
        ZERO_EMU_UNIFIED=1 ZERO_TEST_CUDA=1 ZERO_EMU_ORDER=$threads ZERO_EMU_STREAMS=$streams ZERO_EMU_KERNELS=$at.kernels \
          "$build/emu/$name" > "$at.log" 2>&1
        echo $? > "$at.code"
      } &
    done
  done
  wait
  cat "$work"/*.kernels >> "$work/kernels"
}

# Each result against the reference, and the hash over all results as in the order that ran first.
declare -A first_results
operations() { # operations TEST ORDER STREAMS: what run_operations has run
  local at=$work/$1.$2.$3 code
  code=$(cat "$at.code")
  cp "$at.log" "$work/log"
  why="exit code $code: $(grep -aE 'ERROR|error|FAILED' "$work/log" | head -n 3)"
  [ "$code" = 0 ] && grep -q '^\[  PASSED  \] [1-9]' "$work/log" || return 1
  local results
  results=$(grep '^results: [1-9]' "$work/log")
  why="no hash of results" && [ -n "$results" ] || return 1
  first_results[$1]=${first_results[$1]:-$results}
  is "bits of all results in order $2, streams $3" "$results" "${first_results[$1]}"
}

sanitized() { # sanitized BUILD TEST [ARGUMENT…]
  local dir=$1 test=$2
  shift 2
  on_emulator env LSAN_OPTIONS="suppressions=$root/dev/lsan.txt:print_suppressions=0" TSAN_OPTIONS=halt_on_error=1 \
    "${no_aslr[@]}" "$dir/emu/$test" "$@"
}

checked_build() { # checked_build asan|tsan
  made "emu-$1" && [ -x "$build-emu-$1/emu/test_ops" ]
}

# They run at once, as each leaves a processor free.
start_parity() { # start_parity NAME COMMAND…
  local at=$work/parity.$1
  shift
  {
    ZERO_EMU_KERNELS=$at.kernels "$@" > "$at.log" 2>&1
    echo $? > "$at.code"
  } &
}

parity() { # parity NAME: what start_parity has run
  local at=$work/parity.$1
  is "exit code, after $(grep -E 'error|not ok|FAILED' "$at.log" | head -n 3)" "$(cat "$at.code")" 0 &&
    has "log" "$(tail -n 1 "$at.log")" " passed, 0 failed"
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
program=train_gpt2
flags=(-e L=2,H=2,C=64,T=32,V=72 -i "$work/train.bin" -b 2 -t 32 -d 256 -x 3 -v 0 -s 3 -g 3 --state-hash 3)
# Losses within 1e-5 of the CPU's; the same bits at every stage and number of ranks, whenever streams do their work.
# Trainer in `program`, flags in `flags`; arguments: "RANKS STAGE STREAMS"…
trainer() {
  local reference= np stage streams pair pairs=("$@")
  [ "$long" = --long ] && pairs+=({1,2,4}" "{0,1,2,3}" issue")
  rm -rf "$work/cpu"
  "./$program" "${flags[@]}" -o "$work/cpu" > "$work/log" 2>&1
  local code=$?
  is "exit code of $program: $(grep '^error' "$work/log" | head -n 2)" $code 0 || return 1
  for pair in "${pairs[@]}"; do
    read -r np stage streams <<< "$pair"
    rm -rf "$work/emu"
    ZERO_COMM=mpi ZERO_EMU_STREAMS=$streams ZERO_EMU_KERNELS=$work/kernels scripts/run.sh "$np" "./${program}emu" \
      "${flags[@]}" -z "$stage" -o "$work/emu" > "$work/log" 2>&1
    local code=$?
    is "exit code, $np ranks, stage $stage: $(grep '^error' "$work/log" | head -n 2)" $code 0 || return 1
    local state
    state=$(grep '^step.*state' "$work/log")
    why="no state hash" && [ -n "$state" ] || return 1
    reference=${reference:-$state}
    is "state on $np ranks at stage $stage, streams $streams" "$state" "$reference" || return 1
    for step in 0 1 2; do
      why="no loss of step $step" && grep -q "^s:$step trl:[0-9]" "$work/cpu/main.log" || return 1
      near "loss of step $step, $np ranks, stage $stage" "$(sed -n "s/^s:$step trl:\([^ ]*\).*/\1/p" "$work/emu/main.log")" \
        "$(sed -n "s/^s:$step trl:\([^ ]*\).*/\1/p" "$work/cpu/main.log")" 1e-5 || return 1
    done
  done
}

dropped() { # dropped "RANKS STAGE STREAMS"…: the trainer under dropout
  local flags=("${flags[@]}" --dropout 0.1 --attention-dropout 0.2)
  trainer "$@"
}

# Masked tokens and next sentences with dropout on, a batch of 8 samples.
bert_trainer() { # bert_trainer PACKED "RANKS STAGE STREAMS"…
  local program=train_bert flags
  flags=(-e L=2,H=2,C=32,T=19,V=67 -i dev/fixtures/bert_hf_pairs.bin --nsp 1 --packed "$1" --dropout 0.1
    --attention-dropout 0.1 -b 2 -t 19 -d $((8 * 19)) -x 3 -l 1e-3 -v 0 --state-hash 3)
  shift
  trainer "$@"
}

bert_labels() { # bert_labels SAMPLES "RANKS STAGE STREAMS"…: the head of their labels, classes or a regression's numbers
  local program=train_bert flags
  flags=(-e L=2,H=2,C=32,T=19,V=67 -i "dev/fixtures/$1" --task classify --dropout 0.1 --attention-dropout 0.1
    -b 2 -t 19 -d $((8 * 19)) -x 3 -l 1e-3 -v 0 --state-hash 3)
  shift
  trainer "$@"
}

# The demo's text, model and batch, as scripts/run_demo.sh has them.
demo() { # demo "RANKS STAGE STREAMS"…
  why="the text of the demo cannot be prepared: $(python3 data/prepare_text.py --demo --output "$work/demo" 2>&1 | tail -n 1)"
  [ -e "$work/demo_train.bin" ] || return 77
  local vocabulary flags
  vocabulary=$(od -An -t d4 -j 8 -N 4 "$work/demo_tokenizer.bin" | tr -d ' ')
  flags=(-e "L=4,H=4,C=128,T=64,V=$vocabulary" -i "$work/demo_train.bin" -j "$work/demo_val.bin"
    --tokenizer "$work/demo_tokenizer.bin" -b 3 -t 64 -d 768 -x 3 -l 1e-3 -q 0.1 -u 100 -k cosine -c 0.1 --beta1 0.9
    --beta2 0.99 --clip 1.0 -v 0 -s 0 --state-hash 3)
  trainer "$@"
}

# counted KIND… -- RANKS TRANSPORT FLAG…: the trainer's counts of these kinds since its first kernel, all ranks together
# and streams delayed, as lines `KIND NAME COUNT`.
counted_flags=(-i "$work/train.bin" -b 2 -t 32 -v 0 -s 0 -n 0)
first_kernel=encoder_forward_kernel
counted() {
  local kinds=$1
  shift
  while [ "$1" != -- ]; do kinds="$kinds|$1" && shift; done
  shift
  local np=$1 comm=$2
  shift 2
  rm -f "$work/counts"
  ZERO_COMM=$comm ZERO_EMU_COUNTS=$work/counts ZERO_EMU_COUNTS_FROM=$first_kernel ZERO_EMU_STREAMS=delayed \
    scripts/run.sh "$np" "./${program}emu" "${counted_flags[@]}" "$@" > "$work/log" 2>&1 || return 1
  awk -v kinds="^($kinds)$" '$1 ~ kinds { count[$1 " " $2] += $3 } END { for (name in count) print name, count[name] }' \
    "$work/counts" | sort
}

total() { awk '{ sum += $3 } END { print sum + 0 }' <<< "$1"; }

shape=(-e "L=2,H=2,C=64,T=32,V=72") tokens=64 # of a micro-batch
# waits "RANKS TRANSPORT STAGE IN_MICRO_STEP IN_STEP"…: how often all ranks together wait until the device has nothing
# left to do, in a micro-step (6 of a step against 3) and in a step whatever its micro-steps (3 steps against 1).
waits() {
  local row np comm stage in_micro in_step more fewer longer
  for row in "$@"; do
    read -r np comm stage in_micro in_step <<< "$row"
    fewer=$(counted drain -- "$np" "$comm" "${shape[@]}" -z "$stage" -x 1 -d $((3 * tokens * np))) &&
      more=$(counted drain -- "$np" "$comm" "${shape[@]}" -z "$stage" -x 1 -d $((6 * tokens * np))) &&
      longer=$(counted drain -- "$np" "$comm" "${shape[@]}" -z "$stage" -x 3 -d $((3 * tokens * np)))
    is "exit code, $row: $(grep '^error' "$work/log" | head -n 2)" $? 0 || return 1
    why="no wait counted, $row" && [ "$(total "$fewer")" -gt 0 ] || return 1
    is "waits in a micro-step, $row" $((($(total "$more") - $(total "$fewer")) / 3)) "$in_micro" &&
      is "waits in a step, $row" $((($(total "$longer") - $(total "$fewer")) / 2 - 3 * in_micro)) "$in_step" || return 1
  done
}

bert_waits() { # the same of train_bertemu
  local program=train_bert first_kernel=embeddings_forward_kernel shape=(-e "L=2,H=2,C=32,T=19,V=67") tokens=38
  local counted_flags=(-i dev/fixtures/bert_hf_pairs.bin --nsp 1 -b 2 -t 19 -v 0 -n 0)
  waits "$@"
}

# of_block FILE UNIT FLAG…: launches and copies that one block more makes in a micro-batch more, from models of 2 and 3 layers
# and 2 and 4 micro-batches, as lines `COUNT NAME` in FILE. The last flag is given the number of micro-batches times UNIT.
of_block() {
  local file=$1 unit=$2 layers micro sign found
  shift 2
  : > "$file.all"
  for layers in 2 3; do
    for micro in 2 4; do
      sign=$(((2 * layers - 5) * (micro - 3)))
      found=$(counted launch copy -- 1 self -e "L=$layers,H=2,C=64,T=32,V=72" "$@" $((micro * unit)))
      is "exit code, L $layers: $(grep '^error' "$work/log" | head -n 2)" $? 0 || return 1
      awk -v sign=$sign '{ print sign * $3 / 2, $2 }' <<< "$found" >> "$file.all"
    done
  done
  awk '{ count[$2] += $1 } END { for (name in count) if (count[name]) print count[name], name }' "$file.all" | sort -k 2 > "$file"
}

# launches FLAG…: in forward (that of validation) and backward of one block, against the row of these flags in the table
# of dev/NOTES.md, "Launches per block". 128 rows: with fewer the bias gradients need one pass, not two.
launches() {
  local row forward both
  of_block "$work/forward" 1 "$@" -b 4 -j "$work/train.bin" -x 0 -v 1 -m || return 1
  of_block "$work/both" 128 "$@" -b 4 -x 1 -d || return 1
  forward=$(awk '{ sum += $1 } END { print sum + 0 }' "$work/forward")
  both=$(awk '{ sum += $1 } END { print sum + 0 }' "$work/both")
  echo "launches per block, $*: forward $(tr '\n' ' ' < "$work/forward")| both $(tr '\n' ' ' < "$work/both")"
  why="nothing counted" && [ "$forward" -gt 0 ] || return 1
  row=$(grep -F "| \`$*\` |" dev/NOTES.md)
  why="no row for '$*' in dev/NOTES.md; counted $forward forward, $((both - forward)) backward" && [ -n "$row" ] || return 1
  is "launches per block in dev/NOTES.md" "$(awk -F '|' '{ gsub(/ /, ""); print $3, $4 }' <<< "$row")" "$forward $((both - forward))"
}

# On a machine without a GPU: said before the data is looked for.
no_gpu() {
  local program
  why="nvcc not found: nothing was compiled for a GPU"
  command -v nvcc > /dev/null || return 77
  made train_gpt2cu test_gpt2cu test_bertcu || return 1
  why="this machine has a GPU" && ! nvidia-smi > /dev/null 2>&1 || return 77
  for program in train_gpt2cu test_gpt2cu test_bertcu; do
    ./$program > "$work/log" 2>&1
    is "exit code of $program" $? 1 && has "output" "$(cat "$work/log")" "error: no GPU found: " || return 1
  done
  ./train_gpt2cu --help > "$work/help" 2>&1
  is "exit code of --help" $? 0 && has "--help" "$(grep -e '^ *--dtype ' "$work/help")" "(default bf16)"
}

test_case "cuda: the emulated programs build" made train_gpt2emu train_bertemu test_gpt2emu test_bertemu "$build/emu/test_ops" "$build/emu/test_ops_bert" \
  "$build/emu/test_ops_attention" "$build/emu/test_device"
run_operations test_ops test_ops_bert test_ops_attention test_device
for name in test_ops test_ops_bert test_ops_attention test_device; do
  for order in "${orders[@]}"; do
    read -r threads streams <<< "$order"
    test_case "cuda: $name, order $threads, streams $streams" operations $name "$threads" "$streams"
  done
done
# Of BERT one batch in each type; with --long the 20 steps too.
steps=batch
[ "$long" = --long ] && steps=
start_parity gpt2 ./test_gpt2emu
start_parity bert ./test_bertemu 0 1 $steps
start_parity ranks env ZERO_COMM=mpi scripts/run.sh 2 ./test_gpt2emu 3
wait
cat "$work"/parity.*.kernels >> "$work/kernels"
test_case "cuda: test_gpt2emu" parity gpt2
test_case "cuda: test_gpt2emu on 2 ranks at stage 3" parity ranks
test_case "cuda: test_bertemu" parity bert
test_case "cuda: trainer, stages and ranks, streams delayed" trainer "1 0 issue" "1 0 delayed" "2 2 delayed" "4 3 delayed"
test_case "cuda: trainer under dropout, streams delayed" dropped "2 3 delayed"
test_case "cuda: no wait in a micro-step" waits "1 self 0 0 2" "2 nccl 3 0 6"
test_case "cuda: BERT's trainer, packed" bert_trainer 1 "1 0 delayed" "4 3 issue"
test_case "cuda: BERT's trainer, padded" bert_trainer 0 "2 2 delayed"
test_case "cuda: BERT's trainer, a regression" bert_labels bert_hf_values.bin "1 0 delayed" "2 3 issue"
test_case "cuda: no wait in a micro-step of BERT" bert_waits "1 self 0 0 2"
test_case "cuda: launches per block" launches --dtype bf16 --deterministic 0
test_case "cuda: trainer on the demo's text with its model" demo "4 0 issue" "4 3 issue"
test_case "cuda: every kernel ran" kernels_executed
test_case "cuda: compiled by nvcc" no_gpu
if [ "$long" = --long ]; then
  test_case "cuda: the operations build with ASan and UBSan" checked_build asan
  test_case "cuda: the operations build with the race check" checked_build tsan
  # Through mpi: 14 messages of a reduction each way, at stage 3 24 more of gathers, else 14 in a step, of parameters.
  test_case "cuda: waits in a micro-step, every stage" waits "2 nccl 0 0 6" "2 nccl 1 0 8" "2 nccl 2 0 8" "2 mpi 0 14 18" "2 mpi 1 14 18" \
    "2 mpi 2 14 18" "2 mpi 3 38 4"
  for row in "--dtype fp32" "--dtype bf16" "--dtype bf16 --deterministic 0 -r 0"; do
    read -ra row_flags <<< "$row"
    test_case "cuda: launches per block, $row" launches "${row_flags[@]}"
  done
  for name in test_ops test_ops_bert test_ops_attention test_device; do
    test_case "cuda: $name under ASan and UBSan" sanitized "$build-emu-asan" $name
    test_case "cuda: $name, tiny, without races" sanitized "$build-emu-tsan" $name tiny
  done
fi
finish
