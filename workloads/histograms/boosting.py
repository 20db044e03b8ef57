"""The server's half of boosting: what the parts of a sum make of the curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.histograms.bins import Floats
from workloads.histograms.curves import MOMENTUM, Smoother, moved_scalars
from workloads.histograms.entries import Layout, Weights
from workloads.values import Arrays

# Of the ridge of curves: a cell has fewer records than a bin, and there are many.
_PAIR_RIDGE = 5.0


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """One step of the server, from the state's arrays and a sum to the next arrays.

    Attributes
    ----------
    layout : Layout
        The parts of the sum.
    smoother : Smoother
        How sums by bin become curves.
    learning_rate : float
        How far a round moves each curve towards the best for its column alone.
    noise : float
        The standard deviation of the sum's noise.
    """

    layout: Layout
    smoother: Smoother
    learning_rate: float
    noise: float

    def next(
        self, arrays: Arrays, total: Floats, weights: Weights, before: float, now: float
    ) -> Arrays:
        """Return the next arrays.

        Parameters
        ----------
        arrays : dict of ndarray
            Of the state that was asked about.
        total : ndarray, float64
            The sum, its parts times the weights.
        weights : Weights
            Of the parts; one of weight 0 was not asked for.
        before, now : float
            How much the histograms of the label count that are averaged so far, and this
            round's.
        """
        slots, scalars, residuals = self.layout.split(total)
        found = dict(arrays)
        found["curves"] = arrays["curves"] + MOMENTUM * arrays["velocity"]
        moved = np.zeros_like(found["curves"])
        if weights.slots:
            self._take_counts(found, slots / weights.slots, before, now)
        if weights.scalars:
            self._move_scalars(found, scalars / weights.scalars, self.noise / weights.scalars)
        if weights.residuals:
            moved = self._step(
                found, residuals / weights.residuals, self.noise / weights.residuals
            )
        if weights.pairs:
            self._move_pairs(found, total / weights.pairs, self.noise / weights.pairs)
        found["velocity"] = MOMENTUM * arrays["velocity"] + moved
        found["curves"] = found["curves"] + moved
        return {name: _as_asked(values) for name, values in found.items()}

    def _take_counts(self, arrays: Arrays, slots: Floats, before: float, now: float) -> None:
        """Average the histograms of the label and renew the first curves with them."""
        bins, loss = self.layout.bins, self.layout.loss
        slots = (before * arrays["slots"] + now * slots) / (before + now)
        # By the bound of the part: its weight is the root of its share over that.
        bound = loss.slots_bound * bins.num_columns**0.5
        noise = self.noise * bound / (before + now) ** 0.5
        arrays["slots"] = slots
        if not before:
            arrays["intercepts"], _ = loss.start(self.smoother.of_all(slots))
        base = self.smoother.first_curves(loss, slots, noise)
        change = base - arrays["base"]
        arrays["curves"] = arrays["curves"] + bins.of_columns(arrays["scalars"]) * change
        arrays["base"] = base

    def _move_scalars(self, arrays: Arrays, values: Floats, noise: float) -> None:
        """Move each column's first curve as a whole."""
        gradient, curvature = self.layout.newton(values)
        before = arrays["scalars"]
        noise /= self.layout.curvature_weight
        arrays["scalars"] = moved_scalars(before, gradient, curvature, noise)
        change = self.layout.bins.of_columns(arrays["scalars"] - before)
        arrays["curves"] = arrays["curves"] + change * arrays["base"]

    def _move_pairs(self, arrays: Arrays, total: Floats, noise: float) -> None:
        """Move the table of each pair, all at once, so each its part of the way."""
        tables, smoother = self.layout.tables, self.smoother
        if tables is None:
            raise TypeError("weights of pairs, but there are none")
        residuals, curvature = self.layout.cells(total)
        stiffness = smoother.stiffness
        step = tables.step(
            arrays["pairs"],
            residuals,
            curvature,
            ridge=stiffness * (_PAIR_RIDGE * smoother.reg_lambda + noise),
            smoothing=stiffness * (smoother.smoothing + 0.3 * noise),
        )
        arrays["pairs"] = arrays["pairs"] + step / tables.num_pairs
        arrays["pair_curvature"] = curvature

    def _step(self, arrays: Arrays, residuals: Floats, noise: float) -> Floats:
        """Return how far each curve goes, and move the intercepts likewise."""
        loss, smoother = self.layout.loss, self.smoother
        counts = loss.counts(arrays["slots"])
        _, curvature = loss.start(smoother.of_all(arrays["slots"]))
        num_records = float(smoother.of_all(counts))
        weight = np.maximum(num_records * curvature, 1.0)
        arrays["intercepts"] = arrays["intercepts"] + smoother.of_all(residuals) / weight
        return self.learning_rate * smoother.step(counts, residuals, noise)


def _as_asked(values: Floats) -> Floats:
    """Round to float32: what masks are bound to, and a node reads, are then the same values."""
    return values.astype(np.float32).astype(np.float64)
