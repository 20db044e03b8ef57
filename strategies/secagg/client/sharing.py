"""The client's keys and shares: drawing an advert, sharing seeds or a key."""

from dataclasses import dataclass

import numpy as np

from strategies.secagg.client.memory import Memory
from strategies.secagg.client.roster import CheckedRoster
from strategies.secagg.client.store import AdvertisedSecrets, SharedSecrets
from strategies.secagg.crypto import packed, shamir
from strategies.secagg.crypto.hybrid import (
    hash_part,
    seal_pair_secret,
)
from strategies.secagg.crypto.identity import (
    Identity,
    shares_to_sign,
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
)
from strategies.secagg.crypto.packed import Packing
from strategies.secagg.fields import AttemptId
from strategies.secagg.graph import Shape
from strategies.secagg.messages import (
    HEAD_BYTES,
    KEPT_HEADS,
    NO_HEAD,
    NO_IDENTITY,
    X25519_BYTES,
    Advert,
    AdvertReply,
    KeyRow,
    ShareRow,
    SharesUpload,
)
from strategies.secagg.wire import Wire

_NO_SEED = bytes(SEED_BYTES)
#: Of all heads that are sealed with shares.
HEADS_BYTES = KEPT_HEADS * HEAD_BYTES


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


def draw_advert(attempt: AttemptId, me: OwnNode) -> tuple[AdvertReply, AdvertisedSecrets]:
    """Draw three fresh independent seeds; return the advert with its keys and what to keep.

    With an identity, this adds an entry to the chain of the ledger's heads.
    """
    mask_seed, share_seed, self_seed = (me.random_bytes(SEED_BYTES) for _ in range(3))
    mask_keys, share_keys = me.keys(mask_seed), me.keys(share_seed)
    unsigned = Advert(
        attempt=attempt,
        node_id=me.node_id,
        bundle=me.bundle,
        identity=NO_IDENTITY,
        head=me.memory.next_head() if me.identity is not None else NO_HEAD,
        mask_key=mask_keys.public,
        share_key=share_keys.public,
        commitment=commit(self_seed),
        signature=b"",
    )
    advert = sign_advert(unsigned, me.identity).encode()
    reply = AdvertReply(attempt, advert, mask_keys.kem_public, share_keys.kem_public)
    return reply, AdvertisedSecrets(advert, mask_seed, share_seed, self_seed)


def share_secrets(
    attempt: AttemptId,
    roster: CheckedRoster,
    own: AdvertisedSecrets,
    me: OwnNode,
    key: bytes,
) -> tuple[SharesUpload, SharedSecrets]:
    """Share mask seed and self-mask seed with the closed neighbourhood, or else a key.

    `key` has a byte for each entry, and is shared, and no seed is, where the roster's shape is
    one of keys.
    """
    adverts, shape = roster.adverts, roster.shape
    is_key = shape.num_packed > 0
    texts = _dealt(shape, roster.near, own, me, key)
    dealer = _Dealer(me, roster, own.mask_seed, me.keys(own.share_seed))
    named = any(advert.identity != NO_IDENTITY for advert in adverts)
    heads = me.memory.heads_of({advert.identity for advert in adverts} - {NO_IDENTITY})
    rows: list[tuple[int, bytes]] = []
    peers: list[tuple[int, bytes]] = []
    own_shares = b""
    for member, text in zip(roster.near, texts, strict=True):
        peer = adverts[member]
        if peer.node_id == me.node_id:
            own_shares = text
            continue
        agreed = dealer.share_keys.agree(peer.share_key)
        row, part_hash = dealer.row(peer, agreed, text, heads.get(peer.identity, ()))
        rows.append((peer.node_id, row.encode()))
        peers.append((peer.node_id, peer.mask_key[:X25519_BYTES] + agreed + part_hash))
    kept = SharedSecrets(
        roster=roster.hash,
        num_neighbors=shape.num_neighbors,
        threshold=shape.threshold,
        members=tuple(advert.node_id for advert in adverts),
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
        hashes = hash_pair(own_shares, roster.hash, me.node_id, me.node_id)
    upload = SharesUpload(attempt, tuple(rows), hashes, b"")
    if me.identity is not None:
        signature = me.identity.sign(shares_to_sign(roster.hash, upload))
        upload = upload.with_signature(signature)
    return upload, kept


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
    under: CheckedRoster
    mask_seed: bytes
    share_keys: KeyPair

    def row(
        self, peer: Advert, agreed: bytes, text: bytes, heads: tuple[bytes, ...]
    ) -> tuple[Wire, bytes]:
        """Return the row for one peer, and the hash of the part that brings a pair's secret.

        It is the lower node of a pair that sends one, where there are masks.

        `agreed` is what X25519 gives for both nodes' share keys.
        `heads` are the last ones that are known of the peer's ledger, sealed with the shares:
        only the peer can tell what they say. There are as many whoever knows how many.
        """
        me, ends = self.me, (self.me.node_id, peer.node_id)
        roster, shape = self.under.hash, self.under.shape
        (kem_key, mask_key), part = self.under.kem_keys[peer.node_id], b""
        if shape.brings_secret(*ends):
            part = seal_pair_secret(self.mask_seed, mask_key, roster, ends, me.random_bytes)
        fresh, kem_text = encapsulate(kem_key)
        key = share_key(agreed + fresh, roster, *ends)
        nonce = me.random_bytes(NONCE_BYTES)
        shown, part_hash = b"".join(heads).ljust(HEADS_BYTES, b"\0"), hash_part(part)
        sealed = seal(key, roster, ends, text + shown, nonce, part_hash)
        if shape.num_packed:
            return KeyRow(sealed, kem_text), part_hash
        hashes = hash_pair(text, roster, *ends)
        return ShareRow(sealed, hashes[:32], hashes[32:], kem_text, part), part_hash
