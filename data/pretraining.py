"""Samples for pretraining out of documents: texts of up to so many tokens, or pairs of texts.

Samples consist of whole sentences. Only a sentence that is longer than a sample is cut."""

import array
import itertools

from chance import Chance
from wordpiece import BATCH

SHORTEST = 2  # tokens that a sample made shorter aims at, at least


class Document:
    """tokens: array("H"); ends: after which token each sentence ends."""

    def __init__(self):
        self.tokens, self.ends = array.array("H"), array.array("Q")

    def add(self, sentence):
        if sentence:
            self.tokens.extend(sentence)
            self.ends.append(len(self.tokens))

    def __len__(self):
        return len(self.ends)

    def start(self, sentence):
        return self.ends[sentence - 1] if sentence else 0

    def text(self, first, last):
        """The tokens of sentences first … last - 1."""
        return self.tokens[self.start(first) : self.start(last)]

    def fitting(self, first, room):
        """The sentence after the last of those from `first` on that fit into so many tokens; at least one."""
        last = first + 1
        while last < len(self) and self.ends[last] - self.start(first) <= room:
            last += 1
        return last


def encode(documents, vocabulary):
    """A Document for each list of sentences; without sentences if these have no tokens."""
    batch, sentences = [], 0
    for document in documents:
        batch.append(document)
        sentences += len(document)
        if sentences >= BATCH:
            yield from encode_batch(batch, vocabulary)
            batch, sentences = [], 0
    yield from encode_batch(batch, vocabulary)


def encode_batch(batch, vocabulary):
    sentences = iter(vocabulary.encode([sentence for document in batch for sentence in document]))
    for lines in batch:
        document = Document()
        for sentence in itertools.islice(sentences, len(lines)):
            document.add(sentence)
        yield document


def plain_samples(file, documents, max_length, short_fraction, seed):
    """Adds [CLS] text [SEP] to the SampleFile: together the samples of a document are its tokens, in order."""
    most = max_length - 2
    chance = Chance(*seed, "plain")
    for document in documents:
        sentence = 0
        while sentence < len(document):
            last = document.fitting(sentence, target(most, short_fraction, chance))
            text = document.text(sentence, last)
            for begin in range(0, len(text), most):
                file.add_texts(text[begin : begin + most])
            sentence = last


def target(most, short_fraction, chance):
    """How many tokens the next sample is to have."""
    short = chance.unit() < short_fraction
    return SHORTEST + chance.below(most - SHORTEST + 1) if short else most


def pair_samples(file, documents, max_length, short_fraction, seed):
    """Adds [CLS] A [SEP] B [SEP] to the SampleFile, label 1 where B followed A, 0 where B is of another document."""
    most = max_length - 3
    chance = Chance(*seed, "pairs")
    owed = 0  # pairs with a B from elsewhere that had no choice: so many others have none, for one half of each
    for number, document in enumerate(documents):
        sentence = 0
        while sentence < len(document):
            room = target(most, short_fraction, chance)
            last = min(max(document.fitting(sentence, room), sentence + 2), len(document))
            border = sentence + 1 + chance.below(max(last - sentence - 1, 1))
            follows = chance.unit() >= 1 / 2
            if border == last:  # the document's last sentence, alone
                owed += follows
                follows = False
            elif not follows and owed > 0:
                owed -= 1
                follows = True
            first = document.text(sentence, border)
            if follows:
                second = document.text(border, last)
                sentence = last
            else:
                second = from_elsewhere(documents, number, room - len(first), chance)
                sentence = border  # what could have been B begins the next pair
            first, second = cut(first, second, most)
            file.add_texts(first, second, float(follows))


def from_elsewhere(documents, number, room, chance):
    """Sentences of a document that is not that of this number, in order, that fit; at least one."""
    other = chance.below(len(documents) - 1)
    other = documents[other + (other >= number)]
    begin = chance.below(len(other))
    return other.text(begin, other.fitting(begin, room))


def cut(first, second, most):
    """Cuts the longer one until both fit; the beginning of the first and the end of the second, so that texts that
    followed each other still do."""
    keep = min(len(first), max(most - len(second), (most + 1) // 2))
    return first[len(first) - keep :], second[: most - keep]
