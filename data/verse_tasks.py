#!/usr/bin/env python3
"""Two tasks of classification out of the King James Bible, in files of samples for train_bert (--task classify).

    python3 data/verse_tasks.py --vocab data/bert_demo.vocab.txt   # -> data/verse_order_*.bin, data/verse_next_*.bin

order: the words of a verse without punctuation: as they stand (label 1), or shuffled (0). Each verse is there both
       ways.
next:  two verses: the second follows the first (label 1), or is of another chapter (0). Each verse is as often a first
       one, and as often a second one, with either label.
So neither can be told from which words there are. Chapters are divided into training and validation as prepare_bert.py
--demo divides them, if --seed and --val-fraction are the same: a model pretrained there has seen no chapter that these
tasks validate on. Verses whose words occur in validation too are left out of training. Writes PREFIX_TASK_train.bin,
PREFIX_TASK_val.bin, PREFIX_TASK.vocab.txt and PREFIX_TASK.labels.txt.
"""

import argparse
import os
import re
import sys

import bert_arguments
import bible
import environment
from chance import Chance, validation_documents
from common import HERE, Parser, UserError, run

MIN_WORDS = 6  # of a verse that is shuffled
ATTEMPTS = 100  # to find another order of words, or of verses
LABELS = {"order": ["shuffled", "verse"], "next": ["elsewhere", "follows"]}


def parse_arguments(argv):
    parser = Parser(
        prog=os.path.basename(__file__), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    bert_arguments.add_vocabulary(parser, train=False)
    bert_arguments.add_max_length(parser)
    bert_arguments.add_split(parser, "chapters")
    for split in ("train", "val"):
        parser.add_argument(
            f"--{split}-samples", type=int, metavar="N", help=f"at most N samples of each task in {split} (all)"
        )
    parser.add_argument("--output", default=os.path.join(HERE, "verse"), metavar="PREFIX", help="(data/verse)")
    arguments = parser.parse_args(argv)
    bert_arguments.check(parser, arguments)
    for name in ("train_samples", "val_samples"):
        value = getattr(arguments, name)
        if value is not None and value < 2:
            parser.error(f"argument --{name.replace('_', '-')}: {value} found; give 2 or more, one of each label")
    return arguments


def words_of(verse):
    return tuple(re.findall("[a-z']+", verse.lower()))


def other_order(words, chance):
    """The words in another order; None: there is none, or none was found."""
    for _ in range(ATTEMPTS):
        shuffled = tuple(chance.shuffled(words))
        if shuffled != words:
            return shuffled
    return None


def order_samples(chapters, seen, chance):
    """[((text,), label)], a verse and then the same shuffled. seen: sets of words of verses that are left out; those of
    the verses that are taken are added."""
    samples = []
    for _, verses in chapters:
        for words in map(words_of, verses):
            key = tuple(sorted(words))
            shuffled = other_order(words, chance) if len(words) >= MIN_WORDS and key not in seen else None
            if shuffled is not None:
                seen.add(key)
                samples += [((" ".join(words),), 1), ((" ".join(shuffled),), 0)]
    return samples


def next_samples(chapters, seen, chance):
    """[((first, second), label)], one that follows and then one that does not, with the same first verse. seen: words
    of verses that are left out."""
    pairs = [
        (number, first, second)
        for number, (_, verses) in enumerate(chapters)
        for first, second in zip(verses, verses[1:])
        if words_of(first) not in seen and words_of(second) not in seen
    ]
    order = chance.shuffled(range(len(pairs)))
    # The seconds change places until each stands beside a first of another chapter.
    for i in range(len(order)):
        for _ in range(ATTEMPTS):
            if pairs[order[i]][0] != pairs[i][0]:
                break
            j = chance.below(len(order))
            if pairs[order[j]][0] != pairs[i][0] and pairs[order[i]][0] != pairs[j][0]:
                order[i], order[j] = order[j], order[i]
        else:
            raise UserError("too few chapters for pairs of verses; give another --val-fraction")
    samples = []
    for (_, first, second), other in zip(pairs, order):
        samples += [((first, second), 1), ((first, pairs[other][2]), 0)]
    return samples


def limited(samples, most, chance):
    """At most so many of the samples, which come in twos."""
    if most is None or most >= len(samples):
        return samples
    twos = chance.shuffled(range(len(samples) // 2))[: most // 2]
    return [sample for two in sorted(twos) for sample in samples[2 * two : 2 * two + 2]]


def prepare(arguments):
    environment.enter()
    from samples import SampleFile, write_samples
    from wordpiece import find_vocabulary

    vocabulary = find_vocabulary(arguments)
    chapters = bible.chapters("verse_tasks.py")
    validation = validation_documents(len(chapters), arguments.val_fraction, arguments.seed)
    parts = {
        "val": [chapter for i, chapter in enumerate(chapters) if i in validation],
        "train": [chapter for i, chapter in enumerate(chapters) if i not in validation],
    }
    texts = {"order": {}, "next": {}}
    seen = set()
    for split, some in parts.items():  # validation first: what it has is left out of training
        texts["order"][split] = order_samples(some, seen, Chance(arguments.seed, split, "order"))
    validation_verses = {words_of(verse) for _, verses in parts["val"] for verse in verses}
    for split, some in parts.items():
        left_out = validation_verses if split == "train" else set()
        texts["next"][split] = next_samples(some, left_out, Chance(arguments.seed, split, "next"))
    for task, splits in texts.items():
        files = {}
        for split in ("train", "val"):
            most = getattr(arguments, f"{split}_samples")
            samples = limited(splits[split], most, Chance(arguments.seed, split, task, "limit"))
            files[split] = SampleFile(vocabulary, len(LABELS[task]))
            encoded = vocabulary.encode_samples(
                [text[0] if len(text) == 1 else text for text, _ in samples], arguments.max_length
            )
            for (tokens, second), (_, label) in zip(encoded, samples):
                files[split].add(tokens, second, label)
        prefix = f"{arguments.output}_{task}"
        train, val = write_samples(prefix, files, vocabulary, LABELS[task])
        print(bert_arguments.command("classify", arguments.max_length, len(vocabulary), train, val))
    print("or fine-tune: the same with -e FOLDER, a pretrained model that has this vocabulary")


if __name__ == "__main__":
    sys.exit(run(lambda: prepare(parse_arguments(sys.argv[1:]))))
