"""The findings of an audit, and whether they refute the claim."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.config.plain import finite
from privacy.audit.claim import Claim, epsilon_with, largest_noise
from privacy.audit.mean_bound import mean_lower_bound
from privacy.audit.one_run import epsilon_of_share, one_run_epsilon
from privacy.plan.plan import PrivacyPlan

# The part of all canaries, those with the surest scores, that the one-run bound counts.
_SUREST = 1 / 4


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What guesses about all coins prove, both bounds together at one confidence.

    Attributes
    ----------
    claim : Claim
        What the plan promises.
    noise_multiplier : float
        The plan's.
    confidence : float
        With which both bounds hold: each at half of what is missing to 1.
    num_canaries, num_runs : int
        Canaries of a run, and independent runs.
    num_guesses, num_right : int
        Of the one-run bound: the surest guesses of all runs, and how many of them are right.
    one_run_epsilon : float
        Epsilon is at least this (Steinke et al. 2023).
    share, least_share : float
        Of right guesses, all canaries guessed; and what is expected at least.
    share_epsilon : float
        Epsilon is at least this, by ``least_share``.
    largest_noise : float or None
        The plan's mechanism with more noise would not allow ``least_share``; None where that
        tells nothing.
    epsilon_with_it : float or None
        The epsilon of the plan, had it that noise.
    reach : float
        Mean length of a canary's term, in clip norms: what is under 1 attacks less than is
        promised.
    """

    claim: Claim
    noise_multiplier: float
    confidence: float
    num_canaries: int
    num_runs: int
    num_guesses: int
    num_right: int
    one_run_epsilon: float
    share: float
    least_share: float
    share_epsilon: float
    largest_noise: float | None
    epsilon_with_it: float | None
    reach: float

    @property
    def is_refuted(self) -> bool:
        """Whether the mechanism cannot be what the plan says it is, at this confidence."""
        claim = self.claim
        return self.least_share > claim.largest_share or self.one_run_epsilon > claim.epsilon

    @property
    def could_refute(self) -> bool:
        """Whether the claim would have been refuted, had every guess been right."""
        claim, each = self.claim, confidence_of_each(self.confidence)
        if mean_lower_bound(np.ones(self.num_runs), each) > claim.largest_share:
            return True
        num_coins, all_right = self.num_canaries * self.num_runs, self.num_guesses
        best = one_run_epsilon(num_coins, self.num_guesses, all_right, claim.delta, each)
        return best > claim.epsilon

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON, which has no infinity: None stands for it."""
        claim = {"largest_share": self.claim.largest_share}
        values = asdict(self)
        values["claim"] |= claim
        told = {"is_refuted": self.is_refuted, "could_refute": self.could_refute}
        return finite(values | told)


def findings(
    plan: PrivacyPlan,
    claim: Claim,
    scores: NDArray[np.float64],
    coins: NDArray[np.bool_],
    confidence: float,
    reach: float,
) -> Findings:
    """Return what the scores of independent runs prove.

    Parameters
    ----------
    plan : PrivacyPlan
        Of the run.
    claim : Claim
        Of the plan.
    scores : ndarray, float64, shape (num_runs, num_canaries)
        Above 0 where a canary is guessed to be in.
    coins : ndarray of bool, shape (num_runs, num_canaries)
        Whether it was.
    confidence : float
        In (0, 1).
    reach : float
        See ``Findings``.
    """
    num_runs, num_canaries = scores.shape
    is_right = (scores > 0) == coins
    each = confidence_of_each(confidence)
    num_guesses = max(1, round(_SUREST * scores.size))
    surest = np.argsort(-np.abs(scores), axis=None, kind="stable")[:num_guesses]
    num_right = int(is_right.ravel()[surest].sum())
    least_share = mean_lower_bound(is_right.mean(axis=1), each)
    distance = 2 * least_share - 1
    noise = largest_noise(plan, distance) if distance > 0 else None
    return Findings(
        claim=claim,
        noise_multiplier=plan.noise_multiplier,
        confidence=confidence,
        num_canaries=num_canaries,
        num_runs=num_runs,
        num_guesses=num_guesses,
        num_right=num_right,
        one_run_epsilon=one_run_epsilon(scores.size, num_guesses, num_right, claim.delta, each),
        share=float(is_right.mean()),
        least_share=least_share,
        share_epsilon=epsilon_of_share(least_share, claim.delta),
        largest_noise=noise,
        epsilon_with_it=None if noise is None else epsilon_with(plan, noise),
        reach=reach,
    )


def confidence_of_each(confidence: float) -> float:
    """Return the confidence of each of two bounds that hold together at the given one."""
    return 1 - (1 - confidence) / 2
