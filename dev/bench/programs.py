"""Runs the programs that are measured, and reads the figures that they print."""

import array
import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time

from common import ROOT, UserError, note

TRAIN = os.path.join(ROOT, "train_gpt2")
RUN = os.path.join(ROOT, "scripts", "run.sh")
TIME_LIMIT = 1800  # seconds: a program that takes longer hangs
END_LIMIT = 10  # seconds that a program has to end when it is asked to: mpirun ends its ranks
TOKEN_MAGIC, TOKEN_VERSION, HEADER_INTS = 20240520, 1, 256

STEP = re.compile(
    r"^step +(\d+)/\d+ \| loss ([0-9.einfa+-]+) .*? \| ([0-9.]+) ms \| (\d+) tok/s \| ([0-9.]+) % of peak", re.MULTILINE
)
PEAK = re.compile(r"^matrix multiply peak: ([0-9.]+) GFLOP/s", re.MULTILINE)
PARAMETERS = re.compile(r"^memory per rank in MiB, .*, (\d+) parameters$", re.MULTILINE)
MEMORY = re.compile(r"^  (activations) +(?:\S+ +){2}([0-9.]+)$", re.MULTILINE)
LLMC_STEP = re.compile(r"step (\d+).*took ([0-9.]+) ms")


class ExitCode(UserError):
    """A program ended by itself, with another exit code than 0."""


def processes():
    """{its number: (its parent's number, its session)} of each process of this machine."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended since
            with open(f"/proc/{name}/stat", "rb") as file:
                _, parent, _, session, *_ = file.read().rpartition(b")")[2].split()
            found[int(name)] = (int(parent), int(session))
    return found


def sessions_of(leader):
    """The sessions of a program that was started in one of its own and of all that it started: run.sh gives mpirun
    another one, and mpirun its ranks other groups."""
    running, sessions = processes(), {leader}
    while more := {own for parent, own in running.values() if running.get(parent, (0, 0))[1] in sessions} - sessions:
        sessions |= more
    return sessions


def send(number, sessions):
    """A signal to all processes of these sessions."""
    for pid, (_, session) in processes().items():
        if session in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def kill(leader):
    """Kills a program that was started in a session of its own, and all that it started."""
    send(signal.SIGKILL, sessions_of(leader))


def end(process):
    """The same, but asks it to end first, which gives mpirun the time to tidy up."""
    sessions = sessions_of(process.pid)
    try:
        send(signal.SIGTERM, sessions)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_LIMIT)
    finally:  # when this is interrupted, too
        send(signal.SIGKILL, sessions | sessions_of(process.pid))
        process.wait()


def call(command, environment=None, cwd=None):
    """What a program prints. UserError with its last lines if it fails. Nothing that it started outlives this."""
    shown = " ".join(command)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
            cwd=cwd or ROOT,
            start_new_session=True,
        )
    except OSError as problem:
        raise UserError(f"`{shown}` cannot be started: {problem}") from None
    with process:
        try:
            output, _ = process.communicate(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            end(process)
            raise UserError(f"`{shown}` did not end within {TIME_LIMIT} s") from None
        except BaseException:  # Ctrl-C and SIGTERM do not reach its session
            end(process)
            raise
    if process.returncode != 0:
        last = "\n".join(output.splitlines()[-10:])
        raise ExitCode(f"`{shown}` ended with exit code {process.returncode}:\n{last}")
    return output


def call_ranks(ranks, command, environment=None):
    """The same under mpirun, where there are several ranks. Open MPI 4.1.4 was seen to end with an error after a run
    that was whole: one failure is printed and the run repeated, a second one counts."""
    if ranks == 1:
        return call(command, environment)
    command = [RUN, str(ranks), *command]
    try:
        return call(command, environment)
    except ExitCode as problem:
        note(f"once more after: {problem}")
        return call(command, environment)


class TrainerRun:
    """What ./train_gpt2 printed."""

    def __init__(self, output, shown):
        self.steps = [(float(ms), float(loss)) for _, loss, ms, _, _ in STEP.findall(output)]
        self.tokens_per_second = [float(line[3]) for line in STEP.findall(output)]
        self.shares = [float(line[4]) / 100.0 for line in STEP.findall(output)]
        peak, parameters = PEAK.search(output), PARAMETERS.search(output)
        self.peak = float(peak.group(1)) if peak else None  # GFLOP/s
        self.memory = {name: float(mib) for name, mib in MEMORY.findall(output)}
        if parameters is None or not self.memory:
            raise UserError(f"`{shown}` printed no table of memory as it was expected:\n{output[-1000:]}")
        self.parameters = int(parameters.group(1))

    def seconds(self):
        """Of the timed lines: all but the first step's."""
        return [ms / 1e3 for ms, _ in self.steps[1:]]


def trainer(flags, ranks=1, threads=1, environment=None):
    """Runs ./train_gpt2 with so many ranks and threads a rank."""
    command = [TRAIN, "--threads", str(threads), "-v", "0", "-s", "0", *[str(flag) for flag in flags]]
    return TrainerRun(call_ranks(ranks, command, environment), f"{ranks} x {' '.join(command)}")


def write_tokens(path, vocabulary, count):
    """A token file of llm.c's, of random tokens; the same for the same arguments."""
    header = array.array("i", [TOKEN_MAGIC, TOKEN_VERSION, count] + [0] * (HEADER_INTS - 3))
    state, tokens = 12345, array.array("H")
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        tokens.append((state >> 8) % vocabulary)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "wb") as file:
        header.tofile(file)
        tokens.tofile(file)
    os.replace(path + ".part", path)
    return path


def llmc_steps(binary, folder, steps, threads):
    """Seconds of so many steps of an llm.c-style program, after two that do not count; it is ended then.

    It runs in `folder`, where its model and tokens are. A terminal, as its lines are to come one by one.
    """
    main_side, its_side = pty.openpty()
    output, seconds = "", []
    with subprocess.Popen(
        [binary],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=its_side,
        stderr=its_side,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_PROC_BIND": "true"},
        start_new_session=True,
    ) as process:
        os.close(its_side)
        end = time.monotonic() + TIME_LIMIT
        try:
            while len(seconds) < steps + 2 and time.monotonic() < end:
                if not select.select([main_side], [], [], 1.0)[0]:
                    continue
                try:
                    piece = os.read(main_side, 65536)
                except OSError:  # EIO: it has ended
                    break
                output += piece.decode(errors="replace")
                whole = output[: output.rfind("\n") + 1]
                seconds = [float(ms) / 1e3 for _, ms in LLMC_STEP.findall(whole)]
        finally:
            kill(process.pid)
            os.close(main_side)
    if len(seconds) < steps + 2:
        raise UserError(
            f"--rival {binary}: {len(seconds)} lines `step N … took X ms` found where {steps + 2} were expected; it "
            f"printed: {output[-500:].strip() or 'nothing'}"
        )
    return seconds[2 : steps + 2]
