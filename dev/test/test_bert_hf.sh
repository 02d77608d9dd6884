#!/usr/bin/env bash
# Hugging Face's folders of a BERT: what transformers wrote gives its loss here, what is exported gives ours there; heads
# that a folder lacks begin anew and are named; nothing is lost. The comparison with transformers itself needs a Python
# that has it: ZERO_C_REFERENCE_PYTHON, or .venv/bin/python (dev/reference/README.md).
# shellcheck disable=SC2034,SC2046,SC2086 # lib.sh shows why; flags are split at spaces
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=dev/test/hf.sh
. "$root/dev/test/hf.sh"
train="$root/train_bert"
seed=5 # of the masks behind bert_hf_losses.txt
evaluate="-b 5 -t 19 -x 0 -v 1 -m -1 --seed $seed --dtype fp32" # 23 samples, the last micro-batch is short
convert="-x 0 -v 0 -b 1 -t 19"
train_some="-b 4 -t 19 -x 6 -v 6 -m -1 -l 1e-3 --seed $seed --dropout 0 --attention-dropout 0"

# task FOLDER: the flags of what a fixture predicts.
task() {
  case $1 in
    *pretraining*) echo --task mlm --nsp 1 ;;
    *masked*) echo --task mlm ;;
    *) echo --task classify ;;
  esac
}

transformers_loss() {
  local name kind exact single flags count=0
  while read -r name kind exact single; do
    flags="-e $fixtures/$name -j $fixtures/bert_hf_$kind.bin $(task $name) $evaluate"
    within "$name, 1 rank, packed" "$(loss 1 $flags --packed 1)" "$exact" &&
      within "$name, 1 rank, fp32 there" "$(loss 1 $flags --packed 0)" "$single" &&
      within "$name, 2 ranks at stage 3" "$(loss 2 -z 3 $flags)" "$exact" || return 1
    count=$((count + 1))
  done < "$fixtures/bert_hf_losses.txt"
  is "folders compared" $count 4
}

there_and_back() {
  local name kind types=(fp32 bf16 fp16 fp32) i=0
  while read -r name kind _; do
    ranks 1 self -e "$fixtures/$name" -j "$fixtures/bert_hf_$kind.bin" $(task $name) $convert --dtype ${types[i]} \
      --export "there_$i" > log &&
      ranks 2 mpi -z 2 -e "there_$i" -j "$fixtures/bert_hf_$kind.bin" $(task $name) $convert --dtype ${types[i]} \
        --export "back_$i" > log || return 1
    types_are "there_$i" ${types[i]} || return 1
    why="$name is another file after it was exported and read again"
    cmp "there_$i/model.safetensors" "back_$i/model.safetensors" || return 1
    i=$((i + 1))
  done < "$fixtures/bert_hf_losses.txt"
  is "folders" $i 4 && is "files left over" "$(find . -name '*.tmp' | wc -l)" 0 &&
    has "labels" "$(tr -d '\t\n' < there_2/config.json)" '"id2label":{"0":"a class","1":"another","2":"a third"}'
}

# with_words KIND: the fixture's samples under the names that data/ gives them, and their vocabulary beside them.
with_words() {
  cp "$fixtures/bert_hf_$1.bin" "$1_train.bin" && cp "$fixtures/bert_hf_$1.bin" "$1_val.bin" &&
    cp "$fixtures/bert_hf.vocab.txt" "$1.vocab.txt"
}

# trained NAME KIND TYPE: a folder that was trained and exported in that type.
trained() {
  with_words $2
  [ -e "trained_$1_$3/model.safetensors" ] ||
    ranks 1 self -e "$fixtures/$1" -i "$2_train.bin" -j "$2_val.bin" $(task $1) $train_some \
      --dtype $3 --export "trained_$1_$3" > "train_$1_$3.log"
}

export_has_the_trained_weights() {
  local name kind before after flags
  while read -r name kind _; do
    trained $name $kind fp32 || return 1
    flags="-j $fixtures/bert_hf_$kind.bin $(task $name) $evaluate"
    before=$(loss 1 -e "$fixtures/$name" $flags)
    after=$(sed -n 's/^val loss \([0-9.]*\).*/\1/p' "train_${name}_fp32.log" | tail -1)
    why="$name: training moved the loss from $before to $after only"
    awk "BEGIN { exit !($before - $after > 0.02) }" &&
      within "$name trained, read again" "$(loss 1 -e "trained_${name}_fp32" $flags)" "$after" || return 1
  done < "$fixtures/bert_hf_losses.txt"
}

ranks_export_the_same() {
  local flags="-e $fixtures/bert_hf_pretraining -i $fixtures/bert_hf_pairs.bin -j $fixtures/bert_hf_pairs.bin
    --task mlm --nsp 1 $train_some --dropout 0.1 -b 2 -d 76"
  ranks 2 shm -z 3 $flags --export two_ranks > log && ranks 1 self $flags --export one_rank > log || return 1
  why="2 ranks at stage 3 export other bytes than 1 rank"
  cmp two_ranks/model.safetensors one_rank/model.safetensors && cmp two_ranks/config.json one_rank/config.json
}

heads() {
  local output classes="-j $fixtures/bert_hf_classes.bin --task classify $evaluate"
  output=$(ranks 1 self -e "$fixtures/bert_hf_encoder" $classes 2>&1) || return 1
  has "notes" "$output" "which begin with new values: classifier.weight, classifier.bias" || return 1
  output=$(ranks 1 self -e "$fixtures/bert_hf_pretraining" $classes 2>&1) || return 1
  has "notes" "$output" "which begin with new values: classifier.weight, classifier.bias" &&
    has "notes" "$output" "the model leaves out these tensors of the folder: cls.predictions.transform.dense.weight" || return 1
  output=$(ranks 1 self -e "$fixtures/bert_hf_classes" $classes 2>&1) || return 1
  why="a folder that fits has notes about tensors: '$output'"
  ! grep -q 'these tensors' <<< "$output" &&
    fails 1 "its classifier.weight is for 3 labels, the data has 1" -e "$fixtures/bert_hf_classes" \
      -j "$fixtures/bert_hf_values.bin" --task classify $evaluate
}

tokenizer_beside() {
  trained bert_hf_pretraining pairs fp32 || return 1
  is "vocabulary" "$(cmp "$fixtures/bert_hf.vocab.txt" trained_bert_hf_pretraining_fp32/vocab.txt 2>&1)" "" &&
    has "tokenizer" "$(cat trained_bert_hf_pretraining_fp32/tokenizer_config.json)" BertTokenizer
}

# A checkpoint's folder is what --export writes, and goes on where it ended.
checkpoint_folder() {
  local flags="-i pairs_train.bin -j pairs_val.bin -e $fixtures/bert_hf_pretraining --task mlm --nsp 1 $train_some" file ended
  with_words pairs || return 1
  rm -rf parts ended
  ranks 2 shm -z 2 $flags -b 2 -o parts -n 6 --export ended > log || return 1
  is "files" "$(ls parts/step_00000006 | xargs)" "config.json model.safetensors state.zero tokenizer_config.json vocab.txt" || return 1
  for file in config.json model.safetensors tokenizer_config.json vocab.txt; do
    is "$file of checkpoint and export" "$(cmp "parts/step_00000006/$file" "ended/$file" 2>&1)" "" || return 1
  done
  ended=$(sed -n 's/^val loss \([0-9.]*\).*/\1/p' log | tail -1)
  within "loss of the checkpoint's folder" "$(loss 1 -e parts/step_00000006 -j "$fixtures/bert_hf_pairs.bin" --task mlm --nsp 1 $evaluate)" "$ended" || return 1
  # Without a vocabulary beside the samples there is none in the folder; one that is none is found before training.
  cp "$fixtures/bert_hf_classes.bin" no_train.bin && cp "$fixtures/bert_hf_classes.bin" bad_train.bin && echo word > bad.vocab.txt
  ranks 1 self -e L=1,H=2,C=32,T=19,V=67 -i no_train.bin --task classify -b 4 -t 19 -x 1 -v 0 -o none -n 1 > log || return 1
  is "files" "$(ls none/step_00000001 | xargs)" "config.json model.safetensors state.zero" &&
    fails 1 "-i bad.vocab.txt: has no word [MASK]" -e L=1,H=2,C=32,T=19,V=67 -i bad_train.bin --task classify -b 4 \
      -t 19 -x 1 -v 0 -o none -n 1
}

nothing_is_lost() {
  local base="-e $fixtures/bert_hf_masked -j $fixtures/bert_hf_pairs.bin --task mlm $convert --export"
  mkdir -p full words blocked/model.safetensors.tmp && echo mine > full/model.safetensors && echo mine > words/vocab.txt
  fails 1 "--export full/model.safetensors: is there already" $base full &&
    fails 1 "--export words/vocab.txt: is there already" $base words &&
    fails 1 "--export model.bin: a .bin of llm.c has no place for a BERT" $base model.bin &&
    fails 2 "blocked/model.safetensors.tmp: cannot be written" $base blocked &&
    is "what was there" "$(cat full/model.safetensors words/vocab.txt | xargs)" "mine mine" &&
    is "files" "$(find blocked -type f)" ""
}

bad_folders() {
  local flags="-j $fixtures/bert_hf_pairs.bin --task mlm --nsp 1 $evaluate"
  bad bert_hf_pretraining && sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' bad/config.json
  fails 1 "-e bad/model.safetensors: bert.encoder.layer.2.attention.self.query.weight is missing" -e bad $flags || return 1
  bad bert_hf_pretraining && sed -i 's/"vocab_size": 67/"vocab_size": 68/' bad/config.json
  fails 1 "bert.embeddings.word_embeddings.weight has the shape [67, 18], by config.json it is [68, 18]" -e bad $flags ||
    return 1
  bad bert_hf_pretraining && sed -i 's/"hidden_act": "gelu"/"hidden_act": "relu"/' bad/config.json
  fails 1 "-e bad/config.json: hidden_act is \"relu\"" -e bad $flags || return 1
  bad bert_hf_pretraining && truncate -s 1000 bad/model.safetensors
  fails 1 "-e bad/model.safetensors: its header of" -e bad $flags || return 1
  bad bert_hf_masked && rm bad/model-00002-of-00002.safetensors
  fails 1 "-e bad/model-00002-of-00002.safetensors: cannot be opened" -e bad $flags
}

transformers_reads_it() {
  has_transformers || return
  local name kind type arguments flags count=0
  while read -r name kind _; do
    arguments=()
    flags="-j $fixtures/bert_hf_$kind.bin $(task $name) $evaluate"
    for type in fp32 bf16 fp16; do
      trained $name $kind $type || return 1
      arguments+=("trained_${name}_$type=$(loss 1 -e "trained_${name}_$type" $flags)")
    done
    checks 3 check_bert_export.py --samples "$fixtures/bert_hf_$kind.bin" --seed $seed "${arguments[@]}" || return 1
    count=$((count + 1))
  done < "$fixtures/bert_hf_losses.txt"
  is "models" $count 4 || return 1
  [ -e parts/step_00000006/config.json ] || checkpoint_folder || return 1
  flags="-j $fixtures/bert_hf_pairs.bin --task mlm --nsp 1 $evaluate"
  checks 1 check_bert_export.py --samples "$fixtures/bert_hf_pairs.bin" --seed $seed \
    "parts/step_00000006=$(loss 1 -e parts/step_00000006 $flags)"
}

test_case "bert_hf: transformers' loss, masked LM, next sentences, classes, a number" transformers_loss
test_case "bert_hf: there and back in each type" there_and_back
test_case "bert_hf: the export has the trained weights" export_has_the_trained_weights
test_case "bert_hf: 1 and 2 ranks export the same bytes" ranks_export_the_same
test_case "bert_hf: heads that a folder lacks or has too many" heads
test_case "bert_hf: the tokenizer beside the model" tokenizer_beside
test_case "bert_hf: a checkpoint's folder" checkpoint_folder
test_case "bert_hf: an export replaces nothing and is whole or not there" nothing_is_lost
test_case "bert_hf: bad folders" bad_folders
test_case "bert_hf: transformers reads what was trained and exported" transformers_reads_it

finish
