"""The client's keys and shares: drawing an advert, sharing seeds, opening received shares."""

from strategies.secagg.binding import adverts_hash, roster_hash
from strategies.secagg.client.store import SHARE_PAIR_BYTES, AdvertisedSecrets, SharedSecrets
from strategies.secagg.crypto import shamir
from strategies.secagg.crypto.keys import (
    NONCE_BYTES,
    SEED_BYTES,
    Identity,
    KeyPair,
    RandomBytes,
    commit,
    seal,
    share_key,
    sign_advert,
    unseal,
)
from strategies.secagg.graph import Shape, neighborhood
from strategies.secagg.messages import (
    FIELD_BYTES,
    NO_IDENTITY,
    Advert,
    Roster,
    SharesUpload,
    TrainRequest,
)
from strategies.secagg.wire import AttemptId


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
    nonces = random_bytes(NONCE_BYTES * len(near))
    sealed: list[tuple[int, bytes]] = []
    peers: list[tuple[int, bytes]] = []
    own_shares = b""
    for i, member in enumerate(near):
        text, peer = mask_shares[i] + self_shares[i], adverts[member]
        if peer.node_id == node_id:
            own_shares = text
            continue
        agreed, to = pair.agree(peer.share_key), (node_id, peer.node_id)
        nonce = nonces[NONCE_BYTES * i : NONCE_BYTES * (i + 1)]
        key = share_key(agreed, bound, *to)
        sealed.append((peer.node_id, seal(key, bound, to, text, nonce)))
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
    return SharesUpload(roster.attempt, tuple(sealed)), kept


def open_shares(
    request: TrainRequest, node_id: int, secrets: SharedSecrets
) -> tuple[dict[int, bytes], tuple[int, ...]]:
    """Decrypt the shares addressed to this node.

    Returns
    -------
    dict of int to bytes, tuple of int
        The 66-byte share pair of each neighbour in U2 (and this node's own), and the
        neighbours in U2 whose share is missing or false, ascending.
    """
    received, cohort = dict(request.shares), set(request.cohort)
    held, rejected = {node_id: secrets.own_shares}, list[int]()
    for peer, keys in secrets.peers:
        if peer not in cohort:
            continue
        sealed = received.get(peer, b"")
        text = unseal(keys[32:], secrets.roster, (peer, node_id), sealed)
        if text is not None and _is_pair(text):
            held[peer] = text
        else:
            rejected.append(peer)
    return held, tuple(rejected)


def _is_pair(text: bytes) -> bool:
    mask_share, self_share = text[:FIELD_BYTES], text[FIELD_BYTES:]
    whole = len(text) == SHARE_PAIR_BYTES
    return whole and shamir.is_element(mask_share) and shamir.is_element(self_share)
