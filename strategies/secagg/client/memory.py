"""What a node remembers of other attempts, beside the records of its own.

*Heads.* Each advert carries the head of its node's ledger. A node keeps the last head of each
peer in each of the last runs, and seals them into the row for that peer, which so is shown its
own: a ledger that was put back to an older state lacks one. A head is kept once its attempt is
opened, and only of those who are shown to have masked in it: they have looked at the heads that
they were shown.

*Log heads.* The heads of a run's log that this node has signed with its inputs: whoever shows
its owner another log later is found out.

*Views.* The members whose sums this node has helped to open in a run: two sums whose members
differ by a few show nearly what those few gave.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from strategies.secagg.fields import AttemptId
from strategies.secagg.messages import NO_HEAD

#: The length of a member's name in a view: its fingerprint, or its id where nobody signs.
NAME_BYTES = 32


def names(nodes: Collection[int], signers: Mapping[int, bytes]) -> list[bytes]:
    """Return the names of nodes in a view.

    By the identity, where there are identities: a node's id is the server's to give, and
    another one after the node was started again.
    """
    return [
        signers[node][:NAME_BYTES] if node in signers else node.to_bytes(NAME_BYTES, "big")
        for node in nodes
    ]


class Memory(Protocol):
    """Durable, and safe against other threads and processes."""

    def next_head(self) -> bytes:
        """Return the head of this node's ledger for a new advert (32 bytes)."""
        ...

    def lacks(self, heads: Collection[bytes]) -> bool:
        """Say whether one of these is a head of this node's ledger that the ledger lacks."""
        ...

    def heads_of(self, identities: Collection[bytes]) -> Mapping[bytes, tuple[bytes, ...]]:
        """Return the last heads of those identities (by fingerprint) of which any is known."""
        ...

    def keep_heads(self, attempt: AttemptId, heads: Mapping[bytes, bytes]) -> None:
        """Keep these heads, by identity, in place of those of earlier attempts of the run."""
        ...

    def keep_log_head(self, run_id: int, head: bytes) -> None:
        """Keep the head of a run's log (40 bytes) that this node has signed."""
        ...

    def allows_view(self, run_id: int, members: Collection[bytes], least: int) -> bool:
        """Say whether a sum over these members may be opened in this run.

        One that differs from another of the run by fewer than ``least`` members counts, and the
        node's owner says how many may. The same members as the last time are no change.
        """
        ...

    def note_view(self, run_id: int, members: Collection[bytes], least: int) -> bool:
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

    def heads_of(self, identities: Collection[bytes]) -> Mapping[bytes, tuple[bytes, ...]]:
        """Return nothing."""
        return {}

    def keep_heads(self, attempt: AttemptId, heads: Mapping[bytes, bytes]) -> None:
        """Keep nothing."""

    def keep_log_head(self, run_id: int, head: bytes) -> None:
        """Keep nothing."""

    def allows_view(self, run_id: int, members: Collection[bytes], least: int) -> bool:
        """Allow any."""
        return True

    def note_view(self, run_id: int, members: Collection[bytes], least: int) -> bool:
        """Allow any."""
        return True
