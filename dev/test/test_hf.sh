#!/usr/bin/env bash
# Hugging Face's folders: what transformers wrote gives its loss here, what is exported gives ours there, llm.c's .bin
# goes there and back, and nothing is lost or half-written. The comparison with transformers itself needs a Python that
# has it: ZERO_C_REFERENCE_PYTHON, or .venv/bin/python (dev/reference/README.md).
# shellcheck disable=SC2034,SC2054,SC2086 # lib.sh shows why; -e takes commas; flags are split at spaces
set -u
# shellcheck source=dev/test/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=dev/test/hf.sh
. "$root/dev/test/hf.sh"
tokens="$fixtures/hf_tokens.bin"
evaluate="-j $tokens -b 5 -t 19 -x 0 -v 1 -m -1 -s 0 --dtype fp32" # 11 windows, the last micro-batch is short
convert="-b 1 -t 1 -x 0 -v 0 -s 0"
train_some="-i $tokens -j $tokens -b 4 -t 19 -x 6 -v 6 -m -1 -s 0 -l 1e-3"

transformers_loss() {
  local name exact single count=0
  while read -r name exact single; do
    within "$name, 1 rank" "$(loss 1 -e "$fixtures/$name" $evaluate)" "$exact" &&
      within "$name, 1 rank, fp32 there" "$(loss 1 -e "$fixtures/$name" $evaluate)" "$single" &&
      within "$name, 2 ranks at stage 3" "$(loss 2 -z 3 -e "$fixtures/$name" $evaluate)" "$exact" || return 1
    count=$((count + 1))
  done < "$fixtures/hf_losses.txt"
  is "folders compared" $count 5
}

shards_are_the_same_model() {
  for name in fp32 fp16; do
    ranks 1 self -e "$fixtures/hf_$name" $convert --export "one_$name.bin" > log &&
      ranks 2 shm -e "$fixtures/hf_${name}_sharded" $convert -z 3 --export "many_$name.bin" > log || return 1
    why="one file and several give different weights in $name"
    cmp -s "one_$name.bin" "many_$name.bin" || return 1
  done
}

there_and_back() {
  for name in gpt2_a gpt2_b; do
    ranks 1 self -e "$fixtures/$name.bin" $convert --export "there_$name" > log &&
      ranks 2 mpi -z 2 -e "there_$name" $convert --export "back_$name.bin" > log || return 1
    why="$name.bin is another file after it was a folder"
    cmp -s "$fixtures/$name.bin" "back_$name.bin" || return 1
  done
  is "files left over" "$(find . -name '*.tmp' | wc -l)" 0
}

# trained TYPE: a folder that was trained and exported in that type, whose name is given by it.
trained() {
  [ -e "trained_$1/model.safetensors" ] ||
    ranks 1 self -e "$fixtures/hf_fp32" $train_some --dtype "$1" --export "trained_$1" > "train_$1.log"
}

export_has_the_trained_weights() {
  for type in fp32 bf16 fp16; do
    trained $type || return 1
    types_are "trained_$type" $type || return 1
    # what is exported again is the same
    ranks 1 self -e "trained_$type" $convert --dtype $type --export "again_$type" > log || return 1
    why="trained_$type is another file when it is exported again"
    cmp -s "trained_$type/model.safetensors" "again_$type/model.safetensors" || return 1
  done
  local before after
  before=$(loss 1 -e "$fixtures/hf_fp32" $evaluate)
  after=$(sed -n 's/^val loss \([0-9.]*\) .*/\1/p' train_fp32.log | tail -1)
  why="training moved the loss from $before to $after only"
  awk "BEGIN { exit !($before - $after > 0.05) }" &&
    within "trained_fp32 read again" "$(loss 1 -e trained_fp32 $evaluate)" "$after"
}

# An export has the rates of its training; a run that does not use a folder's says so in one line.
dropout_rates() {
  local rates="--dropout 0.25 --attention-dropout 0.125" key
  ranks 1 self -e "$fixtures/hf_fp32" $train_some $rates --export dropped > log &&
    has "output" "$(cat log)" "dropout: 0.25, attention 0.125" || return 1
  for key in '"embd_pdrop": 0.25' '"resid_pdrop": 0.25' '"attn_pdrop": 0.125'; do
    has "dropped/config.json" "$(tr '\t' ' ' < dropped/config.json)" "$key" || return 1
  done
  ranks 1 self -e dropped $evaluate $rates > log && is "notes on the folder's own rates" "$(grep -c '^note: -e' log)" 0 || return 1
  ranks 1 self -e dropped $evaluate > log && is "notes on other rates" "$(grep -c '^note: -e' log)" 1 &&
    has "output" "$(cat log)" "note: -e dropped: its config.json has embd_pdrop 0.25, resid_pdrop 0.25, attn_pdrop 0.125"
}

ranks_export_the_same() {
  trained fp32 || return 1
  ranks 2 shm -z 3 -e "$fixtures/hf_fp32" $train_some -b 2 --export two_ranks > log || return 1
  ranks 1 self -e "$fixtures/hf_fp32" $train_some -b 2 -d 76 --export one_rank > log || return 1
  why="2 ranks at stage 3 export other bytes than 1 rank"
  cmp -s two_ranks/model.safetensors one_rank/model.safetensors && cmp -s two_ranks/config.json one_rank/config.json
}

stopped_by_a_signal() {
  : > stopped.log
  ZERO_COMM=self timeout $time_limit "$train" -e "$fixtures/hf_fp32" -i "$tokens" -b 1 -t 19 -x 1000000 -v 0 -s 0 \
    --log-every 1000000 --export stopped > stopped.log 2>&1 &
  local job=$! tries=0
  while ! grep -q '^step' stopped.log && [ $((tries += 1)) -lt 200 ]; do sleep 0.1; done
  kill -TERM $job # timeout hands it on
  wait $job
  has "output of the stopped run" "$(cat stopped.log)" "stopped by a signal" &&
    has "output of the stopped run" "$(cat stopped.log)" "exported to stopped" &&
    has "loss of what it exported" "$(loss 1 -e stopped $evaluate)" .
}

nothing_is_lost() {
  mkdir -p full empty && echo mine > full/model.safetensors && echo mine > mine.bin && echo '{}' > empty/config.json
  local base="-e $fixtures/hf_fp32 $convert --export"
  fails 1 "--export full/model.safetensors: is there already" $base full &&
    fails 1 "--export empty/config.json: is there already" $base empty &&
    fails 1 "--export mine.bin: is there already" $base mine.bin &&
    fails 1 "--export mine.bin/model: cannot be used" $base mine.bin/model &&
    fails 1 "--export /proc/no/model: cannot be written to" $base /proc/no/model &&
    is "what was there" "$(cat full/model.safetensors mine.bin empty/config.json | xargs)" "mine mine {}"
}

nothing_half_written() {
  mkdir -p blocked/model.safetensors.tmp # where the file is to be written first
  fails 2 "--export blocked: blocked/model.safetensors.tmp: cannot be written" -e "$fixtures/hf_fp32" $convert \
    --export blocked &&
    is "files" "$(find blocked -type f)" ""
}

bad_folders() {
  bad hf_fp32 && sed -i 's/"n_layer": 2/"n_layer": 3/' bad/config.json
  fails 1 "-e bad/model.safetensors: transformer.h.2.attn.c_attn.weight is missing" -e bad $evaluate || return 1
  bad hf_fp32 && sed -i 's/"n_positions": 19/"n_positions": 20/' bad/config.json
  fails 1 "-e bad/model.safetensors: transformer.wpe.weight has the shape [19, 30], by config.json it is [20, 30]" \
    -e bad $evaluate || return 1
  bad hf_fp32 && sed -i 's/"model_type": "gpt2"/"model_type": "llama"/' bad/config.json
  fails 1 "-e bad/config.json: model_type is \"llama\"" -e bad $evaluate || return 1
  bad hf_fp32 && truncate -s 1000 bad/model.safetensors
  fails 1 "-e bad/model.safetensors: its header of" -e bad $evaluate || return 1
  bad hf_fp32 && perl -0777 -pi -e 's/("transformer.ln_f.weight":\{[^}]*"data_offsets":\[)(\d+),(\d+)/
    $1 . ($2 - 120) . "," . ($3 - 120)/ex' bad/model.safetensors # 30 floats
  fails 1 "-e bad/model.safetensors: transformer.ln_f.weight: its data overlaps that of transformer.ln_f.bias by 120" \
    -e bad $evaluate || return 1
  bad hf_fp32_sharded && sed -i 's/"model-00001-of/"..\/model-00001-of/' bad/model.safetensors.index.json
  fails 1 "-e bad/model.safetensors.index.json: weight_map: transformer.h.0.attn.c_attn.weight: found the file" \
    -e bad $evaluate || return 1
  bad hf_fp32_sharded && rm bad/model-00002-of-00004.safetensors
  fails 1 "-e bad/model-00002-of-00004.safetensors: cannot be opened" -e bad $evaluate || return 1
  bad hf_fp32 && rm bad/model.safetensors
  fails 1 "-e bad: has neither model.safetensors nor model.safetensors.index.json" -e bad $evaluate &&
    fails 1 "-e nowhere: not a known model" -e nowhere $evaluate
}

transformers_reads_it() {
  has_transformers || return
  local arguments=() type name there
  for type in fp32 bf16 fp16; do
    trained $type || return 1
    arguments+=("trained_$type=$(loss 1 -e trained_$type $evaluate)")
  done
  mkdir -p copies
  checks 3 check_export.py --tokens "$tokens" --length 19 --sharded copies "${arguments[@]}" || return 1
  for type in fp32 bf16 fp16; do
    name=trained_${type}_sharded there=$(sed -n "s/^trained_$type: .*loss \([0-9.]*\) here.*/\1/p" check.log)
    why="$name has no index"
    [ -e "copies/$name/model.safetensors.index.json" ] || return 1
    within "$name" "$(loss 1 -e "copies/$name" $evaluate)" "$there" || return 1
  done
}

test_case "hf: transformers' loss, fp32, bf16, fp16, one file and several" transformers_loss
test_case "hf: several files are the same model" shards_are_the_same_model
test_case "hf: llm.c's .bin there and back" there_and_back
test_case "hf: the export has the trained weights" export_has_the_trained_weights
test_case "hf: rates of dropout in folders" dropout_rates
test_case "hf: 1 and 2 ranks export the same bytes" ranks_export_the_same
test_case "hf: a signal stops the run, the model is exported" stopped_by_a_signal
test_case "hf: an export replaces nothing" nothing_is_lost
test_case "hf: an export is whole or not there" nothing_half_written
test_case "hf: bad folders" bad_folders
test_case "hf: transformers reads what was trained and exported" transformers_reads_it

finish
