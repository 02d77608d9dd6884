#!/usr/bin/env bash
# Starts ranks with mpirun, as root or not, with more ranks than cores or not:
#
#   scripts/run.sh NP PROGRAM ARGS...
#   scripts/run.sh 4 ./train_gpt2 -e d12 -z 3
#
# The exit code is the program's, or 128 + signal when a rank was killed.
set -u

fail() {
  echo "error: run.sh: $*" >&2
  exit 1
}

if [ $# -lt 2 ]; then
  fail "$# arguments found; usage: scripts/run.sh NP PROGRAM ARGS... (NP is the number of ranks)"
fi
ranks=$1
program=$2
shift 2

case $ranks in
  *[!0-9]* | "" | 0*) fail "NP: '$ranks' found; the number of ranks must be 1 or more, as in: scripts/run.sh 4 $program" ;;
esac
if [ "${#ranks}" -gt 4 ]; then
  fail "NP: $ranks ranks on one machine; give at most 9999"
fi

if ! command -v "$program" > /dev/null; then
  if [ -e "$program" ]; then
    fail "PROGRAM: '$program' is not an executable program; give the program that make built, as in: ./train_gpt2"
  fi
  fail "PROGRAM: '$program' not found; build it with: make $(basename "$program")"
fi
if ! command -v mpirun > /dev/null; then
  fail "mpirun not found; install Open MPI with: make deps"
fi

if ! command -v setsid > /dev/null; then
  fail "setsid not found; install it (package util-linux)"
fi

if [ "$(id -u)" = 0 ]; then
  # Open MPI asks for these two before it runs as root.
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
if [ -e /.dockerenv ] || [ -e /run/.containerenv ]; then
  # Containers often forbid reading another process's memory, and Open MPI then warns at every message.
  export OMPI_MCA_btl_vader_single_copy_mechanism="${OMPI_MCA_btl_vader_single_copy_mechanism-none}"
fi

# --bind-to none: the program places its own threads. --quiet: the program's own error lines say it all.
# In the background, so that a signal to this script reaches mpirun. The first one asks the ranks to stop: USR1, which
# mpirun hands on to them (train_gpt2 finishes its step, saves and exits with 0; a program that does not know it ends).
# A second one ends them. In a session of its own: Ctrl-C on a terminal reaches all of its processes, and mpirun would end
# the ranks at once, whatever they have not saved.
setsid mpirun --quiet --oversubscribe --bind-to none -np "$ranks" "$program" "$@" <&0 &
launcher=$!
stopped=0
trapped=0
stop() { # stop CODE
  trapped=1
  if [ "$stopped" = 0 ]; then kill -USR1 "$launcher" 2> /dev/null; else kill -TERM "$launcher" 2> /dev/null; fi
  stopped=$1
}
trap 'stop 130' INT
trap 'stop 143' TERM HUP
while :; do
  trapped=0
  wait "$launcher"
  code=$?
  if [ "$trapped" = 0 ]; then break; fi # else the signal ended the wait, or came after it: bash still knows the exit code
done

if [ "$stopped" != 0 ] && [ "$code" != 0 ]; then
  code=$stopped
elif [ "$code" -gt 128 ]; then
  signal=$(kill -l "$code" 2> /dev/null || echo "$((code - 128))")
  echo "error: run.sh: a rank of $program was ended by signal $signal, and so the job; checkpoints on disk are untouched" >&2
fi
exit "$code"
