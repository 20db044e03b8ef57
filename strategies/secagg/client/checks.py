"""The checks of a client before it acts, each with its own reason for a refusal.

A `ProtocolRefusedError` has a text for the local log; only its reason leaves the node.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from strategies.secagg.client.store import MaskedSecrets, Record
from strategies.secagg.client.transitions import Stage
from strategies.secagg.crypto.identity import (
    Identity,
    advert_to_sign,
    input_to_sign,
    view_to_sign,
)
from strategies.secagg.crypto.keys import is_public_key
from strategies.secagg.fields import NODES, AttemptId
from strategies.secagg.graph import ProtocolParameters, Shape
from strategies.secagg.messages import (
    X25519_BYTES,
    Advert,
    KeyRoster,
    Roster,
    UnmaskRequest,
)
from strategies.secagg.reasons import RefusalReason


class ProtocolRefusedError(Exception):
    """A check that failed: a reason for the server, details for the local log."""

    def __init__(self, reason: RefusalReason, detail: str = "") -> None:
        super().__init__(f"{reason.name}: {detail}")
        self.reason = reason


def require(holds: bool, reason: RefusalReason, detail: str = "") -> None:
    """Refuse unless `holds`."""
    if not holds:
        raise ProtocolRefusedError(reason, detail)


@dataclass(frozen=True)
class TrustPolicy:
    """The trust of a node: its identity with the pinned peers, and the approved bundles.

    None switches the check off: identities in simulation, bundle hashes outside deployments.
    """

    identity: Identity | None = None
    approved_bundles: frozenset[bytes] | None = None


def check_roster(
    roster: Roster, own_advert: bytes, parameters: ProtocolParameters, trust: TrustPolicy
) -> tuple[tuple[Advert, ...], Shape]:
    """Check a roster for one node; return its adverts and the graph they must form."""
    shape = _check_shape(roster, parameters)
    shown = [_shown(data, parameters.is_hybrid) for data in roster.adverts]
    adverts = tuple(one.advert for one in shown)
    ids = [advert.node_id for advert in adverts]
    ordered = all(a < b for a, b in pairwise(ids))
    require(ordered, RefusalReason.WRONG_ADVERT, "node ids are not ascending")
    require(own_advert in roster.adverts, RefusalReason.OWN_ADVERT_WRONG)
    alike = all(advert.attempt == roster.attempt for advert in adverts)
    require(alike, RefusalReason.WRONG_ADVERT, "of another attempt")
    bad = [one.advert.node_id for one in shown if not one.has_good_keys]
    require(not bad, RefusalReason.BAD_KEY, f"form or low order, nodes {bad}")
    keys = [key for one in shown for key in one.unique]
    require(len(set(keys)) == len(keys), RefusalReason.DUPLICATE_KEY, "a key or commitment")
    _check_trust(adverts, trust)
    return adverts, shape


class _Shown(NamedTuple):
    """An advert in a roster: whether its keys can be used, and what no other may have."""

    advert: Advert
    has_good_keys: bool
    unique: tuple[bytes, ...]


@lru_cache(maxsize=2048)
def _shown(data: bytes, is_hybrid: bool) -> _Shown:
    # All simulated nodes of a process are shown the same ones.
    advert = Advert.decode(data)
    pair = advert.mask_key, advert.share_key
    good = all(is_public_key(key, hybrid=is_hybrid) for key in pair)
    return _Shown(advert, good, (*(key[:X25519_BYTES] for key in pair), advert.commitment))


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


def check_cohort(
    cohort: tuple[int, ...],
    members: tuple[int, ...],
    node_id: int,
    parameters: ProtocolParameters,
) -> None:
    """Check U2: within U1, with this node, at least T."""
    require(set(cohort) <= set(members), RefusalReason.NOT_IN_COHORT, "U2 is not within U1")
    require(node_id in cohort, RefusalReason.LEFT_OUT, "U2 lacks this node")
    enough = len(cohort) >= parameters.survivors(len(members))
    require(enough, RefusalReason.COHORT_TOO_SMALL, f"{len(cohort)} members in U2")


def check_model(records: Mapping[AttemptId, Record], attempt: AttemptId, model: bytes) -> None:
    """Refuse a model that this node has helped to open a sum over in this run."""
    for other, record in records.items():
        if record.stage is Stage.REVEALED and record.model == model:
            raise ProtocolRefusedError(
                RefusalReason.MODEL_REPEATED, f"in {other}, now {attempt}"
            )


def check_survivors(survivors: tuple[int, ...], node_id: int, secrets: MaskedSecrets) -> None:
    """Check U3: within U2, with this node, at least T, and masked with by this node."""
    chosen = set(survivors)
    within = chosen <= set(secrets.cohort)
    require(within, RefusalReason.SURVIVORS_NOT_IN_COHORT)
    require(node_id in chosen, RefusalReason.LEFT_OUT, "U3 lacks this node")
    enough = len(survivors) >= secrets.min_survivors
    require(enough, RefusalReason.SURVIVORS_TOO_FEW, f"{len(survivors)} survivors")
    unmasked = chosen & set(secrets.rejected)
    require(not unmasked, RefusalReason.SURVIVOR_NOT_MASKED, f"{sorted(unmasked)}")
    near = sum(node in chosen for node, _ in secrets.held)
    require(near >= secrets.floor, RefusalReason.SURVIVORS_TOO_FEW, f"{near} neighbours")


def check_split(request: UnmaskRequest, cohort: Iterable[int]) -> None:
    """Check that survivors and dropouts are apart and both within U2."""
    survivors, dropouts = set(request.survivors), set(request.dropouts)
    both = survivors & dropouts
    require(not both, RefusalReason.BOTH_SHARES, f"of {sorted(both)}")
    within = survivors | dropouts <= set(cohort)
    require(within, RefusalReason.SURVIVORS_NOT_IN_COHORT)


def hash_nodes(nodes: tuple[int, ...]) -> bytes:
    """Return SHA-256 of node ids (32 bytes), for the survivor set that a node has signed."""
    return hashlib.sha256(NODES.write(nodes)).digest()


def check_one_view(
    request: UnmaskRequest, secrets: MaskedSecrets, stage: Stage, identity: Identity
) -> None:
    """Check that q members of the roster have the view of the attempt that this node has.

    Protocol, section 5 (iv). Either U3 is U2, and q masked inputs under this node's own plan
    reject nobody: then no view was signed and no seed of a dropout is given. Or this node has
    signed its view, and so have q in all. Two different views cannot both find q signers, and
    so one attempt opens one sum; see ``docs/one-view.md``.
    """
    if stage is Stage.CONFIRMED:
        signed = hash_nodes(request.survivors) == secrets.signed
        require(signed, RefusalReason.VIEW_BROKEN, "not the survivors that it signed")
        proofs = list(_views(request, secrets))
    else:
        whole = request.survivors == secrets.cohort and not request.dropouts
        require(whole, RefusalReason.VIEW_NOT_SIGNED, "U3 is not U2, and no view was signed")
        proofs = list(_inputs(request, secrets))
    enough = len(proofs) >= secrets.quorum
    require(
        enough, RefusalReason.VIEW_NOT_SIGNED, f"{len(proofs)} of {secrets.quorum} signatures"
    )
    names, survivors = dict(secrets.signers), set(request.survivors)
    for node, message, signature in proofs:
        require(node in survivors, RefusalReason.VIEW_BROKEN, f"signed by {node}, not in U3")
        good = identity.verify(names[node][:32], signature, message)
        require(good, RefusalReason.VIEW_BROKEN, f"signature of node {node}")


def _views(
    request: UnmaskRequest, secrets: MaskedSecrets
) -> Iterator[tuple[int, bytes, bytes]]:
    message = view_to_sign(request.attempt, secrets.roster, secrets.binding, request.survivors)
    for node, signature in request.views:
        yield node, message, signature


def _inputs(
    request: UnmaskRequest, secrets: MaskedSecrets
) -> Iterator[tuple[int, bytes, bytes]]:
    for node, proof in request.inputs:
        payload_hash, signature = proof[:32], proof[32:]
        yield (
            node,
            input_to_sign(request.attempt, secrets.binding, (), payload_hash),
            signature,
        )
