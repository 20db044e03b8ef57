"""The checks of a client before it acts, each with its own reason for a refusal.

A `ProtocolRefusedError` has a text for the local log; only its reason leaves the node.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from strategies.secagg.client.store import MaskedSecrets, Record
from strategies.secagg.client.transitions import Stage
from strategies.secagg.crypto.keys import (
    Identity,
    advert_to_sign,
    is_low_order,
    survivors_to_sign,
)
from strategies.secagg.graph import ProtocolParameters, Shape
from strategies.secagg.messages import Advert, RefusalReason, Roster, UnmaskRequest
from strategies.secagg.wire import AttemptId


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
    adverts = tuple(Advert.decode(advert) for advert in roster.adverts)
    ids = [advert.node_id for advert in adverts]
    ordered = all(a < b for a, b in pairwise(ids))
    require(ordered, RefusalReason.WRONG_ADVERT, "node ids are not ascending")
    require(own_advert in roster.adverts, RefusalReason.OWN_ADVERT_WRONG)
    keys: list[bytes] = []
    for advert in adverts:
        require(
            advert.attempt == roster.attempt, RefusalReason.WRONG_ADVERT, "of another attempt"
        )
        keys += [advert.mask_key, advert.share_key, advert.commitment]
        low = is_low_order(advert.mask_key) or is_low_order(advert.share_key)
        require(not low, RefusalReason.BAD_KEY, f"low order, node {advert.node_id}")
    require(len(set(keys)) == len(keys), RefusalReason.DUPLICATE_KEY, "a key or commitment")
    _check_trust(adverts, trust)
    return adverts, shape


def _check_shape(roster: Roster, parameters: ProtocolParameters) -> Shape:
    n = len(roster.adverts)
    floor = max(parameters.survivors(n), parameters.max_colluding + 2)
    require(n >= floor, RefusalReason.ROSTER_TOO_SMALL, f"{n} under {floor}")
    try:
        shape = parameters.shape(n)
    except ValueError as error:
        raise ProtocolRefusedError(RefusalReason.BAD_THRESHOLD, str(error)) from error
    told = (roster.num_neighbors, roster.threshold)
    due = (shape.num_neighbors, shape.threshold)
    require(told == due, RefusalReason.BAD_THRESHOLD, f"told k, t = {told}, due {due}")
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
    """Check that survivors and dropouts are apart and together are U2."""
    survivors, dropouts = set(request.survivors), set(request.dropouts)
    both = survivors & dropouts
    require(not both, RefusalReason.BOTH_SHARES, f"of {sorted(both)}")
    everyone = set(cohort)
    within = survivors | dropouts <= everyone
    require(within, RefusalReason.SURVIVORS_NOT_IN_COHORT)
    require(survivors | dropouts == everyone, RefusalReason.SURVIVORS_INCOMPLETE)


def check_confirmations(
    request: UnmaskRequest, secrets: MaskedSecrets, identity: Identity
) -> None:
    """Check that t survivors, all that are shown, signed exactly this survivor set.

    Bonawitz et al. 2017, round 3 (consistency check). An honest node signs once, and
    2t > m + c, so two survivor sets cannot both find t signatures.
    """
    message = survivors_to_sign(
        request.attempt, secrets.roster, secrets.binding, request.survivors
    )
    names = dict(secrets.identities)
    signers = {node for node, _ in request.confirmations}
    known = signers <= set(request.survivors)
    require(known, RefusalReason.CONSISTENCY_BROKEN, "signed by others than survivors")
    enough = len(signers) >= secrets.threshold
    require(enough, RefusalReason.CONSISTENCY_MISSING, f"{len(signers)} signatures")
    for node, signature in request.confirmations:
        good = identity.verify(names[node], signature, message)
        require(good, RefusalReason.CONSISTENCY_BROKEN, f"signature of node {node}")
