"""What a node remembers of other attempts, beside the records of its own.

*Heads.* Each advert carries the head of its node's ledger. A node keeps the last head of each
peer and seals it into the row for that peer, which so is shown its own: a ledger that was put
back to an older state lacks it. A head is replaced once its attempt is opened, for then its
node has masked, and looked at the heads that it was shown.

*Views.* The participants of the sums that this node has helped to open in a run: two sums whose
participants differ by a few show nearly what those few gave.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from strategies.secagg.messages import NO_HEAD


class Memory(Protocol):
    """Durable, and safe against other threads and processes."""

    def next_head(self) -> bytes:
        """Return the head of this node's ledger for a new advert (32 bytes)."""
        ...

    def lacks(self, heads: Collection[bytes]) -> bool:
        """Say whether one of these is a head of this node's ledger that the ledger lacks."""
        ...

    def heads_of(self, identities: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the last heads of those identities (by fingerprint) of which one is known."""
        ...

    def keep_heads(self, heads: Mapping[bytes, bytes]) -> None:
        """Keep these heads, by identity, in place of the last ones."""
        ...

    def allows_view(self, run_id: int, nodes: Collection[int], least: int) -> bool:
        """Say whether a sum over these nodes may be opened in this run.

        One that differs from another of the run by fewer than ``least`` nodes counts, and the
        node's owner says how many may.
        """
        ...

    def note_view(self, run_id: int, nodes: Collection[int], least: int) -> bool:
        """Note such a sum, and say whether it may be opened: ask before anything leaves."""
        ...


class NoMemory:
    """Memory of a node that keeps nothing: one in a simulation."""

    def next_head(self) -> bytes:
        """Return the head of no ledger."""
        return NO_HEAD

    def lacks(self, heads: Collection[bytes]) -> bool:
        """Say no: there is no ledger."""
        return False

    def heads_of(self, identities: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return nothing."""
        return {}

    def keep_heads(self, heads: Mapping[bytes, bytes]) -> None:
        """Keep nothing."""

    def allows_view(self, run_id: int, nodes: Collection[int], least: int) -> bool:
        """Allow any."""
        return True

    def note_view(self, run_id: int, nodes: Collection[int], least: int) -> bool:
        """Allow any."""
        return True
