"""The canaries of an audit: made-up records that coins put on nodes, and their terms."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from privacy.bounding.bounded_sum import BoundedSum
from privacy.plan.plan import PrivacyPlan
from privacy.unit import Unit
from tasks.base import Task
from tasks.records import Examples, LocalData
from workloads.base import Privacy, Workload
from workloads.values import State

Matrix = NDArray[np.float64]

# Made-up records of a client, whose whole contribution is one canary.
_RECORDS_OF_CLIENT = 16


@dataclass(frozen=True)
class Canaries:
    """Units of nobody, each wholly on one node.

    Attributes
    ----------
    records : Examples
        Made-up records of the task.
    owners : ndarray of int, shape (number of records,)
        The canary that a record is of.
    nodes : ndarray of int, shape (number of canaries,)
        The node that a canary is on, if it is in.
    """

    records: Examples
    owners: NDArray[np.intp]
    nodes: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.nodes)

    def held(self, coins: NDArray[np.bool_], num_nodes: int) -> list[LocalData]:
        """Return each node's records: those of its canaries that the coins put in."""
        is_in = coins[self.owners]
        places = self.nodes[self.owners]
        return [self._data(is_in & (places == node)) for node in range(num_nodes)]

    def alone(self) -> list[LocalData]:
        """Return the records of each canary by itself."""
        return [self._data(self.owners == canary) for canary in range(len(self))]

    def _data(self, chosen: NDArray[np.bool_]) -> LocalData:
        nobody = self.records.take(np.zeros(0, np.intp))
        return LocalData(self.records.take(np.flatnonzero(chosen)), nobody)


def make_canaries(task: Task, unit: Unit, num_canaries: int, num_nodes: int) -> Canaries:
    """Return the canaries of a unit, spread evenly over the nodes.

    Under the example unit each is a record. Under the client unit each is all of a client's
    records, and ``num_canaries`` must be the number of nodes.
    """
    each = 1 if unit is Unit.EXAMPLE else _RECORDS_OF_CLIENT
    numbers = np.arange(num_canaries)
    return Canaries(
        records=task.made_up(num_canaries * each),
        owners=np.repeat(numbers, each),
        nodes=numbers % num_nodes,
    )


class Terms:
    """What each canary adds to a round's sum, computed by the workload as a node does.

    Parameters
    ----------
    workload : Workload
        Of the run.
    plan : PrivacyPlan
        Of the run.
    clip_norm : float
        C.
    canaries : Canaries
        Each is computed alone.
    """

    def __init__(
        self, workload: Workload, plan: PrivacyPlan, clip_norm: float, canaries: Canaries
    ) -> None:
        self._workload, self._canaries = workload, canaries
        # Every canary is drawn: chance is for the nodes.
        surely = replace(plan, terms=replace(plan.terms, sampling_rate=1.0))
        self._privacy = Privacy(plan=surely, clip_norm=clip_norm, loss_clip=1.0)
        self._first: Matrix | None = None

    def at(self, state: State, server_round: int) -> Matrix:
        """Return the clipped terms in a round, float64, shape (num_canaries, length).

        Every run begins with the same state, so the first round's are computed once.
        """
        if server_round > 1:
            return self._compute(state, server_round)
        if self._first is None:
            self._first = self._compute(state, server_round)
        return self._first

    def _compute(self, state: State, server_round: int) -> Matrix:
        query, asked = self._workload.query(state, server_round), self._workload.asked(state)
        rows: list[Matrix] = []
        for records in self._canaries.alone():
            rng = np.random.default_rng()
            made = self._workload.bounded(asked, query, records, rng, self._privacy)
            if not isinstance(made.update, BoundedSum):
                raise TypeError("a contribution that is noised already has no term to look for")
            rows.append(made.update.in_units_of(1.0))
        return np.array(rows)
