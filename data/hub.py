"""Which files a data set on the Hugging Face Hub has, with the size and SHA-256 that the Hub publishes of each."""

import json
import os
import urllib.parse

import requests

from common import UserError
from download import RemoteFile, TryAgain, get, persistently, reason

DEFAULT_ENDPOINT = "https://huggingface.co"
REVISION = "main"


def get_list(url):
    """(entries, URL of the next page or None)"""
    with get(url) as response:
        try:
            return json.loads(response.content), response.links.get("next", {}).get("url")
        except requests.RequestException as problem:
            raise TryAgain(reason(problem)) from None
        except ValueError:
            raise UserError(
                f"{url}: the answer is not JSON; give the address of a Hugging Face Hub by --endpoint"
            ) from None


def list_files(endpoint, repository, folder, ending, attempts):
    """The files of a folder ("": the top) whose names have this ending, sorted by name.
    endpoint None: HF_ENDPOINT, or the Hub itself."""
    endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    url = f"{endpoint}/api/datasets/{repository}/tree/{REVISION}" + (f"/{urllib.parse.quote(folder)}" if folder else "")
    files = []
    page = url
    while page:
        entries, page = persistently(lambda page=page: get_list(page), page, attempts)
        try:
            for entry in entries:
                if entry["type"] == "file" and entry["path"].endswith(ending):
                    address = f"{endpoint}/datasets/{repository}/resolve/{REVISION}/{urllib.parse.quote(entry['path'])}"
                    sha256 = entry.get("lfs", {}).get("oid")
                    files.append(RemoteFile(os.path.basename(entry["path"]), address, entry["size"], sha256))
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{url}: the answer is no list of files; give the address of a Hub by --endpoint") from None
    if not files:
        raise UserError(f"{url}: no file there ends in {ending}; get the files in another way and give them by --input")
    return sorted(files, key=lambda file: file.name)
