"""What the scripts of this folder share: errors that a user can mend, arguments, files that are never half-written."""

import argparse
import contextlib
import glob
import os
import sys

HERE = os.path.dirname(os.path.relpath(__file__))
EXIT_STOPPED = 130  # a shell's code for a program that Ctrl-C ended


class UserError(Exception):
    """A problem that the user can mend; its text says how."""


class Parser(argparse.ArgumentParser):
    """Reports bad usage as the programs do: one `error: ` line, exit code 1."""

    def error(self, message):
        raise UserError(f"{self.prog}: {message}; see: python3 {os.path.join(HERE, self.prog)} --help")


def data_set_parser(script, description, input_help, output):
    """The arguments that all scripts of data sets have. output: the folder's default name, in this folder."""
    parser = Parser(
        prog=os.path.basename(script), description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    output = os.path.join(HERE, output)
    parser.add_argument("--input", nargs="+", metavar="PATH", help=input_help)
    parser.add_argument("--output", default=output, metavar="DIR", help=f"folder for all that is written ({output})")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="processes that tokenise (cores)"
    )
    parser.add_argument(
        "--attempts", type=int, default=6, metavar="N", help="downloads: give up after N failures in a row (6)"
    )
    parser.add_argument("--vocab", metavar="FILE", help="GPT-2's vocabulary, r50k_base.tiktoken (downloaded)")
    return parser


def parse_data_set(parser, argv):
    arguments = parser.parse_args(argv)
    for name in ("workers", "attempts"):
        if getattr(arguments, name) < 1:
            parser.error(f"argument --{name}: {getattr(arguments, name)} found; give 1 or more")
    return arguments


def run(main):
    """Calls main and returns the script's exit code: 0, or 1 with one `error: ` line."""
    try:
        main()
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing is half-written, the same command goes on", file=sys.stderr)
        return EXIT_STOPPED
    return 0


def remove_abandoned(path):
    """Removes what processes that were killed while they wrote this file left of it."""
    for left in glob.glob(f"{glob.escape(path)}.tmp[0-9]*"):
        pid = left.rpartition(".tmp")[2]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(FileNotFoundError):  # another process removes it too
                os.remove(left)


def write_files(files):
    """Writes {path: pieces} to temporary names and renames all at the end: no file is ever half-written."""
    temporary = {path: f"{path}.tmp{os.getpid()}" for path in files}
    try:
        for path, pieces in files.items():
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            remove_abandoned(path)
            with open(temporary[path], "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            os.replace(temporary[path], path)
    except OSError as problem:
        raise UserError(
            f"--output: {path}: {problem.strerror}; give a prefix in a folder that you can "
            "write to, with room on the disk"
        ) from None
    finally:
        for path in temporary.values():
            if os.path.exists(path):
                os.remove(path)
