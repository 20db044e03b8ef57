"""Who listens to the round loop, and what they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord

from strategies.rounds.records import to_arrays
from strategies.rounds.report import RoundReport, frozen
from workloads.base import Arrays, State


@dataclass(frozen=True, kw_only=True)
class ClosedRound:
    """A round that has closed: the same object for every observer.

    Attributes
    ----------
    report : RoundReport
        Of the round.
    state : State
        The new one, from which the run goes on.
    published : State
        What the run would give now: ``state``, or a mean of states.
    kept : dict of ndarray
        What has to be kept beside ``state`` to go on from here. Valid until the next round.
    """

    report: RoundReport
    state: State
    published: State
    kept: Arrays


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

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
    """

    state: State
    num_rounds: int
    stopped_early: bool
    metrics: Mapping[str, float]
    privacy: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def arrays(self) -> ArrayRecord:
        """Return the state's arrays as Flower's record."""
        return to_arrays(self.state.arrays)

    def __post_init__(self) -> None:
        for name in ("metrics", "privacy"):
            object.__setattr__(self, name, frozen(getattr(self, name)))


class Observer:
    """Listens to a run and changes nothing in it. A subclass overrides what it is there for.

    The observers of a run are told one after the other, in the order of the run's list. What an
    observer raises stops the run; the others are told of that failure.
    """

    def round_closed(self, closed: ClosedRound) -> None:
        """Take note of a round, before the next one begins."""

    def finished(self, outcome: Outcome) -> None:
        """Take note of the end of the run."""

    def failed(self, error: BaseException) -> None:
        """Take note of why the run could not go on."""
