"""Who listens to the round loop, and what they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord

from strategies.rounds.report import RoundReport, frozen
from workloads.base import Arrays


@dataclass(frozen=True, kw_only=True)
class ClosedRound:
    """A round that has closed: the same object for every observer.

    Attributes
    ----------
    report : RoundReport
        Of the round.
    arrays : ArrayRecord
        The new global model, from which training goes on.
    published : ArrayRecord
        The model that the run would give now: ``arrays``, or a mean of models.
    state : dict of ndarray
        What has to be kept beside ``arrays`` to go on from here. Valid until the next round.
    """

    report: RoundReport
    arrays: ArrayRecord
    published: ArrayRecord
    state: Arrays


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    arrays : ArrayRecord
        The last global model, or the mean of the last ones.
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

    arrays: ArrayRecord
    num_rounds: int
    stopped_early: bool
    metrics: Mapping[str, float]
    privacy: Mapping[str, Any] = field(default_factory=dict[str, Any])

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
