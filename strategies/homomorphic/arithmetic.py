"""Which code multiplies polynomials: numpy's, or numba's where that is installed and pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies.homomorphic import packing, ring
from strategies.homomorphic.packing import Places
from strategies.secagg.crypto.prg import Vector
from strategies.secagg.fields import Buffer

#: Polynomials of a process from which compiling pays: it takes about 3 s, and each polynomial
#: takes numpy about 5 ms longer. Whoever stops there has lost at most as much again.
PAYS_FROM = 512
#: The most numbers of an update for which numpy alone will do.
MOST_WITHOUT_NUMBA = 1_000_000


@dataclass(frozen=True)
class Arithmetic:
    """Functions on one polynomial; ``ring`` and ``packing`` say what each of them does."""

    name: str
    product: Callable[[NDArray[np.uint32], NDArray[np.uint64]], NDArray[np.uint64]]
    spread: Callable[[Vector, NDArray[Any], NDArray[np.uint64], Places], Buffer]
    add: Callable[[Buffer, NDArray[np.uint64]], bool]
    collect: Callable[
        [NDArray[np.uint64], NDArray[np.uint64], Places],
        tuple[Vector, NDArray[np.int64]] | None,
    ]


NUMPY = Arithmetic("numpy", ring.product, packing.spread, packing.add, packing.collect)


def has_numba() -> bool:
    """Return whether numba is installed."""
    return find_spec("numba") is not None


@cache
def compiled_arithmetic() -> Arithmetic:
    """Return numba's arithmetic; compiled as it is first used."""
    from strategies.homomorphic import compiled

    return Arithmetic(
        "numba", compiled.product, compiled.spread, compiled.add, compiled.collect
    )


class _Counter:
    """Polynomials that this process has worked on."""

    def __init__(self) -> None:
        self.num_polynomials = 0


_counter = _Counter()


def arithmetic_for(num_polynomials: int) -> Arithmetic:
    """Return the arithmetic for so many polynomials, beside those of this process before."""
    _counter.num_polynomials += num_polynomials
    if _counter.num_polynomials >= PAYS_FROM and has_numba():
        return compiled_arithmetic()
    return NUMPY


def require_fast(num_values: int) -> None:
    """Refuse an update that is too long for numpy alone.

    Raises
    ------
    ValueError
        Naming the length and the mend.
    """
    if num_values > MOST_WITHOUT_NUMBA and not has_numba():
        raise ValueError(
            f"an update of {num_values:,} numbers, but without numba at most"
            f" {MOST_WITHOUT_NUMBA:,} are encrypted, for it takes too long: install the extra"
            " `numba`, or take aggregation=secagg"
        )
