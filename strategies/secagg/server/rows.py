"""The rows of shares that nodes have dealt, as the server keeps and passes them on."""

from strategies.secagg.crypto.identity import Peers, row_to_sign, verify
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

    def is_sound(self, dealer: int, receiver: int, peers: Peers | None) -> bool:
        """Say whether a row has its form and, where identities are on, its own signature.

        An upload is signed as a whole, so that an unsound row in it is the dealer's own.
        """
        try:
            row = ShareRow.decode(self._inbox[receiver][dealer])
        except (DecodeError, KeyError):
            return False
        if peers is None:
            return True
        signed = row_to_sign(self._members.roster, dealer, receiver, row)
        who = self._members.adverts[dealer].identity
        return verify(peers, who, row.signature, signed)

    def holds_what_was_dealt(self, holder: int, reply: UnmaskReply) -> bool:
        """Say whether each share in a reply is the one of which its dealer gave the hash."""
        tables = (Use.MASK_SHARE, 0, reply.mask_shares), (Use.SELF_SHARE, 32, reply.self_shares)
        return all(
            hash_share(use, share, self._members.roster, dealer, holder)
            == self._hashes(dealer, holder)[start : start + 32]
            for use, start, table in tables
            for dealer, share in table
        )

    def pair_part(self, lower: int, higher: int) -> bytes:
        """Return the part of a row that brought the pair's secret; empty if there is none."""
        try:
            return ShareRow.decode(self._inbox[higher][lower]).pair_part
        except (DecodeError, KeyError):
            return b""

    def _hashes(self, dealer: int, holder: int) -> bytes:
        if dealer == holder:
            return self._own.get(dealer, b"")
        return ShareRow.hashes(self._inbox.get(holder, {}).get(dealer, b""))
