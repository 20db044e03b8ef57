"""What a node checks and writes down before anything of its records leaves it."""

from collections.abc import Sequence
from pathlib import Path

from flwr.app import Context

from app.config.aggregation import SecAggConfig
from app.config.load import option_of
from app.config.privacy import PrivateConfig, mode_of
from app.config.run import AppConfig
from app.node.admission import Asked, check
from app.node.policy import Policy, PolicyError, load_policy
from app.node.running_code import approved_bundles
from privacy.accounting.calibration_cache import Calibrations
from privacy.ledger.ledger import Ledger, LedgerError, OverBudgetError
from privacy.plan.plan import PrivacyPlan
from privacy.plan.release import Release
from strategies.refusals import Reason, Refusal
from tasks.base import Node

# A simulated node without a policy has no name for its data.
_UNNAMED = "simulated"


def check_policy(config: AppConfig, node: Node, noise_multiplier: float | None = None) -> None:
    """Refuse a run that asks for more than the node's owner allows.

    Parameters
    ----------
    config : AppConfig
        The run's.
    node : Node
        Whose policy it is.
    noise_multiplier : float, optional
        Of the run, once it is known; the configured one unless given.

    Raises
    ------
    Refusal
        Whose cause names both values and the mend.
    """
    try:
        policy = _policy(config, node)
        approved_bundles(policy, node.simulated)
        if policy is not None:
            check(policy, _asked(config, policy, noise_multiplier))
    except PolicyError as error:
        raise Refusal(Reason.POLICY_REFUSED) from error


def peers_bundles(config: AppConfig, node: Node) -> frozenset[bytes] | None:
    """Return the bundles that this node's owner approved for peers too; None for any.

    Raises
    ------
    Refusal
        As ``check_policy``.
    """
    try:
        return approved_bundles(_policy(config, node), node.simulated)
    except PolicyError as error:
        raise Refusal(Reason.POLICY_REFUSED) from error


def charge(
    context: Context,
    config: AppConfig,
    node: Node,
    plan: PrivacyPlan,
    releases: Sequence[Release],
    attempt: tuple[int, int | None],
) -> None:
    """Write a contribution's cost into the node's ledger and sync; only then may it leave.

    Parameters
    ----------
    context : Context
        Names the run and the node.
    config, node
        As for ``check_policy``.
    plan : PrivacyPlan
        What the whole run reveals.
    releases : sequence of Release
        What this contribution reveals; nothing is written for none.
    attempt : (int, int or None)
        Round and attempt; None for plain aggregation, which has no attempts.

    Raises
    ------
    Refusal
        If it would go over the cap, or the ledger cannot be used.
    """
    check_policy(config, node, _least_multiplier(plan))
    if not releases or (node.simulated and node.state_path is None):
        # Nobody is to be protected in a simulation; one with state paths keeps ledgers too.
        return
    policy = _policy(config, node)
    if policy is not None and node.state_path is None:
        # A node id is Flower's, and a new one would begin with an empty ledger.
        raise Refusal(Reason.LEDGER_REFUSED) from LedgerError(
            "this node has a policy-file but no state-path: give it in --node-config, for the"
            " ledger must outlive the node's id"
        )
    ledger = Ledger(state_file(context, node), policy.dataset if policy else _UNNAMED)
    try:
        ledger.charge(
            context.run_id,
            *attempt,
            releases,
            plan.schedule(),
            policy.budget if policy else None,
        )
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


def calibrations(context: Context, node: Node) -> Calibrations | None:
    """Return what this node has calibrated before; None if it keeps nothing."""
    if node.simulated and node.state_path is None:
        return None
    return Calibrations(state_file(context, node))


def state_file(context: Context, node: Node) -> Path:
    """Return the node's own file; two SuperNodes of one user must not share it."""
    if node.state_path is not None:
        return node.state_path
    return Path.home() / ".tacet" / "nodes" / str(context.node_id) / "state.sqlite"


def _policy(config: AppConfig, node: Node) -> Policy | None:
    if node.policy_file is not None:
        return load_policy(node.policy_file)
    if isinstance(config.privacy, PrivateConfig) and not node.simulated:
        raise PolicyError(
            "this node has no policy-file: give its path in --node-config; without the owner's"
            " cap and floors a run could ask for anything"
        )
    return None


def _asked(config: AppConfig, policy: Policy, noise_multiplier: float | None) -> Asked:
    privacy, aggregation = config.privacy, config.aggregation
    masked = aggregation if isinstance(aggregation, SecAggConfig) else None
    private = privacy if isinstance(privacy, PrivateConfig) else None
    mode = mode_of(privacy)
    if private and noise_multiplier is None:
        # Not known before the model is: a message that carries no contribution.
        noise_multiplier = private.noise_multiplier or policy.min_noise_multiplier
    return Asked(
        task=option_of(config, "task"),
        privacy=option_of(config, "privacy"),
        aggregation=option_of(config, "aggregation"),
        unit=mode[0] if mode else None,
        min_survivors=masked.min_survivors if masked else 0,
        max_colluding=masked.max_colluding if masked else 0,
        identities=masked.identities if masked else False,
        noise_multiplier=noise_multiplier if private else None,
        # The ledger holds what is really released against the cap.
        epsilon=None,
        delta=private.delta if private else None,
    )
