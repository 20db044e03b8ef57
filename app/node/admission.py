"""Whether a node takes part in a run: what is asked, held against its owner's policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.node.policy import NONE, Policy, PolicyError
from privacy.plan.release import Unit

_PLAIN = "plain"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a run asks of a node, from its config.

    Attributes
    ----------
    task, privacy, aggregation : str
        The names of the options.
    unit : Unit or None
        Of ``privacy``; None for ``none``.
    min_survivors, max_colluding : int
        T and c of the run's config, T = 0 where that leaves it to the cohort; not looked at
        with ``plain``.
    identities : bool
        Whether adverts are signed.
    noise_multiplier, delta : float or None
        Of the run's plan; None for ``none``.
    epsilon : float or None
        Of the run's plan at ``delta``; None if it is not known, for the ledger has the last
        word: it holds what is really released against the cap.
    """

    task: str
    privacy: str
    aggregation: str
    unit: Unit | None
    min_survivors: int
    max_colluding: int
    identities: bool
    noise_multiplier: float | None
    epsilon: float | None
    delta: float | None


def check(policy: Policy, asked: Asked) -> None:
    """Let a run pass, or refuse it.

    Raises
    ------
    PolicyError
        Naming the run's value, the policy's and the mend.
    """
    for objection in (*_options(policy, asked), *_sums(policy, asked), *_noise(policy, asked)):
        raise PolicyError(f"this node's policy: {objection}")


def _options(policy: Policy, asked: Asked) -> Iterator[str]:
    """Yield what is wrong with the options."""
    if policy.tasks is not None and asked.task not in policy.tasks:
        yield f"task={asked.task}, but it allows {_listed(policy.tasks)}; take one of these"
    if asked.privacy not in policy.privacy:
        allowed = _listed(policy.privacy)
        yield f"privacy={asked.privacy}, but it allows {allowed}; take one of these"
    elif asked.privacy != NONE and asked.unit != policy.unit:
        yield f"unit={asked.unit}, but its own is {policy.unit}; take privacy of that unit"


def _sums(policy: Policy, asked: Asked) -> Iterator[str]:
    """Yield what is wrong with the sums that the server would see."""
    if asked.aggregation == _PLAIN:
        # Only what is noisy by itself may be seen by itself.
        if policy.min_survivors > 1 and not asked.privacy.endswith("_local"):
            yield (
                f"aggregation={_PLAIN} with privacy={asked.privacy} shows the server each"
                f" contribution, but min_survivors={policy.min_survivors}; take"
                " aggregation=secagg"
            )
        return
    if not asked.min_survivors >= policy.min_survivors:
        left_open = "" if asked.min_survivors else " (two thirds of the roster, plus one)"
        yield (
            f"aggregation.min_survivors={asked.min_survivors}{left_open}, but"
            f" min_survivors={policy.min_survivors}; raise the run's to that or more"
        )
    if not asked.max_colluding >= policy.min_colluding:
        yield (
            f"aggregation.max_colluding={asked.max_colluding}, but"
            f" min_colluding={policy.min_colluding}; raise the run's"
        )
    if policy.require_identities and not asked.identities:
        yield (
            "aggregation.identities=false, but require_identities=true; take"
            " aggregation.identities=true"
        )


def _noise(policy: Policy, asked: Asked) -> Iterator[str]:
    """Yield what is wrong with the noise. Said so that what is not a number is refused."""
    if asked.privacy == NONE:
        return
    noise, least = asked.noise_multiplier, policy.min_noise_multiplier
    if noise is None or not noise >= least:
        yield f"noise multiplier {_shown(noise)}, but min_noise_multiplier={least:g}; raise it"
    epsilon, cap = asked.epsilon, policy.max_epsilon
    if epsilon is not None and (cap is None or not epsilon <= cap * (1 + 1e-9)):
        yield f"epsilon={_shown(epsilon)}, but max_epsilon={_shown(cap)}; lower privacy.epsilon"
    delta, most = asked.delta, policy.delta
    if delta is None or most is None or not delta <= most * (1 + 1e-9):
        yield f"delta={_shown(delta)}, but its own is {_shown(most)}; lower privacy.delta"


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(values)


def _shown(value: float | None) -> str:
    return "not given" if value is None else f"{value:g}"
