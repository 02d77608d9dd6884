"""Speed against the limits of this machine and against rivals, in one run. `make bench` builds what it needs.

make bench                                  everything (dev/bench/README.md says how long that takes)
make bench BENCH="gemm d12"                 some parts
make bench BENCH_FLAGS="--python VENV/bin/python --rival LLMC/train_gpt2 --record"
"""

import argparse
import csv
import datetime
import json
import os
import platform
import signal
import subprocess
import sys

import roofline
from common import FULL, HERE, QUICK, ROOT, Missing, Results, UserError, note, run, text
from lines import lines
from parts import PARTS, Bench
from rivals import find_python

HISTORY = os.path.join(HERE, "history.csv")
HISTORY_COLUMNS = ("date", "commit", "cpu", "cores", "part", "what", "who", "value", "unit")
JSON, PICTURE = "bench.json", "roofline.svg"  # in the folder --output
BUSY_LOAD = 0.5  # runnable processes besides ours, from which on figures are not to be trusted


class Parser(argparse.ArgumentParser):
    """Reports bad usage as the programs do: one `error: ` line, exit code 1."""

    def error(self, message):
        raise UserError(f"bench.py: {message}; see: python3 dev/bench/bench.py --help")


def parse(argv):
    parser = Parser(prog="bench.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = "; ".join(f"{name}: {part.__doc__}" for name, part in PARTS.items())
    parser.add_argument("--only", nargs="+", metavar="PART", choices=list(PARTS), help=f"these parts alone ({listed})")
    parser.add_argument(
        "--quick", action="store_true", help="tiny shapes, to test the benchmark: the figures say nothing"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"medians of so many ({FULL.rounds})")
    parser.add_argument(
        "--threads", type=int, default=min(2, cores()), metavar="N", help="of one rank (2, or the cores)"
    )
    parser.add_argument(
        "--python",
        metavar="PATH",
        help="a Python that has PyTorch 2 ($ZERO_C_REFERENCE_PYTHON, .venv); none: no PyTorch",
    )
    parser.add_argument("--rival", metavar="PATH", help="a program built from llm.c's train_gpt2.c")
    parser.add_argument(
        "--build", default=os.path.join(ROOT, os.environ.get("BUILD") or "build"), metavar="DIR", help="(build)"
    )
    parser.add_argument("--output", metavar="DIR", help="for bench.json and roofline.svg (BUILD/bench)")
    parser.add_argument("--record", action="store_true", help="append the results to the history")
    parser.add_argument("--history", default=HISTORY, metavar="FILE", help="(dev/bench/history.csv)")
    arguments = parser.parse_args(argv)
    for name in ("rounds", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"argument --{name}: {value} found; give 1 or more")
    # Programs run in the root of the repository, wherever this was called.
    arguments.build = os.path.abspath(arguments.build)
    arguments.output = os.path.abspath(arguments.output or os.path.join(arguments.build, "bench"))
    arguments.history = os.path.abspath(arguments.history)
    arguments.rival = arguments.rival and os.path.abspath(arguments.rival)
    if arguments.quick and arguments.record and arguments.history == HISTORY:
        parser.error("--record with --quick: its figures say nothing; leave one of them out")
    return arguments


def try_to_write(flag, path):
    """Ends with a message if the file could not be written, before anything is measured for it."""
    new = not os.path.exists(path)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "ab"):
            pass
        if new:
            os.remove(path)
    except OSError as problem:
        raise UserError(f"{flag}: {path}: {problem.strerror}; give a place that you can write to") from None


def cores():
    return len(os.sched_getaffinity(0))


def cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit():
    """Short hash of the commit, with + where tracked files differ from it."""

    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=False).stdout.strip()

    try:
        found = git("rev-parse", "--short=12", "HEAD")
        return (found + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")) or "unknown"
    except OSError:
        return "unknown"


def machine():
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": cores(),
        "load_before": os.getloadavg()[0],
    }


def print_lines(found):
    """The aligned table of the lines that were promised."""
    words = {True: "holds", False: "MISSED", None: "not measured"}
    rows = [("line", "what", "found", "needed", "")] + [
        (line.number, line.what, line.found, line.needed, words[line.holds]) for line in found
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    note("")
    for row in rows:
        note("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    count = [sum(line.holds is verdict for line in found) for verdict in (True, False, None)]
    note(f"\n{count[0]} lines hold, {count[1]} missed, {count[2]} not measured")


def write_json(path, about, bench, found, failed):
    document = {
        **about,
        "missing": bench.missing,
        "failed": failed,
        "results": [
            {
                "part": r.part,
                "what": r.what,
                "who": r.who,
                "value": r.value,
                "unit": r.unit,
                "rounds": r.rounds,
                **r.more,
            }
            for r in bench.results.all
        ],
        "lines": [vars(line) for line in found],
    }
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    os.replace(path + ".part", path)


def record(path, about, results):
    new = not os.path.exists(path) or os.path.getsize(path) == 0
    with open(path, "a", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        if new:
            rows.writerow(HISTORY_COLUMNS)
        for r in results.all:
            where = [about["date"], about["commit"], about["cpu"], about["cores"]]
            rows.writerow([*where, r.part, r.what, r.who, text(r.value), r.unit])
    note(f"{len(results.all)} rows added to {os.path.relpath(path)}")


def stop(_signal, _frame):
    raise KeyboardInterrupt  # what was started is ended on the way out


def main():
    signal.signal(signal.SIGTERM, stop)
    arguments = parse(sys.argv[1:])
    settings = QUICK if arguments.quick else FULL
    if arguments.rounds:
        settings = type(settings)(**{**vars(settings), "rounds": arguments.rounds})
    about = {**machine(), "threads": arguments.threads, "quick": arguments.quick}
    note(f"{about['cpu']}, {about['cores']} cores, commit {about['commit']}, {about['date']} UTC")
    if about["load_before"] > BUSY_LOAD:
        note(f"warning: the machine is busy (load {about['load_before']:.1f}): figures are not to be trusted")
    if arguments.quick:
        note("--quick: a test of the benchmark; the figures say nothing about the program")
    for name in (JSON, f"{JSON}.part", PICTURE):
        try_to_write("--output", os.path.join(arguments.output, name))
    if arguments.record:
        try_to_write("--history", arguments.history)
    missing, python = [], None
    try:
        python = None if arguments.python == "none" else find_python(arguments.python)
        if python is None:
            missing.append("PyTorch: not wanted")
    except Missing as why:
        missing.append(str(why))
    about["pytorch"] = python[1] if python else None
    note(f"PyTorch {python[1]}" if python else f"without {missing[0]}")

    bench = Bench(settings, Results(), arguments.build, arguments.threads, python, arguments.rival)
    bench.missing = missing
    failed = []
    for name in [name for name in PARTS if not arguments.only or name in arguments.only]:
        note(f"\n{name}: {PARTS[name].__doc__}")
        try:
            PARTS[name](bench)
        except UserError as problem:  # the other parts may do
            failed.append(f"{name}: {problem}")
            note(f"failed: {failed[-1]}")
    found = lines(bench.results)
    print_lines(found)
    for why in bench.missing:
        note(f"without {why}")
    about["load_after"] = os.getloadavg()[0]
    report, picture = (os.path.join(arguments.output, name) for name in (JSON, PICTURE))
    try:
        write_json(report, about, bench, found, failed)
        note(f"wrote {os.path.relpath(report)}")
        if roofline.draw(bench.results, settings, arguments.threads, picture):
            note(f"wrote {os.path.relpath(picture)}")
        if arguments.record:
            record(arguments.history, about, bench.results)
    except OSError as problem:
        raise UserError(f"{problem.filename or arguments.output}: {problem.strerror}; the figures are above") from None
    if failed:
        raise UserError(f"{len(failed)} parts failed: " + "; ".join(failed))


if __name__ == "__main__":
    sys.exit(run(main))
