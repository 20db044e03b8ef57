"""The observers of the round loop, and the records that they are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord

from strategies.rounds.records import to_arrays
from strategies.rounds.report import RoundReport, frozen
from strategies.secagg.signed_sum import SignedSum
from workloads.report import Report
from workloads.values import Aggregate, Arrays, State


@dataclass(frozen=True, kw_only=True)
class ClosedRound:
    """A round that has closed: the same object for every observer.

    Attributes
    ----------
    report : RoundReport
        The round's report.
    aggregate : Aggregate
        The sum that was released, its noise included.
    state : State
        The new one, from which the run goes on.
    published : State
        The result if the run ended now: ``state``, a mean of states, or the best model.
    kept : dict of ndarray
        The arrays that resuming needs beside ``state``. Valid until the next round.
    signed : SignedSum or None
        What the participants of the sum have signed; None where messages are not.
    """

    report: RoundReport
    aggregate: Aggregate
    state: State
    published: State
    kept: Arrays
    signed: SignedSum | None = None


@dataclass(frozen=True)
class Outcome:
    """The end of a run.

    Attributes
    ----------
    state : State
        The last one, or the mean of the last ones.
    num_rounds : int
        Rounds that were done, those before a resume included.
    stopped_early : bool
        Whether early stopping ended it.
    metrics : mapping
        ``loss`` and metrics of the last model. Read-only.
    privacy : mapping
        What the run has spent, the last metrics included; empty without differential privacy.
        Read-only.
    evaluation : Report or None
        All that follows from the scores of the last model; None where they say no more.
    ending : mapping
        What the workload says of the last state, for the summary. Read-only.
    signed : SignedSum or None
        What those who scored the last model have signed; None if nobody did, or messages are
        not signed.
    published : mapping
        What nodes have published of themselves with the last scores, by node id. Read-only.
    """

    state: State
    num_rounds: int
    stopped_early: bool
    metrics: Mapping[str, float]
    privacy: Mapping[str, Any] = field(default_factory=dict[str, Any])
    evaluation: Report | None = None
    ending: Mapping[str, Any] = field(default_factory=dict[str, Any])
    signed: SignedSum | None = None
    published: Mapping[int, Mapping[str, float]] = field(
        default_factory=dict[int, Mapping[str, float]]
    )

    @property
    def arrays(self) -> ArrayRecord:
        """Return the state's arrays as Flower's record."""
        return to_arrays(self.state.arrays)

    def __post_init__(self) -> None:
        for name in ("metrics", "privacy", "ending", "published"):
            object.__setattr__(self, name, frozen(getattr(self, name)))


class Observer:
    """Listener to a run, which changes nothing in it. A subclass overrides what it needs.

    The observers of a run are told one after the other, in the order of the run's list. What an
    observer raises stops the run; the others are told of that failure.
    """

    def releasing(self, privacy: Mapping[str, Any]) -> None:
        """Handle what a private run will have spent, before the nodes are asked to spend it.

        Nodes may charge though no round closes: what is kept here is right if the run is
        killed in the round.
        """

    def round_closed(self, closed: ClosedRound) -> None:
        """Handle a closed round, before the next one begins."""

    def finished(self, outcome: Outcome) -> None:
        """Handle the end of the run."""

    def failed(self, error: BaseException) -> None:
        """Handle the error that stopped the run."""
