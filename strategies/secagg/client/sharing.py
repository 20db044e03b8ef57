"""The client's keys and shares: drawing an advert, sharing seeds, opening received shares."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from strategies.secagg.binding import adverts_hash, roster_hash
from strategies.secagg.client.memory import Memory
from strategies.secagg.client.store import SHARE_PAIR_BYTES, AdvertisedSecrets, SharedSecrets
from strategies.secagg.crypto import packed, shamir
from strategies.secagg.crypto.hybrid import (
    hash_part,
    open_pair_secret,
    pair_secret,
    seal_pair_secret,
)
from strategies.secagg.crypto.identity import (
    Identity,
    shares_to_sign,
    sign,
    sign_advert,
)
from strategies.secagg.crypto.keys import (
    NONCE_BYTES,
    SEED_BYTES,
    KeyPair,
    RandomBytes,
    commit,
    encapsulate,
    hash_pair,
    seal,
    share_key,
    unseal,
)
from strategies.secagg.crypto.masking import Met
from strategies.secagg.crypto.packed import Packing
from strategies.secagg.graph import Shape, neighborhood
from strategies.secagg.messages import (
    FIELD_BYTES,
    HEAD_BYTES,
    KEPT_HEADS,
    NO_HEAD,
    NO_IDENTITY,
    X25519_BYTES,
    Advert,
    KeyRow,
    Roster,
    ShareRow,
    SharesUpload,
    TrainRequest,
)
from strategies.secagg.wire import AttemptId, DecodeError, Wire

_NO_SEED = bytes(SEED_BYTES)
_HEADS_BYTES = KEPT_HEADS * HEAD_BYTES
_Row = TypeVar("_Row", bound=Wire)


@dataclass(frozen=True)
class OwnNode:
    """The node for which keys are drawn and shares made.

    Parameters
    ----------
    node_id : int
        Flower's name of it.
    bundle : bytes
        SHA-256 of the code that runs here.
    identity : Identity or None
        None where nobody signs.
    is_hybrid : bool
        Whether keys are agreed by ML-KEM too.
    memory : Memory
        Heads and views of other attempts.
    random_bytes : callable
        Uniform secret bytes.
    """

    node_id: int
    bundle: bytes
    identity: Identity | None
    is_hybrid: bool
    memory: Memory
    random_bytes: RandomBytes

    def keys(self, seed: bytes) -> KeyPair:
        """Return the key pair of a seed."""
        return KeyPair(seed, hybrid=self.is_hybrid)


def draw_advert(attempt: AttemptId, me: OwnNode) -> tuple[Advert, AdvertisedSecrets]:
    """Draw three fresh independent seeds and return the advert and what to keep.

    With an identity, this adds an entry to the chain of the ledger's heads.
    """
    mask_seed, share_seed, self_seed = (me.random_bytes(SEED_BYTES) for _ in range(3))
    unsigned = Advert(
        attempt=attempt,
        node_id=me.node_id,
        bundle=me.bundle,
        identity=NO_IDENTITY,
        head=me.memory.next_head() if me.identity is not None else NO_HEAD,
        mask_key=me.keys(mask_seed).public,
        share_key=me.keys(share_seed).public,
        commitment=commit(self_seed),
        signature=b"",
    )
    advert = sign_advert(unsigned, me.identity)
    return advert, AdvertisedSecrets(advert.encode(), mask_seed, share_seed, self_seed)


def share_secrets(
    roster: Roster,
    adverts: tuple[Advert, ...],
    shape: Shape,
    own: AdvertisedSecrets,
    me: OwnNode,
    key: bytes,
) -> tuple[SharesUpload, SharedSecrets]:
    """Share mask seed and self-mask seed with the closed neighbourhood, or else a key.

    `adverts` and `shape` come from `checks.check_roster`. `key` has a byte for each entry, and
    is shared, and no seed is, where the shape is one of keys.
    """
    ids = tuple(advert.node_id for advert in adverts)
    near = neighborhood(shape, adverts_hash(roster.adverts), ids.index(me.node_id))
    is_key = shape.num_packed > 0
    texts = _dealt(shape, near, own, me, key)
    dealer = _Dealer(me, roster_hash(roster), own.mask_seed, me.keys(own.share_seed), is_key)
    named = any(advert.identity != NO_IDENTITY for advert in adverts)
    heads = me.memory.heads_of({advert.identity for advert in adverts} - {NO_IDENTITY})
    rows: list[tuple[int, bytes]] = []
    peers: list[tuple[int, bytes]] = []
    own_shares = b""
    for member, text in zip(near, texts, strict=True):
        peer = adverts[member]
        if peer.node_id == me.node_id:
            own_shares = text
            continue
        agreed = dealer.share_keys.agree(peer.share_key)
        row, part = dealer.row(peer, agreed, text, heads.get(peer.identity, ()))
        rows.append((peer.node_id, row.encode()))
        known = peer.mask_key[:X25519_BYTES] + agreed + hash_part(part)
        peers.append((peer.node_id, known))
    kept = SharedSecrets(
        roster=dealer.roster,
        num_neighbors=shape.num_neighbors,
        threshold=shape.threshold,
        members=ids,
        signers=tuple((a.node_id, a.identity + a.head) for a in adverts) if named else (),
        peers=tuple(peers),
        own_shares=own_shares,
        mask_seed=_NO_SEED if is_key else own.mask_seed,
        share_seed=own.share_seed,
        self_seed=_NO_SEED if is_key else own.self_seed,
        num_packed=shape.num_packed,
        key=key,
    )
    hashes = bytes(64)
    if not is_key:
        hashes = hash_pair(own_shares, dealer.roster, me.node_id, me.node_id)
    upload = SharesUpload(roster.attempt, tuple(rows), hashes, b"")
    return upload.with_signature(sign(me.identity, shares_to_sign(dealer.roster, upload))), kept


def _dealt(
    shape: Shape, near: tuple[int, ...], own: AdvertisedSecrets, me: OwnNode, key: bytes
) -> list[bytes]:
    """Return what each member of the closed neighbourhood gets, by `near`."""
    if shape.num_packed:
        packing = Packing(len(key), shape.num_packed, shape.threshold, shape.num_members)
        shares = packed.deal(np.frombuffer(key, np.int8), packing, me.random_bytes)
        return [row.astype("<u4").tobytes() for row in shares]
    points = [member + 1 for member in near]
    mask_shares = shamir.split(own.mask_seed, shape.threshold, points, me.random_bytes)
    self_shares = shamir.split(own.self_seed, shape.threshold, points, me.random_bytes)
    pairs = zip(mask_shares, self_shares, strict=True)
    return [mask_share + self_share for mask_share, self_share in pairs]


@dataclass(frozen=True)
class _Dealer:
    """A node that deals its shares under one roster."""

    me: OwnNode
    roster: bytes
    mask_seed: bytes
    share_keys: KeyPair
    is_key: bool

    def row(
        self, peer: Advert, agreed: bytes, text: bytes, heads: tuple[bytes, ...]
    ) -> tuple[Wire, bytes]:
        """Return the row for one peer, and the part in it of whoever sends a pair's secret.

        That is the lower node of a pair, where there are masks.

        `agreed` is what X25519 gives for both nodes' share keys.
        `heads` are the last ones that are known of the peer's ledger, sealed with the shares:
        only the peer can tell what they say. There are as many whoever knows how many.
        """
        me, ends = self.me, (self.me.node_id, peer.node_id)
        part = b""
        if me.node_id < peer.node_id and not self.is_key:
            part = seal_pair_secret(
                self.mask_seed, peer.mask_key, self.roster, ends, me.random_bytes
            )
        fresh, kem_text = encapsulate(peer.share_key)
        key = share_key(agreed + fresh, self.roster, *ends)
        nonce = me.random_bytes(NONCE_BYTES)
        shown = b"".join(heads).ljust(_HEADS_BYTES, b"\0")
        sealed = seal(key, self.roster, ends, text + shown, nonce, hash_part(part))
        if self.is_key:
            return KeyRow(sealed, kem_text), part
        hashes = hash_pair(text, self.roster, *ends)
        return ShareRow(sealed, hashes[:32], hashes[32:], kem_text, part), part


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
    shown = set[bytes]()
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
            held[peer] = found[:-_HEADS_BYTES]
            shown.update(_heads(found[-_HEADS_BYTES:]))
    return OpenedShares(held, tuple(met), tuple(rejected), frozenset(shown - {NO_HEAD}))


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
        if text is None or len(text) != packing.share_bytes + _HEADS_BYTES:
            return None
        return text if packed.is_share(text[:-_HEADS_BYTES], packing) else None

    def open(self, peer: int, known: bytes, data: bytes) -> tuple[bytes, Met] | None:
        """Return the text in a row and whom to mask with; None if a part is false."""
        row = _decoded(ShareRow, data)
        if row is None:
            return None
        roster, ends = self.secrets.roster, (peer, self.me.node_id)
        mask_key, rest = known[:X25519_BYTES], known[X25519_BYTES:]
        agreed, own_part = rest[:X25519_BYTES], rest[X25519_BYTES:]
        fresh = self.share_keys.decapsulate(row.kem_text)
        secret = self._pair_secret(peer, row)
        if fresh is None or secret is None:
            return None
        key = share_key(agreed + fresh, roster, *ends)
        text = unseal(key, roster, ends, row.sealed, hash_part(row.pair_part))
        if text is None or not _is_pair(text, row, roster, ends):
            return None
        is_lower = peer < self.me.node_id
        part_hash = hash_part(row.pair_part) if is_lower else own_part
        return text, Met(peer, mask_key, secret, part_hash)

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
    elements = len(text) == SHARE_PAIR_BYTES + _HEADS_BYTES and all(
        shamir.is_element(share) for share in (pair[:FIELD_BYTES], pair[FIELD_BYTES:])
    )
    return elements and hash_pair(pair, roster, *ends) == row.mask_hash + row.self_hash
