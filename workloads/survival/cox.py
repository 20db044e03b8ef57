"""Cox regression by Newton steps over masked sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from tasks.schema import require
from workloads.base import Records, Step, Workload
from workloads.report import Report
from workloads.statistics.design import Design, LinearModel, design_of
from workloads.survival.grid import GridConfig, grid_of
from workloads.survival.hazards import report_of
from workloads.survival.pooled import Pooled
from workloads.survival.steps import LARGEST, initial_state, newton_of
from workloads.survival.stratified import Stratified
from workloads.values import Aggregate, Contribution, Query, State, StateRefusedError, Vector


class Strata(Enum):
    """Whose baseline hazards are the same."""

    participant = "participant"
    none = "none"


@dataclass
class CoxConfig(GridConfig):
    """The keys of ``algorithm=cox``; ``times``, ``steps``, ``min_at_risk`` with strata none.

    Attributes
    ----------
    columns : list of str
        The columns to regress on; all of the task if none is named.
    strata : Strata
        ``participant``: each has a baseline hazard of its own, and only sums over its risk sets
        leave it. ``none``: all have one, and sums at each time of a public grid are opened.
    confidence : float
        Of the intervals, in (0, 1).
    """

    columns: list[str] = field(default_factory=list)
    strata: Strata = Strata.participant
    confidence: float = 0.95

    @property
    def fewest_summed(self) -> int | None:
        """Return of how many records a sum of one time is at least; None for no such sum."""
        return None if self.strata is Strata.participant else self.least

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.confidence < 1,
            f"algorithm.confidence={self.confidence}: must be in (0, 1)",
        )
        if self.strata is Strata.none:
            return
        given = {"times": self.times or None, "steps": self.steps}
        for key, value in (given | {"min_at_risk": self.min_at_risk}).items():
            require(
                value is None,
                f"algorithm.{key}={value}: with algorithm.strata=participant each node uses its"
                " own times, and no sum of a single time leaves it; take it out, or take"
                " algorithm.strata=none",
            )


class Cox(Workload):
    """Fit a proportional hazards model (Cox 1972) with Efron's ties.

    Each round asks, at the coefficients that the server publishes, for the log partial
    likelihood, the score and the information, and the server takes Newton's step.

    With ``strata=participant`` each node computes these of its own records. **They are no sum
    over records**, for a partial likelihood holds each event against all that are at risk: what
    is summed is one term for each node, so the fit depends on how records are spread, and is
    the one of R's ``strata(participant)``. What a node adds it codes once, as a whole.

    With ``strata=none`` each record adds its relative hazard, times its terms and their
    products, to the time at which it leaves, coded by itself: a sum over records, the same bit
    for bit however they are spread. The likelihood is made of the open sums. They tell more:
    what those that leave at one (merged) time have in common.

    No privacy unit is served: one record moves all risk sets that it is in, and a sum of
    hazards has no bound that leaves a signal.
    """

    Config = CoxConfig
    is_integer = True
    needs_table = True
    needs_times = True
    needs_clip_norm = False
    holds_out = False
    begins_afresh = (
        "where it ends does not depend on where it begins, and nodes follow its sums from its"
        " own first state; take initial-model out"
    )
    instead = (
        "a partial likelihood couples records. Take algorithm=kaplan_meier with"
        " privacy=example_distributed, which compares groups by a log-rank test"
    )

    def __init__(self, setup: Any) -> None:
        super().__init__(setup)
        config: CoxConfig = setup.algorithm
        table = self.task.table
        self._design: Design = design_of(table, config.columns, has_intercept=False)
        newton = newton_of(self._design.names)
        self.kind: Stratified | Pooled
        if config.strata is Strata.participant:
            self.kind = Stratified(self._design, newton)
        else:
            grid = grid_of(config, table.label.high, is_private=False)
            self.kind = Pooled(self._design, newton, grid, config.least)

    def num_parameters(self, state: State) -> int:
        """Return the number of coefficients."""
        return len(self._design)

    def initial_state(self) -> State:
        """Return coefficients of 0."""
        return initial_state(len(self._design), self.kind.arrays)

    def check(self, state: State) -> None:
        """Refuse coefficients of another shape or out of range, or times not of the grid."""
        asked = state.arrays.get("asked")
        if asked is None or asked.shape != (len(self._design),):
            raise StateRefusedError(f"there must be {len(self._design)} coefficients")
        if not (np.abs(asked) <= LARGEST).all():
            raise StateRefusedError(f"a coefficient is not within {LARGEST:g}")
        if "step" not in state.header:
            raise StateRefusedError("the state does not say which step it is of")
        self.kind.check(state)

    def length(self, state: State) -> int:
        """Return the number of sums that the next round asks for."""
        return self.kind.length(state)

    def longest(self) -> int:
        """Return the length where each time of the grid has several events."""
        return self.kind.longest()

    def contribute(
        self, state: State, query: Query, records: Records, rng: np.random.Generator
    ) -> Contribution:
        """Return this node's sums at the coefficients that are asked about."""
        self.check(state)
        return Contribution(self.kind.contribute(state, records.train), {})

    def weights(self, state: State, query: Query, records: Any) -> Vector:
        """Return how much each record counts in what is asked."""
        self.check(state)
        return self.kind.weights(state, records)

    def apply(self, state: State, aggregate: Aggregate, server_round: int, step: Step) -> State:
        """Take a Newton step, or half of the last one where the fit grew worse."""
        return self.kind.apply(state, aggregate.total)

    def is_finished(self, state: State) -> bool:
        """Return whether the fit has converged, or cannot."""
        return state.header["step"] in ("converged", "objection")

    def predict(self, state: State, columns: Vector) -> Vector:
        """Return the linear predictor, shape (n,): the log of the hazard ratio.

        It is held against a record with each number in the middle of its bounds and the first
        category of each column. NaN for a record that misses a value of a column that is used.

        Raises
        ------
        ValueError
            If there is no fit.
        """
        return self.as_linear(state).predictor(columns)

    def as_linear(self, state: State) -> LinearModel:
        """Return the fit; raises ``ValueError`` if there is none."""
        return LinearModel.of(state, self.task.table, self._design)

    def report(self, state: State) -> Report:
        """Return the table of coefficients and hazard ratios."""
        facts = self.kind.facts(state)
        return report_of(state, self._design, facts, self.setup.algorithm.confidence)
