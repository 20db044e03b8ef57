"""The checks of a client before it acts, each with its own reason for a refusal.

A `ProtocolRefusedError` has a text for the local log; only its reason leaves the node.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from strategies.secagg.client.store import MaskedSecrets, Record
from strategies.secagg.client.transitions import Stage
from strategies.secagg.crypto.identity import Identity, input_to_sign, view_to_sign
from strategies.secagg.fields import NODES, AttemptId
from strategies.secagg.graph import ProtocolParameters
from strategies.secagg.messages import UnmaskRequest
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
