#!/usr/bin/env bash
# What train_bert finds out before it trains: the texts beside the samples or in the folder of -e, and what does not belong
# together; rates of dropout; what it says where a step has nothing to predict. The cases one by one: test_bert_find_texts.c.
# shellcheck disable=SC2034,SC2086,SC2088 # lib.sh shows why; flags are split at spaces; ~ is the program's to expand
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=dev/test/hf.sh
. "$root/dev/test/hf.sh"
train="$root/train_bert"
small="-e L=1,H=2,C=32,T=19,V=67 -b 4 -t 19 -v 0"

# data PREFIX KIND: PREFIX_train.bin and PREFIX_val.bin, a fixture's samples, and their vocabulary.
data() {
  cp "$fixtures/bert_hf_$2.bin" "$1_train.bin" && cp "$fixtures/bert_hf_$2.bin" "$1_val.bin" &&
    cp "$fixtures/bert_hf.vocab.txt" "$1.vocab.txt"
}
# same_words FILE: the fixtures' vocabulary.
same_words() { is "$1" "$(cmp "$fixtures/bert_hf.vocab.txt" "$1" 2>&1)" ""; }

# The folder of -e is a checkpoint in the run's own -o: it is moved aside, and pruned, while its vocabulary is needed.
own_checkpoint() {
  data words pairs && mkdir bare && cp words_train.bin bare/ || return 1
  ranks 1 self $small -i words_train.bin -x 1 -n 1 -o own > log 2>&1 && same_words own/step_00000001/vocab.txt || return 1
  ranks 1 self -e own/step_00000001 -b 4 -t 19 -v 0 -i bare/words_train.bin -x 3 -n 1 -nk 1 -o own --export own_end \
    > log 2>&1 || { why=$(tail -3 log) && return 1; }
  is "warnings" "$(grep -c '^warning' log)" 0 && is "notes" "$(grep -c '^note: no vocabulary' log)" 0 &&
    same_words own/step_00000003/vocab.txt && same_words own_end/vocab.txt || return 1
  # and one that is deleted while the run goes on
  mkdir gone && cp -r own_end/* gone/
  ranks 1 self -e gone -b 4 -t 19 -v 0 -i bare/words_train.bin -x 400 -n 400 -o gone_out > log 2>&1 &
  local pid=$! i
  for i in $(seq 400); do grep -q '^step ' log && break; sleep 0.05; done
  rm -r gone
  why="the run was over before its folder was deleted"
  ! grep -q '^checkpoint' log || return 1
  wait $pid || { why=$(tail -3 log) && return 1; }
  same_words gone_out/step_00000400/vocab.txt
}

globs() {
  mkdir globs && data globs/one pairs && data globs/two pairs && rm globs/one.vocab.txt || return 1
  ranks 1 self $small -i 'globs/*_train.bin' -x 0 --export glob_out > log && same_words glob_out/vocab.txt &&
    ranks 1 self $small -i 'globs/{one,two}_train.bin' -x 0 --export brace_out > log && same_words brace_out/vocab.txt &&
    HOME=$work ranks 1 self $small -i '~/globs/two_train.bin' -x 0 --export home_out > log && same_words home_out/vocab.txt || return 1
  sed 's/^hf$/hF/' globs/two.vocab.txt > globs/one.vocab.txt
  fails 1 "-i globs/two.vocab.txt: line 67 is 'hf', in globs/one.vocab.txt it is 'hF'" $small -i 'globs/*_train.bin' -x 0
}

no_vocabulary() {
  data mine pairs && cp mine_train.bin mine_corpus.bin && mkdir none && cp mine_train.bin none/ || return 1
  local note="note: no vocabulary, neither PREFIX.vocab.txt beside PREFIX_train.bin nor vocab.txt in -e L=1"
  ranks 1 self $small -i mine_corpus.bin -x 1 -n 1 -o none_out > log && has "output" "$(cat log)" "$note" &&
    is "files" "$(ls none_out/step_00000001 | xargs)" "config.json model.safetensors state.zero" || return 1
  ranks 1 self $small -i none/mine_train.bin -x 0 --export none_end > log && has "output" "$(cat log)" "$note" &&
    is "files" "$(ls none_end | xargs)" "config.json model.safetensors" || return 1
  ranks 1 self $small -i none/mine_train.bin -x 0 > log # nothing is written
  is "notes" "$(grep -c '^note: no vocabulary' log)" 0
}

other_vocabulary() {
  data here pairs && bad bert_hf_pretraining && sed 's/^ac$/other/' here.vocab.txt > bad/vocab.txt || return 1
  local flags="-b 4 -t 19 -v 0 -x 0"
  fails 1 "-e bad/vocab.txt: line 8 is 'other', in here.vocab.txt it is 'ac'; prepare the data with the vocabulary of the model" \
    -e bad $flags -i here_train.bin || return 1
  head -n 66 here.vocab.txt > short && mv short here.vocab.txt
  fails 1 "-i here_train.bin: was made with a vocabulary of 67 words, here.vocab.txt has 66" $small -x 0 -i here_train.bin
}

classes() {
  data classes classes && printf '%s\n' 'a class' another 'a third' > classes.labels.txt || return 1
  local flags="-b 4 -t 19 -v 0 --task classify"
  ranks 1 self -e "$fixtures/bert_hf_classes" $flags -i classes_train.bin -x 1 --export classes_out > log 2>&1 || return 1
  printf '%s\n' 'a class' 'a third' another > classes.labels.txt
  fails 1 "-e $fixtures/bert_hf_classes: class 1 is 'another', in classes.labels.txt it is 'a third'; the rows of its" \
    -e "$fixtures/bert_hf_classes" $flags -i classes_train.bin -x 1 || return 1
  printf '%s\n' one two > classes.labels.txt
  fails 1 "-j classes.labels.txt: names 2 classes, the samples have 3; prepare the data again" \
    -e "$fixtures/bert_hf_encoder" -b 4 -t 19 -v 1 --task classify -j classes_val.bin -x 0
}

# A folder with one type of token: the second row of its table becomes a tensor that old files have.
one_type() {
  bad bert_hf_pretraining && sed -i 's/"type_vocab_size": 2/"type_vocab_size": 1/' bad/config.json || return 1
  perl -0777 -e 'open my $f, "+<:raw", "bad/model.safetensors" or die; my $all = <$f>;
    my $n = unpack "Q<", $all; my ($head, $rest) = (substr($all, 8, $n), substr($all, 8 + $n));
    $head =~ s/(token_type_embeddings\.weight":)\{"dtype":"(\w+)","shape":\[2,(\d+)\],"data_offsets":\[(\d+),(\d+)\]\}/
      my $half = ($4 + $5) \/ 2; my $row = qq("dtype":"$2","shape":[1,$3],"data_offsets":);
      qq($1\{$row\[$4,$half]},"embeddings.position_ids":{$row\[$half,$5]})/e or die "no types";
    seek $f, 0, 0; print $f pack("Q<", length $head), $head, $rest; close $f or die' || return 1
  local flags="-e bad -b 4 -t 19 --task mlm" pairs="$fixtures/bert_hf_pairs.bin"
  fails 1 "-i $pairs: has samples of two texts, but -e bad knows one type of token (type_vocab_size)" $flags -i $pairs -x 1 -v 0 &&
    fails 1 "-j $pairs: has samples of two texts" $flags -j $pairs -x 0 -v 1 || return 1
  ranks 1 self $flags -i "$fixtures/bert_hf_classes.bin" -x 1 -v 0 > log 2>&1 || { why=$(tail -3 log) && return 1; }
}

too_many_rows() {
  local flags="-e L=1,H=2,C=32,T=19,V=67 -t 19 -x 1 -v 0 -i $fixtures/bert_hf_pairs.bin"
  fails 1 "-b: 200000000 samples of 19 tokens are more rows than can be numbered; give a smaller -b" $flags -b 200000000 || return 1
  is "errors that are not of a check" "$(ranks 1 self $flags -b 200000000 2>&1 | grep -c 'rank 0:')" 0
}

# dropout_is TEXT ARGUMENTS: what a run of a classifier says about its rates.
dropout_is() {
  local text=$1
  shift
  ranks 1 self -b 4 -t 19 -v 0 -x 0 --task classify -i "$fixtures/bert_hf_classes.bin" "$@" > log 2>&1 || return 1
  has "rates of '$*'" "$(grep '^task' log)" "dropout $text"
}

dropout() {
  local descriptor="-e L=1,H=2,C=32,T=19,V=67"
  bad bert_hf_classes && sed -i 's/"classifier_dropout": [0-9.]*/"classifier_dropout": null/; s/"hidden_dropout_prob": [0-9.]*/"hidden_dropout_prob": 0.25/;
    s/"attention_probs_dropout_prob": [0-9.]*/"attention_probs_dropout_prob": 0.5/' bad/config.json || return 1
  dropout_is "0.25, attention 0.5, classifier 0.25" -e bad &&
    dropout_is "0, attention 0.5, classifier 0" -e bad --dropout 0 &&
    dropout_is "0.125, attention 0, classifier 0.125" -e bad --dropout 0.125 --attention-dropout 0 &&
    dropout_is "0, attention 0.5, classifier 0.75" -e bad --dropout 0 --classifier-dropout 0.75 || return 1
  sed -i 's/"classifier_dropout": null/"classifier_dropout": 0.375/' bad/config.json
  dropout_is "0, attention 0.5, classifier 0.375" -e bad --dropout 0 &&
    dropout_is "0.1, attention 0.1, classifier 0.1" $descriptor && dropout_is "0, attention 0.1, classifier 0" $descriptor --dropout 0
}

# empty_samples FILE: 8 samples without a word.
empty_samples() {
  perl -e 'my $file = shift; my $n = 8;
    open my $out, ">:raw", $file or die "$file: $!";
    print $out pack("l<256", 20261128, 1, $n, 0, 67, 2, 0, 2, 3, 4, 2 * $n, (0) x 245), pack("Q<*", map { 2 * $_ } 0 .. $n),
      pack("S<*", (2) x $n), pack("S<*", (2, 3) x $n);
    close $out or die "$file: $!";' "$1"
}

# Nothing but special tokens: no loss, no gradient, no infinite or undefined figure in any type.
no_targets() {
  empty_samples empty_train.bin && empty_samples empty_val.bin || return 1
  local type
  for type in fp32 bf16 fp16; do
    ranks 1 self -e L=1,H=2,C=32,T=19,V=67 -b 2 -t 19 -i empty_train.bin -j empty_val.bin -x 3 -v 3 -c 0 --dtype $type -o empty_$type \
      > log 2>&1 || { why=$(tail -3 log) && return 1; }
    is "$type: notes" "$(grep -c '^note: no sample of step 1 has a token that can be masked' log)" 1 &&
      is "$type: notes of all steps" "$(grep -c '^note: no sample' log)" 1 &&
      is "$type: steps without loss and gradient" "$(grep -c '^step .*| loss 0.000000 | norm 0.0000 ' log)" 3 &&
      is "$type: validations" "$(grep -c '^val loss 0.000000 | no token that can be masked | 8 samples$' log)" 2 || return 1
    why="$type: a figure that is none: $(grep -i -m 1 -w -E 'nan|-nan|inf' log empty_$type/main.log)"
    ! grep -q -i -w -E 'nan|-nan|inf' log empty_$type/main.log || return 1
  done
}

test_case "bert start: a folder that is moved away while it is trained from" own_checkpoint
test_case "bert start: the texts beside the files of a glob" globs
test_case "bert start: no vocabulary" no_vocabulary
test_case "bert start: another vocabulary than the model's" other_vocabulary
test_case "bert start: classes in another order than the model's" classes
test_case "bert start: two texts for a model of one type" one_type
test_case "bert start: more rows than can be numbered" too_many_rows
test_case "bert start: rates of dropout" dropout
test_case "bert start: nothing to predict" no_targets

finish
