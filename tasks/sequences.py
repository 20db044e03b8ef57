"""Sequences of one length, cut from longer ones, and texts as numbers.

A model takes all sequences of a node in one array: shorter ones are filled up, and what stands
for nothing is known by its value, so that nothing but inputs and targets has to travel.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

#: Stands in place of a token that is not there, or is not in the vocabulary.
NO_TOKEN = 0
#: Stands in place of a target that is not there: no loss and no score.
NO_TARGET = -1


class Reader(Enum):
    """What reads a sequence. See ``tasks.sequence_models``."""

    gru = "gru"
    lstm = "lstm"
    tcn = "tcn"
    transformer = "transformer"


def encode(text: str, vocabulary: str) -> NDArray[np.int64]:
    """Return the place of each character in a vocabulary, from 1; ``NO_TOKEN`` for others.

    Returns
    -------
    ndarray, int64, shape (len(text),)
    """
    places = {character: place for place, character in enumerate(vocabulary, start=1)}
    found = (places.get(character, NO_TOKEN) for character in text)
    return np.fromiter(found, np.int64, count=len(text))


def next_tokens(
    tokens: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut tokens into windows that follow each other, and give what comes next at each place.

    Parameters
    ----------
    tokens : ndarray, int64, shape (n,)
        One sequence.
    length : int
        Tokens in a window, at least 1.

    Returns
    -------
    inputs, targets : ndarray, int64, shape (ceil((n - 1) / length), length)
        The last window is filled up with ``NO_TOKEN`` and ``NO_TARGET``. A token that is not
        in the vocabulary is no target.
    """
    num_windows = -(-max(0, len(tokens) - 1) // length)
    inputs = np.full(num_windows * length, NO_TOKEN, np.int64)
    targets = np.full(num_windows * length, NO_TARGET, np.int64)
    inputs[: len(tokens) - 1] = tokens[:-1]
    targets[: len(tokens) - 1] = np.where(tokens[1:] == NO_TOKEN, NO_TARGET, tokens[1:])
    shape = num_windows, length
    return inputs.reshape(shape), targets.reshape(shape)
