"""One entry of a node's ledger."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from privacy.ledger.budget import Budget, LedgerError
from privacy.plan.release import Schedule

# SQLite's integers are signed.
_LARGEST = 2**63


@dataclass(frozen=True)
class Charge:
    """The charge of one contribution, made before it leaves.

    Attributes
    ----------
    run_id : int
        Flower's id of the run.
    round, attempt : int
        Which contribution of that run.
    time : float
        Seconds since 1970 on the node's clock.
    dataset : str
        What it was computed from.
    releases : schedule
        What it reveals.
    planned : schedule
        What its whole run reveals, as said when it was charged.
    budget : Budget or None
        The cap that it was held against.
    order : int or None
        The ledger's Renyi order, from the first charge under a cap on.
    """

    run_id: int
    round: int
    attempt: int
    time: float
    dataset: str
    releases: Schedule
    planned: Schedule
    budget: Budget | None
    order: int | None

    def __post_init__(self) -> None:
        if not 0 <= self.run_id < 2**64:
            raise LedgerError(f"run {self.run_id}: not a run id of Flower's")
        if not (0 <= self.round < _LARGEST and 0 <= self.attempt < _LARGEST):
            raise LedgerError(
                f"round {self.round}, attempt {self.attempt}: must be in [0, 2^63)"
            )
        if not isfinite(self.time):
            raise LedgerError(f"time={self.time}: set this machine's clock")
        if not (self.releases and self.planned and self.dataset):
            raise LedgerError(f"{self.name}: a charge names its data set, releases and plan")
        kinds = {(r.unit, r.neighbours) for r, _ in (*self.releases, *self.planned)}
        if len(kinds) > 1:
            raise LedgerError(f"{self.name}: releases of different privacy units: {kinds}")

    @property
    def name(self) -> str:
        """The contribution's run, round and attempt, for messages."""
        return f"run {self.run_id}, round {self.round}, attempt {self.attempt}"

    @property
    def key(self) -> tuple[int, int, int]:
        """The key of a charge: run, round and attempt."""
        return self.run_id, self.round, self.attempt
