"""The phases, the result and the errors of an attempt at the server."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from strategies.secagg.crypto.prg import Vector
from strategies.secagg.signed_sum import SignedSum


class Phase(IntEnum):
    """The replies that the server waits for."""

    ADVERTS = 1
    SHARES = 2
    MASKED = 3
    CONFIRM = 4
    UNMASK = 5
    DONE = 6
    ABANDONED = 7


class BadReplyError(ValueError):
    """A reply that cannot be used: the attempt goes on without that client."""


class AbandonedError(Exception):
    """An attempt that ended without a result; retry it as a new one, with new keys."""


class MismatchError(Exception):
    """Keys and ciphertexts that do not belong together: the sum is of no honest nodes."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"keys and ciphertexts do not match ({what}): a participant broke the sum, and"
            " nobody can tell who"
        )


@dataclass(frozen=True)
class UnmaskedSum:
    """The sum over the survivors.

    Parameters
    ----------
    update : ndarray of shape (d,), unsigned
        Modulo 2^b.
    scalars : ndarray of shape (k,), uint64
        Modulo 2^64.
    survivors, dropouts : tuple of int
        U3, and U2 without U3.
    signed : SignedSum or None
        What the survivors have signed; None where identities are off.
    """

    update: Vector
    scalars: NDArray[np.uint64]
    survivors: tuple[int, ...]
    dropouts: tuple[int, ...]
    signed: SignedSum | None = None


@dataclass(frozen=True)
class OpenedKeys:
    """The sum of the survivors' keys, which opens that of their ciphertexts.

    Parameters
    ----------
    key_sum : ndarray of shape (k,), int64
        Over the integers.
    survivors, dropouts : tuple of int
        U3, and U2 without U3.
    misfits : tuple of int
        Survivors whose shares do not fit the others': they lie, or were dealt something false.
    signed : SignedSum or None
        What the survivors have signed; None where identities are off.
    """

    key_sum: NDArray[np.int64]
    survivors: tuple[int, ...]
    dropouts: tuple[int, ...]
    misfits: tuple[int, ...] = ()
    signed: SignedSum | None = None
