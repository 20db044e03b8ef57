"""What a closed round reports: one line for the log, one record for the history."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from strategies.rounds.strategy import RoundResult
from workloads.base import EVAL_PREFIX, TRAIN_LOSS


@dataclass(frozen=True)
class RoundReport:
    """One line of the history.

    Attributes
    ----------
    round : int
        The round that closed, counted from 1.
    seconds : float
        Wall time of the round, failed attempts included.
    num_asked, num_replies : int
        Cohort and good replies of the attempt that counted.
    train_loss : float or None
        Mean loss per training example in this round.
    evaluated_round : int
        The round whose model the metrics score; 0 is the initial model.
    metrics : dict
        ``loss`` and the task's metrics per held-out example; empty if nothing was held out.
    failures : dict
        Node id to reason.
    privacy : dict
        What the run has spent so far; empty without differential privacy.
    """

    round: int
    seconds: float
    num_asked: int
    num_replies: int
    train_loss: float | None
    evaluated_round: int
    metrics: dict[str, float]
    failures: dict[int, str] = field(default_factory=dict[int, str])
    privacy: dict[str, Any] = field(default_factory=dict[str, Any])

    def line(self, num_rounds: int) -> str:
        """Return the line for the log."""
        width = len(str(num_rounds))
        parts = [f"round {self.round:>{width}}/{num_rounds}", f"{self.seconds:6.2f} s"]
        parts.append(f"{self.num_replies} of {self.num_asked} answered")
        if self.train_loss is not None:
            parts.append(f"train loss {self.train_loss:.4f}")
        if self.metrics:
            parts.append(f"model of round {self.evaluated_round}: {describe(self.metrics)}")
        if self.privacy:
            parts.append(describe_privacy(self.privacy))
        return " | ".join(parts)


def describe(metrics: dict[str, float]) -> str:
    """Return metrics as ``loss 0.1234, accuracy 0.9876``."""
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def describe_privacy(spent: dict[str, Any]) -> str:
    """Return what was spent, with all that it takes to know what it means."""
    return (
        f"epsilon {spent['epsilon']:.4f}, model only {spent['epsilon_model_only']:.4f},"
        f" delta {spent['delta']:g} per {spent['unit']}"
        f" ({spent['neighbours']}; {spent['accountant'].upper()})"
    )


def evaluation_metrics(means: dict[str, float]) -> dict[str, float]:
    """Return what the held-out parts gave, without the prefix of its sums."""
    return {
        name.removeprefix(EVAL_PREFIX): value
        for name, value in means.items()
        if name.startswith(EVAL_PREFIX)
    }


def report_of(
    server_round: int, seconds: float, result: RoundResult, privacy: dict[str, Any]
) -> RoundReport:
    """Return the report of a round that closed with this result."""
    return RoundReport(
        round=server_round,
        seconds=seconds,
        num_asked=result.num_asked,
        num_replies=result.num_replies,
        train_loss=result.means.get(TRAIN_LOSS),
        evaluated_round=server_round - 1,
        metrics=evaluation_metrics(result.means),
        failures={node: str(reason) for node, reason in result.failures.items()},
        privacy=privacy,
    )
