"""llm.c's token files and tokenizer files, and BERT's files of samples: 256 int32 in front, then what they hold."""

import array

from common import UserError

HEADER_INTS = 256  # every file begins with this many int32, native endian
HEADER_BYTES = 4 * HEADER_INTS
TOKENS_MAGIC, TOKENS_VERSION = 20240520, 1
TOKENIZER_MAGIC, TOKENIZER_VERSION = 20240328, 2
SAMPLES_MAGIC, SAMPLES_VERSION = 20261128, 1
MAX_VOCABULARY = 65535  # tokens are uint16
MAX_TOKENS = 2**31 - 1  # the header counts them in an int32


def header(*values):
    """The 1,024 bytes that every file begins with."""
    return array.array("i", values + (0,) * (HEADER_INTS - len(values))).tobytes()


def tokens_header(count):
    if count > MAX_TOKENS:
        raise UserError(
            f"a split has {count:,} tokens and one file can hold {MAX_TOKENS:,}; prepare the text in parts, each "
            "with its own --output, and train on all of them with a glob"
        )
    return header(TOKENS_MAGIC, TOKENS_VERSION, count)


def tokenizer_file(vocabulary, end_of_text):
    """The pieces of a tokenizer file: vocabulary is the bytes of each token, end_of_text where samples begin."""
    pieces = [header(TOKENIZER_MAGIC, TOKENIZER_VERSION, len(vocabulary), end_of_text)]
    for token in vocabulary:
        pieces.append(bytes([len(token)]) + token)
    return pieces
