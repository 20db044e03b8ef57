"""The values that pass between a workload, its nodes and its server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import BoundedSum

Arrays = dict[str, NDArray[Any]]
Vector = NDArray[np.float64]

#: Sums that are in every contribution with a weight; evaluation adds ``eval_`` sums.
NUM_EXAMPLES = "num_examples"
TRAIN_LOSS = "train_loss"
EVAL_PREFIX = "eval_"
BIN_PREFIX = EVAL_PREFIX + "bin_"
#: Counts of participants, see ``workloads.scoring.spread``.
SPREAD_PREFIX = EVAL_PREFIX + "spread_"


class StateRefusedError(ValueError):
    """A state, received with a request, that does not fit this workload."""


def require_arrays(found: Arrays, due: Arrays) -> None:
    """Refuse arrays of other names or shapes, or that are not of finite float64 numbers.

    Parameters
    ----------
    found : dict of ndarray
        Of a state, as received.
    due : dict of ndarray
        With the names and shapes that they must have.

    Raises
    ------
    StateRefusedError
        Naming the first that does not fit.
    """
    if found.keys() != due.keys():
        raise StateRefusedError(f"arrays {sorted(found)}, not {sorted(due)}")
    for name, array in found.items():
        if array.shape != due[name].shape or array.dtype != np.float64:
            raise StateRefusedError(f"{name} is {array.dtype} of shape {array.shape}")
        if not np.isfinite(array).all():
            raise StateRefusedError(f"{name} is not finite")


@dataclass(frozen=True)
class State:
    """The state that the server publishes and each round changes.

    Attributes
    ----------
    arrays : dict of ndarray
        By name, in a fixed order: a model's parameters, a table of counts.
    header : dict
        A few JSON values beside them.
    """

    arrays: Arrays
    header: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Query:
    """The server's question about the state in one round.

    Attributes
    ----------
    server_round : int
        Counted from 1.
    values : dict
        JSON values that differ from round to round; most workloads need none.
    """

    server_round: int
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Contribution:
    """One client's part of a round without differential privacy.

    Attributes
    ----------
    update : ndarray, shape (length,)
        What is summed, e.g. local minus global parameters; empty when only evaluating.
    sums : dict
        Scalars that are summed beside it, by name.
    personal : dict of ndarray, optional
        What the node keeps for itself of its model as it is now: in no message.
    """

    update: NDArray[Any]
    sums: dict[str, float]
    personal: Arrays | None = None

    @cached_property
    def numbers(self) -> Vector:
        """Return the sums in their order, shape (len(sums),); with bins there are thousands."""
        return np.fromiter(self.sums.values(), np.float64, len(self.sums))


@dataclass(frozen=True)
class NoisedUpdate:
    """An update that a node has made private by itself: ``example`` x ``local`` only.

    Attributes
    ----------
    update : ndarray, float32, shape (length,)
        Post-processed releases; nothing is clipped or noised after this.
    """

    update: NDArray[np.floating]


@dataclass(frozen=True)
class PrivateContribution:
    """One client's part of a round under differential privacy: sums with their bounds.

    Attributes
    ----------
    update : BoundedSum, NoisedUpdate or None
        None when only evaluating.
    metrics : BoundedSum or None
        The metric vector of the held-out records; None where none is due.
    clip_bit : BoundedSum or None
        One number, +-1/2: whether the update was within the clip norm.
    own_train_loss : float or None
        Mean loss of the node's own training, for its own report: no codec looks at it.
    personal : dict of ndarray, optional
        As in ``Contribution``.
    """

    update: BoundedSum | NoisedUpdate | None
    metrics: BoundedSum | None = None
    clip_bit: BoundedSum | None = None
    own_train_loss: float | None = None
    personal: Arrays | None = None


@dataclass(frozen=True)
class Aggregate:
    """The sum over the survivors, as far as the server knows it.

    Attributes
    ----------
    total : ndarray, float64, shape (length,)
        The sum of the updates in their units, noise included; empty when only evaluating.
    sums : dict
        The scalars' sums, by name, as far as they are known.
    weight : float
        What ``total`` is divided by for a weighted mean; the number of survivors where updates
        have no weights. 0 if nobody's contribution came to anything.
    noise : float
        Standard deviation of the noise in each entry of ``total``, in its units, as that of
        all nodes that answered; 0 for none.
    scores_noise : float
        Standard deviation of the noise in each sum of the evaluation; 0 for none.
    loss_noise : float
        That of the sum of the losses, in its units.
    """

    total: Vector
    sums: dict[str, float]
    weight: float
    noise: float = 0.0
    scores_noise: float = 0.0
    loss_noise: float = 0.0

    def mean(self) -> Vector:
        """Return the weighted mean, zeros if nothing has weight."""
        return self.total / self.weight if self.weight > 0 else np.zeros_like(self.total)

    def means(self) -> dict[str, float]:
        """Return losses and metrics per example: what a person reads."""
        means: dict[str, float] = {}
        for prefix, names in (("", (TRAIN_LOSS,)), (EVAL_PREFIX, self._metric_names())):
            count = self.sums.get(prefix + NUM_EXAMPLES, 0.0)
            if count > 0:
                means |= {n: self.sums[n] / count for n in names if n in self.sums}
        return means

    def bins(self, num_bins: int) -> Vector:
        """Return how many scored records are in each bin, see ``workloads.scoring.bins``."""
        sums = (self.sums.get(f"{BIN_PREFIX}{number}", 0.0) for number in range(num_bins))
        return np.fromiter(sums, np.float64, num_bins)

    def _metric_names(self) -> tuple[str, ...]:
        return tuple(
            name
            for name in self.sums
            if name.startswith(EVAL_PREFIX)
            and name != EVAL_PREFIX + NUM_EXAMPLES
            and not name.startswith((BIN_PREFIX, SPREAD_PREFIX))
        )


def names_of_scores(metric_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the evaluation's sums: the count, the loss, each metric."""
    return evaluated((NUM_EXAMPLES, "loss", *metric_names))


def evaluated(names: Iterable[str]) -> tuple[str, ...]:
    """Return names as those of sums of the evaluation."""
    return tuple(EVAL_PREFIX + name for name in names)
