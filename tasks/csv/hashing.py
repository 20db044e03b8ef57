"""Free texts as vectors: n-grams hashed into a public number of buckets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from math import sqrt
from typing import NamedTuple
from unicodedata import combining, normalize

import numpy as np
from numpy.typing import NDArray

from tasks.csv.columns import TextConfig

#: No more characters of a word are looked at, so that a text without a space is bounded too.
LONGEST_WORD = 40

#: No more marks of one letter are looked at: as in Unicode's stream-safe texts (UAX #15, 13).
_MOST_MARKS = 30

_WORD = re.compile(r"\w+")
_PERSON = b"tacet text"


class Hashed(NamedTuple):
    """The vector of one text, without its zeros.

    Attributes
    ----------
    places : ndarray of int, shape (k,)
        Buckets, ascending.
    values : ndarray, float32, shape (k,)
        Their values, of L2 norm 1; none for a text without words.
    is_cut : bool
        Whether the text had more words than are looked at.
    """

    places: NDArray[np.intp]
    values: NDArray[np.float32]
    is_cut: bool


def hashed(text: str, column: TextConfig) -> Hashed:
    """Return the vector of a text: a function of the text and the public configuration alone.

    Signed feature hashing (Weinberger et al. 2009, ICML, section 2): each n-gram adds 1 or -1,
    as its hash says, to the bucket that its hash names, once however often it is in the text.
    So two n-grams in one bucket cancel as often as they add up, and inner products of texts are
    right on average. Then the vector is scaled to an L2 norm of 1: no text weighs more than
    another, however long it is. The hash is BLAKE2b, the same on every machine.

    Parameters
    ----------
    text : str
        Upper and lower case, and forms of a letter that Unicode takes for the same, are one.
    column : TextConfig
        How many buckets, which n-grams, and how many words are looked at.
    """
    words = list(islice(_words(text), column.max_words + 1))
    is_cut = len(words) > column.max_words
    signs: Counter[int] = Counter()
    for gram in set(_grams(words[: column.max_words], column)):
        digest = blake2b(gram.encode("utf-8", "surrogatepass"), digest_size=8, person=_PERSON)
        number = int.from_bytes(digest.digest(), "little")
        signs[(number >> 1) % column.buckets] += 1 if number & 1 else -1
    found = sorted((place, sign) for place, sign in signs.items() if sign)
    norm = sqrt(sum(sign * sign for _, sign in found))
    places = np.array([place for place, _ in found], np.intp)
    values = np.array([sign / norm for _, sign in found], np.float32)
    return Hashed(places, values, is_cut)


def vectors_of(texts: list[list[Hashed]], columns: list[TextConfig]) -> NDArray[np.float32]:
    """Return the vectors of records with a text in each column, side by side.

    Shape (n, buckets of all columns together).
    """
    starts = np.cumsum([0, *(column.buckets for column in columns)])
    vectors = np.zeros((len(texts), int(starts[-1])), np.float32)
    for vector, own in zip(vectors, texts, strict=True):
        for start, text in zip(starts, own, strict=False):
            vector[start + text.places] = text.values
    return vectors


def _words(text: str) -> Iterator[str]:
    for found in _WORD.finditer(normalize("NFKC", _with_few_marks(text)).casefold()):
        yield found.group()[:LONGEST_WORD]


def _with_few_marks(text: str) -> str:
    """Return a text without marks that nobody could write above or below one letter.

    Python brings the marks of a letter into order one by one, each past those before it, in
    quadratic time: 32,000 have taken half a minute, and one record would hold its node up.
    """
    if text.isascii():
        return text
    kept: list[str] = []
    num_marks = 0
    for letter in text:
        num_marks = num_marks + 1 if _is_mark(letter) else 0
        if num_marks <= _MOST_MARKS:
            kept.append(letter)
    return "".join(kept)


@lru_cache(maxsize=4096)
def _is_mark(letter: str) -> bool:
    """Return whether a letter is nothing but marks on the one before, if taken apart."""
    return all(map(combining, normalize("NFKD", letter)))


def _grams(words: list[str], column: TextConfig) -> Iterator[str]:
    """Yield the n-grams of words, and those of characters, which no n-gram of words looks like.

    Those of characters know where a word begins and ends (Bojanowski et al. 2017, TACL 5).
    """
    for length in range(1, column.words + 1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])
    if column.characters:
        for word in words:
            marked = f"<{word}>"
            for start in range(max(1, len(marked) - column.characters + 1)):
                yield "\0" + marked[start : start + column.characters]
