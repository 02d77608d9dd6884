"""The nine tasks of GLUE as its files have them: one table a split, with or without a header."""

import argparse
import dataclasses
import os

from common import UserError
from labelled import Table


@dataclasses.dataclass
class Task:
    """texts, label: columns by name, or number where there is no header. labels: the classes' names in the order of
    their numbers, as Hugging Face's data sets number them; None: the label is a number (regression)."""

    texts: list
    label: str
    labels: list
    header: bool = True
    validation: dict = dataclasses.field(default_factory=lambda: {"val": "dev.tsv"})


PAIR = ["sentence1", "sentence2"]
ENTAILMENT = ["entailment", "not_entailment"]
MATCHED = {"val": "dev_matched.tsv", "val_mismatched": "dev_mismatched.tsv"}
TASKS = {
    "CoLA": Task(["4"], "2", ["0", "1"], header=False),
    "SST-2": Task(["sentence"], "label", ["0", "1"]),
    "MRPC": Task(["#1 String", "#2 String"], "Quality", ["0", "1"]),
    "STS-B": Task(PAIR, "score", None),
    "QQP": Task(["question1", "question2"], "is_duplicate", ["0", "1"]),
    "MNLI": Task(PAIR, "gold_label", ["entailment", "neutral", "contradiction"], validation=MATCHED),
    "QNLI": Task(["question", "sentence"], "label", ENTAILMENT),
    "RTE": Task(PAIR, "label", ENTAILMENT),
    "WNLI": Task(PAIR, "label", ["0", "1"]),
}


def find_task(name):
    """The task's name as GLUE writes it, for any mixture of capitals."""
    for task in TASKS:
        if task.lower() == name.lower():
            return task
    raise argparse.ArgumentTypeError(f"'{name}' found; give one of {', '.join(TASKS)}")


def tables(name, folder):
    """{split: Table} of the task in the folder that has its files, or GLUE's own folder with one for each task."""
    task = TASKS[name]
    if not os.path.exists(os.path.join(folder, "train.tsv")) and os.path.isdir(os.path.join(folder, name)):
        folder = os.path.join(folder, name)
    files = {"train": "train.tsv", **task.validation}
    missing = [file for file in files.values() if not os.path.isfile(os.path.join(folder, file))]
    if missing:
        raise UserError(f"--folder: {folder}: no {', '.join(missing)} there; give the folder of {name}'s files")
    columns = [*task.texts, task.label]
    return {
        split: Table(os.path.join(folder, file), "tsv", task.header, columns, "--folder")
        for split, file in files.items()
    }
