"""The charge to a node's ledger, before anything computed from its records leaves."""

from collections.abc import Sequence

from app.node.admission import admit
from app.node.node_log import tell
from app.node.session import NodeSession
from privacy.ledger.ledger import LedgerError, OverBudgetError
from privacy.plan.plan import PrivacyPlan
from privacy.plan.release import Release
from strategies.refusals import Reason, RequestRefusedError


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
        The session of the message that asks for the contribution.
    plan : PrivacyPlan
        What the whole run reveals.
    releases : sequence of Release
        What this contribution reveals; nothing is written for none.
    attempt : (int, int or None)
        Round and attempt; None for plain aggregation, which has no attempts.

    Raises
    ------
    RequestRefusedError
        If the policy does not allow the run, it would go over the cap, or the ledger cannot
        be used.
    """
    admit(session, plan.least_noise_multiplier)
    policy, ledger = session.policy, session.ledger
    if not releases or ledger is None:
        return
    if policy is not None and session.settings.state_path is None:
        # A node id is Flower's, and a new one would begin with an empty ledger.
        raise RequestRefusedError(Reason.LEDGER_REFUSED) from LedgerError(
            "this node has a policy-file but no state-path: give it in --node-config, for the"
            " ledger must outlive the node's id"
        )
    budget = policy.budget if policy else None
    try:
        spent = ledger.charge(session.run_id, *attempt, releases, plan.schedule(), budget)
    except OverBudgetError as error:
        raise RequestRefusedError(Reason.BUDGET_EXHAUSTED) from error
    except LedgerError as error:
        raise RequestRefusedError(Reason.LEDGER_REFUSED) from error
    if budget is not None and spent is not None:
        session.noted.note_spent(spent, budget)
        tell(
            session,
            f"charged round {attempt[0]}: spent epsilon {spent:.4g} of {budget.epsilon:g},"
            f" left {max(0.0, budget.epsilon - spent):.4g}, at delta {budget.delta:g}",
        )
