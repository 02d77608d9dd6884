#!/usr/bin/env bash
# Tests of data/prepare_text.py, scripts/run.sh and scripts/install_deps.sh.
# shellcheck disable=SC2016 # single quotes: the ranks' shells expand what is in them
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
prepare="$root/data/prepare_text.py"
deps="$root/scripts/install_deps.sh"

# fails CODE TEXT COMMAND...: the exit code, and one line on stderr that begins `error: ` and has the text.
fails() {
  local expected=$1 text=$2 code=0 output
  shift 2
  output=$("$@" 2>&1 > /dev/null < /dev/null) || code=$?
  is "exit code of '$*'" "$code" "$expected" || return 1
  is "error lines of '$*' in '$output'" "$(grep -c '^error: ' <<< "$output")" 1 || return 1
  why="'$*' printed '$output', expected '$text' in it"
  grep -qF -- "$text" <<< "$output"
}

# ints FILE COUNT SKIP: int32 values; tokens FILE: the uint16 tokens after the header.
ints() { od -An -v -t d4 -j "$3" -N "$((4 * $2))" "$1" | xargs; }
tokens() { od -An -v -t u2 -j 1024 "$1" | xargs; }
hex() { od -An -v -t x1 -j 1024 "$1" | xargs; }

# ---------------------------------------------------------------- data/prepare_text.py

# Ten characters, five different: newline, a, b, é (2 bytes), 中 (3 bytes), in this order.
small_text='ab\na\0303\0251b\0344\0270\0255b\na'

characters() {
  printf '%b' "$small_text" > small.txt
  python3 "$prepare" --input small.txt --output out/small --val-fraction 0.3 > log || return 1
  is "train header" "$(ints out/small_train.bin 4 0)" "20240520 1 7 0" &&
    is "rest of the train header" "$(ints out/small_train.bin 253 12 | tr ' ' '\n' | sort -u)" 0 &&
    is "train tokens" "$(tokens out/small_train.bin)" "1 2 0 1 3 2 4" &&
    is "train size" "$(stat -c %s out/small_train.bin)" $((1024 + 14)) &&
    is "val header" "$(ints out/small_val.bin 4 0)" "20240520 1 3 0" &&
    is "val tokens" "$(tokens out/small_val.bin)" "2 0 1" &&
    is "tokenizer header" "$(ints out/small_tokenizer.bin 5 0)" "20240328 2 5 0 0" &&
    is "tokenizer body" "$(hex out/small_tokenizer.bin)" "01 0a 01 61 01 62 02 c3 a9 03 e4 b8 ad" &&
    is "files left" "$(echo out/*)" "out/small_tokenizer.bin out/small_train.bin out/small_val.bin" &&
    is "summary" "$(grep -c -e '^text .* 10 characters$' -e '^vocabulary .* 5 tokens' -e 'V=5 ' log)" 3
}

end_of_text_is_newline() {
  printf 'ab\tab\nab\tab' > tab.txt # the tab sorts before the newline
  python3 "$prepare" --input tab.txt --output out/tab > /dev/null || return 1
  # int(0.9 * 11) of the 11 characters train, two are left
  is "tokenizer header" "$(ints out/tab_tokenizer.bin 4 0)" "20240328 2 4 1" &&
    is "tokens" "$(tokens out/tab_train.bin) $(tokens out/tab_val.bin)" "2 3 0 2 3 1 2 3 0 2 3"
}

bytes() {
  printf '\377\000a\nb\303' > raw.bin
  python3 "$prepare" --input raw.bin --output raw --tokens bytes --val-fraction 0.4 > /dev/null || return 1
  is "tokenizer header" "$(ints raw_tokenizer.bin 4 0)" "20240328 2 256 10" &&
    is "tokenizer size" "$(stat -c %s raw_tokenizer.bin)" $((1024 + 512)) &&
    is "tokenizer's last token" "$(hex raw_tokenizer.bin | tail -c 6)" "01 ff" &&
    is "tokens" "$(tokens raw_train.bin) | $(tokens raw_val.bin)" "255 0 97 | 10 98 195"
}

two_files() {
  printf 'abc' > one.txt
  printf 'cbaab' > two.txt
  printf 'abccbaab' > both.txt
  python3 "$prepare" --input one.txt two.txt --output joined --val-fraction 0.5 > /dev/null &&
    python3 "$prepare" --input both.txt --output whole --val-fraction 0.5 > /dev/null || return 1
  is "tokens" "$(tokens joined_train.bin)" "0 1 2 2" || return 1
  for part in train val tokenizer; do
    why="joined_$part.bin differs from whole_$part.bin"
    cmp -s "joined_$part.bin" "whole_$part.bin" || return 1
  done
}

byte_order_mark() { # at the start of a file it is no character of the text
  printf '\357\273\277abc' > one_marked.txt
  printf '\357\273\277cba\357\273\277ab' > two_marked.txt
  python3 "$prepare" --input one_marked.txt two_marked.txt --output marked --val-fraction 0.5 > /dev/null || return 1
  is "tokens" "$(tokens marked_train.bin) $(tokens marked_val.bin)" "0 1 2 2 1 0 3 0 1" || return 1
  printf '\357\273\277a\377' > latin_marked.txt
  fails 1 "latin_marked.txt: not UTF-8 at byte 4" python3 "$prepare" --input latin_marked.txt --output bad_mark
}

default_split() { # nanoGPT: the first int(0.9 n)
  head -c 1999 /dev/zero | tr '\0' 'x' > x.txt
  python3 "$prepare" --input x.txt --output x > /dev/null || return 1
  is "tokens" "$(ints x_train.bin 1 8) $(ints x_val.bin 1 8)" "1799 200"
}

same_bytes_twice() {
  head -c 20000 "$prepare" > text.txt
  python3 "$prepare" --input text.txt --output first > log1 && python3 "$prepare" --input text.txt --output second > log2 ||
    return 1
  for part in train val tokenizer; do
    why="two runs wrote different ${part} files"
    cmp -s "first_$part.bin" "second_$part.bin" || return 1
  done
}

demo_text() {
  why="the package bible-kjv is not installed"
  command -v bible > /dev/null || return 77
  why="a command in it failed"
  python3 "$prepare" --demo --output demo > log || return 1
  is "header" "$(ints demo_train.bin 3 0) $(ints demo_val.bin 3 0)" "20240520 1 1003854 20240520 1 111540" &&
    is "vocabulary" "$(ints demo_tokenizer.bin 2 8)" "72 0" &&
    is "notices" "$(grep -c notice log)" 0 || return 1
  # Decoded, the two splits are the text again, bit by bit.
  python3 - > decoded <<- 'END'
		import array, sys
		pieces = open("demo_tokenizer.bin", "rb").read()[1024:]
		words = []
		while pieces:
		    words.append(pieces[1:1 + pieces[0]])
		    pieces = pieces[1 + pieces[0]:]
		for name in ("demo_train.bin", "demo_val.bin"):
		    tokens = array.array("H", open(name, "rb").read()[1024:])
		    sys.stdout.buffer.write(b"".join(words[t] for t in tokens))
	END
  bible -f gen1:1-rev22:21 | head -c 1115394 > expected
  why="the decoded splits differ from the text"
  cmp -s decoded expected
}

bad_input() {
  printf 'a\377b' > latin.txt
  printf 'abcdefghij' > short.txt
  : > empty.txt
  python3 -c 'print("".join(map(chr, list(range(32, 0xD800)) + list(range(0xE000, 0x12900)))))' > large.txt
  fails 1 "nowhere.txt: No such file" python3 "$prepare" --input short.txt nowhere.txt --output bad &&
    fails 1 "empty.txt: the file is empty" python3 "$prepare" --input empty.txt --output bad &&
    fails 1 "latin.txt: not UTF-8 at byte 1; convert it to UTF-8, or give --tokens bytes" \
      python3 "$prepare" --input short.txt latin.txt --output bad &&
    fails 1 "both need 2 or more" python3 "$prepare" --input short.txt --output bad &&
    fails 1 "different characters and a token file can name 65,535; give --tokens bytes" \
      python3 "$prepare" --input large.txt --output bad &&
    fails 1 "one of the arguments --demo --input is required" python3 "$prepare" &&
    fails 1 "not allowed with argument" python3 "$prepare" --demo --input short.txt &&
    fails 1 "unrecognized arguments: --bogus" python3 "$prepare" --input short.txt --bogus &&
    fails 1 "invalid choice" python3 "$prepare" --input short.txt --tokens words &&
    fails 1 "--val-fraction: 1.5 found" python3 "$prepare" --input short.txt --val-fraction 1.5 &&
    fails 1 "--output: short.txt/bad_train.bin: " \
      python3 "$prepare" --input short.txt --val-fraction 0.5 --output short.txt/bad || return 1
  is "files written" "$(find . -name 'bad*' | wc -l)" 0
}

nothing_half_written() {
  printf 'abcdefghij' > ten.txt
  mkdir -p half_tokenizer.bin # the last rename cannot work
  fails 1 "--output: " python3 "$prepare" --input ten.txt --val-fraction 0.5 --output half || return 1
  is "temporary files left" "$(find . -name 'half*.tmp*' | wc -l)" 0 || return 1
  # Of two killed runs and one that still writes; no process has such a large number.
  touch again_train.bin.tmp{999999998,999999999,$$,12x}
  python3 "$prepare" --input ten.txt --val-fraction 0.5 --output again > /dev/null &&
    is "temporary files left" "$(printf '%s\n' again*.tmp* | sort | xargs)" \
      "$(printf '%s\n' again_train.bin.tmp{12x,$$} | sort | xargs)"
}

no_bible() {
  mkdir -p empty_path
  ln -sf "$(python3 -c 'import sys; print(sys.executable)')" empty_path/python3
  fails 1 "install the package bible-kjv with \`make deps\`" env PATH="$work/empty_path" python3 "$prepare" --demo \
    --output nobible || return 1
  fails 1 "--input FILE" env PATH="$work/empty_path" python3 "$prepare" --demo --output nobible || return 1
  printf '#!/bin/sh\necho too short\n' > empty_path/bible
  chmod +x empty_path/bible
  fails 1 "gave 10 bytes instead of 1,115,394" env PATH="$work/empty_path" python3 "$prepare" --demo --output nobible ||
    return 1
  is "files written" "$(find . -name 'nobible*' | wc -l)" 0
}

help_text() { python3 "$prepare" --help > log && why="no usage in it" && grep -q -- --val-fraction log; }

# ---------------------------------------------------------------- scripts/run.sh

run_starts_ranks() {
  is "lines of 5 ranks" "$("$run" 5 sh -c 'echo "$OMPI_COMM_WORLD_SIZE $1"' - "two words" | sort | uniq -c | xargs)" \
    "5 5 two words"
}

run_passes_exit_code() {
  "$run" 2 sh -c 'exit 3' > log 2>&1
  is "exit code" $? 3 && is "output" "$(cat log)" ""
}

run_killed_rank() {
  local start=$SECONDS
  fails 137 "ended by signal KILL" "$run" 2 sh -c 'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then kill -9 $$; fi; exec sleep 60' ||
    return 1
  why="it took $((SECONDS - start)) s"
  [ $((SECONDS - start)) -lt 15 ]
}

run_stopped() {
  "$run" 2 sh -c 'echo $$ >> pids; exec sleep 60' &
  local job=$! tries=0
  : > pids
  while [ "$(wc -l < pids)" -lt 2 ] && [ $((tries += 1)) -lt 100 ]; do sleep 0.1; done
  kill -TERM "$job"
  wait "$job"
  is "exit code" $? 143 || return 1
  for pid in $(< pids); do
    why="rank $pid still runs"
    # the state follows the name in parentheses; Z: ended
    case $(sed 's/.*) //' "/proc/$pid/stat" 2> /dev/null) in "" | Z*) ;; *) return 1 ;; esac
  done
}

run_bad_arguments() {
  printf 'not a program' > plain
  mkdir -p no_mpirun
  for tool in bash env id basename; do ln -sf "$(command -v $tool)" "no_mpirun/$tool"; done
  fails 1 "0 arguments found; usage:" "$run" &&
    fails 1 "1 arguments found; usage:" "$run" 4 &&
    fails 1 "NP: 'four' found" "$run" four true &&
    fails 1 "NP: '0' found" "$run" 0 true &&
    fails 1 "NP: '-2' found" "$run" -2 true &&
    fails 1 "at most 9999" "$run" 123456 true &&
    fails 1 "'./train_gpt2' not found; build it with: make train_gpt2" "$run" 2 ./train_gpt2 &&
    fails 1 "'./plain' is not an executable program" "$run" 2 ./plain &&
    fails 1 "mpirun not found; install Open MPI with: make deps" env PATH="$work/no_mpirun" "$run" 2 bash
}

# ---------------------------------------------------------------- scripts/install_deps.sh

# A folder of stand-ins: dpkg-query that knows no package but gcc, apt-get that writes down its calls and
# cannot install bible-kjv, id that is root or not.
stand_ins() {
  rm -rf fake calls && mkdir fake
  printf '#!/bin/sh\nprintf "gcc:installed make:config-files "\nexit 1\n' > fake/dpkg-query
  printf '#!/bin/sh\necho "$*" >> calls\ncase "$*" in *bible*) echo no such package; exit 100;; esac\n' > fake/apt-get
  printf '#!/bin/sh\necho %s\n' "$1" > fake/id
  chmod +x fake/*
}

deps_nothing_missing() {
  "$deps" --check > log 2>&1
  case $? in
    0) is "output" "$(cat log)" "" ;;
    1) is "start of the output" "$(head -c 9 log)" "missing: " ;;
    *) why="another exit code than 0 and 1" && return 1 ;;
  esac
}

# What the script needs and the stand-ins do not have: all but gcc, and python3, which need not be a package.
venv=$(python3 -c 'import ensurepip' 2> /dev/null || echo ' python3-venv')
needed=$(sed -n 's/^required="\(.*\)"$/\1/p' "$deps" | tr ' ' '\n' | grep -vxE 'gcc|python3' | xargs)

deps_check() {
  stand_ins 0
  PATH="$work/fake:$PATH" "$deps" --check > log 2>&1
  is "exit code" $? 1 &&
    is "output" "$(cat log)" "missing: $needed bible-kjv clang-format$venv" && is "calls of apt-get" "$(cat calls 2> /dev/null)" "" || return 1
  PATH="$work/fake:$PATH" "$deps" --check --without-mpi > log 2>&1
  local code=$?
  is "exit code without MPI" $code 1 &&
    is "output without MPI" "$(cat log)" "missing: $(sed 's/openmpi-bin libopenmpi-dev //' <<< "$needed") bible-kjv clang-format$venv"
}

deps_as_root() {
  stand_ins 0
  PATH="$work/fake:$PATH" "$deps" > log 2>&1 < /dev/null
  is "exit code" $? 0 &&
    is "calls of apt-get" "$(sed 's/--no-install-recommends//' calls | xargs)" "-qq update \
-qq install -y $needed -qq install -y bible-kjv -qq install -y clang-format${venv:+ -qq install -y$venv}" &&
    is "lines on bible-kjv" "$(grep -c 'going on without bible-kjv' log)" 1
}

deps_as_user() {
  stand_ins 1000
  printf '#!/bin/sh\necho sudo >> calls\n"$@"\n' > fake/sudo
  chmod +x fake/sudo
  fails 1 "no terminal to ask on; run: sudo apt-get update && sudo apt-get install -y" \
    env PATH="$work/fake:$PATH" "$deps" || return 1
  is "calls" "$(cat calls 2> /dev/null)" "" || return 1
  # `script` gives it a terminal
  why="script cannot give it a terminal here"
  script -qec true /dev/null > /dev/null 2>&1 || return 77
  echo n | PATH="$work/fake:$PATH" script -qec "$deps" /dev/null > log
  is "calls after the answer no" "$(cat calls 2> /dev/null)" "" &&
    is "questions" "$(grep -c 'Install them with sudo apt-get?' log)" 1 || return 1
  echo y | PATH="$work/fake:$PATH" script -qec "$deps" /dev/null > log
  is "calls of sudo after the answer yes" "$(grep -c sudo calls)" 4
}

deps_bad_usage() {
  mkdir -p no_dpkg && ln -sf "$(command -v bash)" "$(command -v env)" no_dpkg/
  fails 1 "'--bogus' found; the options are --check and --without-mpi" "$deps" --bogus &&
    fails 1 "this is not Debian or Ubuntu" env PATH="$work/no_dpkg" "$deps"
}

test_case "data: characters" characters
test_case "data: end of text is the newline" end_of_text_is_newline
test_case "data: bytes" bytes
test_case "data: two files" two_files
test_case "data: byte order mark" byte_order_mark
test_case "data: default split" default_split
test_case "data: same bytes twice" same_bytes_twice
test_case "data: demo text" demo_text
test_case "data: bad input" bad_input
test_case "data: nothing half-written" nothing_half_written
test_case "data: no bible" no_bible
test_case "data: help" help_text
test_case "run.sh: starts ranks" run_starts_ranks
test_case "run.sh: passes the exit code on" run_passes_exit_code
test_case "run.sh: a killed rank" run_killed_rank
test_case "run.sh: stopped" run_stopped
test_case "run.sh: bad arguments" run_bad_arguments
test_case "install_deps.sh: this machine" deps_nothing_missing
test_case "install_deps.sh: --check" deps_check
test_case "install_deps.sh: as root" deps_as_root
test_case "install_deps.sh: as a user" deps_as_user
test_case "install_deps.sh: bad usage" deps_bad_usage

finish
