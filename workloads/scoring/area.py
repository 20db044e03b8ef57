"""The area under the ROC curve, from counts of records by score, with its errors."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NORMAL_95 = 1.959964


class Area(NamedTuple):
    """The area under the ROC curve.

    Attributes
    ----------
    value : float
        In [0, 1]; a half where a class is missing.
    sampling, noise : float
        Standard errors: as of other records of the same kind, and by the noise in the counts.
    """

    value: float
    sampling: float
    noise: float

    @property
    def error(self) -> float:
        """Return the standard error; a half, which is to know nothing, at most."""
        return min(0.5, sqrt(self.sampling**2 + self.noise**2))

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval within [0, 1]."""
        width = _NORMAL_95 * self.error
        return max(0.0, self.value - width), min(1.0, self.value + width)


def area_under_curve(negatives: Floats, positives: Floats, noise: float = 0.0) -> Area:
    """Return the chance that a positive record has the higher score; ties count half.

    Parameters
    ----------
    negatives, positives : ndarray, float64, shape (bins,)
        Records by score, from the lowest; noisy counts may be negative.
    noise : float
        Standard deviation of the noise in each count.

    Returns
    -------
    Area
        Its sampling error is DeLong's (DeLong et al. 1988, Biometrics 44, equation 4), over
        bins; that of the noise is by the first derivatives.
    """
    num_negative, num_positive = float(negatives.sum()), float(positives.sum())
    if min(num_negative, num_positive) <= 0:
        return Area(0.5, 0.5, 0.5 if noise else 0.0)
    # For a record in each bin, the share of the other class that is below it, or above.
    below = (np.cumsum(negatives) - negatives / 2) / num_negative
    above = 1 - (np.cumsum(positives) - positives / 2) / num_positive
    value = float(positives @ below) / num_positive
    spread = [
        max(0.0, float(counts @ (shares - value) ** 2)) / total**2
        for counts, shares, total in (
            (positives, below, num_positive),
            (negatives, above, num_negative),
        )
    ]
    slopes = (below - value) / num_positive, (above - value) / num_negative
    by_noise = noise * sqrt(sum(float(slope @ slope) for slope in slopes))
    return Area(min(1.0, max(0.0, value)), sqrt(sum(spread)), by_noise)
