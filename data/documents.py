"""Texts as documents of sentences."""

import re

import bible
from common import UserError

# Where a sentence ends: marks of its end, closing quotes, then white space, unless what follows goes on in lower case;
# or the full stops of Chinese and Japanese.
SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*\s+(?![a-z\s])|[。！？]+[”’」』）]*\s*")


def read_lines(path, flag):
    """(number from 1, text without its line end) of each line of a file in UTF-8."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as problem:
                    raise UserError(
                        f"{flag}: {path}:{number}: not UTF-8 at byte {problem.start} of the line; convert the file to "
                        "UTF-8"
                    ) from None
                yield number, text.rstrip("\r\n")
    except OSError as problem:
        raise UserError(f"{flag}: {path}: {problem.strerror}; give readable text files") from None


def split_sentences(text):
    begin, sentences = 0, []
    for match in SENTENCE_END.finditer(text):
        sentences.append(text[begin : match.end()])
        begin = match.end()
    sentences.append(text[begin:])
    return [sentence.strip() for sentence in sentences if sentence.strip()]


def sentences_of(lines, one_a_line):
    """The sentences of a document's lines: each a sentence, or one text."""
    return lines if one_a_line else split_sentences(" ".join(lines))


def of_files(paths, one_a_line):
    """The documents, each a list of sentences: a blank line, or the end of a file, ends one."""
    for path in paths:
        lines = []
        for _, text in read_lines(path, "--input"):
            if text.strip():
                lines.append(text.strip())
            elif lines:
                yield sentences_of(lines, one_a_line)
                lines = []
        if lines:
            yield sentences_of(lines, one_a_line)


def of_bible(one_a_line):
    """The Bible's chapters, each a list of sentences, or of verses."""
    for _, verses in bible.chapters("--demo", ", or give a text of your own by --input FILE"):
        yield sentences_of(verses, one_a_line)
