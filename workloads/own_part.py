"""What one participant's part is in a mean of updates: the model without it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from workloads.model_arrays import add_to
from workloads.values import Arrays, Vector


class PartUnknownError(ValueError):
    """The part of one participant cannot be told. The message is for the node's own report."""


@dataclass(frozen=True)
class OwnPart:
    """What a participant added to the two sums of which the server takes the quotient.

    Attributes
    ----------
    total : ndarray, float64, shape (num_parameters,)
        Its update times its weight, as the codec added it.
    weight : float
        Its weight, in the units of the sum's.
    """

    total: Vector
    weight: float


def without_in_mean(before: Arrays, after: Arrays, own: OwnPart, weight: float) -> Arrays:
    """Return the model that the round would have given without one participant.

    Where a round adds the weighted mean m of the updates to the model, and W is the sum of the
    weights, the mean of the others is (W m - w u) / (W - w). No second sum is needed: m is the
    difference of two models that everybody has.

    Parameters
    ----------
    before, after : dict of ndarray
        The model that the updates started from, and the one that the round gave.
    own : OwnPart
        The participant's.
    weight : float
        W.

    Raises
    ------
    PartUnknownError
        If the weights cannot be those of a sum that it is in, with others.
    """
    rest = weight - own.weight
    if not (isfinite(weight) and own.weight > 0 and rest > 1e-9 * weight):
        raise PartUnknownError(
            f"the sum's weight is {weight:g} and this node's {own.weight:g}: no others' is left"
        )
    mean = _difference(before, after)
    return add_to(before, _as_float((weight * mean - own.total) / rest))


def without_in_sum(after: Arrays, own: Vector, rate: float) -> Arrays:
    """Return the model without one participant where a round adds a multiple of the sum.

    Parameters
    ----------
    after : dict of ndarray
        The model that the round gave, noise included, which stays in.
    own : ndarray, float64, shape (num_parameters,)
        The participant's clipped term, without noise.
    rate : float
        What the sum is multiplied by: it depends on no participant.
    """
    return add_to(after, _as_float(-rate * own))


def _difference(before: Arrays, after: Arrays) -> Vector:
    if before.keys() != after.keys():
        raise PartUnknownError("the model has other arrays than before")
    pairs = ((values, before[name]) for name, values in after.items())
    return np.concatenate(
        [
            values.astype(np.float64).ravel() - old.astype(np.float64).ravel()
            for values, old in pairs
        ]
    )


def _as_float(values: Vector) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)
