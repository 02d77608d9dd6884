# shellcheck shell=bash
# What the training recipes share; they source it, set what is theirs and end with: train FLAGS... "$@"
#
# Variables of the environment, for all recipes:
#   NP           ranks on this machine, one per GPU or a few per processor
#   DATA         folder of the prepared data
#   OUT          folder for main.log and checkpoints
#   STEPS        another number of steps (also the length of the learning-rate schedule)
#   MICRO_BATCH  sequences that a rank works on at once; NP * MICRO_BATCH must divide the sequences of a step
#   PROGRAM      the trainer
# Arguments of a recipe are more flags for the trainer; the last of a repeated flag counts: -t 256 -d 65536 -z 3.
#
# A recipe that was stopped or killed goes on from its last checkpoint when it is started again. While it runs it does
# that itself when the trainer fails, until three attempts in a row have brought no new checkpoint.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
name=$(basename "$0")

NP=${NP:-8}
MICRO_BATCH=${MICRO_BATCH:-4}
PROGRAM=${PROGRAM:-./train_gpt2}
tries_without_progress=3
bad_usage=1 # the exit code that no second attempt mends

fail() {
  echo "error: $name: $*" >&2
  exit 1
}

# number NAME: is this variable a number, 1 or more?
number() {
  case ${!1} in
    *[!0-9]* | "" | 0*) fail "$1: '${!1}' found; give a number, 1 or more" ;;
  esac
}

# need_data PATTERN COMMAND: are there such files in DATA? COMMAND prepares them.
need_data() {
  compgen -G "$DATA/$1" > /dev/null || fail "DATA: no $DATA/$1; prepare the data with: $2"
}

newest_checkpoint() { compgen -G "$OUT/step_*[0-9]" | sort | tail -n 1; }

# The first signal asks the trainer to finish its step and save, a second one ends it (scripts/run.sh).
stopped=0
stop() { # stop CODE
  stopped=$1
  kill -TERM "$running" 2> /dev/null
}

# attempt FLAGS...: one run of the trainer; its exit code.
attempt() {
  local code
  scripts/run.sh "$NP" "$PROGRAM" "$@" <&0 &
  running=$!
  trap 'stop 130' INT
  trap 'stop 143' TERM HUP
  wait "$running"
  code=$?
  while kill -0 "$running" 2> /dev/null; do # a trapped signal ended the wait early
    wait "$running"
    code=$?
  done
  trap - INT TERM HUP
  return "$code"
}

# train FLAGS...
train() {
  local before code failures=0
  number NP && number STEPS && number MICRO_BATCH
  while true; do
    before=$(newest_checkpoint)
    attempt -b "$MICRO_BATCH" -x "$STEPS" -o "$OUT" -y 1 "$@"
    code=$?
    if [ "$stopped" != 0 ]; then
      echo "$name: stopped; start it again to go on"
      exit "$stopped"
    fi
    if [ "$code" = 0 ]; then
      echo "$name: done; the log and the last checkpoints are in $OUT"
      exit 0
    fi
    if [ "$code" = "$bad_usage" ]; then exit "$code"; fi
    failures=$((failures + 1))
    if [ "$(newest_checkpoint)" != "$before" ]; then failures=1; fi
    if [ "$failures" = "$tries_without_progress" ]; then
      echo "error: $name: given up after $failures attempts without a new checkpoint (see above)" >&2
      exit "$code"
    fi
    echo "$name: the trainer ended with exit code $code; going on from the last checkpoint in $OUT" >&2
    sleep 1
  done
}
