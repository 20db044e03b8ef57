"""The rows of shares that nodes have dealt, as the server keeps and passes them on."""

from strategies.secagg.crypto.keys import NONCE_BYTES, TAG_BYTES, Use, share_hash
from strategies.secagg.fields import DecodeError
from strategies.secagg.messages import (
    HEAD_BYTES,
    KEM_TEXT_BYTES,
    KEPT_HEADS,
    PAIR_PART_BYTES,
    KeyRow,
    ShareRow,
    SharesUpload,
    UnmaskReply,
)
from strategies.secagg.server.outcome import BadReplyError
from strategies.secagg.server.recovery import Members


class Rows:
    """The rows of one attempt.

    Parameters
    ----------
    members : Members
        U1 and its graph.
    """

    def __init__(self, members: Members) -> None:
        self._members = members
        # Of each dealer, its rows by receiver.
        self._dealt: dict[int, dict[int, bytes]] = {}
        # Of each dealer, its hashes for itself.
        self._own: dict[int, bytes] = {}
        # Of each receiver, its row by each dealer, or None, in the order of `_places`. Empty
        # until it is asked for.
        self._columns: dict[int, tuple[bytes | None, ...]] = {}
        self._places: dict[int, int] = {}

    @property
    def dealers(self) -> frozenset[int]:
        """Return who has dealt shares."""
        return frozenset(self._own)

    def check(self, dealer: int, upload: SharesUpload) -> None:
        """Raise `BadReplyError` unless there is a row for each neighbour, and none before."""
        near = self._members.near.get(dealer, frozenset[int]())
        # Ascending, and so each of them once.
        receivers = [receiver for receiver, _ in upload.rows]
        expected = len(receivers) == len(near) - 1 and near.issuperset(receivers)
        if dealer in self._own or dealer in receivers or not expected:
            raise BadReplyError(f"shares from {dealer}: repeated, or not for its neighbours")

    def add(self, dealer: int, upload: SharesUpload) -> None:
        """Keep a dealer's rows for their receivers."""
        self._own[dealer] = upload.own_hashes
        self._dealt[dealer] = dict(upload.rows)
        self._columns.clear()

    def addressed_to(self, receiver: int) -> tuple[tuple[int, bytes], ...]:
        """Return the rows for one node, by dealer."""
        # Its neighbours deal to it, and nobody else: `check` has seen to that.
        column = self._column(receiver)
        rows = zip(self._places, column, strict=bool(column))
        return tuple([(dealer, row) for dealer, row in rows if row is not None])

    def _column(self, receiver: int) -> tuple[bytes | None, ...]:
        """Return what each dealer has dealt to one node, in the order of `_places`."""
        if not self._columns:
            # For all in one go: to look each row up where it lies costs as much as to read it.
            nodes, dealers = list(self._members.near), sorted(self._dealt)
            tables = [map(self._dealt[dealer].get, nodes) for dealer in dealers]
            self._columns = dict(zip(nodes, zip(*tables, strict=True), strict=False))
            self._places = {dealer: at for at, dealer in enumerate(dealers)}
        return self._columns.get(receiver, ())

    def is_sound(self, dealer: int, receiver: int) -> bool:
        """Say whether a row has its form; if not, that is the dealer's own doing."""
        try:
            brings = self._members.shape.brings_secret(dealer, receiver)
            return self._has_form(self._dealt[dealer][receiver], brings)
        except (DecodeError, KeyError):
            return False

    def _has_form(self, data: bytes, brings_secret: bool) -> bool:
        """Say whether a row has its parts, that of the pair's secret where it brings it."""
        row, is_hybrid = ShareRow.decode(data), self._members.is_hybrid
        due = KEM_TEXT_BYTES * is_hybrid, PAIR_PART_BYTES * (is_hybrid and brings_secret)
        return (len(row.kem_text), len(row.pair_part)) == due

    def holds_what_was_dealt(self, holder: int, reply: UnmaskReply) -> bool:
        """Say whether each share in a reply is the one of which its dealer gave the hash."""
        column, places, start = self._column(holder), self._places, ShareRow.HASHES.start
        tables = (Use.MASK_SHARE, 0, reply.mask_shares), (Use.SELF_SHARE, 32, reply.self_shares)
        for use, offset, table in tables:
            hash_of = share_hash(use, self._members.roster, holder)
            at = slice(start + offset, start + offset + 32)
            for dealer, share in table:
                row = column[places[dealer]] if column and dealer in places else None
                dealt = row[at] if row is not None else b""
                if dealer == holder:
                    dealt = self._own_hash(holder, offset)
                if dealt != hash_of(dealer, share):
                    return False
        return True

    def pair_part(self, lower: int, higher: int) -> bytes:
        """Return the part of a row that brought a pair's secret; rubbish if it has no form."""
        return ShareRow.part_of(self._dealt[lower][higher])

    def _own_hash(self, dealer: int, offset: int) -> bytes:
        """Return one of the hashes that a dealer gave of what it dealt to itself."""
        return self._own.get(dealer, b"")[offset : offset + 32]


class KeyRows(Rows):
    """The rows of an attempt whose members deal keys.

    Parameters
    ----------
    members : Members
        U1.
    share_bytes : int
        Bytes of a share of a key.
    """

    def __init__(self, members: Members, share_bytes: int) -> None:
        super().__init__(members)
        heads = KEPT_HEADS * HEAD_BYTES
        self._due = (
            NONCE_BYTES + share_bytes + heads + TAG_BYTES,
            KEM_TEXT_BYTES * members.is_hybrid,
        )

    def _has_form(self, data: bytes, brings_secret: bool) -> bool:
        """Say whether a row has its parts, the same of both nodes."""
        row = KeyRow.decode(data)
        return (len(row.sealed), len(row.kem_text)) == self._due
