"""From sums over records to curves: the server's half of an additive model.

Every strength grows with the standard deviation of the noise, so that one setting serves every
epsilon and, at 0, the exact sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.histograms.bins import Bins, Floats
from workloads.histograms.losses import Loss

#: No first curve is further from 0, in scores.
_HIGHEST = 4.0
#: The scalars of the first curves, which count twice what two columns both tell.
FIRST_SCALAR = 0.4
_LEAST_SCALAR, _MOST_SCALAR = -0.5, 1.5
# How strongly the scalars are drawn to the first, and the least curvature beside the noise.
_PULL, _LEAST_CURVATURE = 5.0, 5.0
# The curvature of a bin is that of its counts times this with the logistic loss: under that of
# even odds, over that of most records of a fitted model.
_CURVATURE_LEFT = 0.1
#: What is kept of the last step.
MOMENTUM = 0.7


@dataclass(frozen=True, kw_only=True)
class Smoother:
    """The penalised solve that turns sums by bin into curves.

    Attributes
    ----------
    bins : Bins
        The bins of all columns.
    reg_lambda : float
        The ridge on every bin.
    smoothing : float
        The penalty on the squared differences between neighbours, of 32 bins.
    stiffness : float
        How many times stronger both are, as the loss is more curved.
    """

    bins: Bins
    reg_lambda: float
    smoothing: float
    stiffness: float

    def first_curves(self, loss: Loss, slots: Floats, noise: float) -> Floats:
        """Return each column's curve as if it were the only one, shape (scores, bins).

        Parameters
        ----------
        loss : Loss
            What is minimised.
        slots : ndarray, shape (slots, bins)
            The histograms of the label.
        noise : float
            The standard deviation of their noise.
        """
        counts = loss.counts(slots)
        intercepts, curvature = loss.start(self.of_all(slots))
        gradient = loss.gradient(slots, intercepts)
        ridge = self.stiffness * (self.reg_lambda + 0.3 * noise)
        smoothing = self.stiffness * self.smoothing * (1 + 0.1 * noise)
        found = [
            self._solve(gradient[score], curvature[score] * counts + ridge, smoothing)
            for score in range(loss.num_scores)
        ]
        centred = self.bins.centred(np.stack(found), counts)
        return np.clip(centred, -_HIGHEST, _HIGHEST)

    def step(self, counts: Floats, residuals: Floats, noise: float) -> Floats:
        """Return how far each column's curve would go if it were the only one.

        Parameters
        ----------
        counts : ndarray, shape (bins,)
            Records in each bin.
        residuals : ndarray, shape (scores, bins)
            Their residuals.
        noise : float
            The standard deviation of the residuals' noise.
        """
        diagonal = _CURVATURE_LEFT * counts + 3 * self.reg_lambda + noise
        smoothing = self.stiffness * (self.smoothing + 0.3 * noise)
        found = [self._solve(one, self.stiffness * diagonal, smoothing) for one in residuals]
        return self.bins.centred(np.stack(found), counts)

    def of_all(self, slots: Floats) -> Floats:
        """Return the sums over all records, shape (slots,): the mean of the columns' sums."""
        return self.bins.sum_columns(slots).mean(axis=-1)

    def _solve(self, values: Floats, diagonal: Floats, smoothing: float) -> Floats:
        """Solve (diagonal + smoothing D'D) x = values, D the differences of neighbours."""
        from scipy.linalg import solveh_banded

        links = smoothing * self.bins.links()
        bands = np.zeros((2, len(diagonal)))
        bands[1] = diagonal
        bands[0, 1:] = -links
        bands[1, 1:] += links
        bands[1, :-1] += links
        return np.asarray(solveh_banded(bands, values), np.float64)


def moved_scalars(before: Floats, gradient: Floats, curvature: Floats, noise: float) -> Floats:
    """Return the scalars after one Newton step, shape (columns,).

    Noise makes eigenvalues of nothing, up to about twice its deviation times the root of the
    number of columns: none counts as smaller.

    Parameters
    ----------
    before : ndarray, shape (columns,)
        The scalars so far.
    gradient, curvature : ndarray, shape (columns,) and (columns, columns)
        Along them.
    noise : float
        The standard deviation of the curvature's noise.
    """
    values, vectors = np.linalg.eigh(curvature)
    values = np.maximum(values, 2 * noise * np.sqrt(len(before)) + _LEAST_CURVATURE)
    matrix = (vectors * values) @ vectors.T + _PULL * np.eye(len(before))
    step = np.linalg.solve(matrix, gradient - _PULL * (before - FIRST_SCALAR))
    return np.clip(before + step, _LEAST_SCALAR, _MOST_SCALAR)
