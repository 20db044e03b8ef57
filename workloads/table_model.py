"""The base of the workloads whose state predicts from the columns of a table."""

from __future__ import annotations

from math import e, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import BoundedSum, one_term, sum_of_sparse_terms
from tasks.base import SHARE_METRICS
from tasks.table import Table
from workloads.base import Privacy, Records, Workload
from workloads.decisions import Curves, Decisions
from workloads.scoring import spread
from workloads.scoring.bins import ScoreBins, score_bins
from workloads.values import (
    Contribution,
    Query,
    State,
    evaluated,
)

Floats = NDArray[np.float64]

_LOG2_E = log2(e)
# Beyond, a probability is 1 in float64.
_LARGEST_LOGIT = 36.0


class TableWorkload(Workload):
    """A workload whose state is a model of the task's table, and is scored as one.

    The outputs of such a model are as those of a neural one: one logit for two classes, one for
    each of more, or a number on the scale of the targets.
    """

    needs_table = True

    def outputs(self, state: State, columns: Floats) -> Floats:
        """Return what the model says of each record, elementwise, shape (n, outputs).

        From what ``predict`` says, which has no more digits than that.
        """
        from scipy.special import logit, xlogy

        found = self.predict(state, columns)
        if not self.table.classes:
            label = self.table.label
            middle, half = (label.high + label.low) / 2, (label.high - label.low) / 2
            return ((found - middle) / half)[:, np.newaxis]
        if len(self.table.classes) == 2:
            return np.clip(logit(found[:, 1:]), -_LARGEST_LOGIT, _LARGEST_LOGIT)
        return np.maximum(xlogy(1.0, found), -_LARGEST_LOGIT)

    def as_trees(self, state: State) -> Decisions:
        """Return what ``predict`` sums, as decision trees, where it is such a sum."""
        raise NotImplementedError(f"{type(self).__name__} is no sum of trees")

    def as_curves(self, state: State) -> Curves:
        """Return what ``predict`` sums, as curves, where it is no more than these."""
        raise NotImplementedError(f"{type(self).__name__} is no sum of curves")

    @property
    def table(self) -> Table:
        """Return the task's table."""
        table = self.task.table
        if table is None:
            raise TypeError("the task has no columns")
        return table

    @property
    def scores(self) -> bool:
        """Return True: the model is scored on held-out records."""
        return True

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Return the accuracy, or for a number the absolute error."""
        return ("accuracy",) if self.table.classes else ("absolute_error",)

    @property
    def score_bins(self) -> ScoreBins:
        """Return bins of the logits, or of the residuals."""
        return score_bins(len(self.table.classes), is_private=self.setup.mode is not None)

    def sum_names(self, *, training: bool) -> tuple[str, ...]:
        """Return the names of the evaluation's sums: a round scores the model as it came."""
        return self.score_names

    def share_names(self) -> tuple[str, ...]:
        """Return the metrics that are shares of the records, and the bins."""
        shares = (name for name in self.metric_names if name in SHARE_METRICS)
        return (*evaluated(shares), *self.score_bins.names)

    def evaluate(self, state: State, query: Query, records: Records) -> Contribution:
        """Return the model's scores on the held-out records."""
        self.check(state)
        return Contribution(np.zeros(0, np.float32), self.score(state, records))

    def score(self, state: State, records: Records) -> dict[str, float]:
        """Return the evaluation's sums by name."""
        held_out = records.test
        scored = self._scored(state, held_out)
        counts = self.score_bins.count(scored.pop("outputs"), held_out.targets)
        sums = [float(len(held_out)), *(float(values.sum()) for values in scored.values())]
        return dict(zip(self.record_score_names, [*sums, *map(float, counts)], strict=True))

    def bounded_metrics(self, state: State, records: Records, privacy: Privacy) -> BoundedSum:
        """Return the metric vector: each record's entries are in [0, 1], and elementwise.

        A client counts once: its vector is the mean of its records'.
        """
        scored = self._scored(state, records.test)
        places = self.score_bins.places(scored.pop("outputs"), records.test.targets)
        loss, metric = (np.clip(np.nan_to_num(values), 0, None) for values in scored.values())
        ones, metric = np.ones_like(loss), np.clip(metric, 0, 1)
        values = [ones, np.clip(loss / privacy.loss_clip, 0, 1), metric, ones]
        length, bound = len(self.record_score_names), self.scores_bound
        first_bin = length - len(self.score_bins)
        first = np.broadcast_to(np.arange(first_bin), (len(loss), first_bin))
        total = sum_of_sparse_terms(
            np.concatenate([first, first_bin + places], axis=1),
            np.stack(values, axis=1),
            length,
            bound,
        )
        if privacy.mode.hides_records:
            return total
        own = total.in_units_of(max(1, len(metric)))
        if self.setup.counts_participants:
            accuracy = float(metric.mean()) if len(metric) else None
            own = np.concatenate([own, spread.own_counts(accuracy)])
        return one_term(own, bound).bounded

    def _scored(self, state: State, records: Any) -> dict[str, Floats]:
        """Return loss, metric and outputs of each record, shape (n,) and (n, outputs)."""
        outputs, targets = self.outputs(state, records.columns), records.targets
        (metric,) = self.metric_names
        if not self.table.classes:
            residual = outputs[:, 0] - targets
            return {"loss": residual**2, metric: np.abs(residual), "outputs": outputs}
        # Each of these functions takes one number after the other: numpy's own would give
        # other bits in another place.
        from scipy.special import exp2, log_expit, xlogy

        if len(self.table.classes) == 2:
            logit, is_second = outputs[:, 0], targets == 1
            loss = -log_expit(np.where(is_second, logit, -logit))
            is_right = (logit > 0) == is_second
        else:
            most, total = outputs[:, 0], np.zeros(len(outputs))
            for column in outputs.T[1:]:
                most = np.maximum(most, column)
            own = np.take_along_axis(outputs, targets[:, np.newaxis], axis=1)[:, 0]
            for column in outputs.T:
                total += exp2((column - most) * _LOG2_E)
            loss = most - own + xlogy(1.0, total)
            is_right = np.argmax(outputs, axis=1) == targets
        return {"loss": loss, metric: is_right.astype(np.float64), "outputs": outputs}
