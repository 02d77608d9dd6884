#!/usr/bin/env bash
# Proves the CUDA build on a machine with an NVIDIA GPU that has nvcc, gcc, make and Python, and nothing else of ours.
#
#   dev/gpu/bundle.sh                        first, on a machine where zero.c builds: the libraries that travel
#   dev/gpu_check.sh [--out DIR] [PART…]     there; all parts unless some are named. One that is done (DIR has its
#                                            result) is not run again: remove DIR/PART.result to repeat it
#   dev/gpu_check.sh --dry-run [PART…]       on a machine without a GPU: what needs none is run, the rest is named
#
# Parts: bundle, info, build, ops, parity, bert, ranks, nccl, sanitizer, bench, torch. With cuDNN, if the machine has it;
# the parts then run with our own attention and with cuDNN's. What needs a tool that is not there is "left out", which
# is no failure. DIR (gpu_check/ unless given) gets a log for each, table.txt and gpu_check.json.
set -u
cd "$(dirname "$0")/.." || exit 1
out=gpu_check dry=
parts=()
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=1 ;;
    --out) out=${2:?error: gpu_check.sh: --out needs a folder} && shift ;;
    -*) echo "error: gpu_check.sh: '$1' found; expected --out DIR, --dry-run or names of parts" >&2 && exit 1 ;;
    *) parts+=("$1") ;;
  esac
  shift
done
all=(bundle info build ops parity bert ranks nccl sanitizer bench torch)
[ ${#parts[@]} -eq 0 ] && parts=("${all[@]}")
for part in "${parts[@]}"; do
  [[ " ${all[*]} " == *" $part "* ]] || { echo "error: gpu_check.sh: no part '$part'; parts: ${all[*]}" >&2 && exit 1; }
done
mkdir -p "$out"

build=build-gpu/check
make_flags=(--no-print-directory BUILD=$build)
if [ -e build-gpu/bundle/use.sh ]; then
  # shellcheck source=/dev/null
  . build-gpu/bundle/use.sh
  make_flags+=(MPI_CFLAGS= MPI_LIBS=-lmpi)
  mkdir -p $build && touch $build/packages # what the bundle brings is no package
fi
PATH=$PATH:/usr/local/cuda/bin
limit=${GPU_CHECK_SECONDS:-$([ -n "$dry" ] && echo 600 || echo 100)} # of one command

# cuDNN: that of the machine's PyTorch, whose libraries have no name without a version, else the system's.
attentions=(own)
torch_cudnn=$(python3 -c 'import nvidia.cudnn; print(list(nvidia.cudnn.__path__)[0])' 2> /dev/null)
if [ -e "$torch_cudnn/include/cudnn.h" ]; then
  mkdir -p $build/cudnn/lib
  ln -sfn "$torch_cudnn/include" $build/cudnn/include
  ln -sf "$torch_cudnn"/lib/* $build/cudnn/lib/
  ln -sf libcudnn.so.9 $build/cudnn/lib/libcudnn.so
  make_flags+=(USE_CUDNN=1 CUDNN_PATH="$PWD/$build/cudnn")
  export LD_LIBRARY_PATH="$torch_cudnn/lib:${LD_LIBRARY_PATH-}"
  attentions+=(cudnn)
elif [ -e /usr/include/cudnn.h ] || [ -e /usr/local/cuda/include/cudnn.h ]; then
  make_flags+=(USE_CUDNN=1)
  attentions+=(cudnn)
fi
arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | head -n 1 | tr -d .)
arch=${arch:-90}
cuda_build=$build/cuda
[ ${#attentions[@]} -gt 1 ] && cuda_build+=-cudnn
cuda_build+=-sm$arch

have_gpu() { nvidia-smi -L > /dev/null 2>&1; }

# say WHAT RESULT: a line of the table
say() { printf '%-44s %s\n' "$1" "$2" | tee -a "$out/$part.result.tmp"; }

# check WHAT COMMAND…: runs it, its output goes to the part's log; says ok or what failed. A failure with a line that
# `excuse` matches, where that is set, is left out.
check() {
  local what=$1 code log=$out/${part}.log
  shift
  { echo "== $what: $*"; } >> "$log"
  timeout -k 5 "$limit" "$@" > "$out/last.log" 2>&1 < /dev/null
  code=$?
  cat "$out/last.log" >> "$log"
  if [ $code -eq 0 ]; then
    say "$what" "ok   $(grep -E '^\[  PASSED  \]|[0-9]+ passed, ' "$out/last.log" | tail -n 1 | sed -E 's/^\[ +PASSED +\] //')"
  elif [ -n "${excuse-}" ] && grep -qE "$excuse" "$out/last.log"; then
    say "$what" "left out: $(grep -m1 -E "$excuse" "$out/last.log" | cut -c 1-200)"
  else
    say "$what" "FAILED, exit code $code: $(grep -E 'rror|FAILED|not ok' "$out/last.log" | grep -v dlopen | head -n 1 | cut -c 1-250)"
  fi
  return $code
}

tokens() { # tokens FILE COUNT VOCABULARY: a token file of random text
  python3 - "$@" << 'PY'
import array, random, struct, sys
path, count, vocabulary = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(1)
header = array.array("i", [0] * 256)
header[0], header[1], header[2] = 20240520, 1, count
with open(path, "wb") as out:
    out.write(header.tobytes() + array.array("H", random.choices(range(vocabulary), k=count)).tobytes())
PY
}

# Where the libraries come from; on the GPU machine they have come.
run_bundle() {
  if [ -n "$dry" ]; then
    check "bundle" dev/gpu/bundle.sh
    check "train_gpt2emu" make --no-print-directory -j"$(nproc)" train_gpt2emu
    check "the bundle in an empty folder, 2 ranks" dev/gpu/bare.sh build-gpu/bundle
    say "  compressed, with the tree" "$(tar -cz build-gpu/bundle $(git ls-files) | wc -c | awk '{ printf "%.1f MB of the 60 that may travel", $1 / 1e6 }')"
  elif [ -e build-gpu/bundle/use.sh ]; then
    say "bundle" "here"
  else
    say "bundle" "none: the machine's own packages serve"
  fi
}

run_info() {
  say "card" "$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | head -n 1)"
  say "nvcc" "$(nvcc --version | grep -oE 'release [0-9.]+')"
  say "processor" "$(nproc) x $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs)"
}

run_build() {
  local start=$SECONDS
  command -v nvcc > /dev/null || { say "build" "left out: nvcc not found" && return; }
  check "build for sm_$arch" make -j"$(nproc)" "${make_flags[@]}" GPU_ARCH="$arch" train_gpt2cu train_bertcu test_gpt2cu test_bertcu \
    $cuda_build/test_ops $cuda_build/test_ops_bert $cuda_build/test_ops_attention $cuda_build/test_device
  say "seconds to build" "$((SECONDS - start))"
}

run_ops() { # each operation against its double-precision reference, on the card
  check "test_device" $cuda_build/test_device
  local test_flags=(env CUDA_LAUNCH_BLOCKING=1 ZERO_TEST_CUDA=1 ZERO_TEST_GPU=1)
  check "test_ops" "${test_flags[@]}" $cuda_build/test_ops
  check "test_ops_bert" "${test_flags[@]}" $cuda_build/test_ops_bert
  check "test_ops_attention, own" "${test_flags[@]}" ZERO_ATTENTION=own $cuda_build/test_ops_attention
  [ ${#attentions[@]} -eq 1 ] || check "test_ops_attention, cudnn where it serves" "${test_flags[@]}" ZERO_TEST_CUDNN=1 \
    $cuda_build/test_ops_attention
}

run_parity() { # PyTorch's fixtures
  check "test_gpt2cu, 1 rank, own attention" env ZERO_ATTENTION=own ./test_gpt2cu
  [ ${#attentions[@]} -eq 1 ] || check "test_gpt2cu, 1 rank, cudnn where it serves" ./test_gpt2cu
  for stage in 0 1 2 3; do
    check "test_gpt2cu, 2 ranks, stage $stage" env ZERO_COMM=mpi scripts/run.sh 2 ./test_gpt2cu $stage
  done
  check "test_bertcu, 1 rank" ./test_bertcu
  for stage in 0 3; do
    check "test_bertcu, 2 ranks, stage $stage" env ZERO_COMM=mpi scripts/run.sh 2 ./test_bertcu $stage
  done
}

# BERT's trainer in fp32 under dropout: the last loss of three steps is that of train_bert on a CPU, which
# dev/gpu/bert_losses.txt has, as oneDNN is not on every such machine. Without a GPU train_bert itself is held against it.
bert_flags=(-e "L=2,H=2,C=32,T=19,V=67" -t 19 -b 2 -d 152 -x 3 -l 1e-3 -v 0 -n 0 --dropout 0.1 --attention-dropout 0.1
  --dtype fp32 --deterministic 1)
run_bert() {
  local program=./train_bertcu case want flags loss
  if ! have_gpu; then
    program=./train_bert
    check "train_bert" make --no-print-directory -j"$(nproc)" train_bert || return
  fi
  while read -r case want flags; do
    read -ra flags <<< "$flags"
    check "${program#./}, $case" $program "${bert_flags[@]}" "${flags[@]}" -o "$out/bert" -y 0 || continue
    say "  step" "$(grep -E '^step +3/' "$out/last.log" | cut -d'|' -f 2-)"
    loss=$(sed -n 's/^s:2 trl:\([^ ]*\).*/\1/p' "$out/bert/main.log")
    if awk -v a="$loss" -v b="$want" 'BEGIN { exit !(a > 0 && b > 0 && (a - b) ^ 2 < (1e-4 * b) ^ 2) }'; then
      say "  loss" "$loss, on a CPU $want"
    else
      say "  loss" "FAILED: '$loss', on a CPU $want"
    fi
  done < <(grep -v '^#' dev/gpu/bert_losses.txt)
  rm -rf "$out/bert"
}

# The same bits for every number of ranks and stage, in every type; several ranks share the card by way of MPI.
run_ranks() {
  tokens "$out/small.bin" 20000 300
  local reference type np stage state
  for type in fp32 bf16 fp16; do
    reference=
    for np in 1 2 4; do
      for stage in 0 1 2 3; do
        check "trainer, $type, $np ranks, stage $stage" env ZERO_COMM=mpi scripts/run.sh $np ./train_gpt2cu \
          -e L=3,H=4,C=256,T=128,V=300 -i "$out/small.bin" -b 2 -t 128 -d 2048 -x 4 -v 0 -s 0 --state-hash 4 \
          --deterministic 1 --dtype $type -z $stage || continue
        state=$(grep -oE 'state [0-9a-f]{16}' "$out/last.log")
        [ -n "$state" ] || say "  state" "FAILED: none printed"
        [ "${reference:=$state}" = "$state" ] || say "  state" "FAILED: $state, with one rank at stage 0 $reference"
      done
    done
    say "same bits, $type" "$reference"
  done
}

# state_is WANT: the last run's state hash, against one; with nothing wanted there only has to be one. It stays in `state`.
state_is() {
  state=$(grep -oE 'state [0-9a-f]{16}' "$out/last.log")
  [ -n "$state" ] && [ "$state" = "${1:-$state}" ] && return
  say "  state" "FAILED: '$state', expected '${1:-one}'"
  return 1
}

nccl_flags=(-e "L=3,H=4,C=256,T=128,V=300" -i "$out/small.bin" -b 2 -t 128 -d 2048 -x 4 -v 0 -s 0 --state-hash 4 --dtype bf16)

# nccl_ranks RANKS HOW PROGRAM…: at every stage the bits of mpi with deterministic 1; with 0 it runs.
nccl_ranks() {
  local np=$1 how=$2 stage want state
  shift 2
  for stage in 0 1 2 3; do
    check "$np ranks, mpi, stage $stage" env ZERO_COMM=mpi scripts/run.sh "$np" ./train_gpt2cu "${nccl_flags[@]}" -z $stage \
      --deterministic 1 && state_is "" || continue
    want=$state
    check "$np ranks, nccl$how, stage $stage" env ZERO_COMM=nccl scripts/run.sh "$np" "$@" "${nccl_flags[@]}" -z $stage \
      --deterministic 1 && state_is "$want" && say "  same bits as mpi" "$state"
    check "$np ranks, nccl$how, stage $stage, any order" env ZERO_COMM=nccl scripts/run.sh "$np" "$@" "${nccl_flags[@]}" \
      -z $stage --deterministic 0
  done
}

# Two ranks on one card. Ours is the first refusal; with ZERO_NCCL_SHARE_GPU=1 NCCL decides (zero/README.md), asked in
# both ways that its versions have. That it refuses too is no failure, anything else that goes wrong is.
nccl_on_one_card() {
  local way setting trainer
  ZERO_COMM=nccl timeout "$limit" scripts/run.sh 2 ./train_gpt2cu "${nccl_flags[@]}" > "$out/last.log" 2>&1 < /dev/null
  if [ $? -eq 1 ] && grep -q '^error: .*nccl' "$out/last.log"; then
    say "NCCL, two ranks on one card" "refused, as it should be: $(grep -m1 '^error' "$out/last.log" | cut -c 1-120)"
  else
    say "NCCL, two ranks on one card" "FAILED: $(grep -m1 '^error' "$out/last.log" | cut -c 1-160)"
  fi
  for way in multi hostid; do
    setting=NCCL_MULTI_RANK_GPU_ENABLE=1
    # shellcheck disable=SC2016 # the ranks' own shells know their numbers
    [ $way = hostid ] && setting='NCCL_HOSTID=rank$OMPI_COMM_WORLD_RANK NCCL_SOCKET_IFNAME=lo NCCL_IB_DISABLE=1'
    trainer=(bash -c "ZERO_NCCL_SHARE_GPU=1 $setting exec ./train_gpt2cu \"\$@\"" train_gpt2cu)
    excuse='Duplicate GPU' check "2 ranks on one card, nccl by $way" env ZERO_COMM=nccl scripts/run.sh 2 "${trainer[@]}" \
      "${nccl_flags[@]}" && nccl_ranks 2 " by $way" "${trainer[@]}"
  done
}

# NCCL with one rank: the hash of the run without it. On more GPUs: that of mpi.
run_nccl() {
  [ -e "$out/small.bin" ] || tokens "$out/small.bin" 20000 300
  local want stage deterministic comm state gpus np
  ZERO_COMM=nccl timeout "$limit" scripts/run.sh 1 ./train_gpt2cu "${nccl_flags[@]}" > "$out/last.log" 2>&1 < /dev/null
  if grep -q '^error: .*nccl is not in this build' "$out/last.log"; then
    say "NCCL" "left out: not in this build, nccl.h was not found"
    return
  fi
  for deterministic in 0 1; do
    for stage in 0 3; do
      want=
      for comm in self nccl; do
        check "one rank, $comm, stage $stage, deterministic $deterministic" env ZERO_COMM=$comm scripts/run.sh 1 \
          ./train_gpt2cu "${nccl_flags[@]}" -z $stage --deterministic $deterministic && state_is "$want" && want=$state
      done
    done
  done
  gpus=$(nvidia-smi -L | wc -l)
  [ "$gpus" -gt 1 ] || nccl_on_one_card
  for np in 2 4; do
    if [ "$gpus" -ge $np ]; then
      nccl_ranks $np "" ./train_gpt2cu
    else
      say "NCCL, $np GPUs" "left out: $gpus here"
    fi
  done
}

# The race and barrier checks of our own kernels alone: cuBLASLt's wait by means that racecheck does not know.
run_sanitizer() {
  [ -e "$out/small.bin" ] || tokens "$out/small.bin" 20000 300
  command -v compute-sanitizer > /dev/null || { say "compute-sanitizer" "left out: not installed" && return; }
  local tool test own dropout
  local trainer=(./train_gpt2cu -e "L=1,H=2,C=128,T=64,V=300" -i "$out/small.bin" -b 2 -t 64 -d 256 -x 1 -v 0 -s 0 --dtype bf16)
  for tool in memcheck initcheck synccheck racecheck; do
    own=()
    case $tool in synccheck | racecheck) own=(--kernel-name kernel_substring=_kernel) ;; esac
    for dropout in 0 0.1; do
      check "$tool, trainer, dropout $dropout" env ZERO_ATTENTION=own compute-sanitizer --tool $tool "${own[@]}" \
        --error-exitcode 9 "${trainer[@]}" --dropout $dropout --attention-dropout $dropout
    done
    case $tool in initcheck | synccheck) continue ;; esac
    for test in test_ops test_ops_bert test_ops_attention; do
      check "$tool, $test, tiny" env CUDA_LAUNCH_BLOCKING=1 ZERO_TEST_CUDA=1 ZERO_TEST_GPU=1 ZERO_ATTENTION=own \
        compute-sanitizer --tool $tool "${own[@]}" --error-exitcode 9 $cuda_build/$test tiny
    done
  done
}

# What NVIDIA's data sheets give a card for dense bf16, in TFLOP/s; nothing for one that is not here.
dense_tflops() { # dense_tflops NAME
  case $1 in
    *"H100 80GB HBM3"* | "NVIDIA H200") echo 989 ;; # SXM
    *"H100 PCIe"*) echo 756 ;;
    *A100*) echo 312 ;;
  esac
}

# mfu TFLOP/S: as a share of the card's data sheet.
mfu() {
  local name dense
  name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
  dense=$(dense_tflops "$name")
  [ -n "$dense" ] || { echo "left out: no data sheet here for $name" && return; }
  awk -v rate="$1" -v dense="$dense" 'BEGIN { printf "%.1f %% of %d TFLOP/s\n", 100 * rate / dense, dense }'
}

bench_flags=(-e d12 -t 1024 -v 0 -s 0 --dtype bf16 -r 0)
batches=(32 64 128) # of the bench and of the rival
run_bench() {
  tokens "$out/large.bin" 3000000 50257
  local batch step peak lib=$build/libkernel_times.so
  for attention in "${attentions[@]}"; do for batch in "${batches[@]}"; do
    check "d12, bf16, B $batch, attention $attention" env ZERO_ATTENTION="$attention" ./train_gpt2cu \
      "${bench_flags[@]}" -i "$out/large.bin" -b $batch -d $((batch * 1024)) -x 12 || continue
    step=$(grep -E '^step +12/' "$out/last.log" | cut -d'|' -f 5-7) peak=$(grep -oE 'peak: [0-9.]+ GFLOP/s' "$out/last.log")
    say "  step" "$step  of $peak"
    say "  MFU" "$(mfu "$(awk -v line="$step" -v peak="${peak//[^0-9.]/}" 'BEGIN {
      n = split(line, part, "|"); print part[n] / 100 * peak / 1000 }')")"
    say "  memory" "$(grep -iE '^ *peak memory' "$out/last.log" | tr '\n' ' ')"
  done; done
  excuse='cannot find -lcupti|cupti.h: No such file' check "kernel_times" gcc -O2 -fPIC -shared -I/usr/local/cuda/include \
    -I/usr/local/cuda/extras/CUPTI/include dev/gpu/kernel_times.c -o $lib -L/usr/local/cuda/lib64 \
    -L/usr/local/cuda/extras/CUPTI/lib64 -lcupti || return
  local skip
  for attention in "${attentions[@]}"; do
    # The start, with its measuring of the peak, does not count: a run of two steps says how many kernels that is.
    skip=$(kernel_times 2 "$attention" 0 | grep -oE '^counted [0-9]+' | cut -d' ' -f 2)
    kernel_times 10 "$attention" "${skip:-0}" > "$out/kernels-$attention.txt"
    say "milliseconds per kernel of 8 steps, $attention" "kernels-$attention.txt"
  done
}

kernel_times() { # kernel_times STEPS ATTENTION SKIP
  CUDA_INJECTION64_PATH=$PWD/$build/libkernel_times.so KERNEL_TIMES_SKIP=$3 ZERO_ATTENTION=$2 \
    LD_LIBRARY_PATH=$LD_LIBRARY_PATH:/usr/local/cuda/extras/CUPTI/lib64 timeout 60 ./train_gpt2cu "${bench_flags[@]}" \
    -i "$out/large.bin" -b 64 -d 65536 -x "$1" 2>&1 | c++filt
}

# The rival at our micro-batches; its FLOPs per token are counted as ours, 6 parameters + 6 L C T of d12 at T 1024.
run_torch() {
  local batch line flops=$((6 * 124475904 + 6 * 12 * 768 * 1024))
  python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null || { say "PyTorch" "left out: not there, or without this GPU" && return; }
  for batch in "${batches[@]}"; do
    excuse=OutOfMemoryError check "PyTorch, B $batch" python3 dev/gpu/torch_gpt2.py "$batch" 1024 16 || continue
    line=$(tail -n 1 "$out/last.log")
    say "  step" "$line"
    say "  MFU" "$(mfu "$(sed -nE 's/.*, ([0-9]+) tok\/s$/\1/p' <<< "$line" | awk -v flops=$flops '{ print $1 * flops / 1e12 }')")"
  done
}

needs_gpu=(info ops parity ranks nccl sanitizer bench torch)
for part in "${parts[@]}"; do
  if [ -n "$dry" ] && [[ " ${needs_gpu[*]} " == *" $part "* ]] && ! have_gpu; then
    printf '%-44s %s\n' "$part" "left out: no GPU" | tee "$out/$part.result"
    continue
  fi
  if [ -e "$out/$part.result" ] && ! grep -q 'left out: no GPU' "$out/$part.result"; then
    cat "$out/$part.result"
    continue
  fi
  rm -f "$out/$part.log" "$out/$part.result.tmp"
  start=$SECONDS
  "run_$part"
  say "($part: $((SECONDS - start)) s)" ""
  mv "$out/$part.result.tmp" "$out/$part.result"
done
rm -f "$out/last.log"
for part in "${all[@]}"; do [ -e "$out/$part.result" ] && cat "$out/$part.result"; done > "$out/table.txt"
python3 - "$out" << 'PY'
import json, os, sys
out = sys.argv[1]
table = {}
for name in sorted(os.listdir(out)):
    if name.endswith(".result"):
        lines = [line.rstrip("\n") for line in open(os.path.join(out, name))]
        table[name[: -len(".result")]] = [[line[:44].rstrip(), line[44:].strip()] for line in lines]
json.dump(table, open(os.path.join(out, "gpu_check.json"), "w"), indent=1)
PY
! grep -q FAILED "$out/table.txt"
