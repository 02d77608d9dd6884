"""The King James Bible of the Debian package bible-kjv: the demo text."""

import re
import subprocess

from common import UserError

COMMAND = ["bible", "-f", "gen1:1-rev22:21"]  # prints `Ge1:1 In the beginning …`, a verse a line
CHAPTERS, VERSES = 1189, 31102


def read(flag, otherwise):
    """What the program prints, in bytes. flag: for messages; otherwise: what else one can do, "" or from ", " on."""
    try:
        return subprocess.run(COMMAND, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise UserError(
            f"{flag}: the program `bible` is not installed; install the package bible-kjv with `make deps`{otherwise}"
        ) from None
    except (OSError, subprocess.CalledProcessError) as problem:
        raise UserError(
            f"{flag}: `{' '.join(COMMAND)}` failed ({problem}); reinstall the package bible-kjv{otherwise}"
        ) from None


def chapters(flag, otherwise=""):
    """[(the chapter's name, its verses)], in the Bible's order."""
    found = {}
    for line in read(flag, otherwise).decode("ascii", "replace").splitlines():
        match = re.match(r"(\d?[A-Za-z]+\d+):\d+ (.+)", line)
        if match:
            found.setdefault(match.group(1), []).append(match.group(2).strip())
    verses = sum(map(len, found.values()))
    if (len(found), verses) != (CHAPTERS, VERSES):
        raise UserError(
            f"{flag}: `{' '.join(COMMAND)}` gave {len(found):,} chapters with {verses:,} verses instead of "
            f"{CHAPTERS:,} with {VERSES:,}; reinstall the package bible-kjv{otherwise}"
        )
    return list(found.items())
