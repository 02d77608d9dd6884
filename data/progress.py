"""How far a long piece of work is: a bar on a terminal, now and then a line of its own in a log."""

import sys
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10


def duration(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


class Progress:
    """total, done: in bytes, of which `done` were there before; name: what is worked on."""

    def __init__(self, name, total, done=0):
        self.name, self.total, self.first, self.done = name, total, done, done
        self.start = self.last_line = time.monotonic()
        self.note = ""
        self.bar = None
        if sys.stderr.isatty():
            self.bar = tqdm(desc=name, total=total, initial=done, unit="B", unit_scale=True, leave=False)

    def add(self, count, note=""):
        """count more bytes are done; note: a figure to show beside them."""
        self.done += count
        self.note = note
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            print(self.line(), flush=True)

    def line(self):
        rate = (self.done - self.first) / (time.monotonic() - self.start)
        parts = [f"{self.name}: {self.done / 1e6:,.1f} MB"]
        if self.total:
            parts[0] += f" of {self.total / 1e6:,.1f}, {100 * self.done / self.total:.1f} %"
        parts.append(f"{rate / 1e6:.1f} MB/s")
        if self.total and rate > 0:
            parts.append(f"{duration((self.total - self.done) / rate)} left")
        if self.note:
            parts.append(self.note)
        return " | ".join(parts)

    def close(self):
        if self.bar is not None:
            self.bar.close()
