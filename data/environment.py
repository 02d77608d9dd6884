#!/usr/bin/env python3
"""The Python packages of data/requirements.txt, in a virtual environment of their own: data/.venv.

    python3 data/environment.py     # makes it, if it is not there; the scripts of data sets do the same

A script calls enter() before it imports one of the packages, with the name of another file of requirements if it needs
those too. If the Python that runs it has them all, in the versions that are named there, it goes on; so an environment
of one's own works too. Otherwise data/.venv is made, which is said, and the script starts again with the Python in
there. Delete data/.venv to be rid of it.
"""

import fcntl
import importlib.metadata
import os
import re
import subprocess
import sys

from common import HERE, UserError, run

VENV = os.path.join(HERE, ".venv")
PYTHON = os.path.join(VENV, "bin", "python3")
REQUIREMENTS = "requirements.txt"
OLDEST_PYTHON = (3, 10)


def paths(names):
    return [os.path.join(HERE, name) for name in names]


def pinned(names):
    """{package: version} of files of requirements, for the Python that runs this."""
    pins = {}
    for path in paths(names):
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
        for line in lines:
            match = re.match(r'([\w-]+)==([\w.]+)(?:; python_version (<|>=) "3\.(\d+)")?\s*$', line)
            if match is None:
                continue
            package, version, relation, minor = match.groups()
            older = minor is not None and sys.version_info[:2] < (3, int(minor))
            if relation is None or older == (relation == "<"):
                pins[package] = version
    return pins


def has_packages(*names):
    """Does the Python that runs this have all packages of these files, in these versions?"""
    try:
        return all(importlib.metadata.version(package) == version for package, version in pinned(names).items())
    except importlib.metadata.PackageNotFoundError:
        return False


def ready(*names):
    """Does data/.venv have all packages?"""
    check = "import environment, sys; sys.exit(not environment.has_packages(*sys.argv[1:]))"
    here = {**os.environ, "PYTHONPATH": os.path.abspath(HERE)}
    command = [PYTHON, "-c", check, *names]
    return os.path.exists(PYTHON) and subprocess.run(command, env=here, check=False).returncode == 0


def call(command, fix):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout, end="", file=sys.stderr)
        raise UserError(f"{VENV}: `{' '.join(command)}` failed (see above); {fix}")


def make(*more):
    """Makes data/.venv or mends it. Several scripts may call it at once: one makes it, the others wait.
    more: names of files of requirements besides requirements.txt."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        raise UserError(f"Python {sys.version.split()[0]} found; the scripts of data sets need 3.10 or newer")
    names = (REQUIREMENTS, *more)
    listed = " and ".join(paths(names))
    try:
        lock = open(f"{VENV}.lock", "w", encoding="utf-8")
    except OSError as problem:
        if ready(*names):  # somebody else made it, who may write there
            return
        raise UserError(
            f"{VENV}.lock: {problem.strerror}; make {HERE or '.'} a folder that you can write to, or use a Python that "
            f"has the packages of {listed}"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready(*names):
            return
        print(f"making {VENV} with the packages of {listed}, once", flush=True)
        this = os.path.join(HERE, "environment.py")
        install = ["-m", "pip", "install", "--no-deps"] + [word for path in paths(names) for word in ("-r", path)]
        by_hand = f"python3 -m venv {VENV} && {' '.join([PYTHON, *install])}"
        # Not if this very Python is its own, nor for a few more packages.
        if os.path.realpath(sys.prefix) != os.path.realpath(VENV) and not ready(REQUIREMENTS):
            call(
                [sys.executable, "-m", "venv", "--clear", VENV],
                f"install the package python3-venv with `make deps`, then run: python3 {this}",
            )
        call([PYTHON, *install, "--quiet", "--only-binary=:all:"], f"mend that, then run: {by_hand}")
        if not ready(*names):
            raise UserError(f"{VENV}: made, but it has not the packages of {listed}; run: {by_hand}")


def enter(*more):
    """Returns if the packages are there; otherwise makes data/.venv and starts the script again in it."""
    if has_packages(REQUIREMENTS, *more):
        return
    make(*more)
    sys.stdout.flush()
    os.execv(PYTHON, [PYTHON, *sys.argv])


if __name__ == "__main__":
    sys.exit(run(make))
