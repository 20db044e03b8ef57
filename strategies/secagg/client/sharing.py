"""The client's keys and shares: drawing an advert, sharing seeds, opening received shares."""

from dataclasses import replace

from strategies.secagg.binding import adverts_hash, roster_hash
from strategies.secagg.client.store import SHARE_PAIR_BYTES, AdvertisedSecrets, SharedSecrets
from strategies.secagg.crypto import shamir
from strategies.secagg.crypto.identity import (
    Identity,
    row_to_sign,
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
    hash_pair,
    seal,
    share_key,
    unseal,
)
from strategies.secagg.graph import Shape, neighborhood
from strategies.secagg.messages import (
    FIELD_BYTES,
    NO_IDENTITY,
    Advert,
    Roster,
    ShareRow,
    SharesUpload,
    TrainRequest,
)
from strategies.secagg.wire import AttemptId, DecodeError


def draw_advert(
    attempt: AttemptId,
    node_id: int,
    bundle: bytes,
    identity: Identity | None,
    random_bytes: RandomBytes,
) -> tuple[Advert, AdvertisedSecrets]:
    """Draw three fresh independent seeds and return the advert and what to keep."""
    mask_seed, share_seed, self_seed = (random_bytes(SEED_BYTES) for _ in range(3))
    unsigned = Advert(
        attempt=attempt,
        node_id=node_id,
        bundle=bundle,
        identity=NO_IDENTITY,
        mask_key=KeyPair(mask_seed).public,
        share_key=KeyPair(share_seed).public,
        commitment=commit(self_seed),
        signature=b"",
    )
    advert = sign_advert(unsigned, identity)
    return advert, AdvertisedSecrets(advert.encode(), mask_seed, share_seed, self_seed)


def share_seeds(
    roster: Roster,
    adverts: tuple[Advert, ...],
    shape: Shape,
    own: AdvertisedSecrets,
    identity: Identity | None,
    random_bytes: RandomBytes,
) -> tuple[SharesUpload, SharedSecrets]:
    """Share mask seed and self-mask seed with the closed neighbourhood.

    `adverts` and `shape` come from `checks.check_roster`. The seed of the share-encryption
    key is used here and not kept; the keys that open the neighbours' shares are.
    """
    node_id = Advert.decode(own.advert).node_id
    ids = tuple(advert.node_id for advert in adverts)
    near = neighborhood(shape, adverts_hash(roster.adverts), ids.index(node_id))
    points = [member + 1 for member in near]
    mask_shares = shamir.split(own.mask_seed, shape.threshold, points, random_bytes)
    self_shares = shamir.split(own.self_seed, shape.threshold, points, random_bytes)
    bound, pair = roster_hash(roster), KeyPair(own.share_seed)
    rows: list[tuple[int, bytes]] = []
    peers: list[tuple[int, bytes]] = []
    own_shares = b""
    for member, mask_share, self_share in zip(near, mask_shares, self_shares, strict=True):
        text, peer = mask_share + self_share, adverts[member]
        if peer.node_id == node_id:
            own_shares = text
            continue
        agreed, to = pair.agree(peer.share_key), (node_id, peer.node_id)
        key = share_key(agreed, bound, *to)
        sealed = seal(key, bound, to, text, random_bytes(NONCE_BYTES))
        rows.append((peer.node_id, _row(sealed, text, bound, to, identity)))
        peers.append(
            (peer.node_id, peer.mask_key + share_key(agreed, bound, peer.node_id, node_id))
        )
    named = any(advert.identity != NO_IDENTITY for advert in adverts)
    kept = SharedSecrets(
        roster=bound,
        num_neighbors=shape.num_neighbors,
        threshold=shape.threshold,
        members=ids,
        identities=tuple((a.node_id, a.identity) for a in adverts) if named else (),
        peers=tuple(peers),
        own_shares=own_shares,
        mask_seed=own.mask_seed,
        self_seed=own.self_seed,
    )
    own_hashes = hash_pair(own_shares, bound, node_id, node_id)
    upload = SharesUpload(roster.attempt, tuple(rows), own_hashes, b"")
    return replace(upload, signature=sign(identity, shares_to_sign(bound, upload))), kept


def _row(
    sealed: bytes, text: bytes, roster: bytes, pair: tuple[int, int], identity: Identity | None
) -> bytes:
    """Return the encoded and signed row of one ordered pair."""
    hashes = hash_pair(text, roster, *pair)
    row = ShareRow(sealed, hashes[:32], hashes[32:], b"")
    return replace(row, signature=sign(identity, row_to_sign(roster, *pair, row))).encode()


def open_shares(
    request: TrainRequest, node_id: int, secrets: SharedSecrets, identity: Identity | None
) -> tuple[dict[int, bytes], tuple[int, ...]]:
    """Check and decrypt the shares addressed to this node.

    Returns
    -------
    dict of int to bytes, tuple of int
        The 66-byte share pair of each neighbour in U2 (and this node's own), and the
        neighbours in U2 whose row is missing or false in any part, ascending.
    """
    received, cohort = dict(request.rows), set(request.cohort)
    names = dict(secrets.identities)
    held, rejected = {node_id: secrets.own_shares}, list[int]()
    for peer, keys in secrets.peers:
        if peer not in cohort:
            continue
        row, pair = _decoded(received.get(peer, b"")), (peer, node_id)
        if row is not None and identity is not None:
            signed = row_to_sign(secrets.roster, *pair, row)
            row = row if identity.verify(names[peer], row.signature, signed) else None
        text = _opened(row, keys[32:], secrets.roster, pair) if row is not None else None
        if text is not None:
            held[peer] = text
        else:
            rejected.append(peer)
    return held, tuple(rejected)


def _decoded(data: bytes) -> ShareRow | None:
    try:
        return ShareRow.decode(data)
    except DecodeError:
        return None


def _opened(row: ShareRow, key: bytes, roster: bytes, pair: tuple[int, int]) -> bytes | None:
    """Return the share pair in a row: two field elements, of which the row has the hashes."""
    text = unseal(key, roster, pair, row.sealed)
    if text is None or len(text) != SHARE_PAIR_BYTES:
        return None
    elements = shamir.is_element(text[:FIELD_BYTES]) and shamir.is_element(text[FIELD_BYTES:])
    hashed = hash_pair(text, roster, *pair) == row.mask_hash + row.self_hash
    return text if elements and hashed else None
