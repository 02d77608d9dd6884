#!/usr/bin/env bash
# Is every barrier of the CUDA sources needed, and would its absence be noticed? Each __syncthreads, __syncwarp, fence and wait for copies
# in llmc/cuda/ and zero/ is left out in turn (ZERO_EMU_LEAVE_OUT: the emulator passes over it, nothing is built anew)
# and the tests of the operations run at tiny shapes, in four orders of threads: are results wrong, or their bits others?
# With --long they run under the race check too. A table says what caught each.
#
# What nothing catches must stand in `harmless` below with the reason, what only the race check catches in `race_only`;
# what stands there must not be caught otherwise, and must still be in the sources.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
build=${BUILD:-build}
cd "$root" || exit 1
orders=(forward reverse random:1 random:2)
no_aslr=() # TSan of g++ 12 does not know where Linux of today puts memory
if setarch "$(uname -m)" -R true 2> /dev/null; then no_aslr=(setarch "$(uname -m)" -R); fi
export ZERO_EMU_UNIFIED=1 ZERO_TEST_CUDA=1 TSAN_OPTIONS=halt_on_error=1

# FILE | FUNCTION | which barrier of the function | the line's text | why nothing goes wrong without it
harmless='
llmc/cuda/attention.cuh | store_sums | 1 | __syncthreads(); | its callers give it tiles whose rows a warp alone has read, with barriers since then; for tiles that other warps read
llmc/cuda/types.cuh | block_max | 1 | __syncthreads(); // an earlier call'\''s results have been read | its one caller calls it once in a block; for a kernel that goes over several rows
'
# The same, with why results come out right in the emulator's orders.
race_only='
llmc/cuda/row_sort.cu | place_rows_kernel | 5 | __syncwarp(present); | the next round begins with two operations in which the lanes meet, which on a GPU orders no memory
'

# The programs and tests that reach a file's barriers, as PROGRAM:PATTERN.
tests_of() {
  case $1 in
    llmc/cuda/attention*) echo 'test_ops_attention:*' ;;
    llmc/cuda/row_sort.cu) echo 'test_ops:test_encoder test_ops_bert:test_embeddings' ;;
    llmc/cuda/layernorm.cu) echo 'test_ops:test_layernorm' ;;
    llmc/cuda/lm_head.cu) echo 'test_ops:test_lm_head test_ops_bert:test_lm_head_best' ;;
    llmc/cuda/column_sum.cu) echo 'test_ops:test_matmul' ;;
    llmc/cuda/types.cuh) echo 'test_ops:test_layernorm test_ops:test_lm_head' ;;
    zero/*) echo 'test_device:*' ;;
    *) echo 'test_ops:* test_ops_bert:* test_ops_attention:* test_device:*' ;;
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
  local targets=(emu-tests)
  [ "$long" = --long ] && targets+=(emu-tsan)
  local code=0 target
  for target in "${targets[@]}"; do make --no-print-directory -j2 "$target" >> "$work/make.log" 2>&1 || code=$?; done
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
  [ "$long" = --long ] || return 0
  tiny_run "$build-emu-tsan" forward "$test" "${no_aslr[@]}"
  local code=$?
  is "exit code under the race check: $(grep -E 'WARNING|^error' "$work/log" | head -n 2)" $code 0
}

# race_report FILE:LINE TEST…: whether the race check reports, into `race` with the kernel in `kernel`.
race_report() {
  local place=$1 test
  shift
  race='' kernel=''
  for test in "$@"; do
    ZERO_EMU_LEAVE_OUT=$place tiny_run "$build-emu-tsan" forward "$test" "${no_aslr[@]}" && continue
    kernel=$(sed -nE "s/^error: .*kernel '\(?([a-z_0-9]*).*/\1/p" "$work/log" | head -n 1)
    race="exit code other than 0"
    grep -q '^\[  FAILED  \]' "$work/log" && race="wrong result"
    grep -q 'ThreadSanitizer: data race' "$work/log" && race="race report"
    return
  done
}

# wrong_results FILE:LINE TEST…: what is wrong, in which order, into `wrong`; into `times` how often it was left out
# in what ran until then (at least 1 where a test failed, as it may have ended the program).
wrong_results() {
  local place=$1 order test
  shift
  wrong='' times=0
  for order in "${orders[@]}"; do
    for test in "$@"; do
      if ! ZERO_EMU_LEAVE_OUT=$place tiny_run "$build" "$order" "$test"; then
        wrong="wrong result, order $order"
        grep -q '^error: ' "$work/log" && wrong="report of the emulator, order $order"
        times=1
        return
      fi
      times=$((times + $(sed -nE "s|^left out: $place, ([0-9]+) times|\1|p" "$work/log")))
      if [ "$(grep '^results:' "$work/log")" != "${right[$test]}" ]; then wrong="other bits, order $order" && return; fi
    done
  done
}

# The reason why a barrier is in a list, or nothing.
reason_of() { # reason_of LIST FILE FUNCTION NUMBER TEXT
  awk -F ' [|] ' -v file="$2" -v name="$3" -v number="$4" -v text="$5" \
    '$1 == file && $2 == name && $3 == number && $4 == text { print $5 }' <<< "$1"
}

barrier() { # barrier FILE LINE FUNCTION NUMBER TEXT: one row of the table
  local tests race='' kernel='' wrong times entry=("$1" "${@:3}") no_harm only_race
  set -f
  read -ra tests <<< "$(tests_of "$1")"
  wrong_results "$1:$2" "${tests[@]}"
  [ "$long" != --long ] || race_report "$1:$2" "${tests[@]}"
  set +f
  no_harm=$(reason_of "$harmless" "${entry[@]}") only_race=$(reason_of "$race_only" "${entry[@]}")
  printf '%-32s %-34s %-34s %s\n' "$1:$2" "${kernel:-$3}" "${wrong:-right: ${no_harm:-$only_race}}" \
    "$race${no_harm:+harmless}" >> "$work/table"
  why="it never ran at the tests' shapes" && [ "$times" -gt 0 ] || return 1
  if [ -n "$no_harm$only_race" ]; then
    is "what catches it in results, though a list says that nothing does" "$wrong" "" || return 1
  else
    why="results do not show that it is missing, and no list has it" && [ -n "$wrong" ] || return 1
  fi
  [ "$long" = --long ] || return 0
  local expected="race report"
  [ -z "$no_harm" ] || expected=""
  # Without its wait a copy never lands: what is read instead is wrong in every order of threads, but no race.
  case $5 in *__pipeline_wait_prior*) expected="wrong result" ;; esac
  is "the race check" "$race" "$expected"
}

# Each entry of the lists is a barrier of the sources.
list_is_true() {
  local file name number text reason
  while IFS= read -r line; do
    [ -n "$line" ] || continue
    awk -F ' [|] ' -v OFS='\t' '{ print $1, $2, $3, $4 }' <<< "$line" > "$work/entry"
    IFS=$'\t' read -r file name number text < "$work/entry"
    reason=$(reason_of "$harmless$race_only" "$file" "$name" "$number" "$text")
    why="an entry without a reason: $line" && [ -n "$reason" ] || return 1
    cut -f 1,3- "$work/barriers" | grep -qxF "$(printf '%s\t%s\t%s\t%s' "$file" "$name" "$number" "$text")"
    is "whether the sources have barrier $number of $name with the text '$text' in $file" $? 0 || return 1
  done <<< "$harmless$race_only"
}

barriers > "$work/barriers"
test_case "barriers: the emulator can leave out each" no_others
test_case "barriers: the lists of what results do not show" list_is_true
test_case "barriers: the tests build" made
set -f
mapfile -t used < <(cut -f 1 "$work/barriers" | sort -u | while read -r file; do tests_of "$file"; done | tr ' ' '\n' | sort -u)
for test in "${used[@]}"; do test_case "barriers: nothing left out, $test" unmutated "$test"; done
set +f
while IFS=$'\t' read -r file line name number text; do
  test_case "barriers: without $file:$line, number $number of $name" barrier "$file" "$line" "$name" "$number" "$text"
done < "$work/barriers"
[ ! -e "$work/table" ] || cat "$work/table"
finish
