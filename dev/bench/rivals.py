"""The rivals: PyTorch as one process or two, and any llm.c-style program. Each may be missing."""

import contextlib
import json
import os
import select
import subprocess
import tempfile

from common import HERE, ROOT, Missing, UserError, note
from programs import TIME_LIMIT, call, kill, llmc_steps, trainer, write_tokens

SCRIPT = os.path.join(HERE, "torch_gpt2.py")
METHODS = {0: "ddp", 1: "zero1", 2: "fsdp2", 3: "fsdp3"}  # by the ZeRO stage that they are comparable with
METHOD_NAMES = {
    "ddp": "PyTorch DDP",
    "zero1": "PyTorch ZeroRedundancyOptimizer",
    "fsdp2": "PyTorch FSDP (gradients)",
    "fsdp3": "PyTorch FSDP (parameters)",
}
# What makes PyTorch faster on a CPU: bound threads, huge pages, memory that is kept instead of given back.
ENVIRONMENT = {
    "THP_MEM_ALLOC_ENABLE": "1",
    "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=17179869184:glibc.malloc.trim_threshold=17179869184",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "GLOO_SOCKET_IFNAME": "lo",
}


def find_python(given):
    """(path, version of PyTorch) of a Python that has it; Missing if none is found."""
    places = [given] if given else [os.environ.get("ZERO_C_REFERENCE_PYTHON"), os.path.join(ROOT, ".venv/bin/python")]
    # Not realpath: a virtual environment's Python is a link, and knows its packages by where that lies.
    for place in map(os.path.abspath, filter(None, places)):
        if not os.path.exists(place):
            continue
        try:
            version = call([place, "-c", "import torch; print(torch.__version__)"]).split()[-1]
        except UserError:
            continue
        return place, version
    if given:
        raise UserError(f"--python {given}: no Python that has PyTorch; install it there: {given} -m pip install torch")
    raise Missing("PyTorch: no Python that has it; give one by --python or ZERO_C_REFERENCE_PYTHON")


class Torch:
    """torch_gpt2.py, kept running: every question is answered by the processes that are warm already. Those that do not
    answer in time are ended, as their late answer would be taken for that to the next question, which starts others."""

    def __init__(self, python, model, threads, processes=1):
        description = {
            "layers": model.layers,
            "heads": model.heads,
            "channels": model.channels,
            "longest": model.longest,
            "vocabulary": model.vocabulary,
            "threads": threads,
        }
        self.parameters = model.parameters
        self.command = [python, SCRIPT, json.dumps(description)]
        self.environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
        if processes == 1:
            self.environment["OMP_PROC_BIND"] = "true"
        self.count, self.starts = processes, 0
        self.folder = tempfile.TemporaryDirectory(prefix="zero_c_bench_")
        self.log = open(os.path.join(self.folder.name, "log"), "w+", encoding="utf-8")
        self.processes = []
        self.start()

    def start(self):
        self.starts += 1
        meeting = os.path.join(self.folder.name, f"meeting{self.starts}")
        for rank in range(self.count):
            several = ["--processes", str(rank), str(self.count), meeting] if self.count > 1 else []
            self.processes.append(
                subprocess.Popen(
                    self.command + several,
                    stdin=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if rank == 0 else self.log,
                    stderr=self.log,
                    text=True,
                    env=self.environment,
                    start_new_session=True,
                )
            )

    def end(self):
        for process in self.processes:
            kill(process.pid)
        for process in self.processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):  # of a question that it did not take
                        pipe.close()
        self.processes = []

    def ask(self, **request):
        """Seconds of each step. UserError where PyTorch cannot do it."""
        if not self.processes:
            self.start()
        first = self.processes[0]
        try:
            first.stdin.write(json.dumps(request) + "\n")
            first.stdin.flush()
        except BrokenPipeError:
            raise UserError(f"PyTorch ended: {self.last_words()}") from None
        if not select.select([first.stdout], [], [], TIME_LIMIT)[0]:
            self.end()
            raise UserError(f"PyTorch did not answer within {TIME_LIMIT} s: {request}")
        line = first.stdout.readline()
        if not line:
            raise UserError(f"PyTorch ended: {self.last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(f"PyTorch: {answer['error']}")
        if answer["parameters"] != self.parameters or len(answer["seconds"]) != request["steps"]:
            raise UserError(
                f"PyTorch: {self.parameters} parameters and {request['steps']} steps expected, found {answer}"
            )
        return answer["seconds"]

    def last_words(self):
        self.log.flush()
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return " / ".join(lines[-3:]) or "it printed nothing"

    def close(self):
        self.end()
        self.log.close()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class TorchSettings:
    """The settings of PyTorch that still work: one that fails is named once and left out."""

    def __init__(self, torch, names):
        self.torch, self.names = torch, dict(names)

    def measure(self, name, **request):
        """Seconds of each step, or [] where this setting does not work."""
        if name not in self.names:
            return []
        try:
            return self.torch.ask(**self.names[name], **request)
        except UserError as problem:
            note(f"without {name}: {problem}")
            del self.names[name]
            return []


def prepare_llmc(folder, model):
    """A folder as llm.c's train_gpt2 wants it: its model and its tokens."""
    data = os.path.join(folder, "dev", "data", "tinyshakespeare")
    weights = os.path.join(folder, "gpt2_124M.bin")
    tokens = 1 << 16
    os.makedirs(data, exist_ok=True)
    for split in ("train", "val"):
        write_tokens(os.path.join(data, f"tiny_shakespeare_{split}.bin"), model.vocabulary, tokens)
    if os.path.exists(weights):
        os.remove(weights)
    trainer(["-e", model.descriptor, "--export", weights, "-x", 0, "-b", 1, "-t", 64])
    return folder


class Llmc:
    """A program given by --rival, that runs in a folder with llm.c's files and prints `step N … (took X ms)`."""

    def __init__(self, binary, folder, model):
        if not binary:
            raise Missing("llm.c: no program; give one by --rival PATH, built from its train_gpt2.c")
        if not os.access(binary, os.X_OK):
            raise UserError(f"--rival {binary}: not a program that can be run")
        self.binary, self.folder = binary, prepare_llmc(folder, model)

    def seconds(self, steps, threads):
        return llmc_steps(self.binary, self.folder, steps, threads)
