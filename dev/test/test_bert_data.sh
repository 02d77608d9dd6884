#!/usr/bin/env bash
# Tests of the scripts in data/ that prepare data for BERT: prepare_bert.py, prepare_classify.py, verse_tasks.py,
# bag_of_words.py. dev/test/check_samples.py reads what they write without any of their code. The last two only with --long.
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
long=${1:-}
data="$root/data"
python="$data/.venv/bin/python3"
checker="$root/dev/test/check_samples.py"

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
with_bible() {
  why="the program bible is not installed (package bible-kjv)"
  command -v bible > /dev/null || return 77
  with_packages "$@"
}

# fails TEXT COMMAND...: exit code 1, and one line on stderr that begins `error: ` and has the text.
fails() {
  local text=$1 code=0 output
  shift
  output=$("$@" 2>&1 > log < /dev/null) || code=$?
  is "exit code of '$*'" "$code" 1 || return 1
  is "error lines of '$*' in '$output'" "$(grep -c '^error: ' <<< "$output")" 1 || return 1
  has "'$*'" "$output" "$text"
}

# The Python of data/.venv at once: `usage` starts the scripts with a plain python3.
pretrain() { "$python" "$data/prepare_bert.py" "$@"; }
classify() { "$python" "$data/prepare_classify.py" --vocab words.txt --max-length 32 "$@"; }
check() { python3 "$checker" "$@" > check.log 2>&1 || { why=$(cat check.log) && return 1; }; }
# shows FILE LINES: the samples, a line each
shows() { check show "$1" && is "$1" "$(cat check.log)" "$2"; }

# 18 words: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, a 5 … e 9, ##a 10, ##b 11, . 12, good 13, bad 14, word 15,
# é without its accent 'cafe' 16, " 17.
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' a b c d e '##a' '##b' . good bad word cafe '"' > words.txt

# ---------------------------------------------------------------- usage

usage() {
  local script
  for script in prepare_bert prepare_classify verse_tasks bag_of_words; do
    why="$script.py --help"
    python3 "$data/$script.py" --help > log || return 1
  done
  fails "unrecognized arguments: --bogus" python3 "$data/prepare_bert.py" --demo --vocab x --bogus &&
    fails "one of the arguments --demo --input is required" python3 "$data/prepare_bert.py" --vocab x &&
    fails "one of the arguments --vocab --vocab-package --train-vocab is required" python3 "$data/prepare_bert.py" --demo &&
    fails "--max-length: 7 found; give 8 to 65,535" python3 "$data/prepare_bert.py" --demo --vocab x --max-length 7 &&
    fails "--train-vocab: 5 found; give 100 to" python3 "$data/prepare_bert.py" --demo --train-vocab 5 &&
    fails "--val-fraction: 1 found" python3 "$data/prepare_bert.py" --demo --vocab x --val-fraction 1 &&
    fails "--short-fraction: -1 found" python3 "$data/prepare_bert.py" --demo --vocab x --short-fraction -1 &&
    fails "argument --glue: 'cora' found; give one of CoLA" python3 "$data/prepare_classify.py" --vocab x --glue cora &&
    fails "--glue: --text found as well" python3 "$data/prepare_classify.py" --vocab x --glue rte --folder . --text a &&
    fails "--train: no --label" python3 "$data/prepare_classify.py" --vocab x --train a.tsv --text a &&
    fails "--labels: 1 label found" python3 "$data/prepare_classify.py" --vocab x --train a --text a --label b --labels c &&
    fails "--labels: a label has a line end" python3 "$data/prepare_classify.py" --vocab x --train a --text a --label b \
      --labels c $'d\ne' &&
    fails "--val-samples: 1 found" python3 "$data/verse_tasks.py" --vocab x --val-samples 1
}

# ---------------------------------------------------------------- pretraining

# Byte by byte: the only document of each split that there can be, made here from the format's description.
bytes_of_files() {
  printf 'a ab. C\n\n\nA ab. C\n' > same.txt
  pretrain --input same.txt --vocab words.txt --max-length 8 --short-fraction 0 --output out/same > log || return 1
  python3 - << 'END'
import struct
def header(samples, tokens, longest, labels=0, pairs=0):
    head = [20261128, 1, samples, labels, 18, longest, 0, 2, 3, 4, tokens, 0, pairs]
    return struct.pack("<256i", *head, *[0] * (256 - len(head)))
plain = [2, 5, 5, 11, 12, 7, 3]  # [CLS] a a ##b . c [SEP]: "c" goes on in lower case, so this is one sentence
open("plain.bin", "wb").write(header(1, 7, 7) + struct.pack("<2Q", 0, 7) + struct.pack("<8H", 7, *plain))
END
  cmp -s plain.bin out/same_val.bin && is "files left" "$(cd out && echo same*)" "same.vocab.txt same_train.bin \
same_train.bin.xxh3 same_val.bin same_val.bin.xxh3" && cmp -s out/same.vocab.txt words.txt
}

bytes_of_pairs() {
  # Two sentences a document, the only other document being of the other split: no B from elsewhere can be had.
  printf 'a.\nb.\n\nc.\nd.\n' > two.txt
  fails "2 documents give 1 with text for train, expected 2 or more" pretrain --input two.txt --vocab words.txt \
    --pairs 1 --output out/two || return 1
  printf 'text,more,y\na b,c,1.5\ncafe,"e\nCAFÉ",-2\n' > numbers.csv
  classify --train numbers.csv --val numbers.csv --text text --text2 more --label y --regression --output out/numbers \
    > log || return 1
  python3 - << 'END'
import struct
head = [20261128, 1, 2, 1, 18, 6, 0, 2, 3, 4, 12, 0, 0]
tokens = [2, 5, 6, 3, 7, 3, 2, 16, 3, 9, 16, 3]
open("numbers.bin", "wb").write(struct.pack("<256i", *head, *[0] * 243) + struct.pack("<3Q", 0, 6, 12) +
    struct.pack("<2H", 4, 3) + struct.pack("<2f", 1.5, -2) + struct.pack("<12H", *tokens))
END
  why="out/numbers_train.bin differs" && cmp -s numbers.bin out/numbers_train.bin
}

chapters() { # the demo text with a verse a line and a blank line between chapters
  bible -f gen1:1-rev22:21 |
    awk '{ split($1, a, ":"); if (NR > 1 && a[1] != last) print ""; last = a[1]; sub(/^[^ ]+ /, ""); print }'
}

demo() {
  chapters > chapters.txt
  pretrain --demo --sentences lines --train-vocab 4000 --max-length 64 --output demo/plain > log &&
    check pretrain demo/plain chapters.txt 64 || return 1
  has "check" "$(cat check.log)" "1189 documents: 1070 119 | 0.5" &&
    is "[UNK]" "$(grep -c ' 0.000 % \[UNK\]' log)" 2 &&
    is "words" "$(wc -l < demo/plain.vocab.txt)" 4000 &&
    is "command" "$(grep -c -- "-e L=4,H=4,C=256,T=64,V=4000 -i demo/plain_train.bin -j demo/plain_val.bin" log)" 1
}

# The same bytes from the text in a file, with other hash seeds and one thread: the vocabulary is made anew as well.
same_bytes() {
  local file
  PYTHONHASHSEED=7 RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false pretrain --input chapters.txt --sentences lines \
    --train-vocab 4000 --max-length 64 --output again/plain > log || return 1
  for file in plain_train.bin plain_val.bin plain.vocab.txt plain_train.bin.xxh3; do
    why="$file differs"
    cmp -s "demo/$file" "again/$file" || return 1
  done
  head -n 2000 chapters.txt > some.txt
  pretrain --input some.txt --vocab demo/plain.vocab.txt --seed 1 --output again/one > log &&
    pretrain --input some.txt --vocab demo/plain.vocab.txt --seed 2 --output again/two > log || return 1
  why="the seed changes nothing"
  ! cmp -s again/one_train.bin again/two_train.bin
}

checksums() {
  "$python" - << 'END' > log 2>&1 || { why=$(cat log) && return 1; }
import glob, xxhash
paths = glob.glob("demo/*.bin")
assert len(paths) == 2, paths
for path in paths:
    expected = f"XXH3_{xxhash.xxh3_64(open(path, 'rb').read()).hexdigest()}  {path.split('/')[1]}\n"
    assert open(f"{path}.xxh3").read() == expected, path
END
}

pairs() {
  local length
  for length in 32 128; do
    pretrain --input some.txt --sentences lines --vocab demo/plain.vocab.txt --pairs 1 --max-length $length \
      --val-fraction 0.3 --output "pairs$length" > log && check pairs "pairs$length" some.txt $length || return 1
    near "pairs that follow" "$(sed 's/.* pairs, \([0-9.]*\) and.*/\1/' check.log)" 0.5 0.1 || return 1
  done
}

sentences() { # ends of sentences; a sentence longer than a sample is cut, nothing of it is lost
  printf 'A. B! "C?" D... e\nf. G 。a。b\n\n%s\n' "$(printf 'a b c d e %.0s' 1 2 3 4)" > marks.txt
  pretrain --input marks.txt --vocab words.txt --max-length 8 --short-fraction 0 --output marks > log || return 1
  check show marks_train.bin && cp check.log both.log && check show marks_val.bin && cat check.log >> both.log || return 1
  is "samples" "$(sort both.log)" "$(sort << 'END'
- | 8 | [CLS] a b c d e a [SEP]
- | 8 | [CLS] b c d e a b [SEP]
- | 8 | [CLS] c d e a b c [SEP]
- | 4 | [CLS] d e [SEP]
- | 6 | [CLS] a . b [UNK] [SEP]
- | 6 | [CLS] " c [UNK] " [SEP]
- | 8 | [CLS] d . . . e [UNK] [SEP]
- | 3 | [CLS] . [SEP]
- | 7 | [CLS] [UNK] [UNK] a [UNK] b [SEP]
END
)" || return 1
  # However much white space follows a mark, what goes on in lower case is the same sentence: it is cut, as it is too long.
  printf 'a b c.  d e a b\n\na b c. \t d e a b\n' > spaces.txt
  pretrain --input spaces.txt --vocab words.txt --max-length 8 --short-fraction 0 --output spaces > log &&
    shows spaces_val.bin $'- | 8 | [CLS] a b c . d e [SEP]\n- | 4 | [CLS] a b [SEP]' &&
    shows spaces_train.bin $'- | 8 | [CLS] a b c . d e [SEP]\n- | 4 | [CLS] a b [SEP]'
}

bad_texts() {
  printf 'good\n\nb\377d\n' > latin.txt
  printf 'one document\nonly\n' > one.txt
  printf '\n \n' > blank.txt
  mkfifo pipe
  fails "--input: latin.txt:3: not UTF-8 at byte 1 of the line" pretrain --input latin.txt --vocab words.txt --output bad &&
    fails "--input: nowhere.txt: No such file" pretrain --input nowhere.txt --vocab words.txt --output bad &&
    fails ": not a regular file; the text is read more than once" \
      pretrain --input same.txt <(cat same.txt) --vocab words.txt --output bad &&
    fails "--input: pipe: not a regular file" timeout 60 "$python" "$data/prepare_bert.py" --input pipe --vocab words.txt \
      --output bad &&
    fails "1 documents found, two or more are needed" pretrain --input one.txt --vocab words.txt --output bad &&
    fails "0 documents found" pretrain --input blank.txt --vocab words.txt --output bad &&
    fails "--train-vocab: 300 found, but the training text gives" pretrain --input same.txt --train-vocab 300 --output bad &&
    fails "--output: same.txt/bad_train.bin" pretrain --input same.txt --vocab words.txt --output same.txt/bad || return 1
  is "files written" "$(find . -name 'bad*')" ""
}

# ---------------------------------------------------------------- vocabularies

vocabularies() {
  grep -v MASK words.txt > no_mask.txt
  (cat words.txt && echo a) > twice.txt
  (cat words.txt && echo Word) > cased.txt
  (cat words.txt && echo 'Слово') > cyrillic.txt
  (cat words.txt && echo 'λόγος' && echo '##ℝ') > small.txt # what lower case leaves as it is
  (cat words.txt && seq 70000) > large.txt
  printf '{"model": {"type": "BPE", "vocab": {}}}' > bpe.json
  printf '\377' > binary.txt
  printf '{}' > other.json
  fails "no_mask.txt: no word [MASK]; BERT needs" pretrain --input same.txt --vocab no_mask.txt --output bad &&
    fails "twice.txt:6: 'a' is there twice" pretrain --input same.txt --vocab twice.txt --output bad &&
    fails "cased.txt: has words with capitals, as in 'Word'; give --cased" pretrain --input same.txt --vocab cased.txt --output bad &&
    fails "words.txt: has no word with a capital; leave out --cased" pretrain --input same.txt --vocab words.txt --cased --output bad &&
    fails "cyrillic.txt: has words with capitals, as in 'Слово'" pretrain --input same.txt --vocab cyrillic.txt --output bad &&
    fails "small.txt: has no word with a capital" pretrain --input same.txt --vocab small.txt --cased --output bad &&
    fails "large.txt: 70,018 words found, a file of samples can name 65,535" pretrain --input same.txt --vocab large.txt --output bad &&
    fails "bpe.json: a tokenizer of type BPE found" pretrain --input same.txt --vocab bpe.json --output bad &&
    fails "other.json: not a tokenizer.json with a WordPiece" pretrain --input same.txt --vocab other.json --output bad &&
    fails "binary.txt: not UTF-8 at byte 0" pretrain --input same.txt --vocab binary.txt --output bad &&
    fails "--vocab: nowhere: No such file" pretrain --input same.txt --vocab nowhere --output bad || return 1
  is "files written" "$(find . -name 'bad*')" "" || return 1
  printf 'Word word\n\nWord word\n' > capital.txt
  pretrain --input capital.txt --vocab cased.txt --cased --output cased > log && shows cased_val.bin "- | 4 | [CLS] Word word [SEP]" ||
    return 1
  printf 'Слово a\n\nСлово a\n' > capital.txt
  pretrain --input capital.txt --vocab cyrillic.txt --cased --output cyrillic > log &&
    shows cyrillic_val.bin "- | 4 | [CLS] Слово a [SEP]" && pretrain --input same.txt --vocab small.txt --output small > log
}

# Out of a package: one that is installed, one that pip finds, where the vocabulary lies in an archive of the package.
vocabulary_from_package() {
  local name=zero-c-test-words kept="$data/zero-c-test-words.vocab.txt"
  rm -f "$kept"
  python3 - << 'END'
import json, os, zipfile
words = open("words.txt").read().split("\n")[:-1]
os.makedirs("site/zero_c_test_words-1.0.dist-info")
os.makedirs("site/zero_c_test_words")
tokenizer = {"model": {"type": "WordPiece", "continuing_subword_prefix": "##", "vocab": {w: i for i, w in enumerate(words)}}}
open("site/zero_c_test_words/tokenizer.json", "w").write(json.dumps(tokenizer))
meta = "Metadata-Version: 2.1\nName: zero-c-test-words\nVersion: 1.0\n"
open("site/zero_c_test_words-1.0.dist-info/METADATA", "w").write(meta)
open("site/zero_c_test_words-1.0.dist-info/RECORD", "w").write("zero_c_test_words/tokenizer.json,,\n")
os.makedirs("wheels")
with zipfile.ZipFile("model.zip", "w") as inner:
    inner.write("words.txt", "model/vocab.txt")
with zipfile.ZipFile("wheels/zero_c_test_words-1.0-py3-none-any.whl", "w") as wheel:
    wheel.write("model.zip", "zero_c_test_words/model.zip")
    wheel.writestr("zero_c_test_words-1.0.dist-info/METADATA", meta)
    wheel.writestr("zero_c_test_words-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("zero_c_test_words-1.0.dist-info/RECORD", "")
END
  local status=1
  fails "pip cannot download it" env PIP_NO_INDEX=1 "$python" "$data/prepare_bert.py" --input same.txt \
    --vocab-package $name --output bad &&
    fails "'../x' found; give a package's name" pretrain --input same.txt --vocab-package ../x --output bad &&
    PYTHONPATH="$work/site" pretrain --input same.txt --vocab-package $name --output installed > log &&
    is "kept words" "$(cat "$kept")" "$(cat words.txt)" && cmp -s installed.vocab.txt words.txt && rm "$kept" &&
    PIP_NO_INDEX=1 PIP_FIND_LINKS="$work/wheels" pretrain --input same.txt --vocab-package $name --output downloaded > log &&
    has "output" "$(cat log)" "downloading the package $name" && cmp -s downloaded_val.bin installed_val.bin &&
    PIP_NO_INDEX=1 pretrain --input same.txt --vocab-package $name --output kept > log && status=0
  rm -f "$kept"
  return $status
}

# ---------------------------------------------------------------- classification

formats() { # the same rows in four forms
  printf '\357\273\277label\ttext\nbad\ta "b\r\ngood\tCafé, c\n' > rows.tsv
  printf 'bad\ta "b\ngood\tCafé, c\n' > headless.tsv
  printf 'text,label,rest\n"a ""b",bad,x\n\n"Café, c",good,"x\ny"\n' > rows.csv
  printf '{"text": "a \\"b", "label": "bad"}\n\n{"label": "good", "text": "Caf\\u00e9, c", "x": 1}\n' > rows.jsonl
  local expected='0 | 5 | [CLS] a " b [SEP]
1 | 5 | [CLS] cafe [UNK] c [SEP]' form
  for form in tsv csv jsonl; do
    classify --train rows.$form --val rows.$form --text text --label label --output out/$form > log &&
      shows out/${form}_train.bin "$expected" && is "labels" "$(cat out/$form.labels.txt)" $'bad\ngood' &&
      is "labels in the header" "$(od -An -t d4 -j 12 -N 4 out/${form}_val.bin | xargs)" 2 || return 1
  done
  classify --train headless.tsv --val headless.tsv --no-header --text 2 --label 1 --labels good bad --output out/headless > log &&
    shows out/headless_val.bin $'1 | 5 | [CLS] a " b [SEP]\n0 | 5 | [CLS] cafe [UNK] c [SEP]'
}

labels_found() { # numbers sort as numbers; validation is a share of the rows
  (echo 'n,t' && for i in $(seq 40); do echo "$((i % 4 * 5)),a b c"; done) > stars.csv
  classify --train stars.csv --text t --label n --val-fraction 0.25 --output stars > stars.log || return 1
  is "labels" "$(xargs < stars.labels.txt)" "0 5 10 15" &&
    check show stars_val.bin && is "validation" "$(wc -l < check.log)" 10 &&
    check show stars_train.bin && is "training" "$(wc -l < check.log)" 30 && is "kinds" "$(sort -u check.log | wc -l)" 4 ||
    return 1
  # One of the three is in the share for validation alone, and is a label all the same.
  printf 't,n\na,x\nb,y\nc,z\n' > rare.csv
  classify --train rare.csv --text t --label n --val-fraction 0.3 --output rare > log &&
    is "labels" "$(xargs < rare.labels.txt)" "x y z" && check show rare_train.bin && is "training" "$(wc -l < check.log)" 2 ||
    return 1
  # JSON's 1.0 and 1 are one number.
  printf '{"t": "a", "n": %s}\n' 1.0 10 2.5 1 -3e0 > numbers.jsonl
  classify --train numbers.jsonl --val numbers.jsonl --text t --label n --output numbers > log &&
    is "labels" "$(xargs < numbers.labels.txt)" "-3 1 2.5 10" &&
    check show numbers_val.bin && is "numbers" "$(cut -d' ' -f1 check.log | xargs)" "1 3 2 1 0"
}

command_runs() { # as it is printed, with a step alone
  why="train_bert is not built"
  [ -x "$root/train_bert" ] || return 77
  ln -sf "$root/scripts" "$root/train_bert" .
  local command
  command=$(sed -n 's/^train on it: //p' stars.log)
  has "command" "$command" "--task classify -e L=4,H=4,C=256,T=32,V=18 -i stars_train.bin -j stars_val.bin" &&
    has "output" "$(cat stars.log)" "-e FOLDER, a pretrained model" || return 1
  timeout -k 10 "$time_limit" bash -c "$command -x 1" > log 2>&1 < /dev/null || { why=$(tail -n 3 log) && return 1; }
  has "output" "$(cat log)" "4 classes"
}

cut_to_length() { # the longer text first; of what is left when both are too long, one token more to the longer one
  printf '1\ta a a\tb b b b b b b b b\n0\ta a a a a a a a a\tb b b b b b b b\n0\tc\td\n' > long.tsv
  classify --train long.tsv --val long.tsv --no-header --text 2 --text2 3 --label 1 --max-length 12 --output long > log &&
    shows long_val.bin '1 | 5 | [CLS] a a a [SEP] b b b b b b [SEP]
0 | 7 | [CLS] a a a a a [SEP] b b b b [SEP]
0 | 3 | [CLS] c [SEP] d [SEP]'
}

special_words() { # a text never makes a special token
  printf '1\t[MASK] [SEP] ##a\n0\t[CLS]\n' > special.tsv
  classify --train special.tsv --val special.tsv --no-header --text 2 --label 1 --output special > log &&
    shows special_val.bin '1 | 11 | [CLS] [UNK] [UNK] [UNK] [UNK] [UNK] [UNK] [UNK] [UNK] a [SEP]
0 | 5 | [CLS] [UNK] [UNK] [UNK] [SEP]'
}

# glue TASK EXPECTED…: files as GLUE has them lie in glue/TASK
glue() {
  local task=$1
  shift
  classify --glue "$task" --folder "$work/glue" --output "g/$task" > log && shows "g/${task}_train.bin" "$1" &&
    shows "g/${task}_val.bin" "$2"
}

glue_tasks() {
  local task one='1 | 4 | [CLS] a b [SEP]' zero='0 | 3 | [CLS] c [SEP]' two='1 | 4 | [CLS] a b [SEP] c [SEP]'
  mkdir -p glue/{CoLA,SST-2,MRPC,STS-B,QQP,MNLI,QNLI,RTE,WNLI}
  printf 'gj04\t1\t\ta b\ngj04\t0\t*\tc\n' > glue/CoLA/train.tsv
  printf 'gj04\t0\t*\tc\n' > glue/CoLA/dev.tsv
  printf 'sentence\tlabel\na b \t1\n' > glue/SST-2/train.tsv
  printf 'sentence\tlabel\nc \t0\n' > glue/SST-2/dev.tsv
  printf '\357\273\277Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta b\tc\n' > glue/MRPC/train.tsv
  cp glue/MRPC/{train,dev}.tsv
  printf 'index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n0\tm\tM\t2012\t1\tn\tn\ta b\tc\t3.800\n' > glue/STS-B/train.tsv
  cp glue/STS-B/{train,dev}.tsv
  printf 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta b\tc\t1\n' > glue/QQP/train.tsv
  cp glue/QQP/{train,dev}.tsv
  head='index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1'
  printf "$head\tgold_label\n0\t1\t1n\tfiction\t( a )\t( b )\t(R)\t(R)\ta b\tc\tneutral\tneutral\n" > glue/MNLI/train.tsv
  printf "$head\tlabel2\tgold_label\n0\t1\t1n\tfiction\t( a )\t( b )\t(R)\t(R)\ta\tc\tneutral\tneutral\tcontradiction\n" > glue/MNLI/dev_matched.tsv
  printf "$head\tlabel2\tgold_label\n0\t1\t1n\tfiction\t( a )\t( b )\t(R)\t(R)\tb\tc\tneutral\tneutral\tentailment\n" > glue/MNLI/dev_mismatched.tsv
  printf 'index\tquestion\tsentence\tlabel\n0\ta b\tc\tnot_entailment\n' > glue/QNLI/train.tsv
  printf 'index\tsentence1\tsentence2\tlabel\n0\ta b\tc\tnot_entailment\n' > glue/RTE/train.tsv
  printf 'index\tsentence1\tsentence2\tlabel\n0\ta b\tc\t1\n' > glue/WNLI/train.tsv
  for task in QNLI RTE WNLI; do cp glue/$task/{train,dev}.tsv; done
  glue CoLA "$one"$'\n'"$zero" "$zero" && glue sst-2 "$one" "$zero" || return 1
  for task in MRPC QQP QNLI RTE WNLI; do glue $task "$two" "$two" || return 1; done
  glue STS-B "3.8 | 4 | [CLS] a b [SEP] c [SEP]" "3.8 | 4 | [CLS] a b [SEP] c [SEP]" &&
    is "STS-B's labels" "$(od -An -t d4 -j 12 -N 4 g/STS-B_val.bin | xargs)" 1 &&
    glue MNLI "1 | 4 | [CLS] a b [SEP] c [SEP]" "2 | 3 | [CLS] a [SEP] c [SEP]" &&
    shows g/MNLI_val_mismatched.bin "0 | 3 | [CLS] b [SEP] c [SEP]" &&
    is "MNLI's labels" "$(xargs < g/MNLI.labels.txt)" "entailment neutral contradiction" || return 1
  classify --glue rte --folder glue/RTE --output g/direct > log && cmp -s g/direct_val.bin g/RTE_val.bin || return 1
  rm glue/RTE/dev.tsv
  fails "--folder: glue/RTE: no dev.tsv there" classify --glue rte --folder glue --output bad
}

bad_tables() {
  local row='text\tlabel\na\t1\nb\t0\n'
  refuses() { # refuses TEXT FILE CONTENT [ARGUMENTS]
    local text=$1 table=$2
    printf "$3" > "$table"
    shift 3
    fails "$text" classify --train rows.tsv --val "$table" --text text --label label --labels 0 1 bad good --output bad "$@"
  }
  refuses "--val: t.tsv:4: 3 columns found, 2 expected as in the first line; mend the row, or give --bad-rows skip" \
    t.tsv "${row}a\tb\t1\n" &&
    refuses "--val: t.tsv:4: label '2' found, expected one of '0', '1', 'bad', 'good'" t.tsv "${row}a\t2\n" &&
    refuses "--val: t.tsv:4: the text is empty" t.tsv "$row \t1\n" &&
    refuses "--val: t.tsv:4: the text is empty" t.tsv "$row\342\200\213\t1\n" &&
    refuses "--val: t.tsv:5: the label is empty" t.tsv "$row\nb\t\n" &&
    refuses "--val: t.tsv:4: not UTF-8" t.tsv "${row}b\351\t1\n" &&
    refuses "--val: t.csv:2: 1 columns found, 2 expected" t.csv 'text\tlabel\n"a,1\n' --format tsv || return 1
  refuses "--val: t.csv:5: 1 columns found, 2 expected" t.csv 'text,label\n"a\nb",1\n\nc\n' &&
    refuses "--val: t.csv:2: label 'go\\nod' has a line end in it; mend the row" t.csv 'text,label\na,"go\nod"\n' &&
    refuses "--val: t.csv:2: not CSV" t.csv 'text,label\n"a"b,1\n' &&
    refuses "--val: t.csv:2: not CSV" t.csv 'text,label\n"a,1\nb,1\n' &&
    refuses "--val: t.jsonl:2: not JSON" t.jsonl '{"text": "a", "label": 1}\n{"text": "a"\n' &&
    refuses "--val: t.jsonl:1: not a JSON object" t.jsonl '[1]\n' &&
    refuses "--val: t.jsonl:1: no 'label' in it, it has 'text'" t.jsonl '{"text": "a"}\n' &&
    refuses "--val: t.jsonl:1: 'text' is neither text nor a number" t.jsonl '{"text": ["a"], "label": 1}\n' &&
    refuses "--val: t.jsonl:1: not UTF-8" t.jsonl '{"text": "a\\ud800", "label": 1}\n' &&
    refuses "--val: t.tsv:1: column 'label' is not among 'text', 'other'" t.tsv 'text\tother\na\t1\n' &&
    refuses "--val: t.txt: ends in none of .tsv, .csv, .jsonl; give --format" t.txt 'a' &&
    refuses "--val: t.tsv: no row that can be used" t.tsv 'text\tlabel\n' || return 1
  printf 'text\tlabel\na\t1.5\nb\tinf\n' > t.tsv
  fails "t.tsv:3: label 'inf' found, a number was expected" \
    classify --train t.tsv --val t.tsv --text text --label label --regression --output bad &&
    fails "t.tsv:1: no column 3, there are 2" classify --train t.tsv --text 1 --label 3 --output bad &&
    fails "t.tsv:1: column 'text' found; without a header give numbers" classify --train t.tsv --no-header --text text --label 2 --output bad &&
    fails "nowhere.tsv: No such file" classify --train nowhere.tsv --text 1 --label 2 --output bad || return 1
  (echo 'text,label' && for i in $(seq 1001); do echo "a,$i.5"; done) > t.csv
  fails "1,001 different labels found, at most 1,000 are taken unless --labels names them; give --regression" \
    classify --train t.csv --val t.csv --text text --label label --output bad || return 1
  is "files written" "$(find . -name 'bad*')" "" || return 1
  printf "${row}a\tb\t1\n \t1\nc\t3\n\351\t1\ne\t1\n" > skip.tsv # of all these, three rows can be used
  classify --train skip.tsv --val skip.tsv --text text --label label --labels 0 1 --bad-rows skip --output skip > log &&
    shows skip_train.bin $'1 | 3 | [CLS] a [SEP]\n0 | 3 | [CLS] b [SEP]\n1 | 3 | [CLS] e [SEP]' &&
    is "notices" "$(grep -c ' 4 rows left out' log)" 2
}

# ---------------------------------------------------------------- verses, and what needs no word order

verses() {
  "$python" "$data/verse_tasks.py" --vocab demo/plain.vocab.txt --max-length 300 --output verse > log &&
    check verses verse chapters.txt demo/plain || return 1
  # of the training verses one in a thousand is part of a longer verse there
  has "check" "$(cat check.log)" "pretraining validates on: 1.000, training verses: 0.00" &&
    is "order" "$(sed -n 's/^order \([0-9]*\) \([0-9]*\) .*/\1 \2/p' check.log)" "54886 6482" || return 1
  "$python" "$data/verse_tasks.py" --vocab demo/plain.vocab.txt --train-samples 600 --val-samples 101 --output few > log &&
    check show few_order_train.bin && is "samples" "$(cut -c1 check.log | sort | uniq -c | xargs)" "300 0 300 1" &&
    check show few_next_val.bin && is "samples" "$(cut -c1 check.log | sort | uniq -c | xargs)" "50 0 50 1"
}

# read_bag PREFIX: what bag_of_words.py reads, which needs no scikit-learn
read_bag() {
  "$python" -c 'import sys
sys.path.insert(0, sys.argv[1])
import bag_of_words, common
def show():
    (texts, labels), (val, _) = bag_of_words.read_prefix(sys.argv[2])
    print(len(val), *map(" ".join, texts), labels.tolist(), sep=" | ")
sys.exit(common.run(show))' "$data" "$1"
}

bad_bags() { # each: what is done to the good files, and what is said then
  # hurt TEXT COMMAND...
  hurt() {
    local text=$1 ending
    shift
    for ending in _train.bin _val.bin .vocab.txt; do cp "bag$ending" "hurt$ending"; done
    "$@" && fails "$text" read_bag hurt
  }
  write_end() { printf "$1" | dd of=hurt_train.bin bs=1 seek=$(($(stat -c %s hurt_train.bin) - $2)) conv=notrunc status=none; }
  printf 'text,more,label\na,word,0\ngood,b,1\nab,c,0\nc d,ab,1\n' > bag.csv
  classify --train bag.csv --val bag.csv --text text --text2 more --label label --output bag > log || return 1
  read_bag bag > log && is "samples" "$(cat log)" "4 | a 2:word | good 2:b | ab 2:c | c d 2:ab | [0, 1, 0, 1]" || return 1
  hurt "hurt_train.bin: damaged: 1,132 bytes found, 1,134 expected for 4 samples" truncate -s -2 hurt_train.bin &&
    hurt "hurt_val.bin: damaged: 1,024 bytes found" truncate -s 1024 hurt_val.bin &&
    hurt "hurt_val.bin: not a file of samples" truncate -s 1000 hurt_val.bin &&
    hurt "hurt_train.bin: damaged: an offset, a token or a label is out of range" write_end '\022\0' 4 &&
    hurt "18 words, PREFIX.vocab.txt has 17" sed -i '$d' hurt.vocab.txt &&
    hurt "hurt.vocab.txt: not UTF-8 at byte 6" sed -i '2s/.*/\xff/' hurt.vocab.txt || return 1
  head -n 3 bag.csv > few.csv && classify --train few.csv --val few.csv --text text --label label --output few > log &&
    fails "few_train.bin: 2 samples; without those that choose the penalty they are of 0 classes" read_bag few || return 1
  printf 'text,label\na,0\nb,0\nc,0\nd,0\n' > one.csv
  classify --train one.csv --val one.csv --text text --label label --labels 0 1 --output one > log &&
    fails "one_train.bin: 4 samples; without those that choose the penalty they are of 1 classes" read_bag one
}

bag_of_words() { # words that tell are found; an order is not
  if ! (cd "$data" && python3 -c 'import environment; environment.make("requirements_baseline.txt")') > log 2>&1; then
    why="scikit-learn cannot be installed: $(grep -m 1 '^error: ' log)"
    return 77
  fi
  (echo 'text,label' && for i in $(seq 60); do echo "a word b,0" && echo "good word,1"; done) > tell.csv
  classify --train tell.csv --val tell.csv --text text --label label --output tell > log || return 1
  "$python" "$data/bag_of_words.py" tell > log && has "result" "$(tail -n 1 log)" "val accuracy 1.0000 | 120 samples" &&
    "$python" "$data/bag_of_words.py" few_order > log &&
    is "result" "$(tail -n 1 log)" "val accuracy 0.5000 | 100 samples" &&
    fails "nowhere.vocab.txt: No such file" "$python" "$data/bag_of_words.py" nowhere &&
    fails "demo/plain_train.bin: has no classes" "$python" "$data/bag_of_words.py" demo/plain
}

test_case "bert data: usage" usage
test_case "bert data: bytes of files" with_packages bytes_of_files
test_case "bert data: bytes of pairs, with numbers" with_packages bytes_of_pairs
test_case "bert data: demo text" with_bible demo
test_case "bert data: same bytes" with_bible same_bytes
test_case "bert data: checksums" with_bible checksums
test_case "bert data: pairs" with_bible pairs
test_case "bert data: sentences" with_packages sentences
test_case "bert data: bad texts" with_packages bad_texts
test_case "bert data: vocabularies" with_packages vocabularies
test_case "bert data: vocabulary from a package" with_packages vocabulary_from_package
test_case "bert data: TSV, CSV, JSONL" with_packages formats
test_case "bert data: labels found" with_packages labels_found
test_case "bert data: the printed command runs" with_packages command_runs
test_case "bert data: cut to length" with_packages cut_to_length
test_case "bert data: special words" with_packages special_words
test_case "bert data: GLUE" with_packages glue_tasks
test_case "bert data: bad tables" with_packages bad_tables
test_case "bert data: damaged files for bag_of_words.py" with_packages bad_bags
if [ "$long" = --long ]; then
  test_case "bert data: verses" with_bible verses
  test_case "bert data: bag of words" with_bible bag_of_words
fi

finish
