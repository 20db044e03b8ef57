"""The noisy release of one number of which nothing is known but that it is cut to a range."""

from __future__ import annotations

import math

from privacy.noise.draw import draw
from privacy.noise.randomness import secure_generator
from privacy.plan.release import Mechanism, Neighbours, Release
from privacy.unit import Unit

#: Steps of the grid in one bound: so fine that rounding counts for nothing.
_FINENESS = 2**18


def bounded_release(epsilon: float, unit: Unit, neighbours: Neighbours) -> Release:
    """Return what ``noised`` reveals, for the ledger.

    Parameters
    ----------
    epsilon : float
        What it costs by itself; above 0.
    unit, neighbours : Unit, Neighbours
        Any: whatever changes, the number stays within its range.
    """
    most = 2.0 * _FINENESS
    return Release(
        unit=unit,
        neighbours=neighbours,
        mechanism=Mechanism.LAPLACE,
        l1_sensitivity=most,
        l2_sensitivity=most,
        noise_scale=most / epsilon,
        num_shares=1,
        dimension=1,
    )


def noised(value: float, bound: float, release: Release) -> float:
    """Return a number, cut to ``[-bound, bound]``, with discrete Laplace noise.

    Guarantees
    ----------
    Unit: that of ``release``. Neighbours: any; what a unit can do to the number is not looked
    at. Sensitivity: the whole range, 2 ``bound``, as one record may change a model that was
    trained on it in any way, and so any score of it. The number is rounded to a public grid of
    ``bound`` / 2^18, and the noise is an integer of parameter b = 2^19 / epsilon steps
    (``privacy.noise.samplers.discrete_laplace``), so that the release is (2^19 / b)-DP
    (epsilon, delta = 0). What is not a number counts as 0, and is not refused: whether there is
    a figure must not depend on a record. Assumes that the time until it leaves depends on no
    unit.

    Parameters
    ----------
    value : float
        Anything.
    bound : float
        Public; above 0.
    release : Release
        From ``bounded_release``: what was charged.
    """
    kept = value if math.isfinite(value) else 0.0
    steps = round(max(-bound, min(bound, kept)) / bound * _FINENESS)
    (noise,) = draw(release.mechanism, release.noise_scale, 1, secure_generator())
    return (steps + int(noise)) * (bound / _FINENESS)


def scale_of(bound: float, release: Release) -> float:
    """Return the noise's parameter b in units of the number: its deviation is b sqrt(2)."""
    return release.noise_scale * bound / _FINENESS
