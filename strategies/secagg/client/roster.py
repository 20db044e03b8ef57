"""The checks of a roster, before a node shares anything under it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from strategies.secagg.binding import adverts_hash, roster_hash
from strategies.secagg.client.checks import ProtocolRefusedError, TrustPolicy, require
from strategies.secagg.crypto.identity import advert_to_sign
from strategies.secagg.crypto.keys import is_kem_key, is_public_key
from strategies.secagg.fields import AttemptId
from strategies.secagg.graph import ProtocolParameters, Shape, neighborhood
from strategies.secagg.messages import (
    KEM_KEY_BYTES,
    X25519_BYTES,
    Advert,
    KeyRoster,
    Roster,
    ShareRequest,
)
from strategies.secagg.reasons import RefusalReason


@dataclass(frozen=True)
class CheckedRoster:
    """A roster under which one node may share.

    Parameters
    ----------
    hash : bytes
        `binding.roster_hash` (32 bytes).
    adverts : tuple of Advert
        Of all members, by ascending node id.
    shape : Shape
        The graph.
    near : tuple of int
        The node's closed neighbourhood, as places in `adverts`, ascending.
    kem_keys : mapping of int to (bytes, bytes)
        For each neighbour its ML-KEM share key, and its mask key where this node's row brings
        the secret of the pair. Empty bytes with classical keys.
    """

    hash: bytes
    adverts: tuple[Advert, ...]
    shape: Shape
    near: tuple[int, ...]
    kem_keys: Mapping[int, tuple[bytes, bytes]]


@lru_cache(maxsize=2)
def read_roster(form: type[Roster], data: bytes) -> Roster:
    """Return the roster in bytes: one for all simulated nodes of a process, who get the same.

    Raises
    ------
    DecodeError
        If they are not the canonical bytes of one.
    """
    return form.decode(data)


def check_request(
    request: ShareRequest,
    roster: Roster,
    own_advert: bytes,
    parameters: ProtocolParameters,
    trust: TrustPolicy,
) -> CheckedRoster:
    """Check a request to share for the node whose advert is given, and the roster in it."""
    same = roster.attempt == request.attempt
    require(same, RefusalReason.MALFORMED, "a roster of another attempt than the request")
    shape = _check_shape(roster, parameters)
    require(own_advert in roster.adverts, RefusalReason.OWN_ADVERT_WRONG)
    adverts = _check_adverts(roster.adverts, roster.attempt, parameters.is_hybrid)
    _check_trust(adverts, trust)
    place = roster.adverts.index(own_advert)
    near = neighborhood(shape, adverts_hash(roster.adverts), place)
    peers = [adverts[member] for member in near if member != place]
    kem_keys = _kem_keys(dict(request.kem_keys), peers, adverts[place].node_id, shape)
    return CheckedRoster(roster_hash(roster), adverts, shape, near, kem_keys)


def _check_shape(roster: Roster, parameters: ProtocolParameters) -> Shape:
    n = len(roster.adverts)
    floor = parameters.floor(n)
    require(n >= floor, RefusalReason.ROSTER_TOO_SMALL, f"{n} under {floor}")
    is_key = isinstance(roster, KeyRoster)
    try:
        shape = parameters.key_shape(n) if is_key else parameters.shape(n)
    except ValueError as error:
        raise ProtocolRefusedError(RefusalReason.BAD_THRESHOLD, str(error)) from error
    told = (roster.num_neighbors, roster.threshold, roster.num_packed if is_key else 0)
    due = (shape.num_neighbors, shape.threshold, shape.num_packed)
    require(told == due, RefusalReason.BAD_THRESHOLD, f"told k, t, l = {told}, due {due}")
    return shape


# As `read_roster`, of which the simulated nodes have the same tuple.
@lru_cache(maxsize=2)
def _check_adverts(
    encoded: tuple[bytes, ...], attempt: AttemptId, is_hybrid: bool
) -> tuple[Advert, ...]:
    """Return the adverts, which are those of one attempt and share nothing."""
    shown = [_shown(data, is_hybrid) for data in encoded]
    adverts = tuple(one.advert for one in shown)
    ids = [advert.node_id for advert in adverts]
    ordered = all(a < b for a, b in pairwise(ids))
    require(ordered, RefusalReason.WRONG_ADVERT, "node ids are not ascending")
    alike = all(advert.attempt == attempt for advert in adverts)
    require(alike, RefusalReason.WRONG_ADVERT, "of another attempt")
    bad = [one.advert.node_id for one in shown if not one.has_good_keys]
    require(not bad, RefusalReason.BAD_KEY, f"form or low order, nodes {bad}")
    keys = [key for one in shown for key in one.unique]
    require(len(set(keys)) == len(keys), RefusalReason.DUPLICATE_KEY, "a key or commitment")
    return adverts


class _Shown(NamedTuple):
    """An advert in a roster: whether its keys can be used, and what no other may have."""

    advert: Advert
    has_good_keys: bool
    unique: tuple[bytes, ...]


def _shown(data: bytes, is_hybrid: bool) -> _Shown:
    advert = Advert.decode(data)
    pair = advert.mask_key, advert.share_key
    good = all(is_public_key(key, hybrid=is_hybrid) for key in pair)
    return _Shown(advert, good, (*(key[:X25519_BYTES] for key in pair), advert.commitment))


def _kem_keys(
    shown: Mapping[int, bytes], peers: list[Advert], node_id: int, shape: Shape
) -> Mapping[int, tuple[bytes, bytes]]:
    """Return the neighbours' ML-KEM keys, which are those whose hashes are in their adverts.

    Whoever is shown another one has nothing to compare it with but the hash, and what is sealed
    under it is for the server to read: no neighbour may be without.
    """
    whole = len(shown) == len(peers) and all(peer.node_id in shown for peer in peers)
    require(whole, RefusalReason.BAD_KEY, "ML-KEM keys of others than the neighbours")
    found: dict[int, tuple[bytes, bytes]] = {}
    for peer in peers:
        keys = shown[peer.node_id]
        share_key, mask_key = found[peer.node_id] = keys[:KEM_KEY_BYTES], keys[KEM_KEY_BYTES:]
        good = is_kem_key(peer.share_key, share_key)
        if shape.brings_secret(node_id, peer.node_id):
            good = good and is_kem_key(peer.mask_key, mask_key)
        else:
            good = good and not mask_key
        require(good, RefusalReason.BAD_KEY, f"not node {peer.node_id}'s ML-KEM keys")
    return found


def _check_trust(adverts: tuple[Advert, ...], trust: TrustPolicy) -> None:
    if trust.approved_bundles is not None:
        bundles = {advert.bundle for advert in adverts}
        require(bundles <= trust.approved_bundles, RefusalReason.BUNDLE_NOT_APPROVED)
    identity = trust.identity
    if identity is None:
        return
    names = [advert.identity for advert in adverts]
    require(all(name in identity.peers for name in names), RefusalReason.UNKNOWN_IDENTITY)
    require(len(set(names)) == len(names), RefusalReason.DUPLICATE_KEY, "an identity twice")
    for advert in adverts:
        good = identity.verify(advert.identity, advert.signature, advert_to_sign(advert))
        require(good, RefusalReason.BAD_SIGNATURE, f"node {advert.node_id}")
