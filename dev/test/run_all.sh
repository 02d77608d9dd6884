#!/usr/bin/env bash
# Runs all tests and ends with one line: N passed, N failed, N skipped.
#   dev/test/run_all.sh [--long] [NAME…]    NAME: only the suites whose names contain it
# A suite is a command. Its tests are counted from its closing lines (cmocka's or our own); a suite that ends with
# an exit code other than 0 without a failed test, or that ran none, counts as one failed test.
set -u
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
logs=$build/test-logs
long=
[ "${1:-}" = --long ] && { long=--long; shift; }
only=("$@")
mkdir -p "$logs"
# Hundreds of jobs on one node: without looking for networks each starts in half the time.
export OMPI_MCA_pml=${OMPI_MCA_pml-ob1}
counts=$logs/counts
: > "$counts"

wanted() { # wanted NAME
  [ ${#only[@]} -eq 0 ] && return 0
  local part
  for part in "${only[@]}"; do [[ $1 == *"$part"* ]] && return 0; done
  return 1
}

# sum PATTERN FILE: the sum of the numbers that PATTERN captures
sum() { sed -nE "s/$1/\\1/p" "$2" | awk '{ total += $1 } END { print total + 0 }'; }

suite() { # suite NAME COMMAND…
  local name=$1 log start code ok bad skips
  shift
  wanted "$name" || return 0
  log=$logs/${name//[^A-Za-z0-9_.-]/_}.log
  start=$SECONDS
  "$@" >"$log" 2>&1 </dev/null
  code=$?
  ok=$(($(sum '^\[  PASSED  \] ([0-9]+) test.*' "$log") + $(sum '^([0-9]+) passed, [0-9]+ failed.*' "$log")))
  bad=$(($(sum '^\[  FAILED  \] ([0-9]+) test.*' "$log") + $(sum '^[0-9]+ passed, ([0-9]+) failed.*' "$log")))
  skips=$(($(sum '^\[  SKIPPED \] ([0-9]+) test.*' "$log") + $(sum '^[0-9]+ passed, [0-9]+ failed, ([0-9]+) skipped.*' "$log")))
  if [ $code -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  if [ $((ok + bad + skips)) -eq 0 ]; then bad=1; fi
  printf '%-34s %4d passed %3d failed %3d skipped %5d s\n' "$name" "$ok" "$bad" "$skips" $((SECONDS - start))
  grep -hE '^(SKIPPED|skip) ' "$log" | sed 's/^/    /'
  if [ "$bad" -ne 0 ]; then
    printf '    exit code %d; the end of %s:\n' "$code" "$log"
    tail -n 40 "$log" | sed 's/^/    | /'
  fi
  echo "$ok $bad $skips" >> "$counts"
}

ranks() { # ranks NAME COMM NP PROGRAM ARGS…: a suite under mpirun
  local name=$1 comm=$2 np=$3
  shift 3
  # One thread a rank: these programs leave the number of threads to the environment. tcp starts through a folder.
  local start=
  [ "$comm" = tcp ] && start=fs:$meeting
  suite "$name, $np ranks, $comm" env OMP_NUM_THREADS=1 ZERO_COMM="$comm" ZERO_START="$start" scripts/run.sh "$np" "$@"
}

# Scripts that build nothing in $build and leave processors idle run beside the others.
beside=(test_bert_data test_data test_datasets test_recipes test_resume test_bert_resume test_cudaemu)
[ -n "$long" ] && beside+=(test_bits test_bert_bits test_memory_traffic)
for name in "${beside[@]}"; do suite "$name" bash "dev/test/$name.sh" $long; done > "$logs/beside" &

meeting=$(mktemp -d)
trap 'rm -rf "$meeting"' EXIT
tcp_ranks=(3)
[ -n "$long" ] && tcp_ranks=(1 2 3 4)
for program in "$build"/test_*; do
  name=$(basename "$program")
  [ -x "$program" ] || continue
  case $name in
    test_comm | test_engine | test_checkpoint | test_unit_order | test_predictions)
      suite "$name, self" env ZERO_COMM=self "$program"
      for comm in shm mpi; do
        for np in 1 2 3 4; do ranks "$name" $comm $np "$program"; done
      done
      for np in "${tcp_ranks[@]}"; do ranks "$name" tcp "$np" "$program"; done
      ;;
    *) suite "$name" "$program" ;;
  esac
done

suite test_gpt2 ./test_gpt2
for recompute in 0 2 3; do suite "test_gpt2 -r $recompute" ./test_gpt2 0 $recompute; done
suite test_bert ./test_bert
for recompute in 0 3; do suite "test_bert -r $recompute" ./test_bert 0 $recompute; done
for stage in 0 1 2 3; do
  ranks "test_gpt2 stage $stage" shm 2 ./test_gpt2 $stage
  ranks "test_gpt2 stage $stage" mpi 4 ./test_gpt2 $stage
  [ $stage = 0 ] || suite "test_bert stage $stage" ./test_bert $stage
  ranks "test_bert stage $stage" shm 2 ./test_bert $stage
  ranks "test_bert stage $stage" mpi 4 ./test_bert $stage
done

# A few of them under the sanitizers, everything in the long form.
sanitized=(SANITIZED="test_ops_types test_partition test_engine test_config")
[ -n "$long" ] && sanitized=()
suite "ASan and UBSan" make --no-print-directory -j2 sanitize "${sanitized[@]}"

for script in dev/test/test_*.sh; do
  name=$(basename "$script" .sh)
  [[ " ${beside[*]} " == *" $name "* ]] || suite "$name" bash "$script" $long
done
wait
cat "$logs/beside"

echo
awk '{ passed += $1; failed += $2; skipped += $3 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 || passed == 0 }' "$counts"
