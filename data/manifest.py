"""manifest.json: what a folder of shards was made from, and how far that is."""

import fcntl
import glob
import json
import os

from common import UserError, write_files

NAME = "manifest.json"
FORMAT = 1
TOKENIZER = "gpt2_tokenizer.bin"


class Manifest:
    """settings: {name: value}, what must be the same for a run to go on with what another began."""

    def __init__(self, folder, settings):
        self.folder = folder
        self.path = os.path.join(folder, NAME)
        self.data = {"format": FORMAT, "settings": settings, "sources": None, "splits": {}}
        self.lock()
        for unfinished in glob.glob(os.path.join(glob.escape(folder), "*.tmp[0-9]*")):
            os.remove(unfinished)  # of a run that was killed
        if os.path.exists(self.path):
            self.load(settings)
        else:
            self.refuse_strangers()

    def lock(self):
        """One run at a time works in a folder. The lock ends with this process, however that ends."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            self.locked = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self.locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"--output: {self.folder}: another run is at work there; wait for it or stop it") from None
        except OSError as problem:
            raise UserError(
                f"--output: {self.folder}: {problem.strerror}; give a folder that you can write to"
            ) from None

    def begun(self):
        """Is anything on the disk that settings and sources must agree with?"""
        splits = self.data["splits"].values()
        return any(split["at"]["shard"] or split["at"]["tokens"] or len(split["starts"]) > 1 for split in splits)

    def load(self, settings):
        fix = "give another --output, or delete that folder to begin anew"
        try:
            with open(self.path, encoding="utf-8") as file:
                self.data = json.load(file)
            if self.data["format"] != FORMAT:
                raise UserError(f"{self.path}: format {self.data['format']} found, {FORMAT} expected; {fix}")
            found = self.data["settings"] if self.begun() else settings
            self.data["settings"] = settings
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise UserError(f"{self.path}: cannot be read ({problem}); {fix}") from None
        for name, value in settings.items():
            if found.get(name) != value:
                raise UserError(
                    f"{self.path}: this folder was begun with {name} {found.get(name)!r}, now it is {value!r}; {fix}"
                )

    def refuse_strangers(self):
        """Nothing that was made in another way is written over."""
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".bin") and name != TOKENIZER:
                raise UserError(
                    f"--output: {os.path.join(self.folder, name)}: no {NAME} there says how it was made; move it away "
                    "or give another --output"
                )

    @property
    def sources(self):
        return self.data["sources"]

    def set_sources(self, sources):
        """sources: [{"name", "size", …}], in order, with "sha256" where it is known. They must be those that the folder
        was begun with."""
        if self.sources is not None and self.begun():
            known = all(source.get("sha256") for source in [*self.sources, *sources])
            what = ("name", "size", "sha256") if known else ("name", "size")
            before, now = ([tuple(source[key] for key in what) for source in some] for some in (self.sources, sources))
            for old, new in zip(before + [None] * len(now), now + [None] * len(before)):
                if old != new:
                    raise UserError(
                        f"--input: this folder was begun with other files: {old} in {self.path}, now {new} "
                        f"({', '.join(what)}); give the same files, or another --output"
                    )
        self.data["sources"] = sources

    def split(self, name):
        """The state of a split; see preparation.py."""
        begin = {"starts": [[0, 0, 0]], "at": {"shard": 0, "tokens": 0, "position": [0, 0, 0]}, "done": False}
        return self.data["splits"].setdefault(name, begin)

    def save(self):
        write_files({self.path: [json.dumps(self.data, indent=1).encode()]})
