"""Split one data set over simulated clients.

Every client computes the whole partition from the public seed and keeps its own part, so
nothing is exchanged and all agree. With one more record in the data set the parts would be
others: the guarantees of differential privacy are about the records of a node, once they are
dealt out. Real nodes have records of their own and deal nothing out.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base import DataSource
from tasks.records import DataError, Examples, LocalData
from tasks.schema import PartitionConfig, Scheme

# Keep the streams of different uses of one seed apart.
_PARTITION_STREAM = 1
_HOLD_OUT_PERSON = b"tacet hold out"

Indices = NDArray[np.intp]


def partition(
    targets: NDArray[Any],
    num_partitions: int,
    config: PartitionConfig,
    seed: int,
    groups: NDArray[np.intp] | None = None,
) -> list[Indices]:
    """Return the record indices of each part: disjoint, and together all records.

    Parameters
    ----------
    targets : ndarray, shape (n,)
        Labels; ``dirichlet`` needs integer classes.
    num_partitions : int
        How many parts.
    config : PartitionConfig
        The scheme and its numbers.
    seed : int
        Public seed; the same seed gives the same parts everywhere.
    groups : ndarray of int, shape (n,), optional
        The data set's own grouping, 0 to G - 1, for ``natural``.

    Raises
    ------
    DataError
        If the records cannot be split this way.
    """
    num_records = len(targets)
    if config.scheme is Scheme.natural:
        return _natural(groups, num_partitions)
    if num_records < num_partitions * config.min_examples:
        raise DataError(
            f"{num_records} records cannot give each of {num_partitions} clients"
            f" task.partition.min_examples={config.min_examples}: use fewer clients or lower it"
        )
    numbers = num_partitions, config.scheme, config.alpha, config.min_examples, seed
    if config.scheme is Scheme.dirichlet:
        _require_classes(targets)
        return list(_dealt(num_records, targets.tobytes(), targets.dtype.str, *numbers))
    # The other schemes do not look at the labels.
    return list(_dealt(num_records, b"", "u1", *numbers))


# A process that answers for many nodes needs the same parts for each message, and with a
# thousand nodes they take longer than the training.
@lru_cache(maxsize=2)
def _dealt(
    num_records: int,
    labels: bytes,
    dtype: str,
    num_partitions: int,
    scheme: Scheme,
    alpha: float,
    min_examples: int,
    seed: int,
) -> tuple[Indices, ...]:
    """Return the parts of everyone, read-only, for labels as bytes."""
    rng = np.random.default_rng([seed, _PARTITION_STREAM])
    if scheme is Scheme.iid:
        parts = np.array_split(rng.permutation(num_records), num_partitions)
    elif scheme is Scheme.size_skew:
        parts = _spread(rng.permutation(num_records), num_partitions, alpha, rng)
    else:
        parts = _dirichlet(np.frombuffer(labels, dtype), num_partitions, alpha, rng)
    parts = _fill_up(parts, min_examples)
    for part in parts:
        part.flags.writeable = False
    return tuple(parts)


def local_part(
    examples: Examples,
    source: DataSource,
    config: PartitionConfig,
    test_fraction: float,
    seed: int,
    groups: NDArray[np.intp] | None = None,
) -> LocalData:
    """Return this node's part of a shared data set, with its held-out share."""
    parts = partition(examples.targets, source.num_partitions, config, seed, groups)
    return hold_out(examples.take(parts[source.partition_id]), test_fraction, seed)


def hold_out(
    examples: Examples,
    test_fraction: float,
    seed: int,
    contents: Sequence[bytes] | None = None,
) -> LocalData:
    """Split a node's records into training and test part, each record by its own content.

    A record is held out if the keyed hash of its bytes, a number in [0, 1), is under
    ``test_fraction``. No other record has a say: one record more or less moves no other, which
    differential privacy needs. Equal records lie on the same side. The sizes are random, about
    ``test_fraction`` of the records; a side of very few records may be empty.

    Parameters
    ----------
    examples : Examples
        All records, in any order; each part keeps it.
    test_fraction : float
        Chance of a record to be held out, in [0, 1).
    seed : int
        Public key of the hash, not negative.
    contents : sequence of bytes, optional
        What stands for the inputs of each record, where those are computed from it.
    """
    rows = (row.tobytes() for row in examples.inputs) if contents is None else contents
    # The public seed is no secret: the hash only has to deal evenly, and the same everywhere.
    key = seed.to_bytes(16, "little")
    digests = b"".join(
        blake2b(
            row + target.tobytes(), digest_size=8, key=key, person=_HOLD_OUT_PERSON
        ).digest()
        for row, target in zip(rows, examples.targets, strict=True)
    )
    # A fraction under 1 times 2^64 fits 64 bits: the largest float under 1 is 1 - 2^-53.
    threshold = np.uint64(int(test_fraction * 2**64))
    is_test = np.frombuffer(digests, dtype="<u8") < threshold
    return LocalData(
        examples.take(np.flatnonzero(~is_test)), examples.take(np.flatnonzero(is_test))
    )


def _natural(groups: NDArray[np.intp] | None, num_partitions: int) -> list[Indices]:
    if groups is None:
        raise DataError(
            "task.partition.scheme=natural: this data set has no groups of its own;"
            " use iid, dirichlet or size_skew"
        )
    num_groups = int(groups.max()) + 1
    if num_groups != num_partitions:
        raise DataError(
            f"task.partition.scheme=natural: this data set has {num_groups} groups but there"
            f" are {num_partitions} clients; start {num_groups}"
        )
    return [np.flatnonzero(groups == group) for group in range(num_groups)]


def _require_classes(targets: NDArray[Any]) -> None:
    if not np.issubdtype(targets.dtype, np.integer):
        raise DataError(
            "task.partition.scheme=dirichlet skews classes, but the targets here are numbers;"
            " use iid or size_skew"
        )


def _spread(
    records: Indices, num_partitions: int, alpha: float, rng: np.random.Generator
) -> list[Indices]:
    """Cut the records into consecutive pieces whose sizes follow one Dirichlet draw."""
    shares = rng.dirichlet(np.full(num_partitions, alpha))
    cuts = np.round(np.cumsum(shares)[:-1] * len(records)).astype(np.intp)
    return np.split(records, cuts)


def _dirichlet(
    targets: NDArray[Any], num_partitions: int, alpha: float, rng: np.random.Generator
) -> list[Indices]:
    by_class = [
        _spread(rng.permutation(np.flatnonzero(targets == label)), num_partitions, alpha, rng)
        for label in np.unique(targets)
    ]
    return [np.concatenate(pieces) for pieces in zip(*by_class, strict=True)]


def _fill_up(parts: list[Indices], min_examples: int) -> list[Indices]:
    """Move records from the largest part until every part has enough."""
    parts = list(parts)
    for index in range(len(parts)):
        while (missing := min_examples - len(parts[index])) > 0:
            largest = max(range(len(parts)), key=lambda i: len(parts[i]))
            moved = min(missing, max(1, len(parts[largest]) - min_examples))
            parts[index] = np.concatenate([parts[index], parts[largest][-moved:]])
            parts[largest] = parts[largest][:-moved]
    return parts
