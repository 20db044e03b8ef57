"""Hold a plan against the nodes of a simulation, as each of them would."""

from flwr.app import Context, RecordDict

from app.builders.workload import build_task
from app.config.run import AppConfig
from app.node.admission import admit
from app.node.identity import IdentityError
from app.node.node_config import NUM_PARTITIONS, PARTITION_ID
from app.node.policy import Policy
from app.node.session import NodeSession
from app.node.settings import num_simulation_nodes, settings_of
from privacy.accounting.epsilon import epsilon
from privacy.ledger.budget import OverBudgetError, check, choose_order, totals
from privacy.plan.plan import PrivacyPlan
from strategies.refusals import RequestRefusedError


def check_simulation_nodes(config: AppConfig, plan: PrivacyPlan | None) -> None:
    """Read every entry of ``simulation-nodes``, and refuse what its node would refuse.

    What a node has spent already is not looked at: its ledger counts as empty.

    Parameters
    ----------
    config : AppConfig
        Of the run; nothing is checked where it names no such file.
    plan : PrivacyPlan or None
        Of the run; None without privacy.

    Raises
    ------
    ValueError
        If the file, an entry, a policy or an identity is wrong, or a policy does not admit the
        run, its cap included, or the task cannot be spread over so many nodes.
    """
    path, rounds = config.simulation_nodes, config.rounds
    if not path:
        return
    # So many nodes there are at least, and each needs an entry.
    number = max(rounds.min_clients, rounds.min_replies, num_simulation_nodes(path))
    build_task(config).check_population(number)
    for node in range(number):
        node_config = {PARTITION_ID: node, NUM_PARTITIONS: number}
        settings = settings_of(node_config, config, simulated=True)
        place = settings.source.data_path
        if place is not None and not place.exists():
            raise ValueError(f"simulation-nodes={path}: entry {node}: {place} is not there")
        context = Context(0, node, {**node_config}, RecordDict(), {})
        session = NodeSession(context, config, settings)
        try:
            admit(session, plan.least_noise_multiplier if plan else None)
            if config.aggregation.is_signed:
                # Read, for it is from two files.
                _ = session.identity
            if plan is not None and session.ledger is not None:
                _check_cap(plan, settings.policy)
        except (RequestRefusedError, OverBudgetError, IdentityError) as error:
            why = error.__cause__ or error
            raise ValueError(f"simulation-nodes={path}: entry {node}: {why}") from None


def _check_cap(plan: PrivacyPlan, policy: Policy | None) -> None:
    """Refuse a run that goes over a cap by itself, as a ledger does at its last charge."""
    budget = policy.budget if policy else None
    if budget is None:
        return
    schedule = plan.schedule()
    order = choose_order(schedule, budget)
    check([], schedule, [totals([schedule])], budget, order, epsilon)
