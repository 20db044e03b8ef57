"""What a node publishes of itself, because its owner's policy says so, and else nothing.

No run config, no message and no server can ask for it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from flwr.app import Message, MetricRecord

from app.node.node_log import tell
from app.node.policy import Policy
from app.node.session import NodeSession
from privacy.ledger.ledger import Ledger, LedgerError
from privacy.plan.release import Neighbours, Release
from privacy.unit import Unit
from strategies.rounds.published import (
    DELTA,
    EPSILON_LEFT,
    GAIN_NOISE,
    GAINS,
    LARGEST_GAIN,
    PUBLISHED,
)

log = logging.getLogger("flwr.tacet")

# No contribution has round 0, so this is charged once in a run, whatever a server says of it.
_ROUND, _ATTEMPT = 0, 0


@dataclass(frozen=True)
class Gain:
    """What a node gains by a run: a secret until it is noised.

    Attributes
    ----------
    metric : str
        ``accuracy``, or ``loss`` where the task has no accuracy.
    value : float
        By how much the model that all made is better than the node's own one, on the node's
        held-out records; not finite where it could not be worked out.
    """

    metric: str
    value: float


def publish(session: NodeSession | None, reply: Message) -> None:
    """Add to a reply what the owner's policy publishes; nothing if it does not say so.

    A budget depends on which runs were charged, and on no record. A gain does: it is noised,
    and charged before it leaves, once for each run. Whatever fails, the reply goes its way
    without the figures, and the node's log says why.
    """
    policy = session.policy if session is not None else None
    if session is None or policy is None or reply.has_error() or session.noted.round is None:
        return
    figures: dict[str, float] = {}
    if policy.publish_gain_epsilon is not None and session.noted.gain is not None:
        try:
            figures |= _gain(session, policy, session.noted.gain)
        except Exception as error:
            log.warning("the gain is not published: %s", error)
    if policy.publish_budget:
        try:
            figures |= _budget(session, policy)
        except Exception as error:
            log.warning("the budget is not published: %s", error)
    if figures:
        reply.content[PUBLISHED] = MetricRecord(dict(figures))


def _budget(session: NodeSession, policy: Policy) -> dict[str, float]:
    """Return epsilon left of the cap, and its delta, as the ledger holds them against it."""
    budget = policy.budget
    if budget is None:
        raise LedgerError("the policy has no cap")
    spent = session.noted.epsilon
    if spent is None:
        # Nothing was charged in this message.
        spent = Ledger(session.state_file, policy.dataset).held(budget)
    left = max(0.0, budget.epsilon - spent)
    return {EPSILON_LEFT: float(left), DELTA: float(budget.delta)}


def _gain(session: NodeSession, policy: Policy, gain: Gain) -> dict[str, float]:
    """Charge and return a noised gain.

    Guarantees
    ----------
    Unit: the policy's. Neighbours: those of the ledger. Sensitivity: the whole range
    2 ``LARGEST_GAIN``, as a record may change the node's own model, and its scores, in any way.
    Noise, epsilon: ``privacy.noise.bounded_value``, with ``publish_gain_epsilon``. What the
    model that all made tells of the others is what the run has released.

    Raises
    ------
    LedgerError
        If it was published before in this run, or the cap does not allow it.
    """
    from privacy.noise.bounded_value import bounded_release, noised, scale_of

    ledger, epsilon = session.ledger, policy.publish_gain_epsilon
    if ledger is None or epsilon is None or session.settings.state_path is None:
        raise LedgerError("give this node a state-path, for the ledger must outlive its id")
    release = bounded_release(epsilon, *_relation(policy, ledger))
    _charge(session, policy, ledger, release)
    found = noised(gain.value, LARGEST_GAIN, release)
    scale = scale_of(LARGEST_GAIN, release)
    name = next(one for one in GAINS if one.endswith(gain.metric))
    return {name: float(found), GAIN_NOISE: float(scale)}


def _charge(session: NodeSession, policy: Policy, ledger: Ledger, release: Release) -> None:
    planned = [(release, 1)]
    budget = policy.budget
    spent = ledger.charge(session.run_id, _ROUND, _ATTEMPT, [release], planned, budget)
    if spent is not None and budget is not None:
        session.noted.note_spent(spent, budget)
        tell(
            session,
            f"charged the gain that is published: spent epsilon {spent:.4g} of"
            f" {budget.epsilon:g}, at delta {budget.delta:g}",
        )


def _relation(policy: Policy, ledger: Ledger) -> tuple[Unit, Neighbours]:
    """Return unit and neighbours of the ledger's charges, or those that its first will have."""
    unit = policy.unit
    if unit is None:
        raise LedgerError("the policy has no unit")
    kept = ledger.relation()
    if kept is not None:
        return kept
    if unit is Unit.EXAMPLE:
        return unit, Neighbours.ADD_OR_REMOVE
    is_local = any(option.endswith("_local") for option in policy.privacy)
    return unit, Neighbours.REPLACE if is_local else Neighbours.ZERO_OUT
