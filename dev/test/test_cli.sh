#!/usr/bin/env bash
# The command line as users meet it: wrong input is refused with `error: …` lines, exit code 1, within 5 s, on one
# rank and on several, with nothing written; help, notices, old logs; a killed rank ends the job.
# shellcheck disable=SC2034,SC2054,SC2206 # lib.sh shows why; -e takes commas; numbers need no quotes
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"

# file NAME MAGIC VERSION HEADER… BYTES: llm.c's 1,024 bytes of int32 header, then zeros.
file() {
  perl -e 'my ($file, @header) = @ARGV; my $bytes = pop @header;
    open my $out, ">:raw", $file or die "$file: $!";
    print $out pack("l<256", @header, (0) x (256 - @header)), "\0" x $bytes;
    close $out or die "$file: $!";' "$@"
}

token_file train.bin 1000 80
token_file val.bin 200 80
token_file large.bin 1000 90                # tokens up to 89
token_file magic.bin 100 80 20240521 1 100  # another magic number
token_file version.bin 100 80 20240520 7 100
token_file short.bin 100 80 20240520 1 101  # one token fewer than its header says
token_file few.bin 32 80                    # a window of 32 needs 33
printf 'no header' > tiny.bin
shape=(32 80 1 2 32 128)                # T V L H C Vp of a small model
bytes=71552                             # its 17,888 parameters: 128*32 + 32*32 + 12*32*32 + 13*32 + 2*32
file model.bin 20240326 3 "${shape[@]}" $bytes
file model_magic.bin 20240327 3 "${shape[@]}" $bytes
file model_version.bin 20240326 4 "${shape[@]}" $bytes
file model_cut.bin 20240326 3 "${shape[@]}" $((bytes - 4))
file model_shape.bin 20240326 3 32 80 1 3 32 128 $bytes
file model_absurd.bin 20240326 3 2000000000 2000000000 2000000000 2 2000000000 2000000128 0
file model_negative.bin 20240326 3 32 80 -1 2 32 128 $bytes
file tokenizer_absurd.bin 20240328 2 2000000000 0 80
token_file absurd.bin 100 80 20240520 1 -100
file tokenizer.bin 20240328 2 80 0 80   # 80 tokens without text
file tokenizer_magic.bin 20240329 2 80 0 80
file tokenizer_cut.bin 20240328 2 81 0 80

base=(-e L=1,H=2,C=32,T=32,V=80 -i train.bin -j val.bin -b 1 -t 32 -x 1 -v 1 -s 0)
seconds_to_refuse=5
seconds_to_run=60 # not what is tested: only that it ends

# ends CODE COMMAND…: its exit code, in time; what it prints goes into output.
output=
ends() {
  local expected=$1 code=0 start=$EPOCHREALTIME
  shift
  output=$("$@" 2>&1) || code=$?
  local seconds
  seconds=$(awk "BEGIN { print $EPOCHREALTIME - $start }")
  is "exit code of '$*', which printed '$output'" $code "$expected" || return 1
  why="'$*' took $seconds s"
  local allowed=$seconds_to_run
  [ "$expected" = 1 ] && allowed=$seconds_to_refuse
  awk "BEGIN { exit !($seconds < $allowed) }"
}

# errors_are COUNT TEXT…: what output has to have.
errors_are() {
  is "error lines in '$output'" "$(grep -c '^error: ' <<< "$output")" "$1" || return 1
  shift
  for text in "$@"; do has "error lines" "$(grep '^error: ' <<< "$output")" "$text" || return 1; done
}

# refused ERRORS TEXT… -- ARGUMENTS after the valid ones; alone and on three ranks. A variable ZERO_… may be set.
refused() {
  local count=$1 texts=() before
  shift
  while [ "$1" != -- ]; do texts+=("$1") && shift; done
  shift
  before=$(find . | sort)
  for np in 1 3; do
    if [ $np = 1 ]; then command=("$train"); else command=("$run" $np "$train"); fi
    ends 1 timeout -k 10 $time_limit "${command[@]}" "${base[@]}" -o out/deep "$@" && errors_are "$count" "${texts[@]}" || return 1
    is "files after it" "$(find . | sort)" "$before" || return 1
  done
}

# The valid arguments are: what is refused below is refused for what it changes.
no_end_of_text() { # samples begin with token 0
  file tokenizer_without.bin 20240328 2 80 -1 80
  ends 0 "$train" "${base[@]}" --tokenizer tokenizer_without.bin -s 1 -g 3 && is "samples" "$(grep -c '^generating' <<< "$output")" 1
}
valid() {
  local np=$1 comm=$2
  ends 0 ranks "$np" "$comm" "${base[@]}" -o good -e model.bin --tokenizer tokenizer.bin -s 1 -g 3 &&
    is "error lines in '$output'" "$(grep -c '^error' <<< "$output")" 0 &&
    is "steps" "$(grep -c '^step ' <<< "$output")" 1 &&
    is "lines of main.log" "$(wc -l < good/main.log)" 3 || return 1
  rm -r good
}

bad_data() {
  refused 1 "-i none.bin" -- -i none.bin && refused 1 "-i magic.bin" 20240521 -- -i magic.bin &&
    refused 1 "-i version.bin" "version 7" -- -i version.bin && refused 1 "-i short.bin" "shorter" -- -i short.bin &&
    refused 1 "-i tiny.bin" "9 bytes" -- -i tiny.bin && refused 1 "-i large.bin" "vocabulary of 80" -- -i large.bin &&
    refused 1 "-i absurd.bin" -- -i absurd.bin && refused 1 "-i few.bin" "-t 32" -- -i few.bin && refused 1 "-i ." "directory" -- -i .
}
bad_validation_data() {
  refused 1 "-j none.bin" -- -j none.bin && refused 1 "-j magic.bin" -- -j magic.bin &&
    refused 1 "-j large.bin" "vocabulary of 80" -- -j large.bin && refused 1 "-j few.bin" -- -j few.bin
}
bad_tokenizer() {
  refused 1 "--tokenizer none.bin" -- --tokenizer none.bin &&
    refused 1 "--tokenizer tokenizer_magic.bin" 20240329 -- --tokenizer tokenizer_magic.bin &&
    refused 1 "--tokenizer tokenizer_absurd.bin" -- --tokenizer tokenizer_absurd.bin &&
    refused 1 "--tokenizer tokenizer_cut.bin" -- --tokenizer tokenizer_cut.bin &&
    refused 1 "--tokenizer train.bin" -- --tokenizer train.bin
}
bad_model_file() {
  refused 1 "-e none.bin" -- -e none.bin && refused 1 "-e model_magic.bin" 20240327 -- -e model_magic.bin &&
    refused 1 "-e model_version.bin" "version 4" -- -e model_version.bin &&
    refused 1 "-e model_cut.bin" "72572 bytes" 72576 -- -e model_cut.bin &&
    refused 1 "-e model_shape.bin" "32 channels" "3 heads" -- -e model_shape.bin &&
    refused 1 "-e tiny.bin" "9 bytes" -- -e tiny.bin && refused 4 "-e model_absurd.bin" 2000000000 -- -e model_absurd.bin &&
    refused 1 "-e model_negative.bin" -- -e model_negative.bin
}
bad_shape() {
  refused 1 "-e L=1,H=3,C=32,T=32" "3 heads" -- -e L=1,H=3,C=32,T=32 && refused 1 "-e d13" -- -e d13 &&
    refused 1 "-e L=1,H=2,C=32" "T=" -- -e L=1,H=2,C=32 && refused 1 "-e L=0,H=2,C=32,T=32" "L=" -- -e L=0,H=2,C=32,T=32 &&
    refused 1 "-e L=1,H=2,C=32,T=32,Q=1" "Q=1" -- -e L=1,H=2,C=32,T=32,Q=1 &&
    refused 1 "-t: found 64" 32 -- -t 64 && refused 1 "-d: found 100" "multiple of" -- -d 100
}
bad_flags() {
  refused 1 "--frobnicate: unknown flag" -- --frobnicate 3 &&
    refused 1 "--tokeniser: unknown flag; did you mean --tokenizer" -- --tokeniser tokenizer.bin &&
    refused 1 "'stray'" -- stray && refused 1 "-b: 'four'" -- -b four && refused 1 "-x: '1.5'" -- -x 1.5 &&
    refused 1 "-l: 'fast'" -- -l fast && refused 1 "-l: 'nan'" -- -l nan && refused 1 "-b: its value is missing" -- -b &&
    refused 1 "-x: its value is missing" "-b" -- -x -b 1 && refused 1 "-z: 4 is out of range" -- -z 4 &&
    refused 1 "-b: 0 is out of range" -- -b 0 && refused 1 "-c: -1 is out of range" -- -c -1 &&
    refused 1 "-k: 'square'" "cosine|linear|constant" -- -k square && refused 1 "--help: takes no value" -- --help=1
}
bad_config_file() {
  printf '{ "train_batch_size": 4,\n  "fp16": { "enabled": tru }\n}\n' > broken.json
  printf '{"train_batch_size": 4, "train_batch_size": 8}' > double.json
  printf '{"train_batchsize": 4}' > unknown.json
  printf '{"fp16": {"enabled": true}, "bf16": {"enabled": true}}' > both.json
  printf '{"train_batch_size": 33, "train_micro_batch_size_per_gpu": 17, "gradient_accumulation_steps": 2}' > triple.json
  printf '{"zero_optimization": {"stage": "three"}}' > word.json
  refused 1 "none.json" -- --config none.json && refused 1 "broken.json:2:24" -- --config broken.json &&
    refused 1 "double.json" "train_batch_size" -- --config double.json &&
    refused 1 "unknown.json" "train_batchsize" "train_batch_size" -- --deepspeed_config unknown.json &&
    refused 1 "both.json" fp16 bf16 -- --config both.json && refused 1 "word.json" "stage" -- --config word.json &&
    refused 1 "dtype" -- --dtype fp8 || return 1
  # without -b, which would replace the file's own triple
  local without_batch=(-e L=1,H=2,C=32,T=32,V=80 -i train.bin -t 32 -x 1 -v 0 -s 0 -o out --config triple.json)
  ends 1 "$train" "${without_batch[@]}" && errors_are 1 "Check batch related parameters" "33 != 17 * 2 * 1" &&
    ends 1 "$run" 3 "$train" "${without_batch[@]}" && errors_are 1 "33 != 17 * 2 * 3" &&
    is "folder out" "$(ls -d out 2> /dev/null)" ""
}
bad_checkpoint() {
  ends 0 "$train" "${base[@]}" -d 96 -o saved -n 1 && cp -r saved cut && truncate -s -100 cut/step_00000001/state.zero || return 1
  refused 1 "-y: saved/step_00000001/state.zero" "another model" -- -o saved -y 1 -e L=1,H=2,C=64,T=32,V=80 &&
    refused 1 "-y: saved/step_00000001/state.zero" "--seed 42, this run 43" -- -o saved -y 1 --seed 43 -d 96 &&
    refused 1 "-y: cut/step_00000001/state.zero" "bytes" -- -o cut -y 1
}
no_folder() {
  ends 1 "$train" "${base[@]}" -n 1 && errors_are 1 "-n: checkpoints need a folder" &&
    ends 1 "$run" 2 "$train" "${base[@]}" -y 1 && errors_are 1 "-y: give the folder"
}
bad_output_folder() {
  refused 1 "-o train.bin/log" "Not a directory" -- -o train.bin/log && refused 1 "-o train.bin" "is a file" -- -o train.bin &&
    refused 1 "-o: the directory's name is empty" -- -o ""
}
unwritable_output_folder() {
  mkdir -p locked && chmod 555 locked
  local folder
  for folder in locked /sys /proc/sys; do # to root only what is mounted read-only is locked
    [ -w $folder ] || break
  done
  why="this user may write everywhere"
  [ ! -w $folder ] || return 77
  refused 1 "-o $folder/log" "cannot write in $folder" -- -o $folder/log
}
# What root's permissions hide: no file can be made there.
impossible_output_folder() {
  refused 1 "-o /proc" "cannot be" -- -o /proc && refused 1 "-o /proc/zero_c" "cannot be" -- -o /proc/zero_c
}
full_disk() {
  mkdir -p disk
  why="a tmpfs cannot be mounted here"
  mount -t tmpfs -o size=64k tmpfs disk 2> /dev/null || return 77
  local code=0
  refused 1 "-o disk/log" "a checkpoint (-n) needs 0.3" -- -o disk/log -n 1 || code=1
  head -c 64K /dev/zero > disk/large
  [ $code = 0 ] && refused 1 "-o disk/log" "No space left on device" -- -o disk/log || code=1
  umount disk
  return $code
}
several_errors() {
  refused 3 "-b: 0 is" "-l: 'x' is" "--frobnicate: unknown" -- -b 0 -l x --frobnicate 1 &&
    refused 5 "-t: found 64" "-i none.bin" "-j magic.bin" "--tokenizer none.bin" "-o train.bin" -- \
      -t 64 -i none.bin -j magic.bin --tokenizer none.bin -o train.bin &&
    printf '{"zero_optimization": {"stage": 7}, "wings": 2}' > several.json &&
    refused 3 "stage" "wings" "3 heads" -- --config several.json -e L=1,H=3,C=32,T=32
}
bad_transport() {
  ZERO_COMM=bogus refused 1 "ZERO_COMM" "'bogus'" "shm, mpi" -- || return 1
  ends 1 ranks 2 bogus "${base[@]}" -o out && errors_are 1 "'bogus'" || return 1
  ends 1 env ZERO_COMM=self "$run" 2 "$train" "${base[@]}" -o out && errors_are 1 "ZERO_COMM: self" "2 were started"
}
little_shared_memory() {
  for limit in 1000 2000000; do # too little for the first window; for the engine's
    ZERO_SHM_LIMIT=$limit ends 1 ranks 2 shm "${base[@]}" -o out -e L=2,H=2,C=128,T=32,V=80 &&
      errors_are 1 "shared memory" "$limit bytes" "ZERO_COMM=mpi" || return 1
    is "folder out" "$(ls -d out 2> /dev/null)" "" || return 1
    # Not forced: a note, and the job goes on with mpi.
    ZERO_SHM_LIMIT=$limit ends 0 ranks 2 "" "${base[@]}" -e L=2,H=2,C=128,T=32,V=80 &&
      is "notes in '$output'" "$(grep -c '^note: using transport mpi: shared memory' <<< "$output")" 1 &&
      has "output" "$output" "| comm mpi |" && is "steps" "$(grep -c '^step ' <<< "$output")" 1 || return 1
  done
}
no_data() {
  mkdir -p empty
  for np in 1 3; do
    if [ $np = 1 ]; then command=("$train"); else command=("$run" $np "$train"); fi
    ends 1 env -C empty "${command[@]}" && errors_are 1 "make demo" "prepare_text.py" &&
      is "lines printed" "$(wc -l <<< "$output")" 1 && is "files" "$(ls empty)" "" || return 1
  done
}

# ---------------------------------------------------------------- what is accepted

flags=(-i -j --tokenizer -e -o -b -t -d -x -k -l -u -q -c --beta1 --beta2 --eps --clip -v -m -s -g -z --zero-stage --dtype
  --deterministic --stochastic-rounding --seed --threads --state-hash -pi -pn -pr -pg -ps -pf --help --version)
ignored=(-f -w -ge -lg)

help_text() {
  for np in 1 2; do
    if [ $np = 1 ]; then command=("$train"); else command=("$run" $np "$train"); fi
    ends 0 "${command[@]}" -x words --help || return 1
    for flag in "${flags[@]}" "${ignored[@]}"; do
      is "lines that explain $flag on $np ranks" "$(grep -cE -- "^  (-[a-z0-9-]+, )?$flag( |,)" <<< "$output")" 1 || return 1
    done
  done
}
version() {
  ends 0 "$train" --version && why="'$output' is no version" && grep -qxE 'train_gpt2 [0-9]+\.[0-9]+\.[0-9]+' <<< "$output" &&
    ends 0 "$run" 2 "$train" --version && is "lines on 2 ranks" "$(wc -l <<< "$output")" 1
}
every_flag() {
  ends 0 ranks 2 shm -i train.bin -j val.bin --tokenizer tokenizer.bin -e L=1,H=2,C=32,T=32,V=80 -o all -b 2 -t 16 -d 128 -x 2 \
    -k linear -l 1e-3 -u 1 -q 0.1 -c 0.1 --beta1 0.8 --beta2 0.99 --eps 1e-7 --clip 0.5 -v 1 -m 2 -s 1 -g 2 -z 1 --zero-stage=2 \
    --dtype fp32 --deterministic 1 --stochastic-rounding 1 --seed 9 --threads 1 --state-hash 1 -pi mpi -pn 2 -pg 2 &&
    has "output" "$output" "run: 2 ranks x 1 threads | stage 2 | comm shm | fp32 | deterministic 1 | batch 8 = 2 x 2 x 2" &&
    has "output" "$output" "AdamW lr 0.001 betas 0.8 0.99 eps 1e-07 decay 0.1 clip 0.5 | linear, warmup 1 of 2 steps, final 0.1 | seed 9" &&
    has "output" "$output" "note: stochastic rounding has no effect in fp32" &&
    is "lines of hashes, validation, samples" "$(grep -cE '^(step [0-9]+ state|val loss|generating)' <<< "$output")" $((2 + 3 + 2)) &&
    is "lines of main.log" "$(wc -l < all/main.log)" $((2 + 3))
}
ignored_flags() {
  local arguments=()
  for flag in "${ignored[@]}"; do arguments+=("$flag" 1); done
  ends 0 ranks 3 shm "${base[@]}" "${arguments[@]}" || return 1
  for flag in "${ignored[@]}"; do
    is "notices for $flag" "$(grep -cE -- "^notice: $flag " <<< "$output")" 1 || return 1
  done
}
last_flag_wins() {
  ends 0 ranks 1 self "${base[@]}" -x 3 -z 1 -x 2 --zero-stage 3 && has "output" "$output" "| stage 3 |" &&
    is "steps" "$(grep -c '^step .*/2 ' <<< "$output")" 2
}
no_steps() {
  for np in 1 3; do
    ends 0 ranks $np "" "${base[@]}" -x 0 -o none && is "steps" "$(grep -c '^step ' <<< "$output")" 0 &&
      is "validations" "$(grep -c '^val loss ' <<< "$output")" 1 &&
      is "main.log" "$(sed 's/:[0-9.]*$//' none/main.log)" "s:0 tel" || return 1
    rm -r none
  done
}
off_is_off() {
  ends 0 ranks 2 shm "${base[@]}" -x 2 -v 0 -s 0 &&
    is "validations and samples" "$(grep -cE '^(val loss|generating)' <<< "$output")" 0
}
older_log() {
  ends 0 ranks 2 shm "${base[@]}" -x 1 -o old && cp old/main.log first.log &&
    ends 0 ranks 2 shm "${base[@]}" -x 2 -o old && cp old/main.log second.log &&
    ends 0 ranks 2 shm "${base[@]}" -x 3 -o old || return 1
  is "files" "$(cd old && echo *)" "main.log main.log.1 main.log.2" &&
    is "lines" "$(wc -l < old/main.log)" $((3 + 4)) || return 1
  why="the older logs were changed"
  cmp -s old/main.log.1 first.log && cmp -s old/main.log.2 second.log
}

# ---------------------------------------------------------------- a killed rank

children() { ps -o pid= --ppid "$1" | xargs; }
gone() { case $(ps -o stat= -p "$1") in "" | Z*) return 0 ;; *) return 1 ;; esac; }

killed_rank() { # killed_rank COMM STAGE WHICH: the rank that was started as number WHICH, from 1
  local job launcher pids tries=0 start code=0
  rm -f killed.out # or the one before would be read
  ZERO_COMM=$1 "$run" 3 "$train" "${base[@]}" -z "$2" -x 1000000 -v 0 > killed.out 2>&1 < /dev/null &
  job=$!
  while ! grep -qs '^step *3/' killed.out && [ $((tries += 1)) -lt 300 ]; do sleep 0.1; done
  launcher=$(ps -o pid=,comm= --ppid $job | awk '$2 ~ /mpirun|orterun/ { print $1 }')
  read -ra pids <<< "$(children "$launcher")"
  is "ranks that run" "${#pids[@]}" 3 || return 1
  start=$SECONDS
  kill -9 "${pids[$(($3 - 1))]}"
  wait $job || code=$?
  is "exit code" $code 137 || return 1
  why="it took $((SECONDS - start)) s"
  [ $((SECONDS - start)) -le 15 ] || return 1
  for pid in "${pids[@]}"; do why="rank $pid still runs" && gone "$pid" || return 1; done
  is "error lines" "$(grep -c '^error: .*signal KILL' killed.out)" 1
}

# Ranks that share cores are not measured against more than the cores can do: were each rank's own peak counted, three
# times the ranks would print three times the peak.
shared_cores() {
  local cores alone
  cores=$(nproc)
  why="$cores cores, $((3 * cores)) ranks are too many" && [ "$cores" -le 8 ] || return 77
  ends 0 "$run" "$cores" "$train" "${base[@]}" || return 1
  alone=$(sed -n 's/^matrix multiply peak: \([0-9.]*\) .*all ranks$/\1/p' <<< "$output")
  ends 0 "$run" $((3 * cores)) "$train" "${base[@]}" || return 1
  near "GFLOP/s" "$(sed -n 's/^matrix multiply peak: \([0-9.]*\) .*take turns on the cores$/\1/p' <<< "$output")" "$alone" 0.9
}

# The engine's misuse (test_misuse.c) on several ranks.
misuse() {
  local binary="$root/${BUILD:-build}/test_misuse"
  for name in missing_done three_units_gathered; do
    for comm in shm mpi; do
      ends 2 env ZERO_COMM=$comm "$run" 3 "$binary" $name &&
        has "output" "$output" "error: rank " && has "output" "$output" "unit " || return 1
    done
  done
}

test_case "accepted: 1 rank" valid 1 self
test_case "accepted: 3 ranks" valid 3 shm
test_case "refused: training data" bad_data
test_case "refused: validation data" bad_validation_data
test_case "refused: tokenizer" bad_tokenizer
test_case "refused: model file" bad_model_file
test_case "refused: shape and batch" bad_shape
test_case "refused: flags" bad_flags
test_case "refused: configuration file" bad_config_file
test_case "refused: checkpoint" bad_checkpoint
test_case "refused: checkpoints without a folder" no_folder
test_case "refused: output folder" bad_output_folder
test_case "refused: unwritable output folder" unwritable_output_folder
test_case "refused: a folder where nobody can write" impossible_output_folder
test_case "refused: full disk" full_disk
test_case "refused: several errors, all shown" several_errors
test_case "refused: transport" bad_transport
test_case "little shared memory" little_shared_memory
test_case "no data" no_data
test_case "help" help_text
test_case "version" version
test_case "every flag" every_flag
test_case "flags of llm.c that mean nothing" ignored_flags
test_case "the last of a repeated flag wins" last_flag_wins
test_case "a tokenizer without end of text" no_end_of_text
test_case "no steps" no_steps
test_case "off is off" off_is_off
test_case "an older log is kept" older_log
test_case "a killed rank, shm" killed_rank shm 2 3
test_case "a killed rank, mpi" killed_rank mpi 3 1
test_case "ranks that share cores" shared_cores
test_case "misuse ends all ranks" misuse

finish
