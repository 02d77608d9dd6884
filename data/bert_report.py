#!/usr/bin/env python3
"""The table and the plot of scripts/run_bert_demo.sh.

    python3 data/bert_report.py log_bert_demo/results.tsv log_bert_demo/pretraining/main.log --plot log_bert_demo/demo.svg

results.tsv has a line `TASK<tab>MODEL<tab>SEED<tab>ACCURACY` for each model that was tried, the accuracy as a share; a
model without seeds has `-` there. Models and tasks appear in the order of their first lines. Needs no package: the plot
is SVG.
"""

import argparse
import os
import re
import statistics
import sys
from xml.sax.saxutils import escape

from common import Parser, UserError, run, write_files

PERCENT = 100
CHANCE = 50  # percent that guessing gets right: the tasks have two labels, equally often
POINTS = 100  # of the training loss that are drawn, each a mean

# The plot, in pixels.
WIDTH, TOP, BOTTOM = 940, 64, 56
LOSS_LEFT, LOSS_RIGHT = 62, 400
NAMES_RIGHT, DOTS_RIGHT = 640, 910  # where the models' names end and the scale begins; where it ends
ROW, TASK_GAP = 28, 40
SMALLEST_PLOT = 220
INK, FAINT, GRID, TRAIN, VALIDATION = "#1f2328", "#667079", "#e3e6e9", "#9db8d9", "#1f5fa8"
OTHERS = "#8a929a"  # dots of what the last model is compared with


def parse_arguments(argv):
    parser = Parser(
        prog=os.path.basename(__file__), description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", metavar="RESULTS", help="results.tsv")
    parser.add_argument("log", metavar="LOG", help="main.log of the pretraining")
    parser.add_argument("--plot", metavar="FILE", help="write the plot there, as SVG (none)")
    return parser.parse_args(argv)


def lines_of(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError as problem:
        raise UserError(f"{path}: {problem.strerror}; run scripts/run_bert_demo.sh") from None


def read_results(path):
    """{task: {model: [percent of each seed]}}"""
    results = {}
    for number, line in enumerate(lines_of(path), 1):
        match = re.fullmatch(r"([^\t]+)\t([^\t]+)\t(?:\d+|-)\t([01]\.\d+)", line)
        if match is None:
            raise UserError(f"{path}:{number}: '{line}' found, expected TASK, MODEL, SEED, ACCURACY between tabs")
        task, model, accuracy = match.groups()
        results.setdefault(task, {}).setdefault(model, []).append(PERCENT * float(accuracy))
    if not results:
        raise UserError(f"{path}: no results; run scripts/run_bert_demo.sh")
    return results


def read_losses(path):
    """(training, validation), each [(step, loss)]."""
    losses = {"trl": [], "tel": []}
    for line in lines_of(path):
        match = re.match(r"s:(\d+) (trl|tel):(\S+)", line)
        if match:
            losses[match[2]].append((int(match[1]), float(match[3])))
    if not losses["trl"] or not losses["tel"]:
        raise UserError(f"{path}: no losses; give the main.log of a run that trained and validated")
    return losses["trl"], losses["tel"]


def models_of(results):
    return list(dict.fromkeys(model for models in results.values() for model in models))


def cell(values):
    if values is None:
        return "-"
    text = f"{statistics.mean(values):.1f}"
    return f"{text} ± {statistics.stdev(values):.1f} ({min(values):.1f} … {max(values):.1f})" if values[1:] else text


def print_table(results):
    """The mean and, of several seeds, the standard deviation, the smallest and the largest."""
    rows = [["validation accuracy, %", *results]]
    for model in models_of(results):
        rows.append([model, *(cell(models.get(model)) for models in results.values())])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def text(x, y, words, anchor="start", colour=INK, size=13):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(words)}</text>'


def line(x1, y1, x2, y2, colour=GRID, width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def means(losses):
    """The losses in at most POINTS pieces: the middle step and the mean of each."""
    size = -(-len(losses) // POINTS)
    pieces = [losses[i : i + size] for i in range(0, len(losses), size)]
    return [tuple(statistics.mean(values) for values in zip(*piece)) for piece in pieces]


def plot_losses(train, validation, height):
    last = max(step for step, _ in train + validation) or 1
    train = means(train)
    losses = [loss for _, loss in train + validation]
    low, high = int(min(losses)), int(max(losses)) + 1

    def place(point):
        return (
            LOSS_LEFT + (LOSS_RIGHT - LOSS_LEFT) * point[0] / last,
            TOP + height * (high - point[1]) / (high - low),
        )

    parts = [text(LOSS_LEFT, TOP - 24, "Pretraining: loss", size=15)]
    for loss in range(low, high + 1):
        y = place((0, loss))[1]
        parts += [line(LOSS_LEFT, y, LOSS_RIGHT, y), text(LOSS_LEFT - 8, y + 4, str(loss), "end", FAINT)]
    for step, anchor in ((0, "start"), (last, "end")):
        parts.append(text(place((step, 0))[0], TOP + height + 20, f"{step:,}", anchor, FAINT))
    parts.append(text((LOSS_LEFT + LOSS_RIGHT) / 2, TOP + height + 20, "steps", "middle", FAINT))
    for points, colour, width in ((train, TRAIN, 2), (validation, VALIDATION, 2)):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{VALIDATION}"/>' for x, y in map(place, validation)]
    for number, (name, colour) in enumerate((("training", TRAIN), ("validation", VALIDATION))):
        y = TOP + 18 + 20 * number
        parts += [line(LOSS_RIGHT - 100, y - 4, LOSS_RIGHT - 76, y - 4, colour, 3), text(LOSS_RIGHT - 70, y, name)]
    return parts


def plot_accuracies(results):
    """A row of dots for each task and model: one dot a seed, a bar at the mean."""
    values = [value for models in results.values() for some in models.values() for value in some]
    low, high = min(CHANCE, int(min(values)) // 10 * 10), PERCENT
    final = models_of(results)[-1]

    def place(value):
        return NAMES_RIGHT + (DOTS_RIGHT - NAMES_RIGHT) * (value - low) / (high - low)

    parts, y = [text(NAMES_RIGHT, TOP - 24, "Validation accuracy, %", size=15)], TOP
    for task, models in results.items():
        top = y
        parts.append(text(LOSS_RIGHT + 50, y + 16, task, size=15))
        y += TASK_GAP - ROW / 2
        rows, dots = [], []
        for model, seeds in models.items():
            y += ROW
            colour = VALIDATION if model == final else OTHERS
            rows += [line(NAMES_RIGHT, y, DOTS_RIGHT, y), text(NAMES_RIGHT - 10, y + 4, model, "end")]
            dots += [
                f'<circle cx="{place(value):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}" fill-opacity="0.7"/>'
                for value in seeds
            ]
            mean = place(statistics.mean(seeds))
            dots.append(line(mean, y - 9, mean, y + 9, colour, 2))
            dots.append(text(place(max(seeds)) + 10, y + 4, f"{statistics.mean(seeds):.1f}", colour=INK))
        y += ROW / 2
        parts += [line(place(at), top + 24, place(at), y, GRID) for at in range(low, high + 1, 10)]
        parts += rows + dots + [
            text(place(at), y + 16, str(at), "middle", FAINT, 12) for at in range(low, high + 1, 10)
        ]
        y += TASK_GAP
    return parts, y - TASK_GAP


def plot(path, results, train, validation):
    dots, bottom = plot_accuracies(results)
    height = max(bottom - TOP, SMALLEST_PLOT)
    parts = plot_losses(train, validation, height) + dots
    total = TOP + height + BOTTOM
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{total:.0f}" '
        f'viewBox="0 0 {WIDTH} {total:.0f}" font-family="sans-serif">'
    )
    background = f'<rect width="{WIDTH}" height="{total:.0f}" fill="#ffffff"/>'
    write_files({path: ["\n".join([head, background, *parts, "</svg>\n"]).encode()]})


def main():
    arguments = parse_arguments(sys.argv[1:])
    results = read_results(arguments.results)
    train, validation = read_losses(arguments.log)
    print_table(results)
    if arguments.plot:
        plot(arguments.plot, results, train, validation)
        print(f"plot: {arguments.plot}")


if __name__ == "__main__":
    sys.exit(run(main))
