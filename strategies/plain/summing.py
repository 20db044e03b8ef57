"""How plain aggregation reads replies and adds them up: in floats, or encoded by the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.typing import NDArray

from strategies.codec.arrays import BadArrayError, read_vector
from strategies.codec.fixed_point_codec import ContributionCodec
from strategies.codec.private_codec import PrivateCodec
from strategies.codec.run_state import RunCodec
from strategies.contribution import (
    SUMS,
    UPDATE,
    Aggregate,
    Contribution,
    MalformedReplyError,
    add_up,
    sum_names,
)
from strategies.secagg.crypto.prg import Vector, reduce_modulus, word_dtype


class Summing(Protocol):
    """How a plain round's replies become its aggregate."""

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if the sum of so many does not fit; names the mends."""
        ...

    def read(self, record: RecordDict, *, num_parameters: int) -> Any:
        """Read one reply, trusting nothing; ``num_parameters`` is 0 when only evaluating.

        Raises
        ------
        MalformedReplyError
            If it does not have the agreed form.
        """
        ...

    def add_up(
        self, items: Sequence[Any], seed: bytes, *, num_asked: int, has_metrics: bool
    ) -> Aggregate:
        """Return the aggregate of what ``read`` returned, at least one."""
        ...


class ClearSum:
    """Contributions as they are.

    Parameters
    ----------
    metric_names : tuple of str
        The task's metrics: what a reply must hold.
    codec : ContributionCodec, optional
        Add in fixed point, exactly as secure aggregation does.
    """

    def __init__(
        self, metric_names: tuple[str, ...], codec: ContributionCodec | None = None
    ) -> None:
        self._metric_names = metric_names
        self._codec = codec

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if the sum of so many does not fit; floats always do."""
        if self._codec:
            self._codec.check_fits(num_contributions)

    def read(self, record: RecordDict, *, num_parameters: int) -> Contribution:
        """Read one contribution."""
        names = sum_names(self._metric_names, training=num_parameters > 0)
        return Contribution.from_record(record, num_parameters, names)

    def add_up(
        self, items: Sequence[Contribution], seed: bytes, *, num_asked: int, has_metrics: bool
    ) -> Aggregate:
        """Add floats, or integers where there is a codec."""
        return self._codec.add_up(list(items), num_asked) if self._codec else add_up(items)


class EncodedSum:
    """Contributions that the nodes have encoded, with their noise in them.

    Parameters
    ----------
    coding : RunCodec
        With the codec of a private run.
    """

    def __init__(self, coding: RunCodec) -> None:
        self._coding = coding

    @property
    def _codec(self) -> PrivateCodec:
        codec = self._coding.codec
        assert isinstance(codec, PrivateCodec)  # noqa: S101 - build gives no other
        return codec

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if noise and modulus were not sized for so many."""
        self._codec.check_fits(num_contributions)

    def read(
        self, record: RecordDict, *, num_parameters: int
    ) -> tuple[Vector, NDArray[np.uint64]]:
        """Read one encoded contribution."""
        codec = self._codec
        length = codec.plan.padded_dimension if num_parameters else 0
        word = word_dtype(codec.modulus_bits)
        try:
            arrays = record.array_records
            vector = read_vector(arrays[UPDATE][UPDATE], word.str, length)
            scalars = read_vector(arrays[SUMS][SUMS], "<u8", len(codec.scalar_names))
        except (KeyError, BadArrayError) as error:
            raise MalformedReplyError(f"{type(error).__name__}: {error}") from None
        return vector, scalars

    def add_up(
        self,
        items: Sequence[tuple[Vector, NDArray[np.uint64]]],
        seed: bytes,
        *,
        num_asked: int,
        has_metrics: bool,
    ) -> Aggregate:
        """Add modulo 2^b and decode."""
        codec = self._codec
        total, scalars = (array.copy() for array in items[0])
        for vector, more in items[1:]:
            total += vector
            scalars += more
        reduce_modulus(total, codec.modulus_bits)
        return codec.decode(
            total,
            scalars,
            seed,
            num_contributions=num_asked,
            num_survivors=len(items),
            has_metrics=has_metrics,
        )


def encoded_record(vector: Vector, scalars: NDArray[np.uint64]) -> RecordDict:
    """Return the content of the reply that carries an encoded contribution."""
    return RecordDict(
        {
            UPDATE: ArrayRecord({UPDATE: Array(vector)}),
            SUMS: ArrayRecord({SUMS: Array(scalars)}),
        }
    )
