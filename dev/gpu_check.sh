#!/usr/bin/env bash
# Proves the CUDA build on a machine with an NVIDIA GPU that has nvcc, gcc, make and Python, and nothing else of ours.
#
#   dev/gpu/bundle.sh                        first, on a machine where zero.c builds: the libraries that travel
#   dev/gpu_check.sh [--out DIR] [PART…]     there; all parts unless some are named. One that is done (DIR has its
#                                            result) is not run again: remove DIR/PART.result to repeat it
#   dev/gpu_check.sh --dry-run [PART…]       on a machine without a GPU: what needs none is run, the rest is named
#
# Parts: bundle, info, build, ops, parity, ranks, nccl, sanitizer, bench, torch. With cuDNN, if the machine has it; the parts then run
# with our own attention and with cuDNN's. DIR (gpu_check/ unless given) gets a log for each,
# table.txt and gpu_check.json.
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
all=(bundle info build ops parity ranks nccl sanitizer bench torch)
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

# check WHAT COMMAND…: runs it, its output goes to the part's log; says ok or what failed
check() {
  local what=$1 code log=$out/${part}.log
  shift
  { echo "== $what: $*"; } >> "$log"
  timeout -k 5 "$limit" "$@" > "$out/last.log" 2>&1 < /dev/null
  code=$?
  cat "$out/last.log" >> "$log"
  if [ $code -eq 0 ]; then
    say "$what" "ok   $(grep -E '^\[  PASSED  \]|[0-9]+ passed, ' "$out/last.log" | tail -n 1 | sed -E 's/^\[ +PASSED +\] //')"
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
  check "build for sm_$arch" make -j"$(nproc)" "${make_flags[@]}" GPU_ARCH="$arch" train_gpt2cu test_gpt2cu test_bertcu \
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

# NCCL with one rank: the hash of the run without it. Two ranks on one card it refuses: said before the run starts.
run_nccl() {
  [ -e "$out/small.bin" ] || tokens "$out/small.bin" 20000 300
  local flags=(-e L=3,H=4,C=256,T=128,V=300 -i "$out/small.bin" -b 2 -t 128 -d 2048 -x 4 -v 0 -s 0 --state-hash 4 --dtype bf16)
  local want stage deterministic comm state
  for deterministic in 0 1; do
    for stage in 0 3; do
      want=
      for comm in self nccl; do
        check "one rank, $comm, stage $stage, deterministic $deterministic" env ZERO_COMM=$comm scripts/run.sh 1 \
          ./train_gpt2cu "${flags[@]}" -z $stage --deterministic $deterministic
        state=$(grep -oE 'state [0-9a-f]{16}' "$out/last.log")
        [ -n "$state" ] && [ "$state" = "${want:=$state}" ] || say "  state" "FAILED: '$state', without NCCL '$want'"
      done
    done
  done
  [ "$(nvidia-smi -L | wc -l)" -gt 1 ] && return
  ZERO_COMM=nccl timeout "$limit" scripts/run.sh 2 ./train_gpt2cu "${flags[@]}" > "$out/last.log" 2>&1 < /dev/null
  if [ $? -eq 1 ] && grep -q '^error: .*nccl' "$out/last.log"; then
    say "NCCL, two ranks on one card" "refused, as it should be: $(grep -m1 '^error' "$out/last.log" | cut -c 1-120)"
  else
    say "NCCL, two ranks on one card" "FAILED: $(grep -m1 '^error' "$out/last.log" | cut -c 1-160)"
  fi
}

run_sanitizer() {
  [ -e "$out/small.bin" ] || tokens "$out/small.bin" 20000 300
  command -v compute-sanitizer > /dev/null || { say "compute-sanitizer" "left out: not installed" && return; }
  # The race and barrier checks of our own kernels alone: cuBLASLt's wait by means that racecheck does not know.
  local tool own=()
  for tool in memcheck initcheck synccheck racecheck; do
    case $tool in synccheck | racecheck) own=(--kernel-name kernel_substring=_kernel) ;; esac
    check "$tool, trainer" env ZERO_ATTENTION=own compute-sanitizer --tool $tool "${own[@]}" --error-exitcode 9 ./train_gpt2cu \
      -e L=1,H=2,C=128,T=64,V=300 -i "$out/small.bin" -b 2 -t 64 -d 256 -x 1 -v 0 -s 0 --dtype bf16
  done
  check "racecheck, attention's tests" env CUDA_LAUNCH_BLOCKING=1 ZERO_TEST_CUDA=1 ZERO_TEST_GPU=1 ZERO_ATTENTION=own \
    compute-sanitizer --tool racecheck --error-exitcode 9 $cuda_build/test_ops_attention tiny
}

bench_flags=(-e d12 -t 1024 -v 0 -s 0 --dtype bf16 -r 0)
run_bench() {
  tokens "$out/large.bin" 3000000 50257
  local batch lib=$build/libkernel_times.so
  for attention in "${attentions[@]}"; do for batch in 32 64 128; do
    check "d12, bf16, B $batch, attention $attention" env ZERO_ATTENTION="$attention" ./train_gpt2cu \
      "${bench_flags[@]}" -i "$out/large.bin" -b $batch -d $((batch * 1024)) -x 12 || continue
    say "  step" "$(grep -E '^step +12/' "$out/last.log" | cut -d'|' -f 5-7)  of $(grep -oE 'peak: [0-9.]+ GFLOP/s' "$out/last.log")"
    say "  memory" "$(grep -iE '^ *peak memory' "$out/last.log" | tr '\n' ' ')"
  done; done
  check "kernel_times" gcc -O2 -fPIC -shared -I/usr/local/cuda/include dev/gpu/kernel_times.c -o $lib -L/usr/local/cuda/lib64 \
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

run_torch() {
  local batch
  for batch in 32 64; do
    check "PyTorch, B $batch" python3 dev/gpu/torch_gpt2.py $batch 1024 16
    say "  step" "$(tail -n 1 "$out/last.log")"
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
