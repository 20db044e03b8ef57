"""Lower bounds on epsilon from guesses about canaries that fair coins put in or left out."""

from __future__ import annotations

import math

import numpy as np

# An epsilon that no experiment reaches: e^50 canaries would be needed.
_LARGEST = 50.0


def one_run_p_value(
    num_canaries: int, num_guesses: int, num_right: int, epsilon: float, delta: float
) -> float:
    """Return how likely so many right guesses are at most, if the claim holds.

    Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), Theorem 5.2: each canary is in by a
    fair coin of its own, the guesser sees the output alone and may pass over all but
    ``num_guesses`` canaries, a number fixed before. Under (epsilon, delta)-DP towards one
    canary more or less, however the outputs hang together, P(at least v right) is at most

        P(W >= v) + 2 m delta max_i P(v - i <= W < v) / i,  W ~ Binomial(r, 1 / (1 + e^-eps)).

    Several independent runs are one mechanism on the coins of all of them, so their canaries
    and guesses may be added up.

    Parameters
    ----------
    num_canaries, num_guesses, num_right : int
        m, r and v: 0 <= v <= r <= m, and m at least 1.
    epsilon, delta : float
        The claim: epsilon at least 0, delta in [0, 1].

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    from scipy.stats import binom  # pyright: ignore[reportMissingTypeStubs]

    _check(num_canaries, num_guesses, num_right, delta)
    if not epsilon >= 0:
        raise ValueError(f"epsilon={epsilon}: must be at least 0")
    likely = 1 / (1 + math.exp(-epsilon))
    at_least = float(binom.sf(num_right - 1, num_guesses, likely))  # pyright: ignore
    if not num_right:
        return 1.0
    below = np.arange(num_right - 1, -1, -1)
    just_below = np.cumsum(np.asarray(binom.pmf(below, num_guesses, likely)))  # pyright: ignore
    steepest = float(np.max(just_below / np.arange(1, num_right + 1)))
    return min(1.0, at_least + 2 * num_canaries * delta * steepest)


def one_run_epsilon(
    num_canaries: int, num_guesses: int, num_right: int, delta: float, confidence: float
) -> float:
    """Return an epsilon that the mechanism exceeds, or has no less than, at that confidence.

    The largest whose ``one_run_p_value`` is under 1 - confidence; 0 if there is none, which
    refutes nothing. See there for the parameters; ``confidence`` is in (0, 1).
    """
    _check_confidence(confidence)

    def is_refuted(epsilon: float) -> bool:
        p_value = one_run_p_value(num_canaries, num_guesses, num_right, epsilon, delta)
        return p_value < 1 - confidence

    low, high = 0.0, _LARGEST
    if not is_refuted(low):
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low


def epsilon_of_share(share: float, delta: float) -> float:
    """Return the least epsilon that allows so large an expected share of right guesses.

    A guess about one fair coin is right with a chance of at most (e^eps + delta) / (1 + e^eps):
    add P_in(E) <= e^eps P_out(E) + delta and P_out(not E) <= e^eps P_in(not E) + delta, the two
    sides of Kairouz, Oh and Viswanath 2015 (arXiv 1311.0776), Theorem 2.1. So is, by linearity,
    the expected share of any number of guesses, however they hang together.

    Parameters
    ----------
    share : float
        In [0, 1).
    delta : float
        In [0, 1].
    """
    if not 0 <= share < 1:
        raise ValueError(f"share={share}: must be at least 0 and below 1")
    if share <= (1 + delta) / 2:
        return 0.0
    return math.log((share - delta) / (1 - share))


def _check(num_canaries: int, num_guesses: int, num_right: int, delta: float) -> None:
    if not (0 <= num_right <= num_guesses <= num_canaries and num_canaries >= 1):
        raise ValueError(
            f"{num_right} right of {num_guesses} guesses about {num_canaries} canaries:"
            " must be counts of which none is above the next"
        )
    if not 0 <= delta <= 1:
        raise ValueError(f"delta={delta}: must be in [0, 1]")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must be above 0 and below 1")
