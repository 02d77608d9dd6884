#!/usr/bin/env bash
# Is every barrier of the CUDA sources needed, and would its absence be noticed? Each __syncthreads, __syncwarp, fence and wait for copies
# in llmc/cuda/ and zero/ is left out in turn (ZERO_EMU_LEAVE_OUT: the emulator passes over it, nothing is built anew)
# and the tests of the operations run at tiny shapes: first under the race check, then, if that is silent, for results
# that are wrong or have other bits, in several orders of threads. A table says what caught each.
#
# What nothing catches must stand in `harmless` below with the reason, and what stands there must not be caught.
#   dev/test/test_barriers.sh [--long]    --long: all of them, else every SAMPLEth and the harmless ones not at all
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
build=${BUILD:-build}
cd "$root" || exit 1
SAMPLE=9
orders=(forward reverse random:1 random:2)
no_aslr=() # TSan of g++ 12 does not know where Linux of today puts memory
if setarch "$(uname -m)" -R true 2> /dev/null; then no_aslr=(setarch "$(uname -m)" -R); fi
export ZERO_EMU_UNIFIED=1 ZERO_TEST_CUDA=1 TSAN_OPTIONS=halt_on_error=1

# FILE | FUNCTION | which barrier of the function | the line's text | why nothing goes wrong without it
harmless='
llmc/cuda/types.cuh | block_max | 1 | __syncthreads(); // an earlier call'\''s results have been read | its one caller calls it once in a block: kept for a kernel that goes over several rows
'

# The programs and tests that reach a file's barriers, as PROGRAM:PATTERN.
tests_of() {
  case $1 in
    llmc/cuda/attention*) echo 'test_ops_attention:*' ;;
    llmc/cuda/encoder.cu) echo 'test_ops:test_encoder' ;;
    llmc/cuda/layernorm.cu) echo 'test_ops:test_layernorm' ;;
    llmc/cuda/lm_head.cu) echo 'test_ops:test_lm_head' ;;
    llmc/cuda/column_sum.cu) echo 'test_ops:test_matmul' ;;
    llmc/cuda/types.cuh) echo 'test_ops:test_layernorm test_ops:test_lm_head' ;;
    zero/*) echo 'test_device:*' ;;
    *) echo 'test_ops:* test_ops_attention:* test_device:*' ;;
  esac
}

# FILE LINE FUNCTION NUMBER TEXT, one line each, separated by tabs. A function begins with the last name before a
# parenthesis at the beginning of a line or, for a kernel with __launch_bounds__, on the line after.
barriers() {
  awk -v OFS='\t' '
    FNR == 1 { name = "?" }
    /^(template|#|\/\/|enum|typedef|struct)/ { next }
    /^  ? ? ?(static )?__device__ |^[a-z_].*\(|^    [a-z_]+_kernel\(/ {
      line = $0
      gsub(/__launch_bounds__\([^)]*\)/, "", line)
      if (match(line, /[a-z_0-9]+\(/)) { name = substr(line, RSTART, RLENGTH - 1); number = 0 }
    }
    {
      code = $0
      sub(/\/\/.*/, "", code)
      found = gsub(/__sync(threads|warp)[a-z_]*\(|__threadfence[a-z_]*\(|__pipeline_wait_prior\(/, "&", code)
      if (found == 0) next
      text = $0
      gsub(/^ +/, "", text)
      print FILENAME, FNR, name, ++number, found == 1 ? text : "two in one line"
    }' llmc/cuda/*.cu llmc/cuda/*.cuh zero/*.cu zero/*.cuh
}

made() {
  make --no-print-directory -j2 emu-tests > "$work/make.log" 2>&1 && make --no-print-directory -j2 emu-tsan >> "$work/make.log" 2>&1
  local code=$?
  is "exit code of make: $(grep -E 'error|\*\*\*' "$work/make.log" | head -n 3)" $code 0
}

# Every barrier is one that the emulator can leave out.
no_others() {
  local others
  others=$(grep -nE 'bar\.sync|barrier\.|mbarrier|membar|fence\.|cooperative_groups|cp\.async' llmc/cuda/*.cu* zero/*.cu*)
  is "barriers that are no call" "$others" "" && is "lines with two barriers" "$(grep -c "two in one line" "$work/barriers")" 0 &&
    why="$(wc -l < "$work/barriers") barriers found, 20 expected at least" && [ "$(wc -l < "$work/barriers")" -ge 20 ]
}

tiny_run() { # tiny_run BUILD ORDER PROGRAM:PATTERN [COMMAND…]: output in log
  local dir=$1 order=$2 program=${3%%:*} pattern=${3#*:}
  shift 3
  ZERO_EMU_ORDER=$order timeout -k 5 600 "$@" "$dir/emu/$program" tiny "$pattern" > "$work/log" 2>&1
}

# The results' line of a program with nothing left out; fails if it does not pass.
declare -A right
unmutated() { # unmutated PROGRAM:PATTERN
  local order test=$1
  for order in "${orders[@]}"; do
    tiny_run "$build" "$order" "$test"
    is "exit code in order $order" $? 0 && why="it compared nothing" && grep -q '^results: [1-9]' "$work/log" || return 1
    right[$test]=${right[$test]:-$(grep '^results:' "$work/log")}
    is "results in order $order" "$(grep '^results:' "$work/log")" "${right[$test]}" || return 1
  done
  tiny_run "$build-emu-tsan" forward "$test" "${no_aslr[@]}"
  local code=$?
  is "exit code under the race check: $(grep -E 'WARNING|^error' "$work/log" | head -n 2)" $code 0
}

# What catches FILE:LINE: into `caught`, empty if nothing does, and `kernel` where that is known.
catch() {
  local place=$1 test order times=0
  shift
  caught='' kernel=''
  for test in "$@"; do
    if ! ZERO_EMU_LEAVE_OUT=$place tiny_run "$build-emu-tsan" forward "$test" "${no_aslr[@]}"; then
      kernel=$(sed -nE "s/^error: .*kernel '([^']*)'.*/\1/p" "$work/log" | head -n 1)
      caught="exit code other than 0"
      grep -q 'ThreadSanitizer: data race' "$work/log" && caught="race report"
      grep -qE '^error: .*(divergent|deadlock|meets another)' "$work/log" && caught="emulator's report"
      return
    fi
    times=$((times + $(sed -nE "s|^left out: $place, ([0-9]+) times|\1|p" "$work/log")))
  done
  [ "$times" -gt 0 ] || { caught="never ran" && return 1; }
  for order in "${orders[@]}"; do
    for test in "$@"; do
      if ! ZERO_EMU_LEAVE_OUT=$place tiny_run "$build" "$order" "$test"; then caught="wrong result, order $order" && return; fi
      if [ "$(grep '^results:' "$work/log")" != "${right[$test]}" ]; then caught="other bits, order $order" && return; fi
    done
  done
}

# The reason why a barrier is harmless, or nothing.
reason_of() { # reason_of FILE FUNCTION NUMBER TEXT
  awk -F ' [|] ' -v file="$1" -v name="$2" -v number="$3" -v text="$4" \
    '$1 == file && $2 == name && $3 == number && $4 == text { print $5 }' <<< "$harmless"
}

barrier() { # barrier FILE LINE FUNCTION NUMBER TEXT: one row of the table
  local tests reason
  read -ra tests <<< "$(tests_of "$1")"
  set -f
  catch "$1:$2" "${tests[@]}"
  set +f
  reason=$(reason_of "$1" "$3" "$4" "$5")
  printf '%-36s %-38s %s\n' "$1:$2" "${kernel:-$3}" "${caught:-harmless: $reason}" >> "$work/table"
  why="it never ran at the tests' shapes"
  [ "$caught" != "never ran" ] || return 1
  if [ -n "$reason" ]; then
    is "what catches a barrier that is listed as harmless" "$caught" ""
  else
    why="nothing notices that it is missing, and it is not listed as harmless"
    [ -n "$caught" ]
  fi
}

# Each entry of the list is a barrier of the sources.
list_is_true() {
  local file name number text reason
  while IFS= read -r line; do
    [ -n "$line" ] || continue
    awk -F ' [|] ' -v OFS='\t' '{ print $1, $2, $3, $4 }' <<< "$line" > "$work/entry"
    IFS=$'\t' read -r file name number text < "$work/entry"
    reason=$(reason_of "$file" "$name" "$number" "$text")
    why="an entry without a reason: $line" && [ -n "$reason" ] || return 1
    cut -f 1,3- "$work/barriers" | grep -qxF "$(printf '%s\t%s\t%s\t%s' "$file" "$name" "$number" "$text")"
    is "whether the sources have barrier $number of $name with the text '$text' in $file" $? 0 || return 1
  done <<< "$harmless"
}

barriers > "$work/barriers"
if [ "$long" = --long ]; then cp "$work/barriers" "$work/chosen"; else awk "NR % $SAMPLE == 1" "$work/barriers" > "$work/chosen"; fi
test_case "barriers: the emulator can leave out each" no_others
test_case "barriers: the list of harmless ones" list_is_true
test_case "barriers: the tests build, also with the race check" made
set -f
mapfile -t used < <(cut -f 1 "$work/chosen" | sort -u | while read -r file; do tests_of "$file"; done | tr ' ' '\n' | sort -u)
for test in "${used[@]}"; do test_case "barriers: nothing left out, $test" unmutated "$test"; done
set +f
while IFS=$'\t' read -r file line name number text; do
  test_case "barriers: without $file:$line, number $number of $name" barrier "$file" "$line" "$name" "$number" "$text"
done < "$work/chosen"
[ ! -e "$work/table" ] || cat "$work/table"
finish
