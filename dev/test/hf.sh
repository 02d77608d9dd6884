# shellcheck shell=bash disable=SC2034,SC2154
# What the tests of Hugging Face's folders share; they source it after lib.sh.
fixtures="$root/dev/fixtures"

# loss NP ARGUMENTS: the last validation loss of a run.
loss() {
  local np=$1 comm=shm
  shift
  [ "$np" = 1 ] && comm=self
  ranks "$np" $comm "$@" 2>> log | sed -n 's/^val loss \([0-9.]*\).*/\1/p' | tail -1
}

# fails CODE TEXT ARGUMENTS: the trainer's exit code, and an `error: ` line with the text.
fails() {
  local expected=$1 text=$2 code=0 output
  shift 2
  output=$(ranks 1 self "$@" 2>&1) || code=$?
  is "exit code of '$*', which printed '$output'" "$code" "$expected" &&
    has "errors of '$*'" "$(grep '^error: ' <<< "$output")" "$text"
}

# within WHAT FOUND EXPECTED: 1e-5, absolute.
within() {
  why="$1: found '$2', expected '$3' within 1e-5"
  [ -n "$2" ] && awk "BEGIN { d = ($2) - ($3); exit !(d <= 1e-5 && d >= -1e-5) }"
}

# bad FIXTURE: a copy of it, to be broken.
bad() { rm -rf bad && mkdir bad && cp "$fixtures/$1"/* bad/; }

# types_are FOLDER TYPE: all its tensors have this type, fp32, bf16 or fp16.
types_are() {
  local dtype=${2/fp/f}
  is "types in $1" "$(head -c 8000 "$1/model.safetensors" | grep -ao '"dtype":"[A-Z0-9]*"' | sort -u)" "\"dtype\":\"${dtype^^}\""
}

# A Python that has transformers; 77 and why where there is none.
python=${ZERO_C_REFERENCE_PYTHON:-$root/.venv/bin/python}
has_transformers() {
  why="no Python with transformers; give one by ZERO_C_REFERENCE_PYTHON (dev/reference/README.md)"
  [ -n "${ZERO_C_REFERENCE_PYTHON:-}" ] || [ -x "$python" ] || return 77
}

# checks COUNT SCRIPT ARGUMENTS: a script of dev/reference that compares so many folders.
checks() {
  local count=$1 script=$2 code
  shift 2
  "$python" "$root/dev/reference/$script" "$@" > check.log 2> check_errors.log
  code=$?
  is "exit code of $script, which printed '$(cat check.log; grep '^error' check_errors.log)'" $code 0 &&
    is "folders compared" "$(grep -c 'difference' check.log)" "$count" || return 1
  sed 's/^/  /' check.log
}
