"""Decide whether a node takes part in a run: hold what it proposes against the policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.config.load import ConfigError, load_config, option_of
from app.config.plain import to_dict
from app.node.policy import NONE, Policy, PolicyError
from app.node.session import NodeSession
from privacy.unit import Unit
from strategies.refusals import Reason, RequestRefusedError
from strategies.registry import aggregation_of, hiding_options
from workloads.base import WorkloadConfig
from workloads.scoring.spread import SPREAD


@dataclass(frozen=True, kw_only=True)
class ProposedRun:
    """Hold what a policy looks at, from the config of a run.

    Attributes
    ----------
    task, privacy, aggregation : str
        The names of the options.
    sees_contributions : bool
        Whether the server sees each contribution.
    unit : Unit or None
        Of ``privacy``; None for ``none``.
    min_survivors, max_colluding : int
        T and c of the run's config, T = 0 where that leaves it to the cohort; not looked at
        where the server sees each contribution.
    identities : bool
        Whether every message is signed.
    is_sparse : bool
        Whether clients mask with some others only.
    is_classical : bool
        Whether keys are agreed with X25519 alone, outside of a simulation.
    noise_multiplier, delta : float or None
        Of the run's plan; None for ``none``.
    epsilon : float or None
        Of the run's plan at ``delta``; None if it is not known, for the ledger has the last
        word: it holds what is really released against the cap.
    exact : str or None
        The workload whose sums are exact and answer what the server asks; None for any other.
    max_bins : int
        The most bins of a column of numbers: only looked at beside ``exact``.
    min_at_risk : int or None
        The fewest records that a sum of one time is of; None where no such sum leaves a node.
    shows_spread : bool
        Whether it counts participants by their accuracy, with no noise.
    has_own_columns : bool
        Whether the task is as this node's own configuration has it: only looked at beside
        ``exact``.
    """

    task: str
    privacy: str
    aggregation: str
    sees_contributions: bool
    unit: Unit | None
    min_survivors: int
    max_colluding: int
    identities: bool
    is_sparse: bool
    is_classical: bool
    noise_multiplier: float | None
    epsilon: float | None
    delta: float | None
    exact: str | None = None
    max_bins: int = 0
    min_at_risk: int | None = None
    shows_spread: bool = False
    has_own_columns: bool = True


def admit(session: NodeSession, noise_multiplier: float | None = None) -> None:
    """Refuse a run that asks for more than the node's owner allows.

    Parameters
    ----------
    session : NodeSession
        Of any message of the run.
    noise_multiplier : float, optional
        Of the run, once it is known; the configured one unless given.

    Raises
    ------
    RequestRefusedError
        Whose cause names both values and the mend.
    """
    try:
        policy = _policy(session)
        session.approved_bundles()
        if policy is not None:
            check(policy, _proposed(session, policy, noise_multiplier))
    except PolicyError as error:
        raise RequestRefusedError(Reason.POLICY_REFUSED) from error


def _policy(session: NodeSession) -> Policy | None:
    """Return the policy, which some runs need outside of a simulation."""
    if session.policy is None and not session.settings.simulated:
        if session.config.privacy.mode is not None:
            raise PolicyError(
                "this node has no policy-file: give its path in --node-config; without the"
                " owner's cap and floors a run could ask for anything"
            )
        if exact := session.exact or (SPREAD if session.shows_spread else None):
            raise PolicyError(
                f"this node has no policy-file, and exact sums of {exact} need one"
                f" that lists it: give its path in --node-config, with exact: [{exact}]"
            )
    return session.policy


def _most_bins(algorithm: WorkloadConfig) -> int:
    """Return the most bins in which a column of numbers, or a pair of them, is counted."""
    given = (getattr(algorithm, name, None) for name in ("max_bins", "fine_bins"))
    of_pairs = (getattr(algorithm, name, None) for name in ("interaction_bins", "max_groups"))
    return max(*(number or 0 for number in given), *((number or 0) ** 2 for number in of_pairs))


def _has_own_columns(session: NodeSession, policy: Policy) -> bool:
    """Return whether columns, categories and split are those of the node's own copy."""
    asked = session.config
    named = str(session.context.run_config.get("task", option_of(asked, "task")))
    words = " ".join(policy.exact_overrides)
    algorithm = option_of(asked, "algorithm")
    try:
        own = load_config({"task": named, "algorithm": algorithm, "overrides": words})
    except ConfigError as error:
        raise PolicyError(f"exact_overrides={words!r} with task={named}: {error}") from None
    return to_dict(asked.task) == to_dict(own.task) and asked.seed == own.seed


def _proposed(
    session: NodeSession, policy: Policy, noise_multiplier: float | None
) -> ProposedRun:
    config = session.config
    privacy, aggregation = config.privacy, config.aggregation
    private, exact = privacy.private, session.exact
    if private and noise_multiplier is None:
        # Not known before the model is: a message that carries no contribution.
        noise_multiplier = private.noise_multiplier or policy.min_noise_multiplier
    return ProposedRun(
        task=option_of(config, "task"),
        privacy=option_of(config, "privacy"),
        aggregation=option_of(config, "aggregation"),
        unit=private.mode.unit if private else None,
        sees_contributions=aggregation_of(aggregation).sees_contributions,
        min_survivors=aggregation.promised_survivors,
        max_colluding=aggregation.promised_colluding,
        identities=aggregation.is_signed,
        is_sparse=aggregation.is_sparse(session.settings.num_simulated),
        is_classical=aggregation.is_classical,
        noise_multiplier=noise_multiplier if private else None,
        # The ledger holds what is really released against the cap.
        epsilon=None,
        delta=private.delta if private else None,
        exact=exact,
        max_bins=_most_bins(config.algorithm),
        min_at_risk=getattr(config.algorithm, "fewest_summed", None),
        shows_spread=session.shows_spread,
        has_own_columns=exact is None or _has_own_columns(session, policy),
    )


def check(policy: Policy, proposed: ProposedRun) -> None:
    """Hold a run against a policy.

    Raises
    ------
    PolicyError
        Naming the run's value, the policy's and the mend.
    """
    for objection in (
        *_options(policy, proposed),
        *_sums(policy, proposed),
        *_noise(policy, proposed),
    ):
        raise PolicyError(f"this node's policy: {objection}")


def _options(policy: Policy, proposed: ProposedRun) -> Iterator[str]:
    """Yield what is wrong with the options."""
    if policy.tasks is not None and proposed.task not in policy.tasks:
        yield f"task={proposed.task}, but it allows {_listed(policy.tasks)}; take one of these"
    if proposed.privacy not in policy.privacy:
        allowed = _listed(policy.privacy)
        yield f"privacy={proposed.privacy}, but it allows {allowed}; take one of these"
    elif proposed.privacy != NONE and proposed.unit != policy.unit:
        yield f"unit={proposed.unit}, but its own is {policy.unit}; take privacy of that unit"
    if proposed.shows_spread and SPREAD not in policy.exact:
        yield (
            "rounds.participant_spread=true counts participants with no noise, and exact lists"
            f" {_listed(policy.exact) or 'none'}; add {SPREAD} there, or take it out"
        )
    if proposed.exact is None:
        return
    if proposed.exact not in policy.exact:
        yield (
            f"algorithm={proposed.exact} with privacy=none has exact sums, and exact lists"
            f" {_listed(policy.exact) or 'none'}: whoever chooses what they ask can single out"
            " a record; add it there, or take a privacy option"
        )
    if proposed.max_bins > policy.max_bins:
        yield (
            f"a column or a pair is counted in {proposed.max_bins} bins, but"
            f" max_bins={policy.max_bins}: in narrow bins records are alone; lower"
            " algorithm.max_bins, fine_bins, interaction_bins or max_groups"
        )
    if proposed.min_at_risk is not None and proposed.min_at_risk < policy.min_at_risk:
        yield (
            f"algorithm.min_at_risk={proposed.min_at_risk}, but min_at_risk="
            f"{policy.min_at_risk}: sums of one time would be of fewer records; raise the run's"
        )
    if not proposed.has_own_columns:
        yield (
            f"task or seed of an exact algorithm={proposed.exact} differ from this node's own"
            " configuration; take task.* and seed out, or list the overrides in exact_overrides"
        )


def _sums(policy: Policy, proposed: ProposedRun) -> Iterator[str]:
    """Yield what is wrong with the sums that the server would see."""
    if proposed.sees_contributions:
        # Only what is noisy by itself may be seen by itself.
        if policy.min_survivors > 1 and not proposed.privacy.endswith("_local"):
            yield (
                f"aggregation={proposed.aggregation} with privacy={proposed.privacy} shows"
                f" the server each contribution, but min_survivors={policy.min_survivors}; take"
                f" {hiding_options()}"
            )
        return
    if not proposed.min_survivors >= policy.min_survivors:
        left_open = "" if proposed.min_survivors else " (two thirds of the roster, plus one)"
        yield (
            f"aggregation.min_survivors={proposed.min_survivors}{left_open}, but"
            f" min_survivors={policy.min_survivors}; raise the run's to that or more"
        )
    if not proposed.max_colluding >= policy.min_colluding:
        yield (
            f"aggregation.max_colluding={proposed.max_colluding}, but"
            f" min_colluding={policy.min_colluding}; raise the run's"
        )
    if policy.require_identities and not proposed.identities:
        yield (
            "aggregation.identities=false, but require_identities=true; take"
            " aggregation.identities=true"
        )
    if proposed.is_sparse and not policy.allow_sparse_graph:
        yield (
            "aggregation.graph is sparse, but allow_sparse_graph=false; take"
            " aggregation.graph=complete"
        )
    if proposed.is_classical and not policy.allow_classical_keys:
        yield (
            "aggregation.key_agreement=classical, but allow_classical_keys=false; take"
            " aggregation.key_agreement=hybrid"
        )


def _noise(policy: Policy, proposed: ProposedRun) -> Iterator[str]:
    """Yield what is wrong with the noise."""
    # Each comparison is written so that what is not a number is refused.
    if proposed.privacy == NONE:
        return
    noise, least = proposed.noise_multiplier, policy.min_noise_multiplier
    if noise is None or not noise >= least:
        yield f"noise multiplier {_shown(noise)}, but min_noise_multiplier={least:g}; raise it"
    epsilon, cap = proposed.epsilon, policy.max_epsilon
    if epsilon is not None and (cap is None or not epsilon <= cap * (1 + 1e-9)):
        yield f"epsilon={_shown(epsilon)}, but max_epsilon={_shown(cap)}; lower privacy.epsilon"
    delta, most = proposed.delta, policy.delta
    if delta is None or most is None or not delta <= most * (1 + 1e-9):
        yield f"delta={_shown(delta)}, but its own is {_shown(most)}; lower privacy.delta"


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(values)


def _shown(value: float | None) -> str:
    return "not given" if value is None else f"{value:g}"
