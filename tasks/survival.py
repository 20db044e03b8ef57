"""The contract of tasks whose label is a time to an event."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.base import Task

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]


class Survival(Task):
    """Times under observation, each ended by an event or censored before it.

    Targets are float64 of shape (n, 2), as ``tasks.table.Table.event`` says. A neural model has
    an output for each of some public intervals of time, the logit of the hazard in it: so the
    likelihood is a product over records, which the partial likelihood of a Cox regression is
    not.
    """

    metric = "brier_score"
    has_times = True

    @property
    @abstractmethod
    def ends(self) -> tuple[float, ...]:
        """Return where the intervals end, ascending; the first begins at 0."""

    def made_up_targets(self, num_records: int) -> Floats:
        """Return times up to the longest, every other one ended by the event."""
        longest = 1.0 if self.table is None else self.table.label.high
        ends = np.linspace(longest / max(num_records, 1), longest, num_records)
        return np.column_stack([ends, np.arange(num_records) % 2]).astype(np.float64)

    def per_example_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return minus the log likelihood in discrete time, shape (n,)."""
        from tasks.hazards import hazard_loss

        return hazard_loss(outputs, targets, self.ends)

    def per_example_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return ``brier_score``: the mean squared error of survival; less is better."""
        from tasks.hazards import brier_scores

        return {"brier_score": brier_scores(outputs, targets, self.ends)}


def survival_curves(logits: Floats) -> Floats:
    """Return the chance to be without the event at the end of each interval.

    Parameters
    ----------
    logits : ndarray, shape (n, intervals)
        Of the hazards.
    """
    return np.exp(-np.cumsum(np.logaddexp(0.0, logits), axis=1))


def expected_times(curves: Floats, ends: tuple[float, ...]) -> Floats:
    """Return the expected time to the event, or to the last end where that comes first.

    The restricted mean, the area under the curve, which falls in a straight line within an
    interval. Shape (n,).
    """
    before = np.concatenate([np.ones((len(curves), 1)), curves[:, :-1]], axis=1)
    return ((before + curves) / 2 * np.diff([0.0, *ends])).sum(axis=1)


def median_times(curves: Floats, ends: tuple[float, ...]) -> Floats:
    """Return when a curve, straight within intervals, falls to a half; NaN if it never does."""
    points, found = np.array([0.0, *ends]), np.full(len(curves), np.nan)
    for place, curve in enumerate(curves):
        whole = np.array([1.0, *curve])
        if whole[-1] <= 0.5:
            last = int(np.argmax(whole <= 0.5))
            share = (whole[last - 1] - 0.5) / (whole[last - 1] - whole[last])
            found[place] = points[last - 1] + share * (points[last] - points[last - 1])
    return found
