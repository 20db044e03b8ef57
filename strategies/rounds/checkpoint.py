"""The point from which a run is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from strategies.rounds.report import RoundReport
from workloads.values import Arrays, State


@dataclass(frozen=True)
class Checkpoint:
    """The state after the last closed round.

    Attributes
    ----------
    state : State or None
        The workload's state; None if no round has closed yet, and the initial one stands.
    kept : dict of ndarray
        ``ClosedRound.kept``.
    reports : sequence of RoundReport
        The rounds done.
    privacy : dict
        What was spent, attempts that failed and the metrics of a last model included.
    """

    state: State | None
    kept: Arrays
    reports: Sequence[RoundReport]
    privacy: dict[str, Any]
