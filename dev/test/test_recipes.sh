#!/usr/bin/env bash
# Tests of the training recipes in scripts/: each starts on a tiny data set, and goes on from its checkpoints.
# shellcheck disable=SC2016 # single quotes: the stand-ins for the trainer expand what is in them
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
scripts="$root/scripts"
long=${1:-}
small="L=2,H=2,C=32,T=64,V=50257"

mkdir data
token_file data/TinyStories_train.bin 40000 50257
token_file data/TinyStories_val.bin 4000 50257
for name in fineweb edu_fineweb; do
  token_file data/${name}_val_000000.bin 4000 50257
  token_file data/${name}_train_000001.bin 30000 50257
  token_file data/${name}_train_000002.bin 20000 50257
done
printf 'some text of bytes' > text
python3 "$root/data/prepare_text.py" --input text --tokens bytes --output tokens > log && mv tokens_tokenizer.bin data/gpt2_tokenizer.bin

# recipe NAME ARGUMENTS: two small steps on two ranks unless the variables are set
recipe() {
  NP=${NP-2} DATA=${DATA-$work/data} OUT=${OUT-$work/out_$1} STEPS=${STEPS-2} MICRO_BATCH=${MICRO_BATCH-1} \
    timeout -k 10 $time_limit "$scripts/$1.sh" -t 64 -d 128 -m 1 -g 4 "${@:2}" < /dev/null
}

all_start() { # with the recipes' own flags, but for a small model
  local name
  for name in tinystories fineweb_124M fineweb_350M fineweb_774M fineweb_1558M; do
    recipe $name -e $small -n 1 > log 2>&1 || { why="$name: $(grep -m 1 error: log || tail -n 1 log)" && return 1; }
    is "last line of $name" "$(tail -n 1 log)" "$name.sh: done; the log and the last checkpoints are in $work/out_$name" &&
      is "steps of $name" "$(grep -c ' trl:' "out_$name/main.log")" 2 &&
      is "checkpoints of $name" "$(cd "out_$name" && echo step_*)" "step_00000001 step_00000002" || return 1
  done
}

models() { # the models that the recipes name; the largest ones need more memory than a small machine has
  local name sizes="tinystories:16102912"
  [ -n "$long" ] && sizes="$sizes fineweb_124M:124475904 fineweb_350M:354871296"
  for name in $sizes; do
    OUT="$work/out_model" STEPS=1 recipe "${name%:*}" -n 0 > log 2>&1 ||
      { why="$name: $(grep -m 1 error: log || tail -n 1 log)" && return 1; }
    has "$name" "$(grep '^model:' log)" "| ${name#*:} parameters" && has "$name" "$(cat log)" "trained 1 steps" || return 1
  done
}

# trainer TEXT: a stand-in that counts its runs in the file `runs` and then does what the text says; $run: the number
trainer() {
  : > runs
  printf '#!/bin/sh\necho "$*" >> %s/runs\nrun=$(wc -l < %s/runs)\n%s\n' "$work" "$work" "$1" > fake_trainer
  chmod +x fake_trainer
}

goes_on_while_there_is_progress() {
  trainer 'mkdir -p '"$work"'/out_fake/step_0000000$run; [ $run = 4 ] || exit 2'
  PROGRAM=$work/fake_trainer OUT=$work/out_fake NP=1 recipe tinystories > log 2>&1
  is "exit code" $? 0 && is "runs" "$(wc -l < runs)" 4 &&
    is "messages" "$(grep -c 'the trainer ended with exit code 2; going on from the last checkpoint' log)" 3 &&
    has "flags" "$(tail -n 1 runs)" "-x 2 -o $work/out_fake -y 1"
}

gives_up() {
  trainer 'exit 2'
  PROGRAM=$work/fake_trainer OUT=$work/out_none NP=1 recipe tinystories > log 2>&1
  is "exit code" $? 2 && is "runs" "$(wc -l < runs)" 3 &&
    has "output" "$(cat log)" "error: tinystories.sh: given up after 3 attempts without a new checkpoint" || return 1
  trainer 'exit 1' # bad usage: a second time changes nothing
  PROGRAM=$work/fake_trainer OUT=$work/out_none NP=1 recipe tinystories > log 2>&1
  is "exit code" $? 1 && is "runs" "$(wc -l < runs)" 1
}

killed_and_stopped() { # a killed rank: the recipe goes on by itself; stopped by a signal: when it is started again
  local job
  OUT=$work/out_whole STEPS=40 recipe tinystories -e $small -v 0 -s 0 -n 5 -nk 0 > log 2>&1 || return 1
  # The file of step 5 appears, then a rank is killed.
  (
    tries=0
    until [ -d out_killed/step_00000005 ] || [ $((tries += 1)) -gt 400 ]; do sleep 0.05; done
    kill -9 "$(pgrep -n -f "^$train .*$work/out_killed")"
  ) 2> /dev/null &
  PROGRAM=$train OUT=$work/out_killed STEPS=40 recipe tinystories -e $small -v 0 -s 0 -n 5 -nk 0 > log 2>&1
  is "exit code" $? 0 && has "output" "$(cat log)" "ended with exit code 137; going on from the last checkpoint" &&
    has "output" "$(cat log)" "resumed from $work/out_killed/step_" || return 1
  why="the logs differ"
  cmp -s out_whole/main.log out_killed/main.log || return 1
  rm -f log # or the step would be seen of the run before
  NP=2 DATA=$work/data OUT=$work/out_stopped STEPS=100000 MICRO_BATCH=1 "$scripts/tinystories.sh" -e $small -t 64 -d 128 \
    -v 0 -s 0 -n 50000 > log 2>&1 < /dev/null &
  job=$!
  local tries=0
  until grep -qs '^step' log || [ $((tries += 1)) -gt 200 ]; do sleep 0.05; done
  kill -TERM $job
  wait $job
  is "exit code" $? 143 && has "output" "$(cat log)" "tinystories.sh: stopped; start it again to go on" &&
    has "output" "$(cat log)" "stopped by a signal after step" && is "checkpoints" "$(echo out_stopped/step_* | wc -w)" 1
}

bad_variables() {
  local variable
  for variable in NP STEPS MICRO_BATCH; do
    (export $variable=0 && recipe tinystories) > log 2>&1
    is "exit code" $? 1 && is "output" "$(cat log)" "error: tinystories.sh: $variable: '0' found; give a number, 1 or more" || return 1
  done
  DATA=$work/nowhere recipe fineweb_1558M > log 2>&1
  is "exit code" $? 1 && is "output" "$(cat log)" "error: fineweb_1558M.sh: DATA: no $work/nowhere/edu_fineweb_train_*.bin; \
prepare the data with: python3 data/fineweb.py --edu --version 100B" || return 1
  recipe tinystories --bogus 1 > log 2>&1
  is "exit code" $? 1 && has "output" "$(cat log)" "--bogus"
}

test_case "recipes: all start" all_start
test_case "recipes: the models" models
test_case "recipes: go on while there is progress" goes_on_while_there_is_progress
if [ -n "$long" ]; then test_case "recipes: give up" gives_up; fi
test_case "recipes: killed and stopped" killed_and_stopped
test_case "recipes: bad variables" bad_variables

finish
