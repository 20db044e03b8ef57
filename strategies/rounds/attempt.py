"""One attempt at a round: its request, its result and its errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from strategies.secagg.signed_sum import SignedSum
from workloads.values import Aggregate, State


class CohortTooSmallError(RuntimeError):
    """A cohort that is smaller than T: nothing is sent, and another is drawn."""


class RunStoppedError(RuntimeError):
    """The run cannot go on. Everything up to the last good round is kept.

    Attributes
    ----------
    failures : dict
        Node id to reason, of the attempt in which it happened.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.failures: dict[int, str] = {}


class DivergedError(RunStoppedError):
    """Training that diverged: no further round would help.

    The message says how it shows; the round closer adds the round and what to lower.
    """


@dataclass(frozen=True)
class RoundResult:
    """The result of one attempt at a round.

    Attributes
    ----------
    state : State or None
        The next state; None if too few clients answered and nothing changed, and
        always when only evaluating.
    means : dict
        Losses and metrics per example over the survivors.
    num_asked, num_replies : int
        Size of the cohort and how many good replies came.
    failures : dict
        Node id to reason, for the rest of the cohort.
    answered : frozenset
        Nodes whose contribution came; some may have failed later in the attempt.
    aggregate : Aggregate or None
        What was summed; None where too few clients answered.
    survivors : tuple of int
        The nodes whose contributions are in it, ascending.
    signed : SignedSum or None
        What its participants have signed; None where messages are not.
    """

    state: State | None
    means: dict[str, float]
    num_asked: int
    num_replies: int
    failures: dict[int, str] = field(default_factory=dict[int, str])
    answered: frozenset[int] = frozenset()
    aggregate: Aggregate | None = None
    survivors: tuple[int, ...] = ()
    signed: SignedSum | None = None


@dataclass(frozen=True, kw_only=True)
class RoundAttempt:
    """The request to a strategy for one attempt at a round.

    Attributes
    ----------
    number : int
        The round, counted from 1; the last evaluation is one more than the last round.
    state : State
        What is trained or scored.
    deadline_seconds : float
        For each trip.
    draw : callable
        Round number to the cohort of that round: a strategy may look one round ahead.
    tell_release : callable
        Called when nodes are about to be asked for contributions, before they are.
    """

    number: int
    state: State
    deadline_seconds: float
    draw: Callable[[int], list[int]]
    tell_release: Callable[[], None]
