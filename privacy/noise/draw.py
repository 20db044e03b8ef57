"""The noise of every mechanism."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import BoundedSum
from privacy.bounding.rounding import dithered
from privacy.noise.randomness import secure_generator
from privacy.noise.samplers import discrete_gaussian, discrete_laplace, skellam
from privacy.plan.release import Mechanism, Release

# What is rounded is within 2^61. Each entry by itself, so it moves no two sums apart: a sum of
# so many records that it passes this must not be told by a refusal.
_MOST_STEPS = 2.0**60


def draw(
    mechanism: Mechanism, scale: float, size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw integer noise.

    Parameters
    ----------
    mechanism : Mechanism
        Which noise.
    scale : float
        Standard deviation in steps of the grid; for Laplace its parameter b.
    size : int
        How many.
    rng : numpy Generator
        From ``secure_generator``.
    """
    if mechanism is Mechanism.LAPLACE:
        return discrete_laplace(scale, size, rng)
    if mechanism is Mechanism.SKELLAM:
        return skellam(scale**2, size, rng)
    return discrete_gaussian(scale, size, rng)


def private_sum(
    release: Release, step: float, clip_norm: float
) -> Callable[[BoundedSum], NDArray[np.float64]]:
    """Return a function that releases a bounded sum with all of the noise.

    Guarantees
    ----------
    What ``release`` says. Assumes that it was planned for sums that one unit moves as it does
    this one.

    Parameters
    ----------
    release : Release
        The release of one node, with the complete noise.
    step : float
        The step of the grid, in clip norms; a power of 2.
    clip_norm : float
        The clip norm, in units of the vector.
    """
    unit = step * clip_norm

    def make(bounded: BoundedSum) -> NDArray[np.float64]:
        rng = secure_generator()
        steps = np.clip(bounded.in_units_of(unit), -_MOST_STEPS, _MOST_STEPS)
        integers = dithered(steps, rng)
        integers += draw(release.mechanism, release.noise_scale, len(bounded), rng)
        return integers.astype(np.float64) * unit

    return make
