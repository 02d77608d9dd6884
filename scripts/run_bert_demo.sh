#!/usr/bin/env bash
# BERT's demo: a bert-mini (4 layers, 4 heads, 256 channels) is pretrained on the King James Bible, masked words and
# next sentences, and then learns two tasks that need more than the words (data/verse_tasks.py): does verse B follow
# verse A; is this a verse, or its words shuffled. It is compared with a logistic regression over counts of words and
# with the same model that was not pretrained, on the same samples of chapters that the pretraining has not seen.
# Ends with a table and a plot. `make demo-bert` builds what it needs and calls it.
#
#   scripts/run_bert_demo.sh [more flags for the pretraining, as: -l 5e-4]
#
# Variables of the environment:
#   DEMO_STEPS       steps of pretraining, of 16 samples
#   DEMO_EPOCHS      passes over the samples of a task
#   DEMO_SEEDS       fine-tunings of each model and task: seeds 1 … N
#   DEMO_RANKS       1 or 2 ranks; the results are the same
#   DEMO_DATA        folder of the prepared data
#   DEMO_OUT         folder for models, logs, table and plot
# Started again, it goes on where it was stopped: pretraining from its last checkpoint, fine-tuning with the next one.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1

steps=${DEMO_STEPS:-4000}
epochs=${DEMO_EPOCHS:-1}
seeds=${DEMO_SEEDS:-3}
ranks=${DEMO_RANKS:-2}
data=${DEMO_DATA:-data/bert_demo}
out=${DEMO_OUT:-log_bert_demo}
length=64           # tokens of a sample
batch=16            # samples of a step
micro=8             # samples of a rank's micro-batch: the results are the same for ranks that share `batch` evenly
masked=0.4          # share of tokens: with 0.15 so short a pretraining learns little more than which words are frequent
vocabulary=8192     # words
train_samples=8000  # of each task
val_samples=2000
tasks="next order"

fail() {
  echo "error: run_bert_demo.sh: $*" >&2
  exit 1
}

number() { # number NAME VALUE
  case $2 in
    "" | *[!0-9]* | 0*) fail "$1: '$2' found; give a number, 1 or more" ;;
  esac
}

# log FILE PATTERN COMMAND...: runs it, shows the lines that match and keeps all in the FILE, which has its name only if
# all went well.
log() {
  local file=$1 pattern=$2
  shift 2
  # Ctrl-C asks the trainer to stop, which it does at the end of a step and well; so its readers stay.
  "$@" 2>&1 | tee -i "$file.part" | { trap '' INT && grep --line-buffered -E "$pattern" || true; } || exit
  if grep -q '^stopped by a signal' "$file.part"; then
    echo "run_bert_demo.sh: stopped; start it again to go on"
    exit 130
  fi
  mv "$file.part" "$file" || exit
}

# accuracy FILE: the last one that a log has, as a share.
accuracy() {
  awk '/^val loss .* accuracy / { sub(/.* accuracy /, ""); found = $1 / 100 }
       /^val accuracy / { found = $3 }
       END { if (found == "") exit 1; printf "%.4f\n", found }' "$1" || fail "$1: no accuracy in it"
}

number DEMO_STEPS "$steps" && number DEMO_EPOCHS "$epochs" && number DEMO_SEEDS "$seeds"
case $ranks in
  1 | 2) ;;
  *) fail "DEMO_RANKS: '$ranks' found; give 1 or 2, which share 2 micro-batches evenly" ;;
esac
if [ ! -x train_bert ]; then
  fail "./train_bert not found; build it with: make train_bert"
fi

# ---------------------------------------------------------------- data

if [ ! -e "$data/pretraining_train.bin" ] || [ ! -e "$data/pretraining_val.bin" ]; then
  python3 data/prepare_bert.py --demo --sentences lines --pairs 1 --train-vocab $vocabulary --max-length $length \
    --output "$data/pretraining" || exit
fi
for task in $tasks; do
  if [ ! -e "$data/verse_${task}_train.bin" ] || [ ! -e "$data/verse_${task}_val.bin" ]; then
    python3 data/verse_tasks.py --vocab "$data/pretraining.vocab.txt" --max-length $length \
      --train-samples $train_samples --val-samples $val_samples --output "$data/verse" || exit
  fi
done

# What was made with other settings is not mixed with this.
mkdir -p "$out/fine-tuning" || exit
settings="steps $steps, epochs $epochs, data $data, flags '$*'"
if [ -e "$out/settings" ] && [ "$(cat "$out/settings")" != "$settings" ]; then
  fail "DEMO_OUT: $out has results for $(cat "$out/settings"), now $settings; remove it, or give another folder"
fi
echo "$settings" > "$out/settings" || exit

# ---------------------------------------------------------------- pretraining

model="L=4,H=4,C=256,T=$length,V=$(wc -l < "$data/pretraining.vocab.txt")"
every=$(((steps + 19) / 20)) # about 20 lines of progress, 5 validations
if [ ! -e "$out/pretraining.log" ]; then
  rm -rf "$out/pretrained" # of a run that was stopped
  echo "== pretraining, $steps steps"
  log "$out/pretraining.log" "" scripts/run.sh "$ranks" ./train_bert --task mlm --nsp 1 -e "$model" \
    -i "$data/pretraining_train.bin" -j "$data/pretraining_val.bin" -b $micro -d $((batch * length)) -z 2 \
    -x "$steps" -l 1e-3 -u $(((steps + 19) / 20)) -k linear -q 0 -c 0.01 --mask-probability $masked --dropout 0 \
    --attention-dropout 0 --log-every "$every" -v $((every * 4)) -m -1 -o "$out/pretraining" -n $((every * 2)) -nk 1 -y 1 \
    --export "$out/pretrained" "$@"
fi

# ---------------------------------------------------------------- the tasks

# fine_tune TASK NAME MODEL SEED: unless its log is there
fine_tune() {
  local file="$out/fine-tuning/$1_$2_$4.log" samples steps
  [ -e "$file" ] && return
  echo "== task $1, $2, seed $4"
  samples=$(od -An -t d4 -j 8 -N 4 "$data/verse_$1_train.bin" | tr -d ' ') # the header's third int32
  steps=$((samples * epochs / batch))
  log "$file" '^(step|val loss|error)' scripts/run.sh "$ranks" ./train_bert --task classify -e "$3" \
    -i "$data/verse_$1_train.bin" -j "$data/verse_$1_val.bin" -b $micro -d $((batch * length)) -t $length -z 2 \
    -x $steps -l 2e-4 -u $(((steps + 9) / 10)) -k linear -q 0 -c 0.01 --dropout 0.1 --attention-dropout 0.1 \
    --log-every $steps -v $steps -m -1 --seed "$4"
}

# count_words TASK NGRAMS
count_words() {
  local file="$out/fine-tuning/$1_words_$2.log"
  [ -e "$file" ] && return
  echo "== task $1, logistic regression over sequences of up to $2 words"
  log "$file" "" python3 data/bag_of_words.py "$data/verse_$1" --ngrams "$2"
}

results="$out/results.tsv"
: > "$results.part" || exit
result() { # result TASK MODEL SEED LOG
  local share
  share=$(accuracy "$4") || exit
  printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$share" >> "$results.part"
}
for task in $tasks; do
  for ngrams in 1 2; do count_words "$task" $ngrams; done
  for seed in $(seq "$seeds"); do
    fine_tune "$task" scratch "$model" "$seed"
    fine_tune "$task" pretrained "$out/pretrained" "$seed"
  done
  result "$task" "counts of words" - "$out/fine-tuning/${task}_words_1.log"
  result "$task" "counts of words and pairs" - "$out/fine-tuning/${task}_words_2.log"
  for seed in $(seq "$seeds"); do
    result "$task" "BERT, not pretrained" "$seed" "$out/fine-tuning/${task}_scratch_$seed.log"
  done
  for seed in $(seq "$seeds"); do
    result "$task" "BERT, pretrained" "$seed" "$out/fine-tuning/${task}_pretrained_$seed.log"
  done
done
mv "$results.part" "$results" || exit
echo
python3 data/bert_report.py "$results" "$out/pretraining/main.log" --plot "$out/demo.svg"
