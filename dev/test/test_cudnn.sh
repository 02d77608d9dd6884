#!/usr/bin/env bash
# USE_CUDNN=1: it compiles and links, and cuDNN has a deterministic engine for each of our graphs on an A100 and an H100,
# which need not be there, with as much scratch as we say (dev/test/cudnn_plans.cu). With --long the trainer
# too, for all architectures. Nothing runs on a GPU. cuDNN wants a driver's library to be there when it looks for
# engines: the one that CUDA brings to link with will do.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
build=${BUILD:-build}
plans=$build/cuda-cudnn-sm90/cudnn_plans
made=("$plans" GPU_ARCH=90)
if [ "${1:-}" = --long ]; then
  plans=$build/cuda-cudnn/cudnn_plans
  made=("$plans" train_gpt2cu)
fi
cd "$root" || exit 1

has_cudnn() {
  why="nvcc with cuDNN's headers not found: nothing was compiled"
  command -v nvcc > /dev/null && echo '#include <cudnn.h>' | nvcc -x cu -E - > /dev/null 2>&1
}

builds() {
  has_cudnn || return 77
  make --no-print-directory -j2 USE_CUDNN=1 "${made[@]}" > "$work/make.log" 2>&1
  local code=$?
  is "exit code of make, after '$(grep -E 'error|warning|\*\*\*' "$work/make.log" | head -n 3)'" $code 0
}

engines() {
  local driver
  has_cudnn || return 77
  driver=$(dirname "$(command -v nvcc)")/../lib64/stubs/libcuda.so
  why="no library of the driver to link with at $driver" && [ -e "$driver" ] || return 77
  ln -s "$(realpath "$driver")" "$work/libcuda.so.1"
  LD_LIBRARY_PATH="$work:$(dirname "$driver")/..:${LD_LIBRARY_PATH:-}" "$plans" > "$work/log" 2>&1
  local code=$?
  is "exit code, after '$(grep -m 1 '^not ok' "$work/log")'" $code 0 && is "last line" "$(tail -n 1 "$work/log")" "42 passed, 0 failed, 0 skipped"
}

test_case "cudnn: compiled and linked by nvcc" builds
test_case "cudnn: an engine for every graph" engines
finish
