"""What one client adds to the sum of a round, and the records that carry it.

A contribution is a vector (the update: local minus global parameters, flattened) and a few
scalar sums. Both kinds of aggregation add contributions; only the way differs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from strategies.codec.arrays import BadArrayError, read_vector

#: Records and keys of the messages. Upper case: the wire names.
UPDATE = "update"
SUMS = "sums"

#: Sums that every contribution has; evaluation adds ``eval_`` sums of its own.
NUM_EXAMPLES = "num_examples"
TRAIN_LOSS = "train_loss"
EVAL_PREFIX = "eval_"

#: No honest count or sum is larger.
_LARGEST_SUM = 1e15

Parameters = dict[str, NDArray[np.floating]]


class MalformedReplyError(ValueError):
    """A reply does not have the agreed form, or holds a value that is not finite."""


@dataclass(frozen=True)
class Contribution:
    """One client's part of a round.

    Attributes
    ----------
    update : ndarray, float32, shape (num_parameters,)
        Local minus global parameters in the model's order; empty when only evaluating. Under
        ``example`` privacy the sum of clipped gradients, float64.
    sums : dict
        ``num_examples``: the weight of the update. ``train_loss``: the loss summed over them.
        ``eval_num_examples``, ``eval_loss``, ``eval_<metric>``: sums over the held-out part,
        of the global model as it was sent.
    """

    update: NDArray[np.floating]
    sums: dict[str, float]

    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return bool(np.isfinite(self.update).all()) and all(
            map(math.isfinite, self.sums.values())
        )

    def to_record(self) -> RecordDict:
        """Return the content of the reply that carries this contribution."""
        return RecordDict(
            {
                UPDATE: ArrayRecord({UPDATE: Array(self.update)}),
                SUMS: MetricRecord(dict(self.sums)),
            }
        )

    @classmethod
    def from_record(
        cls, record: RecordDict, num_parameters: int, names: Sequence[str]
    ) -> "Contribution":
        """Read a contribution from a reply, trusting nothing.

        Parameters
        ----------
        record : RecordDict
            The content of the reply.
        num_parameters : int
            Length that the update must have.
        names : sequence of str
            The sums that must be there, no more and no fewer.

        Raises
        ------
        MalformedReplyError
            If anything is missing, too much, of another type, or not finite.
        """
        try:
            update = read_vector(
                record.array_records[UPDATE][UPDATE], "float32", num_parameters
            )
            sums = dict(record.metric_records[SUMS])
        except (KeyError, BadArrayError) as error:
            raise MalformedReplyError(f"{type(error).__name__}: {error}") from None
        if not np.isfinite(update).all():
            raise MalformedReplyError("update is not finite")
        if sorted(sums) != sorted(names):
            raise MalformedReplyError(f"{len(sums)} sums, or with other names")
        return cls(update, {name: _number(name, sums[name]) for name in names})


@dataclass(frozen=True)
class Aggregate:
    """The sum of the contributions of the survivors, as far as the server needs it.

    Attributes
    ----------
    mean_update : ndarray, float32, shape (num_parameters,)
        Weighted by ``num_examples``.
    sums : dict
        The sums of ``Contribution.sums``, as far as they are known.
    weight : float
        What the mean was taken over; 0 if nobody's training came to anything.
    """

    mean_update: NDArray[np.float32]
    sums: dict[str, float]
    weight: float

    def means(self) -> dict[str, float]:
        """Return the losses and metrics per example: what a person reads."""
        means: dict[str, float] = {}
        for prefix, names in (("", (TRAIN_LOSS,)), (EVAL_PREFIX, self._metric_names())):
            count = self.sums.get(prefix + NUM_EXAMPLES, 0.0)
            if count > 0:
                means |= {n: self.sums[n] / count for n in names if n in self.sums}
        return means

    def _metric_names(self) -> tuple[str, ...]:
        return tuple(
            name
            for name in self.sums
            if name.startswith(EVAL_PREFIX) and name != EVAL_PREFIX + NUM_EXAMPLES
        )


def sum_names(metric_names: Sequence[str], *, training: bool) -> tuple[str, ...]:
    """Return the names of the sums that a contribution has, in order."""
    evaluation = (NUM_EXAMPLES, "loss", *metric_names)
    train = (NUM_EXAMPLES, TRAIN_LOSS) if training else ()
    return (*train, *(EVAL_PREFIX + name for name in evaluation))


def _number(name: str, value: object) -> float:
    """Return a sum, which must be a finite number, and if it is a count, a possible one."""
    # bool is an int, and means nothing here; a huge int does not fit a float.
    if type(value) not in (int, float) or not abs(cast(float, value)) < _LARGEST_SUM:
        raise MalformedReplyError(f"{name} is not a number below {_LARGEST_SUM:.0e}")
    number = float(cast(float, value))
    least = {NUM_EXAMPLES: 1.0, EVAL_PREFIX + NUM_EXAMPLES: 0.0}.get(name, -_LARGEST_SUM)
    if number < least:
        raise MalformedReplyError(f"{name} is under {least:g}")
    return number


def add_up(contributions: Sequence[Contribution]) -> Aggregate:
    """Add contributions in float64, in the given order.

    Parameters
    ----------
    contributions : sequence of Contribution
        At least one; updates of the same length.
    """
    sums: dict[str, float] = {}
    total = np.zeros(len(contributions[0].update), dtype=np.float64)
    for contribution in contributions:
        weight = contribution.sums.get(NUM_EXAMPLES, 0.0)
        total += np.float64(weight) * contribution.update
        for name, value in contribution.sums.items():
            sums[name] = sums.get(name, 0.0) + value
    if len(total):
        total /= sums[NUM_EXAMPLES]
    return Aggregate(total.astype(np.float32), sums, sums.get(NUM_EXAMPLES, 0.0))


def flatten(parameters: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float32]:
    """Return the parameters as one float32 vector, in the mapping's order."""
    pieces = [np.asarray(p, dtype=np.float32).ravel() for p in parameters.values()]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)


def add_to(parameters: Parameters, update: NDArray[np.float32]) -> Parameters:
    """Return the parameters plus a flat update, with the names, shapes and dtypes kept."""
    result: Parameters = {}
    first = 0
    for name, values in parameters.items():
        piece = update[first : first + values.size].reshape(values.shape)
        result[name] = (values + piece).astype(values.dtype)
        first += values.size
    return result
