"""What a client asks its memory, and adds to it, before and after it gives shares."""

from strategies.secagg.client.checks import require
from strategies.secagg.client.memory import NAME_BYTES, Memory, names
from strategies.secagg.client.sharing import OwnNode
from strategies.secagg.client.store import MaskedSecrets
from strategies.secagg.client.transitions import Stage
from strategies.secagg.messages import ConfirmRequest, UnmaskRequest
from strategies.secagg.reasons import RefusalReason


def require_allowed(
    memory: Memory, request: ConfirmRequest | UnmaskRequest, secrets: MaskedSecrets
) -> None:
    """Refuse survivors that differ from those of another sum once too often.

    By fewer than T: of the members in which two sums differ, c may collude, and T - c must not.
    """
    members = names(request.survivors, dict(secrets.signers))
    run_id, least = request.attempt.run_id, secrets.min_survivors
    allowed = memory.allows_view(run_id, members, least)
    require(allowed, RefusalReason.COHORT_CHANGED, "U3")


def remember(me: OwnNode, request: UnmaskRequest, secrets: MaskedSecrets, stage: Stage) -> None:
    """Note whose sum this opens, or refuse; keep the heads of those who have masked.

    To be called after the stage has moved and before a share leaves: what was not given is no
    view, and two attempts may be opened at once. `stage` is the one before, whose proofs have
    been checked. A survivor without one is only named by the server: it need not have masked,
    nor looked at the heads that it was shown.
    """
    signers = dict(secrets.signers)
    run_id, members = request.attempt.run_id, names(request.survivors, signers)
    allowed = me.memory.note_view(run_id, members, secrets.min_survivors)
    require(allowed, RefusalReason.COHORT_CHANGED, "U3, while another was opened")
    if me.identity is None:
        return
    proofs = request.views if stage is Stage.CONFIRMED else request.inputs
    masked = [signers[node] for node, _ in proofs if node != me.node_id]
    heads = {one[:NAME_BYTES]: one[NAME_BYTES:] for one in masked}
    me.memory.keep_heads(request.attempt, heads)
