#!/usr/bin/env bash
# Tests of the scripts in data/ that prepare data sets, against a server on this machine that serves small files in the
# data sets' formats and names; and of train_gpt2's check of their checksums.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
data="$root/data"
python="$data/.venv/bin/python3"
helpers="$root/dev/test"
fineweb_files=datasets/HuggingFaceFW/fineweb/sample/10BT

# What needs the packages of data/requirements.txt is skipped where they cannot be installed.
no_packages=
python3 "$data/environment.py" > environment.log 2>&1 ||
  no_packages="data/.venv cannot be made: $(grep -m 1 '^error: ' environment.log)"
with_packages() { # with_packages FUNCTION
  if [ -n "$no_packages" ]; then
    why=$no_packages
    return 77
  fi
  "$@"
}

# fails CODE TEXT COMMAND...: the exit code, and one line on stderr that begins `error: ` and has the text.
fails() {
  local expected=$1 text=$2 code=0 output
  shift 2
  output=$("$@" 2>&1 > log < /dev/null) || code=$?
  is "exit code of '$*'" "$code" "$expected" || return 1
  is "error lines of '$*' in '$output'" "$(grep -c '^error: ' <<< "$output")" 1 || return 1
  has "'$*'" "$output" "$text"
}

# ---------------------------------------------------------------- the server

server=
start_server() { # serves $work/hub; its port in $port
  rm -f hub/port
  "$python" "$helpers/data_server.py" hub > server.log 2>&1 &
  server=$!
  until_true 100 test -s hub/port || return 1
  port=$(< hub/port)
  url="http://127.0.0.1:$port"
}

stop_server() {
  [ -z "$server" ] || kill "$server" 2> /dev/null
  server=
}
trap 'stop_server; rm -rf "$work"' EXIT

# until_true TENTHS COMMAND...: waits until the command succeeds
until_true() {
  local left=$1
  shift
  until "$@" 2> /dev/null; do
    [ $((left -= 1)) -gt 0 ] || return 1
    sleep 0.1
  done
}

# fault JSON: from now on, with an empty list of requests
fault() {
  printf '%s' "$1" > hub/faults.new && mv hub/faults.new hub/faults.json
  : > hub/requests.log
}

# The Python of data/.venv at once: `usage` starts the scripts with a plain python3. as=exec: no shell stays between.
as=
shakespeare() { # shakespeare OUTPUT [ARGUMENTS]
  local output=$1
  shift
  $as "$python" "$data/tiny_shakespeare.py" --url "$url/input.txt" --sha256 "$(sha256sum < hub/input.txt | cut -d' ' -f1)" \
    --output "$output" --workers 1 "$@"
}
fineweb() { # fineweb OUTPUT [ARGUMENTS]
  local output=$1
  shift
  $as "$python" "$data/fineweb.py" --endpoint "$url" --output "$output" --shard-tokens 20000 "$@"
}

# same FOLDER FOLDER: the same shards, checksums and tokenizer, byte for byte
same() {
  local file count=0
  for file in "$1"/*.bin "$1"/*.xxh3; do
    why="$file differs from the one in $2"
    cmp -s "$file" "$2/$(basename "$file")" || return 1
    count=$((count + 1))
  done
  is "files in $2" "$(find "$2" -maxdepth 1 -name '*.bin*' | wc -l)" "$count"
}

# are_tokens_of TEXTS.json SHARD...: by two independent encoders
are_tokens_of() {
  TIKTOKEN_CACHE_DIR="$work/tiktoken" "$python" "$helpers/check_tokens.py" "$data/r50k_base.tiktoken" "$@"
}

ints() { od -An -v -t d4 -j "$3" -N "$((4 * $2))" "$1" | xargs; }
first_token() { od -An -t u2 -j 1024 -N 2 "$1" | xargs; }

# ---------------------------------------------------------------- usage

usage() {
  local script
  for script in tiny_shakespeare tinystories fineweb; do
    why="$script.py --help"
    python3 "$data/$script.py" --help | grep -q -- --input || return 1
    fails 1 "unrecognized arguments: --bogus" python3 "$data/$script.py" --bogus &&
      fails 1 "argument --workers: 0 found; give 1 or more" python3 "$data/$script.py" --workers 0 || return 1
  done
  fails 1 "argument --shard-tokens: 1 found" python3 "$data/fineweb.py" --shard-tokens 1 &&
    fails 1 "argument --discard: found with --input" python3 "$data/fineweb.py" --input web --discard &&
    fails 1 "invalid choice" python3 "$data/fineweb.py" --version 1T
}

no_room() { # a folder of scripts in which nothing can be made: its lock is a folder already, which stops root too
  mkdir -p fixed/.venv.lock && cp "$data"/*.py "$data"/requirements*.txt fixed
  fails 1 "fixed/.venv.lock: Is a directory; make fixed a folder that you can write to" python3 fixed/environment.py ||
    return 1
  [ -n "$no_packages" ] || { ln -s "$data/.venv" fixed/.venv && python3 fixed/environment.py; } # somebody else made it
}

# ---------------------------------------------------------------- downloads

complete() {
  fault '{}'
  shakespeare whole > log || return 1
  is "requests" "$(cat hub/requests.log)" "/input.txt - 200" &&
    is "val header" "$(ints whole/tiny_shakespeare_val.bin 3 0)" "20240520 1 32768" &&
    is "first tokens" "$(first_token whole/tiny_shakespeare_val.bin)" 50256 &&
    is "tokenizer header" "$(ints whole/gpt2_tokenizer.bin 4 0)" "20240328 2 50257 50256" &&
    is "files" "$(cd whole && echo *)" "gpt2_tokenizer.bin manifest.json tiny_shakespeare.txt tiny_shakespeare_train.bin \
tiny_shakespeare_train.bin.xxh3 tiny_shakespeare_val.bin tiny_shakespeare_val.bin.xxh3" || return 1
  # A section with the blank line after it is a document.
  "$python" -c 'import json
parts = open("hub/input.txt").read().split("\n\n")
json.dump([part + "\n\n" for part in parts[:-1]] + parts[-1:], open("sections.json", "w"))'
  are_tokens_of sections.json whole/tiny_shakespeare_{val,train}.bin > log 2>&1 ||
    { why=$(cat log) && return 1; }
}

connection_cut() { # twice; the same run goes on after the last whole piece of 32,768 bytes
  fault '{"input.txt": {"cut": 70000, "times": 2}}'
  shakespeare cut > log || return 1
  is "requests" "$(cut -d' ' -f2- hub/requests.log | xargs)" "- 200 bytes=65536- 206 bytes=131072- 206" &&
    has "output" "$(cat log)" "trying again in 1 s" && same whole cut
}

killed_in_download() {
  local job
  fault '{"input.txt": {"stall": 100000}}'
  as='exec' shakespeare killed > log 2>&1 &
  job=$!
  part_is() { [ "$(stat -c %s killed/tiny_shakespeare.txt.part)" = 98304 ]; }
  why="the download did not begin"
  until_true 100 part_is || return 1
  kill -9 $job && wait $job 2> /dev/null
  fault '{}'
  shakespeare killed > log || return 1
  has "output" "$(cat log)" "input.txt from byte 98,304" &&
    is "requests" "$(cut -d' ' -f2- hub/requests.log | xargs)" "bytes=98304- 206" && same whole killed
}

range_ignored() { # a server that sends all from the start again
  mkdir -p ignored
  head -c 50000 hub/input.txt | tr '[:lower:]' '[:upper:]' > ignored/tiny_shakespeare.txt.part
  fault '{"input.txt": {"no_range": true}}'
  shakespeare ignored > log || return 1
  is "requests" "$(cut -d' ' -f2- hub/requests.log | xargs)" "bytes=50000- 200" && same whole ignored
}

old_part() { # the beginning of another file is noticed, and the file is downloaded anew
  mkdir -p old
  head -c 50000 hub/input.txt | tr '[:lower:]' '[:upper:]' > old/tiny_shakespeare.txt.part
  fault '{}'
  shakespeare old > log || return 1
  is "requests" "$(cut -d' ' -f2- hub/requests.log | xargs)" "bytes=50000- 206 - 200" &&
    has "output" "$(cat log)" "downloading it anew" && same whole old
}

corrupted() {
  fault '{"input.txt": {"corrupt": 77777}}'
  fails 1 "bad/tiny_shakespeare.txt: the download is corrupted: its SHA-256 is" shakespeare bad || return 1
  is "files left" "$(ls bad)" "" || return 1
  fault '{"001_00000.parquet": {"corrupt": 5000}}'
  fails 1 "bad_web/parquet/001_00000.parquet: the download is corrupted: its SHA-256 is" fineweb bad_web --workers 1 || return 1
  is "files left" "$(find bad_web -name '001_*')" ""
}

another_source() { # what is there is not taken for another file, of the same size too
  fault '{}'
  tr '[:lower:]' '[:upper:]' < hub/input.txt > hub/other.txt
  local other=(--url "$url/other.txt" --sha256 "$(sha256sum < hub/other.txt | cut -d' ' -f1)")
  mkdir -p another && cp hub/input.txt another/tiny_shakespeare.txt
  shakespeare another "${other[@]}" > log || return 1
  has "output" "$(cat log)" "another/tiny_shakespeare.txt: another file than $url/other.txt, by its SHA-256" &&
    is "requests" "$(cat hub/requests.log)" "/other.txt - 200" || return 1
  "$python" "$data/tiny_shakespeare.py" --input hub/other.txt --output upper --workers 1 > log && same upper another ||
    return 1
  { printf '\xef\xbb\xbf' && cat hub/other.txt; } > hub/marked.txt # a byte-order mark is no part of the text
  "$python" "$data/tiny_shakespeare.py" --input hub/marked.txt --output marked --workers 1 > log && same upper marked ||
    return 1
  cp -r whole begun
  fails 1 "this folder was begun with other files: ('tiny_shakespeare.txt', " shakespeare begun "${other[@]}" &&
    same whole begun
}

server_trouble() {
  fault '{"input.txt": {"status": 503, "times": 1}}'
  shakespeare busy > log || return 1
  has "output" "$(cat log)" "the server answered 503" && same whole busy || return 1
  fails 1 "/nothing.txt: the server answered 404 Not Found; download it in another way and give it by --input" \
    shakespeare none --url "$url/nothing.txt" &&
    fails 1 "give a URL as in https://host/path" shakespeare none --url bogus || return 1
  fails 1 "/bogus/api/datasets/roneneldan/TinyStories/tree/main: the server answered 404" \
    "$python" "$data/tinystories.py" --endpoint "$url/bogus" --output none
}

server_gone() {
  stop_server
  fails 1 "/input.txt: cannot be downloaded: [Errno 111] Connection refused (2 attempts)" shakespeare gone --attempts 2 &&
    fails 1 "or get the files in another way and give them by --input" fineweb gone --attempts 1 || return 1
  is "files left" "$(find gone -type f)" ""
}

# ---------------------------------------------------------------- the data sets

tinystories() {
  fault '{}'
  "$python" "$data/tinystories.py" --endpoint "$url" --output stories --workers 2 > log || return 1
  is "shards" "$(cd stories && echo *.bin)" "TinyStories_train.bin TinyStories_val.bin gpt2_tokenizer.bin" || return 1
  "$python" -c 'import json, random
for split, files in ("val", ["00"]), ("train", ["01", "02"]):
    texts = []
    for i, name in enumerate(files):
        data = json.load(open(f"stories/TinyStories_all_data/data{name}.json"))
        random.Random(1337 + i).shuffle(data)
        texts += [entry["story"].strip() for entry in data]
    json.dump(texts, open(f"{split}.json", "w"))'
  for split in val train; do
    are_tokens_of $split.json stories/TinyStories_$split.bin > log 2>&1 ||
      { why=$(cat log) && return 1; }
  done
  # Local copies, the archive and the folder, give the same without a server.
  archive=hub/datasets/roneneldan/TinyStories/TinyStories_all_data.tar.gz
  "$python" "$data/tinystories.py" --input $archive --output stories_tar --workers 1 > log &&
    "$python" "$data/tinystories.py" --input stories/TinyStories_all_data --output stories_json --workers 1 > log &&
    same stories stories_tar && same stories stories_json || return 1
  # What was unpacked from another archive is not taken for this one.
  local unpacked=TinyStories_all_data
  tar -czf other.tar.gz -C stories/$unpacked data00.json data01.json
  "$python" "$data/tinystories.py" --input $archive --output stories_tar --workers 1 > log &&
    "$python" "$data/tinystories.py" --endpoint "$url" --output stories --workers 1 > log &&
    fails 1 "stories_tar/$unpacked: was unpacked from $unpacked.tar.gz, " \
      "$python" "$data/tinystories.py" --input other.tar.gz --output stories_tar || return 1
  rm stories_tar/$unpacked/archive.txt
  fails 1 "stories_tar/$unpacked: was unpacked from an archive that is not known, not from $unpacked.tar.gz, " \
    "$python" "$data/tinystories.py" --input $archive --output stories_tar || return 1
  head -c 9000 $archive > cut.tar.gz
  cp $archive hole.tar.gz && cp $archive mixed.tar.gz
  head -c 3000 /dev/zero | tr '\0' '\377' | dd of=hole.tar.gz bs=1 seek=14000 conv=notrunc status=none # two files are left
  dd if=$archive of=mixed.tar.gz bs=1 skip=15000 seek=7000 count=1000 conv=notrunc status=none # zlib cannot go on
  fails 1 "cut.tar.gz: damaged" "$python" "$data/tinystories.py" --input cut.tar.gz --output bad_stories &&
    fails 1 "hole.tar.gz: damaged" "$python" "$data/tinystories.py" --input hole.tar.gz --output bad_stories &&
    fails 1 "mixed.tar.gz: damaged" "$python" "$data/tinystories.py" --input mixed.tar.gz --output bad_stories || return 1
  cp -r stories/TinyStories_all_data bad_json && echo '[{"text": 1}]' > bad_json/data01.json
  fails 1 "bad_json/data01.json: not a list of stories in JSON" \
    "$python" "$data/tinystories.py" --input bad_json --output bad_stories
}

fineweb_two_workers() { # 2,000 lines of text, code, white space, many scripts
  fault '{}'
  fineweb web --workers 2 > log || return 1
  is "shards" "$(cd web && echo *.bin)" "fineweb_train_000001.bin fineweb_train_000002.bin fineweb_train_000003.bin \
fineweb_train_000004.bin fineweb_train_000005.bin fineweb_train_000006.bin fineweb_train_000007.bin \
fineweb_train_000008.bin fineweb_val_000000.bin gpt2_tokenizer.bin" &&
    is "lists asked for" "$(grep -c ^/api hub/requests.log)" 2 &&
    is "header" "$(ints web/fineweb_train_000001.bin 3 0)" "20240520 1 20000" &&
    is "first token" "$(first_token web/fineweb_val_000000.bin)" 50256 || return 1
  are_tokens_of hub/lines.json web/fineweb_val_*.bin web/fineweb_train_*.bin \
    > log 2>&1 || { why=$(cat log) && return 1; }
  is "comparisons" "$(grep -c '2000 texts, 172914 tokens are equal' log)" 2
}

one_worker() { # from local copies
  fineweb web1 --workers 1 --input hub/$fineweb_files > log || return 1
  same web web1
}

edu() {
  fault '{}'
  "$python" "$data/fineweb.py" --edu -v 100B --endpoint "$url" --output edu -s 9000 --workers 1 --discard > log || return 1
  is "shards" "$(cd edu && echo edu*.bin)" "edu_fineweb_train_000001.bin edu_fineweb_train_000002.bin edu_fineweb_val_000000.bin" &&
    is "downloads kept" "$(ls edu/parquet)" ""
}

killed_in_tokenising() { # kill -9 while the third file is on its way
  local job children pid
  fault '{"002_00000.parquet": {"stall": 10}}'
  as='exec' fineweb dead --workers 2 > log 2>&1 &
  job=$!
  checkpointed() { grep -q '"position": \[' dead/manifest.json && tr -d ' \n' < dead/manifest.json | grep -q '"position":\[2,0,0\]'; }
  why="no checkpoint came"
  until_true 200 checkpointed || return 1
  fails 1 "--output: dead: another run is at work there" fineweb dead || return 1
  children=$(ps -o pid= --ppid $job)
  is "child processes: 2 workers and multiprocessing's tracker" "$(wc -w <<< "$children")" 3 || return 1
  kill -9 $job && wait $job 2> /dev/null
  : > dead/fineweb_train_000009.bin.xxh3.tmp123
  children_gone() { for pid in $children; do ! kill -0 "$pid" || return 1; done; }
  why="its worker processes still run"
  until_true 50 children_gone || return 1
  is "finished shards" "$(cd dead && echo *_0*.bin | wc -w)" 6 || return 1
  (cd dead && stat -c '%n %i %y' *_0*.bin > ../before)
  fault '{}'
  fineweb dead --workers 2 > log || return 1
  has "output" "$(cat log)" "fineweb: going on in dead/fineweb_train_000006.bin after" &&
    is "files tokenised again" "$(grep -c '00[01]_00000.parquet' hub/requests.log)" 0 && same web dead || return 1
  is "finished shards that were made again" "$(cd dead && stat -c '%n %i %y' *_0*.bin | comm -23 ../before - | wc -l)" 0 || return 1
  is "unfinished files left" "$(find dead -maxdepth 1 -name "*.part" -o -name "*.tmp*")" ""
}

complete_again() { # nothing is made anew, and a damaged shard is
  (cd web && stat -c '%n %i %y' *_0*.bin > ../before)
  fault '{}'
  fineweb web > log || return 1
  is "requests" "$(cat hub/requests.log)" "" && is "shards" "$(cd web && stat -c '%n %i %y' *_0*.bin)" "$(cat before)" || return 1
  printf 'x' | dd of=web/fineweb_train_000003.bin bs=1 seek=5000 conv=notrunc status=none
  fineweb web > log || return 1
  has "output" "$(cat log)" "web/fineweb_train_000003.bin: missing, or not as its checksum says" && same web1 web &&
    is "shards made anew" "$(cd web && stat -c '%n %i %y' *_0*.bin | comm -23 - ../before | cut -d' ' -f1)" fineweb_train_000003.bin
}

refusals() {
  fails 1 "web/manifest.json: this folder was begun with shard tokens 20000, now it is 30000; give another --output" \
    fineweb web -s 30000 &&
    fails 1 "--input: this folder was begun with other files: ('001_00000.parquet'" \
      fineweb web --input hub/$fineweb_files/000_00000.parquet || return 1
  mkdir -p mine && echo precious > mine/fineweb_train_000001.bin
  fails 1 "mine/fineweb_train_000001.bin: no manifest.json there says how it was made; move it away" \
    fineweb mine --input hub/$fineweb_files || return 1
  is "the file" "$(cat mine/fineweb_train_000001.bin)" precious || return 1
  fails 1 "--vocab: hub/input.txt: this is not GPT-2's vocabulary" fineweb none --input hub/$fineweb_files --vocab hub/input.txt &&
    fails 1 "--vocab: nowhere: No such file" fineweb none --input hub/$fineweb_files --vocab nowhere &&
    fails 1 "--input: nowhere: no parquet file there" fineweb none --input nowhere || return 1
  mkdir -p odd && cp hub/input.txt odd/000.parquet
  fails 1 "--input: odd/000.parquet: not a parquet file, or damaged" fineweb none --input odd || return 1
  "$python" -c 'import pyarrow, pyarrow.parquet
pyarrow.parquet.write_table(pyarrow.table({"content": ["a"]}), "odd/000.parquet")'
  fails 1 "--input: odd/000.parquet: no column 'text', it has content" fineweb none --input odd
}

vocabulary_from_package() { # as where tiktoken's own address cannot be reached
  (cd "$data" && "$python" -c 'import bpe, sys
try:
    content = bpe.from_package()
except bpe.UserError as problem:
    print(problem)
    sys.exit(77)
sys.exit(not bpe.is_vocabulary(content))') > log 2>&1
  local code=$?
  why=$(tail -n 1 log)
  return $code
}

# ---------------------------------------------------------------- train_gpt2 and the checksums

train_on_web() { # train_on_web NP ARGUMENTS: on the shards that fineweb_two_workers made
  ranks "$1" shm -e L=1,H=2,C=32,T=32,V=50257 -b 2 -x 1 -i "web/fineweb_train_*.bin" -j "web/fineweb_val_*.bin" -m 2 \
    --tokenizer web/gpt2_tokenizer.bin -s 1 -g 8 "${@:2}"
}

trainer_verifies() {
  train_on_web 2 -o log_good > log 2>&1 || { why=$(tail -n 3 log) && return 1; }
  has "output" "$(cat log)" "data: -i: 8 of 8 shards agree with their checksums, 0.3 MB read in" &&
    has "output" "$(cat log)" "data: -j: 1 of 1 shards agree with their checksums" || return 1
  printf 'x' | dd of=web/fineweb_train_000002.bin bs=1 seek=5000 conv=notrunc status=none
  local np
  for np in 1 2; do
    fails 1 "error: -i web/fineweb_train_000002.bin: its XXH3-64 is " train_on_web $np -o log_bad &&
      fails 1 "web/fineweb_train_000002.bin.xxh3 says $(head -c 21 web/fineweb_train_000002.bin.xxh3 | tail -c 16)" \
        train_on_web $np -o log_bad || return 1
  done
  is "folders made" "$(find . -maxdepth 1 -name log_bad)" "" || return 1
  rm web/fineweb_train_000002.bin.xxh3
  train_on_web 2 > log 2>&1 || { why=$(tail -n 3 log) && return 1; }
  has "output" "$(cat log)" "data: -i: 7 of 8 shards agree with their checksums"
}

# ---------------------------------------------------------------- together

if [ -z "$no_packages" ]; then
  mkdir hub && "$python" "$helpers/make_data_sets.py" hub && start_server || exit 1
fi
test_case "datasets: usage" usage
test_case "datasets: no data/.venv can be made" no_room
test_case "datasets: complete download" with_packages complete
test_case "datasets: connection cut" with_packages connection_cut
test_case "datasets: killed while downloading" with_packages killed_in_download
test_case "datasets: server without ranges" with_packages range_ignored
test_case "datasets: part of an older file" with_packages old_part
test_case "datasets: corrupted download" with_packages corrupted
test_case "datasets: another source" with_packages another_source
test_case "datasets: server in trouble" with_packages server_trouble
test_case "datasets: TinyStories" with_packages tinystories
test_case "datasets: FineWeb, 2,000 lines, 2 workers" with_packages fineweb_two_workers
test_case "datasets: FineWeb, 1 worker, local files" with_packages one_worker
test_case "datasets: FineWeb-Edu" with_packages edu
test_case "datasets: killed while tokenising" with_packages killed_in_tokenising
test_case "datasets: complete again" with_packages complete_again
test_case "datasets: refusals" with_packages refusals
test_case "datasets: vocabulary from a package" with_packages vocabulary_from_package
test_case "datasets: train_gpt2 verifies" with_packages trainer_verifies
test_case "datasets: server gone" with_packages server_gone

finish
