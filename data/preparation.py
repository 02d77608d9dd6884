"""Text files to token shards: worker processes tokenise, this process writes in order and notes how far it is.

A split's files are read in batches (a row group of a parquet file, a whole JSON file). The tokens of all batches, one
after the other, are one stream, which is cut into shards; so the shards do not depend on the number of workers. A
position in the stream is [file, batch, tokens of the batch to leave out]. The manifest keeps the position at which each
shard starts, and that of the last checkpoint inside the unfinished shard; a run that was killed goes on from there.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import shards
from bpe import Encoder, find_vocabulary, write_tokenizer
from common import UserError
from download import RemoteFile, fetch, local_path
from manifest import TOKENIZER
from progress import Progress, duration

CHECKPOINT_SECONDS = 10
BATCHES_AHEAD = 2  # per worker


@dataclasses.dataclass
class Split:
    """files: paths, or RemoteFiles to download. shard(i): (file name, most tokens or None) of the split's shard i.
    count(path): batches of a file. read(path, batch, file): the documents of a batch of file number `file`."""

    name: str
    files: list
    shard: collections.abc.Callable
    count: collections.abc.Callable
    read: collections.abc.Callable


# ---------------------------------------------------------------------------------------------------
# Worker processes


@functools.cache
def encoder(vocabulary):
    return Encoder(vocabulary)


def end_with_parent():
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def start_worker():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=end_with_parent, daemon=True).start()  # when the parent is killed, too


def tokenise(vocabulary, read, path, batch, file):
    return encoder(vocabulary).encode(read(path, batch, file))


@contextlib.contextmanager
def start_pool(workers):
    # spawn: a fork would copy the locks of threads that run in this process
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, start_worker) as pool:
        try:
            yield pool
        except BaseException:
            for process in multiprocessing.active_children():  # nobody waits for what is under way
                process.terminate()
            raise


# ---------------------------------------------------------------------------------------------------
# Files, downloaded one ahead of the one that is tokenised


@dataclasses.dataclass
class Downloads:
    """Into which folder, how many attempts in a row, and whether to delete a file once its tokens are written."""

    folder: str
    attempts: int
    discard: bool


class Files:
    def __init__(self, files, downloads):
        self.files, self.downloads = files, downloads
        self.waiting = {}  # {number: Future of the path}

    def size(self, i):
        return self.files[i].size if isinstance(self.files[i], RemoteFile) else os.path.getsize(self.files[i])

    def begin(self, i):
        """Downloads in a thread that does not keep a stopped program alive."""
        future = self.waiting[i] = concurrent.futures.Future()

        def run():
            try:
                future.set_result(fetch(self.files[i], self.downloads.folder, self.downloads.attempts))
            except BaseException as problem:  # the thread that waits raises it
                future.set_exception(problem)

        threading.Thread(target=run, daemon=True).start()

    def ready(self, i):
        """Is file i there? If not, it and the next one are on their way."""
        if not isinstance(self.files[i], RemoteFile):
            return True
        for ahead in range(i, min(i + 2, len(self.files))):
            if ahead not in self.waiting:
                self.begin(ahead)
        return self.waiting[i].done()

    def path(self, i):
        """The path of file i, once it is there."""
        self.ready(i)
        return self.waiting[i].result() if i in self.waiting else self.files[i]

    def done_before(self, i):
        """The tokens of all files before i are on the disk."""
        if self.downloads is not None and self.downloads.discard:
            for j in range(i):
                self.waiting.pop(j, None)
                path = local_path(self.files[j], self.downloads.folder)
                if os.path.exists(path):
                    os.remove(path)


# ---------------------------------------------------------------------------------------------------
# One split


class SplitRun:
    def __init__(self, split, manifest, files, pool, workers, vocabulary):
        self.split, self.manifest, self.files = split, manifest, files
        self.pool, self.workers, self.vocabulary = pool, workers, vocabulary
        self.state = manifest.split(split.name)
        self.shard = None  # the one being written
        self.tokens = 0  # of this run
        self.last_checkpoint = time.monotonic()

    def shard_path(self, number):
        return os.path.join(self.manifest.folder, self.split.shard(number)[0])

    def resume(self):
        """Goes to where the last run was. Returns the position to go on from, None if all is done."""
        at, starts = self.state["at"], self.state["starts"]
        paths = [self.shard_path(number) for number in range(at["shard"])]
        with concurrent.futures.ThreadPoolExecutor(self.workers) as threads:  # hashing and reading both let others run
            good = list(threads.map(shards.is_valid, paths))
        if all(good):
            if self.state["done"]:
                return None
            path = self.shard_path(at["shard"])
            if at["tokens"] and shards.part_tokens(path) >= at["tokens"]:
                self.shard = shards.ShardWriter(path, at["tokens"])
                print(f"{self.split.name}: going on in {path} after {at['tokens']:,} tokens", flush=True)
                return at["position"]
            number = at["shard"]
        else:
            number = good.index(False)
            print(f"notice: {paths[number]}: missing, or not as its checksum says; making it anew", flush=True)
        if number:
            print(f"{self.split.name}: kept {sum(good)} finished shards", flush=True)
        self.state["at"] = {"shard": number, "tokens": 0, "position": starts[number]}
        return starts[number]

    def batches(self, position):
        """(position, the next position, tokens, bytes of the file that they stand for) of each batch, in order."""
        first_file, first_batch, _ = position
        waiting = collections.deque()
        ahead = BATCHES_AHEAD * self.workers
        for file in range(first_file, len(self.split.files)):
            while waiting and not self.files.ready(file):
                yield self.result(waiting)
            path = self.files.path(file)
            count = self.split.count(path)
            share = self.files.size(file) / max(count, 1)
            for batch in range(first_batch if file == first_file else 0, count):
                task = self.pool.submit(tokenise, self.vocabulary, self.split.read, path, batch, file)
                following = [file, batch + 1, 0] if batch + 1 < count else [file + 1, 0, 0]
                waiting.append(([file, batch, 0], following, task, share))
                if len(waiting) > ahead:
                    yield self.result(waiting)
        while waiting:
            yield self.result(waiting)

    @staticmethod
    def result(waiting):
        position, following, task, share = waiting.popleft()
        return position, following, task.result(), share

    def open_shard(self):
        path = self.shard_path(self.state["at"]["shard"])
        self.shard = shards.KeptShard(path) if shards.is_valid(path) else shards.ShardWriter(path)

    def finish_shard(self, position):
        """position: where the next shard starts."""
        self.shard.finish()
        number = self.state["at"]["shard"] + 1
        self.shard = None
        self.state["starts"][number:] = [position]
        self.state["at"] = {"shard": number, "tokens": 0, "position": position}
        self.manifest.save()

    def add(self, position, tokens, used):
        """Puts the tokens of a batch from `used` on into shards."""
        file, batch, _ = position
        while used < len(tokens):
            if self.shard is None:
                self.open_shard()
            limit = self.split.shard(self.state["at"]["shard"])[1]
            room = len(tokens) if limit is None else limit - self.shard.tokens
            piece = tokens[used : used + room]
            self.shard.append(piece)
            used += len(piece)
            self.tokens += len(piece)
            if self.shard.tokens == limit:
                self.finish_shard([file, batch, used])

    def checkpoint(self, position):
        """Everything before `position` is in finished shards or in the part of this one."""
        if self.shard is not None:
            self.shard.sync()
            # A kept shard has no part to go on from: its start stays the place.
            if isinstance(self.shard, shards.ShardWriter):
                self.state["at"]["tokens"] = self.shard.tokens
                self.state["at"]["position"] = position
        self.manifest.save()
        self.files.done_before(self.state["at"]["position"][0])
        self.last_checkpoint = time.monotonic()

    def run(self):
        position = self.resume()
        if position is None:
            return
        self.state["done"] = False
        sizes = [self.files.size(file) for file in range(len(self.split.files))]
        progress = Progress(f"tokenise {self.split.name}", sum(sizes), sum(sizes[: position[0]]))
        start, used = time.monotonic(), position[2]
        for at, following, tokens, share in self.batches(position):
            self.add(at, tokens, used)
            used = 0
            progress.add(share, f"{self.tokens / (time.monotonic() - start) / 1e6:.2f} M tokens/s")
            if following[0] > at[0] or time.monotonic() - self.last_checkpoint >= CHECKPOINT_SECONDS:
                self.checkpoint(following)
        progress.close()
        if self.shard is not None:
            self.finish_shard([len(self.split.files), 0, 0])
        self.state["done"] = True
        self.manifest.save()
        self.files.done_before(len(self.split.files))
        print(f"{self.split.name}: {self.tokens:,} tokens in {duration(time.monotonic() - start)}", flush=True)


def prepare(splits, manifest, arguments, downloads=None):
    """Makes all shards of all splits; returns their paths, split by split. downloads: for splits of RemoteFiles."""
    vocabulary = find_vocabulary(arguments.vocab)
    try:
        tokenizer = os.path.join(manifest.folder, TOKENIZER)
        if not os.path.exists(tokenizer):
            write_tokenizer(vocabulary, tokenizer)
        manifest.save()
        paths = []
        with start_pool(arguments.workers) as pool:
            for split in splits:
                run = SplitRun(split, manifest, Files(split.files, downloads), pool, arguments.workers, vocabulary)
                run.run()
                count = run.state["at"]["shard"]
                if count == 0:
                    raise UserError(
                        f"--input: no text for {split.name} in {len(split.files)} files; give files with text"
                    )
                paths += [run.shard_path(number) for number in range(count)]
    except BrokenProcessPool:
        raise UserError(
            "--workers: a worker process was ended from outside, out of memory perhaps; give fewer --workers: the same "
            "command goes on where it stopped"
        ) from None
    except OSError as problem:
        raise UserError(
            f"--output: {problem.filename or manifest.folder}: {problem.strerror}; give a folder that you can write "
            "to, with room on the disk: the same command goes on where it stopped"
        ) from None
    return paths


def report(paths, train, val, model):
    """The table at the end, and the command that trains on it. train, val: patterns for -i and -j."""
    for path in paths:
        print(f"{shards.count_tokens(path):>15,} tokens  {os.path.getsize(path):>15,} bytes  {path}")
    folder = os.path.dirname(paths[0])
    print(
        f"train on it: scripts/run.sh 4 ./train_gpt2 -e {model} -i '{os.path.join(folder, train)}' "
        f"-j '{os.path.join(folder, val)}' --tokenizer {os.path.join(folder, TOKENIZER)}"
    )
