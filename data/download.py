"""Downloads files: goes on where it stopped, tries again when the network fails, and checks size and SHA-256.

A file has its own name only once it is whole and checked; until then it is NAME.part.
"""

import dataclasses
import hashlib
import os
import time

import requests

from common import UserError
from progress import Progress

CHUNK_BYTES = 1 << 15  # at most so many bytes are lost when a connection ends
HASH_PIECE_BYTES = 1 << 22
TIMEOUT = (10, 60)  # seconds: to connect, between two pieces
LONGEST_PAUSE = 30  # seconds
BAD_URLS = (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)
OK, PARTIAL, RANGE_NOT_SATISFIABLE, TOO_MANY_REQUESTS, SERVER_ERRORS = 200, 206, 416, 429, 500


@dataclasses.dataclass
class RemoteFile:
    """size (bytes) and sha256 (hex) are None where the source does not publish them."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


class TryAgain(Exception):
    """A failure that may pass."""


def get(url, headers=None):
    """The response to a GET, its body unread. Raises TryAgain for what may pass and UserError for what will not."""
    headers = {"Accept-Encoding": "identity", **(headers or {})}
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except BAD_URLS as problem:
        raise UserError(f"{url}: {problem}; give a URL as in https://host/path") from None
    except requests.RequestException as problem:
        raise TryAgain(f"{reason(problem)}") from None
    if response.status_code in (OK, PARTIAL, RANGE_NOT_SATISFIABLE):
        return response
    response.close()
    answer = f"the server answered {response.status_code} {response.reason}"
    if response.status_code == TOO_MANY_REQUESTS or response.status_code >= SERVER_ERRORS:
        raise TryAgain(answer)
    raise UserError(f"{url}: {answer}; download it in another way and give it by --input, or name another server")


def reason(problem):
    """The last cause of a failure, as the system words it."""
    while problem.__context__ is not None or problem.args and isinstance(problem.args[0], Exception):
        problem = problem.__context__ or problem.args[0]
    return str(problem) or type(problem).__name__


def persistently(action, url, attempts, progress_made=lambda: False):
    """action() until it works; gives up after so many attempts in a row in which no progress was made."""
    failed = 0
    while True:
        try:
            return action()
        except TryAgain as problem:
            failed = 1 if progress_made() else failed + 1
            if failed >= attempts:
                raise UserError(
                    f"{url}: cannot be downloaded: {problem} ({attempts} attempts); check the network and run the same "
                    "command again, it goes on where it stopped; or get the files in another way and give them by "
                    "--input"
                ) from None
            pause = min(2 ** (failed - 1), LONGEST_PAUSE)
            print(f"notice: {url}: {problem}; trying again in {pause} s", flush=True)
            time.sleep(pause)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(HASH_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def part_size(part):
    return os.path.getsize(part) if os.path.exists(part) else 0


def receive(remote, part):
    """One request for what `part` still lacks. Raises TryAgain if the end was not reached."""
    have = part_size(part)
    if remote.size is not None and have > remote.size:
        os.remove(part)  # of another file, or damaged
        have = 0
    if have == remote.size:
        return
    with get(remote.url, {"Range": f"bytes={have}-"} if have else {}) as response:
        if response.status_code == RANGE_NOT_SATISFIABLE:
            if remote.size is None and response.headers.get("Content-Range", "") == f"bytes */{have}":
                return  # it was complete
            os.remove(part)
            raise TryAgain("the server has not the rest of this file")
        if response.status_code == PARTIAL and not response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        ):
            raise TryAgain("the server sent another part than was asked for")
        if response.status_code == OK:
            have = 0  # it sends the file from the start
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else remote.size
        if remote.size is not None and total != remote.size:
            raise UserError(
                f"{remote.url}: the server sends {total:,} bytes, its list says {remote.size:,}; "
                "the file has changed there: run the same command again later, or give the file by --input"
            )
        progress = Progress(f"download {remote.name}", total, have)
        try:
            with open(part, "ab" if have else "wb") as file:
                for piece in response.iter_content(CHUNK_BYTES):
                    file.write(piece)
                    progress.add(len(piece))
        except requests.RequestException as problem:
            raise TryAgain(reason(problem)) from None
        finally:
            progress.close()
        if total is not None and part_size(part) < total:
            raise TryAgain(f"the connection ended after {part_size(part):,} of {total:,} bytes")


def fetch_part(remote, part, attempts):
    """All of the file's bytes into `part`."""
    before = part_size(part)

    def progress_made():
        nonlocal before
        grown = part_size(part) > before
        before = part_size(part)
        return grown

    persistently(lambda: receive(remote, part), remote.url, attempts, progress_made)


def local_path(remote, folder):
    return os.path.join(folder, os.path.basename(remote.name))


def is_there(remote, path):
    """Is this file at the path, by all that is known of it?"""
    if not os.path.exists(path) or remote.size not in (None, os.path.getsize(path)):
        return False
    if remote.sha256 in (None, sha256_of(path)):
        return True
    print(f"notice: {path}: another file than {remote.url}, by its SHA-256; downloading that", flush=True)
    return False


def fetch(remote, folder, attempts):
    """Downloads the file into the folder unless it is there, whole; returns its path. attempts: in a row, without one
    new byte, before it gives up."""
    path = local_path(remote, folder)
    part = path + ".part"
    try:
        if is_there(remote, path):
            return path
        os.makedirs(folder, exist_ok=True)
        resumed = part_size(part)
        print(f"download {remote.url}" + (f" from byte {resumed:,}" if resumed else ""), flush=True)
        fetch_part(remote, part, attempts)
        found = sha256_of(part) if remote.sha256 else None
        if found != remote.sha256 and resumed:
            # What was there before may be of an older version of the file.
            print(
                f"notice: {part}: its SHA-256 is not the one that the source publishes; downloading it anew", flush=True
            )
            os.remove(part)
            fetch_part(remote, part, attempts)
            found = sha256_of(part)
        if found != remote.sha256:
            os.remove(part)
            raise UserError(
                f"{path}: the download is corrupted: its SHA-256 is {found}, the source publishes {remote.sha256}; it "
                "was removed: run the same command again, or give the file by --input"
            )
        os.replace(part, path)
    except OSError as problem:
        raise UserError(
            f"--output: {path}: {problem.strerror}; give a folder that you can write to, with room on the disk"
        ) from None
    return path
