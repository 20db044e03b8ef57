"""The rows of shares that nodes have dealt, as the server keeps and passes them on."""

from strategies.secagg.crypto.keys import Use, hash_share
from strategies.secagg.messages import ShareRow, SharesUpload, UnmaskReply
from strategies.secagg.server.outcome import BadReplyError
from strategies.secagg.server.recovery import Members
from strategies.secagg.wire import DecodeError


class Rows:
    """The rows of one attempt.

    Parameters
    ----------
    members : Members
        U1 and its graph.
    """

    def __init__(self, members: Members) -> None:
        self._members = members
        self._inbox: dict[int, dict[int, bytes]] = {}
        # Of each dealer, its hashes for itself.
        self._own: dict[int, bytes] = {}

    @property
    def dealers(self) -> frozenset[int]:
        """Return who has dealt shares."""
        return frozenset(self._own)

    def check(self, dealer: int, upload: SharesUpload) -> None:
        """Raise `BadReplyError` unless there is a row for each neighbour, and none before."""
        receivers = frozenset(receiver for receiver, _ in upload.rows)
        expected = self._members.near.get(dealer, frozenset[int]()) - {dealer}
        if dealer in self._own or dealer not in self._members.near or receivers != expected:
            raise BadReplyError(f"shares from {dealer}: repeated, or not for its neighbours")

    def add(self, dealer: int, upload: SharesUpload) -> None:
        """Keep a dealer's rows for their receivers."""
        self._own[dealer] = upload.own_hashes
        for receiver, row in upload.rows:
            self._inbox.setdefault(receiver, {})[dealer] = row

    def addressed_to(self, receiver: int) -> tuple[tuple[int, bytes], ...]:
        """Return the rows for one node, by dealer."""
        return tuple(sorted(self._inbox.get(receiver, {}).items()))

    def is_sound(self, dealer: int, receiver: int) -> bool:
        """Say whether a row has its form; if not, that is the dealer's own doing."""
        try:
            ShareRow.decode(self._inbox[receiver][dealer])
        except (DecodeError, KeyError):
            return False
        return True

    def holds_what_was_dealt(self, holder: int, reply: UnmaskReply) -> bool:
        """Say whether each share in a reply is the one of which its dealer gave the hash."""
        roster, dealt = self._members.roster, self._hashes(holder)
        tables = (Use.MASK_SHARE, 0, reply.mask_shares), (Use.SELF_SHARE, 32, reply.self_shares)
        return all(
            dealer in dealt
            and dealt[dealer][start : start + 32]
            == hash_share(use, share, roster, dealer, holder)
            for use, start, table in tables
            for dealer, share in table
        )

    def pair_part(self, lower: int, higher: int) -> bytes:
        """Return the part of a row that brought a pair's secret; its receiver took the row."""
        return ShareRow.part_of(self._inbox[higher][lower])

    def _hashes(self, holder: int) -> dict[int, bytes]:
        """Return both hashes of what each dealer dealt to one node, itself among them."""
        inbox = self._inbox.get(holder, {})
        found = {dealer: ShareRow.hashes(row) for dealer, row in inbox.items()}
        return found | {holder: self._own[holder]} if holder in self._own else found
