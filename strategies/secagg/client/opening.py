"""The client opens the rows that its peers have dealt to it, before it trains."""

from dataclasses import dataclass
from typing import TypeVar

from strategies.secagg.client.sharing import HEADS_BYTES, OwnNode
from strategies.secagg.client.store import SHARE_PAIR_BYTES, SharedSecrets
from strategies.secagg.crypto import packed, shamir
from strategies.secagg.crypto.hybrid import hash_part, open_pair_secret, pair_secret
from strategies.secagg.crypto.keys import KeyPair, hash_pair, share_key, unseal
from strategies.secagg.crypto.masking import Met
from strategies.secagg.crypto.packed import Packing
from strategies.secagg.fields import DecodeError
from strategies.secagg.messages import (
    FIELD_BYTES,
    HEAD_BYTES,
    NO_HEAD,
    X25519_BYTES,
    KeyRow,
    ShareRow,
    TrainRequest,
)
from strategies.secagg.wire import Wire

_Row = TypeVar("_Row", bound=Wire)


@dataclass(frozen=True, repr=False)
class OpenedShares:
    """What a node got from its neighbours in U2.

    `held` are the 66-byte share pairs by node, its own among them, or the shares of keys; `met`
    the neighbours that it masks with, nobody where keys are dealt; `rejected` those whose row
    is missing or false in any part, ascending; `shown` the heads of its own ledger that the
    others know.
    """

    held: dict[int, bytes]
    met: tuple[Met, ...]
    rejected: tuple[int, ...]
    shown: frozenset[bytes]


def open_shares(request: TrainRequest, secrets: SharedSecrets, me: OwnNode) -> OpenedShares:
    """Check and decrypt the rows addressed to this node."""
    received, cohort = dict(request.rows), set(request.cohort)
    receiver = _Receiver(me, secrets, me.keys(secrets.mask_seed), me.keys(secrets.share_seed))
    held, met, rejected = {me.node_id: secrets.own_shares}, list[Met](), list[int]()
    sealed_heads = set[bytes]()
    for peer, known in secrets.peers:
        if peer not in cohort:
            continue
        data = received.get(peer, b"")
        found = receiver.open_key(peer, known, data) if secrets.num_packed else None
        if not secrets.num_packed and (pair := receiver.open(peer, known, data)) is not None:
            found, one = pair
            met.append(one)
        if found is None:
            rejected.append(peer)
        else:
            held[peer] = found[:-HEADS_BYTES]
            sealed_heads.add(found[-HEADS_BYTES:])
    shown = frozenset(head for sealed in sealed_heads for head in _heads(sealed))
    return OpenedShares(held, tuple(met), tuple(rejected), shown - {NO_HEAD})


@dataclass(frozen=True)
class _Receiver:
    """A node that opens the rows addressed to it."""

    me: OwnNode
    secrets: SharedSecrets
    mask_keys: KeyPair
    share_keys: KeyPair

    def open_key(self, peer: int, known: bytes, data: bytes) -> bytes | None:
        """Return the text in a row with shares of a key; None if a part is false."""
        secrets, ends = self.secrets, (peer, self.me.node_id)
        row = _decoded(KeyRow, data)
        fresh = self.share_keys.decapsulate(row.kem_text) if row is not None else None
        if row is None or fresh is None:
            return None
        agreed = known[X25519_BYTES : 2 * X25519_BYTES]
        key = share_key(agreed + fresh, secrets.roster, *ends)
        text = unseal(key, secrets.roster, ends, row.sealed, hash_part(b""))
        num_members = len(secrets.members)
        packing = Packing(len(secrets.key), secrets.num_packed, secrets.threshold, num_members)
        if text is None or not packed.is_share(text[:-HEADS_BYTES], packing):
            return None
        return text

    def open(self, peer: int, known: bytes, data: bytes) -> tuple[bytes, Met] | None:
        """Return the text in a row and whom to mask with; None if a part is false."""
        row = _decoded(ShareRow, data)
        if row is None:
            return None
        roster, ends = self.secrets.roster, (peer, self.me.node_id)
        fresh = self.share_keys.decapsulate(row.kem_text)
        secret = self._pair_secret(peer, row)
        if fresh is None or secret is None:
            return None
        agreed, part_hash = known[X25519_BYTES : 2 * X25519_BYTES], hash_part(row.pair_part)
        key = share_key(agreed + fresh, roster, *ends)
        text = unseal(key, roster, ends, row.sealed, part_hash)
        if text is None or not _is_pair(text, row, roster, ends):
            return None
        if peer > self.me.node_id:
            # The pair's secret came with this node's own row.
            part_hash = known[2 * X25519_BYTES :]
        return text, Met(peer, known[:X25519_BYTES], secret, part_hash)

    def _pair_secret(self, peer: int, row: ShareRow) -> bytes | None:
        """Return K: sent by the lower node, derived where this is the lower one."""
        roster, me = self.secrets.roster, self.me
        if peer < me.node_id:
            return open_pair_secret(self.mask_keys, row.pair_part, roster, (peer, me.node_id))
        if row.pair_part:
            return None
        if not me.is_hybrid:
            return b""
        return pair_secret(self.secrets.mask_seed, roster, (me.node_id, peer))


def _heads(sealed: bytes) -> list[bytes]:
    return [sealed[i : i + HEAD_BYTES] for i in range(0, len(sealed), HEAD_BYTES)]


def _decoded(cls: type[_Row], data: bytes) -> _Row | None:
    try:
        return cls.decode(data)
    except DecodeError:
        return None


def _is_pair(text: bytes, row: ShareRow, roster: bytes, ends: tuple[int, int]) -> bool:
    """Say whether a text begins with two field elements, those that the row's hashes are of."""
    pair = text[:SHARE_PAIR_BYTES]
    elements = (
        len(text) == SHARE_PAIR_BYTES + HEADS_BYTES
        and shamir.is_element(pair[:FIELD_BYTES])
        and shamir.is_element(pair[FIELD_BYTES:])
    )
    return elements and hash_pair(pair, roster, *ends) == row.mask_hash + row.self_hash
