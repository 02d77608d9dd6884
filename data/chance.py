"""Random choices that are the same on every machine and under every version of Python."""

import hashlib
import random


class Chance:
    """A stream of choices that depends on nothing but `key`. Built on random.random() of a seed that is a string: the
    part of Python's generator that is documented never to change."""

    def __init__(self, *key):
        self.generator = random.Random(" ".join(map(str, key)))

    def unit(self):
        """From 0 to less than 1."""
        return self.generator.random()

    def below(self, n):
        """A whole number from 0 to n - 1."""
        return int(self.generator.random() * n)

    def shuffled(self, items):
        """The items in another order: Fisher and Yates."""
        items = list(items)
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
        return items


def validation_documents(count, fraction, seed):
    """Which of `count` documents are for validation: a set of numbers, of this share of them, at least one and not
    all. Scripts that are given the same documents, share and seed agree on it."""
    order = sorted(range(count), key=lambda number: hashlib.sha256(f"{seed} document {number}".encode()).digest())
    return set(order[: min(max(1, round(count * fraction)), count - 1)])
