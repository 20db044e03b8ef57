"""The noise of a run: given, or calibrated to epsilon."""

from __future__ import annotations

from functools import lru_cache

from privacy.accounting.calibration import calibrate
from privacy.accounting.calibration_cache import Calibrations
from privacy.plan.drawable import check_drawable
from privacy.plan.plan import PrivacyPlan
from privacy.plan.release import Schedule
from privacy.plan.terms import PrivacyTerms


def resolve(terms: PrivacyTerms, kept: Calibrations | None = None) -> PrivacyPlan:
    """Return the plan with the given noise, or with the least that keeps epsilon.

    Parameters
    ----------
    terms : PrivacyTerms
        What is asked.
    kept : Calibrations, optional
        The cache of calibrations, each of which takes seconds.

    Raises
    ------
    ValueError
        If there is no noise with which the sum fits the modulus and epsilon is kept, or it
        cannot be drawn.
    """
    if terms.noise_multiplier is not None:
        return _with_noise(terms, terms.noise_multiplier)
    found = kept.get(terms) if kept is not None else None
    if found is None:
        found = _calibrated(terms)
        if kept is not None:
            kept.put(terms, found)
    return _with_noise(terms, found)


def _with_noise(terms: PrivacyTerms, noise_multiplier: float) -> PrivacyPlan:
    plan = PrivacyPlan(terms=terms, noise_multiplier=noise_multiplier)
    # Raises if the sum does not fit.
    plan.schedule()
    check_drawable(plan)
    return plan


@lru_cache(maxsize=32)
def _calibrated(terms: PrivacyTerms) -> float:
    assert terms.epsilon is not None  # noqa: S101 - checked by the terms

    def schedule_of(noise_multiplier: float) -> Schedule:
        return PrivacyPlan(terms=terms, noise_multiplier=noise_multiplier).schedule()

    return calibrate(schedule_of, terms.epsilon, terms.delta)
