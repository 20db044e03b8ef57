"""The sum that a state was made from, as nodes are shown it that work the state out again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

import numpy as np

from workloads.values import Aggregate, Arrays

#: Prefix of its arrays beside others, in a checkpoint.
PREFIX = "last-sum/"
_HASH_BYTES = 32


class BadLastSumError(ValueError):
    """Arrays that are no such sum."""


@dataclass(frozen=True)
class LastSum:
    """An exact sum and what was asked for it.

    Attributes
    ----------
    asked : bytes
        ``hash_state`` of the state that the sum is about (32 bytes).
    aggregate : Aggregate
        The sum; without noise.
    """

    asked: bytes
    aggregate: Aggregate

    def to_arrays(self) -> Arrays:
        """Return it as arrays, every number with all of its digits."""
        told = {"sums": self.aggregate.sums, "weight": self.aggregate.weight}
        return {
            "asked": np.frombuffer(self.asked, np.uint8),
            "total": np.asarray(self.aggregate.total, np.float64),
            "scalars": np.frombuffer(json.dumps(told).encode(), np.uint8),
        }

    @classmethod
    def of_arrays(cls, arrays: Arrays) -> Self:
        """Read it from arrays, trusting nothing.

        Raises
        ------
        BadLastSumError
            If it is none.
        """
        try:
            asked, total = arrays["asked"], arrays["total"]
            told = json.loads(arrays["scalars"].astype(np.uint8, casting="equiv").tobytes())
            sums = {str(name): float(value) for name, value in told["sums"].items()}
            weight = float(told["weight"])
        # A number may be too large for a float, and JSON be nested too deep.
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise BadLastSumError(f"{type(error).__name__} in the last sum") from None
        numbers = np.array([weight, *sums.values()])
        if total.dtype != np.float64 or total.ndim != 1 or asked.dtype != np.uint8:
            raise BadLastSumError(f"a last sum of {total.dtype} and shape {total.shape}")
        if len(asked) != _HASH_BYTES or not (
            np.isfinite(total).all() and np.isfinite(numbers).all()
        ):
            raise BadLastSumError("a last sum that is not finite, or of no state")
        return cls(asked.tobytes(), Aggregate(total, sums, weight))
