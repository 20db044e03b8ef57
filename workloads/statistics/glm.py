"""Linear, logistic and Poisson regression by Newton steps over masked sums."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np

from tasks.schema import require
from workloads.base import Records, Step, Workload, WorkloadConfig
from workloads.record_weights import RecordWeights
from workloads.report import Report
from workloads.statistics.design import Design, LinearModel, design_of, predictor
from workloads.statistics.family import Binomial, Family, Gaussian, Poisson
from workloads.statistics.fit import first_step, newton_step
from workloads.statistics.fit_report import report_of
from workloads.statistics.newton import Sums
from workloads.values import Aggregate, Contribution, Query, State, StateRefusedError, Vector

#: Fraction bits of an entry: with entries up to 128, a million records and more fit 64 bits.
FRACTION_BITS = 36
_UNIT = 2.0**FRACTION_BITS
_LARGEST_COUNT = 1e9


class FamilyName(Enum):
    """The kind of the response."""

    auto = "auto"
    gaussian = "gaussian"
    binomial = "binomial"
    poisson = "poisson"


@dataclass
class GlmConfig(WorkloadConfig):
    """The keys of ``algorithm=glm``.

    Attributes
    ----------
    family : FamilyName
        ``auto``: ``binomial`` for a label with classes, else ``gaussian``.
    columns : list of str
        The columns to regress on; all of the task if none is named.
    confidence : float
        Of the intervals, in (0, 1).
    """

    family: FamilyName = FamilyName.auto
    columns: list[str] = field(default_factory=list)
    confidence: float = 0.95

    def __post_init__(self) -> None:
        require(
            0 < self.confidence < 1,
            f"algorithm.confidence={self.confidence}: must be in (0, 1)",
        )


class Glm(Workload):
    """Fit a generalised linear model by iteratively reweighted least squares.

    Each round asks, at the coefficients that the server publishes, for the number of records,
    the deviance, the score and the information, summed over all records (McCullagh and Nelder
    1989, section 2.5). The server's step is Newton's, halved while the deviance grows. Each
    entry of a record is coded as a whole number by itself, so the masked sum is that of the
    pooled records bit for bit, however they are spread.

    Weights of records are R's prior weights (``glm(weights=)``): each enters deviance, score
    and information times its weight, and is one record in the degrees of freedom.

    No privacy unit is served: the terms of X'WX have no bound that leaves a signal. Take
    ``algorithm=fedavg`` with a linear model under ``example_distributed`` instead.
    """

    Config = GlmConfig
    is_integer = True
    needs_table = True
    needs_clip_norm = False
    holds_out = False
    takes_weights = True
    begins_afresh = (
        "where it ends does not depend on where it begins, and nodes follow its sums from its"
        " own first state; take initial-model out"
    )

    def __init__(self, setup: Any) -> None:
        super().__init__(setup)
        self._record_weights = RecordWeights.of({}, self.task.table)
        self._is_weighted = self.task.table.largest_weight is not None
        self._design: Design = design_of(self.task.table, setup.algorithm.columns)
        self._family = _family_of(setup.algorithm.family, self.task.table)

    def num_parameters(self, state: State) -> int:
        """Return the number of coefficients."""
        return len(self._design)

    def initial_state(self) -> State:
        """Return coefficients of 0."""
        p = len(self._design)
        return State(
            {
                "asked": np.zeros(p),
                "coefficients": np.zeros(p),
                "information": np.zeros((p, p)),
                "spread": np.zeros(p),
                "sums": np.zeros(3),
            }
            | ({"weights": np.zeros(2)} if self._is_weighted else {}),
            {"step": "first", "halvings": 0},
        )

    def check(self, state: State) -> None:
        """Refuse coefficients of another shape, or that are not finite."""
        asked = state.arrays.get("asked")
        if asked is None or asked.shape != (len(self._design),):
            raise StateRefusedError(f"there must be {len(self._design)} coefficients")
        if not np.isfinite(asked).all():
            raise StateRefusedError("a coefficient is not finite")

    def length(self, state: State) -> int:
        """Return 3 for the counts and the deviance, p for the score, p (p + 1) / 2 for X'WX.

        With weights 2 more: their sum, and that of their logarithms.
        """
        p = len(self._design)
        return 3 + p + p * (p + 1) // 2 + 2 * self._is_weighted

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return this node's sums at the coefficients that are asked about."""
        self.check(state)
        coded, complete = self._design.rows(records.train.columns)
        said = self._said(state, coded, records)
        incomplete = 1.0 - complete
        weights = self._record_weights.of_records(records.train)
        if weights is not None:
            complete = complete * (weights > 0)
        entries = [complete * 1.0, incomplete, said.deviance * complete]
        entries += [said.residual * column for column in coded]
        weighted = [said.weight * column for column in coded]
        entries += [weighted[j] * coded[k] for j in range(len(coded)) for k in range(j + 1)]
        whole = [np.rint(entry * _UNIT) for entry in entries]
        if weights is not None:
            # After the coding: a record of weight 2 adds what two records add.
            whole[2:] = [np.rint(weights * entry) for entry in whole[2:]]
            counted = np.where(complete > 0, weights, 1.0)
            whole += [np.rint(complete * weights * _UNIT), np.rint(np.log(counted) * _UNIT)]
        sums = [column.astype(np.int64).sum() for column in whole]
        return Contribution(np.array(sums, np.int64), {})

    def weights(self, state: State, query: Query, records: Any) -> Vector:
        """Return the weight of each record in X'WX, times its own."""
        self.check(state)
        coded, complete = self._design.rows(records.columns)
        values = predictor(state.arrays["asked"], coded)
        response = self._family.response(records.targets.astype(np.float64))
        found = self._family.said(values, response).weight * complete
        own = self._record_weights.of_records(records)
        return found if own is None else found * own

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Take a Newton step, or half of the last one where the fit grew worse."""
        total, weight = aggregate.total / _UNIT, float(aggregate.total[0] / _UNIT)
        if self._is_weighted:
            total, of_weights = total[:-2], total[-2:]
            weight = float(of_weights[0])
            state = replace(state, arrays={**state.arrays, "weights": of_weights})
        sums = Sums.of(total, len(self._design))
        if state.header["step"] == "first":
            return first_step(state, sums, self._design, self._family, weight)
        return newton_step(state, sums, self._design)

    def is_finished(self, state: State) -> bool:
        """Return whether the fit has converged, or cannot."""
        return state.header["step"] in ("converged", "objection")

    def predict(self, state: State, columns: Vector) -> Vector:
        """Return probabilities (n, 2), or values in the label's unit (n,).

        NaN for a record that misses a value of a column that is used.

        Raises
        ------
        ValueError
            If there is no fit.
        """
        return self._family.predicted(self.as_linear(state).predictor(columns))

    def as_linear(self, state: State) -> LinearModel:
        """Return the fit; raises ``ValueError`` if there is none."""
        return LinearModel.of(state, self.task.table, self._design, self._family)

    def report(self, state: State) -> Report:
        """Return the table of coefficients."""
        return report_of(state, self._design, self._family, self.setup.algorithm.confidence)

    def _said(self, state: State, coded: list[Vector], records: Records) -> Any:
        response = self._family.response(records.train.targets.astype(np.float64))
        return self._family.said(predictor(state.arrays["asked"], coded), response)


def _family_of(name: FamilyName, table: Any) -> Family:
    """Return the family that suits the label.

    Raises
    ------
    ValueError
        Naming the family, the label and the mend.
    """
    classes, label = table.classes, table.label
    key = f"algorithm.family={name.value}"
    if name is FamilyName.auto:
        name = FamilyName.binomial if classes else FamilyName.gaussian
    if name is FamilyName.binomial:
        if len(classes) != 2:
            raise ValueError(
                f"{key}: logistic regression needs a label with two classes, and {label.name}"
                f" has {len(classes) or 'none'}; take gaussian or poisson for numbers"
            )
        return Binomial()
    if classes:
        raise ValueError(f"{key}: the label {label.name} has classes; take binomial")
    if name is FamilyName.gaussian:
        return Gaussian(label.low, label.high)
    if not 0 <= label.low < label.high <= _LARGEST_COUNT:
        raise ValueError(
            f"{key}: a count is not negative, and at most {_LARGEST_COUNT:g}, but the bounds of"
            f" {label.name} are {label.low:g} and {label.high:g}"
        )
    return Poisson(label.low, label.high)
