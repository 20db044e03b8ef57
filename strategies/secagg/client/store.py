"""What a node must keep between messages, and the one interface that keeps it.

`Store` is small so that SQLite (a real node) and Flower's `Context.state` (simulation only)
can both be it. It knows nothing of the protocol: it compares stages and swaps records.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Protocol

from strategies.secagg.client.transitions import FINAL, OPEN, Stage
from strategies.secagg.fields import HASH, NODES, U16, AttemptId, blob, rows, table
from strategies.secagg.messages import (
    FIELD_BYTES,
    HEAD_BYTES,
    MAX_ADVERT_BYTES,
    MAX_SHARE_BYTES,
)
from strategies.secagg.wire import Field, Wire

_LOCAL = "never leaves the node"
#: No node keeps secrets for longer, whatever a run's configuration says.
MAX_LIFETIME_SECONDS = 86_400.0
#: No record is dated further ahead, unless by a wrong clock; some are set back by a little.
MAX_AHEAD_SECONDS = MAX_LIFETIME_SECONDS + 60.0
#: A run in which nothing has happened for so long is over: it gets no answer any more, and what
#: kept its attempts from being repeated need not be kept one by one.
RUN_IS_OVER_SECONDS = 30 * 86_400.0
#: The terms of such a run, which no terms are.
ENDED = b"\xff" * 32
SHARE_PAIR_BYTES = 2 * FIELD_BYTES


@dataclass(frozen=True)
class Record:
    """What a node keeps of one attempt; without secrets, the tombstone that forbids reuse.

    Parameters
    ----------
    stage : Stage
        Never `Stage.NONE`.
    expires_at : float
        Seconds on the role's clock, after which the secrets must go.
    terms : bytes
        SHA-256 of the terms of the run.
    model : bytes
        SHA-256 of the model that was trained on in this attempt, or empty.
    secrets : bytes
        Encoded secrets of the stage; empty once the attempt is over.
    """

    stage: Stage
    expires_at: float
    terms: bytes
    model: bytes = b""
    secrets: bytes = b""

    def __post_init__(self) -> None:
        # Expiry looks for secrets at the open attempts alone.
        if self.secrets and self.stage not in OPEN:
            raise ValueError(f"secrets of an attempt that is {self.stage.name}")

    def closed(self) -> "Record":
        """Return this record without its secrets; an open attempt becomes CLOSED."""
        return replace(
            self, stage=Stage.CLOSED if self.stage in OPEN else self.stage, secrets=b""
        )


@dataclass(frozen=True)
class Change:
    """Replace the record of `attempt`, if its stage is `expected` (NONE: no record)."""

    attempt: AttemptId
    expected: Stage
    record: Record

    def __post_init__(self) -> None:
        if self.expected in FINAL:
            raise ValueError(f"an attempt that is {self.expected.name} stays so")


class Store(Protocol):
    """Durable records by attempt.

    An implementation must make `advance` atomic over all its changes and against other
    threads and processes, durable (synced) before it returns, and must leave nothing of the
    replaced secrets behind (SQLite: `secure_delete`). Tombstones stay for good, so no method
    may look at all of them.
    """

    def records(
        self, run_id: int, attempts: Collection[AttemptId] = (), model: bytes = b""
    ) -> Mapping[AttemptId, Record]:
        """Return what a message may depend on: a few of a run's records, however many it has.

        Those are the open ones, those of `attempts`, one that is REVEALED over `model` (if it
        is given) and one over the model of each of `attempts`, and at least one if the run has
        any.
        """
        ...

    def advance(self, changes: Sequence[Change]) -> bool:
        """Make all changes, or none and return False where one stage is not as expected."""
        ...

    def expire(self, now: float) -> None:
        """Replace every open record that is over by `closed`.

        It is over if ``expires_at <= now``, or if it lasts longer than any record may: then the
        clock was wrong when it was written.
        """
        ...

    def compact(self, now: float) -> None:
        """Replace the records of each run that is over by a single one with terms `ENDED`.

        It may look at all records.
        """
        ...


def is_over(expires_at: float, now: float) -> bool:
    """Say whether the secrets of a record must go."""
    return not now < expires_at <= now + MAX_AHEAD_SECONDS


@dataclass(frozen=True)
class AdvertisedSecrets(Wire):
    """Kept from advert to share."""

    TYPE: ClassVar[int] = 65
    advert: Annotated[bytes, Field(blob(MAX_ADVERT_BYTES), _LOCAL)]
    mask_seed: Annotated[bytes, Field(HASH, _LOCAL)]
    share_seed: Annotated[bytes, Field(HASH, _LOCAL)]
    self_seed: Annotated[bytes, Field(HASH, _LOCAL)]


@dataclass(frozen=True)
class SharedSecrets(Wire):
    """Kept from share to mask.

    `members` are U1. `peers` holds for each neighbour its X25519 mask key, what X25519
    gives for both share keys, and the hash of the part of the own row for it
    (`hybrid.hash_part`); `own_shares` are this
    node's shares of its own two seeds; `signers` are the members' fingerprints and heads, empty
    without identities.

    Where a key is dealt, `num_packed` are its entries in each polynomial, `key` is the key, a
    byte for each entry, `own_shares` what the node holds of it, and there are no seeds but
    `share_seed`.
    """

    TYPE: ClassVar[int] = 66
    roster: Annotated[bytes, Field(HASH, _LOCAL)]
    num_neighbors: Annotated[int, Field(U16, _LOCAL)]
    threshold: Annotated[int, Field(U16, _LOCAL)]
    members: Annotated[tuple[int, ...], Field(NODES, _LOCAL)]
    signers: Annotated[tuple[tuple[int, bytes], ...], Field(rows(32 + HEAD_BYTES), _LOCAL)]
    peers: Annotated[tuple[tuple[int, bytes], ...], Field(rows(96), _LOCAL)]
    own_shares: Annotated[bytes, Field(blob(MAX_SHARE_BYTES), _LOCAL)]
    mask_seed: Annotated[bytes, Field(HASH, _LOCAL)]
    share_seed: Annotated[bytes, Field(HASH, _LOCAL)]
    self_seed: Annotated[bytes, Field(HASH, _LOCAL)]
    num_packed: Annotated[int, Field(U16, _LOCAL)] = 0
    key: Annotated[bytes, Field(blob(MAX_SHARE_BYTES), _LOCAL)] = b""


@dataclass(frozen=True)
class MaskedSecrets(Wire):
    """Kept from mask to unmask; the node's own seeds, and its key, are gone.

    `binding` is the hash of the mask binding, `quorum` the signatures that show one view,
    `min_survivors` T, `floor` the least survivors among those whose shares it
    holds, `cohort` U2, `signers` as before; `held` the share pairs (mask seed, self-mask seed)
    of the closed neighbourhood, or, with `num_packed` above 0, the shares of keys; `rejected`
    the neighbours it did not mask with; `signed` the hash of the survivor set it signed, or
    zeros.
    """

    TYPE: ClassVar[int] = 67
    roster: Annotated[bytes, Field(HASH, _LOCAL)]
    binding: Annotated[bytes, Field(HASH, _LOCAL)]
    quorum: Annotated[int, Field(U16, _LOCAL)]
    min_survivors: Annotated[int, Field(U16, _LOCAL)]
    floor: Annotated[int, Field(U16, _LOCAL)]
    cohort: Annotated[tuple[int, ...], Field(NODES, _LOCAL)]
    signers: Annotated[tuple[tuple[int, bytes], ...], Field(rows(32 + HEAD_BYTES), _LOCAL)]
    held: Annotated[tuple[tuple[int, bytes], ...], Field(table(MAX_SHARE_BYTES), _LOCAL)]
    rejected: Annotated[tuple[int, ...], Field(NODES, _LOCAL)]
    signed: Annotated[bytes, Field(HASH, _LOCAL)]
    num_packed: Annotated[int, Field(U16, _LOCAL)] = 0
