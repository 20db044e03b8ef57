"""Where a run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord

from strategies.rounds.report import RoundReport
from workloads.base import Arrays


@dataclass(frozen=True)
class Checkpoint:
    """What the last closed round left.

    Attributes
    ----------
    arrays : ArrayRecord
        The global model.
    state : dict of ndarray
        ``ClosedRound.state``.
    reports : sequence of RoundReport
        The rounds done.
    privacy : dict
        What was spent, the metrics of a last model included.
    """

    arrays: ArrayRecord
    state: Arrays
    reports: Sequence[RoundReport]
    privacy: dict[str, Any]
