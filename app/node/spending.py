"""What a node writes down before anything of its records leaves it."""

from collections.abc import Sequence

from app.node.admission import admit
from app.node.session import NodeSession
from privacy.ledger.ledger import LedgerError, OverBudgetError
from privacy.plan.plan import PrivacyPlan
from privacy.plan.release import Release
from strategies.refusals import Reason, Refusal


def charge(
    session: NodeSession,
    plan: PrivacyPlan,
    releases: Sequence[Release],
    attempt: tuple[int, int | None],
) -> None:
    """Write a contribution's cost into the node's ledger and sync; only then may it leave.

    Parameters
    ----------
    session : NodeSession
        Of the message that asks for the contribution.
    plan : PrivacyPlan
        What the whole run reveals.
    releases : sequence of Release
        What this contribution reveals; nothing is written for none.
    attempt : (int, int or None)
        Round and attempt; None for plain aggregation, which has no attempts.

    Raises
    ------
    Refusal
        If the policy does not allow the run, it would go over the cap, or the ledger cannot
        be used.
    """
    admit(session, _least_multiplier(plan))
    policy, ledger = session.policy, session.ledger
    if not releases or ledger is None:
        return
    if policy is not None and session.settings.state_path is None:
        # A node id is Flower's, and a new one would begin with an empty ledger.
        raise Refusal(Reason.LEDGER_REFUSED) from LedgerError(
            "this node has a policy-file but no state-path: give it in --node-config, for the"
            " ledger must outlive the node's id"
        )
    budget = policy.budget if policy else None
    try:
        ledger.charge(session.run_id, *attempt, releases, plan.schedule(), budget)
    except OverBudgetError as error:
        raise Refusal(Reason.BUDGET_EXHAUSTED) from error
    except LedgerError as error:
        raise Refusal(Reason.LEDGER_REFUSED) from error


def _least_multiplier(plan: PrivacyPlan) -> float:
    """Return the noise of the least noisy release, over what one unit can move in it."""
    terms = plan.terms
    least = plan.noise_multiplier
    if terms.metrics_every:
        least = min(least, terms.metrics_noise_multiplier)
    if terms.clip_bit_noise:
        # A bit is plus or minus a half.
        least = min(least, 2 * terms.clip_bit_noise)
    return least
