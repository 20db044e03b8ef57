"""Users as records: a place for each item, and which of their ratings are held out."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tasks.ratings.reading import Rated
from tasks.ratings.schema import RatingsConfig
from tasks.records import Examples, LocalData

#: What stands at the place of an item that a user has not rated: beyond [-1, 1].
NOT_RATED = np.float32(2.0)

_HOLD_OUT_PERSON = b"tacet rating out"


@dataclass(frozen=True)
class Raters:
    """Users and their ratings.

    Attributes
    ----------
    users : list of str
        Whose records they are.
    records : ndarray, float32, shape (n, items)
        Ratings on [-1, 1], or ``NOT_RATED``.
    """

    users: list[str]
    records: NDArray[np.float32]

    @classmethod
    def of(cls, rated: Rated, config: RatingsConfig) -> Raters:
        """Return a record for each user."""
        number = len(config.items) or config.num_items
        records = np.full((len(rated.users), number), NOT_RATED, np.float32)
        for row, own in zip(records, rated.users.values(), strict=True):
            places, values = np.array(list(own), np.intp), np.array(list(own.values()))
            row[places] = scaled(values, config)
        return cls(list(rated.users), records)


def scaled(ratings: NDArray[np.float64], config: RatingsConfig) -> NDArray[np.float64]:
    """Map ratings from their bounds to [-1, 1]."""
    middle, half = _middle_and_half(config)
    return (ratings - middle) / half


def unscaled(values: NDArray[np.floating], config: RatingsConfig) -> NDArray[np.float64]:
    """Map numbers from [-1, 1] to ratings; what lies outside is cut to the bounds."""
    middle, half = _middle_and_half(config)
    return middle + half * np.clip(values.astype(np.float64), -1.0, 1.0)


def _middle_and_half(config: RatingsConfig) -> tuple[float, float]:
    low, high = config.min_rating, config.max_rating
    return (high + low) / 2, (high - low) / 2


def hold_out(raters: Raters, test_fraction: float, seed: int) -> LocalData:
    """Split each user's ratings into those to train on and those that are held out.

    A rating's side follows from a keyed hash of user and item, and of nothing else. In a record
    to train on, inputs and targets are the ratings to train on; in one that is held out, inputs
    are these, and targets those that are held out. A user with none to train on has no record
    to train on, and one with none held out no other.

    Parameters
    ----------
    raters : Raters
        Everyone.
    test_fraction : float
        Chance of a rating to be held out, in [0, 1).
    seed : int
        Public key of the hash, not negative.
    """
    key, threshold = seed.to_bytes(16, "little"), int(test_fraction * 2**64)
    kept, held_out = raters.records.copy(), np.full_like(raters.records, NOT_RATED)
    for place, user in enumerate(raters.users if threshold else ()):
        items = np.flatnonzero(raters.records[place] != NOT_RATED)
        own = np.array([_hash(user, item, key) < threshold for item in items.tolist()], bool)
        held_out[place, items[own]] = kept[place, items[own]]
        kept[place, items[own]] = NOT_RATED
    trains = np.flatnonzero((kept != NOT_RATED).any(axis=1))
    scores = np.flatnonzero((held_out != NOT_RATED).any(axis=1))
    return LocalData(
        Examples(kept[trains], kept[trains]), Examples(kept[scores], held_out[scores])
    )


def _hash(user: str, item: int, key: bytes) -> int:
    content = item.to_bytes(8, "little") + user.encode("utf-8", "surrogateescape")
    digest = blake2b(content, digest_size=8, key=key, person=_HOLD_OUT_PERSON).digest()
    return int.from_bytes(digest, "little")
