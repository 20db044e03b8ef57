"""The claim that an audit attacks, and what would have to be true where it is refuted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from privacy.accounting.epsilon import epsilon
from privacy.accounting.total_variation import total_variation
from privacy.plan.plan import PrivacyPlan

# Noise is looked for within so many times the plan's, either way, to half a per cent.
_WIDEST = 8.0
_HALVINGS = 10


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a plan promises against who sees the sums of T nodes and knows nobody's noise.

    Attributes
    ----------
    epsilon, delta : float
        Of the whole run.
    total_variation : float
        Of the whole run; see ``privacy.accounting.total_variation``.
    """

    epsilon: float
    delta: float
    total_variation: float

    @property
    def largest_share(self) -> float:
        """Return the largest expected share of right guesses about fair coins."""
        return (1 + self.total_variation) / 2


def claim_of(plan: PrivacyPlan) -> Claim:
    """Return the claim of a plan: of its whole schedule, colluders left out.

    The noise of a colluder counts here. An auditor who cannot take it off the sum would hold
    more noise than is promised against the weaker claim, and notice less.
    """
    schedule, delta = plan.schedule(colluding=0), plan.terms.delta
    return Claim(
        epsilon=epsilon(schedule, delta),
        delta=delta,
        total_variation=total_variation(schedule, delta),
    )


def largest_noise(plan: PrivacyPlan, distance: float) -> float | None:
    """Return the largest noise multiplier with which a plan could have such a distance.

    Parameters
    ----------
    plan : PrivacyPlan
        All but the noise is taken from it.
    distance : float
        What the total variation is at least, above 0.

    Returns
    -------
    float or None
        A multiplier between an eighth and 8 times the plan's, rounded up; None where even that
        much noise allows the distance, which then says little.
    """

    def allows(factor: float) -> bool:
        try:
            noisy = replace(plan, noise_multiplier=factor * plan.noise_multiplier)
            return total_variation(noisy.schedule(colluding=0), plan.terms.delta) >= distance
        except ValueError:
            # The sum does not fit, which ends the range on this side.
            return factor < 1

    low, high = 1 / _WIDEST, _WIDEST
    if allows(high):
        return None
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if allows(middle) else (low, middle)
    return high * plan.noise_multiplier


def epsilon_with(plan: PrivacyPlan, noise_multiplier: float) -> float:
    """Return the epsilon of ``claim_of``, had the plan this much noise."""
    noisy = replace(plan, noise_multiplier=noise_multiplier)
    return epsilon(noisy.schedule(colluding=0), plan.terms.delta)
