# shellcheck shell=bash disable=SC2034
# What the test scripts share; they source it. Each test prints `ok NAME`, `not ok NAME: why` or `skip NAME: why`,
# and finish closes with `N passed, N failed, N skipped`.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
run="$root/scripts/run.sh"
train="$root/train_gpt2"

passed=0 failed=0 skipped=0
why=

# test_case NAME FUNCTION [ARGUMENTS]: the function returns 0, or sets why and returns 1; 77: skipped.
test_case() {
  local test_name=$1
  shift
  why="a command in it failed"
  "$@"
  case $? in
    0) echo "ok $test_name" && passed=$((passed + 1)) ;;
    77) echo "skip $test_name: $why" && skipped=$((skipped + 1)) ;;
    *) echo "not ok $test_name: $why" && failed=$((failed + 1)) ;;
  esac
}

# is WHAT FOUND EXPECTED
is() {
  why="$1: found '$2', expected '$3'"
  [ "$2" = "$3" ]
}

# has WHAT TEXT PART
has() {
  why="$1: no '$3' in '$2'"
  grep -qF -- "$3" <<< "$2"
}

# near WHAT FOUND EXPECTED TOLERANCE: within this share of what is expected; expressions of awk.
near() {
  why="$1: found $2, expected $3 within $4 of it"
  awk "BEGIN { d = ($2) - ($3); if (d < 0) d = -d; exit !(d <= ($4) * ($3)) }"
}

# token_file FILE COUNT VOCABULARY [MAGIC VERSION COUNT_IN_HEADER]: a token file in llm.c's form. A token follows from
# the one before it and a little noise, so that there is something to learn.
token_file() {
  perl -e 'my ($file, $count, $vocabulary, @header) = @ARGV;
    my ($token, $noise, @tokens) = (0, 12345);
    for (1 .. $count) {
      $noise = ($noise * 1103515245 + 12345) % 2**31;
      $token = (5 * $token + ($noise >> 16) % 3) % $vocabulary;
      push @tokens, $token;
    }
    open my $out, ">:raw", $file or die "$file: $!";
    @header = (20240520, 1, $count) unless @header;
    print $out pack("l<256", @header, (0) x 253), pack("S<*", @tokens);
    close $out or die "$file: $!";' "$@"
}

# ranks NP COMM ARGUMENTS: the trainer on NP ranks with one transport; without mpirun for COMM self. A run that hangs
# ends after this many seconds with exit code 124.
time_limit=180
ranks() {
  local np=$1 comm=$2
  shift 2
  if [ "$comm" = self ]; then
    ZERO_COMM=self timeout -k 10 $time_limit "$train" "$@" < /dev/null
  else
    ZERO_COMM=$comm timeout -k 10 $time_limit "$run" "$np" "$train" "$@" < /dev/null
  fi
}

finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}
