#!/usr/bin/env python3
"""Small data sets in the real ones' formats and names, laid out as their servers lay them out, for test_datasets.sh.

    data/.venv/bin/python3 dev/test/make_data_sets.py FOLDER

FOLDER/datasets/...: what the Hub serves: TinyStories_all_data.tar.gz, FineWeb's and FineWeb-Edu's parquet files.
FOLDER/input.txt: in place of tiny Shakespeare. FOLDER/lines.json: the 2,000 lines that FineWeb's files hold.
"""

import io
import json
import os
import random
import sys
import tarfile

import pyarrow
from pyarrow import parquet

LINES = 2000
ROW_GROUP = 90  # rows; the last of a file has fewer
WORDS = "the of and to in he was that it his her with as had she for not at but on they said be them I were so you all"
CODE = [
    "for (size_t i = 0; i < n; i++) out[i] = fmaf(a[i], b[i], out[i]);",
    "def f(x, *args, **kwargs):\n    return {k: v for k, v in x.items() if v != None}",
    "#include <stdint.h>\n#define MAX(a,b) ((a)>(b)?(a):(b))\n",
    "SELECT id, COUNT(*) FROM t WHERE name LIKE '%x%' GROUP BY 1;",
    '<div class="a b">&nbsp;&copy; 2024</div><!-- x -->',
    "0xDEADBEEF + 1e-5f - 0b1010 == 3.14159265358979;\t// $HOME/.bashrc ~ `uname -a`",
    "\\begin{equation} \\sum_{i=1}^{N} x_i^2 \\end{equation}",
    'printf("%-20s|%5d\\n", name, (int)value);\r\n\r\n',
]
SPECIAL = [
    "<|endoftext|>",
    "don't we'll I'M they'Re it''s 'tis o'clock",
    "½ ² Ⅷ ① ٣٤ ४२ 10,000.00 1234567890",
    "naïve café e\u0301 A\u030a",
    "👩‍👩‍👧‍👦 🇩🇪 🏳️‍🌈 ☕️ 😀😀",
    "\x00\x01\x1b[31m\x7f\x85",
    "\ufeffBOM \u200b\u200d\u2060",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𠜎𠜱",
    "…—“”‘’«»¿¡§¶•",
    "\ue000\uf8ff\U0010ffff",
]
# First and last letter of scripts other than the Latin one.
SCRIPTS = [
    (0x391, 0x3C9),
    (0x410, 0x44F),
    (0x5D0, 0x5EA),
    (0x627, 0x64A),
    (0x905, 0x939),
    (0xE01, 0xE2E),
    (0x10D0, 0x10F0),
    (0x1200, 0x1248),
    (0x3041, 0x3096),
    (0x30A1, 0x30FA),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),
]
SPACES = [
    " ",
    "  ",
    "   ",
    "\t",
    "\t\t",
    "\n",
    "\n\n",
    "\r\n",
    " \n ",
    "\u00a0",
    "\u3000",
    "\u2003",
    "\v\f",
    " " * 17,
    "\u2028",
]


def mixed_line(rng):
    """A line of a few pieces: words, code, runs of white space, other scripts, odd characters."""
    pieces = []
    for _ in range(rng.randint(1, 9)):
        kind = rng.randrange(6)
        if kind == 0:
            pieces.append(
                " ".join(rng.choices(WORDS.split(), k=rng.randint(1, 12))) + rng.choice([".", ",", "?!", "", ";"])
            )
        elif kind == 1:
            pieces.append(rng.choice(CODE))
        elif kind == 2:
            pieces.append("".join(rng.choices(SPACES, k=rng.randint(1, 5))))
        elif kind == 3:
            first, last = rng.choice(SCRIPTS)
            pieces.append(
                "".join(
                    chr(rng.randint(first, last)) if rng.random() < 0.85 else " " for _ in range(rng.randint(2, 25))
                )
            )
        elif kind == 4:
            pieces.append(rng.choice(SPECIAL))
        else:
            pieces.append("".join(chr(rng.randrange(32, 127)) for _ in range(rng.randint(1, 30))))
    return rng.choice(["", " "]).join(pieces)


def sentences(rng, count):
    return " ".join(" ".join(rng.choices(WORDS.split(), k=rng.randint(4, 14))).capitalize() + "." for _ in range(count))


def write_parquet(path, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    columns = {
        "text": lines,
        "id": [f"<urn:uuid:{i:08x}>" for i in range(len(lines))],
        "dump": ["CC-MAIN-2013-20"] * len(lines),
        "language_score": [0.9] * len(lines),
        "token_count": list(map(len, lines)),
    }
    parquet.write_table(pyarrow.table(columns), path, row_group_size=ROW_GROUP)


def write_stories(path, rng, files, stories):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for i in range(files):
            data = [
                {
                    "story": f"\n{sentences(rng, 5)}\n\n{sentences(rng, 2)} ",
                    "source": "GPT-4",
                    "summary": sentences(rng, 1),
                }
                for _ in range(stories)
            ]
            content = json.dumps(data).encode()
            member = tarfile.TarInfo(f"./data{i:02}.json")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def main():
    folder = sys.argv[1]
    rng = random.Random(20240520)
    lines = [mixed_line(rng) for _ in range(LINES)]
    with open(os.path.join(folder, "lines.json"), "w", encoding="utf-8") as file:
        json.dump(lines, file)
    hub = os.path.join(folder, "datasets")
    for i, (first, last) in enumerate([(0, 700), (700, 1500), (1500, LINES)]):
        write_parquet(os.path.join(hub, f"HuggingFaceFW/fineweb/sample/10BT/{i:03}_00000.parquet"), lines[first:last])
    write_parquet(os.path.join(hub, "HuggingFaceFW/fineweb-edu/sample/100BT/000_00000.parquet"), lines[:300])
    write_stories(os.path.join(hub, "roneneldan/TinyStories/TinyStories_all_data.tar.gz"), rng, 3, 100)
    with open(os.path.join(folder, "input.txt"), "w", encoding="utf-8") as file:
        file.write("\n\n".join(f"{sentences(rng, 1)[:9]}:\n{sentences(rng, 6)}" for _ in range(700)))


if __name__ == "__main__":
    main()
