"""Contributions as numbers that can be added, and a sum of them as an aggregate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Protocol

from numpy.typing import NDArray

from strategies.codec.stages import SumContext
from strategies.secagg.binding import MaskBinding
from strategies.secagg.crypto.prg import Vector, reduce_modulus
from strategies.secagg.fields import AttemptId
from workloads.values import Aggregate

_SEED_DOMAIN = b"tacet/encoding/v1/seed"
Encoded = tuple[NDArray[Any], NDArray[Any]]


class Codec(Protocol):
    """Encoder of contributions, and decoder of a sum of them."""

    def bits(self, num_contributions: int) -> int:
        """Return the bits of each number of the vector of a sum of so many."""
        ...

    @property
    def noise_scale(self) -> float:
        """Scale of the noise that one node adds, in grid steps; 0 for none."""
        ...

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of the scalars, in order."""
        ...

    def check_fits(self, num_contributions: int) -> None:
        """Raise ``ValueError`` if the sum of so many does not fit; names the mends."""
        ...

    def length(self, num_values: int) -> int:
        """Return the length on the wire of a vector of so many values; 0 for 0."""
        ...

    def hash(self) -> bytes:
        """Return SHA-256 of the codec's numbers (32 bytes), for the mask binding."""
        ...

    def encode(self, contribution: Any, context: SumContext) -> tuple[Vector, NDArray[Any]]:
        """Return the vector modulo 2^b and the scalars modulo 2^64, ready to add or to mask."""
        ...

    def decode(
        self,
        update: Vector,
        scalars: NDArray[Any],
        context: SumContext,
        *,
        has_metrics: bool,
    ) -> Aggregate:
        """Return the aggregate of two sums; ``has_metrics`` says whether nodes scored."""
        ...

    def objection(self, found: Aggregate, num_survivors: int) -> str | None:
        """Return why no sum of so many honest contributions is this one; None if it may be."""
        ...


def form_of(codec: Codec, num_values: int, num_contributions: int) -> tuple[int, int, int]:
    """Return modulus bits, length and number of scalars of what ``encode`` returns.

    ``num_values`` is 0 when only evaluating.
    """
    length = codec.length(num_values)
    return codec.bits(num_contributions), length, len(codec.scalar_names)


def public_seed(attempt: AttemptId) -> bytes:
    """Return the 32 public bytes from which an attempt's rotation is drawn."""
    return hashlib.sha256(_SEED_DOMAIN + attempt.to_bytes()).digest()


def mask_binding(codec: Codec, model: bytes, config: bytes) -> MaskBinding:
    """Return what the masks of an attempt are bound to: the same on server and clients.

    Parameters
    ----------
    codec : Codec
        The codec of the attempt.
    model, config : bytes
        SHA-256 of the state and query, and of the shared configuration.
    """
    return MaskBinding(
        model=model, config=config, codec=codec.hash(), noise_scale=codec.noise_scale
    )


@lru_cache(maxsize=8)
def hash_numbers(codec: Any) -> bytes:
    """Return SHA-256 of a frozen codec's numbers (32 bytes); every message needs it."""
    return hashlib.sha256(json.dumps(asdict(codec), sort_keys=True).encode()).digest()


def add_up(
    codec: Codec, encoded: Sequence[Encoded], context: SumContext, *, has_metrics: bool
) -> Aggregate:
    """Add encoded contributions in the clear and decode the sum: what masking must equal.

    Parameters
    ----------
    codec : Codec
        The codec that encoded them.
    encoded : sequence of (ndarray, ndarray)
        At least one; all of one form. Added in the given order.
    context : SumContext
        The context of this sum.
    has_metrics : bool
        Whether nodes scored the state.
    """
    total, scalars = (array.copy() for array in encoded[0])
    for vector, more in encoded[1:]:
        total += vector
        scalars += more
    if total.dtype.kind == "u":
        reduce_modulus(total, codec.bits(context.num_contributions))
    return codec.decode(total, scalars, context, has_metrics=has_metrics)
